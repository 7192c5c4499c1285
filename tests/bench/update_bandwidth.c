/*
 * How near the fused update of the momentum groups (plugin/distil/groups_kernels.h) comes to the speed
 * at which the card copies memory. For each number of groups one line of JSON: the bytes that
 * an update must move, 8 (1 + groups) a parameter, the seconds it took, and both rates; medians
 * of ROUNDS launches each, taken in turn with copies of as many bytes. `make bench GPU=1` runs
 * it.
 */
#include "distil/groups_kernels.h"

#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>

#define PARAMETERS 61949149 /* of YOLOv3: far more than a cache holds */
#define ROUNDS 31

typedef struct {
    kd_chunk *chunks;
    int n;
    float *buffers[1 + KD_MOST_GROUPS]; /* weights, momenta */
    kd_gpu_state *state;
    cudaEvent_t began, ended;
} bench;

static bench make_bench(void)
{
    bench b = {.n = (PARAMETERS + KD_CHUNK - 1) / KD_CHUNK};
    kd_chunk *chunks = calloc(b.n, sizeof(kd_chunk));
    if (!chunks) exit(1);
    for (int k = 0; k <= KD_MOST_GROUPS; ++k) b.buffers[k] = cuda_make_array(0, PARAMETERS);
    for (int i = 0; i < b.n; ++i) {
        size_t at = (size_t)i * KD_CHUNK, left = PARAMETERS - at;
        chunks[i] =
            (kd_chunk){b.buffers[0] + at, at, left < KD_CHUNK ? left : KD_CHUNK, 1, 1, 0};
    }
    check_error(cudaMalloc((void **)&b.chunks, b.n * sizeof(kd_chunk)));
    check_error(cudaMemcpy(b.chunks, chunks, b.n * sizeof(kd_chunk), cudaMemcpyHostToDevice));
    check_error(cudaMalloc((void **)&b.state, sizeof(kd_gpu_state)));
    check_error(cudaMemset(b.state, 0, sizeof(kd_gpu_state)));
    check_error(cudaEventCreate(&b.began));
    check_error(cudaEventCreate(&b.ended));
    free(chunks);
    return b;
}

/* Seconds of one update, or with groups 0 of a copy of a weights' array */
static double time_once(bench *b, int groups)
{
    float milliseconds;
    kd_update u = {.groups = groups, .rate = 1e-3f, .decay = 1e-4f};
    for (int k = 0; k < groups; ++k) {
        u.buffers[k] = b->buffers[1 + k];
        u.momentum[k] = .9f;
    }
    check_error(cudaEventRecord(b->began, 0));
    if (groups) check_error(kd_update_gpu(&u, b->chunks, b->n, b->state, 0));
    else
        check_error(cudaMemcpyAsync(b->buffers[1], b->buffers[0], PARAMETERS * sizeof(float),
                                    cudaMemcpyDeviceToDevice, 0));
    check_error(cudaEventRecord(b->ended, 0));
    check_error(cudaEventSynchronize(b->ended));
    check_error(cudaEventElapsedTime(&milliseconds, b->began, b->ended));
    return milliseconds / 1000;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds)
{
    qsort(seconds, ROUNDS, sizeof(double), compare);
    return seconds[ROUNDS / 2];
}

int main(void)
{
    cuda_set_device(0);
    if (gpu_index < 0) return 1;
    bench b = make_bench();
    for (int groups = 1; groups <= KD_MOST_GROUPS; ++groups) {
        double updates[ROUNDS], copies[ROUNDS], moved = 8. * (1 + groups) * PARAMETERS;
        time_once(&b, groups), time_once(&b, 0);
        for (int i = 0; i < ROUNDS; ++i) {
            updates[i] = time_once(&b, groups);
            copies[i] = time_once(&b, 0);
        }
        double update = median(updates), copy = median(copies);
        printf("{\"groups\": %d, \"parameters\": %d, \"bytes\": %.0f, \"seconds\": %.9f, "
               "\"update_gb_s\": %.1f, \"copy_gb_s\": %.1f}\n",
               groups, PARAMETERS, moved, update, moved / update / 1e9,
               8. * PARAMETERS / copy / 1e9);
    }
    return 0;
}
