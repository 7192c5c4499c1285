/* See cached_logits.h. */
#include "distil/cached_logits.h"
#include "math/top_row.h"
#include "net/device.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { TO_CACHE, FROM_CACHE } direction;

/* The first number of a prediction: its box's, its objectness, or its class 0 */
static int first_number(const deepkd *kd)
{
    if (!is_detector(&kd->teacher->outputs)) return 0;
    return kd->loss_config.box_weight ? -5 : -1;
}

/* Between the teacher's logits and `numbers`, which hold one prediction after the other */
static void copy_logits(const deepkd *kd, const row_list *predictions, float *numbers,
                        direction way)
{
    const net_outputs *outputs = &kd->teacher->outputs;
    for (int i = 0; i < predictions->n; ++i) {
        prediction p = predictions->rows[i].teacher;
        float *logits = output_logits(kd->teacher->net, outputs, p.output);
        for (int j = first_number(kd); j < kd->classes; ++j, ++numbers) {
            float *logit = logits + p.classes + (long)j * p.stride;
            if (way == TO_CACHE) *numbers = *logit;
            else *logit = *numbers;
        }
    }
}

static void check_finite_logits(const deepkd *kd, const float *numbers, size_t n,
                                uint64_t position)
{
    for (size_t k = 0; k < n; ++k)
        if (!isfinite(numbers[k]))
            kd_fail("%s: image %llu of the run: found a number that is not finite in the "
                    "teacher's output",
                    kd->teacher->cfg, (unsigned long long)position);
}

/* A prediction's row, of which the cache has kd->cache_top classes */
static void write_row(const deepkd *kd, logit_cache *cache, uint64_t position, int target,
                      const float *numbers)
{
    size_t bytes = kd_top_row_bytes(kd->cache_top);
    void *row = kd_calloc(1, bytes);
    double *scratch = kd_calloc(3 * kd->classes, sizeof(double));
    kd_pack_top_row(kd->classes, numbers, target, kd->cache_top, kd->loss_config.temperature,
                    row, scratch);
    write_logits(cache, position, row, bytes);
    free(row);
    free(scratch);
}

static void read_row(const deepkd *kd, logit_cache *cache, uint64_t position, float *numbers)
{
    size_t bytes = kd_top_row_bytes(kd->cache_top);
    void *row = kd_calloc(1, bytes);
    read_cached_logits(cache, position, row, bytes);
    if (!kd_unpack_top_row(kd->classes, row, kd->cache_top, kd->loss_config.temperature,
                           numbers))
        kd_fail("%s: image %llu of the run: found another class than the %d",
                logit_cache_file(cache), (unsigned long long)position, kd->classes);
    free(row);
}

static void copy_batch(deepkd *kd, logit_cache *cache, uint64_t position, direction way)
{
    size_t each = kd->classes - first_number(kd); /* numbers of a prediction */
    row_list predictions = {0};
    for (int b = 0; b < kd->net->batch; ++b, ++position) {
        find_teachers_predictions(&kd->source, b, &predictions);
        size_t n = predictions.n * each, size = n * sizeof(float);
        float *numbers = kd_calloc(n + 1, sizeof(float));
        if (way == FROM_CACHE && kd->cache_top) read_row(kd, cache, position, numbers);
        else if (way == FROM_CACHE) read_cached_logits(cache, position, numbers, size);
        copy_logits(kd, &predictions, numbers, way);
        if (way == TO_CACHE) check_finite_logits(kd, numbers, n, position);
        if (way == TO_CACHE && kd->cache_top)
            write_row(kd, cache, position, predictions.rows->target, numbers);
        else if (way == TO_CACHE) write_logits(cache, position, numbers, size);
        free(numbers);
    }
    free(predictions.rows);
}

/* Between kd->view_logits and the cache */
static void copy_views(deepkd *kd, logit_cache *cache, uint64_t position, direction way)
{
    size_t each = kd->classes, n = kd->views * each, size = n * sizeof(float);
    float *numbers = kd_calloc(n, sizeof(float));
    for (int b = 0; b < kd->net->batch; ++b, ++position) {
        if (way == FROM_CACHE) read_cached_logits(cache, position, numbers, size);
        for (int v = 0; v < kd->views; ++v) {
            float *logits = kd->view_logits[v] + b * each, *own = numbers + v * each;
            if (way == TO_CACHE) memcpy(own, logits, each * sizeof(float));
            else memcpy(logits, own, each * sizeof(float));
        }
        if (way == FROM_CACHE) continue;
        check_finite_logits(kd, numbers, n, position);
        write_logits(cache, position, numbers, size);
    }
    free(numbers);
}

void cache_logits(deepkd *kd, logit_cache *cache, uint64_t position)
{
    if (kd->views > 1) copy_views(kd, cache, position, TO_CACHE);
    else copy_batch(kd, cache, position, TO_CACHE);
}

void recall_views(deepkd *kd, uint64_t position)
{
    copy_views(kd, kd->cache, position, FROM_CACHE);
}

void recall_logits(deepkd *kd)
{
    teacher *t = kd->teacher;
    copy_batch(kd, kd->cache, *kd->net->seen - kd->net->batch, FROM_CACHE);
    for (int o = 0; o < t->outputs.n; ++o) {
        int logits = t->outputs.layer[o] - 1;
        layer l = t->net->layers[logits];
        device_push(t->net, (size_t)l.batch * l.outputs, l.output,
                    layer_output(t->net, logits));
    }
}
