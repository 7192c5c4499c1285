/* Several teachers' logits made those of one, in place of the first one's. */
#ifndef KD_ENSEMBLE_H
#define KD_ENSEMBLE_H

#include "math/mean_logits.h"
#include "net/outputs.h"

/* [deepkd_loss] ensemble=: what is averaged */
#define ENSEMBLE_CHOICES "logits|probabilities"
typedef enum { ENSEMBLE_LOGITS, ENSEMBLE_PROBABILITIES } ensemble_rule;

/* One of the teachers, which belong to the caller. */
typedef struct {
    network *net;
    net_outputs outputs;
    const char *cfg;
} ensemble_member;

/* Exits where a member has other outputs than the first one: classes; of a detector its heads,
 * their grids and anchors. */
void check_ensemble(const ensemble_member *members, int n);

/*
 * Of the logits that n members, 1 to KD_MOST_TEACHERS, have of a batch on the CPU, the mean to
 * the first one's (math/mean_logits.h). ENSEMBLE_LOGITS: of every number of their outputs.
 * ENSEMBLE_PROBABILITIES: of the probabilities that the output layer makes of classes and
 * objectness; a box's numbers as they are.
 */
void average_ensemble(const ensemble_member *members, int n, ensemble_rule rule);

#endif
