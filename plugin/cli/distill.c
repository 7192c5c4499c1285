/*
 * ./darknet distill: reads everything and checks it, says what it is about to do, then trains
 * (run/train.c).
 */
#include "cli/distill.h"
#include "cli/command.h"
#include "cli/setup.h"
#include "cpu/cores.h"
#include "cpu/ranks.h"
#include "distil/groups.h"
#include "distil/gsnr.h"
#include "net/device.h"
#include "net/parameters.h"
#include "run/announce.h"
#include "run/calibrate.h"
#include "run/stop.h"
#include "run/teacher_cache.h"
#include "run/train.h"
#include "support.h"

typedef struct {
    setup is;
    replicas replicas; /* of the student; more than one with -gpus */
} distill_run;

/* A replica_maker */
static deepkd *make_copy(void *context)
{
    const setup *s = context;
    deepkd *kd = find_deepkd(parse_student(s));
    attach_teacher(s, kd);
    attach_groups(kd, s->arguments.cfg);
    return kd;
}

static void make_students(distill_run *run)
{
    setup *s = &run->is;
    distill_arguments *a = &s->arguments;
    attach_groups(s->kd, a->cfg);
    run->replicas = make_replicas(s->kd, a->gpus, a->n_gpus ? a->n_gpus : 1, make_copy, s);
    attach_gsnr(s->kd, a->cfg);
}

/* -resume finds no whole state; the one before it may be. */
static void refuse_resume(const setup *s, const run_files *files, state_kind kind)
{
    run_state before;
    char offer[4096] = "";
    if (find_state(files->previous, &before) == STATE_WHOLE)
        snprintf(offer, sizeof(offer),
                 "; `mv '%s' '%s'` puts the one before it there, of batch %llu",
                 files->previous, files->state,
                 (unsigned long long)(before.seen / images_per_batch(s->net)));
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

/* The run before its first batch; its teacher's logits, if they are cached, are this teacher's.
 */
static run_state begin_run(setup *s)
{
    const distill_arguments *a = &s->arguments;
    metric by = !s->is_detector ? METRIC_TOP1 : a->map ? METRIC_MAP : METRIC_LOSS;
    run_state state = begin_state(s->kd, a->cfg, hash_list(&s->train), by, s->seed);
    if (s->cache) {
        agree_on_cache(s->cache, s->kd, &state, CACHE_READ, has_teacher_weights(s));
        check_cache(s->cache, s->kd, state.planned);
    }
    if (a->resume) state.seed = a->seed;
    return state;
}

/* Which teachers ranks cannot share */
static void check_teacher_of_ranks(const teacher *t, const char *cfg)
{
    const char *what = t->model ? "model=" : t->arithmetic == INT8 ? "precision=int8" : 0;
    if (t->is_cached) return;
    if (what)
        kd_fail("%s: [teacher] %s: found %d ranks, expected one process", cfg, what,
                count_ranks());
    check_shares(t->net, t->cfg);
}

/* What ranks cannot do, or cannot do together */
static void check_ranks(const setup *s, const run_state *state)
{
    static const char *const name[] = {"build of darknet",
                                       "kind of processor",
                                       ".data file",
                                       "student's cfg",
                                       "teacher's cfg",
                                       "teacher",
                                       "list of training images",
                                       "list of validation images",
                                       "metric (-map)"};
    const distill_arguments *a = &s->arguments;
    if (count_ranks() == 1) return;
    uint64_t number[] = {hash_file("/proc/self/exe"),
                         hash_processor(),
                         hash_cfg(a->data),
                         hash_cfg(a->cfg),
                         state->teacher_cfg_hash,
                         state->teacher_hash,
                         state->train_hash,
                         hash_list(&s->valid),
                         state->metric};
    check_ranks_agree(sizeof(number) / sizeof(*number), name, number);
    if (on_gpu(s->net)) kd_fail("mpirun: found a GPU, expected -nogpu: ranks have CPUs alone");
    check_shares(s->net, a->cfg);
    for (const teacher *t = s->kd->teacher; t; t = t->next) check_teacher_of_ranks(t, a->cfg);
}

/* Where the student begins: at random, at -start, or where the saved state stopped; rank 0
 * alone looks for those. */
static run_state place_student(setup *s, const run_files *files)
{
    distill_arguments *a = &s->arguments;
    network *net = s->net;
    run_state there;
    state_kind kind = is_first_rank() ? find_state(files->state, &there) : STATE_MISSING;
    if (a->start && is_first_rank()) load_whole_weights(net, a->start, 1);
    if (a->clear) *net->seen = 0;
    if (a->start && *net->seen / images_per_batch(net) >= (size_t)net->max_batches)
        kd_fail("%s: has seen %zu images already, %s ends at %ld: expected -clear", a->start,
                *net->seen, a->cfg, images_per_batch(net) * net->max_batches);

    run_state state = begin_run(s);
    check_ranks(s, &state);
    if (is_first_rank() && a->resume) {
        if (kind != STATE_WHOLE) refuse_resume(s, files, kind);
        load_checkpoint(files->state, &state, s->kd);
    } else if (!a->clear) {
        refuse_overwriting(files, kind, &there);
    }
    share_state(&state, s->kd);
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
    const distill_arguments *a = &run->is.arguments;
    const data_options *d = &run->is.data;
    return (training){
        .students = &run->replicas,
        .cfg = a->cfg,
        .list = &run->is.train,
        .valid = plan_validation(&run->is),
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
    release_gsnr(run->is.kd);
    release_groups(run->is.kd);
    release_setup(&run->is);
}

int run_distill(int argc, char **argv)
{
    distill_run run = {0};
    setup *s = &run.is;
    start_ranks();
    setvbuf(stdout, 0, _IOLBF, 0);
    s->arguments = read_arguments(argc, argv);
    begin_setup(s);
    copy_first_rank(&s->seed, sizeof(s->seed));
    run_files files = name_files(s->arguments.cfg, s->data.backup);
    if (is_first_rank()) lock_files(&files);
    choose_gpus(&s->arguments);
    load_networks(s);
    make_students(&run);
    read_lists(s);
    run_state state = place_student(s, &files);
    spread_student(&run.replicas);
    catch_signals();
    training t = plan_training(&run, files, &state);
    calibrate_teachers(s->kd, &s->train, s->arguments.threads, state.seed, &stop_signal);
    announce_run(&run.replicas, &s->train, s->valid.n, state.seed);
    if (!s->cache) announce_teachers(s->kd->teacher, &t.valid, s->data.valid);
    int status = train(&t);
    release_run(&run);
    if (!status) check_printed();
    finish_ranks();
    return status;
}
