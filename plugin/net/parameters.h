/*
 * A network's weights as a list of arrays, and the weights files that hold
 * them: how many there are, whether all are finite, whether a file fits.
 */
#ifndef KD_PARAMETERS_H
#define KD_PARAMETERS_H

#include "darknet.h"

#include <stdint.h>

typedef struct {
    float *data; /* belongs to the network */
    size_t n;
} kd_array;

typedef struct {
    kd_array *arrays;
    int n;
} kd_arrays;

/* Appends one array; does nothing for a null one. */
void kd_append(kd_arrays *list, float *data, size_t n);

/*
 * All that a weights file holds of the network, layer by layer: weights,
 * biases, scales, rolling means and variances. Free the list with
 * kd_free_arrays. Exits when a layer's type is not known here (recurrent ones).
 */
kd_arrays network_arrays(network *net);
void kd_free_arrays(kd_arrays list);

/* How many weights and biases (as many as scales) a layer has; 0 for one that has none. */
void layer_sizes(layer l, size_t *weights, size_t *biases);

/* What training changes by gradient (rolling statistics left out), as papers count it. */
size_t count_parameters(network *net);

/* Multiplications and additions of one image's forward pass, in billions, as Darknet prints. */
double count_bflops(network *net);

/* 1 when every number is finite. */
int all_finite(kd_arrays list);

/* The hash (support.h) of all numbers. */
uint64_t hash_arrays(kd_arrays list);

/*
 * Loads a weights file after its length has been checked against the network:
 * it must fit exactly or, with allow_partial, end where a layer ends, which is
 * announced on stdout. Exits otherwise, naming the file, the bytes found and
 * the bytes expected, and when a weight is not finite.
 */
void load_whole_weights(network *net, char *file, int allow_partial);

#endif
