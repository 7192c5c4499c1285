/* See mean_logits.h. */
#include "math/mean_logits.h"
#include "math/kd_formulas.h"

/* log(sum exp x[n]) of one number of each teacher */
static double log_sum_exp(int n, const double *x)
{
    double largest = x[0], sum = 0;
    for (int i = 1; i < n; ++i) largest = fmax(largest, x[i]);
    for (int i = 0; i < n; ++i) sum += exp(x[i] - largest);
    return largest + log(sum);
}

/* Not finite where one of the numbers is not, of which a probability would be 0 or 1 */
static double sum_at(int teachers, const float *const *y, size_t k)
{
    double sum = 0;
    for (int m = 0; m < teachers; ++m) sum += y[m][k];
    return sum;
}

void kd_mean_logits(int teachers, size_t n, size_t stride, const float *const *y, float *mean)
{
    for (size_t k = 0; k < n * stride; k += stride) mean[k] = sum_at(teachers, y, k) / teachers;
}

/* The same of a teacher's classes */
static log_sum sum_row(size_t n, size_t stride, const float *y)
{
    log_sum s = {y[0], 0};
    for (size_t j = 1; j < n; ++j) s.largest = fmax(s.largest, y[j * stride]);
    for (size_t j = 0; j < n; ++j) s.log += exp(y[j * stride] - s.largest);
    s.log = log(s.log);
    return s;
}

void kd_mean_softmax(int teachers, size_t n, size_t stride, const float *const *y, float *mean)
{
    log_sum sums[KD_MOST_TEACHERS];
    double log_p[KD_MOST_TEACHERS];
    for (int m = 0; m < teachers; ++m) sums[m] = sum_row(n, stride, y[m]);
    for (size_t k = 0; k < n * stride; k += stride) {
        double sum = sum_at(teachers, y, k);
        for (int m = 0; m < teachers; ++m) log_p[m] = minus(y[m][k], sums[m]);
        mean[k] = isfinite(sum) ? log_sum_exp(teachers, log_p) - log(teachers) : sum;
    }
}

void kd_mean_logistic(int teachers, size_t n, size_t stride, const float *const *y, float *mean)
{
    double yes[KD_MOST_TEACHERS], no[KD_MOST_TEACHERS];
    for (size_t k = 0; k < n * stride; k += stride) {
        double sum = sum_at(teachers, y, k);
        for (int m = 0; m < teachers; ++m) {
            yes[m] = log_sigmoid(y[m][k]);
            no[m] = log_sigmoid(-y[m][k]);
        }
        mean[k] = isfinite(sum) ? log_sum_exp(teachers, yes) - log_sum_exp(teachers, no) : sum;
    }
}
