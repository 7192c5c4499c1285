/*
 * What `-resume` needs, in one file, so that a kill at any moment leaves a
 * whole state behind: the student's weights with their statistics, the buffers
 * of every momentum group, and where the run was. Random numbers need no
 * place: they follow from the seed and the position (loader.h).
 */
#ifndef KD_CHECKPOINT_H
#define KD_CHECKPOINT_H

#include "distil/groups.h"
#include "run/evaluate.h"

typedef struct {
    /* What must be the same when the run goes on. */
    uint64_t cfg_hash;     /* of the student's cfg, without comments and blanks */
    uint64_t teacher_hash; /* of the teacher's cfg and weights */
    uint64_t train_hash;   /* of the training images' paths and classes or boxes */
    uint64_t seed;
    uint64_t metric; /* what the best evaluation went by: a `metric` of evaluate.h */
    /* Where the run was. */
    uint64_t seen;      /* images, as in Darknet's weights files */
    uint64_t planned;   /* images of the whole run */
    uint64_t evaluated; /* the batch of the last evaluation, 0: none */
    uint64_t best_batch;
    double best;     /* the best evaluation's merit (evaluate.h) */
    double average;  /* Darknet's running average of the loss */
    gsnr_state gsnr; /* of the components' gradients, for momentum_rule=gsnr */
} run_state;

/* Writes the file in place of the last one, or exits and leaves that as it was. */
void save_checkpoint(char *file, const run_state *state, deepkd *kd);

/*
 * Reads it into the student, its groups and *state, whose first five fields
 * say what is expected (seed 0: any). Exits when the file is missing, too
 * short or too long, or belongs to another cfg, teacher, image list, metric or seed;
 * nothing has been changed then.
 */
void load_checkpoint(char *file, run_state *state, deepkd *kd);

/* 1 when the file is the state of a run that has not come to its end, then in *state; else 0.
 */
int find_unfinished(char *file, run_state *state);

/* The hash of a cfg's lines, comments and blanks left out. */
uint64_t hash_cfg(char *file);

/*
 * The state of a run before its first batch, and what a saved one must agree with: the
 * student's cfg, kd's teacher, the list's hash, the metric and the seed.
 */
run_state begin_state(const deepkd *kd, char *cfg, uint64_t train_hash, metric by,
                      uint64_t seed);

#endif
