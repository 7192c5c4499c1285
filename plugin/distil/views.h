/*
 * Several views of each image: the student sees them in forward passes of their own, one after
 * the other, and in each learns from the teacher's logits of all of them. Of one view, nothing
 * here does anything but enter_view and weigh_rows. CPU alone.
 */
#ifndef KD_DISTIL_VIEWS_H
#define KD_DISTIL_VIEWS_H

#include "distil/student.h"

/* kd->view_logits, when there are several views; they are freed with the student. */
void allocate_views(deepkd *kd);

/* Runs the teacher on all views of kd->batch, which the student is about to see; or reads what
 * it has said from kd->cache. */
void look_at_views(deepkd *kd);

/* The next forward pass is of view v of kd->batch, and the teacher's output is what it says to
 * that. */
void enter_view(deepkd *kd, int v);

/* As train_network_datum: but it counts no images and updates nothing, for more passes follow.
 */
float train_view(network *net);

/* The teacher's logits of a view, [batch][classes] */
const float *view_logits(const deepkd *kd, int v);

/* After find_rows: the weights that the method gives its rows. */
void weigh_rows(deepkd *kd);

#endif
