/* Images resized on the GPU, as Darknet's resize_image does it on the CPU. GPU=1 builds only.
 */
#ifndef KD_TEACHER_KERNELS_H
#define KD_TEACHER_KERNELS_H

#include "cuda_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * from: [planes][h][w], to: [planes][to_h][to_w], on the GPU; at most 2^31 - 1 numbers. Returns
 * the launch's status.
 */
cudaError_t kd_resize_gpu(int planes, const float *from, int w, int h, float *to, int to_w,
                          int to_h, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
