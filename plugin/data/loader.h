/*
 * Images and labels of the next batches, loaded by threads beside the training. What
 * image stands at which position of a run, and how it is augmented, is a function of
 * the seed and the position alone: there is no state to save, and the number of
 * threads changes nothing.
 */
#ifndef KD_LOADER_H
#define KD_LOADER_H

#include "data/annotations.h"
#include "darknet.h"
#include "data/labels.h"

#include <stdint.h>

/* A list of images with their classes (a classifier's) or their boxes (a detector's). */
typedef struct {
    char **paths;         /* [n] */
    int *targets;         /* [n], each 0 .. classes-1; or NULL */
    image_labels *labels; /* [n]; or NULL */
    int n;
} image_list;

/* The lines of a file of names, exactly `classes`, none empty; free_ptrs. Exits otherwise. */
char **read_names(char *file, int classes);

/*
 * Reads a list of image paths and finds each one's class as Darknet does: the
 * one label that its path contains. Exits when a list is missing or empty, an
 * image is missing or empty, or a path contains no label or several.
 */
image_list read_image_list(char *list_file, char *label_file, int classes);

/*
 * Reads a list of image paths and the boxes of each from its label file (patches/0018 says
 * where it is), at most `most` an image. Exits as read_image_list and read_labels do, and when
 * a label file is missing, unless `known`, which may be NULL, has the image without objects.
 * Prints how many images have none.
 */
image_list read_box_list(char *list_file, int classes, int most, const annotations *known);

#define LOADER_AHEAD 3 /* batches that may be begun and not fetched */

/*
 * Bytes of decoded images that a loader keeps from one epoch to the next, with `augment` alone:
 * without it, each comes once. When they are full, what else comes is decoded each time.
 */
#define LOADER_CACHE ((size_t)1 << 30)

/* The images that a loader has loaded. */
typedef struct {
    float *images; /* [images][c][h][w] */
    float *truths; /* [images][net->truths], as Darknet's output layers want it: one 1 at the
                      class; or boxes x y w h class, as shares of the input, up to an x of 0 */
    int *indices;  /* [images], into the list */
    int *sizes;    /* [images][2], width and height in the file */
} loaded_images;

typedef struct loader loader;

/*
 * A loader of `images` images at a time for `net`. With `augment`, images come in an order
 * shuffled anew each epoch, and augmented as [net] (and a detector's jitter) says and as
 * `classifier train` or `detector train` does; without, in the order of the list, cropped at
 * the centre (classifier) or letterboxed (detector). The list must outlive the loader, and its
 * files are not to change. Starts `threads` threads, which wait for start_loading.
 */
loader *make_loader(const image_list *list, network *net, int images, int augment, int threads,
                    uint64_t seed);
void free_loader(loader *l); /* drops what has not been fetched */

/*
 * Begins to load the images from `position` on (0 is the run's first), `width` x `height`
 * large, behind what was begun before; returns at once. No more than LOADER_AHEAD batches may
 * be begun and not fetched. A classifier's are as large as its net.
 */
void start_loading(loader *l, uint64_t position, int width, int height);

/*
 * Waits for the first batch that start_loading began and that has not been fetched: there must
 * be one. The arrays belong to the loader, and stay as they are until the first start_loading
 * after the next finish_loading. Exits when an image of this batch can't be read, naming it.
 */
loaded_images finish_loading(loader *l);

/* A seed for one purpose: the hash of a run's seed and a number. */
unsigned int derive_seed(uint64_t seed, uint64_t number);

#endif
