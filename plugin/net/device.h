/*
 * Arrays of a network, wherever the network is: on the CPU, or on the GPU in a GPU=1 build
 * without -nogpu. With these the files above know one network, not two. Arrays hold floats.
 * What CUDA refuses, here and in the *_gpu.c, ends the program with one line (patches/gpu/03).
 */
#ifndef KD_DEVICE_H
#define KD_DEVICE_H

#include "darknet.h"

/*
 * 1 when the network's arrays are on a GPU. A constant in a build without one, so that what
 * stands behind `if (on_gpu(net))` need not exist there: the functions of the *_gpu.h.
 */
#ifdef GPU
#define on_gpu(net) ((net)->gpu_index >= 0)
#else
#define on_gpu(net) 0
#endif

/* How many GPUs this program can use; 0 with -nogpu and in a build without a GPU. */
int count_gpus(void);

/* Networks are made on this GPU from now on; 0 <= gpu < count_gpus(). */
void use_gpu(int gpu);

/* This thread's work goes to the network's GPU from now on, to a lane of it (patches/gpu). */
void device_enter(const network *net, int lane);

/* Where the random numbers of [dropout] and [crop] go on from. */
void device_seed(unsigned seed);

/* Prints the network's GPU and its memory, if it is on one. */
void print_gpu(const network *net);

/* `n` zeros where the network is; free with device_free, which takes NULL too. */
float *device_array(const network *net, size_t n);
void device_free(const network *net, float *x);

/* x <- 0; to <- from; y <- y + a x. All of `n` numbers, where the network is. */
void device_clear(const network *net, size_t n, float *x);
void device_copy(const network *net, size_t n, float *from, float *to);
void device_add(const network *net, size_t n, float a, float *x, float *y);

/*
 * Between a host array and one where the network is; nothing when both are the same. They
 * return when the copy is done.
 */
void device_push(const network *net, size_t n, float *host, float *x);
void device_pull(const network *net, size_t n, float *x, float *host);

/* A layer's output and delta where the network is; [batch][outputs]. */
float *layer_output(const network *net, int i);
float *layer_delta(const network *net, int i);

/* Makes of a layer the same of the images [first, first + batch), as cut_network does. */
void cut_layer(layer *l, int first, int batch);

/*
 * A copy of the network with the images [first, first + batch) of its batch: its input, and its
 * layers' outputs, deltas, `x` and indexes, stand in the network's own arrays (on the GPU:
 * outputs and deltas). The rest is shared, and the truths are still those of the whole batch.
 * `layers` is room for [net->n], which the copy uses as long as it lives.
 */
network cut_network(const network *net, int first, int batch, layer *layers);

/* 1 when the layer has parameters that an update changes. */
int is_trained(const network *net, int i);

/*
 * Gives a layer its passes, on the CPU and on the GPU, and takes its update and its delta away.
 */
void set_passes(layer *l, void (*forward)(layer, network), void (*backward)(layer, network));

/* The layer's own forward in `in`, whose input is the output of the layer before it. */
void forward_layer(network *net, layer l, network in);

/* Where a layer has the gradients of its parameters. */
typedef struct {
    float *weights, *biases, *scales; /* scales: NULL without batch norm */
} layer_buffers;

/* `host` where the CPU looks for them, `there` where the network is (the same on the CPU). */
void set_updates(layer *l, layer_buffers there, layer_buffers host);
void free_updates(const network *net, layer l);

/* All weights and statistics: from the GPU to the arrays of the host, and back. */
void pull_network(network *net);
void push_network(network *net);

#endif
