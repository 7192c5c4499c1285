/*
 * kd_row (kd_math.h) for many rows at once on the GPU, with the same formulas, the same rule
 * for ties and the same double precision. One launch for all rows of a batch; nothing here
 * waits for the GPU. GPU=1 builds only.
 */
#ifndef KD_MATH_KERNELS_H
#define KD_MATH_KERNELS_H

#include "math/broken.h"
#include "math/kd_math.h"

#include "cuda_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One row. The pointers are the GPU's and point at class 0; a class is `stride` floats behind
 * the one before it; an objectness stands one stride before class 0, a box x y w h before that.
 */
typedef struct {
    const float *student, *teacher; /* logits z and y */
    float *tcg, *ncg;               /* -dL/dz is added to these; laid out as z */
    int student_stride, teacher_stride;
    int target;       /* the true class, or -1: the teacher's most confident one */
    int next;         /* another row of the same student's prediction, or -1 */
    int is_first;     /* 0: it is another's `next` */
    float weight;     /* of TCG and NCG, or -1: the teacher's objectness */
    float objectness; /* weight of the objectness' loss, which belongs to the TCG; 0: none */
} kd_gpu_row;

/* A row's box, where boxes are distilled. */
typedef struct {
    float weight;              /* or -1: the teacher's objectness; 0: none */
    kd_box_place at, teachers; /* where both stand */
} kd_gpu_box;

/* What the GPU keeps of a run until the host asks; in the GPU's memory, zeros at first. */
typedef struct {
    double tcg, ncg; /* sums of losses */
    unsigned broken; /* bits of KD_BROKEN */
    int batch;       /* in which the first of them was set */
    unsigned done;   /* blocks that have ended; 0 between launches */
} kd_gpu_state;

/*
 * Losses and deltas of rows[n] (n may be 0) and their boxes[n] (or NULL), all in the GPU's
 * memory, on `stream`: the losses, times `weight` and the row's, are added to *state in an
 * order that is always the same, the deltas to the rows' arrays. losses: [2 n], overwritten. 0
 * <= keep <= classes - 1; classes is at most 2^31. `batch` is for state->batch. What is not
 * finite sets its bit. Returns the launch's status.
 */
cudaError_t kd_rows_gpu(const kd_loss_config *config, int classes, int keep, double weight,
                        const kd_gpu_row *rows, const kd_gpu_box *boxes, int n, double *losses,
                        kd_gpu_state *state, int batch, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
