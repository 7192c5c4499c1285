/*
 * The momenta of the components: how they warm up, how much of a gradient is signal and how
 * much noise, and which momentum follows from that. Plain numbers.
 */
#ifndef KD_MOMENTUM_H
#define KD_MOMENTUM_H

#include "math/kd_math.h"

/*
 * A component's momentum when nothing is given: `delta` above (or below) the network's, as
 * DeepKD and DOT have it for .9; but no longer a window 1 / (1 - mu) than as many times the
 * network's as it would be there, where .949 + .075 forgets nothing.
 */
double kd_usual_momentum(double base, double delta);

/*
 * The momentum of update t (from 1), a batch mostly: mu(t) = min(mu, 1 - 1 / (1 + c t)); c = 0:
 * mu. In the first updates, whose gradients are large, momentum remembers but a share of those
 * so far: 1 / (1 - mu(t)) = 1 + c t of them. Measured, docs/results.md; not in the paper.
 */
double kd_warm_momentum(double momentum, double warmup, double batch);

/* The first update of which mu(t) is mu, but for a millionth; 1 with c = 0. */
long kd_warm_end(double momentum, double warmup);

/*
 * Of the mean gradient g of a batch: |E g|^2, and the sum of the variances of its numbers. Both
 * are unbiased estimates; so `signal` may be below 0.
 */
typedef struct {
    double signal, noise;
} kd_snr;

/*
 * From the gradient's sums a and b over `images` images each, two halves of a batch that were
 * drawn independently of each other, and of which `parts` make the whole batch (subdivisions):
 *   sum2 = |a + b|^2, difference2 = |a - b|^2.
 * With the mean x = (a + b) / 2n, E |a - b|^2 / 4n^2 is the variance of x, and E |x|^2 is
 * |E x|^2 and that variance. (The same as McCandlish et al. 2018, arXiv 1812.06162, appendix A,
 * with batches of n and 2n.) Batch norm's statistics tie the halves: there it is approximate.
 */
kd_snr kd_signal_noise(double sum2, double difference2, double images, double parts);

/*
 * Of a momentum buffer v, with |v|^2 = square after `batches` batches at momentum mu, when each
 * batch's gradient had the noise of `gradient`, independent of the others':
 *   noise of v = noise (1 - mu^(2 batches)) / (1 - mu^2), signal = |v|^2 - that.
 */
kd_snr kd_buffer_snr(double square, kd_snr gradient, double momentum, double batches);

/* GSNR = signal / noise; 0 when there is no signal, a large number when there is no noise. */
double kd_gsnr(kd_snr s);

/*
 * momentum_rule=gsnr. On a quadratic of curvature h the step a of one component loses least
 * when a h = S / (S + N) = GSNR / (1 + GSNR), the share of its gradient's square that is signal
 * (minimise (1 - a h)^2 S + (a h)^2 N). Momentum makes steps of rate / (1 - mu), so the window
 * 1 / (1 - mu) of a component is to grow with that share f_c; its planned momentum base[c] is
 * for the mean share: 1 / (1 - mu_c) = clamp(f_c / mean f, 1/4, 4) / (1 - base_c), mu_c from 0
 * to KD_MOST_MOMENTUM. Sets momentum[c] of the components with is_active; without any signal
 * they are as planned.
 */
#define KD_MOST_MOMENTUM .9999 /* of 1 never forgets */
void kd_gsnr_momenta(const double base[KD_COMPONENTS], const kd_snr snr[KD_COMPONENTS],
                     const int is_active[KD_COMPONENTS], double momentum[KD_COMPONENTS]);

#endif
