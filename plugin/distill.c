/*
 * ./darknet distill: reads everything and checks it, says what it is about to
 * do, then trains until max_batches or a signal. The loop's order (evaluate,
 * save, stop, train) is what makes a stopped and resumed run bit-identical to
 * one that was not: a state is always saved between two batches.
 */
#include "distill.h"
#include "arguments.h"
#include "checkpoint.h"
#include "evaluate.h"
#include "groups.h"
#include "loader.h"
#include "log.h"
#include "strict.h"
#include "tools.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct {
    distill_arguments arguments;
    data_options data;
    network *net;
    deepkd *kd;
    kd_arrays weights; /* the student's */
    image_list train, valid;
    loader *loader;
    run_state state;
    run_log log;
    log_entry entry;
    double logged_at; /* seconds, and images seen, when a batch was last logged */
    uint64_t logged_images;
    char *last, *best, *final, *state_file, *csv, *plain_cfg; /* files in backup= */
} distill_run;

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

/* The first signal is kept for the loop; a second one kills as usual. */
static void catch_signals(void)
{
    struct sigaction action = {0};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    sigaction(SIGINT, &action, 0);
    sigaction(SIGTERM, &action, 0);
}

/* backup/<base><suffix> */
static char *backup_file(const distill_run *run, const char *suffix)
{
    char *base = basecfg(run->arguments.cfg);
    const char *folder = run->data.backup;
    const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
    size_t size = strlen(folder) + strlen(base) + strlen(suffix) + 2;
    char *name = kd_calloc(size, 1);
    snprintf(name, size, "%s%s%s%s", folder, slash, base, suffix);
    free(base);
    return name;
}

static void name_files(distill_run *run)
{
    struct stat cfg, plain;
    run->last = backup_file(run, "_last.weights");
    run->best = backup_file(run, "_best.weights");
    run->final = backup_file(run, "_final.weights");
    run->state_file = backup_file(run, ".state");
    run->csv = backup_file(run, ".csv");
    run->plain_cfg = backup_file(run, ".cfg");
    if (!stat(run->arguments.cfg, &cfg) && !stat(run->plain_cfg, &plain) &&
        cfg.st_dev == plain.st_dev && cfg.st_ino == plain.st_ino)
        kd_fail("%s: stands where the plain cfg is saved: expected another backup= folder",
                run->arguments.cfg);
}

static void check_network(const network *net, const char *cfg)
{
    if (net->max_batches < 1)
        kd_fail("%s: [net] max_batches=%d: expected 1 or more", cfg, net->max_batches);
    if (net->inputs != net->w * net->h * net->c)
        kd_fail("%s: [net] inputs=%d: expected width x height x channels", cfg, net->inputs);
    if (net->c != 3) kd_fail("%s: [net] channels=%d: expected 3", cfg, net->c);
    if (net->random)
        kd_fail("%s: [net] random=%d: expected 0, distill trains classifiers at one size", cfg,
                net->random);
    if (net->time_steps != 1)
        kd_fail("%s: [net] time_steps=%d: expected 1", cfg, net->time_steps);
}

static void load_networks(distill_run *run)
{
    distill_arguments *a = &run->arguments;
    srand(derive_seed(run->state.seed, 0));
    run->net = parse_network_cfg(a->cfg);
    run->kd = find_deepkd(run->net);
    if (!run->kd)
        kd_fail("%s: found no [deepkd_loss] at its end, expected [teacher] and [deepkd_loss]; "
                "'darknet deepkd wrap' adds them",
                a->cfg);
    check_network(run->net, a->cfg);

    teacher *t = run->kd->teacher;
    char *weights = a->weights ? a->weights : t->weights;
    if (!t->cfg && run->data.teacher) t->cfg = kd_copy(run->data.teacher);
    if (!t->cfg)
        kd_fail("%s: [teacher] has no cfg=, and %s no teacher=: expected one", a->cfg, a->data);
    if (!weights) kd_fail("%s: [teacher] has no weights=: expected TEACHER.weights", a->cfg);
    printf("teacher: %s, weights %s\nstudent: %s%s%s\n", t->cfg, weights, a->cfg,
           a->start ? ", starts from " : "", a->start ? a->start : "");
    fflush(stdout);
    load_teacher(t, weights);
    attach_deepkd_loss(run->kd, a->cfg);
    attach_groups(run->kd, a->cfg);
    run->weights = network_arrays(run->net);
    if (run->kd->classes != run->data.classes)
        kd_fail("%s: classes=%d: expected %d, as in %s", a->data, run->data.classes,
                run->kd->classes, a->cfg);
}

static uint64_t hash_list(const image_list *list)
{
    uint64_t hash = KD_HASH_START;
    for (int i = 0; i < list->n; ++i)
        hash = kd_hash(hash, list->paths[i], strlen(list->paths[i]) + 1);
    return kd_hash(hash, list->targets, list->n * sizeof(int));
}

/* What a saved state must agree with, and where a new one begins. */
static void identify_run(distill_run *run)
{
    run_state *state = &run->state;
    teacher *t = run->kd->teacher;
    kd_arrays weights = network_arrays(t->net);
    uint64_t parts[] = {hash_cfg(t->cfg), hash_arrays(weights)};
    kd_free_arrays(weights);
    state->teacher_hash = kd_hash(KD_HASH_START, parts, sizeof(parts));
    state->cfg_hash = hash_cfg(run->arguments.cfg);
    state->train_hash = hash_list(&run->train);
    state->planned = images_per_batch(run->net) * run->net->max_batches;
    state->best = -1;
    state->average = -1;
}

/* Where the student begins: at random, at -start, or where the saved state stopped. */
static void place_student(distill_run *run)
{
    distill_arguments *a = &run->arguments;
    network *net = run->net;
    run_state stopped;
    if (a->start) load_whole_weights(net, a->start, 1);
    if (a->clear) *net->seen = 0;
    if (a->start && *net->seen / images_per_batch(net) >= (size_t)net->max_batches)
        kd_fail("%s: has seen %zu images already, %s ends at %ld: expected -clear", a->start,
                *net->seen, a->cfg, images_per_batch(net) * net->max_batches);

    identify_run(run);
    if (a->resume) {
        run->state.seed = a->seed;
        load_checkpoint(run->state_file, &run->state, run->kd);
    } else if (!a->clear && find_unfinished(run->state_file, &stopped)) {
        kd_fail(
            "%s: found a run that stopped after %llu of %llu images: expected -resume to go "
            "on with it, or -clear to begin anew",
            run->state_file, (unsigned long long)stopped.seen,
            (unsigned long long)stopped.planned);
    }
}

static void print_size(const char *role, network *net)
{
    int layers = 0; /* without our two sections */
    for (int i = 0; i < net->n; ++i) layers += net->layers[i].type != BLANK;
    printf("%s: %d layers, %zu parameters, %.4f BFLOPs, input %d x %d x %d\n", role, layers,
           count_parameters(net), count_bflops(net), net->w, net->h, net->c);
}

static void print_schedule(const deepkd *kd)
{
    const kd_topk_config *k = &kd->topk_config;
    long end = kd->net->max_batches;
    int all = kd->classes - 1;
    if (k->schedule == KD_TOPK_OFF) printf("top-k: off, all %d other classes\n", all);
    if (k->schedule == KD_TOPK_STATIC) printf("top-k: static, K %d of %d\n", k->optimal, all);
    if (k->schedule == KD_TOPK_DYNAMIC)
        printf("top-k: dynamic, K from %d to %d until batch %ld, %d until batch %ld, "
               "to %d at batch %ld\n",
               kd_topk_schedule(k, kd->classes, 0), k->optimal, (long)(k->phase1_end * end),
               k->optimal, (long)(k->phase2_end * end), all, end);
}

static void print_intent(distill_run *run)
{
    const deepkd *kd = run->kd;
    const deepkd_options *o = &kd->options;
    const char *const trainers[] = {"deepkd", "dot", "sgd"};
    char groups[256];
    describe_groups(kd, groups, sizeof(groups));
    print_size("teacher", kd->teacher->net);
    print_size("student", run->net);
    printf("method %s, activation %s, temperature %g, task weight %g, teacher weight %g, "
           "alpha %g, beta %g%s, standardization %s, warmup %d batches\n",
           o->method == KD_METHOD_KD ? "kd" : "dkd",
           kd->loss_config.activation == KD_SOFTMAX ? "softmax" : "logistic", o->temperature,
           o->task_weight, o->teacher_weight, o->alpha, o->beta,
           o->method == KD_METHOD_KD ? " (of dkd only)" : "", o->standardize ? "on" : "off",
           o->warmup);
    printf("trainer %s, momentum groups: %s\n", trainers[o->trainer], groups);
    print_schedule(kd);
    printf("%d training images, %d validation images, batch %ld, %d batches, seed %llu\n",
           run->train.n, run->valid.n, images_per_batch(run->net), run->net->max_batches,
           (unsigned long long)run->state.seed);
}

static void print_teacher_accuracy(distill_run *run)
{
    evaluation v;
    network *net = run->kd->teacher->net;
    if (!evaluate_classifier(net, find_softmax(net, ""), &run->valid, run->data.top,
                             run->arguments.threads, &stop_signal, &v))
        return;
    printf("teacher: top-1 %.2f %%, top-%d %.2f %% on %s\n", 100 * v.top1, v.k, 100 * v.topk,
           run->data.valid);
}

static void save_run(distill_run *run)
{
    clear_progress(&run->log);
    run->state.seen = *run->net->seen;
    save_weights(run->net, run->last);
    save_checkpoint(run->state_file, &run->state, run->kd);
}

static void evaluate_student(distill_run *run, long batch)
{
    evaluation v;
    if (!evaluate_classifier(run->net, run->kd->softmax, &run->valid, run->data.top,
                             run->arguments.threads, &stop_signal, &v))
        return;
    run->state.evaluated = batch;
    if (v.top1 > run->state.best) {
        run->state.best = v.top1;
        run->state.best_batch = batch;
        save_weights(run->net, run->best);
    }
    log_evaluation(&run->log, &run->entry, &v, run->state.best, run->state.best_batch);
}

/* Stops the run when something is not finite; the files keep the last good weights. */
static void check_finite(distill_run *run, long batch)
{
    const char *broken = run->kd->broken;
    if (!broken && !all_finite(run->weights)) broken = broken_group(run->kd);
    if (broken)
        kd_fail("%s: batch %ld: found a number that is not finite in the %s; %s keeps the last "
                "good weights%s",
                run->arguments.cfg, batch, broken, run->last,
                strcmp(broken, "teacher's logits") ? "; try a lower learning_rate" : "");
}

/* One batch through Darknet's train_network_datum, subdivision by subdivision. */
static double train_images(distill_run *run, const float *images, const int *targets)
{
    network *net = run->net;
    double loss = 0;
    for (int s = 0; s < net->subdivisions; ++s) {
        size_t inputs = (size_t)net->batch * net->inputs;
        memcpy(net->input, images + s * inputs, inputs * sizeof(float));
        memset(net->truth, 0, (size_t)net->batch * net->truths * sizeof(float));
        for (int b = 0; b < net->batch; ++b)
            net->truth[(size_t)b * net->truths + targets[s * net->batch + b]] = 1;
        loss += train_network_datum(net);
    }
    return loss / images_per_batch(net);
}

static void fill_entry(distill_run *run, double loss, double seconds)
{
    network *net = run->net;
    log_entry *e = &run->entry;
    double *average = &run->state.average, now = what_time_is_it_now();
    *average = *average < 0 ? loss : *average * .9 + loss * .1;
    e->batch = get_current_batch(net);
    e->images = *net->seen;
    e->epoch = (double)*net->seen / run->train.n;
    e->loss = loss;
    e->average = *average;
    e->keep = run->kd->keep;
    e->rate = get_current_rate(net);
    e->seconds = seconds;
    for (int c = 0; c < KD_COMPONENTS; ++c) e->part[c] = run->kd->loss[c] / run->kd->rows;
    e->images_per_s = (*net->seen - run->logged_images) / (now - run->logged_at + 1e-9);
}

static void train_batch(distill_run *run)
{
    double began = what_time_is_it_now();
    network *net = run->net;
    deepkd *kd = run->kd;
    long batch = get_current_batch(net);
    float *images;
    int *targets;
    finish_loading(run->loader, &images, &targets);
    start_loading(run->loader, *net->seen + images_per_batch(net));
    srand(derive_seed(run->state.seed ^ 0x64726F70, batch)); /* for [dropout] and [crop] */
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->rows = 0;
    double loss = train_images(run, images, targets);
    check_finite(run, batch + 1);

    fill_entry(run, loss, what_time_is_it_now() - began);
    log_progress(&run->log, &run->entry);
    if ((batch + 1) % run->data.log_interval == 0 || batch + 1 == net->max_batches) {
        log_batch(&run->log, &run->entry);
        run->logged_at = what_time_is_it_now();
        run->logged_images = *net->seen;
    }
}

static void save_final(distill_run *run)
{
    save_weights(run->net, run->final);
    FILE *fp = open_atomic(run->plain_cfg);
    export_cfg(run->arguments.cfg, fp);
    close_atomic(fp, run->plain_cfg);
    printf("best top-1 %.2f %% at batch %llu: %s\nlast: %s\nfor stock Darknet and OpenCV, with "
           "either: %s\n",
           100 * run->state.best, (unsigned long long)run->state.best_batch, run->best,
           run->final, run->plain_cfg);
}

/* Trains to the end; returns the exit status. */
static int train(distill_run *run)
{
    network *net = run->net;
    const data_options *d = &run->data;
    long epoch = (run->train.n + images_per_batch(net) - 1) / images_per_batch(net);
    long eval_interval = d->eval_interval ? d->eval_interval : epoch;
    run->logged_at = what_time_is_it_now();
    run->logged_images = *net->seen;
    run->entry.batch = get_current_batch(net);
    run->entry.images = *net->seen;
    run->entry.epoch = (double)*net->seen / run->train.n;
    run->entry.max_batches = net->max_batches;
    for (;;) {
        long batch = get_current_batch(net);
        int is_end = batch >= net->max_batches;
        double began = what_time_is_it_now();
        if (batch && (is_end || batch % eval_interval == 0) &&
            run->state.evaluated != (uint64_t)batch)
            evaluate_student(run, batch);
        if (stop_signal || is_end || batch % d->save_interval == 0) save_run(run);
        if (stop_signal || is_end) break;
        run->logged_at += what_time_is_it_now() - began; /* neither counts as training */
        train_batch(run);
    }
    if (!stop_signal) save_final(run);
    else {
        clear_progress(&run->log);
        printf("stopped at batch %zu; -resume goes on from %s\n", get_current_batch(net),
               run->state_file);
    }
    return stop_signal ? 128 + stop_signal : 0;
}

static void release_run(distill_run *run)
{
    free_loader(run->loader);
    close_log(&run->log);
    release_groups(run->kd);
    kd_free_arrays(run->weights);
    free_network(run->net);
}

int run_distill(int argc, char **argv)
{
    distill_run run = {0};
#ifdef GPU
    if (gpu_index >= 0) kd_fail("distill trains on the CPU so far: expected -nogpu");
#endif
    setvbuf(stdout, 0, _IOLBF, 0);
    run.arguments = read_arguments(argc, argv);
    run.data = read_data_options(run.arguments.data);
    run.state.seed = run.arguments.seed ? run.arguments.seed : (uint64_t)time(0);
    cfg_section_hook = strict_section;
    name_files(&run);
    load_networks(&run);
    run.train = read_image_list(run.data.train, run.data.labels, run.data.classes);
    run.valid = read_image_list(run.data.valid, run.data.labels, run.data.classes);
    place_student(&run);
    catch_signals();
    print_intent(&run);
    print_teacher_accuracy(&run);

    long batch = get_current_batch(run.net);
    run.log = open_log(run.csv, run.arguments.resume ? batch : -1);
    run.loader = make_loader(&run.train, run.net, images_per_batch(run.net), 1,
                             run.arguments.threads, run.state.seed);
    start_loading(run.loader, *run.net->seen);
    int status = train(&run);
    release_run(&run);
    return status;
}
