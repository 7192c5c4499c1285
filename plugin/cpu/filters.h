/*
 * What stands between convolutions: batch norm, bias and activation of each filter, [shortcut]
 * and [maxpool], in loops for vectors. Plain arrays, as Darknet has them:
 * [batch][filters][spatial]; the formulas are Darknet's own (batchnorm_layer.c, blas.c,
 * maxpool_layer.c), each in as few passes as it can.
 */
#ifndef KD_FILTERS_H
#define KD_FILTERS_H

#include "darknet.h"

/* Loops that are compiled for several processors; the loader chooses at start, when
 * ThreadSanitizer is not there yet. Clang before 18 has another name for the choice, which
 * other files don't find. */
#if defined(__x86_64__) && defined(__linux__) && !defined(THREAD_SANITIZER) &&                 \
    !(defined(__clang__) && __clang_major__ < 18)
#define VECTORIZED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTORIZED
#endif

typedef struct {
    int batch, filters, spatial;
    ACTIVATION activation;
} filter_shape;

/* 1 for activations that are a slope below 0 and the identity above it, which have fast loops.
 */
int has_slope(ACTIVATION a, float *slope);

/* 1 for those, and for mish and swish: of convolutions that may hand on images channels last */
int has_last(ACTIVATION a);

/* Of n numbers in place, what has no slope; keep, unless NULL: what it is given */
void activate_row(int n, ACTIVATION activation, float *keep, float *out);

/* Mean, and variance with n-1, of filter f over all images. */
void filter_statistics(filter_shape s, int f, const float *x, float *mean, float *variance);

/* Of one image of filter f: the sum of x, and of the squares of x - mean */
double filter_sum(filter_shape s, int image, int f, const float *x);
double filter_squares(filter_shape s, int image, int f, const float *x, float mean);

/* out = activation(a x + b) of filter f; x may be out. keep, unless NULL: a x + b. */
void forward_filter(filter_shape s, int f, float a, float b, const float *x, float *keep,
                    float *out);

/* What the backward pass of a filter with batch norm needs of it */
typedef struct {
    const float *x; /* the convolution's output; NULL: without batch norm */
    float mean, variance, scale;
} filter_norm;

/*
 * Batch norm's gradient is delta -> a delta + (b (x - mean) + c). n: numbers of the filter, sum
 * and product: of the deltas behind the norm, and of them times x - mean. The gradient of the
 * scale is added to *scale.
 */
typedef struct {
    float a, b, c;
} norm_back;
norm_back find_norm_back(filter_norm norm, double n, double sum, double product, float *scale);

/*
 * Filter f of delta becomes from the gradient of the layer's output that of the convolution's
 * (all with Darknet's sign). The gradient of the bias, and with batch norm of the scale, is
 * added to *bias and *scale.
 */
void backward_filter(filter_shape s, int f, filter_norm norm, const float *out, float *delta,
                     float *bias, float *scale);

/*
 * The same in two steps, for who knows some of the images. First of each image, through the
 * activation: *sum and *product grow by what find_norm_back wants. Then of all images of the
 * shape, with the n, sum and product of the whole batch.
 */
void start_filter_back(filter_shape s, int image, int f, filter_norm norm, const float *out,
                       float *delta, double *sum, double *product);
void finish_filter_back(filter_shape s, int f, filter_norm norm, double n, double sum,
                        double product, float *delta, float *bias, float *scale);

/* to[n] += a x */
void add_row(int n, float a, const float *x, float *to);

/* [shortcut]: out = activation(alpha in + beta add), n numbers each; keep, unless NULL: what
 * the activation is given */
void forward_sum(int n, ACTIVATION activation, float alpha, float beta, const float *in,
                 const float *add, float *keep, float *out);

/* delta, of forward_sum's out, goes through the activation, whose gradient follows from `out`;
 * in_delta and add_delta grow by what is theirs of it. */
void backward_sum(int n, ACTIVATION activation, float alpha, float beta, const float *out,
                  float *delta, float *in_delta, float *add_delta);

/*
 * [maxpool] of n planes of h x w: out and indexes [n][out_h][out_w]; index k is number k of in,
 * -1 where the window sees nothing, and out is then the least float. indexes may be NULL.
 */
typedef struct {
    int n, h, w, out_h, out_w, size, stride_x, stride_y, pad;
} pool_shape;
pool_shape find_pool(layer l, int n);
void forward_pool(pool_shape s, const float *in, float *out, int *indexes);

/* The same of n images channels last: in [n][h][w][channels], out and indexes alike. */
void forward_pool_last(pool_shape s, int channels, const float *in, float *out, int *indexes);

#endif
