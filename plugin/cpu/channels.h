/*
 * What filters.h does between convolutions, by the same formulas, for images channels last:
 * [pixels][channels], of some images. Sums over pixels are each part's own, and added up by who
 * calls: sums[channels] grow.
 */
#ifndef KD_CHANNELS_H
#define KD_CHANNELS_H

#include <stddef.h>

typedef struct {
    size_t pixels; /* of all images */
    int channels;
    float slope; /* the activation's, below 0 */
} channel_shape;

/* sums += x, of each channel */
void sum_channels(channel_shape s, const float *x, double *sums);

/* sums += (x - mean)^2 */
void square_channels(channel_shape s, const float *x, const float *mean, double *sums);

/* out = activation(a x + b); x may be out. */
void forward_channels(channel_shape s, const float *a, const float *b, const float *x,
                      float *out);

#define MOST_BYTE 127

/* The same, rounded to whole numbers of MOST_BYTE at most, below 0 too */
void forward_bytes(channel_shape s, const float *a, const float *b, const float *x,
                   signed char *out);

/* out[n] = factor x, so rounded */
void round_to_bytes(size_t n, float factor, const float *x, signed char *out);

/* delta goes back through the activation, whose output was `out`; sums += delta, and products
 * += delta (x - mean), unless x is NULL. */
void start_channels_back(channel_shape s, const float *out, const float *x, const float *mean,
                         float *delta, double *sums, double *products);

/* delta = a delta + (b (x - mean) + c) */
void finish_channels_back(channel_shape s, const float *x, const float *mean, const float *a,
                          const float *b, const float *c, float *delta);

#endif
