/*
 * What a detector has found in images, one by one, as people and other programs read it: lines,
 * label files, and the JSON that AlexeyAB's Darknet writes. It loads no image.
 */
#ifndef KD_FRAMES_H
#define KD_FRAMES_H

#include "math/average_precision.h"
#include "darknet.h"

typedef struct {
    char *path;     /* of the image, as it was given; the caller's */
    int w, h;       /* of the image, in pixels */
    ap_boxes found; /* one a box and class, the highest score first; free(found.boxes) */
} frame;

/*
 * Runs `net`, whose batch is 1, on an image of three channels, letterboxed or stretched as
 * [net] letter_box= says, and sets w, h and found by detect_boxes (detect.h). Returns 0 when an
 * output is not finite; else 1.
 */
int detect_frame(network *net, image im, float threshold, frame *f);

/* 1 when no box before the i-th is the same but for its class, which then is its best one. */
int is_best_of_box(const ap_boxes *found, int i);

/* Prints the image's path and a line for each box: the name, the score in percent and, with
 * with_places, left, top, width and height in pixels, as AlexeyAB's -ext_output has them. */
void print_frame(const frame *f, char **names, int with_places);

/* Writes a label file (data/labels.h) of the boxes, each with its best class alone. */
void write_frame_labels(const frame *f, char *file);

/*
 * Writes the JSON of n frames in AlexeyAB's form: a list of frame_id (from 1), filename and
 * objects, each with class_id, name, relative_coordinates (center_x, center_y, width, height,
 * shares of the image) and confidence. Both files appear when they are whole; when they can't
 * be written, this exits with the reason.
 */
void write_frames(const frame *frames, int n, char **names, char *file);

#endif
