/* See kd_math.h. */
#include "math/kd_math.h"
#include "math/kd_formulas.h"

#include <math.h>
#include <string.h>

const char *const kd_component_name[KD_COMPONENTS] = {"tog", "tcg", "ncg"};

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

double kd_yes_or_no(double weight, double temperature, double student, double teacher,
                    double *gradient)
{
    return yes_or_no(weight, temperature, student / temperature, teacher / temperature,
                     gradient);
}

double kd_farthest_class(int classes, double temperature, const double *student,
                         const double *teacher)
{
    double most = 0;
    for (int j = 0; j < classes; ++j)
        most = fmax(most,
                    fabs(class_distance(student[j] / temperature, teacher[j] / temperature)));
    return most;
}

void kd_swap(int classes, double *logits, int target)
{
    int best = 0;
    for (int j = 1; j < classes; ++j)
        if (logits[j] > logits[best]) best = j;
    double most = logits[best];
    if (!(most > logits[target])) return;
    logits[best] = logits[target];
    logits[target] = most;
}

/* kd_row at the config's one temperature */
static kd_losses row_at_one(const kd_loss_config *config, int classes, const double *student,
                            const double *teacher, int target, int keep, double *tcg,
                            double *ncg, double *scratch)
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

kd_losses kd_row(const kd_loss_config *config, int classes, const double *student,
                 const double *teacher, int target, int keep, double *tcg, double *ncg,
                 double *scratch)
{
    if (!config->n_temperatures)
        return row_at_one(config, classes, student, teacher, target, keep, tcg, ncg, scratch);
    kd_loss_config one = *config;
    kd_losses sum = {0, 0};
    double *t = scratch + 5 * classes, *n = t + classes;
    memset(tcg, 0, classes * sizeof(*tcg));
    memset(ncg, 0, classes * sizeof(*ncg));
    for (int k = 0; k < config->n_temperatures; ++k) {
        one.temperature = config->temperatures[k];
        kd_losses loss =
            row_at_one(&one, classes, student, teacher, target, keep, t, n, scratch);
        sum.tcg += loss.tcg;
        sum.ncg += loss.ncg;
        for (int j = 0; j < classes; ++j) tcg[j] += t[j], ncg[j] += n[j];
    }
    return sum;
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
