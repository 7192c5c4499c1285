/*
 * A network on all cores of the CPU (OPENMP=1; OMP_NUM_THREADS says how many). Its batch is cut
 * into parts, networks of some of its images whose layers point into the whole one's arrays.
 * Layers that treat each image for itself run part by part; convolutions are convolution.h's,
 * with between.h behind them; all other layers run as they are.
 * The parts depend on the batch and the cfg alone, and sums over them are taken in their order:
 * the number of cores changes no bit of a result.
 */
#ifndef KD_CORES_H
#define KD_CORES_H

#include "net/outputs.h"

#define DEFAULT_PARTS 8 /* so many cores are of use */
#define MOST_PARTS 256

/* Cores that a network may use: as many as OMP_NUM_THREADS says, or the program may run on. */
int count_cores(void);

/* In what convolutions multiply: numbers as they are, or images, weights and deltas rounded to
 * bfloat16, and the images channels last where forms.h says so. FLOAT32_LAST is the latter
 * alone, slower than FLOAT32: it is there for tests. */
typedef enum { FLOAT32, BFLOAT16, FLOAT32_LAST } arithmetic;

/*
 * Hooks forward_network (patches/hooks/02) of a network on the CPU. With `outputs`, which must
 * outlive it, the network is for prediction only: of its layers' outputs none are kept but the
 * logits and predictions, the others share memory that is small enough for a core's cache.
 * Its forward pass does not leave behind what Darknet's own backward pass would need.
 * parts: 1 to MOST_PARTS, how many the batch is cut into at most.
 */
void attach_cores(network *net, const net_outputs *outputs, arithmetic how, int parts);

/* Before the network is freed; does nothing where attach_cores has not been. */
void detach_cores(network *net);

/* Into how many parts the batch of a network with cores is cut: all have as many images. */
int count_parts(const network *net);

/* 1 after attach_cores. */
int has_cores(const network *net);

/*
 * backward_network of several losses of one forward pass at once. views[g] is a copy of the
 * network whose layers have the deltas and the buffers of gradients of loss g; what all of them
 * need is computed once. Each gets what a pass of its own would give it.
 */
void backward_on_cores(const network *views, int groups);

#endif
