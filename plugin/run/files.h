/* The files that a run writes into its backup= folder. */
#ifndef KD_FILES_H
#define KD_FILES_H

typedef struct {
    char *last, *best, *final; /* weights */
    char *state, *previous;    /* what -resume goes on from, and the one before */
    char *csv;
    char *gsnr;      /* CSV of what gsnr_interval= measures */
    char *plain_cfg; /* that goes with the weights */
    char *lock;      /* there while the run goes on, locked by it */
} run_files;

/*
 * FOLDER/NAME_last.weights and so on, NAME as in NAME.cfg; exits when the student's cfg itself
 * stands where the plain one will be saved.
 */
run_files name_files(char *cfg, const char *folder);

/*
 * Until this program ends, however it does, no other one gets these files; exits, with its
 * number, when another has them.
 */
void lock_files(const run_files *files);

#endif
