/* See between.h. */
#include "cpu/between.h"
#include "cpu/channels.h"
#include "cpu/filters.h"
#include "cpu/ranks.h"
#include "net/device.h"
#include "support.h"

#include "activations.h"
#include "batchnorm_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDE 256 /* channels of several pixels at most */

void find_line(layer l, int f, const float *mean, const float *variance, float *a, float *b)
{
    *a = 1, *b = l.biases[f];
    if (!l.batch_normalize) return;
    *a = l.scales[f] / (sqrtf(variance[f]) + .000001f);
    *b -= *a * mean[f];
}

/* Filter by filter */

static filter_shape find_filters(layer l)
{
    return (filter_shape){l.batch, l.n, l.out_h * l.out_w, l.activation};
}

/* A [batchnorm] as a convolution with batch norm has it */
static layer with_filters(layer l)
{
    if (l.type == BATCHNORM) l.n = l.c, l.batch_normalize = 1, l.activation = LINEAR;
    return l;
}

static void finish_filter(layer l, int f, const float *mean, const float *variance,
                          const float *x)
{
    float a, b;
    find_line(l, f, mean, variance, &a, &b);
    forward_filter(find_filters(l), f, a, b, x, l.activation_input, l.output);
}

/* share: of the batch in the rolling statistics */
static void roll(layer l, int f, double share)
{
    float kept = 1 - share, added = share;
    l.rolling_mean[f] = kept * l.rolling_mean[f] + added * l.mean[f];
    l.rolling_variance[f] = kept * l.rolling_variance[f] + added * l.variance[f];
}

/* to[n] = the sum of `rows` of them / divisor */
static void add_rows(const double *sums, int rows, int n, double divisor, float *to)
{
    for (int f = 0; f < n; ++f) {
        double sum = 0;
        for (int k = 0; k < rows; ++k) sum += sums[(size_t)k * n + f];
        to[f] = sum / divisor;
    }
}

/* The images of this rank */
static layer own_images(layer l)
{
    range own = own_range(l.batch);
    cut_layer(&l, own.first, own.end - own.first);
    return l;
}

/* filter_statistics of all filters, over the images of all ranks: of each image a sum, added up
 * in the images' order */
static void share_statistics(layer l)
{
    range own = own_range(l.batch);
    filter_shape shape = find_filters(l);
    double *sums = kd_calloc((size_t)l.batch * l.n, sizeof(double)),
           n = (double)l.batch * l.out_h * l.out_w;
    for (int is_variance = 0; is_variance <= 1; ++is_variance) {
#pragma omp parallel for schedule(dynamic)
        for (int f = 0; f < l.n; ++f)
            for (int b = own.first; b < own.end; ++b)
                sums[(size_t)b * l.n + f] = is_variance
                                                ? filter_squares(shape, b, f, l.x, l.mean[f])
                                                : filter_sum(shape, b, f, l.x);
        gather_items(sums, l.batch, l.n * sizeof(double));
        add_rows(sums, l.batch, l.n, n - is_variance, is_variance ? l.variance : l.mean);
    }
    free(sums);
}

static void normalize_filters(layer l, double share)
{
    layer own = own_images(l);
    if (count_ranks() > 1) share_statistics(l);
#pragma omp parallel for schedule(dynamic)
    for (int f = 0; f < l.n; ++f) {
        if (count_ranks() == 1)
            filter_statistics(find_filters(l), f, l.x, l.mean + f, l.variance + f);
        roll(l, f, share);
        finish_filter(own, f, l.mean, l.variance, own.x);
    }
}

void normalize_images(const network *net, int i, const float *x)
{
    layer l = with_filters(net->layers[i]);
    l.x = (float *)x;
    normalize_filters(l, rolling_share(*net));
}

const float *gradient_source(layer l)
{
    return l.activation_input ? l.activation_input : l.output;
}

static filter_norm find_norm(layer l, int f, const float *x)
{
    filter_norm norm = {0};
    if (l.batch_normalize) norm = (filter_norm){x, l.mean[f], l.variance[f], l.scales[f]};
    return norm;
}

/* backward_filter of all filters and one loss, l, over the images of all ranks, with x, what
 * the batch norm was given, as l.x */
static void share_backward(layer l)
{
    range own = own_range(l.batch);
    layer ours = own_images(l);
    filter_shape shape = find_filters(l);
    double n = (double)l.batch * l.out_h * l.out_w;
    double *sums = kd_calloc((size_t)2 * l.batch * l.n, sizeof(double));
#pragma omp parallel for schedule(dynamic)
    for (int f = 0; f < l.n; ++f)
        for (int b = own.first; b < own.end; ++b) {
            double *of = sums + 2 * ((size_t)b * l.n + f);
            start_filter_back(shape, b, f, find_norm(l, f, l.x), gradient_source(l), l.delta,
                              of, of + 1);
        }
    gather_items(sums, l.batch, 2 * l.n * sizeof(double));
#pragma omp parallel for schedule(dynamic)
    for (int f = 0; f < l.n; ++f) {
        double sum = 0, product = 0;
        for (int b = 0; b < l.batch; ++b) {
            sum += sums[2 * ((size_t)b * l.n + f)];
            product += sums[2 * ((size_t)b * l.n + f) + 1];
        }
        finish_filter_back(find_filters(ours), f, find_norm(ours, f, ours.x), n, sum, product,
                           ours.delta, l.bias_updates + f,
                           l.batch_normalize ? l.scale_updates + f : 0);
    }
    free(sums);
}

void backward_filters(const network *views, int groups, int i, const float *x)
{
    layer l = with_filters(views->layers[i]);
    for (int g = 0; g < groups && count_ranks() > 1; ++g) {
        layer of_group = with_filters(views[g].layers[i]);
        of_group.x = (float *)x;
        share_backward(of_group);
    }
    if (count_ranks() > 1) return;
#pragma omp parallel for schedule(dynamic)
    for (int f = 0; f < l.n; ++f) {
        filter_norm norm = find_norm(l, f, x);
        for (int g = 0; g < groups; ++g) {
            layer own = views[g].layers[i];
            backward_filter(find_filters(l), f, norm, gradient_source(l), own.delta,
                            own.bias_updates + f,
                            l.batch_normalize ? own.scale_updates + f : 0);
        }
    }
}

/* Channels last: sums are each part's own, then added in the parts' order. Where there are few
 * channels, several pixels are one with as many times the channels, for long vectors. */

typedef struct {
    channel_shape shape;
    int copies; /* of the layer's channels in the shape's */
} wide_shape;

static wide_shape find_channels(layer part)
{
    size_t pixels = (size_t)part.batch * part.out_h * part.out_w;
    wide_shape wide = {{0}, 1};
    while (2 * wide.copies * part.n <= WIDE && pixels % (2 * wide.copies) == 0)
        wide.copies *= 2;
    wide.shape = (channel_shape){pixels / wide.copies, part.n * wide.copies, 1};
    has_slope(part.activation, &wide.shape.slope);
    return wide;
}

/* [copies][n] */
static float *repeat(const float *x, int n, int copies)
{
    float *made = kd_vectors((size_t)copies * n);
    for (int k = 0; k < copies; ++k) memcpy(made + (size_t)k * n, x, n * sizeof(float));
    return made;
}

static void finish_channels(layer l, const float *mean, const float *variance, const float *x)
{
    wide_shape wide = find_channels(l);
    float slope, *a = kd_vectors(wide.shape.channels), *b = kd_vectors(wide.shape.channels);
    for (int k = 0; k < wide.shape.channels; ++k)
        find_line(l, k % l.n, mean, variance, a + k, b + k);
    forward_channels(wide.shape, a, b, x, l.output);
    if (!has_slope(l.activation, &slope))
        activate_row(l.batch * l.outputs, l.activation, l.activation_input, l.output);
    free(a), free(b);
}

static void channel_statistics(layer l, const network *parts, int count, int i)
{
    wide_shape wide = find_channels(parts->layers[i]);
    size_t size = wide.shape.channels;
    double *sums = kd_calloc(count * size, sizeof(double)),
           n = (double)l.batch * l.out_h * l.out_w;
    range own = own_range(count);
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        sum_channels(wide.shape, parts[p].layers[i].x, sums + p * size);
    gather_items(sums, count, size * sizeof(double));
    add_rows(sums, count * wide.copies, l.n, n, l.mean);
    float *mean = repeat(l.mean, l.n, wide.copies);
    memset(sums, 0, count * size * sizeof(double));
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        square_channels(wide.shape, parts[p].layers[i].x, mean, sums + p * size);
    gather_items(sums, count, size * sizeof(double));
    add_rows(sums, count * wide.copies, l.n, n - 1, l.variance);
    free(sums), free(mean);
}

static void normalize_channels(layer l, const network *parts, int count, int i)
{
    channel_statistics(l, parts, count, i);
    for (int f = 0; f < l.n; ++f) roll(l, f, rolling_share(*parts));
    range own = own_range(count);
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        finish_channels(parts[p].layers[i], l.mean, l.variance, parts[p].layers[i].x);
}

/* Of all filters: the biases' and scales' gradients are added up from totals [2][n], of the
 * deltas and of them times x - mean, and the norm's coefficients set, lines [3][copies][n]. */
static void find_lines_back(layer l, const float *totals, int copies, float *lines)
{
    double n = (double)l.batch * l.out_h * l.out_w;
    size_t size = (size_t)copies * l.n;
    for (int f = 0; f < l.n; ++f) {
        l.bias_updates[f] += totals[f];
        if (!l.batch_normalize) continue;
        filter_norm norm = {l.x, l.mean[f], l.variance[f], l.scales[f]};
        norm_back back =
            find_norm_back(norm, n, totals[f], totals[l.n + f], l.scale_updates + f);
        for (size_t k = f; k < size; k += l.n)
            lines[k] = back.a, lines[size + k] = back.b, lines[2 * size + k] = back.c;
    }
}

static void backward_channels(layer l, const network *parts, int count, int i)
{
    wide_shape wide = find_channels(parts->layers[i]);
    size_t size = wide.shape.channels;
    double *sums = kd_calloc(2 * count * size, sizeof(double)), *products = sums + count * size;
    float *totals = kd_vectors((size_t)2 * l.n), *lines = kd_vectors(3 * size);
    float *mean = l.batch_normalize ? repeat(l.mean, l.n, wide.copies) : 0;
    range own = own_range(count);
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p) {
        layer part = parts[p].layers[i];
        if (part.activation_input)
            gradient_array(part.activation_input, part.batch * part.outputs, part.activation,
                           part.delta);
        start_channels_back(wide.shape, part.output, mean ? part.x : 0, mean, part.delta,
                            sums + p * size, products + p * size);
    }
    gather_items(sums, count, size * sizeof(double));
    gather_items(products, count, size * sizeof(double));
    add_rows(sums, count * wide.copies, l.n, 1, totals);
    add_rows(products, count * wide.copies, l.n, 1, totals + l.n);
    find_lines_back(l, totals, wide.copies, lines);
#pragma omp parallel for schedule(dynamic) if (mean)
    for (int p = own.first; p < (mean ? own.end : 0); ++p) {
        layer part = parts[p].layers[i];
        finish_channels_back(wide.shape, part.x, mean, lines, lines + size, lines + 2 * size,
                             part.delta);
    }
    free(sums), free(totals), free(lines), free(mean);
}

/* Either */

void finish_part(layer l, image_form form, const float *mean, const float *variance,
                 const float *x)
{
    l = with_filters(l);
    if (form != FORM_PLAIN) finish_channels(l, mean, variance, x);
    else
        for (int f = 0; f < l.n; ++f) finish_filter(l, f, mean, variance, x);
}

void normalize_parts(const network *net, const network *parts, int count, int i,
                     image_form form)
{
    if (form == FORM_PLAIN) normalize_filters(net->layers[i], rolling_share(*net));
    else normalize_channels(net->layers[i], parts, count, i);
}

void backward_between(const network *views, network *const *parts, int groups, int count, int i,
                      image_form form)
{
    if (form == FORM_PLAIN) backward_filters(views, groups, i, views->layers[i].x);
    else
        for (int g = 0; g < groups; ++g)
            backward_channels(views[g].layers[i], parts[g], count, i);
}
