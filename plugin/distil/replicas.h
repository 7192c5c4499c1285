/*
 * One student, or several copies of it, each on a GPU of its own with a teacher of its own,
 * that learn as one: each takes its share of the images of a step, their momenta are averaged,
 * and all make the same update. As in Darknet, n GPUs train n batches a step at n times the
 * learning rate, and a run's batches are counted one by one: the result is that of one network
 * with n times the batch and the rate (batch norm apart, whose statistics are each copy's).
 */
#ifndef KD_REPLICAS_H
#define KD_REPLICAS_H

#include "data/batch.h"
#include "distil/groups.h"

#define KD_MOST_GPUS 16

typedef struct {
    deepkd *kd[KD_MOST_GPUS]; /* [n]; the first is what is evaluated and saved */
    int n;
    float *incoming; /* another copy's momenta, on the first one's GPU */
} replicas;

/* Makes one more student with its teacher, ready to be trained, on the GPU that is current. */
typedef deepkd *(*replica_maker)(void *context);

/*
 * The student on gpus[n]: `first`, which is on gpus[0] and stays the caller's, and for each
 * other one a copy that `make` yields, which belongs to the replicas. Exits with policy=random,
 * whose rate would be another for each. n is 1 in a build without a GPU.
 */
replicas make_replicas(deepkd *first, const int *gpus, int n, replica_maker make,
                       void *context);
void free_replicas(replicas *r);

/* Prints the GPU of each copy, and its memory. */
void print_gpus(const replicas *r);

/* 1: Darknet prints its line of each head of a detector as well. */
void print_figures(const replicas *r, int is_printed);

/* Gives all copies the first one's weights, momenta and place in the run. */
void spread_student(replicas *r);

/* Gives all copies another size of input. */
void resize_replicas(replicas *r, int width, int height);

/*
 * One step: trains on a batch of n x images_per_batch images, which each student sees as
 * kd->batch, subdivision by subdivision. Returns the mean loss of an image. `seed` is for
 * [dropout] and [crop]. With two views of each image there are two forward and backward passes,
 * one after the other, each with a batch norm of its own; their gradients add up, and losses
 * are means over them. Exits when the batch has other views than the method compares. The first
 * one's `loss`, `images`, `figures` and `broken` are then those of all; on the GPU, once
 * read_replicas has fetched them.
 */
double train_replicas(replicas *r, image_batch batch, unsigned seed);
void read_replicas(replicas *r);

#endif
