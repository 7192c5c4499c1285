/* See ensemble.h. */
#include "distil/ensemble.h"
#include "support.h"

#include <string.h>

enum { BOX = 4 }; /* numbers of a prediction before its objectness */

static layer head_of(const ensemble_member *m, int o)
{
    return m->net->layers[m->outputs.layer[o]];
}

/* What differs between a head of two detectors, or NULL */
static const char *find_head_difference(const ensemble_member *a, const ensemble_member *b,
                                        int o)
{
    layer l = head_of(a, o), m = head_of(b, o);
    if (a->net->w != b->net->w || a->net->h != b->net->h) return "input size";
    if (l.type != m.type) return "type";
    if (l.w != m.w || l.h != m.h) return "grid";
    if (l.n != m.n) return "number of anchors";
    if (l.softmax != m.softmax) return "softmax";
    if (l.new_coords != m.new_coords || l.scale_x_y != m.scale_x_y) return "form of boxes";
    if (l.map_size != m.map_size || (l.map && memcmp(l.map, m.map, l.map_size * sizeof(int))))
        return "map";
    for (int n = 0; n < l.n; ++n) {
        box ours = anchor_in_pixels(a->net, &a->outputs, o, n);
        box theirs = anchor_in_pixels(b->net, &b->outputs, o, n);
        if (ours.w != theirs.w || ours.h != theirs.h) return "anchor";
    }
    return 0;
}

static void check_member(const ensemble_member *first, const ensemble_member *m)
{
    if (is_detector(&m->outputs) != is_detector(&first->outputs))
        kd_fail("%s: found a %s, expected a %s as %s is", m->cfg,
                is_detector(&m->outputs) ? "detector" : "classifier",
                is_detector(&first->outputs) ? "detector" : "classifier", first->cfg);
    if (m->outputs.classes != first->outputs.classes)
        kd_fail("%s: found %d classes, expected %d, as in %s", m->cfg, m->outputs.classes,
                first->outputs.classes, first->cfg);
    if (m->outputs.n != first->outputs.n)
        kd_fail("%s: found %d heads, expected %d, as in %s", m->cfg, m->outputs.n,
                first->outputs.n, first->cfg);
    for (int o = 0; o < m->outputs.n && is_detector(&m->outputs); ++o) {
        const char *what = find_head_difference(first, m, o);
        if (what)
            kd_fail("%s: layer %d: found another %s than in %s, expected heads alike in all "
                    "[teacher]",
                    m->cfg, m->outputs.layer[o], what, first->cfg);
    }
}

void check_ensemble(const ensemble_member *members, int n)
{
    for (int m = 1; m < n; ++m) check_member(members, members + m);
}

/* The logits from `first` on, `stride` numbers apart */
static void average_at(const float *const *logits, int teachers, float *mean, size_t first,
                       size_t n, size_t stride,
                       void (*average)(int, size_t, size_t, const float *const *, float *))
{
    const float *from[KD_MOST_TEACHERS];
    for (int m = 0; m < teachers; ++m) from[m] = logits[m] + first;
    average(teachers, n, stride, from, mean + first);
}

/* A prediction of output o: its box, its objectness, its classes */
static void average_prediction(const ensemble_member *first, prediction p,
                               const float *const *logits, int teachers, float *mean)
{
    kd_activation activation = native_activation(head_of(first, p.output));
    if (is_detector(&first->outputs)) {
        average_at(logits, teachers, mean, p.objectness - BOX * (size_t)p.stride, BOX, p.stride,
                   kd_mean_logits);
        average_at(logits, teachers, mean, p.objectness, 1, p.stride, kd_mean_logistic);
    }
    average_at(logits, teachers, mean, p.classes, first->outputs.classes, p.stride,
               activation == KD_SOFTMAX ? kd_mean_softmax : kd_mean_logistic);
}

static void average_probabilities(const ensemble_member *first, int o,
                                  const float *const *logits, int teachers, float *mean)
{
    layer l = head_of(first, o);
    if (!is_detector(&first->outputs)) l.w = l.h = l.n = 1;
    int cells = l.w * l.h;
    for (int k = 0; k < l.batch * l.n * cells; ++k) {
        prediction p = find_prediction(first->net, &first->outputs, o, k / (l.n * cells),
                                       k / cells % l.n, k % l.w, k / l.w % l.h);
        average_prediction(first, p, logits, teachers, mean);
    }
}

void average_ensemble(const ensemble_member *members, int n, ensemble_rule rule)
{
    const float *logits[KD_MOST_TEACHERS];
    for (int o = 0; o < members->outputs.n && n > 1; ++o) {
        layer l = head_of(members, o);
        for (int m = 0; m < n; ++m)
            logits[m] = output_logits(members[m].net, &members[m].outputs, o);
        float *mean = output_logits(members->net, &members->outputs, o);
        if (rule == ENSEMBLE_LOGITS)
            kd_mean_logits(n, (size_t)l.batch * l.inputs, 1, logits, mean);
        else average_probabilities(members, o, logits, n, mean);
    }
}
