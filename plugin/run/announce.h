/* What `distill` says before it trains: what it is about to do, and how good the teacher is. */
#ifndef KD_ANNOUNCE_H
#define KD_ANNOUNCE_H

#include "distil/replicas.h"
#include "run/evaluate.h"

#include <stdint.h>

/* Both networks, the loss, the momentum groups, K's schedule, the GPUs and the run's length. */
void announce_run(const replicas *r, const image_list *train, int valid_images, uint64_t seed);

/* Each teacher's own scores; `list` names the file of images. A detector's, with mAP alone. */
void announce_teachers(const teacher *first, const validation *v, const char *list);

#endif
