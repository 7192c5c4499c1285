/* Networks of some of a network's images. */
#ifndef KD_PARTS_H
#define KD_PARTS_H

#include "darknet.h"

/*
 * A copy of the network with the images [first, first + batch) of its batch: its input, and its
 * layers' outputs, deltas, `x` and indexes, stand in the network's own arrays. The rest is
 * shared, and the truths are still those of the whole batch. `layers` is room for [net->n],
 * which the copy uses as long as it lives.
 */
network cut_network(const network *net, int first, int batch, layer *layers);

#endif
