/* Boxes drawn into an image, and its file: what Darknet's draw_detections and save_image do,
 * but that nothing is printed and that a file appears when it is whole. */
#ifndef KD_PICTURES_H
#define KD_PICTURES_H

#include "math/average_precision.h"
#include "darknet.h"

/*
 * Draws boxes that are sorted as a frame's (frames.h), the best ones last, in Darknet's
 * colours, with the names of all of a box's classes unless alphabet, load_alphabet's, is NULL.
 * im: three channels, 0 to 1. names: [classes].
 */
void draw_boxes(image im, const ap_boxes *found, char **names, int classes, image **alphabet);

/* 1 when a picture of this image's file is a PNG: its name ends so; else it is a JPEG. */
int is_png(const char *path);

/* Writes a PNG or a JPEG, as its name says; exits with the reason when that fails. */
void save_picture(image im, char *file);

#endif
