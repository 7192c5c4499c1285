/* See convolution.h. */
#include "cpu/convolution.h"
#include "cpu/bytes.h"
#include "cpu/onednn.h"
#include "cpu/scratch.h"
#include "support.h"

#include "col2im.h"
#include "gemm.h"
#include "im2col.h"

#include <stdlib.h>
#include <string.h>

/* The GEMMs' sizes: filters, then numbers of a filter, then pixels of an output. Where channels
 * are split, all is of one part of them, and each part of an image is an image by itself. */
typedef struct {
    int m, k, pixels, images;
    size_t image, out, weights; /* numbers */
} sizes;

static sizes find_sizes(convolution_shape s)
{
    int c = s.c / s.split, filters = s.filters / s.split, k = c * s.size * s.size;
    return (sizes){filters,
                   k,
                   s.out_h * s.out_w,
                   s.n * s.split,
                   (size_t)c * s.h * s.w,
                   (size_t)filters * s.out_h * s.out_w,
                   (size_t)filters * k};
}

/* A 1x1 convolution's columns are the image itself. */
static int is_plain(convolution_shape s)
{
    return s.size == 1 && s.stride_x == 1 && s.stride_y == 1 && !s.pad;
}

static float *columns(convolution_shape s, const float *image)
{
    sizes z = find_sizes(s);
    if (is_plain(s)) return (float *)image;
    float *col = thread_scratch(SCRATCH_IN, (size_t)z.k * z.pixels);
    im2col_window_cpu((float *)image, s.c / s.split, s.h, s.w, s.size, s.stride_y, s.stride_x,
                      s.pad, s.spacing, col);
    return col;
}

/* For products to be added to: Darknet's own gemm would clear by a factor of 0, which a NaN
 * survives. */
static float *cleared(float *to, size_t n)
{
    memset(to, 0, n * sizeof(float));
    return to;
}

static float *weights_of(const convolution *c, sizes z, int i)
{
    return (float *)c->weights + i % c->shape.split * z.weights;
}

static void gemm_convolve(const convolution *c, const float *in, float *out)
{
    sizes z = find_sizes(c->shape);
    cleared(out, z.images * z.out);
    for (int i = 0; i < z.images; ++i)
        gemm(0, 0, z.m, z.pixels, z.k, 1, weights_of(c, z, i), z.k,
             columns(c->shape, in + i * z.image), z.pixels, 1, out + i * z.out, z.pixels);
}

/* in_delta += weights^T * delta, of image i */
static void gemm_in_delta(const convolution *c, int i, float *delta, float *in_delta)
{
    convolution_shape s = c->shape;
    sizes z = find_sizes(s);
    size_t n = (size_t)z.k * z.pixels;
    float *weights = weights_of(c, z, i), *col = in_delta;
    if (!is_plain(s)) col = cleared(thread_scratch(SCRATCH_OUT, n), n);
    gemm(1, 0, z.k, z.pixels, z.m, 1, weights, z.k, delta, z.pixels, 1, col, z.pixels);
    if (!is_plain(s))
        col2im_window_cpu(col, s.c / s.split, s.h, s.w, s.size, s.stride_y, s.stride_x, s.pad,
                          s.spacing, in_delta);
}

static void gemm_convolve_back(const convolution *c, const float *in, int groups,
                               float *const *deltas, float *const *sums,
                               float *const *in_deltas)
{
    sizes z = find_sizes(c->shape);
    int split = c->shape.split;
    for (int g = 0; g < groups; ++g) cleared(sums[g], split * z.weights);
    for (int i = 0; i < z.images; ++i) {
        float *col = columns(c->shape, in + i * z.image);
        for (int g = 0; g < groups; ++g) {
            float *delta = deltas[g] + i * z.out, *sum = sums[g] + i % split * z.weights;
            if (in_deltas && c->shape.is_alone_in_delta)
                cleared(in_deltas[g] + i * z.image, z.image);
            gemm(0, 1, z.m, z.k, z.pixels, 1, delta, z.pixels, col, z.pixels, 1, sum, z.k);
            if (in_deltas) gemm_in_delta(c, i, delta, in_deltas[g] + i * z.image);
        }
    }
}

static size_t gemm_gradient_size(const convolution *c)
{
    return c->shape.split * find_sizes(c->shape).weights;
}

static void gemm_add_gradient(const convolution *c, const float *sum, float *gradient)
{
    size_t n = gemm_gradient_size(c);
    for (size_t i = 0; i < n; ++i) gradient[i] += sum[i];
}

static void do_nothing(convolution *c, int backward)
{
    (void)c, (void)backward;
}

static void release_nothing(convolution *c)
{
    (void)c;
}

static const convolution_code by_gemm = {do_nothing,         gemm_convolve,
                                         gemm_gradient_size, gemm_convolve_back,
                                         gemm_add_gradient,  release_nothing};

convolution *make_convolution(convolution_shape shape, int onednn)
{
    convolution *c = kd_calloc(1, sizeof(*c));
    c->shape = shape;
    if (shape.arithmetic == INT8 && shape.is_finished ? use_bytes(c) : onednn && use_onednn(c))
        return c;
    c->code = &by_gemm;
    if (shape.arithmetic != INT8 && !shape.is_finished && !shape.in && !shape.out) return c;
    free_convolution(c);
    return 0;
}

void free_convolution(convolution *c)
{
    if (!c) return;
    c->code->release(c);
    free(c->biases);
    free(c);
}

void set_weights(convolution *c, const float *weights, int backward)
{
    c->weights = weights;
    c->code->set_weights(c, backward);
}

void set_weights_and_biases(convolution *c, const float *weights, const float *biases)
{
    if (!c->biases) c->biases = kd_vectors(c->shape.filters);
    memcpy(c->biases, biases, c->shape.filters * sizeof(float));
    set_weights(c, weights, 0);
    c->weights = 0;
}

void convolve(const convolution *c, const float *in, float *out)
{
    c->code->convolve(c, in, out);
}

size_t gradient_size(const convolution *c)
{
    return c->code->gradient_size(c);
}

void convolve_back(const convolution *c, const float *in, int groups, float *const *deltas,
                   float *const *sums, float *const *in_deltas)
{
    c->code->convolve_back(c, in, groups, deltas, sums, in_deltas);
}

void add_gradient(const convolution *c, const float *sum, float *gradient)
{
    c->code->add_gradient(c, sum, gradient);
}
