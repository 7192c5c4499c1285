/* See student_gpu.h. */
#include "distil/student_gpu.h"
#include "support.h"

#ifdef GPU

#include "cuda.h"

#include <stdlib.h>

void attach_student_gpu(deepkd *kd)
{
    kd->gpu = kd_calloc(1, sizeof(*kd->gpu));
    check_error(cudaMalloc((void **)&kd->gpu->state, sizeof(kd_gpu_state)));
    check_error(cudaMemset(kd->gpu->state, 0, sizeof(kd_gpu_state)));
    check_error(cudaDeviceSynchronize()); /* other streams read it */
}

static void free_rows(struct student_gpu *gpu)
{
    check_error(cudaFree(gpu->rows));
    check_error(cudaFree(gpu->losses));
    check_error(cudaFreeHost(gpu->staged));
    check_error(cudaFree(gpu->boxes));
    check_error(cudaFreeHost(gpu->staged_boxes));
}

void release_student_gpu(deepkd *kd)
{
    if (!kd->gpu) return;
    free_rows(kd->gpu);
    check_error(cudaFree(kd->gpu->state));
    free(kd->gpu);
    kd->gpu = 0;
}

void reserve_rows(struct student_gpu *gpu, int n, int with_boxes)
{
    if (n <= gpu->size) return;
    free_rows(gpu);
    gpu->size = n > 2 * gpu->size ? n : 2 * gpu->size;
    check_error(cudaMalloc((void **)&gpu->rows, gpu->size * sizeof(kd_gpu_row)));
    check_error(cudaMalloc((void **)&gpu->losses, gpu->size * 2 * sizeof(double)));
    check_error(cudaMallocHost((void **)&gpu->staged, gpu->size * sizeof(kd_gpu_row)));
    if (!with_boxes) return;
    check_error(cudaMalloc((void **)&gpu->boxes, gpu->size * sizeof(kd_gpu_box)));
    check_error(cudaMallocHost((void **)&gpu->staged_boxes, gpu->size * sizeof(kd_gpu_box)));
}

void clear_losses_gpu(deepkd *kd)
{
    check_error(cudaMemsetAsync(kd->gpu->state, 0, 2 * sizeof(double), get_cuda_stream()));
}

void read_losses_gpu(deepkd *kd)
{
    kd_gpu_state state;
    cudaStream_t stream = get_cuda_stream();
    check_error(
        cudaMemcpyAsync(&state, kd->gpu->state, sizeof(state), cudaMemcpyDeviceToHost, stream));
    check_error(cudaStreamSynchronize(stream));
    kd->loss[KD_TCG] = state.tcg;
    kd->loss[KD_NCG] = state.ncg;
    if (kd->broken || !state.broken) return;
    kd->broken = state.broken;
    kd->broken_batch = state.batch;
}

#endif
