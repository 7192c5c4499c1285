/* Which other programs read a cfg of Darknet's, as far as they read less than Darknet does. */
#ifndef KD_CLIENTS_H
#define KD_CLIENTS_H

#include "darknet.h"

#include <stddef.h>

/*
 * 1 when OpenCV's DNN module reads this plain cfg and computes what Darknet does; else 0, and
 * what it can't read in why[size]. `text` is the cfg's (cfg_text.h), in which our sections
 * count for nothing; `net` is the network.
 */
int opencv_reads(const char *text, const network *net, char *why, size_t size);

#endif
