/*
 * Probabilities of a batch, how sure the teacher is of its images, and weights that follow from
 * that: of some images 1, of the others 0; or, as the DeepKD authors' code has it, of all the
 * share of those. Plain arrays, [n] each unless said otherwise.
 */
#ifndef KD_CONFIDENCE_H
#define KD_CONFIDENCE_H

/* p = softmax(logits / temperature), row by row: [rows][classes] both */
void kd_soften(int rows, int classes, const double *logits, double temperature, double *p);

/* The largest of the probabilities softmax(logits[classes]) */
double kd_confidence(int classes, const double *logits);

/* The middle one of x[n], n >= 1; of an even number the mean of the two. */
double kd_median(int n, const double *x);

/* weight[i] = 1 where x[i] is at most `most`, or at least `least`; else 0 */
void kd_at_most(int n, const double *x, double most, double *weight);
void kd_at_least(int n, const double *x, double least, double *weight);

/* The mean of the weights; and all become `value`. */
double kd_share(int n, const double *weight);
void kd_fill(int n, double *weight, double value);

#endif
