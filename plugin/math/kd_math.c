/* See kd_math.h. Every formula is for one row; t is the target class. */
#include "math/kd_math.h"
#include "math/kd_formulas.h"

#include <math.h>
#include <string.h>

const char *const kd_component_name[KD_COMPONENTS] = {"tog", "tcg", "ncg"};

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

/* x <- u/T, u the logits, standardized if asked; returns the row's standard deviation */
static double scale_logits(const kd_loss_config *config, int n, const double *logits, double *x)
{
    double mean = 0, variance = 0, std = 0, scale = 1;
    if (config->standardize && n > 1) {
        for (int j = 0; j < n; ++j) mean += (logits[j] - logits[0]) / n;
        mean += logits[0]; /* exact when all are equal */
        for (int j = 0; j < n; ++j) variance += (logits[j] - mean) * (logits[j] - mean);
        std = sqrt(variance / (n - 1));
        scale = 1 / (STD_EPSILON + std);
    }
    for (int j = 0; j < n; ++j) x[j] = (logits[j] - mean) * scale / config->temperature;
    return std;
}

/*
 * dL/du -> dL/dz in place, for u = s (z - mean), s = 1 / (epsilon + std) and x = u/T:
 *   dL/dz_j = s (g_j - mean(g)) - s (sum_i g_i u_i) dstd/dz_j,
 *   dstd/dz_j = (z_j - mean) / ((n-1) std) = u_j / (s (n-1) std).
 */
static void backward_standardize(int n, const double *x, double temperature, double std,
                                 double *gradient)
{
    double scale = 1 / (STD_EPSILON + std), mean = 0, along = 0;
    for (int j = 0; j < n; ++j) {
        mean += gradient[j] / n;
        along += gradient[j] * x[j] * temperature;
    }
    for (int j = 0; j < n; ++j) {
        double slope = std > 0 ? x[j] * temperature / (scale * (n - 1) * std) : 0;
        gradient[j] = scale * (gradient[j] - mean - along * slope);
    }
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
        weight = exp(log_sigmoid(
            -minus(r->y[r->target], log_sum_exp(r->classes, r->y, r->others))));
    return decoupled(config, r, weight, tcg, ncg);
}

/* DKD, CVPR 2022: NCG weighs beta. */
static kd_losses dkd_loss(const kd_loss_config *config, const kd_prepared_row *r, double *tcg,
                          double *ncg)
{
    return decoupled(config, r, config->parameter[DKD_BETA], tcg, ncg);
}

/* Momenta: DeepKD's configurations for CIFAR-100. */
const kd_method kd_methods[] = {
    {
        .name = "kd",
        .delta = {.075, -.075, .075},
        .row = kd_loss,
        .kernel = KERNEL_KD,
        .views = 1,
        .pair = {{0, 0, 1}},
    },
    {
        .name = "dkd",
        .parameter = {[DKD_BETA] = {"beta", 8, 0, 1e6, KD_NCG}},
        .delta = {.075, -.075, .05},
        .row = dkd_loss,
        .kernel = KERNEL_DKD,
        .views = 1,
        .pair = {{0, 0, 1}},
    },
    {0},
};

const kd_method *find_method(const char *name)
{
    for (const kd_method *m = kd_methods; m->name; ++m)
        if (!strcmp(m->name, name)) return m;
    return 0;
}

double kd_yes_or_no(double weight, double temperature, double student, double teacher,
                    double *gradient)
{
    return yes_or_no(weight, temperature, student / temperature, teacher / temperature,
                     gradient);
}

kd_losses kd_row(const kd_loss_config *config, int classes, const double *student,
                 const double *teacher, int target, int keep, double *tcg, double *ncg,
                 double *scratch)
{
    double *x = scratch, *y = x + classes, *others = y + classes, *kept = others + classes;

    double std = scale_logits(config, classes, student, x);
    scale_logits(config, classes, teacher, y);
    for (int j = 0; j < classes; ++j) others[j] = j != target;
    kd_topk_mask(classes, teacher, target, keep, kept, kept + classes);

    memset(tcg, 0, classes * sizeof(*tcg));
    memset(ncg, 0, classes * sizeof(*ncg));
    kd_prepared_row row = {classes, target, keep, x, y, others, kept};
    kd_losses loss = config->method->row(config, &row, tcg, ncg);
    if (config->standardize && classes > 1) {
        backward_standardize(classes, x, config->temperature, std, tcg);
        backward_standardize(classes, x, config->temperature, std, ncg);
    }
    return loss;
}

/* The k-th largest (k >= 1) of x[0..n); reorders x. Hoare's quickselect. */
static double kth_largest(int n, double *x, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        double pivot = x[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) ++i;
            while (x[j] < pivot) --j;
            if (i <= j) {
                double swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else break;
    }
    return x[k - 1];
}

void kd_topk_mask(int classes, const double *logits, int target, int keep, double *mask,
                  double *scratch)
{
    int others = 0, ties = keep;
    memset(mask, 0, classes * sizeof(*mask));
    if (keep <= 0) return;
    for (int j = 0; j < classes; ++j)
        if (j != target) scratch[others++] = logits[j];
    double threshold = kth_largest(others, scratch, keep);
    for (int j = 0; j < classes; ++j)
        if (j != target && logits[j] > threshold) mask[j] = 1, --ties;
    for (int j = 0; j < classes && ties > 0; ++j)
        if (j != target && logits[j] == threshold) mask[j] = 1, --ties;
}

/* from + share * (to - from), rounded to the nearest whole number */
static int interpolate(int from, int to, double share)
{
    return (int)floor(from + share * (to - from) + .5);
}

int kd_topk_schedule(const kd_topk_config *config, int classes, double progress)
{
    int all = classes - 1, optimal = config->optimal;
    if (config->schedule == KD_TOPK_OFF || all < 1) return all;
    if (config->schedule == KD_TOPK_STATIC) return optimal;

    int first = (int)floor(classes / 20. + .5);
    if (first < 1) first = 1;
    if (first > optimal) first = optimal;
    if (progress < config->phase1_end)
        return interpolate(first, optimal, progress / config->phase1_end);
    if (progress < config->phase2_end) return optimal;
    if (progress >= 1) return all;
    return interpolate(optimal, all,
                       (progress - config->phase2_end) / (1 - config->phase2_end));
}
