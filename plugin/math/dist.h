/*
 * DIST, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022 (arXiv 2205.10536): how
 * predictions lie to each other, not what they are. With P = softmax(z/T) of the student and
 * Q = softmax(y/T) of the teacher, [B][C], an image a row, and Pearson's correlation rho,
 *   inter  T^2 (1 - mean over the images of rho of their rows)
 *   intra  T^2 (1 - mean over the classes of rho of their columns)
 */
#ifndef KD_DIST_H
#define KD_DIST_H

#include "math/kd_math.h"

/*
 * Both times inter_weight and intra_weight. The loss, which does not fall apart, is NCG's; its
 * gradient g does, image by image, as KD's falls apart into DKD's: moving z_t alone moves the
 * target's odds and leaves the other classes' shares p^_j = p_j / (1 - p_t) as they are, so
 *   TCG = alpha g_t (1 at t, -p^_j elsewhere), NCG = g - g_t (1 at t, -p^_j elsewhere).
 */
kd_batch_loss dist_loss;

#endif
