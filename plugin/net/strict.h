/*
 * Darknet's own sections, read strictly: `distill` refuses what stock Darknet
 * passes over in silence, goes on with another value for, or crashes on.
 */
#ifndef KD_STRICT_H
#define KD_STRICT_H

#include "darknet.h"

/*
 * parse_network_cfg_batch (batch 0: as the cfg says). Before Darknet parses a section, stops at
 * a number that is none or out of range and at a layer that is not there. After, at an
 * activation, policy or cost type that Darknet does not know. At the end, at all keys that it does not know, in one
 * line. Of the keys that say how other Darknets train, a net that does not train (trains=0) may
 * have all; one that trains those that only tune or print, which are named.
 */
network *parse_strictly(char *cfg, int batch, int trains);

#endif
