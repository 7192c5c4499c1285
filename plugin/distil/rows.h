/*
 * The rows of a batch: which of the student's predictions learns from which of the
 * teacher's, and with which class as the target. A classifier has one row an image, or one
 * for each pair that its method compares of the image's view that the student sees and the
 * teacher's views.
 * A detector has, with rows=truth, one for each truth box, at the predictions that
 * Darknet's own rule assigns to it in the student and in the teacher; their heads,
 * anchors and input sizes may differ. With rows=dense, one for each prediction whose
 * head and anchor have a partner in the teacher.
 */
#ifndef KD_ROWS_H
#define KD_ROWS_H

#include "math/kd_math.h"
#include "net/outputs.h"

typedef enum { ROWS_TRUTH, ROWS_DENSE } kd_rows;

typedef struct {
    prediction student, teacher;
    int target;    /* a class; ASK_TEACHER: the teacher's most confident one */
    double weight; /* of TCG and NCG; ASK_TEACHER: the teacher's objectness */
    int is_first;  /* of the rows of its student's prediction: there objectness is distilled */
    int truth;     /* its box's place in the image's list, -1: none */
    int pair;      /* a classifier's: which of the method's pairs of views */
} row;
#define ASK_TEACHER (-1) /* on the GPU, which knows its logits (kd_math_kernels.h) */

/* The teacher's partner of one of the student's heads, for rows=dense. */
typedef struct {
    int output;  /* -1: none */
    int *anchor; /* [the student layer's anchors] the partner's anchor, -1: none */
} head_pair;

/* Both networks and their outputs, which belong to the caller. */
typedef struct {
    network *student, *teacher;
    net_outputs student_outputs, teacher_outputs;
    kd_rows kind;
    int feature_nms;  /* rows=dense: 1: of neighbours with one class, the surest alone */
    head_pair *pairs; /* [student_outputs.n] from pair_heads; NULL unless rows=dense */
    int view;         /* that the student sees in this forward pass, mostly 0 */
    const kd_view_pair *view_pairs; /* a method's (kd_math.h): which make a classifier's rows */
} row_source;

typedef struct {
    row *rows;
    int n, size;
} row_list;

/* The teacher's probability that there is an object, in a prediction of its own */
double teachers_objectness(const row_source *s, prediction p);

/*
 * Pairs the heads by stride, and each of their anchors with the teacher's of the best shape
 * IoU, at least ANCHOR_IOU, both in pixels. Prints what has no partner; exits with both
 * networks' anchors when nothing has. `cfg` and `teacher_cfg` name the files.
 */
#define ANCHOR_IOU .5
void pair_heads(row_source *s, const char *cfg, const char *teacher_cfg);

/*
 * 1 when find_rows looks at the teacher's predictions themselves: they must be in the host's
 * memory then. On the GPU rows=dense leaves them to the kernel (ASK_TEACHER), but for feature
 * NMS; a [region] with bias_match=0 assigns a truth by its predictions.
 */
int needs_teacher(const row_source *s);

/* Frees what pair_heads has allocated, if it was called. */
void free_pairs(row_source *s);

/*
 * The predictions of the teacher that a row of image b can have, one after the other as
 * `teacher` of the list's rows, in place of those in it: the classifier's own, with its target;
 * with rows=truth that of each truth it has an anchor for, found by geometry alone; with
 * rows=dense all.
 */
void find_teachers_predictions(const row_source *s, int b, row_list *list);

/*
 * The rows of the batch that both networks have just seen, in place of those in the list.
 * A classifier has one for each image and pair with this view of the student, of the pair's
 * weight. rows=truth: weight 1; a truth that one of the networks has no anchor for has no row.
 * rows=dense: the weight is the teacher's objectness (as in "Object detection at 200 FPS",
 * arXiv 1805.06361); the target is the truth's class where there is a truth, else the teacher's
 * most confident one.
 */
void find_rows(const row_source *s, row_list *list);

#endif
