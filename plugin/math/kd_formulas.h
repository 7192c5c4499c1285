/*
 * The formulas of one class or one pair of probabilities, for the CPU (kd_math.c, methods.c)
 * and the GPU (kd_math_kernels.cu) alike. All in log space: finite for logits of any finite
 * size. And what both call the methods and their parameters.
 */
#ifndef KD_FORMULAS_H
#define KD_FORMULAS_H

#include <math.h>

#ifdef __CUDACC__
#define KD_FORMULA static __host__ __device__ inline
#else
#define KD_FORMULA static inline
#endif

/* What a method is called on the GPU (kd_method.kernel), and where its parameters stand */
enum { KERNEL_KD = 1, KERNEL_DKD, KERNEL_BCKD };
enum { DKD_BETA };
enum { MLKD_BETA, MLKD_BATCH, MLKD_CLASS, MLKD_OFFICIAL };
enum { DIST_INTER, DIST_INTRA };
enum { CRLD_BETA, CRLD_WITHIN, CRLD_ACROSS, CRLD_WEAK, CRLD_STRONG, CRLD_OFFICIAL };

#define STD_EPSILON 1e-7 /* added to a row's standard deviation, as in the official code */

/* log(sum of exp) in two parts, whose sum would lose digits for large logits */
typedef struct {
    double largest, log;
} log_sum;

KD_FORMULA double minus(double x, log_sum s)
{
    return (x - s.largest) - s.log;
}

/* log(sigmoid(x)), and log(1 - sigmoid(x)) = log_sigmoid(-x) */
KD_FORMULA double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

/* KL between two outcomes, given the logs of both probabilities of each:
 * teacher (log_q, log_1q), student (log_p, log_1p). A probability of 0 counts 0. */
KD_FORMULA double binary_kl(double log_q, double log_1q, double log_p, double log_1p)
{
    return exp(log_q) * (log_q - log_p) + exp(log_1q) * (log_1q - log_1p);
}

/* p - q without cancellation near 1, from the logs of p, 1-p, q, 1-q */
KD_FORMULA double difference(double log_p, double log_1p, double log_q, double log_1q)
{
    return log_p < log_1p ? exp(log_p) - exp(log_q) : exp(log_1q) - exp(log_1p);
}

/* sigmoid(x) - sigmoid(y) */
KD_FORMULA double class_distance(double x, double y)
{
    return difference(log_sigmoid(x), log_sigmoid(-x), log_sigmoid(y), log_sigmoid(-y));
}

/* kd_yes_or_no (kd_math.h), of logits that have been divided by T */
KD_FORMULA double yes_or_no(double weight, double t, double x, double y, double *gradient)
{
    double log_p = log_sigmoid(x), log_1p = log_sigmoid(-x);
    double log_q = log_sigmoid(y), log_1q = log_sigmoid(-y);
    *gradient = weight * t * difference(log_p, log_1p, log_q, log_1q);
    return weight * t * t * binary_kl(log_q, log_1q, log_p, log_1p);
}

/*
 * BCKD's, of one class: the cross-entropy of its yes or no, times how far the probabilities are
 * apart, weight T^2 |p - q| (-q log p - (1 - q) log(1 - p)), of logits that have been divided
 * by T; the factor |p - q| has a part in the gradient, as in the authors' code.
 */
KD_FORMULA double distant_yes_or_no(double weight, double t, double x, double y,
                                    double *gradient)
{
    double log_p = log_sigmoid(x), log_1p = log_sigmoid(-x);
    double log_q = log_sigmoid(y), log_1q = log_sigmoid(-y);
    double apart = difference(log_p, log_1p, log_q, log_1q), sign = (apart > 0) - (apart < 0);
    double entropy = -exp(log_q) * log_p - exp(log_1q) * log_1p;
    *gradient = weight * t * sign * (apart * apart + exp(log_p + log_1p) * entropy);
    return weight * t * t * sign * apart * entropy;
}

#endif
