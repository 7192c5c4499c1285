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
    char *cfg;                 /* the student's, as read_cfg_text gives it */
    uint64_t cfg_bytes;        /* of it, in a file; 0 elsewhere */
    uint64_t teacher_cfg_hash; /* of the teachers' cfgs, and of their weights */
    uint64_t teacher_hash;
    uint64_t train_hash; /* of the training images' paths and classes or boxes */
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

/* What is found where a state is looked for. */
typedef enum {
    STATE_MISSING,
    STATE_WHOLE,
    STATE_DAMAGED,
    STATE_OLD, /* or of a version to come */
    STATE_NONE_OF_OURS,
} state_kind;
extern const char *const state_kind_name[]; /* "a damaged state", and so on */

/* Writes the file in place of the last one, or exits and leaves that as it was. */
void save_checkpoint(char *file, const run_state *state, deepkd *kd);

/* Before a save: the last one stays too, as `previous`. */
void keep_checkpoint(char *file, char *previous);

/*
 * Reads it into the student, its groups and *state, whose first seven fields
 * say what is expected (seed 0: any). Exits when the file is missing or damaged,
 * or belongs to another cfg, teacher, image list, metric or seed, and says to
 * which; nothing has been changed then.
 */
void load_checkpoint(char *file, run_state *state, deepkd *kd);

/* Before the first batch: all ranks begin where rank 0 does. */
void share_state(run_state *state, deepkd *kd);

/* What the file is; the head of a whole state goes into *state, without its cfg. */
state_kind find_state(char *file, run_state *state);

/* The hash of a cfg's lines, comments and blanks left out; and of a file's bytes. */
uint64_t hash_cfg(char *file);
uint64_t hash_file(const char *file);

/*
 * The state of a run before its first batch, and what a saved one must agree with: the
 * student's cfg, kd's teacher, the list's hash, the metric and the seed.
 */
run_state begin_state(const deepkd *kd, char *cfg, uint64_t train_hash, metric by,
                      uint64_t seed);

#endif
