/* See rows.h. */
#include "distil/rows.h"
#include "net/device.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SAME_STRIDE 1.2 /* strides are a factor of 2 apart, but for rounded grids */

static void append_row(row_list *list, row r)
{
    if (list->n == list->size) {
        list->size = list->size ? 2 * list->size : 64;
        list->rows = realloc(list->rows, list->size * sizeof(row));
        if (!list->rows) kd_fail("out of memory");
    }
    list->rows[list->n++] = r;
}

/* Truth t of image b; Darknet ends its list with an x of 0. */
static int get_truth(const network *net, int b, int t, box *truth)
{
    if (5 * (t + 1) > net->truths) return 0;
    *truth = float_to_box(net->truth + (size_t)b * net->truths + 5 * t, 1);
    return truth->x != 0;
}

/* The truth's class as the layer counts, which may have a map= */
static int truth_class(const network *net, layer l, int b, int t)
{
    int class = net->truth[(size_t)b * net->truths + 5 * t + 4];
    return l.map ? l.map[class] : class;
}

/* The truth that a box overlaps most, with an IoU above `threshold`; or -1. */
static int best_truth(const network *net, int b, box guess, float threshold)
{
    box truth;
    float best_iou = threshold;
    int best = -1;
    for (int t = 0; get_truth(net, b, t, &truth); ++t) {
        float iou = box_iou(guess, truth);
        if (iou > best_iou) {
            best_iou = iou;
            best = t;
        }
    }
    return best;
}

static void append_truth(const row_source *s, prediction p, int truth, row_list *list)
{
    layer l = s->student->layers[s->student_outputs.layer[p.output]];
    append_row(list, (row){p, {0}, truth_class(s->student, l, p.image, truth), 1, 1, truth, 0});
}

/*
 * A row, still without its teacher, for each truth of image b that Darknet trains in output o:
 * where it is assigned, and in [yolo] where an anchor is like it by more than iou_thresh, or a
 * prediction overlaps it by more than truth_thresh.
 */
static void find_truths(const row_source *s, int o, int b, row_list *found)
{
    network *net = s->student;
    const net_outputs *outputs = &s->student_outputs;
    layer l = net->layers[outputs->layer[o]];
    prediction p;
    box truth;
    found->n = 0;
    for (int t = 0; get_truth(net, b, t, &truth); ++t) {
        if (assign_box(net, outputs, o, b, truth, &p)) append_truth(s, p, t, found);
        for (int n = 0; n < l.n; ++n)
            if (fit_box(net, outputs, o, b, truth, n, &p)) append_truth(s, p, t, found);
    }
    int assigned = found->n;
    if (l.type != YOLO || l.truth_thresh >= 1) return;
    for (int k = 0; k < l.n * l.h * l.w; ++k) {
        int n = k / (l.w * l.h), j = k / l.w % l.h, i = k % l.w, known = 0;
        p = find_prediction(net, outputs, o, b, n, i, j);
        int t = best_truth(net, b, predicted_box(net, outputs, p), l.truth_thresh);
        for (int a = 0; a < assigned; ++a)
            known |= found->rows[a].truth == t && found->rows[a].student.classes == p.classes;
        if (t >= 0 && !known) append_truth(s, p, t, found);
    }
}

/* Where the teacher would have learnt a truth; 0 when it has no anchor for it. */
static int find_teachers(const row_source *s, int b, box truth, prediction *p)
{
    for (int o = 0; o < s->teacher_outputs.n; ++o)
        if (assign_box(s->teacher, &s->teacher_outputs, o, b, truth, p)) return 1;
    return 0;
}

/* 1 unless a row of the list from `first` on is of the same prediction of the student */
static int is_new(const row_list *list, int first, prediction p)
{
    for (int i = first; i < list->n; ++i)
        if (list->rows[i].student.classes == p.classes) return 0;
    return 1;
}

/* rows=truth */
static void add_truth_rows(const row_source *s, int b, const row_list *found, row_list *list)
{
    int first = list->n;
    for (int k = 0; k < found->n; ++k) {
        row r = found->rows[k];
        box truth;
        get_truth(s->student, b, r.truth, &truth);
        if (!find_teachers(s, b, truth, &r.teacher)) continue;
        r.is_first = is_new(list, first, r.student);
        append_row(list, r);
    }
}

double teachers_objectness(const row_source *s, prediction p)
{
    double logit = output_logits(s->teacher, &s->teacher_outputs, p.output)[p.objectness];
    return 1 / (1 + exp(-logit));
}

static int most_confident_class(const row_source *s, prediction p)
{
    const float *logits = output_logits(s->teacher, &s->teacher_outputs, p.output) + p.classes;
    int best = 0;
    for (int j = 1; j < s->teacher_outputs.classes; ++j)
        if (logits[(size_t)j * p.stride] > logits[(size_t)best * p.stride]) best = j;
    return best;
}

/*
 * Feature-map NMS (arXiv 1805.06361): is one of the neighbours, at most a cell away, with any
 * anchor, as sure of the same class? Of equals, the one that comes first in the array stays.
 */
static int is_suppressed(const row_source *s, prediction p, int class)
{
    const net_outputs *outputs = &s->teacher_outputs;
    layer l = s->teacher->layers[outputs->layer[p.output]];
    const float *logits = output_logits(s->teacher, outputs, p.output);
    for (int k = 0; k < 9 * l.n; ++k) {
        int i = p.i + k % 3 - 1, j = p.j + k / 3 % 3 - 1;
        if (i < 0 || i >= l.w || j < 0 || j >= l.h) continue;
        prediction q = find_prediction(s->teacher, outputs, p.output, p.image, k / 9, i, j);
        float surer = logits[q.objectness] - logits[p.objectness];
        if ((surer > 0 || (surer == 0 && q.objectness < p.objectness)) &&
            most_confident_class(s, q) == class)
            return 1;
    }
    return 0;
}

/* rows=dense, one of the student's predictions: a row for each of its truths, else one */
static void add_dense_rows(const row_source *s, prediction student, prediction teacher,
                           const row_list *found, row_list *list)
{
    int ask = on_gpu(s->teacher) && !needs_teacher(s);
    row r = {student, teacher, 0, ask ? ASK_TEACHER : teachers_objectness(s, teacher),
             1,       -1,      0};
    for (int k = 0; k < found->n; ++k) {
        if (found->rows[k].student.classes != student.classes) continue;
        r.target = found->rows[k].target;
        r.truth = found->rows[k].truth;
        append_row(list, r);
        r.is_first = 0;
    }
    if (!r.is_first) return;
    r.target = ask ? ASK_TEACHER : most_confident_class(s, teacher);
    if (s->feature_nms && is_suppressed(s, teacher, r.target)) r.weight = 0;
    append_row(list, r);
}

/* The cell at the same place of a grid of another size */
static int same_place(int cell, int from, int to)
{
    return (2 * cell + 1) * to / (2 * from);
}

static void add_paired_rows(const row_source *s, int o, int b, const row_list *found,
                            row_list *list)
{
    const head_pair *pair = s->pairs + o;
    if (pair->output < 0) return;
    layer l = s->student->layers[s->student_outputs.layer[o]];
    layer m = s->teacher->layers[s->teacher_outputs.layer[pair->output]];
    for (int k = 0; k < l.n * l.h * l.w; ++k) {
        int n = k / (l.w * l.h), j = k / l.w % l.h, i = k % l.w;
        if (pair->anchor[n] < 0) continue;
        prediction p = find_prediction(s->student, &s->student_outputs, o, b, n, i, j);
        prediction q =
            find_prediction(s->teacher, &s->teacher_outputs, pair->output, b, pair->anchor[n],
                            same_place(i, l.w, m.w), same_place(j, l.h, m.h));
        add_dense_rows(s, p, q, found, list);
    }
}

/* The class of the truth, or of an image without labels the teacher's most confident one */
static int target_of(const row_source *s, const float *truth, prediction teacher)
{
    int class = max_index((float *)truth, s->student_outputs.classes);
    if (truth[class] > 0) return class;
    return on_gpu(s->teacher) ? ASK_TEACHER : most_confident_class(s, teacher);
}

/* The rows of image b, in the view that the student sees */
static void add_classifier_rows(const row_source *s, int b, row_list *list)
{
    const network *net = s->student;
    int first = list->n;
    for (int k = 0; k < KD_VIEW_PAIRS && s->view_pairs[k].weight; ++k) {
        if (s->view_pairs[k].student != s->view) continue;
        row r = {find_prediction(s->student, &s->student_outputs, 0, b, 0, 0, 0),
                 find_prediction(s->teacher, &s->teacher_outputs, 0, b, 0, 0, 0),
                 0,
                 s->view_pairs[k].weight,
                 1,
                 -1,
                 k};
        r.target = target_of(s, net->truth + (size_t)b * net->truths, r.teacher);
        r.is_first = is_new(list, first, r.student);
        append_row(list, r);
    }
}

int needs_teacher(const row_source *s)
{
    layer l = s->teacher->layers[s->teacher_outputs.layer[0]];
    return s->kind == ROWS_DENSE ? s->feature_nms : l.type == REGION && !l.bias_match;
}

static void append_teacher(const row_source *s, int o, int b, int n, int i, int j,
                           row_list *list)
{
    row r = {.teacher = find_prediction(s->teacher, &s->teacher_outputs, o, b, n, i, j)};
    append_row(list, r);
}

static void append_all_teachers(const row_source *s, int b, row_list *list)
{
    for (int o = 0; o < s->teacher_outputs.n; ++o) {
        layer l = s->teacher->layers[s->teacher_outputs.layer[o]];
        for (int k = 0; k < l.n * l.h * l.w; ++k)
            append_teacher(s, o, b, k / (l.w * l.h), k % l.w, k / l.w % l.h, list);
    }
}

void find_teachers_predictions(const row_source *s, int b, row_list *list)
{
    box truth;
    row r = {0};
    list->n = 0;
    if (!is_detector(&s->teacher_outputs)) {
        append_teacher(s, 0, b, 0, 0, 0, list);
        list->rows->target = target_of(s, s->student->truth + (size_t)b * s->student->truths,
                                       list->rows->teacher);
    } else if (s->kind == ROWS_DENSE) append_all_teachers(s, b, list);
    else
        for (int t = 0; get_truth(s->student, b, t, &truth); ++t)
            if (find_teachers(s, b, truth, &r.teacher)) append_row(list, r);
}

static void find_detector_rows(const row_source *s, row_list *list)
{
    row_list found = {0};
    for (int b = 0; b < s->student->batch; ++b)
        for (int o = 0; o < s->student_outputs.n; ++o) {
            find_truths(s, o, b, &found);
            if (s->kind == ROWS_DENSE) add_paired_rows(s, o, b, &found, list);
            else add_truth_rows(s, b, &found, list);
        }
    free(found.rows);
}

void find_rows(const row_source *s, row_list *list)
{
    list->n = 0;
    if (is_detector(&s->student_outputs)) find_detector_rows(s, list);
    else
        for (int b = 0; b < s->student->batch; ++b) add_classifier_rows(s, b, list);
}

static double stride_of(const network *net, const net_outputs *outputs, int o)
{
    return (double)net->w / net->layers[outputs->layer[o]].w;
}

/* The teacher's head of the same stride, or -1 */
static int find_partner(const row_source *s, int o)
{
    double stride = stride_of(s->student, &s->student_outputs, o);
    for (int t = 0; t < s->teacher_outputs.n; ++t) {
        double ratio = stride_of(s->teacher, &s->teacher_outputs, t) / stride;
        if (ratio < SAME_STRIDE && ratio > 1 / SAME_STRIDE) return t;
    }
    return -1;
}

/* The anchor of the teacher's output t that is most like the student's, or -1 */
static int find_anchor(const row_source *s, box anchor, int t)
{
    float best_iou = ANCHOR_IOU;
    int best = -1;
    for (int n = 0; n < s->teacher->layers[s->teacher_outputs.layer[t]].n; ++n) {
        float iou = box_iou(anchor, anchor_in_pixels(s->teacher, &s->teacher_outputs, t, n));
        if (iou >= best_iou && (best < 0 || iou > best_iou)) {
            best_iou = iou;
            best = n;
        }
    }
    return best;
}

/* "stride 16: 10x14 23x27, stride 32: ..." into text[size], cut where it is full */
static void list_anchors(network *net, const net_outputs *outputs, char *text, size_t size)
{
    FILE *to = fmemopen(text, size, "w");
    if (!to) kd_fail("out of memory");
    for (int o = 0; o < outputs->n; ++o) {
        fprintf(to, "%sstride %g:", o ? ", " : "", stride_of(net, outputs, o));
        for (int n = 0; n < net->layers[outputs->layer[o]].n; ++n) {
            box a = anchor_in_pixels(net, outputs, o, n);
            fprintf(to, " %.0fx%.0f", a.w, a.h);
        }
    }
    fclose(to);
    text[size - 1] = 0;
}

void pair_heads(row_source *s, const char *cfg, const char *teacher_cfg)
{
    int paired = 0;
    s->pairs = kd_calloc(s->student_outputs.n, sizeof(head_pair));
    for (int o = 0; o < s->student_outputs.n; ++o) {
        head_pair *pair = s->pairs + o;
        int index = s->student_outputs.layer[o], anchors = s->student->layers[index].n;
        pair->output = find_partner(s, o);
        pair->anchor = kd_calloc(anchors, sizeof(int));
        if (pair->output < 0)
            printf("layer %d, stride %g: the teacher has no such head, it learns from the task "
                   "alone\n",
                   index, stride_of(s->student, &s->student_outputs, o));
        for (int n = 0; n < anchors && pair->output >= 0; ++n) {
            box anchor = anchor_in_pixels(s->student, &s->student_outputs, o, n);
            pair->anchor[n] = find_anchor(s, anchor, pair->output);
            paired += pair->anchor[n] >= 0;
            if (pair->anchor[n] < 0)
                printf("layer %d, anchor %.0fx%.0f: the teacher has no such anchor there, it "
                       "learns from the task alone\n",
                       index, anchor.w, anchor.h);
        }
    }
    if (paired) return;
    char ours[1024], theirs[1024];
    list_anchors(s->student, &s->student_outputs, ours, sizeof(ours));
    list_anchors(s->teacher, &s->teacher_outputs, theirs, sizeof(theirs));
    kd_fail("%s: [deepkd_loss] rows=dense: found no head and anchor that pair: %s; %s has %s; "
            "expected rows=truth, or anchors alike",
            cfg, ours, teacher_cfg, theirs);
}

void free_pairs(row_source *s)
{
    for (int o = 0; s->pairs && o < s->student_outputs.n; ++o) free(s->pairs[o].anchor);
    free(s->pairs);
    s->pairs = 0;
}
