/* See dist.h. */
#include "math/dist.h"
#include "math/confidence.h"
#include "math/kd_formulas.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>

#define RHO_EPSILON 1e-8 /* added to what rho divides by, as in the authors' code */

/*
 * weight (1 - rho) of the n numbers p[0], p[stride], ... and q's; its derivative by p is added
 * to slope. With a = p - mean(p), b = q - mean(q): rho = a b / (|a| |b| + epsilon).
 */
static double add_relation(int n, int stride, double weight, const double *p, const double *q,
                           double *slope)
{
    double mean_p = 0, mean_q = 0, aa = 0, bb = 0, ab = 0;
    for (int k = 0; k < n; ++k) {
        mean_p += p[(size_t)k * stride] / n;
        mean_q += q[(size_t)k * stride] / n;
    }
    for (int k = 0; k < n; ++k) {
        double a = p[(size_t)k * stride] - mean_p, b = q[(size_t)k * stride] - mean_q;
        aa += a * a, bb += b * b, ab += a * b;
    }
    double divisor = sqrt(aa * bb) + RHO_EPSILON, rho = ab / divisor;
    double own = aa > 0 ? rho * sqrt(bb / aa) : 0;
    for (int k = 0; k < n; ++k) {
        double a = p[(size_t)k * stride] - mean_p, b = q[(size_t)k * stride] - mean_q;
        slope[(size_t)k * stride] -= weight * (b - own * a) / divisor;
    }
    return weight * (1 - rho);
}

/* dL/dp of an image -> dL/dz through softmax(z / T), in both components, added */
static void add_split(int n, int target, double temperature, double alpha, const double *p,
                      const double *slope, double *tcg, double *ncg)
{
    double mean = 0, rest = 0;
    for (int j = 0; j < n; ++j) mean += p[j] * slope[j];
    for (int j = 0; j < n; ++j) rest += j == target ? 0 : p[j];
    double of_target = p[target] * (slope[target] - mean) / temperature;
    tcg[target] += alpha * of_target;
    for (int j = 0; j < n; ++j) {
        if (j == target || !rest) continue;
        double back = of_target * p[j] / rest;
        tcg[j] -= alpha * back;
        ncg[j] += p[j] * (slope[j] - mean) / temperature + back;
    }
}

void dist_loss(const kd_loss_config *config, const kd_row_batch *b, double loss[KD_COMPONENTS],
               double *gradient[KD_COMPONENTS])
{
    int n = b->rows, c = b->classes;
    size_t size = (size_t)n * c;
    double t = config->temperature, *p = kd_calloc(3 * size, sizeof(double));
    double *q = p + size, *slope = q + size;
    /* the sum of n images' losses, of which each is the formula's */
    double inter = t * t * config->parameter[DIST_INTER];
    double intra = t * t * config->parameter[DIST_INTRA] * n / c;
    kd_soften(n, c, b->student, t, p);
    kd_soften(n, c, b->teacher, t, q);
    for (int i = 0; i < n; ++i) {
        size_t at = (size_t)i * c;
        loss[KD_NCG] += add_relation(c, 1, inter, p + at, q + at, slope + at);
    }
    for (int j = 0; j < c; ++j)
        loss[KD_NCG] += add_relation(n, c, intra, p + j, q + j, slope + j);
    for (int i = 0; i < n; ++i) {
        size_t at = (size_t)i * c;
        add_split(c, b->targets[i], t, config->alpha, p + at, slope + at, gradient[KD_TCG] + at,
                  gradient[KD_NCG] + at);
    }
    free(p);
}
