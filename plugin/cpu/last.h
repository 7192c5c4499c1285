/*
 * Layers that hand on the images of others, of one part of a batch (cores.h), channels last:
 * [route], [maxpool] and [upsample], which keep that form, and [avgpool], whose output has
 * none. They compute what Darknet's own layers do.
 */
#ifndef KD_LAST_H
#define KD_LAST_H

#include "darknet.h"

/* 1 for a layer whose output can be channels last when its inputs are; [avgpool] is not one. */
int passes_last(layer l);

/* Layer i from what the layers before it have left; part->input is its input, as Darknet's own
 * forward has it. With part->train a [maxpool] notes its indexes, of the part's input. */
void forward_last(const network *part, int i);

/* Adds the layer's deltas to those of its inputs; part->delta is the input's, or NULL. The
 * backward pass of a [maxpool] is Darknet's own. */
void backward_last(const network *part, int i);

#endif
