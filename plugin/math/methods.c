/*
 * The methods of kd_math.h: the loss of each, and the table of them all. Every formula is for
 * one row; t is the target class. To add one: docs/add-a-method.md.
 */
#include "math/confidence.h"
#include "math/dist.h"
#include "math/kd_formulas.h"
#include "math/kd_math.h"
#include "math/mlkd.h"

#include <math.h>
#include <string.h>

/* over the x[j] that are marked; at least one must be */
static log_sum log_sum_exp(int n, const double *x, const double *mask)
{
    double largest = 0, sum = 0;
    int found = 0;
    for (int j = 0; j < n; ++j) {
        if (mask[j] && (!found || x[j] > largest)) largest = x[j];
        if (mask[j]) found = 1;
    }
    for (int j = 0; j < n; ++j)
        if (mask[j]) sum += exp(x[j] - largest);
    return (log_sum){largest, log(sum)};
}

/* Whether p_j <= q_j of all classes but the target: of these log p_j = (x_j - rest) + log_1p */
static int is_shut(const kd_prepared_row *r, log_sum rest_p, double log_1p, log_sum rest_q,
                   double log_1q)
{
    for (int j = 0; j < r->classes; ++j)
        if (r->others[j] && minus(r->x[j], rest_p) + log_1p > minus(r->y[j], rest_q) + log_1q)
            return 0;
    return 1;
}

/* TCG: the target class against the rest (DKD's TCKD); dL/dz as gradient, L returned */
static double softmax_tcg(const kd_loss_config *config, const kd_prepared_row *r,
                          double *gradient)
{
    int n = r->classes, t = r->target;
    log_sum rest_p = log_sum_exp(n, r->x, r->others), rest_q = log_sum_exp(n, r->y, r->others);
    double ahead_p = minus(r->x[t], rest_p), ahead_q = minus(r->y[t], rest_q);
    double log_p = log_sigmoid(ahead_p), log_1p = log_sigmoid(-ahead_p);
    double log_q = log_sigmoid(ahead_q), log_1q = log_sigmoid(-ahead_q);
    if (config->tcg_gate && is_shut(r, rest_p, log_1p, rest_q, log_1q)) return 0;
    double weight = config->alpha * config->temperature;
    double g = weight * difference(log_p, log_1p, log_q, log_1q);
    for (int j = 0; j < n; ++j)
        gradient[j] = r->others[j] ? -g * exp(minus(r->x[j], rest_p)) : g;
    return weight * config->temperature * binary_kl(log_q, log_1q, log_p, log_1p);
}

/* NCG: the kept other classes among themselves (DKD's NCKD), times w as kd_math.h says */
static double softmax_ncg(const kd_loss_config *config, const kd_prepared_row *r, double weight,
                          double *gradient)
{
    double loss = 0;
    weight *= config->temperature;
    log_sum sum_p = log_sum_exp(r->classes, r->x, r->kept);
    log_sum sum_q = log_sum_exp(r->classes, r->y, r->kept);
    for (int j = 0; j < r->classes; ++j) {
        if (!r->kept[j]) continue;
        double log_p = minus(r->x[j], sum_p), log_q = minus(r->y[j], sum_q);
        loss += exp(log_q) * (log_q - log_p);
        gradient[j] = weight * (exp(log_p) - exp(log_q));
    }
    return weight * config->temperature * loss;
}

/* TCG, and NCG times `weight` */
static kd_losses decoupled(const kd_loss_config *config, const kd_prepared_row *r,
                           double weight, double *tcg, double *ncg)
{
    kd_losses loss = {0, 0};
    double T = config->temperature;
    int t = r->target;
    if (config->activation == KD_SOFTMAX) {
        loss.tcg = softmax_tcg(config, r, tcg);
        if (r->keep > 0) loss.ncg = softmax_ncg(config, r, weight, ncg);
        return loss;
    }
    loss.tcg = yes_or_no(config->alpha, T, r->x[t], r->y[t], &tcg[t]);
    for (int j = 0; j < r->classes; ++j)
        if (r->kept[j]) loss.ncg += yes_or_no(weight, T, r->x[j], r->y[j], &ncg[j]);
    return loss;
}

/* KD, Hinton et al. 2015: NCG weighs what the teacher leaves to the other classes. */
static kd_losses kd_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                         double *ncg)
{
    double weight = 1;
    if (config->activation == KD_SOFTMAX && r->keep > 0)
        weight =
            exp(log_sigmoid(-minus(r->y[r->target], log_sum_exp(r->classes, r->y, r->others))));
    return decoupled(config, r, weight, tcg, ncg);
}

/* DKD, CVPR 2022: NCG weighs beta. */
static kd_losses dkd_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                          double *ncg)
{
    return decoupled(config, r, config->parameter[DKD_BETA], tcg, ncg);
}

/* MLKD and CRLD: as DKD, or with a beta of KD_WHOLE_KL as KD. */
static kd_losses kl_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                         double *ncg)
{
    int is_whole = config->parameter[DKD_BETA] == KD_WHOLE_KL;
    return (is_whole ? kd_loss : dkd_loss)(config, r, tcg, ncg);
}

/*
 * CRLD, ACM MM 2024 (arXiv 2412.16493): within a view the images of which the teacher is sure
 * in the weak one, across the views those of which it is in the strong one.
 */
static void crld_weights(const kd_loss_config *config, int images,
                         const double *const confidence[KD_VIEWS],
                         double *const weight[KD_VIEW_PAIRS])
{
    const double *p = config->parameter;
    for (int k = 0; k < KD_VIEW_PAIRS; ++k) {
        kd_view_pair pair = config->method->pair[k];
        int is_within = pair.student == pair.teacher;
        kd_at_least(images, confidence[is_within ? 0 : 1],
                    p[is_within ? CRLD_WEAK : CRLD_STRONG], weight[k]);
        if (p[CRLD_OFFICIAL]) kd_fill(images, weight[k], kd_share(images, weight[k]));
        for (int i = 0; i < images; ++i)
            weight[k][i] *= p[is_within ? CRLD_WITHIN : CRLD_ACROSS];
    }
}

/* DIST has its loss in the whole batch. */
static kd_losses no_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                         double *ncg)
{
    (void)config, (void)r, (void)tcg, (void)ncg;
    return (kd_losses){0, 0};
}

/* BCKD, ICCV 2023 (arXiv 2308.14286): each class's yes or no, by how far they are apart. */
static kd_losses bckd_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                           double *ncg)
{
    double T = config->temperature;
    int t = r->target;
    kd_losses loss = {distant_yes_or_no(config->alpha, T, r->x[t], r->y[t], &tcg[t]), 0};
    for (int j = 0; j < r->classes; ++j)
        if (r->kept[j]) loss.ncg += distant_yes_or_no(1, T, r->x[j], r->y[j], &ncg[j]);
    return loss;
}

/* Momenta: DeepKD's configurations for CIFAR-100; DIST's, as KD's. */
const kd_method kd_methods[] = {
    {
        .name = "kd",
        .temperature = 4,
        .delta = {.075, -.075, .075},
        .row = kd_loss,
        .kernel = KERNEL_KD,
        .views = 1,
        .pair = {{0, 0, 1}},
    },
    {
        .name = "dkd",
        .temperature = 4,
        .parameter = {[DKD_BETA] = {"beta", 8, 0, 1e6, KD_NCG, 0}},
        .delta = {.075, -.075, .05},
        .row = dkd_loss,
        .kernel = KERNEL_DKD,
        .views = 1,
        .pair = {{0, 0, 1}},
    },
    {
        .name = "bckd",
        .temperature = 1,
        .delta = {.075, -.075, .075},
        .row = bckd_loss,
        .is_logistic = 1,
        .box_weight = 4,
        .kernel = KERNEL_BCKD,
        .views = 1,
        .pair = {{0, 0, 1}},
    },
    {
        .name = "mlkd",
        .temperature = 4,
        .temperatures = {2, 3, 4, 5, 6},
        .parameter = {[MLKD_BETA] = {"beta", 8, 0, 1e6, KD_NCG, 0},
                      [MLKD_BATCH] = {"batch_weight", 1, 0, 1e6, KD_TOG, 0},
                      [MLKD_CLASS] = {"class_weight", 1, 0, 1e6, KD_TOG, 0},
                      [MLKD_OFFICIAL] = {"official", 0, 0, 1, KD_TOG, 1}},
        .delta = {.075, -.075, .05},
        .row = kl_loss,
        .is_softmax = 1,
        .is_whole_kl = 1,
        .views = 2,
        .least_views = 1,
        .pair = {{0, 0, 1}, {1, 1, 1}},
        .weigh = mlkd_weights,
        .batch = mlkd_loss,
    },
    {
        .name = "crld",
        .temperature = 4,
        .parameter = {[CRLD_BETA] = {"beta", .5, 0, 1e6, KD_NCG, 0},
                      [CRLD_WITHIN] = {"within_weight", 1, 0, 1e6, KD_TOG, 0},
                      [CRLD_ACROSS] = {"across_weight", .5, 0, 1e6, KD_TOG, 0},
                      [CRLD_WEAK] = {"confidence_weak", .9, 0, 1, KD_TOG, 0},
                      [CRLD_STRONG] = {"confidence_strong", .2, 0, 1, KD_TOG, 0},
                      [CRLD_OFFICIAL] = {"official", 0, 0, 1, KD_TOG, 1}},
        .delta = {.075, -.075, .05},
        .row = kl_loss,
        .is_softmax = 1,
        .is_whole_kl = 1,
        .views = 2,
        .pair = {{0, 0, 1}, {1, 1, 1}, {1, 0, 1}, {0, 1, 1}},
        .weigh = crld_weights,
    },
    {
        .name = "dist",
        .temperature = 4,
        .parameter = {[DIST_INTER] = {"inter_weight", 1, 0, 1e6, KD_TOG, 0},
                      [DIST_INTRA] = {"intra_weight", 1, 0, 1e6, KD_TOG, 0}},
        .delta = {.075, -.075, .075},
        .row = no_loss,
        .is_softmax = 1,
        .is_raw = 1,
        .views = 1,
        .pair = {{0, 0, 1}},
        .batch = dist_loss,
    },
    {0},
};

const kd_method *find_method(const char *name)
{
    for (const kd_method *m = kd_methods; m->name; ++m)
        if (!strcmp(m->name, name)) return m;
    return 0;
}
