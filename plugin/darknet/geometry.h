/*
 * What a cfg asks for, reckoned before anything of it is made: the shape, the sizes and the
 * memory of each layer, in size_t, where Darknet multiplies ints. What would overflow, divide
 * by zero, read or write beside an array, or not fit into memory, is one line that names the
 * section, with its line in the file, and the key, and exit status 1. A layer from outside
 * (plugin.h) is taken to pass on what comes in.
 */
#ifndef KD_GEOMETRY_H
#define KD_GEOMETRY_H

#include "darknet.h"
#include "list.h"

typedef struct geometry geometry;

/* [net], of a cfg with up to `layers` sections behind it; batch 0: as the cfg says. */
geometry *start_geometry(char *cfg, char *section, int line, list *options, int layers,
                         int batch);
/* The next section; type BLANK: a layer from outside. */
void add_geometry(geometry *g, LAYER_TYPE type, char *section, int line, list *options);
/* The network as a whole; sets what check_trainable reads, and frees g. */
void finish_geometry(geometry *g, network *net);

/* A key that a section has more than once: says which one counts. */
void note_repeated(char *cfg, char *section, int line, list *options);

/*
 * Training on the CPU fills all of the memory that was reckoned, and reads truths: exits where
 * this machine has less, or where two losses disagree on how many truths there are. Darknet's
 * train_network_datum calls it too, before the first step.
 */
void check_trainable(network *net);

#endif
