/* See channels.h. */
#include "cpu/channels.h"
#include "cpu/filters.h"

#include <math.h>

VECTORIZED void sum_channels(channel_shape s, const float *x, double *sums)
{
    for (size_t i = 0; i < s.pixels; ++i, x += s.channels)
#pragma omp simd
        for (int c = 0; c < s.channels; ++c) sums[c] += x[c];
}

VECTORIZED void square_channels(channel_shape s, const float *x, const float *mean,
                                double *sums)
{
    for (size_t i = 0; i < s.pixels; ++i, x += s.channels)
#pragma omp simd
        for (int c = 0; c < s.channels; ++c) sums[c] += (x[c] - mean[c]) * (x[c] - mean[c]);
}

VECTORIZED void forward_channels(channel_shape s, const float *a, const float *b,
                                 const float *x, float *out)
{
    for (size_t i = 0; i < s.pixels; ++i, x += s.channels, out += s.channels)
#pragma omp simd
        for (int c = 0; c < s.channels; ++c) {
            float y = a[c] * x[c] + b[c];
            out[c] = y > 0 ? y : s.slope * y;
        }
}

static float round_byte(float y)
{
    y = y > MOST_BYTE ? MOST_BYTE : y;
    y = y < -MOST_BYTE ? -MOST_BYTE : y;
    return rintf(y);
}

/* By itself: bytes might be part of the shape, as far as C knows. */
VECTORIZED static void bytes_row(int n, float slope, const float *a, const float *b,
                                 const float *x, signed char *out)
{
#pragma omp simd
    for (int c = 0; c < n; ++c) {
        float y = a[c] * x[c] + b[c], bent = slope * y;
        out[c] = round_byte(y > bent ? y : bent); /* slopes are 1 at most */
    }
}

void forward_bytes(channel_shape s, const float *a, const float *b, const float *x,
                   signed char *out)
{
    for (size_t i = 0; i < s.pixels; ++i, x += s.channels, out += s.channels)
        bytes_row(s.channels, s.slope, a, b, x, out);
}

VECTORIZED void round_to_bytes(size_t n, float factor, const float *x, signed char *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; ++i) out[i] = round_byte(factor * x[i]);
}

VECTORIZED void start_channels_back(channel_shape s, const float *out, const float *x,
                                    const float *mean, float *delta, double *sums,
                                    double *products)
{
    for (size_t i = 0; i < s.pixels; ++i, out += s.channels, delta += s.channels) {
#pragma omp simd
        for (int c = 0; c < s.channels; ++c) {
            delta[c] = out[c] > 0 ? delta[c] : s.slope * delta[c];
            sums[c] += delta[c];
        }
        if (!x) continue;
#pragma omp simd
        for (int c = 0; c < s.channels; ++c) products[c] += delta[c] * (x[c] - mean[c]);
        x += s.channels;
    }
}

VECTORIZED void finish_channels_back(channel_shape s, const float *x, const float *mean,
                                     const float *a, const float *b, const float *c,
                                     float *delta)
{
    for (size_t i = 0; i < s.pixels; ++i, x += s.channels, delta += s.channels)
#pragma omp simd
        for (int k = 0; k < s.channels; ++k)
            delta[k] = a[k] * delta[k] + (b[k] * (x[k] - mean[k]) + c[k]);
}
