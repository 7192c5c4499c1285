/*
 * A plane through a network's weights, on which its loss is drawn: Li et al., Visualizing the
 * Loss Landscape of Neural Nets, 2018, arXiv 1712.09913. Plain arrays.
 */
#ifndef KD_PLANE_H
#define KD_PLANE_H

#include <stddef.h>
#include <stdint.h>

/* Number `i` of the normal distribution that a seed draws: Box and Muller's of derive_seed's.
 */
double draw_normal(uint64_t seed, uint64_t i);

/*
 * Their filter-wise normalisation, section 4: each filter d of direction[filters][size] becomes
 * d ||w|| / (||d|| + 1e-10), w the same filter of weights[filters][size].
 */
void normalise_filters(float *direction, const float *weights, size_t filters, size_t size);

/*
 * How sharp the minimum at the centre of a plane is: 100 (max L - L(0)) / (1 + L(0)), the form
 * of Keskar et al., 2017, arXiv 1609.04836, with the greatest of the losses L that are at most
 * half as far from the centre, along each direction, as the plane reaches; in percent.
 * loss[points][points], points odd. INFINITY where one of these is not finite.
 */
double find_sharpness(const double *loss, int points);

#endif
