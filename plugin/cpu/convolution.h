/*
 * The convolution of some images, mostly by one core, and its gradients: no bias, no
 * activation. oneDNN computes it where it can (DNNL=1; Winograd's algorithm for 3x3 where that
 * is faster), else im2col and GEMM, as Darknet does; the latter is also the tests' reference.
 */
#ifndef KD_CONVOLUTION_H
#define KD_CONVOLUTION_H

#include "cpu/convolution_code.h"

/* onednn: 0 for GEMM in any case. NULL for a finished one, or another form than Darknet's, that
 * oneDNN has no fast code for. Free with free_convolution. */
convolution *make_convolution(convolution_shape shape, int onednn);
void free_convolution(convolution *c);

/*
 * After each change of the weights, which must stay where they are; with `backward` also for
 * convolve_back. Not while another thread uses c.
 */
void set_weights(convolution *c, const float *weights, int backward);

/* Those of a finished one, once; it keeps copies. */
void set_weights_and_biases(convolution *c, const float *weights, const float *biases);

/* out[n][filters][out_h][out_w] = weights * in[n][c][h][w]; many threads may at once. */
void convolve(const convolution *c, const float *in, float *out);

/* How many numbers one of convolve_back's `sums` has: more than the weights, if padded. */
size_t gradient_size(const convolution *c);

/*
 * The gradients of `groups` losses of the same images, from deltas[g], laid out as convolve's
 * out. sums[g][gradient_size] (from kd_vectors, or as aligned) is set to the weights' gradient,
 * in an order of its own (see add_gradient); in_deltas[g], laid out as in, grows by the images'
 * gradient, or becomes it (is_alone_in_delta), unless in_deltas is NULL (of a first one it has
 * to be). What needs `in` alone is done once. Many threads may at once.
 */
void convolve_back(const convolution *c, const float *in, int groups, float *const *deltas,
                   float *const *sums, float *const *in_deltas);

/* gradient[filters][c / split][size][size] += sum, which convolve_back has set. */
void add_gradient(const convolution *c, const float *sum, float *gradient);

#endif
