/*
 * MLKD, "Multi-Level Logit Distillation", CVPR 2023: what it has beyond a sum of KD's loss over
 * several temperatures (kd_math.h, methods.c). P = softmax(z/T) of the student and Q =
 * softmax(y/T) of the teacher are [B][C], an image a row:
 *   batch level  |P P' - Q Q'|^2 / B, how images lie to each other
 *   class level  |P' P - Q' Q|^2 / C, how classes do
 * of the weak view, at each temperature. Neither is multiplied by T^2.
 */
#ifndef KD_MLKD_H
#define KD_MLKD_H

#include "math/kd_math.h"

/*
 * The weights of the weak view's rows: 1 for the images of which the teacher is no surer than
 * of the median one, else 0; with official=1 the share of the former. The strong view's: 1.
 */
kd_pair_weights mlkd_weights;

/*
 * Both levels times batch_weight and class_weight, to NCG. The batch level is of those images
 * alone, the class level of the classes whose probabilities (the teacher's, T = 1) come to no
 * more than the median class's. With official=1 both are of all, times the shares of those, and
 * to TOG: as the DeepKD authors' code has it.
 */
kd_batch_loss mlkd_loss;

#endif
