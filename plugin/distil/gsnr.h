/*
 * The components' gradients as the run goes on: how much of each is signal and how much noise
 * (momentum.h has the formulas), how they lie to each other, and the same of the momenta. Every
 * gsnr_interval batches, the gradients of two halves of the first subdivision, of two views
 * their sums, are taken back through the student once more, each component by itself. What the
 * run learns stays the same to the bit, but for momentum_rule=gsnr, which follows what is
 * measured.
 */
#ifndef KD_GSNR_H
#define KD_GSNR_H

#include "distil/groups.h"

/* Of one layer, or of all. */
typedef struct {
    int layer; /* -1: all */
    kd_snr gradient[KD_COMPONENTS];
    kd_snr buffer[KD_COMPONENTS]; /* of the momenta after the batch before; a group's, for each
                                     of its components */
    double cosine[KD_COMPONENTS]; /* of tog and tcg, tog and ncg, tcg and ncg */
} gsnr_sample;

typedef struct sampler {
    momentum_groups *probe; /* a group for each component */
    float *half[2];       /* [KD_COMPONENTS][probe->size] each: the gradients of both halves */
    float *before;        /* [groups->n][probe->size]: the groups' buffers before the batch */
    long batch;           /* of the last sample, 0: none yet */
    gsnr_sample *samples; /* [n], of `batch`; the first is of all layers */
    int n;
} sampler;

/*
 * After attach_groups: measures from now on, if gsnr_interval or momentum_rule asks for it;
 * hooks net->backward. Of several copies of the student (replicas.h), the first alone. Exits
 * when a subdivision has less than two images. `cfg` names the file.
 */
void attach_gsnr(deepkd *kd, const char *cfg);
void release_gsnr(deepkd *kd);

/* Batches between two samples; 0: none. */
int gsnr_interval(const deepkd *kd);

#endif
