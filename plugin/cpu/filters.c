/* See filters.h. */
#include "cpu/filters.h"

#include "activations.h"

#include <float.h>
#include <math.h>
#include <string.h>

static float *row(filter_shape s, int image, int f, const float *base)
{
    return (float *)base + ((size_t)image * s.filters + f) * s.spatial;
}

int has_slope(ACTIVATION a, float *slope)
{
    *slope = a == RELU ? 0 : a == LEAKY ? .1f : 1;
    return a == LINEAR || a == RELU || a == LEAKY;
}

int has_last(ACTIVATION a)
{
    float slope;
    return has_slope(a, &slope) || a == MISH || a == SWISH;
}

VECTORIZED static double sum_row(int n, const float *x)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += x[i];
    return sum;
}

VECTORIZED static double square_row(int n, const float *x, float mean)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

VECTORIZED static double product_row(int n, const float *x, float mean, const float *delta)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += delta[i] * (x[i] - mean);
    return sum;
}

VECTORIZED static void line_row(int n, float a, float b, float slope, const float *x,
                                float *out)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) {
        float y = a * x[i] + b;
        out[i] = y > 0 ? y : slope * y;
    }
}

VECTORIZED static void slope_row(int n, float slope, const float *out, float *delta)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) delta[i] = out[i] > 0 ? delta[i] : slope * delta[i];
}

VECTORIZED static void normalize_row(int n, const float *x, float mean, float a, float b,
                                     float c, float *delta)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) delta[i] = a * delta[i] + (b * (x[i] - mean) + c);
}

VECTORIZED static void sum_rows(int n, float alpha, float beta, float slope, const float *in,
                                const float *add, float *out)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) {
        float y = alpha * in[i] + beta * add[i];
        out[i] = y > 0 ? y : slope * y;
    }
}

VECTORIZED void add_row(int n, float a, const float *x, float *to)
{
#pragma omp simd
    for (int i = 0; i < n; ++i) to[i] += a * x[i];
}

/* delta *= the activation's gradient, where it gave out, or took it (gradient_needs_input) */
static void activation_back(int n, ACTIVATION activation, const float *out, float *delta)
{
    float slope;
    if (!has_slope(activation, &slope)) gradient_array(out, n, activation, delta);
    else if (slope != 1) slope_row(n, slope, out, delta);
}

void activate_row(int n, ACTIVATION activation, float *keep, float *out)
{
    if (keep) memcpy(keep, out, n * sizeof(float));
    activate_array(out, n, activation);
}

void forward_sum(int n, ACTIVATION activation, float alpha, float beta, const float *in,
                 const float *add, float *keep, float *out)
{
    float slope;
    int is_simple = has_slope(activation, &slope);
    sum_rows(n, alpha, beta, slope, in, add, out);
    if (!is_simple) activate_row(n, activation, keep, out);
}

void backward_sum(int n, ACTIVATION activation, float alpha, float beta, const float *out,
                  float *delta, float *in_delta, float *add_delta)
{
    activation_back(n, activation, out, delta);
    add_row(n, alpha, delta, in_delta);
    add_row(n, beta, delta, add_delta);
}

double filter_sum(filter_shape s, int image, int f, const float *x)
{
    return sum_row(s.spatial, row(s, image, f, x));
}

double filter_squares(filter_shape s, int image, int f, const float *x, float mean)
{
    return square_row(s.spatial, row(s, image, f, x), mean);
}

void filter_statistics(filter_shape s, int f, const float *x, float *mean, float *variance)
{
    double n = (double)s.batch * s.spatial, sum = 0, squares = 0;
    for (int b = 0; b < s.batch; ++b) sum += filter_sum(s, b, f, x);
    *mean = sum / n;
    for (int b = 0; b < s.batch; ++b) squares += filter_squares(s, b, f, x, *mean);
    *variance = squares / (n - 1);
}

void forward_filter(filter_shape s, int f, float a, float b, const float *x, float *keep,
                    float *out)
{
    float slope;
    int is_simple = has_slope(s.activation, &slope);
    for (int i = 0; i < s.batch; ++i) {
        float *to = row(s, i, f, out);
        line_row(s.spatial, a, b, slope, row(s, i, f, x), to);
        if (!is_simple)
            activate_row(s.spatial, s.activation, keep ? row(s, i, f, keep) : 0, to);
    }
}

void start_filter_back(filter_shape s, int image, int f, filter_norm norm, const float *out,
                       float *delta, double *sum, double *product)
{
    float *d = row(s, image, f, delta);
    activation_back(s.spatial, s.activation, row(s, image, f, out), d);
    *sum += sum_row(s.spatial, d);
    if (norm.x) *product += product_row(s.spatial, row(s, image, f, norm.x), norm.mean, d);
}

norm_back find_norm_back(filter_norm norm, double n, double sum, double product, float *scale)
{
    *scale += product / (sqrtf(norm.variance) + .000001f);
    double spread = norm.variance + .00001f, a = norm.scale / sqrt(spread);
    return (norm_back){a, -a * product / spread / n, -a * sum / n};
}

void finish_filter_back(filter_shape s, int f, filter_norm norm, double n, double sum,
                        double product, float *delta, float *bias, float *scale)
{
    *bias += sum;
    if (!norm.x) return;
    norm_back back = find_norm_back(norm, n, sum, product, scale);
    for (int i = 0; i < s.batch; ++i)
        normalize_row(s.spatial, row(s, i, f, norm.x), norm.mean, back.a, back.b, back.c,
                      row(s, i, f, delta));
}

void backward_filter(filter_shape s, int f, filter_norm norm, const float *out, float *delta,
                     float *bias, float *scale)
{
    double sum = 0, product = 0, n = (double)s.batch * s.spatial;
    for (int b = 0; b < s.batch; ++b)
        start_filter_back(s, b, f, norm, out, delta, &sum, &product);
    finish_filter_back(s, f, norm, n, sum, product, delta, bias, scale);
}

pool_shape find_pool(layer l, int n)
{
    return (pool_shape){n, l.h, l.w, l.out_h, l.out_w, l.size, l.stride_x, l.stride_y, l.pad};
}

/* The outputs [*first, *end) of a row whose windows have their number `offset` in the input */
static void find_inside(int outputs, int inputs, int stride, int offset, int *first, int *end)
{
    *first = offset < 0 ? (-offset + stride - 1) / stride : 0;
    *end = offset < inputs ? (inputs - 1 - offset) / stride + 1 : 0;
    if (*end > outputs) *end = outputs;
}

/* out[j] = max(out[j], in[j * stride]) and where that stands, as a number of the whole input */
VECTORIZED static void pool_row(int n, int stride, const float *in, int at, float *out,
                                int *indexes)
{
    if (!indexes)
#pragma omp simd
        for (int j = 0; j < n; ++j) out[j] = in[j * stride] > out[j] ? in[j * stride] : out[j];
    else
        for (int j = 0; j < n; ++j) {
            int is_more = in[j * stride] > out[j];
            out[j] = is_more ? in[j * stride] : out[j];
            indexes[j] = is_more ? at + j * stride : indexes[j];
        }
}

/* One row of outputs, from the rows of `plane` that its windows see */
static void pool_window(pool_shape s, const float *in, int plane, int i, float *out,
                        int *indexes)
{
    for (int j = 0; j < s.out_w; ++j) out[j] = -FLT_MAX;
    for (int j = 0; j < s.out_w && indexes; ++j) indexes[j] = -1;
    for (int m = 0; m < s.size; ++m) {
        int y = i * s.stride_y + m - s.pad / 2;
        for (int k = 0; k < s.size && y >= 0 && y < s.h; ++k) {
            int first, end, x = k - s.pad / 2;
            find_inside(s.out_w, s.w, s.stride_x, x, &first, &end);
            int at = (plane * s.h + y) * s.w + x + first * s.stride_x;
            if (end > first)
                pool_row(end - first, s.stride_x, in + at, at, out + first,
                         indexes ? indexes + first : 0);
        }
    }
}

void forward_pool(pool_shape s, const float *in, float *out, int *indexes)
{
    for (int plane = 0; plane < s.n; ++plane)
        for (int i = 0; i < s.out_h; ++i) {
            size_t at = ((size_t)plane * s.out_h + i) * s.out_w;
            pool_window(s, in, plane, i, out + at, indexes ? indexes + at : 0);
        }
}

/* One pixel of outputs, whose window begins at row `top` and column `left` of the image */
static void pool_pixel(pool_shape s, int channels, const float *in, int image, int top,
                       int left, float *out, int *indexes)
{
    for (int c = 0; c < channels; ++c) out[c] = -FLT_MAX;
    for (int c = 0; c < channels && indexes; ++c) indexes[c] = -1;
    for (int y = top < 0 ? 0 : top; y < top + s.size && y < s.h; ++y)
        for (int x = left < 0 ? 0 : left; x < left + s.size && x < s.w; ++x) {
            int at = ((image * s.h + y) * s.w + x) * channels;
            pool_row(channels, 1, in + at, at, out, indexes);
        }
}

void forward_pool_last(pool_shape s, int channels, const float *in, float *out, int *indexes)
{
    for (int image = 0; image < s.n; ++image)
        for (int i = 0; i < s.out_h; ++i)
            for (int j = 0; j < s.out_w; ++j) {
                size_t at = (((size_t)image * s.out_h + i) * s.out_w + j) * channels;
                pool_pixel(s, channels, in, image, i * s.stride_y - s.pad / 2,
                           j * s.stride_x - s.pad / 2, out + at, indexes ? indexes + at : 0);
            }
}
