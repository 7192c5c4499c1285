/*
 * Images and labels of the next batches, loaded by threads beside the training. What
 * image stands at which position of a run, and how it is augmented, is a function of
 * the seed and the position alone: there is no state to save, and the number of
 * threads changes nothing.
 */
#ifndef KD_LOADER_H
#define KD_LOADER_H

#include "data/batch.h"
#include "data/lists.h"

#include "darknet.h"

#include <signal.h>
#include <stdint.h>

#define MOST_THREADS 256
#define LOADER_AHEAD 3 /* batches that may be begun and not fetched */

/*
 * Bytes of decoded images that a loader keeps from one epoch to the next, with `augment` alone:
 * without it, each comes once. When they are full, what else comes is decoded each time.
 */
#define LOADER_CACHE ((size_t)1 << 30)

typedef struct loader loader;

/* The sides, in pixels, that an image of w x h has on a detector's input of input_w x input_h:
 * letterboxed as Darknet's letterbox_image does it, or stretched to all of it. */
typedef struct {
    int w, h;
} fitted_sides;
fitted_sides fit_sides(int w, int h, int input_w, int input_h, int is_stretched);

/* Threads for one, where the user has asked for none: one a core, and two at least. Those that
 * have nothing to load sleep. */
int loading_threads(void);

/*
 * How training images are augmented, make_loader's `augment`; 0: not at all.
 *   AUGMENT_DARKNET  as [net] (and a detector's jitter) says and as `classifier train` or
 *                    `detector train` does
 *   AUGMENT_CIFAR    a classifier's, in place of Darknet's crop: a border of 4 black pixels
 *                    and from that a crop of the net's size; half of the images are mirrored,
 *                    and colours are as [net] says
 * From the bit AUGMENT_OPERATIONS on it says what a second, strong view of each of a
 * classifier's images draws from (strong.h); 0: there is none. Its crop and all else are drawn
 * anew.
 */
enum { AUGMENT_DARKNET = 1, AUGMENT_CIFAR = 2, AUGMENT_OPERATIONS = 4 };

/*
 * A loader of `images` images at a time for `net`; of them a rank (ranks.h) reads its own ones
 * of each of the net's batches, and has neither pixels, truths nor sizes of the others. With
 * `augment`, images come in an order shuffled anew each epoch; without, in the order of the
 * list, cropped at the centre (classifier), letterboxed, or with [net] letter_box=0 stretched
 * (detector). What the list points to must outlive the loader, and its files are not to change.
 * Starts `threads` threads, which wait for start_loading.
 */
loader *make_loader(const image_list *list, network *net, int images, int augment, int threads,
                    uint64_t seed);

/*
 * Drops what has not been fetched; each thread ends with the image that it has begun. After a
 * stop that wait_for_images was told of, a thread that does not end within a second, because
 * its file is on a disk that does not answer, say, is left to the end of the program, with the
 * memory it uses.
 */
void free_loader(loader *l);

/*
 * Begins to load the images from `position` on (0 is the run's first), `width` x `height`
 * large, behind what was begun before; returns at once. No more than LOADER_AHEAD batches may
 * be begun and not fetched. A classifier's are as large as its net.
 */
void start_loading(loader *l, uint64_t position, int width, int height);

/* Waits until finish_loading will not have to: 1; or until *stop, which a signal sets: 0. */
int wait_for_images(loader *l, const volatile sig_atomic_t *stop);

/*
 * Waits for the first batch that start_loading began and that has not been fetched: there must
 * be one. The arrays belong to the loader, and stay as they are until the first start_loading
 * after the next finish_loading. Exits when an image of this batch can't be read, naming it.
 */
image_batch finish_loading(loader *l);

#endif
