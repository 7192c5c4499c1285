/* What a student on the GPU has there: its sums of losses, what was not finite, and its rows.
 */
#ifndef KD_STUDENT_GPU_H
#define KD_STUDENT_GPU_H

#include "distil/student.h"

#ifdef GPU
#include "math/kd_math_kernels.h"

struct student_gpu {
    kd_gpu_state *state;              /* the GPU's */
    kd_gpu_row *rows;                 /* the GPU's [size] */
    kd_gpu_row *staged;               /* [size], memory that the GPU can read */
    kd_gpu_box *boxes, *staged_boxes; /* the same of boxes; NULL where none are distilled */
    double *losses;                   /* the GPU's [2 size], for kd_rows_gpu */
    int size;
};

/* Room for n rows, and as many boxes; twice as much as there was when it grows, for that waits
 * for the GPU. */
void reserve_rows(struct student_gpu *gpu, int n, int with_boxes);
#endif

/* Allocates and frees kd->gpu. */
void attach_student_gpu(deepkd *kd);
void release_student_gpu(deepkd *kd);

/* Sets the GPU's sums of losses to 0, without waiting. */
void clear_losses_gpu(deepkd *kd);

/* Waits, then fetches the losses into kd->loss, and what was not finite into kd->broken. */
void read_losses_gpu(deepkd *kd);

#endif
