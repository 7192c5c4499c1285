/* See teacher_kernels.h. */
#include "distil/teacher_kernels.h"

#define THREADS 256

/* A row of the image between two of its pixels */
static __device__ float between(const float *row, int w, float x, int is_last)
{
    if (is_last || w == 1) return row[w - 1];
    int left = (int)x;
    float share = x - left;
    return (1 - share) * row[left] + share * row[left + 1];
}

static __global__ void resize_kernel(int n, const float *from, int w, int h, float *to,
                                     int to_w, int to_h)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int column = i % to_w, row = i / to_w % to_h, plane = i / to_w / to_h;
    float x = column * ((float)(w - 1) / (to_w - 1)), y = row * ((float)(h - 1) / (to_h - 1));
    int top = (int)y, is_last = column == to_w - 1;
    float share = y - top;
    const float *line = from + ((size_t)plane * h + top) * w;
    float value = (1 - share) * between(line, w, x, is_last);
    if (row < to_h - 1 && h > 1) value += share * between(line + w, w, x, is_last);
    to[i] = value;
}

cudaError_t kd_resize_gpu(int planes, const float *from, int w, int h, float *to, int to_w,
                          int to_h, cudaStream_t stream)
{
    int n = planes * to_w * to_h;
    resize_kernel<<<(n + THREADS - 1) / THREADS, THREADS, 0, stream>>>(n, from, w, h, to, to_w,
                                                                       to_h);
    return cudaGetLastError();
}
