/* How good a network is on a list of images. */
#ifndef KD_EVALUATE_H
#define KD_EVALUATE_H

#include "data/lists.h"
#include "net/outputs.h"

#include <signal.h>

/* What `_best` goes by: a classifier's top-1, a detector's mAP@0.50 with -map, else its loss.
 */
typedef enum { METRIC_TOP1, METRIC_MAP, METRIC_LOSS } metric;

typedef struct {
    metric by;
    double loss;     /* mean an image: cross-entropy in nats; a detector's as Darknet has it */
    double score[2]; /* 0 to 1: top-1 and top-k; mAP@0.50 and mAP@[.50:.95], NAN without -map */
    int k;
} evaluation;

/* The better of two has the higher one; all are above NO_BEST, or not finite. */
#define NO_BEST (-1e300)
double merit(const evaluation *e);

/*
 * Runs the classifier in inference on the whole list, images cropped at the centre as
 * `classifier valid` does. A class counts as within the k best when fewer than k others are
 * better, or as good with a lower index. logits[list->n][classes] is filled too, unless it is
 * NULL. Returns 0 when *stop became non-zero before the end, *result untouched; else 1.
 */
int evaluate_classifier(network *net, const net_outputs *outputs, const image_list *list, int k,
                        int threads, const volatile sig_atomic_t *stop, evaluation *result,
                        float *logits);

/* What a detector has found in a list of images, and what there is to find. */
typedef struct {
    const int *map; /* a detector's map=, for the truths' classes; NULL: none. By the caller */
    ap_boxes truths, found;
} found_boxes;
void free_found_boxes(found_boxes f);

/*
 * Runs the detector in inference on the whole list, images letterboxed as `detector valid`
 * does, a batch at a time. The loss is what Darknet's training would print of these images, without
 * augmentation. With `boxes`, which may be NULL, also detects (detect.h) into it. The truths
 * are those of `known` for the list's images, or, without it, those of the label files; an
 * image's id is COCO's or, without `known`, its index. Returns as evaluate_classifier; the
 * result's scores are those of `boxes`, its loss NAN when an output was not finite, the
 * network lacks the map, or it is a teacher on the GPU. Exits when `known` does not know an
 * image.
 */
int evaluate_detector(network *net, const net_outputs *outputs, const image_list *list,
                      const annotations *known, int threads, const volatile sig_atomic_t *stop,
                      evaluation *result, found_boxes *boxes);

/* A validation list, and how networks are judged on it. */
typedef struct {
    const image_list *list;
    const annotations *known; /* a detector's, or NULL */
    const int *map;           /* the student's map=, or NULL */
    int is_detector, with_map;
    int top; /* the k of a classifier's second accuracy */
    int threads;
    const volatile sig_atomic_t *stop;
} validation;

/* evaluate_classifier or evaluate_detector. */
int validate(const validation *v, network *net, const net_outputs *outputs, evaluation *result);

#endif
