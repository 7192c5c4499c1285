/* What convolution.c, which callers know, and those who compute (onednn.c) agree on. */
#ifndef KD_CONVOLUTION_CODE_H
#define KD_CONVOLUTION_CODE_H

#include "darknet.h"

#include <stddef.h>

/* How images lie in memory */
typedef enum {
    FORM_PLAIN,  /* [n][c][h][w], Darknet's */
    FORM_LAST,   /* [n][h][w][c] */
    FORM_NARROW, /* the same in bfloat16 */
    FORM_BYTE    /* and in int8, times a scale */
} image_form;

/*
 * In what a convolution multiplies: its images, weights and deltas as they are, rounded to
 * bfloat16, or, with weights that are set once, images and weights in int8. The sums of the
 * products are exact, or float32's.
 */
typedef enum { FLOAT32, BFLOAT16, INT8 } arithmetic;

/* n images of c x h x w become n of filters x out_h x out_w; weights
 * [filters][c / split][size][size] */
typedef struct {
    int n, c, h, w, filters, size, stride_x, stride_y, pad, out_h, out_w;
    int split;             /* Darknet's groups=: of so many parts are channels and filters */
    int spacing;           /* of a window's pixels: 1 where it has no holes */
    int is_constant;       /* 1: for convolve alone, with weights that are set once */
    int is_first;          /* 1: nobody asks for the gradient of its images */
    int is_alone_in_delta; /* 1: nobody else adds to that gradient, so it is set */
    int is_alone; /* 1: one thread calls at a time, so oneDNN may use all cores itself */
    arithmetic arithmetic; /* BFLOAT16: float32 where oneDNN has no fast code for it */
    int is_finished; /* 1, of a constant one of oneDNN's: it adds biases, then activates */
    ACTIVATION activation; /* of a finished one: one that has_last() */
    image_form in, out; /* of images and deltas; other than FORM_PLAIN: of oneDNN's; FORM_NARROW
                           and FORM_BYTE: of a constant one */
    float in_scale, out_scale; /* of INT8: what 1 of a byte stands for */
} convolution_shape;

typedef struct {
    convolution_shape shape;
    const float *weights;                /* of the last set_weights */
    float *biases;                       /* [filters] of a finished one, its own; else NULL */
    const struct convolution_code *code; /* who computes it */
    void *own;                           /* what that keeps */
} convolution;

/* One way to compute convolutions */
typedef struct convolution_code {
    void (*set_weights)(convolution *c, int backward); /* c->weights are set */
    void (*convolve)(const convolution *c, const float *in, float *out);
    size_t (*gradient_size)(const convolution *c);
    void (*convolve_back)(const convolution *c, const float *in, int groups,
                          float *const *deltas, float *const *sums, float *const *in_deltas);
    void (*add_gradient)(const convolution *c, const float *sum, float *gradient);
    void (*release)(convolution *c);
} convolution_code;

#endif
