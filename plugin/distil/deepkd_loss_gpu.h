/* The part of [deepkd_loss] that only a student on the GPU has: all rows in one launch. */
#ifndef KD_DEEPKD_LOSS_GPU_H
#define KD_DEEPKD_LOSS_GPU_H

#include "distil/student.h"

/* Losses and deltas of kd->rows, times `weight`: launched, not waited for. */
void distil_rows_gpu(deepkd *kd, double weight);

#endif
