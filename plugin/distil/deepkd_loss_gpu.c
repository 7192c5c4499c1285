/* See deepkd_loss_gpu.h. */
#include "distil/deepkd_loss_gpu.h"

#ifdef GPU

#include "distil/student_gpu.h"

#include "cuda.h"

static float *logits_on_gpu(network *net, const net_outputs *outputs, int o)
{
    return net->layers[outputs->layer[o] - 1].output_gpu;
}

/* As box_share: what the kernel weighs a row's box by */
static float box_weight(const deepkd *kd, const row *r)
{
    if (!r->is_first || !kd->loss_config.box_weight) return 0;
    int as_classes = kd->options.rows == ROWS_DENSE || kd->loss_config.method->box_weight;
    return as_classes ? r->weight : ASK_TEACHER;
}

static kd_gpu_row make_row(const deepkd *kd, const row *r)
{
    prediction p = r->student, q = r->teacher;
    const teacher *t = kd->teacher;
    kd_gpu_row made = {
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
        .box = box_weight(kd, r),
    };
    if (!made.box) return made;
    made.at = box_place(kd->net, &kd->outputs, p);
    made.teachers = box_place(t->net, &t->outputs, q);
    return made;
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
    struct student_gpu *gpu = kd->gpu;
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

#endif
