/*
 * A row of a teacher's logits in few bytes: the target's and the `keep` largest others as
 * float16, and of the rest what they sum to. For one softmax at one temperature; plain arrays.
 *
 * With the row's largest logit m, kept classes i and the rest's classes j, as bytes in the
 * machine's order:
 *
 *   uint16 [keep + 1]   the target, then the others by their numbers
 *   float16 [keep + 1]  y_i - m of these, at least -65504
 *   float32             log sum_j exp((y_j - m) / T); 0 when there is no rest
 *
 * What comes back has y_i - m, rounded, and for every class of the rest the one logit with
 * which they sum to the same, but never more than the smallest of the kept others. So a softmax
 * at T is what it was at each kept class and in the rest's sum, up to float16's rounding (a
 * share of 2^-11 of y_i - m); how the rest's probability is distributed among them is lost.
 */
#ifndef KD_TOP_ROW_H
#define KD_TOP_ROW_H

#include <stddef.h>
#include <stdint.h>

/* IEEE 754's binary16: rounded to the nearest, ties to even; beyond 65520 infinity. */
uint16_t kd_to_half(float x);
float kd_from_half(uint16_t half);

#define KD_MOST_TOP_CLASSES 65536
size_t kd_top_row_bytes(int keep);

/* y[classes] finite; target < 0: the largest; 1 <= keep < classes <= KD_MOST_TOP_CLASSES;
 * scratch: [3 classes] */
void kd_pack_top_row(int classes, const float *y, int target, int keep, double temperature,
                     void *bytes, double *scratch);

/* Back to y[classes]; 0 when the bytes name a class that there is not, else 1. */
int kd_unpack_top_row(int classes, const void *bytes, int keep, double temperature, float *y);

#endif
