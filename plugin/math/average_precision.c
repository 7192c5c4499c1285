/*
 * See average_precision.h. The rules that a paper does not settle (ties, crowds,
 * the exact thresholds) are those of pycocotools 2.0.11, cocoeval.py and
 * maskApi.c; tests/reference/make_map_vectors.py compares.
 */
#include "math/average_precision.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DETECTIONS 100 /* of one image and class */
#define THRESHOLDS 10
#define RECALLS 101 /* the r-th is r * .01, as a double */

/* NumPy's linspace(.5, .95, 10): the ninth is not the double nearest to .9 */
static const double thresholds[THRESHOLDS] = {
    .5, .55, .6, .65, .7, .75, .8, .85, .8999999999999999, .95};

/* A part of a sorted list. */
typedef struct {
    const ap_box **boxes;
    int n;
} span;

/* What became of a detection: bit t is for thresholds[t]. */
typedef struct {
    double score;
    int place;             /* in the class's detections by image and score */
    unsigned hit, ignored; /* took a truth; took a crowd. Neither: a false positive */
} outcome;

/* What one image and class needs; sized for the largest. */
typedef struct {
    double *overlap; /* [truths] of one detection */
    unsigned *taken; /* [truths] bit t: at thresholds[t] */
} scratch;

void ap_append(ap_boxes *list, ap_box box)
{
    if (list->n == list->size) {
        list->size = list->size ? 2 * list->size : 64;
        list->boxes = realloc(list->boxes, list->size * sizeof(ap_box));
        if (!list->boxes) kd_fail("out of memory: %d boxes", list->size);
    }
    list->boxes[list->n++] = box;
}

/* ---- order ------------------------------------------------------------- */

static int compare_places(const ap_box *a, const ap_box *b)
{
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    if (a->image != b->image) return a->image < b->image ? -1 : 1;
    return 0;
}

/* By class, image, crowds last, then as in the list, in which all pointers point. */
static int compare_truths(const void *pa, const void *pb)
{
    const ap_box *a = *(const ap_box *const *)pa, *b = *(const ap_box *const *)pb;
    int order = compare_places(a, b);
    if (!order) order = !!a->crowd - !!b->crowd;
    return order ? order : a < b ? -1 : a > b;
}

/* By class, image, falling score, then as in the list. */
static int compare_detections(const void *pa, const void *pb)
{
    const ap_box *a = *(const ap_box *const *)pa, *b = *(const ap_box *const *)pb;
    int order = compare_places(a, b);
    if (!order) order = (a->score < b->score) - (a->score > b->score);
    return order ? order : a < b ? -1 : a > b;
}

static int compare_outcomes(const void *pa, const void *pb)
{
    const outcome *a = pa, *b = pb;
    int order = (a->score < b->score) - (a->score > b->score);
    return order ? order : a->place - b->place;
}

static span sort_boxes(const ap_boxes *list, int classes,
                       int (*compare)(const void *, const void *))
{
    span sorted = {kd_calloc(list->n, sizeof(*sorted.boxes)), list->n};
    for (int i = 0; i < list->n; ++i) {
        const ap_box *box = sorted.boxes[i] = list->boxes + i;
        if (box->class < 0 || box->class >= classes)
            kd_fail("average precision: found a box of class %d, expected 0 to %d", box->class,
                    classes - 1);
    }
    qsort(sorted.boxes, sorted.n, sizeof(*sorted.boxes), compare);
    return sorted;
}

static span cut(span *rest, int n)
{
    span front = {rest->boxes, n};
    rest->boxes += n;
    rest->n -= n;
    return front;
}

/* Takes the boxes of a class off the front; lower classes are gone. */
static span cut_class(span *rest, int class)
{
    int n = 0;
    while (n < rest->n && rest->boxes[n]->class == class) ++n;
    return cut(rest, n);
}

/* Takes the boxes of an image off the front, and drops those of lower ids. */
static span cut_image(span *rest, long image)
{
    int n = 0;
    while (rest->n && rest->boxes[0]->image < image) cut(rest, 1);
    while (n < rest->n && rest->boxes[n]->image == image) ++n;
    return cut(rest, n);
}

/* ---- matching ---------------------------------------------------------- */

/* Intersection over union; over the detection's own area when the truth is a crowd. */
static double overlap_of(const ap_box *detection, const ap_box *truth)
{
    double w =
        fmin(detection->x + detection->w, truth->x + truth->w) - fmax(detection->x, truth->x);
    double h =
        fmin(detection->y + detection->h, truth->y + truth->h) - fmax(detection->y, truth->y);
    if (!(w > 0 && h > 0)) return 0;
    double area = detection->w * detection->h, both = w * h;
    return both / (truth->crowd ? area : area + truth->w * truth->h - both);
}

/*
 * The truth that a detection takes at thresholds[t], or -1: the free one of the
 * largest overlap, of equal ones the last. A crowd is always free, and is only
 * taken where no real truth is.
 */
static int find_match(span truths, const scratch *s, int t)
{
    double most = thresholds[t];
    int match = -1;
    for (int i = 0; i < truths.n; ++i) {
        int crowd = truths.boxes[i]->crowd;
        if (crowd && match >= 0 && !truths.boxes[match]->crowd) break;
        if ((!crowd && s->taken[i] >> t & 1) || s->overlap[i] < most) continue;
        most = s->overlap[i];
        match = i;
    }
    return match;
}

/* The outcomes of one image's detections, which come by falling score. */
static void match_image(span truths, span detections, const scratch *s, outcome *outcomes)
{
    memset(s->taken, 0, truths.n * sizeof(*s->taken));
    for (int d = 0; d < detections.n; ++d) {
        outcomes[d] = (outcome){.score = detections.boxes[d]->score};
        for (int i = 0; i < truths.n; ++i)
            s->overlap[i] = overlap_of(detections.boxes[d], truths.boxes[i]);
        for (int t = 0; t < THRESHOLDS; ++t) {
            int i = find_match(truths, s, t);
            if (i < 0) continue;
            s->taken[i] |= 1u << t;
            if (truths.boxes[i]->crowd) outcomes[d].ignored |= 1u << t;
            else outcomes[d].hit |= 1u << t;
        }
    }
}

/* The outcomes of a class, by falling score; returns how many. */
static int match_class(span truths, span detections, const scratch *s, outcome *outcomes)
{
    int n = 0;
    while (detections.n) {
        long image = detections.boxes[0]->image;
        span seen = cut_image(&detections, image);
        if (seen.n > MOST_DETECTIONS) seen.n = MOST_DETECTIONS;
        match_image(cut_image(&truths, image), seen, s, outcomes + n);
        n += seen.n;
    }
    for (int i = 0; i < n; ++i) outcomes[i].place = i;
    qsort(outcomes, n, sizeof(*outcomes), compare_outcomes);
    return n;
}

/* ---- precision and recall ---------------------------------------------- */

/*
 * AP at thresholds[t]. Each recall r asks for the first detection with which
 * recall reaches it, and counts the best precision from there on, 0 if there is
 * none: going backwards, that is the best one so far.
 */
static double area_under(const outcome *outcomes, int n, int truths, int t)
{
    int hits = 0, misses = 0, r = RECALLS - 1;
    double best = 0, sum = 0;
    for (int i = 0; i < n; ++i) {
        hits += outcomes[i].hit >> t & 1;
        misses += !((outcomes[i].hit | outcomes[i].ignored) >> t & 1);
    }
    while (r >= 0 && r * .01 > (double)hits / truths) --r;
    for (int i = n - 1; i >= 0; --i) {
        best = fmax(best, hits / (hits + misses + DBL_EPSILON));
        hits -= outcomes[i].hit >> t & 1;
        misses -= !((outcomes[i].hit | outcomes[i].ignored) >> t & 1);
        for (; r >= 0 && (i == 0 || r * .01 > (double)hits / truths); --r) sum += best;
    }
    return sum / RECALLS;
}

/* ---- the classes ------------------------------------------------------- */

/* AP of class c, which the means so far, sums of `counted` classes, take in. */
static void score_class(ap_result *result, int c, const outcome *outcomes, int n, int *counted)
{
    result->ap50[c] = result->ap[c] = -1;
    if (!result->truths[c]) return;
    result->ap[c] = 0;
    result->ap50[c] = area_under(outcomes, n, result->truths[c], 0);
    for (int t = 0; t < THRESHOLDS; ++t)
        result->ap[c] += area_under(outcomes, n, result->truths[c], t) / THRESHOLDS;
    result->map50 += result->ap50[c];
    result->map += result->ap[c];
    ++*counted;
}

ap_result average_precision(const ap_boxes *truths, const ap_boxes *detections, int classes)
{
    span all_truths = sort_boxes(truths, classes, compare_truths);
    span all_detections = sort_boxes(detections, classes, compare_detections);
    span t = all_truths, d = all_detections;
    scratch s = {kd_calloc(truths->n, sizeof(double)), kd_calloc(truths->n, sizeof(unsigned))};
    outcome *outcomes = kd_calloc(detections->n, sizeof(*outcomes));
    ap_result result = {.ap50 = kd_calloc(classes, sizeof(double)),
                        .ap = kd_calloc(classes, sizeof(double)),
                        .truths = kd_calloc(classes, sizeof(int)),
                        .classes = classes};
    int counted = 0;

    for (int c = 0; c < classes; ++c) {
        span known = cut_class(&t, c), found = cut_class(&d, c);
        for (int i = 0; i < known.n; ++i) result.truths[c] += !known.boxes[i]->crowd;
        int n = match_class(known, found, &s, outcomes);
        score_class(&result, c, outcomes, n, &counted);
    }
    if (counted) result.map50 /= counted;
    if (counted) result.map /= counted;

    free(all_truths.boxes);
    free(all_detections.boxes);
    free(s.overlap);
    free(s.taken);
    free(outcomes);
    return result;
}

void free_ap_result(ap_result result)
{
    free(result.ap50);
    free(result.ap);
    free(result.truths);
}
