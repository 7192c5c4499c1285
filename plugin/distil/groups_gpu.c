/* See groups_gpu.h. */
#include "distil/groups_gpu.h"
#include "net/device.h"
#include "support.h"

#ifdef GPU

#include "distil/groups_kernels.h"
#include "distil/student_gpu.h"

#include "cuda.h"

#include <stdlib.h>

_Static_assert(KD_MOST_GROUPS == KD_COMPONENTS, "a group for each component");

struct groups_gpu {
    kd_chunk *chunks; /* [n], the GPU's */
    int n;
};

typedef struct {
    kd_chunk *chunks;
    int n;
} chunk_list;

/* Adds an array of parameters, whose first has its momentum at `at` of each group's buffer. */
static void append_chunks(chunk_list *list, kd_chunk whole, size_t n)
{
    for (size_t first = 0; first < n; first += KD_CHUNK) {
        kd_chunk *c = list->chunks + list->n++;
        *c = whole;
        c->parameters += first;
        c->at += first;
        c->n = n - first < KD_CHUNK ? n - first : KD_CHUNK;
    }
}

static void append_layer(chunk_list *list, layer l, layer_buffers b, const float *base,
                         int decay_all)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    float rate = l.learning_rate_scale, clip = l.type == CONVOLUTIONAL ? l.clip : 0;
    append_chunks(list, (kd_chunk){l.weights_gpu, b.weights - base, 0, 1, rate, clip}, weights);
    kd_chunk others = {l.biases_gpu, b.biases - base, 0, decay_all, rate, 0};
    append_chunks(list, others, biases);
    others.parameters = l.scales_gpu, others.at = b.scales - base;
    if (b.scales) append_chunks(list, others, biases);
}

void attach_groups_gpu(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    network *net = kd->net;
    /* each array fills all its chunks but the last, and a layer has at most three */
    chunk_list list = {kd_calloc(groups->size / KD_CHUNK + 3 * net->n, sizeof(kd_chunk)), 0};
    for (int i = 0; i < net->n; ++i)
        if (is_trained(net, i))
            append_layer(&list, net->layers[i], groups->group[0].buffers[i], groups->momenta,
                         kd->options.decay_all);
    groups->gpu = kd_calloc(1, sizeof(*groups->gpu));
    groups->gpu->n = list.n;
    size_t bytes = list.n * sizeof(kd_chunk);
    check_error(cudaMalloc((void **)&groups->gpu->chunks, bytes));
    check_error(cudaMemcpy(groups->gpu->chunks, list.chunks, bytes, cudaMemcpyHostToDevice));
    check_error(cudaDeviceSynchronize()); /* other streams read it */
    free(list.chunks);
}

void release_groups_gpu(deepkd *kd)
{
    check_error(cudaFree(kd->groups->gpu->chunks));
    free(kd->groups->gpu);
}

/* The group that decays comes first, for its decay is taken from the weights before the step.
 */
static kd_update make_update(deepkd *kd)
{
    network *net = kd->net;
    momentum_groups *groups = kd->groups;
    float images = images_per_batch(net);
    kd_update u = {.rate = get_current_rate(net) / images,
                   .decay = net->decay * images,
                   .batch = training_batch(net)};
    for (int decays = 1; decays >= 0; --decays)
        for (int g = 0; g < groups->n; ++g) {
            if (groups->group[g].decays != decays) continue;
            u.buffers[u.groups] = groups->momenta + g * groups->size;
            u.momentum[u.groups] =
                momentum_at(kd, component_of(groups->group + g), training_update(kd) + 1);
            u.broken[u.groups++] = gradient_bits(groups->group + g);
        }
    return u;
}

void update_groups_gpu(deepkd *kd)
{
    kd_update u = make_update(kd);
    struct groups_gpu *gpu = kd->groups->gpu;
    check_error(kd_update_gpu(&u, gpu->chunks, gpu->n, kd->gpu->state, get_cuda_stream()));
}

#endif
