/* See bytes.h. */
#include "cpu/bytes.h"
#include "cpu/channels.h"
#include "cpu/filters.h"
#include "cpu/onednn.h"
#include "cpu/scratch.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    convolution sums; /* bytes to sums of their products, which are float32 */
    float *a, *b;     /* [filters]: a sum becomes a sum + b, then is activated */
} bytes;

static size_t filter_size(convolution_shape s)
{
    return (size_t)s.c * s.size * s.size;
}

/* A filter's weights as bytes, which whole numbers stand for; returns what 1 is. */
static float round_filter(const float *weights, size_t n, float *rounded)
{
    float largest = 0;
    for (size_t i = 0; i < n; ++i) largest = fmaxf(largest, fabsf(weights[i]));
    float scale = largest > 0 ? largest / MOST_BYTE : 1;
    for (size_t i = 0; i < n; ++i) rounded[i] = rintf(weights[i] / scale);
    return scale;
}

/* What 1 stands for behind a and b: a slope bends bytes as it bends numbers, others don't. */
static float find_unit(convolution_shape s)
{
    float slope;
    return s.out == FORM_BYTE && has_slope(s.activation, &slope) ? s.out_scale : 1;
}

static void take_weights(convolution *c, int backward)
{
    bytes *own = c->own;
    convolution_shape s = c->shape;
    size_t n = filter_size(s);
    float *rounded = kd_vectors(s.filters * n), unit = find_unit(s);
    for (int f = 0; f < s.filters; ++f) {
        float scale = round_filter(c->weights + f * n, n, rounded + f * n);
        own->a[f] = scale * s.in_scale / unit;
        own->b[f] = c->biases[f] / unit;
    }
    own->sums.weights = rounded;
    own->sums.code->set_weights(&own->sums, backward);
    own->sums.weights = 0;
    free(rounded);
}

/* From the sums to the layer's output */
static void finish(const bytes *own, convolution_shape s, size_t pixels, float *sums,
                   float *out)
{
    channel_shape shape = {pixels, s.filters, 1};
    int is_byte = s.out == FORM_BYTE;
    if (has_slope(s.activation, &shape.slope)) {
        if (is_byte) forward_bytes(shape, own->a, own->b, sums, (signed char *)out);
        else forward_channels(shape, own->a, own->b, sums, out);
        return;
    }
    float *to = is_byte ? sums : out;
    forward_channels(shape, own->a, own->b, sums, to);
    activate_row(pixels * s.filters, s.activation, 0, to);
    if (is_byte) round_to_bytes(pixels * s.filters, 1 / s.out_scale, to, (signed char *)out);
}

static void convolve_bytes(const convolution *c, const float *in, float *out)
{
    const bytes *own = c->own;
    convolution_shape s = c->shape;
    size_t images = (size_t)s.n * s.c * s.h * s.w, pixels = (size_t)s.n * s.out_h * s.out_w;
    float *sums = thread_scratch(SCRATCH_SUMS, pixels * s.filters);
    if (s.in != FORM_BYTE) {
        float *rounded = thread_scratch(SCRATCH_BYTES, (images + 3) / sizeof(float));
        round_to_bytes(images, 1 / s.in_scale, in, (signed char *)rounded);
        in = rounded;
    }
    own->sums.code->convolve(&own->sums, in, sums);
    finish(own, s, pixels, sums, out);
}

static void release(convolution *c)
{
    bytes *own = c->own;
    own->sums.code->release(&own->sums);
    free(own->a), free(own->b), free(own);
}

int use_bytes(convolution *c)
{
    static const convolution_code code = {take_weights, convolve_bytes, 0, 0, 0, release};
    bytes *own = kd_calloc(1, sizeof(*own));
    own->sums.shape = c->shape;
    own->sums.shape.is_finished = 0;
    own->sums.shape.in = FORM_BYTE;
    own->sums.shape.out = FORM_LAST;
    if (!use_onednn(&own->sums)) {
        free(own);
        return 0;
    }
    own->a = kd_vectors(c->shape.filters), own->b = kd_vectors(c->shape.filters);
    c->own = own;
    c->code = &code;
    return 1;
}
