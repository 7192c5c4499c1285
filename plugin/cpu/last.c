/* See last.h. */
#include "cpu/last.h"
#include "cpu/channels.h"
#include "cpu/filters.h"
#include "support.h"

#include <stdlib.h>

int passes_last(layer l)
{
    return (l.type == ROUTE && l.out_w && l.out_h && l.out_c) || l.type == MAXPOOL ||
           (l.type == UPSAMPLE && !l.reverse);
}

/* to[n] = a from */
VECTORIZED static void set_row(int n, float a, const float *from, float *to)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) to[i] = a * from[i];
}

/* Each pixel's channels are those of its inputs, one after the other. */
static void route(const network *part, layer l, int is_backward)
{
    size_t pixels = (size_t)l.batch * l.out_w * l.out_h, offset = 0;
    for (int k = 0; k < l.n; ++k) {
        layer in = part->layers[l.input_layers[k]];
        int channels = in.out_c / l.groups;
        for (size_t i = 0; i < pixels; ++i) {
            size_t inner = i * in.out_c + l.group_id * channels, outer = i * l.out_c + offset;
            if (is_backward) add_row(channels, 1, l.delta + outer, in.delta + inner);
            else set_row(channels, 1, in.output + inner, l.output + outer);
        }
        offset += channels;
    }
}

/* Pixel i of the output comes from this one. */
static size_t source(layer l, size_t i)
{
    size_t x = i % l.out_w, row = i / l.out_w; /* of all images */
    return row / l.stride * l.w + x / l.stride;
}

static void upsample(const network *part, layer l, int is_backward)
{
    size_t pixels = (size_t)l.batch * l.out_w * l.out_h;
    for (size_t i = 0; i < pixels; ++i) {
        size_t outer = i * l.c, inner = source(l, i) * l.c;
        if (is_backward) add_row(l.c, l.scale, l.delta + outer, part->delta + inner);
        else set_row(l.c, l.scale, part->input + inner, l.output + outer);
    }
}

static void forward_average(const network *part, layer l)
{
    size_t pixels = (size_t)l.w * l.h;
    double *sums = kd_calloc((size_t)l.batch * l.c, sizeof(double));
    for (int b = 0; b < l.batch; ++b) {
        channel_shape one = {pixels, l.c, 1};
        sum_channels(one, part->input + b * pixels * l.c, sums + (size_t)b * l.c);
    }
    for (int k = 0; k < l.batch * l.c; ++k) l.output[k] = sums[k] / pixels;
    free(sums);
}

static void backward_average(const network *part, layer l)
{
    size_t pixels = (size_t)l.w * l.h;
    for (size_t i = 0; i < l.batch * pixels; ++i)
        add_row(l.c, 1.f / pixels, l.delta + i / pixels * l.c, part->delta + i * l.c);
}

void forward_last(const network *part, int i)
{
    layer l = part->layers[i];
    if (l.type == ROUTE) route(part, l, 0);
    if (l.type == UPSAMPLE) upsample(part, l, 0);
    if (l.type == AVGPOOL) forward_average(part, l);
    if (l.type == MAXPOOL)
        forward_pool_last(find_pool(l, l.batch), l.c, part->input, l.output,
                          part->train ? l.indexes : 0);
}

void backward_last(const network *part, int i)
{
    layer l = part->layers[i];
    if (l.type == ROUTE) route(part, l, 1);
    if (l.type == UPSAMPLE) upsample(part, l, 1);
    if (l.type == AVGPOOL) backward_average(part, l);
    if (l.type == MAXPOOL) l.backward(l, *part);
}
