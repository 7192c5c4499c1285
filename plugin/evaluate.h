/* The accuracy of a classifier on a list of images. */
#ifndef KD_EVALUATE_H
#define KD_EVALUATE_H

#include "loader.h"

#include <signal.h>

typedef struct {
    double loss;       /* mean cross-entropy, in nats */
    double top1, topk; /* 0 to 1 */
    int k;
} evaluation;

/*
 * Runs `net` in inference on the whole list, images cropped at the centre as
 * `classifier valid` does; the logits are the input of the layer `softmax`.
 * A class counts as within the k best when fewer than k others are better, or
 * as good with a lower index. Returns 0 when *stop became non-zero before the
 * end, *result untouched; else 1.
 */
int evaluate_classifier(network *net, int softmax, const image_list *list, int k, int threads,
                        const volatile sig_atomic_t *stop, evaluation *result);

#endif
