/*
 * An ONNX model as one of Darknet's networks, in inference: what asks a network for its outputs
 * and logits (outputs.h) need not know that another framework computes them.
 */
#ifndef KD_ONNX_NETWORK_H
#define KD_ONNX_NETWORK_H

#include "options.h"

/* How the model wants its images, and what a classifier makes of them */
typedef struct {
    option_numbers mean, std; /* one a channel: it is given (x - mean) / std of what Darknet's
                                 networks are, red to blue, 0 to 1; none: that itself */
    int has_probabilities;    /* 1: its outputs are those; 0: logits */
} onnx_form;

/*
 * `file` (onnx_model.h) as a network of `batch` images, which free_network frees:
 *
 * - one output a class: a classifier that ends in [softmax]. Logits of probabilities p are ln
 * p.
 * - [4 + classes][boxes], as YOLOv8 writes: x, y, width, height in pixels of the input, then a
 *   probability a class; of each box one cell, of grids with 8, 16 and 32 pixels a cell: a
 *   detector of three [yolo] with one anchor each, a square of 4 cells, by which a truth finds
 *   its grid. Its logits are ln(p / (1 - p)), that of the objectness the largest of them, and
 * the boxes' those that Darknet's own decoding, with scale_x_y=33, makes the boxes of.
 *
 * Exits, naming the file, on other outputs, on has_probabilities of a detector, on means or
 * deviations of another number than channels, and as open_onnx.
 */
network *make_onnx_network(const char *file, int batch, const onnx_form *form);

#endif
