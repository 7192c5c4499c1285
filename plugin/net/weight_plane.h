/* A network's weights, moved along two random directions (math/plane.h). */
#ifndef KD_WEIGHT_PLANE_H
#define KD_WEIGHT_PLANE_H

#include "darknet.h"

#include <stdint.h>

typedef struct weight_plane weight_plane;

/*
 * A plane through the weights that the network has. Its two directions are normal numbers, by
 * the seed, of every weight of a filter, normalised filter by filter: a convolution's output
 * channel, a deconvolution's input channel, a [local]'s channel of one place, an output of a
 * [connected]. As in the paper's code with ignore=biasbn, what has one dimension has directions
 * of 0: biases, batch norm's scales, a [shortcut]'s weights; and so have, there and here, the
 * rolling means and variances: they stay those of the centre, and are not measured anew.
 * free_plane, before the network is freed.
 */
weight_plane *make_plane(network *net, uint64_t seed);
void free_plane(weight_plane *p);

/* The network's weights become the centre's + x * the first direction + y * the second; the
 * centre's own, to the bit, at 0, 0. On the GPU too. */
void move_weights(weight_plane *p, double x, double y);

#endif
