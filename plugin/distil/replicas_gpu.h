/* Several GPUs: the copies of a student, what each does in a step, and how they agree. */
#ifndef KD_REPLICAS_GPU_H
#define KD_REPLICAS_GPU_H

#include "distil/replicas.h"

/* The lane (patches/gpu) of copy k's student; its teacher has the next one. */
#define student_lane(k) (2 * (k))

/* What one copy has to do in a step. */
typedef struct {
    deepkd *kd;
    image_batch batch; /* its images */
    unsigned seed;
    int number;
    double loss; /* out: the sum over its images */
} share;

/* This thread works on copy k from now on: on its GPU, in its student's lane. */
void enter_copy(const replicas *r, int k);

/* Copy k's part of a step, and training it: Darknet's train_network_datum for each subdivision.
 */
share make_share(const replicas *r, int k, image_batch batch, unsigned seed);
void train_share(share *s);

/* The part of each function of replicas.h that only several GPUs have. */
void make_copies(replicas *r, const int *gpus, replica_maker make, void *context);
void free_copies(replicas *r);
void spread_to_copies(replicas *r);
double train_copies(replicas *r, image_batch batch, unsigned seed);

#endif
