/* What a teacher in int8 needs to know of its layers before it teaches. */
#ifndef KD_CALIBRATE_H
#define KD_CALIBRATE_H

#include "data/lists.h"
#include "distil/student.h"

#include <signal.h>
#include <stdint.h>

#define CALIBRATION_IMAGES 256 /* at least; whole batches */

/*
 * With [teacher] precision=int8, else nothing: runs each such teacher in float32 on the first
 * images of the run with this seed, augmented as the student will see them, and takes the
 * largest number of each layer's output for 127 from then on (use_int8). Always the same for
 * one list and seed, so -resume needs no state. Exits naming a layer whose output is not
 * finite. After a stop, nothing is changed.
 */
void calibrate_teachers(const deepkd *kd, const image_list *list, int threads, uint64_t seed,
                        const volatile sig_atomic_t *stop);

#endif
