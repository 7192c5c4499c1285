/* See confidence.h. */
#include "math/confidence.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void kd_soften(int rows, int classes, const double *logits, double temperature, double *p)
{
    for (int i = 0; i < rows; ++i, logits += classes, p += classes) {
        double largest = logits[0], sum = 0;
        for (int j = 1; j < classes; ++j) largest = fmax(largest, logits[j]);
        for (int j = 0; j < classes; ++j)
            sum += p[j] = exp((logits[j] - largest) / temperature);
        for (int j = 0; j < classes; ++j) p[j] /= sum;
    }
}

double kd_confidence(int classes, const double *logits)
{
    double largest = logits[0], sum = 0;
    for (int j = 1; j < classes; ++j) largest = fmax(largest, logits[j]);
    for (int j = 0; j < classes; ++j) sum += exp(logits[j] - largest);
    return 1 / sum;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double kd_median(int n, const double *x)
{
    double *sorted = kd_calloc(n, sizeof(double));
    memcpy(sorted, x, n * sizeof(double));
    qsort(sorted, n, sizeof(double), compare);
    double middle = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    free(sorted);
    return middle;
}

void kd_at_most(int n, const double *x, double most, double *weight)
{
    for (int i = 0; i < n; ++i) weight[i] = x[i] <= most;
}

void kd_at_least(int n, const double *x, double least, double *weight)
{
    for (int i = 0; i < n; ++i) weight[i] = x[i] >= least;
}

double kd_share(int n, const double *weight)
{
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += weight[i];
    return sum / n;
}

void kd_fill(int n, double *weight, double value)
{
    for (int i = 0; i < n; ++i) weight[i] = value;
}
