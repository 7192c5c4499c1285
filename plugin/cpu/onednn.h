/*
 * Convolutions by oneDNN (DNNL=1), in memory layouts of its own. convolution.c calls it, and
 * convolution.h says what each function of its convolution_code does.
 */
#ifndef KD_ONEDNN_H
#define KD_ONEDNN_H

#include "cpu/convolution_code.h"

/* Sets c->code and c->own; 0, and nothing is set, for a shape that oneDNN has no fast code for,
 * and without DNNL=1. */
int use_onednn(convolution *c);

#endif
