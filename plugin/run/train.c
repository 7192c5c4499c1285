/* See train.h. */
#include "run/train.h"
#include "cpu/ranks.h"
#include "data/loader.h"
#include "net/device.h"
#include "run/clients.h"
#include "run/log.h"
#include "run/plain_cfg.h"
#include "run/stop.h"
#include "support.h"

#include "utils.h"

#include <limits.h>
#include <unistd.h>

typedef struct {
    const training *t;
    run_state *state; /* t's */
    deepkd *kd;       /* the first student */
    network *net;
    kd_arrays weights; /* the student's */
    loader *loader;
    run_log log;
    log_entry entry;
    int width, height; /* of the student's input, as its cfg says */
    double logged_at;  /* seconds, and images seen, when a batch was last logged */
    uint64_t logged_images;
    double waited, trained;     /* seconds: for images, and in all batches */
    long batches;               /* trained by now */
    exchange_figures exchanged; /* with other ranks, in them */
    int has_saved;              /* a state of its own */
} loop;

/* Batches that one step trains */
static int batches_a_step(const loop *run)
{
    return run->t->students->n;
}

/* From 1/most to most, as Darknet's rand_scale */
static float draw_scale(float most, unsigned draw)
{
    float scale = 1 + (most - 1) * (draw >> 1) / (UINT_MAX >> 1);
    return draw & 1 ? scale : 1 / scale;
}

void find_training_size(const network *net, int is_detector, uint64_t seed, long batch,
                        int *width, int *height)
{
    float random = is_detector ? net->layers[net->n - 1].random : 0;
    long first = batch - batch % 10;
    int is_last = first + 200 > net->max_batches;
    unsigned draw = derive_seed(seed ^ 0x72657369, first);
    if (random > 1)
        scale_network_size(width, height, is_last ? random : draw_scale(random, draw));
    else if (random) *width = *height = is_last ? 608 : (10 + draw % 10) * 32;
}

/* Of a batch of this run */
static void find_size(const loop *run, long batch, int *width, int *height)
{
    *width = run->width;
    *height = run->height;
    find_training_size(run->net, run->t->valid.is_detector, run->state->seed, batch, width,
                       height);
}

/* Begins to load the images of the step that comes `ahead` steps from now. */
static void load_ahead(loop *run, int ahead)
{
    network *net = run->net;
    int width, height, batches = ahead * batches_a_step(run);
    long batch = get_current_batch(net) + batches;
    if (batch >= net->max_batches) return; /* the run has ended by then */
    find_size(run, batch, &width, &height);
    start_loading(run->loader, *net->seen + batches * images_per_batch(net), width, height);
}

/* Stops the run when something is not finite; the files keep the last good weights. */
static void check_finite(loop *run, long batch)
{
    deepkd *kd = run->kd;
    char broken[64];
    if (!kd->broken && !on_gpu(run->net) && !all_finite(run->weights))
        kd->broken = find_broken_group(kd);
    if (!kd->broken) return;
    if (kd->broken_batch) batch = kd->broken_batch;
    name_broken(kd->broken, broken, sizeof(broken));
    kd_fail(
        "%s: batch %ld: found a number that is not finite in the %s; %s keeps the last good "
        "weights%s",
        run->t->cfg, batch, broken, run->t->files.last,
        may_be_the_rate(kd->broken) ? "; try a lower learning_rate" : "");
}

/* A GPU says what it has found when it is asked: before anything is evaluated or saved. */
static void settle(loop *run)
{
    if (!on_gpu(run->net)) return;
    read_replicas(run->t->students);
    pull_network(run->net);
    if (!run->kd->broken && !all_finite(run->weights)) run->kd->broken = KD_BROKEN_WEIGHTS;
    check_finite(run, get_current_batch(run->net));
}

static void save_run(loop *run)
{
    settle(run);
    if (!is_first_rank()) return;
    clear_progress(&run->log);
    run->state->seen = *run->net->seen;
    run->state->gsnr = run->kd->gsnr;
    save_weights(run->net, run->t->files.last);
    if (run->t->resumed || run->has_saved)
        keep_checkpoint(run->t->files.state, run->t->files.previous);
    else unlink(run->t->files.previous); /* of a run that -clear has ended */
    save_checkpoint(run->t->files.state, run->state, run->kd);
    run->has_saved = 1;
}

static void evaluate_student(loop *run, long batch)
{
    evaluation v;
    settle(run);
    resize_replicas(run->t->students, run->width, run->height);
    if (!validate(&run->t->valid, run->net, &run->kd->outputs, &v)) return;
    run->state->evaluated = batch;
    if (merit(&v) > run->state->best) {
        run->state->best = merit(&v);
        run->state->best_batch = batch;
        if (is_first_rank()) save_weights(run->net, run->t->files.best);
    }
    log_evaluation(&run->log, &run->entry, &v, run->state->best, run->state->best_batch);
}

/* `is_read`: 1 when the components' losses are on the host */
static void fill_entry(loop *run, double loss, double seconds, int is_read)
{
    network *net = run->net;
    log_entry *e = &run->entry;
    double *average = &run->state->average, now = what_time_is_it_now();
    *average = *average < 0 ? loss : *average * .9 + loss * .1;
    e->batch = get_current_batch(net);
    e->images = *net->seen;
    e->epoch = (double)*net->seen / run->t->list->n;
    e->loss = loss;
    e->average = *average;
    e->keep = run->kd->keep;
    e->rate = get_current_rate(net);
    e->seconds = seconds;
    for (int c = 0; c < KD_COMPONENTS && run->kd->images; ++c)
        if (c == KD_TOG || is_read) e->part[c] = run->kd->loss[c] / run->kd->images;
    e->images_per_s = (*net->seen - run->logged_images) / (now - run->logged_at + 1e-9);
}

/* 1 when the step that ended at `batch` has passed a multiple of `interval`. */
static int has_passed(const loop *run, long batch, long interval)
{
    return batch / interval != (batch - batches_a_step(run)) / interval;
}

static void add_exchange(loop *run, exchange_figures before)
{
    exchange_figures now = read_exchange();
    run->exchanged.bytes += now.bytes - before.bytes;
    run->exchanged.seconds += now.seconds - before.seconds;
    ++run->batches;
}

/* One step: a batch, or with several GPUs one for each; none if a signal comes before images
 * do. */
static void train_batch(loop *run)
{
    double began = what_time_is_it_now();
    network *net = run->net;
    long batch = get_current_batch(net), next = batch + batches_a_step(run);
    int is_logged = has_passed(run, next, run->t->log_interval) || next >= net->max_batches;
    int width, height;
    exchange_figures before = read_exchange();
    if (largest_of_ranks(!wait_for_images(run->loader, &stop_signal))) return;
    image_batch images = finish_loading(run->loader);
    run->waited += what_time_is_it_now() - began;
    load_ahead(run, LOADER_AHEAD);
    find_size(run, batch, &width, &height);
    resize_replicas(run->t->students, width, height);
    double loss = train_replicas(run->t->students, images,
                                 derive_seed(run->state->seed ^ 0x64726F70, batch));
    if (is_logged) read_replicas(run->t->students);
    check_finite(run, next);

    run->entry.region = run->kd->figures;
    fill_entry(run, loss, what_time_is_it_now() - began, is_logged || !on_gpu(net));
    run->trained += run->entry.seconds;
    add_exchange(run, before);
    if (run->kd->sampler && run->kd->sampler->batch > batch) log_gsnr(&run->log, run->kd);
    log_progress(&run->log, &run->entry);
    if (!is_logged) return;
    log_batch(&run->log, &run->entry);
    run->logged_at = what_time_is_it_now();
    run->logged_images = *net->seen;
}

static void save_final(loop *run)
{
    save_weights(run->net, run->t->files.final);
    FILE *fp = open_atomic(run->t->files.plain_cfg);
    export_cfg(run->t->cfg, fp);
    close_atomic(fp, run->t->files.plain_cfg);
    char best[64];
    format_best(run->state->metric, run->state->best, best, sizeof(best));
    if (run->state->best_batch)
        printf("best %s at batch %llu: %s\n", best, (unsigned long long)run->state->best_batch,
               run->t->files.best);
    char why[128];
    printf("last: %s\n", run->t->files.final);
    if (opencv_reads(run->state->cfg, run->net, why, sizeof(why)))
        printf("for stock Darknet and OpenCV, with either: %s\n", run->t->files.plain_cfg);
    else
        printf("for stock Darknet, with either: %s; OpenCV does not read %s\n",
               run->t->files.plain_cfg, why);
}

/* Opens the log and begins to load. */
static loop start_loop(const training *t)
{
    deepkd *kd = t->students->kd[0];
    network *net = kd->net;
    loop run = {
        .t = t, .state = t->state, .kd = kd, .net = net, .width = net->w, .height = net->h};
    run.weights = network_arrays(net);
    run.log = open_log(t->files.csv, t->valid.is_detector,
                       t->resumed ? (long)get_current_batch(net) : -1);
    if (kd->sampler)
        open_gsnr_log(&run.log, t->files.gsnr, t->resumed ? (long)get_current_batch(net) : -1);
    run.log.dont_show = t->dont_show;
    run.log.is_terminal &= !t->verbose; /* Darknet's lines leave no room for a live one */
    print_figures(t->students, t->verbose);
    region_hook = add_region_figures;
    for (int k = 0; k < t->students->n; ++k) t->students->kd[k]->epoch_images = t->list->n;
    run.loader = make_loader(t->list, net, batches_a_step(&run) * images_per_batch(net),
                             training_augmentation(kd), t->valid.threads, t->state->seed);
    for (int i = 0; i < LOADER_AHEAD; ++i) load_ahead(&run, i);
    run.logged_at = what_time_is_it_now();
    run.logged_images = *net->seen;
    run.entry.batch = get_current_batch(net);
    run.entry.images = *net->seen;
    run.entry.epoch = (double)*net->seen / t->list->n;
    run.entry.max_batches = net->max_batches;
    return run;
}

/* A signal to one of the ranks, or a standard output that takes no more */
static int has_to_stop(void)
{
    int signal = largest_of_ranks(stop_signal);
    if (signal) stop_signal = signal;
    return largest_of_ranks(signal || ferror(stdout));
}

static void print_exchange(const loop *run)
{
    exchange_figures of = run->exchanged;
    printf("ranks: %d, rank 0 exchanged %.2f MB a batch, in %.2f of %.2f seconds\n",
           count_ranks(), of.bytes / 1e6 / (run->batches ? run->batches : 1), of.seconds,
           run->trained);
}

/* Says how it ended, and saves what only a whole run has; returns the exit status. */
static int end_loop(loop *run)
{
    size_t batch = get_current_batch(run->net);
    int is_whole = !stop_signal && batch >= (size_t)run->net->max_batches;
    if (run->t->verbose)
        printf("waited for data: %.2f of %.2f seconds (%.1f %%)\n", run->waited, run->trained,
               run->trained > 0 ? 100 * run->waited / run->trained : 0);
    if (run->t->verbose && count_ranks() > 1) print_exchange(run);
    if (is_whole && is_first_rank()) save_final(run);
    if (!is_whole) {
        clear_progress(&run->log);
        printf("stopped at batch %zu; -resume goes on from %s\n", batch, run->t->files.state);
    }
    free_loader(run->loader);
    close_log(&run->log);
    kd_free_arrays(run->weights);
    if (!is_whole && !stop_signal)
        kd_fail(
            "standard output cannot be written: stopped at batch %zu; -resume goes on from %s",
            batch, run->t->files.state);
    return stop_signal ? 128 + stop_signal : 0;
}

int train(const training *t)
{
    loop run = start_loop(t);
    network *net = run.net;
    long epoch = (t->list->n + images_per_batch(net) - 1) / images_per_batch(net);
    long eval_interval = t->eval_interval ? t->eval_interval : epoch;
    for (;;) {
        long batch = get_current_batch(net);
        int is_end = batch >= net->max_batches;
        double began = what_time_is_it_now();
        if (batch && (is_end || has_passed(&run, batch, eval_interval)) &&
            run.state->evaluated != (uint64_t)batch)
            evaluate_student(&run, batch);
        int is_last = is_end || has_to_stop();
        if (is_last || has_passed(&run, batch, t->save_interval)) save_run(&run);
        if (is_last) break;
        run.logged_at += what_time_is_it_now() - began; /* neither counts as training */
        train_batch(&run);
    }
    return end_loop(&run);
}
