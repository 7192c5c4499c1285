/* See groups_kernels.h. */
#include "distil/groups_kernels.h"

#define THREADS 256

template <int groups>
static __global__ void update_kernel(kd_update u, const kd_chunk *chunks, kd_gpu_state *state)
{
    if (state->broken) return;
    kd_chunk c = chunks[blockIdx.x];
    float rate = c.rate * u.rate, decay = c.decays ? u.decay : 0;
    unsigned broken = 0;
    for (int i = threadIdx.x; i < c.n; i += blockDim.x) {
        float w = c.parameters[i], v[groups];
#pragma unroll
        for (int k = 0; k < groups; ++k) v[k] = u.buffers[k][c.at + i];
        v[0] -= decay * w;
#pragma unroll
        for (int k = 0; k < groups; ++k) {
            w += rate * v[k];
            if (!isfinite(v[k])) broken |= u.broken[k];
            u.buffers[k][c.at + i] = u.momentum[k] * v[k];
        }
        if (!isfinite(w)) broken |= KD_BROKEN_WEIGHTS;
        if (c.clip) w = fminf(c.clip, fmaxf(-c.clip, w));
        c.parameters[i] = w;
    }
    if (!broken) return;
    atomicOr(&state->broken, broken);
    atomicCAS(&state->batch, 0, u.batch);
}

cudaError_t kd_update_gpu(const kd_update *update, const kd_chunk *chunks, int n,
                          kd_gpu_state *state, cudaStream_t stream)
{
    if (!n) return cudaSuccess;
    switch (update->groups) {
    case 1: update_kernel<1><<<n, THREADS, 0, stream>>>(*update, chunks, state); break;
    case 2: update_kernel<2><<<n, THREADS, 0, stream>>>(*update, chunks, state); break;
    default: update_kernel<3><<<n, THREADS, 0, stream>>>(*update, chunks, state); break;
    }
    return cudaGetLastError();
}
