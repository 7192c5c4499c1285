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

/* What bfloat16 is on this processor, and in this build: not there, as without AVX-512 or
 * oneDNN; converted to float32, which is slow; or the processor's own. */
typedef enum { BFLOAT16_NONE, BFLOAT16_SLOW, BFLOAT16_FAST } bfloat16_kind;
bfloat16_kind find_bfloat16(void);

/* What oneDNN uses of this processor, as a number of its own; 0 without DNNL=1 */
unsigned find_instructions(void);

/* 1 where products of int8 are exact and fast: with oneDNN, on AVX512_VNNI. */
int has_int8(void);

#endif
