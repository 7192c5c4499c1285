/*
 * Darknet's own sections, read strictly: `distill` refuses what stock Darknet
 * passes over in silence, goes on with another value for, or crashes on.
 */
#ifndef KD_STRICT_H
#define KD_STRICT_H

#include "darknet.h"

/*
 * A cfg_section_hook (patches/hooks/04). Before Darknet parses a section, stops at
 * a number that is none or out of range and at a layer that is not there.
 * After, at a key, activation, policy or cost type that Darknet does not know,
 * and at a strided 1x1 convolution, which its CPU code does not stride.
 */
void strict_section(char *file, char *section, list *options, int layer, int parsed);

#endif
