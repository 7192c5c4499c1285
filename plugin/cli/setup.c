/* See setup.h. */
#include "cli/setup.h"
#include "distil/deepkd_loss.h"
#include "net/parameters.h"
#include "net/strict.h"
#include "run/stop.h"
#include "run/teacher_cache.h"
#include "support.h"

#include "darknet/geometry.h"
#include "plugin.h"

#include <stdlib.h>
#include <time.h>

layer last_layer(const network *net)
{
    return net->layers[net->n - 1];
}

void begin_setup(setup *s)
{
    distill_arguments *a = &s->arguments;
    s->data = read_data_options(a->data, NEEDS_TRAIN | NEEDS_VALID | NEEDS_BACKUP);
    if (a->cache) s->cache = open_logit_cache(a->cache);
    if (s->cache && !a->seed) a->seed = cache_seed(s->cache);
    s->seed = a->seed ? a->seed : (uint64_t)time(0);
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
        kd_fail("%s: random=%g: found a layer that Darknet cannot resize, expected random=0",
                cfg, last_layer(net).random);
}

network *parse_student(const setup *s)
{
    char *cfg = s->arguments.cfg;
    network *net = parse_strictly(cfg, 0, 1);
    deepkd *kd = find_deepkd(net);
    if (!kd)
        kd_fail("%s: found no [deepkd_loss] at its end, expected [teacher] and [deepkd_loss]; "
                "'darknet deepkd wrap' adds them",
                cfg);
    check_network(net, cfg);
    check_trainable(net);
    for (teacher *t = kd->teacher; t; t = t->next) {
        if (!t->cfg && s->data.teacher) t->cfg = kd_copy(s->data.teacher);
        if (!t->cfg)
            kd_fail("%s: [teacher] has no cfg=, and %s no teacher=: expected one", cfg,
                    s->arguments.data);
    }
    if (kd->teacher->next && s->arguments.weights)
        kd_fail("%s: found several [teacher] in %s: expected weights= in each, and none here",
                s->arguments.weights, cfg);
    return net;
}

static char *weights_of(const setup *s, const teacher *t)
{
    char *weights = s->arguments.weights ? s->arguments.weights : t->weights;
    if (t->model && weights)
        kd_fail("%s: [teacher] model=%s: found %s too, expected no weights beside it",
                s->arguments.cfg, t->model, weights);
    if (weights || s->cache || t->model) return weights;
    if (t->next || t->is_led)
        kd_fail("%s: [teacher] cfg=%s has no weights=: expected them in each of several",
                s->arguments.cfg, t->cfg);
    kd_fail("%s: [teacher] has no weights=: expected TEACHER.weights", s->arguments.cfg);
}

int has_teacher_weights(const setup *s)
{
    for (const teacher *t = s->kd->teacher; t; t = t->next)
        if (!weights_of(s, t) && !t->model) return 0;
    return 1;
}

void attach_teacher(const setup *s, deepkd *kd)
{
    kd->cache = s->cache; /* of `deepkd cache`: none yet */
    for (teacher *t = kd->teacher; t; t = t->next) {
        t->is_cached = s->arguments.cache != 0;
        t->parts = kd->options.parts;
        load_teacher(t, weights_of(s, t));
    }
    attach_deepkd_loss(kd, s->arguments.cfg);
}

void load_networks(setup *s)
{
    distill_arguments *a = &s->arguments;
    srand(derive_seed(s->seed, 0));
    s->net = parse_student(s);
    s->kd = find_deepkd(s->net);
    teacher *t = s->kd->teacher;
    for (const teacher *m = t; m; m = m->next) {
        char *weights = weights_of(s, m);
        printf("teacher: %s", m->cfg);
        if (a->cache) printf(", logits %s", a->cache);
        else if (weights) printf(", weights %s", weights);
        printf("\n");
    }
    printf("student: %s%s%s\n", a->cfg, a->start ? ", starts from " : "",
           a->start ? a->start : "");
    fflush(stdout);
    attach_teacher(s, s->kd);
    s->is_detector = is_detector(&s->kd->outputs);
    check_task(a, &s->data, s->is_detector);
    check_classes(s->net, &s->kd->outputs, a->cfg, a->data, s->data.classes);
    if (s->is_detector && last_layer(t->net).map)
        check_classes(t->net, &t->outputs, t->cfg, a->data, s->data.classes);
}

/* unlabelled=: the teacher alone teaches them, where rows need no truth. */
static void add_unlabelled(setup *s)
{
    const deepkd_options *o = &s->kd->options;
    char *file = s->data.unlabelled;
    if (!file) return;
    if (!o->teacher_weight)
        kd_fail("%s: unlabelled=%s: found teacher_weight=0, expected a teacher that speaks",
                s->arguments.data, file);
    if (s->is_detector && o->rows != ROWS_DENSE)
        kd_fail("%s: unlabelled=%s: found rows=truth in %s, expected rows=dense",
                s->arguments.data, file, s->arguments.cfg);
    append_unlabelled(&s->train, file);
}

static void check_mosaic(const setup *s)
{
    if (s->net->mosaic && s->train.n < 4)
        kd_fail("%s: found %d images, expected 4 or more for [net] mosaic=1 of %s",
                s->data.train, s->train.n, s->arguments.cfg);
}

void read_lists(setup *s)
{
    data_options *d = &s->data;
    if (!s->is_detector) {
        s->train = read_image_list(d->train, d->labels, d->classes);
        s->valid = read_image_list(d->valid, d->labels, d->classes);
    } else {
        int most = last_layer(s->net).max_boxes;
        if (d->annotations) s->annotations = read_annotations(d->annotations, d->classes);
        s->train = read_box_list(d->train, d->classes, most, 0);
        s->valid =
            read_box_list(d->valid, d->classes, most, d->annotations ? &s->annotations : 0);
        announce_empty(d->train, &s->train);
        announce_empty(d->valid, &s->valid);
        check_mosaic(s);
    }
    add_unlabelled(s);
}

validation plan_validation(const setup *s)
{
    const data_options *d = &s->data;
    return (validation){.list = &s->valid,
                        .known = d->annotations ? &s->annotations : 0,
                        .map = last_layer(s->net).map,
                        .is_detector = s->is_detector,
                        .with_map = s->arguments.map,
                        .top = d->top ? d->top : 1,
                        .threads = s->arguments.threads,
                        .stop = &stop_signal};
}

void release_setup(setup *s)
{
    if (s->cache) close_logit_cache(s->cache);
    free_annotations(s->annotations);
    free_network(s->net);
}
