/* The images of a batch with all that is known of them: what the loader makes, and what travels
 * whole from there down to the rows. */
#ifndef KD_BATCH_H
#define KD_BATCH_H

#include <stddef.h>

/* The arrays belong to whoever made the batch; images stand one behind the other. */
typedef struct {
    int n;            /* images */
    int inputs;       /* numbers of an image */
    int n_truths;     /* numbers of its truths */
    float *images;    /* [n][c][h][w] */
    float *strong;    /* the same: another view of each, strongly augmented; or NULL */
    float *truths;    /* [n][n_truths], as Darknet's output layers want it: one 1 at the class;
                         or boxes x y w h class, as shares of the input, up to an x of 0 */
    int *indices;     /* [n], into the list */
    char *unlabelled; /* [n], 1: only the teacher says what it shows; NULL: of none */
    unsigned *seeds;  /* [n], of each one's augmentation */
    int *sizes;       /* [n][2], width and height in the file */
} image_batch;

/* `n` images of it from `first` on, in the same arrays. */
static inline image_batch part_of_batch(image_batch b, int first, int n)
{
    b.n = n;
    b.images += (size_t)first * b.inputs;
    if (b.strong) b.strong += (size_t)first * b.inputs;
    b.truths += (size_t)first * b.n_truths;
    b.indices += first;
    if (b.unlabelled) b.unlabelled += first;
    b.seeds += first;
    b.sizes += 2 * first;
    return b;
}

#endif
