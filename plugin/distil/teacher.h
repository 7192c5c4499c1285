/*
 * [teacher]: the network that the student learns from. In `distill` it runs on
 * the student's own input images in inference mode (rolling batch-norm
 * statistics), and nothing ever changes its weights. In every other command
 * the section is read, and costs nothing.
 */
#ifndef KD_TEACHER_H
#define KD_TEACHER_H

#include "distil/ensemble.h"
#include "distil/precision.h"
#include "net/onnx_network.h"
#include "net/outputs.h"

typedef struct teacher {
    char *file;     /* the student's cfg, which has the section */
    char *cfg;      /* [teacher] cfg=, or NULL */
    char *weights;  /* [teacher] weights=, or NULL */
    char *model;    /* [teacher] model=, an ONNX file, which cfg names too then; or NULL */
    onnx_form form; /* of it */
    int resize;     /* [teacher] resize=: 1: its input is always as large as the student's */
    precision precision;   /* [teacher] precision= */
    arithmetic arithmetic; /* of its convolutions; INT8: once they are calibrated (run/) */

    int parts; /* as the student's, of its options */

    struct teacher *next; /* of the ensemble that begins with the first [teacher], or NULL */
    int is_led;           /* 1: another one is the first, and runs this one too */
    ensemble_rule rule;   /* of the first */

    network *net;     /* NULL until load_teacher */
    network *student; /* whose input it sees */
    net_outputs outputs;
    float *input;  /* [batch][c][h][w] of the teacher's size; NULL until the sizes differ */
    int is_cached; /* 1: its logits come from a file, forward does nothing */
    int idle;      /* 1: nobody needs the logits, forward does nothing */
    int has_run;   /* 1: it has seen all views of the images before (views.h), as above */
    int pulls;     /* 1: the host needs its predictions also when it runs on the GPU */
    int own_batch; /* images for which its layers have memory of their own; on the GPU mostly 1
                    */
    int lane;      /* on the GPU, of its stream (patches/gpu/05); the student's has another */
    struct teacher_gpu *gpu; /* teacher_gpu.h; NULL on the CPU */
} teacher;

/* A registered layer's parser (patches/hooks/01). */
layer parse_teacher(list *options, network *net, int index, char *cfgfile);

/* The first of the [teacher] sections right before layer `index`, where [deepkd_loss] stands,
 * with the others as next; exits when there is none, too many, or one elsewhere. */
teacher *join_teachers(const network *net, int index, const char *cfg);

/* After load_teacher of each, exits when the first's ensemble cannot be one (ensemble.h). */
void check_teachers(const teacher *first);

/*
 * Makes the teacher ready for forward_teacher_layer: parses t->cfg with the student's batch and
 * loads `weights`, which must fit it exactly; a cached one's and a model's may be NULL. Exits
 * on bad input, on other input channels than the student's, and on a precision that can't be
 * had here.
 */
void load_teacher(teacher *t, char *weights);

/*
 * Runs the teacher on the images in the student's input; only in training. The first one of an
 * ensemble runs all of it, and has the mean of their logits as its own then. On the GPU it has
 * been running since the student's forward pass began, and this waits for it.
 */
void forward_teacher_layer(layer l, network net);

/* Runs it by itself, or its ensemble, on images as the student takes them, [batch][c][h][w] on
 * the host, to where output_logits finds its logits. */
void run_teacher(teacher *t, float *images);

#endif
