/*
 * A network's output layers: what makes it a classifier or a detector, and where
 * one prediction's logits stand. The input of an output layer is what this
 * project calls logits.
 */
#ifndef KD_OUTPUTS_H
#define KD_OUTPUTS_H

#include "math/kd_math.h"

#include "darknet.h"

typedef struct {
    LAYER_TYPE type; /* SOFTMAX, YOLO or REGION, of all of them */
    int n;           /* 1 if SOFTMAX */
    int *layer;      /* [n] indices in the network, in its order; from find_outputs */
    int classes;
} net_outputs;

/*
 * Exits naming `cfg` unless the network ends in a [softmax] of one group without a tree, or in
 * a [yolo] or a [region]; several [yolo] must agree in their classes, anchors, max, jitter and
 * random. A [region] has four coordinates, and neither a tree nor a background class.
 */
net_outputs find_outputs(network *net, const char *cfg);

/* 1 for [yolo] and [region], 0 for [softmax]. */
int is_detector(const net_outputs *outputs);

/* What an output layer does with its class logits. */
kd_activation native_activation(layer l);

/* The logits of output o: [batch][inputs of its layer], raw, as the layer before left them. Of
 * a network on the GPU: as of the last pull_logits. */
float *output_logits(network *net, const net_outputs *outputs, int o);

/* Fetches the logits of all outputs from the GPU to where output_logits finds them. */
void pull_logits(network *net, const net_outputs *outputs);

/*
 * One prediction: an image, an output layer and, of a detector, a cell and an anchor. Its
 * numbers stand in arrays that are laid out as output_logits.
 */
typedef struct {
    int output;        /* which of the network's outputs */
    int image, i, j;   /* of the batch; the cell's column and row */
    size_t objectness; /* where its logit stands; detectors only */
    size_t classes;    /* where class 0 stands */
    int stride;        /* from one class to the next */
} prediction;

/* Image b; of a detector also anchor n of the layer's own and cell (i, j); else 0. */
prediction find_prediction(network *net, const net_outputs *outputs, int o, int b, int n, int i,
                           int j);

/* Width and height of the layer's anchor n, in pixels of the network's input. */
box anchor_in_pixels(network *net, const net_outputs *outputs, int o, int n);

/*
 * The prediction of output o that Darknet's own rule assigns to a box of image b: in the cell
 * of its centre, of all anchors the one with the best shape IoU. Returns 0 when that anchor
 * belongs to another [yolo], or the centre is not in the image; else 1.
 */
int assign_box(network *net, const net_outputs *outputs, int o, int b, box truth,
               prediction *p);

/* The same for anchor n of a [yolo] with iou_thresh=, which learns what is like it too; 0 where
 * it does not, or is the one that assign_box finds. */
int fit_box(network *net, const net_outputs *outputs, int o, int b, box truth, int n,
            prediction *p);

/* What a [yolo] predicts there, as it stands in the layer's output. */
box predicted_box(network *net, const net_outputs *outputs, prediction p);

/* The same for the box's logits, of a [region] too: where it stands in its head. Its logits k =
 * 0 to 3, x y w h, are (4 - k) strides before the objectness. */
kd_box_place box_place(network *net, const net_outputs *outputs, prediction p);

/* 1 when Darknet's resize_network can give the network another size. */
int is_resizable(network *net);

#endif
