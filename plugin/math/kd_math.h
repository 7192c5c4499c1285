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

/* The three parts of the student's gradient (DeepKD). */
typedef enum { KD_TOG, KD_TCG, KD_NCG, KD_COMPONENTS } kd_component;
extern const char *const kd_component_name[KD_COMPONENTS]; /* "tog", "tcg", "ncg" */

typedef enum { KD_SOFTMAX, KD_LOGISTIC } kd_activation;
typedef enum { KD_TOPK_DYNAMIC, KD_TOPK_STATIC, KD_TOPK_OFF } kd_schedule;

/* What boxes are compared by. A box is its centre and size, x y w h, in shares of the input. */
typedef enum { KD_IOU, KD_GIOU, KD_DIOU, KD_CIOU } kd_overlap;

/* Which of a head's boxes it is, and how the head makes boxes. */
typedef struct {
    int i, j, columns, rows;   /* the cell, and the grid's */
    double anchor_w, anchor_h; /* shares of the input */
    double scale;              /* [yolo] scale_x_y=; else 1 */
    int new_coords;            /* [yolo] new_coords= */
} kd_box_place;

#define KD_PARAMETERS 8 /* of one method, at most */
#define KD_TEMPERATURES 8
#define KD_VIEWS 2 /* of an image, at most: augmented weakly, and strongly */
#define KD_VIEW_PAIRS 4

typedef struct {
    const struct kd_method *method;
    kd_activation activation;
    int standardize;                      /* 1: logit standardization of student and teacher */
    double temperature;                   /* T > 0 */
    int n_temperatures;                   /* of a loss that is summed over several, else 0 */
    double temperatures[KD_TEMPERATURES]; /* these, then */
    double alpha;                         /* weight of TCG, >= 0 */
    int tcg_gate;                    /* 1: no TCG of a row whose gate is shut; see kd_row */
    double parameter[KD_PARAMETERS]; /* the method's own, in the order of its row below */
    double box_weight;               /* of a detector's boxes; 0: they are not distilled */
    kd_overlap overlap;              /* what their loss goes by */
} kd_loss_config;

typedef struct {
    double tcg; /* weighted loss of the target class */
    double ncg; /* weighted loss of the kept other classes */
} kd_losses;

/* A row as a method's loss sees it; all arrays are [classes]. */
typedef struct {
    int classes, target, keep;
    const double *x, *y;         /* z/T and y/T, standardized first if asked */
    const double *others, *kept; /* 1: not the target; 1: kept by the mask */
} kd_prepared_row;

/*
 * The losses of one row, and their gradients in tcg, ncg [classes], which are 0 before: dL/du,
 * where u = T x are the student's logits, standardized if asked.
 */
typedef kd_losses kd_row_loss(const kd_loss_config *config, const kd_prepared_row *row,
                              double *tcg, double *ncg);

/* All rows of one forward pass, image by image: logits [rows][classes], the rest [rows]. */
typedef struct {
    int rows, classes;
    int view;                        /* that the student sees in this pass */
    const double *student, *teacher; /* logits z and y */
    const int *targets;
    const double *weights;
} kd_row_batch;

/*
 * Adds a loss of the rows together: to loss[c], and dL/dz to gradient[c][rows][classes]. As all
 * losses, it is a sum over the images, which the update divides by their number.
 */
typedef void kd_batch_loss(const kd_loss_config *config, const kd_row_batch *batch,
                           double loss[KD_COMPONENTS], double *gradient[KD_COMPONENTS]);

/* An option of [deepkd_loss] that belongs to a method. */
typedef struct {
    const char *name;
    double usual, least, most; /* its default, and the range of what may be given */
    kd_component weighs;       /* TCG or NCG, which 0 turns off; else KD_TOG */
    int is_whole;              /* 1: a whole number */
} kd_parameter;

/*
 * The weights of the rows: weight[p][images] of a method's pair p, by how sure the teacher is:
 * confidence[v][images], its largest probability (T = 1) in view v; NULL: there is no such
 * view.
 */
typedef void kd_pair_weights(const kd_loss_config *config, int images,
                             const double *const confidence[KD_VIEWS],
                             double *const weight[KD_VIEW_PAIRS]);

/* Of which of an image's views a row's predictions are, from 0; a weight of 0 ends the list. */
typedef struct {
    int student, teacher;
    double weight;
} kd_view_pair;

/* A distillation method. To add one: docs/add-a-method.md. */
typedef struct kd_method {
    const char *name;                      /* method= */
    kd_parameter parameter[KD_PARAMETERS]; /* up to one without a name */
    double delta[KD_COMPONENTS]; /* momentum minus [net] momentum, when nothing is given */
    kd_row_loss *row;
    double temperature;                   /* when none is given */
    double temperatures[KD_TEMPERATURES]; /* the same, of a loss summed over them; up to a 0 */
    int is_logistic;                      /* 1: of classes with a yes or no each alone */
    int is_softmax;    /* 1: of whole images, by classes of which one is true */
    int is_raw;        /* 1: of all classes and of the logits as they are: no mask, no
                          standardization, no gate */
    int is_whole_kl;   /* 1: but for trainer=deepkd its usual beta is KD_WHOLE_KL */
    double box_weight; /* of a detector's boxes, when none is given; if it is not 0,
                          they count by kd_farthest_class, not by the objectness */
    int kernel;        /* its case on the GPU (kd_formulas.h); 0: CPU alone */
    int views;       /* of an image that it compares, when views= is not given; and at least: */
    int least_views; /* 0: no less */
    kd_view_pair pair[KD_VIEW_PAIRS]; /* the rows of an image */
    kd_pair_weights *weigh;           /* or NULL: as the pairs say; on the CPU alone */
    kd_batch_loss *batch;             /* the same */
} kd_method;

/* A beta that is 1 - q_t of each row, as KD's: TCG and NCG are KL(q || p) then, if alpha = 1.
 */
#define KD_WHOLE_KL (-1.)

/* methods.c: all of them, up to one without a name. find_method: NULL for another name. */
extern const kd_method kd_methods[];
const kd_method *find_method(const char *name);

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
 * With p = softmax(z/T), q = softmax(y/T), of the methods kd and dkd:
 *   TCG = alpha T^2 KL([q_t, 1-q_t] || [p_t, 1-p_t])
 *   NCG = w     T^2 KL(q^ || p^), both renormalised over the kept classes,
 *         w = beta (dkd) or 1 - q_t (kd), which makes TCG + NCG the plain KD
 *         loss when alpha = 1 and nothing is masked.
 * KD_LOGISTIC has p_j = sigmoid(z_j/T), q_j = sigmoid(y_j/T), each class on
 * its own: TCG is T^2 KL of the target's two outcomes, NCG the sum of the
 * same over the kept others, with w = beta (dkd) or 1 (kd).
 * With tcg_gate and KD_SOFTMAX a row has no TCG where p_j <= q_j for every class j but the
 * target (at that T): the student is then surer of the target than the teacher, and TCG would
 * only make it less so.
 * Of several temperatures, losses and gradients are the sums of those at each.
 * KD_SOFTMAX needs classes >= 2. bckd (KD_LOGISTIC alone) has T^2 |p_j - q_j| times the
 * cross-entropy of q_j and p_j in place of KL.
 */
#define KD_SCRATCH(classes) (7 * (classes))
kd_losses kd_row(const kd_loss_config *config, int classes, const double *student,
                 const double *teacher, int target, int keep, double *tcg, double *ncg,
                 double *scratch);

/*
 * Exchanges the target's logit and the largest one, where that is larger: a teacher's that is
 * wrong. Of several largest ones that with the lowest index. SLD, arXiv 2504.20108 (its
 * teacher's half).
 */
void kd_swap(int classes, double *logits, int target);

/*
 * One yes-or-no prediction, a detector's objectness, with p = sigmoid(z/T), q = sigmoid(y/T):
 *   L = weight T^2 KL([q, 1-q] || [p, 1-p]), returned; dL/dz = weight T (p - q), in *gradient.
 * student, teacher: finite logits z and y. KD, Hinton et al. 2015, for two outcomes.
 */
double kd_yes_or_no(double weight, double temperature, double student, double teacher,
                    double *gradient);

/* max |sigmoid(z_j/T) - sigmoid(y_j/T)| of logits [classes]: how far the classes are apart */
double kd_farthest_class(int classes, double temperature, const double *student,
                         const double *teacher);

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
