/*
 * The loop of `distill`: trains until max_batches or a signal. Its order (evaluate, save, stop,
 * train) is what makes a stopped and resumed run bit-identical to one that was not: a state is
 * always saved between two batches.
 */
#ifndef KD_TRAIN_H
#define KD_TRAIN_H

#include "distil/replicas.h"
#include "run/checkpoint.h"
#include "run/evaluate.h"
#include "run/files.h"

/* What is trained, on what, and where it goes; all of it belongs to the caller. */
typedef struct {
    replicas *students; /* the first is what is evaluated and saved */
    char *cfg;          /* the student's */
    const image_list *list;
    validation valid;
    run_files files;
    run_state *state; /* from where the run begins or goes on */
    int resumed;
    int eval_interval, save_interval, log_interval; /* batches; eval 0: an epoch */
    int verbose, dont_show;
} training;

/*
 * The size at which a batch, from 0, is trained: as given, the cfg's, or, with a detector's
 * random=, Darknet's, which is drawn anew every ten batches, and at the end a large one: of
 * random=1 a square, of another number as far from the cfg's size, which *width and *height are.
 */
void find_training_size(const network *net, int is_detector, uint64_t seed, long batch,
                        int *width, int *height);

/* Trains to the end; returns the exit status. */
int train(const training *t);

#endif
