/* See teacher_cache.h. */
#include "run/teacher_cache.h"
#include "data/loader.h"
#include "data/strong.h"
#include "distil/views.h"
#include "math/top_row.h"
#include "run/stop.h"
#include "run/train.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>

enum { NOTE = 512, BATCHES_A_SAVE = 100 };

typedef unsigned long long number;

static const char *const weights_key = "teacher weights", *const seed_key = "seed";
static const char *const rows_key = "rows";
#define top_form "images, the target and %d others"
static const char *const precision_notes[] = {"", ", bfloat16", ", int8"}; /* by arithmetic */

/* Compares, or writes what is not there. */
static void agree(logit_cache *cache, cache_use use, const char *key, const char *expected)
{
    char *found = read_note(cache, key);
    if (!found && use == CACHE_WRITTEN) write_note(cache, key, expected);
    else if (!found || strcmp(found, expected))
        kd_fail("%s: is of another run, %s: found %s, expected %s", logit_cache_file(cache),
                key, found ? found : "none", expected);
    free(found);
}

static void agree_on_hash(logit_cache *cache, cache_use use, const char *key, uint64_t hash)
{
    char text[NOTE];
    snprintf(text, sizeof(text), "%016llx", (number)hash);
    agree(cache, use, key, text);
}

/* All options that make another image of the one in the file */
static void describe_augmentation(const network *net, const deepkd *kd, char *text, size_t size)
{
    layer last = net->layers[kd->outputs.layer[kd->outputs.n - 1]];
    int is_classifier = !is_detector(&kd->outputs);
    int n = snprintf(text, size, "saturation %.9g, exposure %.9g, hue %.9g, ", net->saturation,
                     net->exposure, net->hue);
    if (training_augmentation(kd) & AUGMENT_CIFAR) n += snprintf(text + n, size - n, "cifar");
    else if (is_classifier)
        n += snprintf(text + n, size - n,
                      "min_crop %.9g, max_crop %.9g, center %d, angle %.9g, aspect %.9g",
                      net->min_ratio * net->w, net->max_ratio * net->w, net->center, net->angle,
                      net->aspect);
    else
        n += snprintf(text + n, size - n, "jitter %.9g, max %d%s", last.jitter, last.max_boxes,
                      net->mosaic ? ", mosaic 1" : "");
    if (kd->views > 1) {
        n += snprintf(text + n, size - n, ", strong: ");
        list_operations(kd->options.operations, text + n, size - n);
    }
    if (!is_classifier && last.random) /* the sizes follow from these */
        snprintf(text + n, size - n, ", random %.9g, %ld images a batch, max_batches %d",
                 last.random, images_per_batch(net), net->max_batches);
}

static const char *name_rows(const deepkd *kd, char *text, size_t size)
{
    if (kd->cache_top) {
        snprintf(text, size, top_form " at temperature %.9g", kd->cache_top,
                 kd->loss_config.temperature);
        return text;
    }
    if (!is_detector(&kd->outputs)) return kd->views > 1 ? "images, two views" : "images";
    if (kd->loss_config.box_weight)
        return kd->options.rows == ROWS_DENSE ? "dense, boxes" : "truth, boxes";
    return kd->options.rows == ROWS_DENSE ? "dense" : "truth";
}

/* precision=auto takes a cache as it is. */
static int was_narrow(logit_cache *cache, const char *key, const teacher *t, cache_use use)
{
    if (use != CACHE_READ || t->precision != PRECISION_AUTO) return 0;
    char *found = read_note(cache, key);
    int is_narrow = found && strstr(found, precision_notes[BFLOAT16]);
    free(found);
    return is_narrow;
}

/* Of the ensemble's teacher i, from 1 */
static void agree_on_teacher(logit_cache *cache, const teacher *t, int i, cache_use use)
{
    char key[NOTE] = "teacher's input", text[NOTE];
    if (i > 1) snprintf(key, sizeof(key), "input of teacher %d", i);
    arithmetic how = was_narrow(cache, key, t, use) ? BFLOAT16 : t->arithmetic;
    snprintf(text, sizeof(text), "%d x %d%s", t->net->w, t->net->h, precision_notes[how]);
    agree(cache, use, key, text);
}

static void agree_on_views(logit_cache *cache, const deepkd *kd, cache_use use)
{
    static const char *const rules[] = {"mean logits", "mean probabilities"};
    const network *net = kd->net;
    int i = 0;
    char text[NOTE];
    snprintf(text, sizeof(text), "%d x %d", net->w, net->h);
    agree(cache, use, "student's input", text);
    for (const teacher *t = kd->teacher; t; t = t->next) agree_on_teacher(cache, t, ++i, use);
    if (i > 1) agree(cache, use, "ensemble", rules[kd->teacher->rule]);
    describe_augmentation(net, kd, text, sizeof(text));
    agree(cache, use, "augmentation", text);
    agree(cache, use, rows_key, name_rows(kd, text, sizeof(text)));
}

static void refuse_part(logit_cache *cache)
{
    cache_part p = read_part(cache);
    if (p.of)
        kd_fail("%s: found part %d of %d, expected all of them, as `deepkd merge` makes it",
                logit_cache_file(cache), p.number, p.of);
}

static int read_top(logit_cache *cache)
{
    int top = 0;
    char *found = read_note(cache, rows_key);
    if (found) sscanf(found, top_form, &top);
    free(found);
    return top > 0 ? top : 0;
}

static void check_top(const deepkd *kd, const char *file)
{
    int others = kd->classes - 1;
    if (is_detector(&kd->outputs) || kd->loss_config.activation != KD_SOFTMAX)
        kd_fail("%s: -top keeps some of the classes of which one is true: expected a "
                "classifier with activation=softmax",
                file);
    if (kd->loss_config.method->views > 1 || kd->loss_config.n_temperatures)
        kd_fail("%s: -top keeps classes of one view, at one temperature: expected another "
                "method than %s",
                file, kd->loss_config.method->name);
    if (kd->loss_config.standardize)
        kd_fail("%s: -top does not keep a row's mean and deviation: expected "
                "logit_standardization=0",
                file);
    if (kd->cache_top > others || others >= KD_MOST_TOP_CLASSES)
        kd_fail("%s: -top %d: expected at most %d, the classes without the target, of up to %d",
                file, kd->cache_top, others, KD_MOST_TOP_CLASSES);
}

void agree_on_cache(logit_cache *cache, deepkd *kd, run_state *state, cache_use use,
                    int has_weights)
{
    char text[NOTE];
    char *known = has_weights ? 0 : read_note(cache, weights_key);
    if (known) state->teacher_hash = strtoull(known, 0, 16);
    free(known);
    if (use == CACHE_READ) refuse_part(cache);
    if (use == CACHE_READ) kd->cache_top = read_top(cache);
    if (kd->cache_top) check_top(kd, logit_cache_file(cache));
    agree_on_hash(cache, use, "teacher cfg", state->teacher_cfg_hash);
    agree_on_hash(cache, use, weights_key, state->teacher_hash);
    agree_on_hash(cache, use, "training images", state->train_hash);
    snprintf(text, sizeof(text), "%llu", (number)state->seed);
    agree(cache, use, seed_key, text);
    agree_on_views(cache, kd, use);
}

uint64_t cache_seed(logit_cache *cache)
{
    char *text = read_note(cache, seed_key);
    uint64_t seed = text ? strtoull(text, 0, 10) : 0;
    if (!seed)
        kd_fail("%s: found no seed, expected a cache that `deepkd cache` has begun",
                logit_cache_file(cache));
    free(text);
    return seed;
}

void check_cache(logit_cache *cache, const deepkd *kd, uint64_t planned)
{
    uint64_t images = planned ? cached_images(cache, 0) : 0;
    if (needs_teacher(&kd->source) && kd->options.rows != ROWS_DENSE)
        kd_fail("%s: found a [region] with bias_match=0, which looks at its boxes: expected no "
                "cache",
                kd->teacher->cfg);
    if (kd->copies > 1) kd_fail("-gpus: expected one GPU with a cache");
    if (images < planned)
        kd_fail("%s: found the logits of %llu images, expected those of the run's %llu; "
                "`deepkd cache` goes on with it",
                logit_cache_file(cache), (number)images, (number)planned);
}

/* Runs the teacher on a batch, part by part as in training, and keeps its logits. */
static void cache_batch(const cache_job *job, image_batch batch, uint64_t position)
{
    network *net = job->kd->net;
    float *own_truth = net->truth;
    for (int i = 0; i < net->subdivisions; ++i) {
        image_batch part = part_of_batch(batch, i * net->batch, net->batch);
        net->truth = part.truths;
        job->kd->batch = &part;
        if (job->kd->views > 1) look_at_views(job->kd);
        else run_teacher(job->kd->teacher, part.images);
        cache_logits(job->kd, job->cache, position + i * net->batch);
    }
    net->truth = own_truth;
    job->kd->batch = 0;
}

static uint64_t end_of(const cache_part *part)
{
    return part->first + part->images;
}

/* Begins to load the images at a position, as large as their batch; none behind the end. */
static void load_at(const cache_job *job, loader *l, uint64_t position, int width, int height)
{
    if (position >= end_of(&job->part)) return;
    find_training_size(job->kd->net, job->is_detector, job->seed,
                       position / images_per_batch(job->kd->net), &width, &height);
    start_loading(l, position, width, height);
}

static void print_progress(const cache_job *job, uint64_t position, uint64_t first,
                           double began)
{
    double seconds = what_time_is_it_now() - began;
    save_logit_cache(job->cache);
    printf("%llu of %llu images, %.0f images/s\n", (number)(position - job->part.first),
           (number)job->part.images, (position - first) / (seconds + 1e-9));
}

int fill_cache(const cache_job *job)
{
    network *net = job->kd->net;
    int width = net->w, height = net->h, w, h;
    uint64_t step = images_per_batch(net), end = end_of(&job->part);
    uint64_t cached = cached_images(job->cache, job->part.first);
    uint64_t first = job->part.first + cached, position = first;
    double began = what_time_is_it_now();
    job->kd->teacher->idle = 0; /* also that of a student with teacher_weight=0 */
    loader *l = make_loader(job->list, net, step, training_augmentation(job->kd), job->threads,
                            job->seed);
    for (int i = 0; i < LOADER_AHEAD; ++i) load_at(job, l, first + i * step, width, height);
    while (position < end && wait_for_images(l, &stop_signal)) {
        image_batch batch = finish_loading(l);
        load_at(job, l, position + LOADER_AHEAD * step, width, height);
        w = width, h = height;
        find_training_size(net, job->is_detector, job->seed, position / step, &w, &h);
        if (net->w != w || net->h != h) resize_network(net, w, h);
        cache_batch(job, batch, position);
        position += step;
        if (position / step % BATCHES_A_SAVE == 0 || position >= end)
            print_progress(job, position, first, began);
    }
    if (position == first) printf("%llu images, nothing to add\n", (number)cached);
    save_logit_cache(job->cache);
    if (stop_signal)
        printf("stopped at image %llu; the same command goes on from there\n",
               (number)position);
    free_loader(l);
    return stop_signal ? 128 + stop_signal : 0;
}
