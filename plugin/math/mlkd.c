/* See mlkd.h. */
#include "math/mlkd.h"
#include "math/confidence.h"
#include "math/kd_formulas.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mlkd_weights(const kd_loss_config *config, int images,
                  const double *const confidence[KD_VIEWS], double *const weight[KD_VIEW_PAIRS])
{
    kd_at_most(images, confidence[0], kd_median(images, confidence[0]), weight[0]);
    if (config->parameter[MLKD_OFFICIAL])
        kd_fill(images, weight[0], kd_share(images, weight[0]));
    kd_fill(images, weight[1], 1);
}

/* Both levels of one batch: [images][classes] are the probabilities at one T, and dL/dP */
typedef struct {
    int images, classes;
    double batch_weight, class_weight;
    double *of_images, *of_classes; /* 1: the batch level has this image, the class level this
                                       class; else 0 */
    double *ones;                   /* [classes] */
    double *p, *q, *slope;
} levels;

static levels make_levels(int images, int classes)
{
    size_t size = (size_t)images * classes;
    double *numbers = kd_calloc(3 * size + images + 2 * classes, sizeof(double));
    levels l = {.images = images, .classes = classes, .p = numbers};
    l.q = l.p + size;
    l.slope = l.q + size;
    l.of_images = l.slope + size;
    l.of_classes = l.of_images + images;
    l.ones = l.of_classes + classes;
    kd_fill(classes, l.ones, 1);
    return l;
}

/* What the levels are of, by the teacher's probabilities at T = 1; p and slope are overwritten
 */
static void choose(levels *l, const double *teacher, int is_official)
{
    int n = l->images, c = l->classes;
    double *sure = l->slope, *sums = l->p;
    kd_soften(n, c, teacher, 1, l->q);
    memset(sums, 0, c * sizeof(double));
    for (int i = 0; i < n; ++i) {
        sure[i] = kd_confidence(c, teacher + (size_t)i * c);
        for (int j = 0; j < c; ++j) sums[j] += l->q[(size_t)i * c + j];
    }
    kd_at_most(n, sure, kd_median(n, sure), l->of_images);
    kd_at_most(c, sums, kd_median(c, sums), l->of_classes);
    if (!is_official) return;
    l->batch_weight *= kd_share(n, l->of_images);
    l->class_weight *= kd_share(c, l->of_classes);
    kd_fill(n, l->of_images, 1);
    kd_fill(c, l->of_classes, 1);
}

static double dot(int n, const double *a, const double *b, const double *weight)
{
    double sum = 0;
    for (int j = 0; j < n; ++j) sum += weight[j] * a[j] * b[j];
    return sum;
}

/* to <- to + factor weight x, number by number */
static void add(int n, double factor, const double *weight, const double *x, double *to)
{
    for (int j = 0; j < n; ++j) to[j] += factor * weight[j] * x[j];
}

/* Adds image i's part of |P P' - Q Q'|^2: A = P P' - Q Q', d|A|^2/dP = 4 A P */
static double add_batch_level(levels *l, int i, double weight)
{
    int c = l->classes;
    const double *p = l->p + (size_t)i * c, *q = l->q + (size_t)i * c;
    double loss = 0;
    for (int k = 0; k < l->images && l->of_images[i]; ++k) {
        const double *other = l->p + (size_t)k * c;
        if (!l->of_images[k]) continue;
        double a = dot(c, p, other, l->ones) - dot(c, q, l->q + (size_t)k * c, l->ones);
        loss += weight * a * a;
        add(c, 4 * weight * a, l->ones, other, l->slope + (size_t)i * c);
    }
    return loss;
}

/*
 * Adds image i's part of |P' P - Q' Q|^2, without any [C][C]: with M = P' P - Q' Q it is
 * |P P'|^2 - 2 |P Q'|^2 + |Q Q'|^2, and d|M|^2/dP = 4 P M = 4 (P P') P - 4 (P Q') Q.
 */
static double add_class_level(levels *l, int i, double weight)
{
    int c = l->classes;
    const double *w = l->of_classes, *p = l->p + (size_t)i * c, *q = l->q + (size_t)i * c;
    double *slope = l->slope + (size_t)i * c, loss = 0;
    for (int k = 0; k < l->images; ++k) {
        const double *other_p = l->p + (size_t)k * c, *other_q = l->q + (size_t)k * c;
        double pp = dot(c, p, other_p, w), pq = dot(c, p, other_q, w),
               qq = dot(c, q, other_q, w);
        loss += weight * (pp * pp - 2 * pq * pq + qq * qq);
        add(c, 4 * weight * pp, w, other_p, slope);
        add(c, -4 * weight * pq, w, other_q, slope);
    }
    return loss;
}

/* dL/dP -> dL/dz, added: through softmax(z / T) */
static void add_gradient(const levels *l, double temperature, double *gradient)
{
    int c = l->classes;
    for (int i = 0; i < l->images; ++i) {
        const double *p = l->p + (size_t)i * c, *slope = l->slope + (size_t)i * c;
        double mean = dot(c, p, slope, l->ones);
        for (int j = 0; j < c; ++j)
            gradient[(size_t)i * c + j] += p[j] * (slope[j] - mean) / temperature;
    }
}

void mlkd_loss(const kd_loss_config *config, const kd_row_batch *b, double loss[KD_COMPONENTS],
               double *gradient[KD_COMPONENTS])
{
    const double *parameter = config->parameter;
    kd_component c = parameter[MLKD_OFFICIAL] ? KD_TOG : KD_NCG;
    if (b->view) return;
    levels l = make_levels(b->rows, b->classes);
    /* the sum of B images' losses, of which each is the formula's: / B goes */
    l.batch_weight = parameter[MLKD_BATCH];
    l.class_weight = parameter[MLKD_CLASS] * l.images / l.classes;
    choose(&l, b->teacher, parameter[MLKD_OFFICIAL] != 0);
    for (int k = 0; k < config->n_temperatures; ++k) {
        double t = config->temperatures[k];
        kd_soften(l.images, l.classes, b->student, t, l.p);
        kd_soften(l.images, l.classes, b->teacher, t, l.q);
        memset(l.slope, 0, (size_t)l.images * l.classes * sizeof(double));
        for (int i = 0; i < l.images; ++i) {
            if (l.batch_weight) loss[c] += add_batch_level(&l, i, l.batch_weight);
            if (l.class_weight) loss[c] += add_class_level(&l, i, l.class_weight);
        }
        add_gradient(&l, t, gradient[c]);
    }
    free(l.p);
}
