/*
 * Images and labels of a classifier's batches, loaded by threads beside the
 * training. What image stands at which position of a run, and how it is
 * augmented, is a function of the seed and the position alone: there is no
 * state to save, and the number of threads changes nothing.
 */
#ifndef KD_LOADER_H
#define KD_LOADER_H

#include "darknet.h"

#include <stdint.h>

/* A list of images with their classes. */
typedef struct {
    char **paths; /* [n] */
    int *targets; /* [n], each 0 .. classes-1 */
    int n;
} image_list;

/*
 * Reads a list of image paths and finds each one's class as Darknet does: the
 * one label that its path contains. Exits when a list is missing or empty, an
 * image is missing or empty, or a path contains no label or several.
 */
image_list read_image_list(char *list_file, char *label_file, int classes);

typedef struct loader loader;

/*
 * A loader of `images` images at a time for the input of `net`. With `augment`,
 * images come in an order shuffled anew each epoch, cropped, turned, flipped
 * and recoloured as [net] says and as `classifier train` does; without, in the
 * order of the list, cropped at the centre. The list must outlive the loader.
 */
loader *make_loader(const image_list *list, network *net, int images, int augment, int threads,
                    uint64_t seed);
void free_loader(loader *l); /* waits for its threads first */

/* Begins to load the images from `position` on (0 is the run's first); returns at once. */
void start_loading(loader *l, uint64_t position);

/*
 * Waits for what start_loading began. images: [images][c][h][w], targets:
 * [images]; both belong to the loader until the next but one start_loading.
 * Exits when an image can't be read, naming it.
 */
void finish_loading(loader *l, float **images, int **targets);

/* A seed for one purpose: the hash of a run's seed and a number. */
unsigned int derive_seed(uint64_t seed, uint64_t number);

#endif
