/*
 * ./darknet distill: reads everything and checks it, says what it is about to do, then trains
 * (run/train.c).
 */
#include "cli/distill.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "distil/deepkd_loss.h"
#include "distil/gsnr.h"
#include "net/device.h"
#include "net/parameters.h"
#include "net/strict.h"
#include "run/announce.h"
#include "run/stop.h"
#include "run/train.h"
#include "support.h"

#include "darknet/geometry.h"
#include "plugin.h"

#include <stdlib.h>
#include <time.h>

typedef struct {
    distill_arguments arguments;
    data_options data;
    uint64_t seed;
    network *net;
    deepkd *kd;
    replicas replicas; /* of the student; more than one with -gpus */
    image_list train, valid;
    annotations annotations;
    int is_detector; /* 1: both networks are; 0: both are classifiers */
} distill_run;

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
    check_trainable(net);
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
    srand(derive_seed(run->seed, 0));
    run->net = parse_student(run);
    run->kd = find_deepkd(run->net);
    teacher *t = run->kd->teacher;
    printf("teacher: %s, weights %s\nstudent: %s%s%s\n", t->cfg, teacher_weights(run, t),
           a->cfg, a->start ? ", starts from " : "", a->start ? a->start : "");
    fflush(stdout);
    attach_teacher(run, run->kd);
    run->is_detector = is_detector(&run->kd->outputs);
    check_task(a, &run->data, run->is_detector);
    check_classes(run->net, &run->kd->outputs, a->cfg, a->data, run->data.classes);
    if (run->is_detector && last_layer(t->net).map)
        check_classes(t->net, &t->outputs, t->cfg, a->data, run->data.classes);
    run->replicas = make_replicas(run->kd, a->gpus, a->n_gpus ? a->n_gpus : 1, make_copy, run);
    attach_gsnr(run->kd, a->cfg);
}

/* Both lists of images, with the classes or boxes that the student learns */
static void read_lists(distill_run *run)
{
    data_options *d = &run->data;
    if (!run->is_detector) {
        run->train = read_image_list(d->train, d->labels, d->classes);
        run->valid = read_image_list(d->valid, d->labels, d->classes);
        return;
    }
    int most = last_layer(run->net).max_boxes;
    if (d->annotations) {
        run->annotations = read_annotations(d->annotations, d->classes);
    }
    run->train = read_box_list(d->train, d->classes, most, 0);
    run->valid =
        read_box_list(d->valid, d->classes, most, d->annotations ? &run->annotations : 0);
}

/* -resume finds no whole state; the one before it may be. */
static void refuse_resume(const distill_run *run, const run_files *files, state_kind kind)
{
    run_state before;
    char offer[4096] = "";
    if (find_state(files->previous, &before) == STATE_WHOLE)
        snprintf(offer, sizeof(offer),
                 "; `mv '%s' '%s'` puts the one before it there, of batch %llu",
                 files->previous, files->state,
                 (unsigned long long)(before.seen / images_per_batch(run->net)));
    kd_fail("%s: found %s, expected a state that distill has saved%s", files->state,
            state_kind_name[kind], offer);
}

/* A run that begins goes over no other one unasked. */
static void refuse_overwriting(const run_files *files, state_kind kind, const run_state *there)
{
    if (kind == STATE_MISSING || (kind == STATE_WHOLE && !there->seen)) return;
    if (kind != STATE_WHOLE)
        kd_fail("%s: found %s: expected -clear to begin anew, or another backup= folder",
                files->state, state_kind_name[kind]);
    if (there->seen >= there->planned)
        kd_fail(
            "%s: found a run that has ended: expected -clear to begin anew over its files, or "
            "another backup= folder",
            files->state);
    kd_fail("%s: found a run that stopped after %llu of %llu images: expected -resume to go "
            "on with it, or -clear to begin anew",
            files->state, (unsigned long long)there->seen, (unsigned long long)there->planned);
}

/* Where the student begins: at random, at -start, or where the saved state stopped. */
static run_state place_student(distill_run *run, const run_files *files)
{
    distill_arguments *a = &run->arguments;
    network *net = run->net;
    run_state there;
    state_kind kind = find_state(files->state, &there);
    if (a->start) load_whole_weights(net, a->start, 1);
    if (a->clear) *net->seen = 0;
    if (a->start && *net->seen / images_per_batch(net) >= (size_t)net->max_batches)
        kd_fail("%s: has seen %zu images already, %s ends at %ld: expected -clear", a->start,
                *net->seen, a->cfg, images_per_batch(net) * net->max_batches);

    metric by = !run->is_detector ? METRIC_TOP1 : a->map ? METRIC_MAP : METRIC_LOSS;
    run_state state = begin_state(run->kd, a->cfg, hash_list(&run->train), by,
                                  a->resume ? a->seed : run->seed);
    if (a->resume && kind != STATE_WHOLE) refuse_resume(run, files, kind);
    if (a->resume) load_checkpoint(files->state, &state, run->kd);
    else if (!a->clear) refuse_overwriting(files, kind, &there);
    return state;
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

static training plan_training(distill_run *run, run_files files, run_state *state)
{
    const distill_arguments *a = &run->arguments;
    const data_options *d = &run->data;
    return (training){
        .students = &run->replicas,
        .cfg = a->cfg,
        .list = &run->train,
        .valid = {.list = &run->valid,
                  .known = d->annotations ? &run->annotations : 0,
                  .map = last_layer(run->net).map,
                  .is_detector = run->is_detector,
                  .with_map = a->map,
                  .top = d->top ? d->top : 1,
                  .threads = a->threads,
                  .stop = &stop_signal},
        .files = files,
        .state = state,
        .resumed = a->resume,
        .eval_interval = d->eval_interval,
        .save_interval = d->save_interval,
        .log_interval = d->log_interval,
        .verbose = a->verbose,
        .dont_show = a->dont_show,
    };
}

static void release_run(distill_run *run)
{
    free_replicas(&run->replicas);
    release_gsnr(run->kd);
    release_groups(run->kd);
    free_annotations(run->annotations);
    free_network(run->net);
}

int run_distill(int argc, char **argv)
{
    distill_run run = {0};
    setvbuf(stdout, 0, _IOLBF, 0);
    run.arguments = read_arguments(argc, argv);
    run.data = read_data_options(run.arguments.data, 1);
    run.seed = run.arguments.seed ? run.arguments.seed : (uint64_t)time(0);
    cfg_section_hook = strict_section;
    run_files files = name_files(run.arguments.cfg, run.data.backup);
    lock_files(&files);
    choose_gpus(&run.arguments);
    load_networks(&run);
    read_lists(&run);
    run_state state = place_student(&run, &files);
    spread_student(&run.replicas);
    catch_signals();
    training t = plan_training(&run, files, &state);
    announce_run(&run.replicas, run.train.n, run.valid.n, state.seed);
    announce_teacher(run.kd->teacher, &t.valid, run.data.valid);
    int status = train(&t);
    release_run(&run);
    if (!status) check_printed();
    return status;
}
