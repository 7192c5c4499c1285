/* Lists of images with what is to be learnt of each: a class (classifier) or boxes (detector).
 */
#ifndef KD_LISTS_H
#define KD_LISTS_H

#include "data/annotations.h"
#include "data/labels.h"

#include <stdint.h>

/* A list of images with their classes (a classifier's) or their boxes (a detector's). */
typedef struct {
    char **paths;         /* [n] */
    int *targets;         /* [n], each 0 .. classes-1; or NULL */
    image_labels *labels; /* [n]; or NULL */
    int n;
    int unlabelled; /* the last so many have neither: the teacher alone speaks of them */
} image_list;

/* The lines of a file of names, exactly `classes`, none empty; free_ptrs. Exits otherwise. */
char **read_names(char *file, int classes);

/* The paths of a list, all of them files that are not empty; no targets or labels. Exits when
 * the list is missing or empty, or an image is. */
image_list read_paths(char *list_file);

/* The same of one image alone. */
image_list one_path(const char *image);

/*
 * Reads a list of image paths and finds each one's class as Darknet does: the
 * one label that its path contains. Exits when a list is missing or empty, an
 * image is missing or empty, or a path contains no label or several.
 */
image_list read_image_list(char *list_file, char *label_file, int classes);

/*
 * Reads a list of image paths and the boxes of each from its label file (patches/fixes/11 says
 * where it is: in labels/, else beside the image), at most `most` an image. Exits as
 * read_image_list and read_labels do, and when a label file is missing, unless `known`, which
 * may be NULL, has the image without objects.
 */
image_list read_box_list(char *list_file, int classes, int most, const annotations *known);

/* Adds a list's images to another list's end, as without labels. Exits as read_paths. */
void append_unlabelled(image_list *images, char *list_file);

/* Has an image of the list no labels? */
static inline int is_unlabelled(const image_list *images, int index)
{
    return index >= images->n - images->unlabelled;
}

/* Prints how many images of a list of boxes have none, if there are any. */
void announce_empty(const char *list_file, const image_list *images);

/* The hash of a list's paths and of its classes or boxes. */
uint64_t hash_list(const image_list *list);

#endif
