/*
 * [deepkd_loss]: how the student learns from the teacher. In `distill` it
 * compares the two networks' logits after each forward pass and yields the
 * losses and one delta for each component; groups.c takes them back through
 * the student. It has no cost of its own, so Darknet's printed loss stays
 * Darknet's. In every other command the section is read, and costs nothing.
 */
#ifndef KD_DEEPKD_LOSS_H
#define KD_DEEPKD_LOSS_H

#include "distil/student.h"

/* A registered layer's parser (patches/hooks). Exits on bad options. */
layer parse_deepkd_loss(list *options, network *net, int index, char *cfgfile);

/*
 * Checks what needs both networks (classes, rows, K, activation, momentum) and
 * allocates; `cfg` names the student's file in messages. After load_teacher.
 */
void attach_deepkd_loss(deepkd *kd, const char *cfg);

/*
 * In training, with groups attached: from both networks' logits and the truth, finds the rows
 * of the batch (rows.h), adds their weighted losses to `loss` and leaves the deltas in `delta`
 * (formulas: kd_math.h); sets `broken` when something is not finite. Else nothing. On the GPU
 * this is launched, not waited for.
 */
void forward_deepkd_loss_layer(layer l, network net);

#endif
