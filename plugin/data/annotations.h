/*
 * The truth boxes of an evaluation, from COCO's instances JSON: its lists
 * images, annotations and categories. Segmentations, areas, sizes of images and
 * everything else in it are passed over.
 */
#ifndef KD_ANNOTATIONS_H
#define KD_ANNOTATIONS_H

#include "math/average_precision.h"

typedef struct {
    long *ids; /* [images] of the images, ascending */
    int images;
    ap_boxes truths; /* as in the file: in pixels, not clipped; iscrowd is `crowd` */
    int *categories; /* [classes] COCO's category id of each class, ascending */
    int classes;
} annotations;

/*
 * Reads a file whose categories, in the order of their ids, are the classes 0
 * to classes-1. An id is a whole number, at least 0 and below 2^53; iscrowd may
 * be missing, and is then 0. Free with free_annotations.
 *
 * Exits when the file can't be read or is no JSON (with the place), when one of
 * the lists, an id, an image_id, a category_id or a bbox is missing or no such
 * thing, when an id comes twice, when a file_name does not end in the image's id, when there
 * are other than `classes` categories, and at an annotation of an unknown image or category or
 * with a negative size.
 */
annotations read_annotations(const char *file, int classes);

/* 1 when the file has an image of this id; 1 when it has boxes in it that are no crowd. */
int has_image(const annotations *a, long id);
int has_truths(const annotations *a, long id);

/* Frees the arrays. */
void free_annotations(annotations a);

/* For qsort and bsearch of image ids, arrays of long. */
int compare_ids(const void *a, const void *b);

#endif
