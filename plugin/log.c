/* See log.h. */
#include "log.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char columns[] =
    "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,"
    "valid_loss,valid_top1,valid_topk\n";

/* Has the line as many columns as the first one, and a number first? */
static int is_row(const char *line)
{
    int commas = 0;
    for (const char *c = columns; *c; ++c) commas += *c == ',';
    for (const char *c = line; *c; ++c) commas -= *c == ',';
    return commas == 0 && line[0] >= '0' && line[0] <= '9';
}

/* Copies the rows up to a batch from the old file into the new one. */
static void copy_rows(FILE *to, char *file, long last_batch)
{
    FILE *from = fopen(file, "r");
    char *line;
    if (!from) return; /* there was no log to go on with */
    while ((line = fgetl(from))) {
        if (is_row(line) && atol(line) <= last_batch) fprintf(to, "%s\n", line);
        free(line);
    }
    fclose(from);
}

run_log open_log(char *csv_file, long resumed_batch)
{
    run_log log = {0, csv_file, isatty(STDOUT_FILENO)};
    FILE *fp = open_atomic(csv_file);
    fputs(columns, fp);
    if (resumed_batch >= 0) copy_rows(fp, csv_file, resumed_batch);
    close_atomic(fp, csv_file);
    log.csv = fopen(csv_file, "a");
    if (!log.csv) file_error(csv_file);
    return log;
}

/* A row is written whole, at once, so that a kill leaves no half of it. */
static void flush_csv(run_log *log)
{
    if (fflush(log->csv)) kd_fail("%s: cannot be written", log->csv_file);
}

void close_log(run_log *log)
{
    if (fclose(log->csv)) kd_fail("%s: cannot be written", log->csv_file);
}

static void format_time(double seconds, char *text, size_t size)
{
    long s = (long)(seconds + .5);
    if (s >= 3600) snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
}

/* The time left at the present speed. */
static void format_left(const log_entry *e, char *text, size_t size)
{
    double images = e->batch ? (double)e->images / e->batch * (e->max_batches - e->batch) : 0;
    format_time(e->images_per_s > 0 ? images / e->images_per_s : 0, text, size);
}

/* Darknet's own line of `classifier train`, then ours. */
static void print_batch(const log_entry *e)
{
    char left[32];
    format_left(e, left, sizeof(left));
    printf("%ld, %.3f: %f, %f avg, %f rate, %lf seconds, %llu images, tog %.4f, tcg %.4f, "
           "ncg %.4f, K %d, %.0f images/s, %s left\n",
           e->batch, e->epoch, e->loss, e->average, e->rate, e->seconds,
           (unsigned long long)e->images, e->part[KD_TOG], e->part[KD_TCG], e->part[KD_NCG],
           e->keep, e->images_per_s, left);
}

void clear_progress(const run_log *log)
{
    if (log->is_terminal) printf("\r\033[K");
}

void log_batch(run_log *log, const log_entry *e)
{
    if (!log->is_terminal) print_batch(e);
    fprintf(log->csv, "%ld,%.4f,%llu,%.6g,%.6g,%.6g,%.6g,%.6g,%d,%.6g,%.1f,,,\n", e->batch,
            e->epoch, (unsigned long long)e->images, e->loss, e->average, e->part[KD_TOG],
            e->part[KD_TCG], e->part[KD_NCG], e->keep, e->rate, e->images_per_s);
    flush_csv(log);
}

void log_progress(run_log *log, const log_entry *e)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1], left[32];
    if (!log->is_terminal) return;
    int done = (int)(WIDTH * e->batch / e->max_batches);
    memset(bar, '.', WIDTH);
    memset(bar, '#', done);
    bar[WIDTH] = 0;
    format_left(e, left, sizeof(left));
    clear_progress(log);
    printf("[%s] %ld/%ld  loss %.3f  tog %.3f tcg %.3f ncg %.3f  K %d  %.0f images/s  %s left",
           bar, e->batch, e->max_batches, e->average, e->part[KD_TOG], e->part[KD_TCG],
           e->part[KD_NCG], e->keep, e->images_per_s, left);
    fflush(stdout);
}

void log_evaluation(run_log *log, const log_entry *e, const evaluation *v, double best,
                    long best_batch)
{
    clear_progress(log);
    printf(
        "%ld, %.3f: validation loss %f, top-1 %.2f %%, top-%d %.2f %%, best top-1 %.2f %% at "
        "batch %ld\n",
        e->batch, e->epoch, v->loss, 100 * v->top1, v->k, 100 * v->topk, 100 * best,
        best_batch);
    fprintf(log->csv, "%ld,%.4f,%llu,,,,,,,,,%.6g,%.6g,%.6g\n", e->batch, e->epoch,
            (unsigned long long)e->images, v->loss, v->top1, v->topk);
    flush_csv(log);
}
