/*
 * The mathematics of DeepKD on plain arrays: for one row (one distilled
 * prediction) the losses of the target class (TCG) and of the other classes
 * (NCG), their gradients, the teacher's top-k mask and the schedule of K.
 * No Darknet types, no allocation, no global state. All of it is in double
 * precision and in log space, so all logits that a finite float can hold give
 * finite results.
 *
 * Sources: DeepKD, arXiv 2505.15133 (the split of the gradient, the dynamic
 * top-k mask); DKD, CVPR 2022, "Reformulating KD" (TCKD and NCKD).
 */
#ifndef KD_MATH_H
#define KD_MATH_H

typedef enum { KD_METHOD_KD, KD_METHOD_DKD } kd_method;
typedef enum { KD_SOFTMAX, KD_LOGISTIC } kd_activation;
typedef enum { KD_TOPK_DYNAMIC, KD_TOPK_STATIC, KD_TOPK_OFF } kd_schedule;

typedef struct {
    kd_method method;
    kd_activation activation;
    int standardize;    /* 1: logit standardization of student and teacher */
    double temperature; /* T > 0 */
    double alpha;       /* weight of TCG, >= 0 */
    double beta;        /* weight of NCG for method dkd, >= 0; unused for kd */
} kd_loss_config;

typedef struct {
    double tcg; /* weighted loss of the target class */
    double ncg; /* weighted loss of the kept other classes */
} kd_losses;

/*
 * Losses and gradients of one row.
 *
 *   student, teacher  [classes]  finite logits z and y
 *   target            the true class, 0 <= target < classes
 *   keep              how many of the teacher's non-target classes NCG keeps,
 *                     0 <= keep <= classes - 1; classes - 1 is no mask
 *   tcg, ncg          [classes]  out: dL/dz of the two weighted losses
 *   scratch           [KD_SCRATCH(classes)]  overwritten
 *
 * With p = softmax(z/T), q = softmax(y/T):
 *   TCG = alpha T^2 KL([q_t, 1-q_t] || [p_t, 1-p_t])
 *   NCG = w     T^2 KL(q^ || p^), both renormalised over the kept classes,
 *         w = beta (dkd) or 1 - q_t (kd), which makes TCG + NCG the plain KD
 *         loss when alpha = 1 and nothing is masked.
 * KD_LOGISTIC has p_j = sigmoid(z_j/T), q_j = sigmoid(y_j/T), each class on
 * its own: TCG is T^2 KL of the target's two outcomes, NCG the sum of the
 * same over the kept others, with w = beta (dkd) or 1 (kd).
 * KD_SOFTMAX needs classes >= 2.
 */
#define KD_SCRATCH(classes) (5 * (classes))
kd_losses kd_row(const kd_loss_config *config, int classes, const double *student,
                 const double *teacher, int target, int keep, double *tcg, double *ncg,
                 double *scratch);

/*
 * One yes-or-no prediction, a detector's objectness, with p = sigmoid(z/T), q = sigmoid(y/T):
 *   L = weight T^2 KL([q, 1-q] || [p, 1-p]), returned; dL/dz = weight T (p - q), in *gradient.
 * student, teacher: finite logits z and y. KD, Hinton et al. 2015, for two outcomes.
 */
double kd_yes_or_no(double weight, double temperature, double student, double teacher,
                    double *gradient);

/*
 * Marks the `keep` largest of the non-target logits: mask[j] = 1 for those,
 * else 0; mask[target] = 0. Equal logits: the lower index wins, so exactly
 * `keep` are marked. logits, mask, scratch: [classes]; logits finite;
 * 0 <= keep <= classes - 1. DeepKD, dynamic top-k mask.
 */
void kd_topk_mask(int classes, const double *logits, int target, int keep, double *mask,
                  double *scratch);

typedef struct {
    kd_schedule schedule;
    int optimal;       /* K*, 1 <= optimal <= classes - 1 */
    double phase1_end; /* end of the easy phase, a share of the run */
    double phase2_end; /* end of the transition, phase1_end < phase2_end <= 1 */
} kd_topk_config;

/*
 * K, the number of non-target classes kept at `progress` (0 at the start of
 * the run, 1 at its end). Dynamic: from K0 = max(1, round(classes / 20)), but
 * never above K*, linearly to K*; K*; then linearly to classes - 1.
 * DeepKD, dynamic top-k mask (easy, transition and hard phase).
 */
int kd_topk_schedule(const kd_topk_config *config, int classes, double progress);

#endif
