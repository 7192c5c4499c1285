/* What a user gives `distill`: the command line and the .data file. */
#ifndef KD_ARGUMENTS_H
#define KD_ARGUMENTS_H

#include <stdint.h>

typedef struct {
    char *data, *cfg, *weights; /* weights: NULL when only [teacher] names them */
    char *start;                /* weights that the student starts from, or NULL */
    int clear, resume;          /* clear: begin at image 0, also over a stopped run */
    int threads;                /* that load images */
    uint64_t seed;              /* 0: not given */
} distill_arguments;

/* Reads the command line; exits with the usage on anything unknown. Strings point into argv. */
distill_arguments read_arguments(int argc, char **argv);

typedef struct {
    int classes;
    char *train, *valid, *labels, *backup, *teacher;
    int top;                                        /* k of the second accuracy */
    int eval_interval, save_interval, log_interval; /* batches; eval 0: an epoch */
    char *names, *eval, *results, *map;             /* of Darknet's other commands */
} data_options;

/* Reads a .data file; exits when a key is unknown, or one that a classifier needs is missing.
 */
data_options read_data_options(char *file);

#endif
