/*
 * Convolutions by oneDNN (DNNL=1), in memory layouts of its own. convolution.c calls it, and
 * convolution.h says what each function does.
 */
#ifndef KD_ONEDNN_H
#define KD_ONEDNN_H

#include "cpu/convolution.h"

/* One way to compute convolutions */
typedef struct convolution_code {
    void (*set_weights)(convolution *c, int backward); /* c->weights are set */
    void (*convolve)(const convolution *c, const float *in, float *out);
    size_t (*gradient_size)(const convolution *c);
    void (*convolve_back)(const convolution *c, const float *in, int groups,
                          float *const *deltas, float *const *sums, float *const *in_deltas);
    void (*add_gradient)(const convolution *c, const float *sum, float *gradient);
    void (*release)(convolution *c);
} convolution_code;

/* Sets c->code and c->own; 0, and nothing is set, for a shape that oneDNN has no fast code for,
 * and without DNNL=1. */
int use_onednn(convolution *c);

#endif
