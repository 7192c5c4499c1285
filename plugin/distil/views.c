/* See views.h. */
#include "distil/views.h"
#include "distil/cached_logits.h"
#include "math/confidence.h"
#include "support.h"

#include "network.h"

#include <stdlib.h>
#include <string.h>

static size_t logits_size(const deepkd *kd)
{
    return (size_t)kd->net->batch * kd->classes;
}

static float *own_logits(const deepkd *kd)
{
    return output_logits(kd->teacher->net, &kd->teacher->outputs, 0);
}

void allocate_views(deepkd *kd)
{
    kd->teacher->has_run = kd->views > 1;
    for (int v = 0; v < kd->views && kd->views > 1; ++v)
        kd->view_logits[v] = kd_calloc(logits_size(kd), sizeof(float));
}

static float *images_of(const deepkd *kd, int v)
{
    return v ? kd->batch->strong : kd->batch->images;
}

void look_at_views(deepkd *kd)
{
    if (kd->views == 1 || kd->teacher->idle) return;
    if (kd->cache) recall_views(kd, *kd->net->seen);
    for (int v = 0; v < kd->views && !kd->cache; ++v) {
        run_teacher(kd->teacher, images_of(kd, v));
        memcpy(kd->view_logits[v], own_logits(kd), logits_size(kd) * sizeof(float));
    }
}

void enter_view(deepkd *kd, int v)
{
    kd->source.view = v;
    kd->net->input = images_of(kd, v);
    if (kd->views > 1)
        memcpy(own_logits(kd), kd->view_logits[v], logits_size(kd) * sizeof(float));
}

float train_view(network *net)
{
    *net->seen += net->batch; /* which says what batch this is */
    net->train = 1;
    forward_network(net);
    net->backward(net);
    *net->seen -= net->batch;
    return *net->cost;
}

const float *view_logits(const deepkd *kd, int v)
{
    return kd->views > 1 ? kd->view_logits[v] : own_logits(kd);
}

/* How sure the teacher is of each image in a view, to sure[batch] */
static void fill_confidence(const deepkd *kd, int v, double *sure)
{
    const float *logits = view_logits(kd, v);
    double *y = kd->scratch;
    for (int b = 0; b < kd->net->batch; ++b) {
        for (int j = 0; j < kd->classes; ++j) y[j] = *logits++;
        sure[b] = kd_confidence(kd->classes, y);
    }
}

void weigh_rows(deepkd *kd)
{
    const kd_method *m = kd->loss_config.method;
    int n = kd->net->batch;
    if (!m->weigh) return;
    double *numbers = kd_calloc((size_t)n * (KD_VIEWS + KD_VIEW_PAIRS), sizeof(double));
    double *weight[KD_VIEW_PAIRS], *sure[KD_VIEWS] = {0};
    for (int v = 0; v < kd->views; ++v) fill_confidence(kd, v, sure[v] = numbers + v * n);
    for (int k = 0; k < KD_VIEW_PAIRS; ++k) weight[k] = numbers + (KD_VIEWS + k) * n;
    m->weigh(&kd->loss_config, n, (const double *const *)sure, weight);
    for (int i = 0; i < kd->rows.n; ++i) {
        row *r = kd->rows.rows + i;
        r->weight *= weight[r->pair][r->student.image];
    }
    free(numbers);
}
