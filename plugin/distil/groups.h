/*
 * Momentum groups: components with the same momentum share one buffer and one
 * backward pass. That is exact, because backward is linear in the deltas. With
 * kd->keeps_apart each component is a group of its own, so that its gradient can
 * be seen alone; the weights come out the same but for rounding.
 * DeepKD, independent momentum updaters; DOT, ICCV 2023, separate
 * momenta of task and distillation:
 *   v_g <- mu_g v_g + grad_g,   w <- w - rate * sum_g v_g.
 */
#ifndef KD_GROUPS_H
#define KD_GROUPS_H

#include "distil/student.h"
#include "net/device.h"
#include "net/parameters.h"

typedef struct {
    int has[KD_COMPONENTS]; /* 1: the component belongs to this group */
    int decays;             /* weight decay enters this group's buffers */
    layer_buffers *buffers; /* [net->n], where the network is: sums of gradients, which carry
                               the momentum from batch to batch */
    layer_buffers *host;    /* the same on the CPU; else a copy, as of the last pull_groups */
    float *deltas;          /* on the CPU: of all layers; NULL: the layers have them */
} momentum_group;

typedef struct momentum_groups {
    momentum_group group[KD_COMPONENTS];
    int n;
    size_t size;        /* numbers of one group's buffers, which stand one behind the other */
    float *momenta;     /* [n][size]: all buffers, where the network is */
    float *host;        /* [n][size]: all that `host` of the groups points to */
    float **task_delta; /* [net->n]: what the task's layers left in their delta, else NULL */
    struct groups_gpu *gpu; /* groups_gpu.h; NULL on the CPU */
} momentum_groups;

/*
 * Forms the groups, allocates their buffers and hooks backward and update into
 * kd->net (patches/hooks/02). After attach_deepkd_loss. Exits when a layer has
 * parameters that can't be grouped, or with adam=1. `cfg` names the file.
 */
void attach_groups(deepkd *kd, const char *cfg);

/*
 * net->update: one step with the momenta of all groups, on the GPU without waiting for it;
 * nothing when kd->broken. The group that decays comes first, for its decay is taken from the
 * weights before the step.
 */
void update_groups(network *net);

/* After the student has been resized. */
void resize_groups(deepkd *kd);

/* Frees what attach_groups allocated; does nothing the second time. */
void release_groups(deepkd *kd);

/* The buffers of all groups on the host, as checkpoints save them; free with kd_free_arrays. */
kd_arrays group_arrays(const deepkd *kd);

/* From where the network is to what group_arrays lists, and back. */
void pull_groups(deepkd *kd);
void push_groups(deepkd *kd);

/* One of the group's components: all have its momentum. */
kd_component component_of(const momentum_group *group);

/* Groups of a student: those that learn (kd->groups), or others, whose buffers start at 0. */
momentum_groups *make_groups(deepkd *kd, int keeps_apart);
void free_groups(const network *net, momentum_groups *groups);

/*
 * On the CPU, for the present size: groups that go back at once have deltas of their own; the
 * first has the layers'.
 */
void allocate_group_deltas(network *net, momentum_groups *groups);

/* Keeps the task's deltas of this forward pass, which the first backward pass uses up. */
void save_task_deltas(deepkd *kd);

/*
 * After save_task_deltas, as often as one likes: adds to each group's buffers the gradient of
 * its components' losses of `n` images from `first` on.
 */
void backward_images(deepkd *kd, momentum_groups *groups, int first, int n);

/* net->backward: both of all images, for kd->groups. */
void backward_groups(network *net);

/* The bits of the group's gradients, for kd->broken. */
unsigned gradient_bits(const momentum_group *group);

/* After weights became infinite: the bits of the first group that broke, or of the weights. */
unsigned find_broken_group(const deepkd *kd);

/* "tog+ncg 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95" into text[size], cut
 * where it is full. */
void describe_groups(const deepkd *kd, char *text, size_t size);

#endif
