/* A layer that hands on the output of the layers before it and has nothing of its own: what
 * sections of ours are to Darknet. */
#ifndef KD_PASS_THROUGH_H
#define KD_PASS_THROUGH_H

#include "darknet.h"

/*
 * The layer at `index` of the network that is being parsed. Who makes it sets its plugin,
 * release, which must not be NULL (the arrays are another layer's), and resize.
 */
layer make_pass_through_layer(network *net, int index, void (*forward)(layer, network));

/* Its resize: makes it anew, with the plugin's pointers. */
void resize_pass_through(layer *l, network *net);

#endif
