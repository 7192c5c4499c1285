/* See plane.h. */
#include "math/plane.h"
#include "support.h"

#include <math.h>

double draw_normal(uint64_t seed, uint64_t i)
{
    double u = (derive_seed(seed, 2 * i) + .5) / 4294967296.;
    double v = (derive_seed(seed, 2 * i + 1) + .5) / 4294967296.;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

void normalise_filters(float *direction, const float *weights, size_t filters, size_t size)
{
    for (size_t f = 0; f < filters; ++f, direction += size, weights += size) {
        double scale = norm(weights, size) / (norm(direction, size) + 1e-10);
        for (size_t i = 0; i < size; ++i) direction[i] *= scale;
    }
}

double find_sharpness(const double *loss, int points)
{
    int centre = points / 2, reach = centre / 2;
    double lowest = loss[centre * points + centre], greatest = lowest;
    for (int j = centre - reach; j <= centre + reach; ++j)
        for (int i = centre - reach; i <= centre + reach; ++i) {
            double l = loss[j * points + i];
            if (!isfinite(l)) return INFINITY;
            greatest = fmax(greatest, l);
        }
    return 100 * (greatest - lowest) / (1 + lowest);
}
