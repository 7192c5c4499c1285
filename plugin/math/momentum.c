/* See momentum.h. */
#include "math/momentum.h"

#include <math.h>

#define MOST_GSNR 1e9 /* of a gradient without noise */
#define USUAL_BASE .9 /* of DeepKD's and DOT's configurations */
#define MOST_WINDOW 4 /* times that of [net] momentum, and as much below */

double kd_usual_momentum(double base, double delta)
{
    double share = (1 - USUAL_BASE - delta) / (1 - USUAL_BASE);
    return delta > 0 ? fmin(base + delta, 1 - (1 - base) * share) : base + delta;
}

double kd_warm_momentum(double momentum, double warmup, double batch)
{
    if (!warmup) return momentum;
    return fmin(momentum, 1 - 1 / (1 + warmup * batch));
}

long kd_warm_end(double momentum, double warmup)
{
    if (!warmup || !momentum) return 1;
    return fmax(1, ceil(momentum / (1 - momentum) / warmup * (1 - 1e-6)));
}

kd_snr kd_signal_noise(double sum2, double difference2, double images, double parts)
{
    double n2 = 4 * images * images, noise = difference2 / n2;
    return (kd_snr){sum2 / n2 - noise, noise / parts};
}

kd_snr kd_buffer_snr(double square, kd_snr gradient, double momentum, double batches)
{
    double mu2 = momentum * momentum;
    double noise = gradient.noise * (1 - pow(mu2, batches)) / (1 - mu2);
    return (kd_snr){square - noise, noise};
}

double kd_gsnr(kd_snr s)
{
    if (s.signal <= 0) return 0;
    return s.noise * MOST_GSNR > s.signal ? s.signal / s.noise : MOST_GSNR;
}

void kd_gsnr_momenta(const double base[KD_COMPONENTS], const kd_snr snr[KD_COMPONENTS],
                     const int is_active[KD_COMPONENTS], double momentum[KD_COMPONENTS])
{
    double share[KD_COMPONENTS], mean = 0;
    int n = 0;
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double gsnr = kd_gsnr(snr[c]);
        share[c] = gsnr / (1 + gsnr);
        if (is_active[c]) mean += share[c], ++n;
    }
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double window = mean > 0 ? share[c] * n / mean : 1;
        window = fmin(MOST_WINDOW, fmax(1. / MOST_WINDOW, window));
        double mu = 1 - (1 - base[c]) / window;
        if (is_active[c]) momentum[c] = fmin(KD_MOST_MOMENTUM, fmax(0, mu));
    }
}
