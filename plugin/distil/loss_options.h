/* The options of [deepkd_loss]: those that all methods share, and each method's own. */
#ifndef KD_LOSS_OPTIONS_H
#define KD_LOSS_OPTIONS_H

#include "math/momentum.h"
#include "options.h"

#include "darknet.h"

typedef enum { TRAINER_DEEPKD, TRAINER_DOT, TRAINER_SGD } kd_trainer;
typedef enum { RULE_FIXED, RULE_GSNR } kd_momentum_rule;

typedef enum { WARMUP_LINEAR, WARMUP_EPOCHS } warmup_shape;

#define METHOD_OPTIONS 16 /* of all methods together, at most */

/* The section's options, as docs/options.md lists them. */
typedef struct {
    int method, activation,
        trainer; /* in kd_methods; kd_activation (-1: not given); kd_trainer */
    double of_method[METHOD_OPTIONS]; /* as kd_methods first names them; NAN: not given */
    double temperature, alpha;
    double task_weight, teacher_weight;
    int ensemble;                /* of several teachers: an ensemble_rule; -1: not given */
    option_numbers temperatures; /* n = 0: not given */
    int warmup, warmup_shape;    /* batches, or epochs; a warmup_shape */
    int views, augment;          /* of an image, 0: not given; place in its choices, -1 */
    unsigned operations;         /* of the strong view, as bits (data/strong.h) */
    char *operation_names;       /* the same as given, or NULL */
    int standardize;
    int tcg_gate, swap;      /* 1: as kd_row and kd_swap say */
    int topk_schedule, topk; /* kd_schedule (-1: not given); K*, 0: not given */
    int rows, feature_nms;   /* kd_rows; detectors only, as objectness_weight */
    double objectness_weight;
    double box_weight; /* NAN: not given */
    int box_loss;      /* kd_overlap; -1: not given */
    double topk_phases[2];
    double delta[KD_COMPONENTS];    /* momentum minus [net] momentum; NAN: not given */
    double momentum[KD_COMPONENTS]; /* NAN: not given; else wins over delta */
    int decay_component;            /* kd_component */
    int decay_all;                  /* 1: biases and scales decay too */
    double momentum_warmup;         /* c of kd_warm_momentum */
    int momentum_rule;              /* kd_momentum_rule */
    int gsnr_interval, gsnr_layers; /* batches, 0: off, -1: not given; 1: of each layer too */
    int precision;                  /* precision, of the student */
    int parts;                      /* of attach_cores */
} deepkd_options;

/*
 * Reads the section, Darknet's list of key=value; what it says of the loss goes into *loss, but
 * for the activation, which depends on the network. Exits on an option that is unknown, out of
 * range, or another method's; `cfg` names the file.
 */
deepkd_options read_deepkd_options(list *options, const char *cfg, kd_loss_config *loss);

#endif
