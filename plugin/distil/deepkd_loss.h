/*
 * [deepkd_loss]: how the student learns from the teacher. In `distill` it
 * compares the two networks' logits after each forward pass and yields the
 * losses and one delta for each component; groups.c takes them back through
 * the student. It has no cost of its own, so Darknet's printed loss stays
 * Darknet's. In every other command the section is read, and costs nothing.
 */
#ifndef KD_DEEPKD_LOSS_LAYER_H
#define KD_DEEPKD_LOSS_LAYER_H

#include "deepkd.h"
#include "math/kd_math.h"
#include "distil/rows.h"
#include "distil/teacher.h"

typedef enum { TRAINER_DEEPKD, TRAINER_DOT, TRAINER_SGD } kd_trainer;

/* The section's options, as README lists them. */
typedef struct {
    int method, activation, trainer; /* kd_method, kd_activation (-1: not given), kd_trainer */
    double temperature, alpha, beta;
    double task_weight, teacher_weight;
    int warmup; /* batches */
    int standardize;
    int topk_schedule, topk; /* kd_schedule; K*, 0: not given */
    int rows, feature_nms;   /* kd_rows; detectors only, as objectness_weight */
    double objectness_weight;
    double topk_phases[2];
    double delta[KD_COMPONENTS];    /* momentum minus [net] momentum; NAN: not given */
    double momentum[KD_COMPONENTS]; /* NAN: not given; else wins over delta */
    int decay_component;            /* kd_component */
} deepkd_options;

/* What the layer knows and what one step leaves behind; `l.plugin` of the layer. */
typedef struct deepkd {
    deepkd_options options;
    network *net; /* the student */
    teacher *teacher;
    struct momentum_groups *groups; /* groups.h; NULL until attach_groups */

    row_source source;   /* both networks' output layers */
    net_outputs outputs; /* the student's */
    int classes;
    kd_loss_config loss_config;
    kd_topk_config topk_config;

    /* Set by each forward pass in training. */
    row_list rows;                /* of this forward pass */
    float **delta[KD_COMPONENTS]; /* TCG, NCG: of each output layer, -dL/dz, as l.delta */
    double loss[KD_COMPONENTS];   /* weighted sums over `images` images; see read_losses */
    long images;                  /* since start_losses */
    int keep;                     /* K of this batch */
    const char *broken; /* what was not finite first, or NULL; nothing is updated then */
    long broken_batch;  /* the batch, when `broken` comes from read_losses; else 0 */
    double *scratch;
    struct deepkd_gpu *gpu; /* deepkd_loss_gpu.h; NULL on the CPU */
} deepkd;

/* A registered layer's parser (patches/0001). */
layer parse_deepkd_loss(list *options, network *net, int index, char *cfgfile);

/* The state of a network's [deepkd_loss], or NULL when its cfg has none. */
deepkd *find_deepkd(network *net);

/*
 * Checks what needs both networks (classes, rows, K, activation, momentum) and
 * allocates; `cfg` names the student's file in messages. After load_teacher.
 */
void attach_deepkd_loss(deepkd *kd, const char *cfg);

/* The momentum coefficient of a component: [net] momentum and the trainer's or user's delta. */
double component_momentum(const deepkd *kd, kd_component c);

/* 1 when the component has a weight above 0. */
int is_active(const deepkd *kd, kd_component c);

/* Images between two updates: batch= of the cfg. */
long images_per_batch(const network *net);

/* The batch that is being trained, from 1, and the share of the run it ends. */
long training_batch(network *net);
double training_progress(network *net);

/*
 * In training, with groups attached: from both networks' logits and the truth, finds the rows
 * of the batch (rows.h), adds their weighted losses to `loss` and leaves the two deltas in
 * `delta` (formulas: kd_math.h); sets `broken` when something is not finite. Else nothing. On
 * the GPU this is launched, not waited for.
 */
void forward_deepkd_loss_layer(layer l, network net);

/* Sets the losses and `images` to 0. */
void start_losses(deepkd *kd);

/*
 * The losses since start_losses are in kd->loss afterwards, and what was not finite in
 * kd->broken. On the CPU both are there at once; from the GPU they are fetched, which waits.
 */
void read_losses(deepkd *kd);

#endif
