/*
 * A detector's box from its logits, and the loss of one box to another, for the CPU and the GPU
 * alike. Derivatives come by dual numbers: each number of a formula carries its own.
 */
#ifndef KD_BOX_FORMULAS_H
#define KD_BOX_FORMULAS_H

#include "math/kd_formulas.h"
#include "math/kd_math.h"

KD_FORMULA double box_sigmoid(double x)
{
    return exp(log_sigmoid(x));
}

/* Along one axis: the centre's share, from its cell, and its derivative by the logit */
KD_FORMULA double box_centre(double t, double scale, int cell, int cells, double *slope)
{
    double s = box_sigmoid(t);
    *slope = scale * s * box_sigmoid(-t) / cells;
    return (cell + scale * s - (scale - 1) / 2) / cells;
}

/* A side of more than e^50 anchors counts as that, without a slope: areas stay finite. */
#define MOST_EXPONENT 50.
KD_FORMULA double box_side(double t, double anchor, int new_coords, double *slope)
{
    double s = box_sigmoid(t);
    double side =
        anchor * (new_coords ? 4 * s * s : exp(t < MOST_EXPONENT ? t : MOST_EXPONENT));
    *slope = new_coords ? 2 * side * box_sigmoid(-t) : t < MOST_EXPONENT ? side : 0;
    return side;
}

/*
 * The box of four logits, and the derivative of each of its numbers by the logit of its own.
 * YOLOv3, arXiv 1804.02767; scale_x_y and new_coords as in the YOLOv4 and Scaled-YOLOv4 cfgs.
 */
KD_FORMULA void kd_decode_box(const kd_box_place *at, const double t[4], double box[4],
                              double slope[4])
{
    box[0] = box_centre(t[0], at->scale, at->i, at->columns, slope);
    box[1] = box_centre(t[1], at->scale, at->j, at->rows, slope + 1);
    box[2] = box_side(t[2], at->anchor_w, at->new_coords, slope + 2);
    box[3] = box_side(t[3], at->anchor_h, at->new_coords, slope + 3);
}

/* A number that depends on the student's box, and its derivatives by x, y, w and h */
typedef struct {
    double v, d[4];
} dual;

/* a + factor b */
KD_FORMULA dual dual_sum(dual a, double factor, dual b)
{
    a.v += factor * b.v;
    for (int k = 0; k < 4; ++k) a.d[k] += factor * b.d[k];
    return a;
}

KD_FORMULA dual dual_product(dual a, dual b)
{
    dual p = {a.v * b.v, {0}};
    for (int k = 0; k < 4; ++k) p.d[k] = a.d[k] * b.v + a.v * b.d[k];
    return p;
}

/* b >= 0; 0 where it is next to nothing, so that what is divided stays finite */
#define LEAST_DIVISOR 1e-200
KD_FORMULA dual dual_ratio(dual a, dual b)
{
    double inverse = b.v > LEAST_DIVISOR ? 1 / b.v : 0;
    dual r = {a.v * inverse, {0}};
    for (int k = 0; k < 4; ++k) r.d[k] = (a.d[k] - r.v * b.d[k]) * inverse;
    return r;
}

/* The larger (sign 1) or the smaller (-1); the mean of equals, so that equal boxes have no
 * slope */
KD_FORMULA dual dual_extreme(dual a, dual b, double sign)
{
    double ahead = sign * (a.v - b.v);
    if (ahead) return ahead > 0 ? a : b;
    dual mean = {a.v, {0}};
    for (int k = 0; k < 4; ++k) mean.d[k] = (a.d[k] + b.d[k]) / 2;
    return mean;
}

/* One axis of the student's box s (k: 0 for x and w, 1 for y and h) and the teacher's t: its
 * length, that of what both have (0: nothing), that of their hull, how far the centres are
 * apart */
typedef struct {
    dual length, both, hull, apart;
} box_axis;

KD_FORMULA box_axis axis_of(const double s[4], const double t[4], int k)
{
    dual nothing = {0, {0}}, centre = {s[k], {0}}, side = {s[k + 2], {0}};
    dual low = {t[k] - t[k + 2] / 2, {0}}, high = {t[k] + t[k + 2] / 2, {0}};
    dual their_centre = {t[k], {0}};
    centre.d[k] = side.d[k + 2] = 1;
    dual left = dual_sum(centre, -.5, side), right = dual_sum(centre, .5, side);
    box_axis a = {side, dual_sum(dual_extreme(right, high, -1), -1, dual_extreme(left, low, 1)),
                  dual_sum(dual_extreme(right, high, 1), -1, dual_extreme(left, low, -1)),
                  dual_sum(centre, -1, their_centre)};
    if (a.both.v <= 0) a.both = nothing;
    return a;
}

/* CIoU's: alpha v, v = (2 / pi)^2 (the difference of atan(w / h))^2; alpha is held fixed */
KD_FORMULA dual aspect_cost(const double s[4], const double t[4], double iou)
{
    double turn = 2 / M_PI * (atan2(t[2], t[3]) - atan2(s[2], s[3]));
    double alpha = turn * turn / (1 - iou + turn * turn + 1e-6);
    double square = s[2] * s[2] + s[3] * s[3];
    double slope = square > LEAST_DIVISOR ? alpha * 2 * turn * 2 / M_PI / square : 0;
    dual cost = {alpha * turn * turn, {0, 0, -slope * s[3], slope * s[2]}};
    return cost;
}

/*
 * 1 - IoU, GIoU (arXiv 1902.09630), DIoU or CIoU (1911.08287) of the student's box s and the
 * teacher's t, and its gradient by s.
 */
KD_FORMULA double kd_box_loss(kd_overlap kind, const double s[4], const double t[4],
                              double gradient[4])
{
    box_axis x = axis_of(s, t, 0), y = axis_of(s, t, 1);
    dual one = {1, {0}}, theirs = {t[2] * t[3], {0}};
    dual both = dual_product(x.both, y.both);
    dual all = dual_sum(dual_sum(dual_product(x.length, y.length), 1, theirs), -1, both);
    dual iou = dual_ratio(both, all), loss = dual_sum(one, -1, iou);
    if (kind == KD_GIOU) {
        dual hull = dual_product(x.hull, y.hull);
        loss = dual_sum(loss, 1, dual_sum(one, -1, dual_ratio(all, hull)));
    }
    if (kind == KD_DIOU || kind == KD_CIOU) {
        dual apart =
            dual_sum(dual_product(x.apart, x.apart), 1, dual_product(y.apart, y.apart));
        dual across = dual_sum(dual_product(x.hull, x.hull), 1, dual_product(y.hull, y.hull));
        loss = dual_sum(loss, 1, dual_ratio(apart, across));
    }
    if (kind == KD_CIOU) loss = dual_sum(loss, 1, aspect_cost(s, t, iou.v));
    for (int k = 0; k < 4; ++k) gradient[k] = loss.d[k];
    return loss.v;
}

/*
 * The box of one prediction to the teacher's: L = weight (1 - overlap), returned, and dL/dz of
 * its four logits z; all [4] and finite. "Object detection at 200 FPS", arXiv 1805.06361,
 * weighs such a loss by the teacher's objectness, BCKD by how far the classes are apart.
 */
KD_FORMULA double kd_row_box(double weight, kd_overlap overlap, const kd_box_place *at,
                             const double student[4], const kd_box_place *teachers,
                             const double teacher[4], double gradient[4])
{
    double ours[4], theirs[4], slope[4], unused[4];
    kd_decode_box(at, student, ours, slope);
    kd_decode_box(teachers, teacher, theirs, unused);
    double loss = kd_box_loss(overlap, ours, theirs, gradient);
    for (int k = 0; k < 4; ++k) gradient[k] *= weight * slope[k];
    return weight * loss;
}

#endif
