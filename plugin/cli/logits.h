/*
 * ./darknet deepkd logits DATA CFG WEIGHTS -out LOGITS.npy [-threads N]
 *
 * A classifier's logits of each image of the validation list, for Python: an array in NumPy's
 * format whose entries have `target`, int32, and `logits`, float32[classes]; in the order of
 * the list, of the images as evaluations see them.
 */
#ifndef KD_LOGITS_H
#define KD_LOGITS_H

#include "cli/command.h"

extern const command logits_command;

/* `deepkd logits`; returns the exit status, exits on bad input. */
int run_logits(int argc, char **argv);

#endif
