/* The teacher's logits of a batch, to a cache and from it (data/logit_cache.h). */
#ifndef KD_CACHED_LOGITS_H
#define KD_CACHED_LOGITS_H

#include "data/logit_cache.h"
#include "distil/student.h"

/*
 * Whose logits a cache's numbers are follows from the truths: those of
 * find_teachers_predictions, of a detector each its box, if boxes are distilled, and its
 * objectness, and its classes. With kd->cache_top, a classifier's are packed (math/top_row.h).
 *
 * Writes those of the teacher's present batch, whose first image stands at `position` of the
 * run; the student has its truths. Of several views of an image (views.h), all, one behind the
 * other. Exits when one is not finite.
 */
void cache_logits(deepkd *kd, logit_cache *cache, uint64_t position);

/* Reads those of all views of the images from `position` on to kd->view_logits. Exits as below.
 */
void recall_views(deepkd *kd, uint64_t position);

/*
 * Of one view, reads those of the student's present batch from kd->cache to where output_logits
 * finds them, and where the GPU does: for rows, what the teacher would have left there. Exits
 * when an image is missing or damaged.
 */
void recall_logits(deepkd *kd);

#endif
