/* See cache.h. */
#include "cli/cache.h"
#include "cli/setup.h"
#include "data/loader.h"
#include "run/announce.h"
#include "run/calibrate.h"
#include "run/stop.h"
#include "run/teacher_cache.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    distill_arguments of; /* the run that it is for */
    char *out;
    uint64_t epochs; /* 0: as many as max_batches has */
    int top;         /* classes that are kept, 0: all */
    char *part;      /* "2/4", or NULL */
} cache_arguments;

#define TO(field) offsetof(cache_arguments, field)
const command cache_command = {
    "deepkd cache",
    "Adds to a file what it lacks of a run: the teacher's logits, for `distill -cache`.",
    (const word[]){
        {"DATA", WORD_FILE, TO(of.data), 0, 1, "the run's .data file"},
        {"STUDENT.cfg", WORD_FILE, TO(of.cfg), 0, 1, "the student"},
        {"TEACHER.weights", WORD_FILE, TO(of.weights), 0, 0,
         "of the teacher; can be left out where [teacher] has weights="},
        {"-out FILE", WORD_TEXT, TO(out), 0, 1, "an SQLite database"},
        {"-epochs N", WORD_LONG, TO(epochs), INT32_MAX, 0,
         "of the training list; else as many as max_batches has"},
        {"-top K", WORD_INT, TO(top), INT32_MAX, 0,
         "classifiers: the target's logit and the K largest others, as float16, and the rest's "
         "sum"},
        {"-part I/N", WORD_TEXT, TO(part), 0, 0,
         "the I-th of N parts alone, which N programs make; `deepkd merge` makes them one"},
        {"-seed N", WORD_LONG, TO(of.seed), INT64_MAX, 0,
         "the run's; else the file's, or the clock's"},
        {"-map", WORD_FLAG, TO(of.map), 0, 0,
         "detectors: measures the teacher's mAP, as it does a classifier's top-1"},
        {"-threads N", WORD_INT, TO(of.threads), MOST_THREADS, 0, "that load images; 1 a core"},
        {0}}};
#undef TO

/* In whole batches */
static uint64_t count_images(const setup *s, uint64_t epochs)
{
    uint64_t batch = images_per_batch(s->net), images = epochs * s->train.n;
    return epochs ? (images + batch - 1) / batch * batch : batch * s->net->max_batches;
}

static cache_part find_part(const setup *s, const cache_arguments *a)
{
    cache_part part = {.planned = count_images(s, a->epochs)};
    char more;
    part.images = part.planned;
    if (!a->part) return part;
    if (sscanf(a->part, "%d/%d%c", &part.number, &part.of, &more) != 2 || part.number < 1 ||
        part.number > part.of)
        kd_fail("-part %s: expected I/N, from 1/N to N/N", a->part);
    if (!cut_part(&part, images_per_batch(s->net)))
        kd_fail("-part %s: found %llu images, expected at most as many parts as they are "
                "batches of %ld",
                a->part, (unsigned long long)part.planned, images_per_batch(s->net));
    return part;
}

int run_cache(int argc, char **argv)
{
    cache_arguments a = {.of.threads = loading_threads()};
    setvbuf(stdout, 0, _IOLBF, 0);
    read_command(&cache_command, argc, argv, 3, &a);
    setup s = {.arguments = a.of};
    begin_setup(&s);
    load_networks(&s);
    read_lists(&s);
    s.kd->cache_top = a.top;
    cache_part part = find_part(&s, &a);
    s.cache = make_logit_cache(a.out);
    if (!a.of.seed && has_notes(s.cache)) s.seed = cache_seed(s.cache);
    run_state state = begin_state(s.kd, a.of.cfg, hash_list(&s.train), METRIC_LOSS, s.seed);
    agree_on_part(s.cache, &part);
    agree_on_cache(s.cache, s.kd, &state, CACHE_WRITTEN, 1);
    check_cache(s.cache, s.kd, 0);
    catch_signals();
    calibrate_teachers(s.kd, &s.train, a.of.threads, s.seed, &stop_signal);
    validation valid = plan_validation(&s);
    announce_teachers(s.kd->teacher, &valid, s.data.valid);
    cache_job job = {.cache = s.cache,
                     .kd = s.kd,
                     .list = &s.train,
                     .is_detector = s.is_detector,
                     .threads = a.of.threads,
                     .seed = s.seed,
                     .part = part};
    int status = fill_cache(&job);
    release_setup(&s);
    return status;
}

typedef struct {
    char *out;
    word_list parts;
} merge_arguments;

#define TO(field) offsetof(merge_arguments, field)
const command merge_command = {
    "deepkd merge", "Makes one file of the parts of a cache.",
    (const word[]){
        {"OUT", WORD_FILE, TO(out), 0, 1, "a new SQLite database, as `deepkd cache` makes it"},
        {"PART ...", WORD_FILES, TO(parts), 0, 1, "all that `deepkd cache -part` has made"},
        {0}}};
#undef TO

int run_merge(int argc, char **argv)
{
    merge_arguments a = {0};
    read_command(&merge_command, argc, argv, 3, &a);
    merge_caches(a.out, a.parts.of, a.parts.n);
    free(a.parts.of);
    return 0;
}
