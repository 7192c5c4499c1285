/*
 * A finished convolution in int8: images and weights are bytes times a scale, of all images and
 * of each filter, so that the sums of their products are exact. Images come as FORM_LAST, and
 * are rounded, or as FORM_BYTE; they go as one of these. What is beyond 127 bytes becomes that.
 */
#ifndef KD_BYTES_H
#define KD_BYTES_H

#include "cpu/convolution_code.h"

/* Sets c->code and c->own; 0 where oneDNN has no fast code for the shape. */
int use_bytes(convolution *c);

#endif
