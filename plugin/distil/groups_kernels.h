/*
 * The update of all momentum groups (groups.h) on the GPU, in one pass over the student's
 * parameters: each weight and each momentum is read once and written once, so a step moves
 * 8 (1 + groups) bytes a parameter. GPU=1 builds only.
 */
#ifndef KD_GROUPS_KERNELS_H
#define KD_GROUPS_KERNELS_H

#include "math/kd_math_kernels.h"

#define KD_MOST_GROUPS 3
#define KD_CHUNK 4096 /* parameters that one block of threads updates, at most */

#ifdef __cplusplus
extern "C" {
#endif

/* A piece of one array of parameters; `at` is its place in each group's buffer. */
typedef struct {
    float *parameters; /* [n], the GPU's */
    size_t at;
    int n;      /* at most KD_CHUNK */
    int decays; /* 1: weights, and with decay_all=1 biases and scales */
    float rate; /* the layer's learning_rate= */
    float clip; /* [net] clip=, of weights; 0: none */
} kd_chunk;

/* Groups as they are applied: the one with the weight decay first. */
typedef struct {
    int groups;
    float *buffers[KD_MOST_GROUPS]; /* the GPU's */
    float momentum[KD_MOST_GROUPS];
    unsigned broken[KD_MOST_GROUPS]; /* the bit that says of a group that it is not finite */
    float rate;                      /* learning rate / images of a batch */
    float decay;                     /* weight decay x images of a batch */
    int batch;                       /* for state->batch */
} kd_update;

/*
 * w <- w + rate sum_g v_g, v_g <- mu_g v_g, as Darknet's own updates do (v holds -dL/dw, summed
 * over the batch), for chunks[n] in the GPU's memory, on `stream`. Nothing is updated once
 * state->broken is set, by an earlier launch for sure; a v or a w that is not finite sets its
 * bit. Returns the launch's status. Formula: groups.h.
 */
cudaError_t kd_update_gpu(const kd_update *update, const kd_chunk *chunks, int n,
                          kd_gpu_state *state, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
