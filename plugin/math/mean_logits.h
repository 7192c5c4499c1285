/*
 * The logits of an ensemble: one prediction of several teachers, as the one that a student
 * learns from. Plain arrays; in double, and in log space, so finite for all finite logits, and
 * not finite where one is not. No gradient goes through them: teachers do not learn.
 */
#ifndef KD_MEAN_LOGITS_H
#define KD_MEAN_LOGITS_H

#include <stddef.h>

#define KD_MOST_TEACHERS 8

/*
 * Of the logits y[m][j stride] of the teachers m < teachers (1 to KD_MOST_TEACHERS), j < n, to
 * mean[j stride], which may be one of them:
 *
 *   kd_mean_logits     1/M sum_m y_mj; of a softmax the geometric mean of the probabilities,
 *                      scaled to a sum of 1
 *   kd_mean_softmax    log(1/M sum_m softmax(y_m)_j), at T = 1
 *   kd_mean_logistic   the logit of 1/M sum_m sigmoid(y_mj), the same for a yes or no each
 *
 * Both means: Hinton et al., 2015, section 1: the arithmetic or geometric mean of an ensemble.
 */
void kd_mean_logits(int teachers, size_t n, size_t stride, const float *const *y, float *mean);
void kd_mean_softmax(int teachers, size_t n, size_t stride, const float *const *y, float *mean);
void kd_mean_logistic(int teachers, size_t n, size_t stride, const float *const *y,
                      float *mean);

#endif
