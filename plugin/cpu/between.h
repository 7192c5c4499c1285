/*
 * What stands between a convolution and its layer's output: batch norm or bias, then the
 * activation, of a network that is cut into parts (cores.h), on all cores. Images are in
 * Darknet's form (filters.h, filter by filter) or channels last (channels.h, part by part).
 */
#ifndef KD_BETWEEN_H
#define KD_BETWEEN_H

#include "cpu/convolution_code.h"

#include "darknet.h"

/* The line behind a convolution's filter f: a x + b, as batchnorm_layer.c has it. mean and
 * variance: [filters], not read without batch norm. */
void find_line(layer l, int f, const float *mean, const float *variance, float *a, float *b);

/* What the gradient of a layer's activation follows from: its output, or what it was given */
const float *gradient_source(layer l);

/* l.output from x, the convolution's output, of one part; x may be l.output. */
void finish_part(layer l, image_form form, const float *mean, const float *variance,
                 const float *x);

/* Layer i, which has batch norm, in training: its mean, variance, their rolling means and its
 * output, from l.x. parts[count] are those of net. */
void normalize_parts(const network *net, const network *parts, int count, int i,
                     image_form form);

/* The same of a [batchnorm], from x, its input. */
void normalize_images(const network *net, int i, const float *x);

/* backward_between of plain images, x: what the batch norm was given; of a [batchnorm] too. */
void backward_filters(const network *views, int groups, int i, const float *x);

/* The layer's deltas of all losses become from the gradients of its output those of its
 * convolution; those of biases and scales are added up. views[groups] as backward_on_cores has
 * them, parts[g] their parts. */
void backward_between(const network *views, network *const *parts, int groups, int count, int i,
                      image_form form);

#endif
