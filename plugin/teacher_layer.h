/*
 * [teacher]: the network that the student learns from. In `distill` it runs on
 * the student's own input images in inference mode (rolling batch-norm
 * statistics), and nothing ever changes its weights. In every other command
 * the section is read, and costs nothing.
 */
#ifndef KD_TEACHER_LAYER_H
#define KD_TEACHER_LAYER_H

#include "darknet.h"

typedef struct {
    char *cfg;     /* [teacher] cfg=, or NULL */
    char *weights; /* [teacher] weights=, or NULL */

    network *net;     /* NULL until load_teacher */
    network *student; /* whose input it sees */
    float *input;  /* [batch][c][h][w] of the teacher's size, NULL when it is the student's */
    float *logits; /* [batch][classes], inside `net`: the input of its last [softmax] */
    int classes;
    int idle; /* 1: nobody needs the logits, forward does nothing */
} teacher;

/* A registered layer's parser (patches/0001). */
layer parse_teacher(list *options, network *net, int index, char *cfgfile);

/*
 * Makes the teacher ready for forward_teacher_layer: parses t->cfg with the
 * student's batch and loads `weights`, which must fit it exactly. Exits on bad
 * input, on other input channels than the student's, and when there is no
 * [softmax].
 */
void load_teacher(teacher *t, char *weights);

/* logits <- the teacher's, for the images in net.input of the student; only in training. */
void forward_teacher_layer(layer l, network net);

/*
 * The index of the network's output, a [softmax] of one group and without a
 * tree; exits naming `cfg` when it is something else. Its input is what this
 * project calls logits.
 */
int find_softmax(network *net, const char *cfg);

/* A layer that hands on the output of the layers before it and has nothing of its own. */
layer make_pass_through_layer(network *net, int index);

#endif
