/* See deepkd_loss_gpu.h. */
#include "distil/deepkd_loss_gpu.h"

#ifdef GPU

#include "distil/student_gpu.h"

#include "cuda.h"

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

/* As box_share: what the kernel weighs a row's box by, and where it stands */
static kd_gpu_box make_box(const deepkd *kd, const row *r)
{
    int as_classes = kd->options.rows == ROWS_DENSE || kd->loss_config.method->box_weight;
    if (!r->is_first) return (kd_gpu_box){0};
    return (kd_gpu_box){
        .weight = as_classes ? r->weight : ASK_TEACHER,
        .at = box_place(kd->net, &kd->outputs, r->student),
        .teachers = box_place(kd->teacher->net, &kd->teacher->outputs, r->teacher),
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
        if (kd->gpu->boxes) kd->gpu->staged_boxes[i] = make_box(kd, rows + i);
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
    reserve_rows(gpu, kd->rows.n, kd->loss_config.box_weight > 0);
    stage_rows(kd);
    check_error(cudaMemcpyAsync(gpu->rows, gpu->staged, kd->rows.n * sizeof(kd_gpu_row),
                                cudaMemcpyHostToDevice, stream));
    if (gpu->boxes)
        check_error(cudaMemcpyAsync(gpu->boxes, gpu->staged_boxes,
                                    kd->rows.n * sizeof(kd_gpu_box), cudaMemcpyHostToDevice,
                                    stream));
    check_error(kd_rows_gpu(&kd->loss_config, kd->classes, kd->keep, weight, gpu->rows,
                            gpu->boxes, kd->rows.n, gpu->losses, gpu->state,
                            training_batch(kd->net), stream));
}

#endif
