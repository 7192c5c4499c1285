/*
 * What a run tells: Darknet's training line with the components behind it (and a
 * detector's region figures), one live line with a progress bar on a terminal,
 * a CSV file, and with OPENCV=1 a chart of it.
 */
#ifndef KD_LOG_H
#define KD_LOG_H

#include "distil/gsnr.h"
#include "run/chart.h"
#include "run/evaluate.h"

#include <stdint.h>

/* One batch. Losses are means an image. */
typedef struct {
    long batch, max_batches;
    uint64_t images;              /* seen so far */
    double epoch;                 /* images seen / images of the list */
    double loss, average;         /* Darknet's own loss and its running average */
    double part[KD_COMPONENTS];   /* the weighted losses of the components */
    int keep;                     /* K */
    double rate;                  /* the learning rate */
    region_figures region;        /* a detector's sums over the batch and its heads */
    double seconds, images_per_s; /* of this batch; since the last logged one */
} log_entry;

typedef struct {
    FILE *csv, *gsnr; /* gsnr: NULL when nothing is measured */
    char *csv_file, *gsnr_file;
    int is_terminal; /* of stdout */
    int is_detector;
    int dont_show; /* no window for the chart */
    chart *chart;
} run_log;

/*
 * Opens the CSV file: a new one with its header line, or with resumed_batch >= 0
 * the old one without the rows behind that batch. Exits when it can't be written.
 * A detector's log has the region figures too.
 */
run_log open_log(char *csv_file, int is_detector, long resumed_batch);

/* The same for the file of measured gradients, where a run has one. */
void open_gsnr_log(run_log *log, char *file, long resumed_batch);

/* A line for the sample that has just been taken, and rows for its layers and components. */
void log_gsnr(run_log *log, const deepkd *kd);

/* Exits when a file can't be written to its end. */
void close_log(run_log *log);

/* A line and a CSV row for a batch. */
void log_batch(run_log *log, const log_entry *e);

/* On a terminal: rewrites the live line. Else nothing. */
void log_progress(run_log *log, const log_entry *e);

/* On a terminal: takes the live line away, so that something else can be said. */
void clear_progress(const run_log *log);

/* A line and a CSV row for an evaluation of the student after `batch`; best: a merit. */
void log_evaluation(run_log *log, const log_entry *e, const evaluation *v, double best,
                    long best_batch);

/* "top-1 91.89 %, top-2 98.05 %" of an evaluation, without its loss, into text[size] */
void format_scores(const evaluation *v, char *text, size_t size);

/* "top-1 91.89 %" of the best evaluation's merit, into text[size] */
void format_best(metric by, double best, char *text, size_t size);

#endif
