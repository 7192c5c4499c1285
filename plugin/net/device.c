/* See device.h. */
#include "net/device.h"
#include "support.h"

#include "batchnorm_layer.h"
#include "blas.h"
#include "connected_layer.h"
#include "convolutional_layer.h"
#include "cuda.h"
#include "deconvolutional_layer.h"
#include "local_layer.h"
#include "multi_shortcut_layer.h"

#include <stdlib.h>
#include <string.h>

/* ON_GPU(net, does this), else what follows; in a build without a GPU only that. */
#ifdef GPU
#define ON_GPU(net, ...)                                                                       \
    if (on_gpu(net)) {                                                                         \
        __VA_ARGS__;                                                                           \
    } else
#else
#define ON_GPU(net, ...) (void)(net);
#endif

int count_gpus(void)
{
    int n = 0;
#ifdef GPU
    if (gpu_index >= 0) check_error(cudaGetDeviceCount(&n));
#endif
    return n;
}

void use_gpu(int gpu)
{
#ifdef GPU
    cuda_set_device(gpu);
#endif
    (void)gpu;
}

void device_enter(const network *net, int lane)
{
    ON_GPU(net, cuda_set_device(net->gpu_index); cuda_set_lane(lane); return )
    (void)lane;
}

void device_seed(unsigned seed)
{
    srand(seed);
#ifdef GPU
    cuda_seed(seed);
#endif
}

void print_gpu(const network *net)
{
#ifdef GPU
    struct cudaDeviceProp properties;
    size_t available, all;
    if (!on_gpu(net)) return;
    check_error(cudaGetDeviceProperties(&properties, net->gpu_index));
    check_error(cudaMemGetInfo(&available, &all));
    printf("GPU %d: %s, %zu of %zu MiB in use, tf32 %s\n", net->gpu_index, properties.name,
           (all - available) >> 20, all >> 20, net->tf32 ? "on" : "off");
#endif
    (void)net;
}

float *device_array(const network *net, size_t n)
{
    ON_GPU(net, return cuda_make_array(0, n ? n : 1))
    return kd_calloc(n, sizeof(float));
}

void device_free(const network *net, float *x)
{
    ON_GPU(net, if (x) cuda_free(x))
    free(x);
}

void device_clear(const network *net, size_t n, float *x)
{
    ON_GPU(net, check_error(cudaMemsetAsync(x, 0, n * sizeof(float), get_cuda_stream())))
    memset(x, 0, n * sizeof(float));
}

void device_copy(const network *net, size_t n, float *from, float *to)
{
    ON_GPU(net, copy_gpu(n, from, 1, to, 1))
    memcpy(to, from, n * sizeof(float));
}

void device_add(const network *net, size_t n, float a, float *x, float *y)
{
    ON_GPU(net, axpy_gpu(n, a, x, 1, y, 1))
    axpy_cpu(n, a, x, 1, y, 1);
}

void device_push(const network *net, size_t n, float *host, float *x)
{
    ON_GPU(net, cuda_push_array(x, host, n))
    if (x != host) memcpy(x, host, n * sizeof(float));
}

void device_pull(const network *net, size_t n, float *x, float *host)
{
    ON_GPU(net, cuda_pull_array(x, host, n))
    if (x != host) memcpy(host, x, n * sizeof(float));
}

float *layer_output(const network *net, int i)
{
    ON_GPU(net, return net->layers[i].output_gpu)
    return net->layers[i].output;
}

float *layer_delta(const network *net, int i)
{
    ON_GPU(net, return net->layers[i].delta_gpu)
    return net->layers[i].delta;
}

static float *from(float *base, size_t offset)
{
    return base ? base + offset : 0;
}

void cut_layer(layer *l, int first, int batch)
{
    size_t offset = (size_t)first * l->outputs;
    l->batch = batch;
    l->output = from(l->output, offset);
    l->delta = from(l->delta, offset);
    l->x = from(l->x, offset);
    l->activation_input = from(l->activation_input, offset);
    if (l->indexes) l->indexes += offset;
#ifdef GPU
    l->output_gpu = from(l->output_gpu, offset);
    l->delta_gpu = from(l->delta_gpu, offset);
#endif
}

network cut_network(const network *net, int first, int batch, layer *layers)
{
    network part = *net;
    part.batch = batch;
    part.input += (size_t)first * net->inputs;
    part.layers = memcpy(layers, net->layers, net->n * sizeof(layer));
    for (int i = 0; i < net->n; ++i) cut_layer(layers + i, first, batch);
    return part;
}

int is_trained(const network *net, int i)
{
    ON_GPU(net, return net->layers[i].update_gpu != 0)
    return net->layers[i].update != 0;
}

void set_passes(layer *l, void (*forward)(layer, network), void (*backward)(layer, network))
{
    l->forward = forward;
    l->backward = backward;
    l->update = 0;
    l->delta = 0;
#ifdef GPU
    l->forward_gpu = forward;
    l->backward_gpu = backward;
    l->update_gpu = 0;
    l->delta_gpu = 0;
#endif
}

void forward_layer(network *net, layer l, network in)
{
    in.input = net->layers[in.index - 1].output;
    ON_GPU(net, in.input_gpu = layer_output(net, in.index - 1); l.forward_gpu(l, in); return )
    l.forward(l, in);
}

void set_updates(layer *l, layer_buffers there, layer_buffers host)
{
    l->weight_updates = host.weights;
    l->bias_updates = host.biases;
    l->scale_updates = host.scales;
#ifdef GPU
    l->weight_updates_gpu = there.weights;
    l->bias_updates_gpu = there.biases;
    l->scale_updates_gpu = there.scales;
#endif
    (void)there;
}

void free_updates(const network *net, layer l)
{
    free(l.weight_updates), free(l.bias_updates), free(l.scale_updates);
#ifdef GPU
    device_free(net, l.weight_updates_gpu);
    device_free(net, l.bias_updates_gpu);
    device_free(net, l.scale_updates_gpu);
#endif
    (void)net;
}

#ifdef GPU
typedef void (*layer_transfer)(layer l);

static void transfer(network *net, layer_transfer convolutional, layer_transfer deconvolutional,
                     layer_transfer connected, layer_transfer batchnorm,
                     layer_transfer shortcut, layer_transfer local)
{
    for (int i = 0; on_gpu(net) && i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == CONVOLUTIONAL) convolutional(l);
        if (l.type == DECONVOLUTIONAL) deconvolutional(l);
        if (l.type == CONNECTED) connected(l);
        if (l.type == BATCHNORM) batchnorm(l);
        if (l.type == MULTI_SHORTCUT && l.nweights) shortcut(l);
        if (l.type == LOCAL) local(l);
    }
}
#endif

void pull_network(network *net)
{
#ifdef GPU
    transfer(net, pull_convolutional_layer, pull_deconvolutional_layer, pull_connected_layer,
             pull_batchnorm_layer, pull_multi_shortcut_layer, pull_local_layer);
#endif
    (void)net;
}

void push_network(network *net)
{
#ifdef GPU
    transfer(net, push_convolutional_layer, push_deconvolutional_layer, push_connected_layer,
             push_batchnorm_layer, push_multi_shortcut_layer, push_local_layer);
#endif
    (void)net;
}
