/* See teacher_gpu.h. */
#include "distil/teacher_gpu.h"
#include "net/device.h"
#include "support.h"

#ifdef GPU

#include "distil/teacher_kernels.h"
#include "net/memory_plan.h"

#include "cuda.h"

#include <stdlib.h>

struct teacher_gpu {
    memory_plan plan;     /* of the outputs as they are shared now */
    float **memory;       /* [plan.blocks] */
    int *indexes;         /* of the largest [maxpool], for all of them */
    cudaEvent_t uploaded; /* the images are where the teacher reads them */
    cudaEvent_t done;     /* the teacher's logits are there */
};

static int is_output(const teacher *t, int i)
{
    for (int o = 0; o < t->outputs.n; ++o)
        if (t->outputs.layer[o] == i) return 1;
    return 0;
}

/* 1 when the host reads the layer's output: logits and predictions */
static int is_read_by_host(const teacher *t, int i)
{
    return is_output(t, i) || t->gpu->plan.last_use[i] == t->net->n;
}

/* Frees what each layer has of its own and points it into the shared blocks. */
static void share_layer(teacher *t, int i)
{
    struct teacher_gpu *gpu = t->gpu;
    layer *l = t->net->layers + i;
    int owner = gpu->plan.owner[i];
    if (owner == i) cuda_free(l->output_gpu);
    l->output_gpu = gpu->plan.block[owner] < 0 ? 0 : gpu->memory[gpu->plan.block[owner]];
    if (is_read_by_host(t, i)) {
        l->output = realloc(l->output, (size_t)l->outputs * l->batch * sizeof(float));
        if (!l->output) kd_fail("out of memory");
    }
    if (owner != i) l->output = t->net->layers[owner].output;
    if (l->x_gpu) {
        cuda_free(l->x_gpu);
        l->x_gpu = l->output_gpu; /* a copy for backward, which inference makes all the same */
    }
    if (l->indexes_gpu) {
        cuda_free((float *)l->indexes_gpu);
        l->indexes_gpu = gpu->indexes;
    }
}

/* Of the largest [maxpool] */
static size_t count_indexes(const network *net)
{
    size_t most = 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        size_t n = l.indexes_gpu ? (size_t)l.outputs * l.batch : 0;
        if (n > most) most = n;
    }
    return most;
}

void share_outputs(teacher *t)
{
    struct teacher_gpu *gpu = t->gpu;
    network *net = t->net;
    for (int i = 0; i < net->n; ++i) net->layers[i].onlyforward = 1;
    set_batch_network(net, t->student->batch);
    cuda_free(net->input_gpu);
    net->input_gpu = cuda_make_array(0, (size_t)net->inputs * net->batch);
    gpu->plan = plan_memory(net, &t->outputs);
    gpu->memory = kd_calloc(gpu->plan.blocks, sizeof(float *));
    for (int b = 0; b < gpu->plan.blocks; ++b)
        gpu->memory[b] = cuda_make_array(0, gpu->plan.size[b]);
    size_t indexes = count_indexes(net);
    gpu->indexes = indexes ? cuda_make_int_array(0, indexes) : 0;
    for (int i = 0; i < net->n; ++i) share_layer(t, i);
    layer out = net->layers[t->outputs.layer[t->outputs.n - 1]];
    net->output_gpu = out.output_gpu;
    net->output = out.output;
}

/* As set_batch_network, but cuDNN is not asked again: a resize does so next. */
static void set_batch(network *net, int batch)
{
    net->batch = batch;
    for (int i = 0; i < net->n; ++i) net->layers[i].batch = batch;
}

void unshare_outputs(teacher *t)
{
    struct teacher_gpu *gpu = t->gpu;
    for (int i = 0; i < t->net->n; ++i) {
        layer *l = t->net->layers + i;
        l->output_gpu = l->x_gpu = 0;
        l->indexes_gpu = 0;
    }
    for (int b = 0; b < gpu->plan.blocks; ++b) cuda_free(gpu->memory[b]);
    cuda_free((float *)gpu->indexes);
    free(gpu->memory);
    free_memory_plan(gpu->plan);
    set_batch(t->net, t->own_batch);
}

/* Darknet's [crop] writes on its input, which the other network reads. */
static int has_crop(const network *net)
{
    return net->layers[0].type == CROP;
}

/* The student's images as the teacher takes them, on the student's stream */
static float *find_input(const teacher *t)
{
    network *from = t->student, *to = t->net;
    size_t n = (size_t)from->batch * from->inputs;
    if (from->w != to->w || from->h != to->h)
        check_error(kd_resize_gpu(from->batch * from->c, from->input_gpu, from->w, from->h,
                                  to->input_gpu, to->w, to->h, get_cuda_stream()));
    else if (has_crop(from) || has_crop(to)) device_copy(to, n, from->input_gpu, to->input_gpu);
    else return from->input_gpu;
    return to->input_gpu;
}

/* As forward_network_gpu, but for the output layers: what is wanted of them is their input. */
static void forward_layers(const teacher *t, float *input)
{
    network net = *t->net;
    net.train = 0;
    net.truth = 0;
    net.input_gpu = input;
    for (int i = 0; i < net.n; ++i) {
        layer l = net.layers[i];
        net.index = i;
        if (!is_output(t, i) || t->gpu->plan.last_use[i] > i) l.forward_gpu(l, net);
        net.input_gpu = l.output_gpu;
        net.input = l.output;
    }
}

/* The student's `start` hook: its images have been uploaded, its own layers come next. */
static void start_teacher(network *student)
{
    teacher *t = student->layers[student->n - 2].plugin;
    int lane = cuda_get_lane();
    if (t->idle) return;
    float *input = find_input(t);
    check_error(cudaEventRecord(t->gpu->uploaded, get_cuda_stream()));
    cuda_set_lane(t->lane);
    cuda_set_tf32(t->net->tf32);
    check_error(cudaStreamWaitEvent(get_cuda_stream(), t->gpu->uploaded, 0));
    forward_layers(t, input);
    check_error(cudaEventRecord(t->gpu->done, get_cuda_stream()));
    cuda_set_tf32(student->tf32);
    cuda_set_lane(lane);
}

/* Logits and predictions to the host's arrays */
static void pull_predictions(const teacher *t)
{
    network net = *t->net;
    net.train = 0;
    for (int o = 0; o < t->outputs.n; ++o) {
        int i = t->outputs.layer[o];
        layer l = net.layers[i], logits = net.layers[i - 1];
        net.index = i;
        net.input_gpu = logits.output_gpu;
        net.input = logits.output;
        l.forward_gpu(l, net);
    }
    pull_logits(t->net, &t->outputs);
}

void finish_teacher_gpu(teacher *t)
{
    if (t->idle) return;
    check_error(cudaStreamWaitEvent(get_cuda_stream(), t->gpu->done, 0));
    if (t->pulls) pull_predictions(t);
}

void run_teacher_gpu(teacher *t)
{
    network *student = t->student;
    device_push(student, (size_t)student->batch * student->inputs, student->input,
                student->input_gpu);
    start_teacher(student);
    finish_teacher_gpu(t);
    pull_logits(t->net, &t->outputs);
}

void attach_teacher_gpu(teacher *t)
{
    t->gpu = kd_calloc(1, sizeof(*t->gpu));
    check_error(cudaEventCreateWithFlags(&t->gpu->uploaded, cudaEventDisableTiming));
    check_error(cudaEventCreateWithFlags(&t->gpu->done, cudaEventDisableTiming));
    share_outputs(t);
    t->student->start = start_teacher;
}

void release_teacher_gpu(teacher *t)
{
    unshare_outputs(t);
    check_error(cudaEventDestroy(t->gpu->uploaded));
    check_error(cudaEventDestroy(t->gpu->done));
    free(t->gpu);
}

void drop_from_gpu(const network *net, layer *l)
{
    float **buffers[] = {&l->delta_gpu,        &l->weight_updates_gpu,
                         &l->bias_updates_gpu, &l->scale_updates_gpu,
                         &l->x_norm_gpu,       &l->activation_input_gpu};
    if (l->type == DROPOUT) l->delta_gpu = 0;
    for (size_t k = 0; k < sizeof(buffers) / sizeof(*buffers); ++k) {
        if (l->type != BLANK) device_free(net, *buffers[k]); /* or they are another layer's */
        *buffers[k] = 0;
    }
}

#endif
