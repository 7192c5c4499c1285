/*
 * ./darknet distill: reads everything and checks it, says what it is about to
 * do, then trains until max_batches or a signal. The loop's order (evaluate,
 * save, stop, train) is what makes a stopped and resumed run bit-identical to
 * one that was not: a state is always saved between two batches.
 */
#include "cli/distill.h"
#include "cli/arguments.h"
#include "run/checkpoint.h"
#include "net/device.h"
#include "run/evaluate.h"
#include "data/loader.h"
#include "run/log.h"
#include "distil/replicas.h"
#include "net/strict.h"
#include "cli/tools.h"

#include <pthread.h>
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
    replicas replicas; /* of the student; more than one with -gpus */
    kd_arrays weights; /* the student's */
    image_list train, valid;
    loader *loader;
    run_state state;
    run_log log;
    log_entry entry;
    int detector;      /* 1: both networks are; 0: both are classifiers */
    int width, height; /* of the student's input, as its cfg says */
    annotations annotations;
    const annotations *known; /* &annotations, or NULL */
    double logged_at;         /* seconds, and images seen, when a batch was last logged */
    uint64_t logged_images;
    double waited, trained; /* seconds: for images, and in all batches */
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

/* The layer that Darknet looks at for a network's classes, boxes and jitter */
static layer last_layer(const network *net)
{
    return net->layers[net->n - 1];
}

static void check_network(network *net, const char *cfg)
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
    if (last_layer(net).random && !is_resizable(net))
        kd_fail("%s: random=1: found a layer that Darknet cannot resize, expected random=0",
                cfg);
}

/* The student's cfg with its two sections */
static network *parse_student(const distill_run *run)
{
    char *cfg = run->arguments.cfg;
    network *net = parse_network_cfg(cfg);
    deepkd *kd = find_deepkd(net);
    if (!kd)
        kd_fail("%s: found no [deepkd_loss] at its end, expected [teacher] and [deepkd_loss]; "
                "'darknet deepkd wrap' adds them",
                cfg);
    check_network(net, cfg);
    if (!kd->teacher->cfg && run->data.teacher) kd->teacher->cfg = kd_copy(run->data.teacher);
    if (!kd->teacher->cfg)
        kd_fail("%s: [teacher] has no cfg=, and %s no teacher=: expected one", cfg,
                run->arguments.data);
    return net;
}

static char *teacher_weights(const distill_run *run, const teacher *t)
{
    char *weights = run->arguments.weights ? run->arguments.weights : t->weights;
    if (!weights)
        kd_fail("%s: [teacher] has no weights=: expected TEACHER.weights", run->arguments.cfg);
    return weights;
}

/* Gives a student its teacher, and makes it ready to be trained. */
static void attach_teacher(const distill_run *run, deepkd *kd)
{
    load_teacher(kd->teacher, teacher_weights(run, kd->teacher));
    attach_deepkd_loss(kd, run->arguments.cfg);
    attach_groups(kd, run->arguments.cfg);
}

/* A replica_maker */
static deepkd *make_copy(void *context)
{
    deepkd *kd = find_deepkd(parse_student(context));
    attach_teacher(context, kd);
    return kd;
}

static void load_networks(distill_run *run)
{
    distill_arguments *a = &run->arguments;
    srand(derive_seed(run->state.seed, 0));
    run->net = parse_student(run);
    run->kd = find_deepkd(run->net);
    teacher *t = run->kd->teacher;
    printf("teacher: %s, weights %s\nstudent: %s%s%s\n", t->cfg, teacher_weights(run, t),
           a->cfg, a->start ? ", starts from " : "", a->start ? a->start : "");
    fflush(stdout);
    attach_teacher(run, run->kd);
    run->detector = is_detector(&run->kd->outputs);
    run->width = run->net->w;
    run->height = run->net->h;
    check_task(a, &run->data, run->detector);
    run->weights = network_arrays(run->net);
    check_classes(run->net, &run->kd->outputs, a->cfg, a->data, run->data.classes);
    if (run->detector && last_layer(t->net).map)
        check_classes(t->net, &t->outputs, t->cfg, a->data, run->data.classes);
    run->replicas = make_replicas(run->kd, a->gpus, a->n_gpus ? a->n_gpus : 1, make_copy, run);
}

/* Batches that one step trains */
static int batches_a_step(const distill_run *run)
{
    return run->replicas.n;
}

/* Both lists of images, with the classes or boxes that the student learns */
static void read_lists(distill_run *run)
{
    data_options *d = &run->data;
    if (!run->detector) {
        run->train = read_image_list(d->train, d->labels, d->classes);
        run->valid = read_image_list(d->valid, d->labels, d->classes);
        return;
    }
    int most = last_layer(run->net).max_boxes;
    if (d->annotations) {
        run->annotations = read_annotations(d->annotations, d->classes);
        run->known = &run->annotations;
    }
    run->train = read_box_list(d->train, d->classes, most, 0);
    run->valid = read_box_list(d->valid, d->classes, most, run->known);
}

static uint64_t hash_list(const image_list *list)
{
    uint64_t hash = KD_HASH_START;
    for (int i = 0; i < list->n; ++i)
        hash = kd_hash(hash, list->paths[i], strlen(list->paths[i]) + 1);
    if (list->targets) hash = kd_hash(hash, list->targets, list->n * sizeof(int));
    for (int i = 0; list->labels && i < list->n; ++i)
        hash = kd_hash(hash, list->labels[i].boxes, list->labels[i].n * sizeof(labelled_box));
    return hash;
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
    state->metric = !run->detector       ? METRIC_TOP1
                    : run->arguments.map ? METRIC_MAP
                                         : METRIC_LOSS;
    state->best = NO_BEST;
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
    if (!all) return; /* one class has no others */
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
    if (run->detector)
        printf("rows %s%s, objectness weight %g\n", o->rows == ROWS_DENSE ? "dense" : "truth",
               o->feature_nms ? ", feature NMS" : "", o->objectness_weight);
    print_schedule(kd);
    print_gpus(&run->replicas);
    printf("%d training images, %d validation images, batch %ld, %d batches, seed %llu\n",
           run->train.n, run->valid.n, images_per_batch(run->net), run->net->max_batches,
           (unsigned long long)run->state.seed);
}

/* Returns 0 when a signal has stopped it. */
static int evaluate(distill_run *run, network *net, const net_outputs *outputs, evaluation *v)
{
    int threads = run->arguments.threads, with_map = run->arguments.map;
    if (!run->detector)
        return evaluate_classifier(net, outputs, &run->valid, run->data.top ? run->data.top : 1,
                                   threads, &stop_signal, v);
    found_boxes boxes = {.map = last_layer(run->net).map};
    int done = evaluate_detector(net, outputs, &run->valid, run->known, threads, &stop_signal,
                                 v, with_map ? &boxes : 0);
    free_found_boxes(boxes);
    return done;
}

/* A detector's, with -map alone: its loss, with other heads, would not compare. */
static void print_teacher_accuracy(distill_run *run)
{
    evaluation v;
    char scores[128];
    teacher *t = run->kd->teacher;
    if (run->detector && !run->arguments.map) return;
    if (!evaluate(run, t->net, &t->outputs, &v)) return;
    format_scores(&v, scores, sizeof(scores));
    printf("teacher: %s on %s\n", scores, run->data.valid);
}

/*
 * The size at which a batch is trained: the cfg's or, with Darknet's random=1, a square that is
 * drawn anew every ten batches, and at the end a large one.
 */
static void find_training_size(const distill_run *run, long batch, int *width, int *height)
{
    *width = run->width;
    *height = run->height;
    if (!run->detector || !last_layer(run->net).random) return;
    long first = batch - batch % 10;
    *width = *height = first + 200 > run->net->max_batches
                           ? 608
                           : (10 + derive_seed(run->state.seed ^ 0x72657369, first) % 10) * 32;
}

/* Begins to load the images of the step that comes `ahead` steps from now. */
static void load_ahead(distill_run *run, int ahead)
{
    network *net = run->net;
    int width, height, batches = ahead * batches_a_step(run);
    long batch = get_current_batch(net) + batches;
    if (batch >= net->max_batches) return; /* the run has ended by then */
    find_training_size(run, batch, &width, &height);
    start_loading(run->loader, *net->seen + batches * images_per_batch(net), width, height);
}

/* Stops the run when something is not finite; the files keep the last good weights. */
static void check_finite(distill_run *run, long batch)
{
    const char *broken = run->kd->broken;
    if (!broken && !on_gpu(run->net) && !all_finite(run->weights))
        broken = broken_group(run->kd);
    if (run->kd->broken_batch) batch = run->kd->broken_batch;
    if (broken)
        kd_fail("%s: batch %ld: found a number that is not finite in the %s; %s keeps the last "
                "good weights%s",
                run->arguments.cfg, batch, broken, run->last,
                strcmp(broken, "teacher's logits") ? "; try a lower learning_rate" : "");
}

/* A GPU says what it has found when it is asked: before anything is evaluated or saved. */
static void settle(distill_run *run)
{
    if (!on_gpu(run->net)) return;
    read_replicas(&run->replicas);
    pull_network(run->net);
    if (!run->kd->broken && !all_finite(run->weights)) run->kd->broken = "student's weights";
    check_finite(run, get_current_batch(run->net));
}

static void save_run(distill_run *run)
{
    settle(run);
    clear_progress(&run->log);
    run->state.seen = *run->net->seen;
    save_weights(run->net, run->last);
    save_checkpoint(run->state_file, &run->state, run->kd);
}

static void evaluate_student(distill_run *run, long batch)
{
    evaluation v;
    settle(run);
    resize_replicas(&run->replicas, run->width, run->height);
    if (!evaluate(run, run->net, &run->kd->outputs, &v)) return;
    run->state.evaluated = batch;
    if (merit(&v) > run->state.best) {
        run->state.best = merit(&v);
        run->state.best_batch = batch;
        save_weights(run->net, run->best);
    }
    log_evaluation(&run->log, &run->entry, &v, run->state.best, run->state.best_batch);
}

/* `is_read`: 1 when the components' losses are on the host */
static void fill_entry(distill_run *run, double loss, double seconds, int is_read)
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
    for (int c = 0; c < KD_COMPONENTS && run->kd->images; ++c)
        if (c == KD_TOG || is_read) e->part[c] = run->kd->loss[c] / run->kd->images;
    e->images_per_s = (*net->seen - run->logged_images) / (now - run->logged_at + 1e-9);
}

/* Adds up what Darknet's heads say of a batch, in place of their lines. */
static region_figures batch_figures;
static int print_figures;

static int add_figures(region_figures f)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* several GPUs' threads */
    region_figures *sum = &batch_figures;
    pthread_mutex_lock(&mutex);
    sum->count += f.count;
    sum->class_count += f.class_count;
    sum->cells += f.cells;
    sum->iou += f.iou;
    sum->class_prob += f.class_prob;
    sum->obj += f.obj;
    sum->anyobj += f.anyobj;
    sum->recall50 += f.recall50;
    sum->recall75 += f.recall75;
    pthread_mutex_unlock(&mutex);
    return print_figures;
}

/* 1 when the step that ended at `batch` has passed a multiple of `interval`. */
static int has_passed(const distill_run *run, long batch, long interval)
{
    return batch / interval != (batch - batches_a_step(run)) / interval;
}

/* One step: a batch, or with several GPUs one for each. */
static void train_batch(distill_run *run)
{
    double began = what_time_is_it_now();
    network *net = run->net;
    long batch = get_current_batch(net), next = batch + batches_a_step(run);
    int is_logged = has_passed(run, next, run->data.log_interval) || next >= net->max_batches;
    int width, height;
    loaded_images images = finish_loading(run->loader);
    run->waited += what_time_is_it_now() - began;
    load_ahead(run, LOADER_AHEAD);
    find_training_size(run, batch, &width, &height);
    resize_replicas(&run->replicas, width, height);
    batch_figures = (region_figures){0};
    double loss = train_replicas(&run->replicas, images.images, images.truths,
                                 derive_seed(run->state.seed ^ 0x64726F70, batch));
    if (is_logged) read_replicas(&run->replicas);
    check_finite(run, next);

    run->entry.region = batch_figures;
    fill_entry(run, loss, what_time_is_it_now() - began, is_logged || !on_gpu(net));
    run->trained += run->entry.seconds;
    log_progress(&run->log, &run->entry);
    if (!is_logged) return;
    log_batch(&run->log, &run->entry);
    run->logged_at = what_time_is_it_now();
    run->logged_images = *net->seen;
}

static void save_final(distill_run *run)
{
    save_weights(run->net, run->final);
    FILE *fp = open_atomic(run->plain_cfg);
    export_cfg(run->arguments.cfg, fp);
    close_atomic(fp, run->plain_cfg);
    char best[64];
    format_best(run->state.metric, run->state.best, best, sizeof(best));
    if (run->state.best_batch)
        printf("best %s at batch %llu: %s\n", best, (unsigned long long)run->state.best_batch,
               run->best);
    printf("last: %s\nfor stock Darknet and OpenCV, with either: %s\n", run->final,
           run->plain_cfg);
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
        if (batch && (is_end || has_passed(run, batch, eval_interval)) &&
            run->state.evaluated != (uint64_t)batch)
            evaluate_student(run, batch);
        if (stop_signal || is_end || has_passed(run, batch, d->save_interval)) save_run(run);
        if (stop_signal || is_end) break;
        run->logged_at += what_time_is_it_now() - began; /* neither counts as training */
        train_batch(run);
    }
    if (run->arguments.verbose)
        printf("waited for data: %.2f of %.2f seconds (%.1f %%)\n", run->waited, run->trained,
               run->trained > 0 ? 100 * run->waited / run->trained : 0);
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
    free_replicas(&run->replicas);
    release_groups(run->kd);
    kd_free_arrays(run->weights);
    free_annotations(run->annotations);
    free_network(run->net);
}

/* -gpus; the first of them is the one that networks are made on from now on. */
static void choose_gpus(const distill_arguments *a)
{
    int found = count_gpus();
    if (a->n_gpus && !found) kd_fail("-gpus: found no GPU, or -nogpu: expected no -gpus then");
    for (int k = 0; k < a->n_gpus; ++k)
        if (a->gpus[k] >= found)
            kd_fail("-gpus: found GPU %d, expected one of the %d that this darknet can use",
                    a->gpus[k], found);
    if (a->n_gpus) use_gpu(a->gpus[0]);
}

int run_distill(int argc, char **argv)
{
    distill_run run = {0};
    setvbuf(stdout, 0, _IOLBF, 0);
    run.arguments = read_arguments(argc, argv);
    run.data = read_data_options(run.arguments.data, 1);
    run.state.seed = run.arguments.seed ? run.arguments.seed : (uint64_t)time(0);
    cfg_section_hook = strict_section;
    name_files(&run);
    choose_gpus(&run.arguments);
    load_networks(&run);
    read_lists(&run);
    place_student(&run);
    spread_student(&run.replicas);
    catch_signals();
    print_intent(&run);
    print_teacher_accuracy(&run);

    long batch = get_current_batch(run.net);
    run.log = open_log(run.csv, run.detector, run.arguments.resume ? batch : -1);
    run.log.dont_show = run.arguments.dont_show;
    run.loader =
        make_loader(&run.train, run.net, batches_a_step(&run) * images_per_batch(run.net), 1,
                    run.arguments.threads, run.state.seed);
    for (int i = 0; i < LOADER_AHEAD; ++i) load_ahead(&run, i);
    print_figures = run.arguments.verbose;
    run.log.is_terminal &= !print_figures; /* Darknet's lines leave no room for a live one */
    region_hook = add_figures;
    int status = train(&run);
    release_run(&run);
    return status;
}
