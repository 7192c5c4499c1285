/* See log.h. */
#include "run/log.h"
#include "cpu/ranks.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRAINING "batch,epoch,images,loss,avg_loss,tog,tcg,ncg,k,rate,images_per_s,"
static const char *const columns[2] = {
    TRAINING "valid_loss,valid_top1,valid_topk\n",
    TRAINING "iou,class,obj,no_obj,r50,r75,count,valid_loss,valid_map50,valid_map\n",
};

/* Has the line as many columns as the first one, and a number first? */
static int is_row(const char *line, const char *header)
{
    int commas = 0;
    for (const char *c = header; *c; ++c) commas += *c == ',';
    for (const char *c = line; *c; ++c) commas -= *c == ',';
    return commas == 0 && line[0] >= '0' && line[0] <= '9';
}

/* Copies the rows up to a batch from the old file into the new one. */
static void copy_rows(FILE *to, char *file, const char *header, long last_batch)
{
    FILE *from = fopen(file, "r");
    char *line;
    if (!from) return; /* there was no log to go on with */
    while ((line = fgetl(from))) {
        if (is_row(line, header) && atol(line) <= last_batch) fprintf(to, "%s\n", line);
        free(line);
    }
    fclose(from);
}

void clear_progress(const run_log *log)
{
    if (log->is_terminal) printf("\r\033[K");
}

/* A new CSV file, or the old one up to a batch, to be gone on with; rank 0's alone is one. */
static FILE *open_csv(char *file, const char *header, long resumed_batch)
{
    if (!is_first_rank()) return fopen("/dev/null", "w");
    FILE *fp = open_atomic(file);
    fputs(header, fp);
    if (resumed_batch >= 0) copy_rows(fp, file, header, resumed_batch);
    close_atomic(fp, file);
    fp = fopen(file, "a");
    if (!fp) file_error(file);
    return fp;
}

run_log open_log(char *csv_file, int is_detector, long resumed_batch)
{
    return (run_log){
        .csv = open_csv(csv_file, columns[is_detector], resumed_batch),
        .csv_file = csv_file,
        /* mpirun shows its terminal to what it starts even where it writes to a file */
        .is_terminal = isatty(STDOUT_FILENO) && count_ranks() == 1,
        .is_detector = is_detector,
        .chart = is_first_rank() ? make_chart(csv_file) : 0};
}

void open_gsnr_log(run_log *log, char *file, long resumed_batch)
{
    log->gsnr_file = file;
    log->gsnr = open_csv(file,
                         "batch,layer,component,signal,noise,gsnr,buffer_signal,buffer_noise,"
                         "bsnr,momentum,cos_tog,cos_tcg,cos_ncg\n",
                         resumed_batch);
}

static double cosine_of(const gsnr_sample *s, kd_component a, kd_component b)
{
    return a == b ? 1 : s->cosine[a + b - 1]; /* tog+tcg 1, tog+ncg 2, tcg+ncg 3 */
}

void log_gsnr(run_log *log, const deepkd *kd)
{
    const sampler *s = kd->sampler;
    clear_progress(log);
    printf("%ld: gsnr", s->batch);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        printf("%s %s %.3f (momentum %.4f)", c ? "," : "", kd_component_name[c],
               kd_gsnr(s->samples->gradient[c]), momentum_at(kd, c, s->batch / kd->copies + 1));
    printf("\n");
    for (int i = 0; i < s->n; ++i)
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            const gsnr_sample *of = s->samples + i;
            kd_snr g = of->gradient[c], b = of->buffer[c];
            fprintf(log->gsnr, "%ld,%d,%s,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.4f,%.4f,%.4f\n",
                    s->batch, of->layer, kd_component_name[c], g.signal, g.noise, kd_gsnr(g),
                    b.signal, b.noise, kd_gsnr(b),
                    momentum_at(kd, c, (s->batch + kd->copies - 1) / kd->copies),
                    cosine_of(of, c, KD_TOG), cosine_of(of, c, KD_TCG),
                    cosine_of(of, c, KD_NCG));
        }
    if (fflush(log->gsnr)) kd_fail("%s: cannot be written", log->gsnr_file);
}

/* A row is written whole, at once, so that a kill leaves no half of it. */
static void end_row(run_log *log, const log_entry *e)
{
    if (fflush(log->csv)) kd_fail("%s: cannot be written", log->csv_file);
    update_chart(log->chart, e->max_batches, !log->dont_show);
}

void close_log(run_log *log)
{
    if (fclose(log->csv)) kd_fail("%s: cannot be written", log->csv_file);
    if (log->gsnr && fclose(log->gsnr)) kd_fail("%s: cannot be written", log->gsnr_file);
    free_chart(log->chart);
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

/* Means from Darknet's sums; 0 where there was no truth. */
typedef struct {
    double iou, class, obj, no_obj, r50, r75;
} region_means;

static region_means mean_figures(const region_figures *f)
{
    double n = f->count ? f->count : 1, classes = f->class_count ? f->class_count : 1;
    double cells = f->cells ? f->cells : 1;
    return (region_means){f->iou / n,        f->class_prob / classes, f->obj / n,
                          f->anyobj / cells, f->recall50 / n,         f->recall75 / n};
}

/* Darknet's own line of `classifier train` or `detector train`, then ours. */
static void print_batch(const run_log *log, const log_entry *e)
{
    char left[32];
    format_left(e, left, sizeof(left));
    if (log->is_detector) printf("%ld: ", e->batch);
    else printf("%ld, %.3f: ", e->batch, e->epoch);
    printf(
        "%f, %f avg, %f rate, %lf seconds, %llu images, tog %.4f, tcg %.4f, ncg %.4f, K %d, ",
        e->loss, e->average, e->rate, e->seconds, (unsigned long long)e->images,
        e->part[KD_TOG], e->part[KD_TCG], e->part[KD_NCG], e->keep);
    if (log->is_detector) {
        region_means m = mean_figures(&e->region);
        printf("Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, .5R: %f, .75R: %f, count: %d, ",
               m.iou, m.class, m.obj, m.no_obj, m.r50, m.r75, e->region.count);
    }
    printf("%.0f images/s, %s left\n", e->images_per_s, left);
}

void log_batch(run_log *log, const log_entry *e)
{
    if (log->is_detector) clear_progress(log);
    if (log->is_detector || !log->is_terminal) print_batch(log, e);
    fprintf(log->csv, "%ld,%.4f,%llu,%.6g,%.6g,%.6g,%.6g,%.6g,%d,%.6g,%.1f,", e->batch,
            e->epoch, (unsigned long long)e->images, e->loss, e->average, e->part[KD_TOG],
            e->part[KD_TCG], e->part[KD_NCG], e->keep, e->rate, e->images_per_s);
    if (log->is_detector) {
        region_means m = mean_figures(&e->region);
        fprintf(log->csv, "%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%d,", m.iou, m.class, m.obj, m.no_obj,
                m.r50, m.r75, e->region.count);
    }
    fputs(",,\n", log->csv);
    end_row(log, e);
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

void format_scores(const evaluation *v, char *text, size_t size)
{
    double first = 100 * v->score[0], second = 100 * v->score[1];
    if (v->by == METRIC_TOP1)
        snprintf(text, size, "top-1 %.2f %%, top-%d %.2f %%", first, v->k, second);
    if (v->by == METRIC_MAP)
        snprintf(text, size, "mAP@0.50 %.2f %%, mAP@[.50:.95] %.2f %%", first, second);
    if (v->by == METRIC_LOSS) snprintf(text, size, "loss %f", v->loss);
}

void format_best(metric by, double best, char *text, size_t size)
{
    if (by == METRIC_LOSS) snprintf(text, size, "loss %f", -best);
    else
        snprintf(text, size, "%s %.2f %%", by == METRIC_MAP ? "mAP@0.50" : "top-1", 100 * best);
}

void log_evaluation(run_log *log, const log_entry *e, const evaluation *v, double best,
                    long best_batch)
{
    char scores[128], best_text[64];
    format_scores(v, scores, sizeof(scores));
    format_best(v->by, best, best_text, sizeof(best_text));
    clear_progress(log);
    printf("%ld, %.3f: validation ", e->batch, e->epoch);
    if (v->by != METRIC_LOSS) printf("loss %f, ", v->loss);
    if (best_batch) printf("%s, best %s at batch %ld\n", scores, best_text, best_batch);
    else printf("%s, no best yet\n", scores);
    fprintf(log->csv, "%ld,%.4f,%llu,,,,,,,,,%s%.6g,", e->batch, e->epoch,
            (unsigned long long)e->images, log->is_detector ? ",,,,,,," : "", v->loss);
    if (v->by == METRIC_LOSS) fputs(",\n", log->csv);
    else fprintf(log->csv, "%.6g,%.6g\n", v->score[0], v->score[1]);
    end_row(log, e);
}
