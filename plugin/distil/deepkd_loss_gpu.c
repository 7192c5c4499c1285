/* See deepkd_loss_gpu.h. */
#include "distil/deepkd_loss_gpu.h"
#include "distil/groups.h"

#ifdef GPU

#include "cuda.h"

#include <stdlib.h>

void attach_deepkd_loss_gpu(deepkd *kd)
{
    kd->gpu = kd_calloc(1, sizeof(deepkd_gpu));
    check_error(cudaMalloc((void **)&kd->gpu->state, sizeof(kd_gpu_state)));
    check_error(cudaMemset(kd->gpu->state, 0, sizeof(kd_gpu_state)));
    check_error(cudaDeviceSynchronize()); /* other streams read it */
}

static void free_rows(deepkd_gpu *gpu)
{
    check_error(cudaFree(gpu->rows));
    check_error(cudaFree(gpu->losses));
    check_error(cudaFreeHost(gpu->staged));
}

void release_deepkd_loss_gpu(deepkd *kd)
{
    if (!kd->gpu) return;
    free_rows(kd->gpu);
    check_error(cudaFree(kd->gpu->state));
    free(kd->gpu);
    kd->gpu = 0;
}

/* Room for n rows; twice as much as there was when it grows, for that waits for the GPU. */
static void reserve_rows(deepkd_gpu *gpu, int n)
{
    if (n <= gpu->size) return;
    free_rows(gpu);
    gpu->size = n > 2 * gpu->size ? n : 2 * gpu->size;
    check_error(cudaMalloc((void **)&gpu->rows, gpu->size * sizeof(kd_gpu_row)));
    check_error(cudaMalloc((void **)&gpu->losses, gpu->size * 2 * sizeof(double)));
    check_error(cudaMallocHost((void **)&gpu->staged, gpu->size * sizeof(kd_gpu_row)));
}

static float *logits_on_gpu(network *net, const net_outputs *outputs, int o)
{
    return net->layers[outputs->layer[o] - 1].output_gpu;
}

static kd_gpu_row make_row(const deepkd *kd, const row *r)
{
    prediction p = r->student, q = r->teacher;
    const teacher *t = kd->teacher;
    return (kd_gpu_row){
        .student = logits_on_gpu(kd->net, &kd->outputs, p.output) + p.classes,
        .teacher = logits_on_gpu(t->net, &t->outputs, q.output) + q.classes,
        .tcg = kd->delta[KD_TCG][p.output] + p.classes,
        .ncg = kd->delta[KD_NCG][p.output] + p.classes,
        .student_stride = p.stride,
        .teacher_stride = q.stride,
        .target = r->target,
        .weight = r->weight,
        .objectness = kd->options.objectness_weight * r->is_first,
        .is_first = r->is_first,
        .next = -1,
    };
}

/*
 * The rows of one prediction, which follow each other through `next`, are worked on one after
 * the other: they add to the same deltas.
 */
static void stage_rows(deepkd *kd)
{
    const row *rows = kd->rows.rows;
    kd_gpu_row *staged = kd->gpu->staged;
    for (int i = 0; i < kd->rows.n; ++i) {
        int before = i;
        staged[i] = make_row(kd, rows + i);
        if (rows[i].is_first) continue;
        do --before;
        while (rows[before].student.classes != rows[i].student.classes ||
               rows[before].student.output != rows[i].student.output);
        staged[before].next = i;
    }
}

/* The memory of the last call's rows is free: Darknet has waited for the stream since. */
void distil_rows_gpu(deepkd *kd, double weight)
{
    deepkd_gpu *gpu = kd->gpu;
    cudaStream_t stream = get_cuda_stream();
    if (!kd->rows.n) return; /* images without objects */
    reserve_rows(gpu, kd->rows.n);
    stage_rows(kd);
    check_error(cudaMemcpyAsync(gpu->rows, gpu->staged, kd->rows.n * sizeof(kd_gpu_row),
                                cudaMemcpyHostToDevice, stream));
    check_error(kd_rows_gpu(&kd->loss_config, kd->classes, kd->keep, weight, gpu->rows,
                            kd->rows.n, gpu->losses, gpu->state, training_batch(kd->net),
                            stream));
}

void clear_losses_gpu(deepkd *kd)
{
    check_error(cudaMemsetAsync(kd->gpu->state, 0, 2 * sizeof(double), get_cuda_stream()));
}

/* In words, the first of the bits in the order in which the CPU looks at things */
static const char *name_broken(const deepkd *kd, unsigned broken)
{
    if (broken & KD_BROKEN_TEACHER) return "teacher's logits";
    if (broken & KD_BROKEN_STUDENT) return "student's logits";
    if (broken & KD_BROKEN_TCG) return "target-class loss (tcg)";
    if (broken & KD_BROKEN_NCG) return "non-target-class loss (ncg)";
    for (int g = 0; g < kd->groups->n; ++g)
        if (broken & KD_BROKEN_GROUP << g) return name_gradient(kd->groups->group + g);
    return "student's weights";
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
    kd->broken = name_broken(kd, state.broken);
    kd->broken_batch = state.batch;
}

#endif
