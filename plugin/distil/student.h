/*
 * The student while it learns: what its [deepkd_loss] section says, its teacher, and what one
 * step leaves behind. deepkd_loss.c fills in the losses and deltas, groups.c takes them back
 * through the network; both know this file, and it knows neither.
 */
#ifndef KD_STUDENT_H
#define KD_STUDENT_H

#include "data/batch.h"
#include "distil/loss_options.h"
#include "distil/rows.h"
#include "distil/teacher.h"
#include "math/broken.h"
#include "math/momentum.h"

#include <stdint.h>

/* What has been measured of the components' gradients so far, smoothed (gsnr.h). */
typedef struct {
    kd_snr snr[KD_COMPONENTS];
    uint64_t samples; /* 0: none, snr is not set */
} gsnr_state;

/* `l.plugin` of the [deepkd_loss] layer. */
typedef struct deepkd {
    deepkd_options options;
    network *net; /* the student */
    teacher *teacher;
    struct logit_cache *cache; /* the teacher's logits, which then does not run; or NULL */
    int cache_top; /* of a cache's rows, so many classes besides the target; 0: all, exactly */
    struct momentum_groups *groups; /* groups.h; NULL until attach_groups */
    int views;  /* of each image: so many forward passes, one after the other */
    int copies; /* of the student, which train a batch each at once (replicas.h); mostly 1 */
    int keeps_apart;         /* 1: each component has momenta of its own (groups.h) */
    arithmetic arithmetic;   /* of its convolutions; attach_groups */
    gsnr_state gsnr;         /* what momentum_rule=gsnr goes by */
    struct sampler *sampler; /* gsnr.h; NULL: nothing is measured */

    row_source source;   /* both networks' output layers */
    net_outputs outputs; /* the student's */
    int classes;
    kd_loss_config loss_config;
    kd_topk_config topk_config;

    /* Set by who trains. */
    const image_batch *batch; /* the images that the network sees in this forward pass */
    long epoch_images;        /* of the training list */
    region_figures figures;   /* sums of a detector's heads, since start_losses */
    int prints_figures;       /* 1: Darknet prints its line of each head as well */

    /* Set by each forward pass in training. */
    row_list rows; /* of this forward pass */
    /* TCG, NCG: of each output layer, -dL/dz, as l.delta; TOG: the same with a method's batch
     * loss, else NULL */
    float **delta[KD_COMPONENTS];
    double loss[KD_COMPONENTS]; /* weighted sums over `images` images; see read_losses */
    long images;                /* since start_losses */
    int keep;                   /* K of this batch */
    unsigned broken;            /* what was not finite (broken.h); nothing is updated then */
    long broken_batch;          /* the batch, when `broken` comes from read_losses; else 0 */
    double *scratch;
    float *view_logits[KD_VIEWS]; /* the teacher's, [batch][classes] of each view; NULL: of one
                                     view, they are where output_logits finds them */
    struct student_gpu *gpu;      /* student_gpu.h; NULL on the CPU */
} deepkd;

/* The state of a network's [deepkd_loss], or NULL when its cfg has none. */
deepkd *find_deepkd(const network *net);

/* The [deepkd_loss] layer's release: frees the state, but not `net`, `teacher` and `groups`. */
void release_student(layer l);

/* `delta` for the present size of the student: [outputs.n] arrays; and free. */
void allocate_student_deltas(deepkd *kd);
void free_student_deltas(deepkd *kd);

/*
 * The momentum coefficient of a component: [net] momentum and the trainer's, the method's or
 * the user's delta; with momentum_rule=gsnr changed by what has been measured so far
 * (momentum.h).
 */
double component_momentum(const deepkd *kd, kd_component c);

/* The same while it warms up: v of update t (from 1) is momentum_at(kd, c, t) v and the
 * gradient. */
double momentum_at(const deepkd *kd, kd_component c, long update);

/* The update that the batch in training belongs to, from 1; several copies make one together.
 */
long training_update(const deepkd *kd);

/* 1 when the component has a weight above 0. */
int is_active(const deepkd *kd, kd_component c);

/* Images between two updates: batch= of the cfg. */
long images_per_batch(const network *net);

/* The batch that is being trained, from 1, and the share of the run it ends. */
long training_batch(const network *net);
double training_progress(const network *net);

/* make_loader's `augment` for its training images */
int training_augmentation(const deepkd *kd);

/* Sets the losses, `images` and `figures` to 0. */
void start_losses(deepkd *kd);

/*
 * The losses since start_losses are in kd->loss afterwards, and what was not finite in
 * kd->broken. On the CPU both are there at once; from the GPU they are fetched, which waits.
 */
void read_losses(deepkd *kd);

/* region_hook (patches/hooks): adds a head's figures to its student's; 1: print them too. */
int add_region_figures(network *net, region_figures f);

#endif
