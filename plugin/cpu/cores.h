/*
 * A network on all cores of the CPU (OPENMP=1; OMP_NUM_THREADS says how many). Its batch is cut
 * into parts, networks of some of its images whose layers point into the whole one's arrays.
 * Layers that treat each image for itself run part by part; convolutions are convolution.h's,
 * with between.h behind them; all other layers run as they are.
 * The parts depend on the batch and the cfg alone, and sums over them are taken in their order:
 * the number of cores changes no bit of a result, but in prediction where all is one part,
 * which oneDNN shares among them.
 */
#ifndef KD_CORES_H
#define KD_CORES_H

#include "cpu/convolution_code.h"
#include "net/outputs.h"

#define DEFAULT_PARTS 8 /* so many cores are of use */
#define MOST_PARTS 256

/* Cores that a network may use: as many as OMP_NUM_THREADS says, or the program may run on. */
int count_cores(void);

/*
 * Hooks forward_network (patches/hooks/02) of a network on the CPU. With `outputs`, which must
 * outlive it, the network is for prediction only: of its layers' outputs none are kept but the
 * logits and predictions, the others share memory that is small enough for a core's cache.
 * Its forward pass does not leave behind what Darknet's own backward pass would need.
 * how: what its convolutions multiply; BFLOAT16: images are channels last where forms.h says
 * so. parts: 1 to MOST_PARTS, how many the batch is cut into at most.
 */
void attach_cores(network *net, const net_outputs *outputs, arithmetic how, int parts);

/*
 * Of a network for prediction that was attached with FLOAT32. From now on each prediction
 * raises largest[i] to the greatest size of a number of layer i's output, to INFINITY where one
 * is not finite; NULL: no more.
 */
void note_largest(network *net, float *largest);

/*
 * The same network's convolutions are INT8 from now on, those that can: of 16 channels and
 * more, with images that come and go channels last (forms.h). largest[net->n] is what
 * note_largest has found, and stands for 127; it is copied. The others are BFLOAT16, where that
 * is fast.
 */
void use_int8(network *net, const float *largest);

/* What layer i, a convolution of a network with cores, multiplies. */
arithmetic find_arithmetic(const network *net, int i);

/* FLOAT32's images channels last too, which is slower: for tests. */
void put_channels_last(network *net);

/* Before the network is freed; does nothing where attach_cores has not been. */
void detach_cores(network *net);

/* Into how many parts the batch of a network with cores is cut: all have as many images. */
int count_parts(const network *net);

/*
 * Exits when the ranks (ranks.h) cannot share a network with cores: when they are no divisor of
 * its parts, or it has a layer that looks at other images than those that it is given.
 */
void check_shares(const network *net, const char *cfg);

/* 1 after attach_cores. */
int has_cores(const network *net);

/* 1 when backward_on_cores sets layer i's delta, so that nobody has to clear it before. */
int sets_delta(const network *net, int i);

/*
 * backward_network of several losses of one forward pass at once. views[g] is a copy of the
 * network whose layers have the deltas and the buffers of gradients of loss g; what all of them
 * need is computed once. Each gets what a pass of its own would give it.
 */
void backward_on_cores(const network *views, int groups);

#endif
