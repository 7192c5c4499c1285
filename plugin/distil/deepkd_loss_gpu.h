/* The part of [deepkd_loss] that only a student on the GPU has: all rows in one launch. */
#ifndef KD_DEEPKD_LOSS_GPU_H
#define KD_DEEPKD_LOSS_GPU_H

#include "distil/deepkd_loss.h"

#ifdef GPU
#include "math/kd_math_kernels.h"

typedef struct deepkd_gpu {
    kd_gpu_state *state; /* the GPU's */
    kd_gpu_row *rows;    /* the GPU's [size] */
    kd_gpu_row *staged;  /* [size], memory that the GPU can read */
    double *losses;      /* the GPU's [2 size], for kd_rows_gpu */
    int size;
} deepkd_gpu;
#endif

/* Allocates and frees kd->gpu. */
void attach_deepkd_loss_gpu(deepkd *kd);
void release_deepkd_loss_gpu(deepkd *kd);

/* Losses and deltas of kd->rows, times `weight`: launched, not waited for. */
void distil_rows_gpu(deepkd *kd, double weight);

/* Sets the GPU's sums of losses to 0, without waiting. */
void clear_losses_gpu(deepkd *kd);

/* Waits, then fetches the losses into kd->loss, and what was not finite into kd->broken. */
void read_losses_gpu(deepkd *kd);

#endif
