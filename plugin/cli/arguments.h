/* What a user gives `distill`: the command line and the .data file. */
#ifndef KD_ARGUMENTS_H
#define KD_ARGUMENTS_H

#include "distil/replicas.h"
#include "net/outputs.h"

#include <stdint.h>

typedef struct {
    char *data, *cfg, *weights;     /* weights: NULL when only [teacher] names them */
    char *cache;                    /* a file of the teacher's logits, or NULL */
    char *start;                    /* weights that the student starts from, or NULL */
    int clear, resume;              /* clear: begin at image 0, also over a stopped run */
    int map, verbose;               /* detectors: evaluate mAP; Darknet's lines of each head */
    int dont_show;                  /* open no window */
    int threads;                    /* that load images */
    uint64_t seed;                  /* 0: not given */
    char *gpu_list;                 /* -gpus as it was typed, or NULL */
    int gpus[KD_MOST_GPUS], n_gpus; /* -gpus; none: the one that Darknet's -i chose */
} distill_arguments;

/*
 * Reads the command line; exits with the usage on anything unknown, and with the help, status
 * 0, when it asks for it. Strings point into argv.
 */
distill_arguments read_arguments(int argc, char **argv);

typedef struct {
    int classes;
    char *train, *valid, *unlabelled, *backup, *teacher;
    char *labels;                                   /* a classifier's; else NULL */
    char *annotations;                              /* a detector's COCO JSON, or NULL */
    int top;                                        /* k of the second accuracy, 0: 1 */
    int eval_interval, save_interval, log_interval; /* batches; eval 0: an epoch */
    char *names, *eval, *results, *map;             /* of Darknet's other commands */
} data_options;

/* What of a .data file a command can't do without, besides classes= */
enum { NEEDS_VALID = 1, NEEDS_TRAIN = 2, NEEDS_BACKUP = 4 };

/* Reads a .data file; exits when a key is unknown, or one of `needs` is missing. */
data_options read_data_options(char *file, int needs);

/* Exits when a key or flag is missing or out of place for a detector (1) or a classifier (0).
 */
void check_task(const distill_arguments *a, const data_options *d, int detector);

/* Exits unless classes= of the .data file fits the network, or the map= of its layers. */
void check_classes(network *net, const net_outputs *outputs, const char *cfg, const char *data,
                   int classes);

#endif
