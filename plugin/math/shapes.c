/* See shapes.h. */
#include "math/shapes.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#define STARTS 30
#define MOST_ROUNDS 300 /* of a start; it ends by itself after some dozens */
#define PAIR (2 * sizeof(int))

/* The boxes, by area; and what each start and round needs again. */
typedef struct {
    int *sizes;     /* [n][2] */
    int *orders[2]; /* [n] each: the boxes by width, by height */
    int *owners;    /* [n] the shape that fits best */
    double *rest;   /* [n] the best IoU with any but one shape */
    int n, k;
} shape_search;

static double iou(const int *size, const int *shape)
{
    double w = shape[0] * (double)SHAPE_PARTS, h = shape[1] * (double)SHAPE_PARTS;
    double both = (size[0] < w ? size[0] : w) * (size[1] < h ? size[1] : h);
    return both / ((double)size[0] * size[1] + w * h - both);
}

/* The shape with the best IoU, which goes to *best; of equals the first. `but`: not this one.
 */
static int best_shape(const int *size, const int *shapes, int k, int but, double *best)
{
    int owner = 0;
    *best = -1;
    for (int j = 0; j < k; ++j) {
        double value = j == but ? -1 : iou(size, shapes + 2 * j);
        if (value <= *best) continue;
        *best = value;
        owner = j;
    }
    return owner;
}

double mean_best_iou(const int *sizes, int n, const int *shapes, int k)
{
    double sum = 0, best;
    for (int i = 0; i < n; ++i) {
        best_shape(sizes + 2 * i, shapes, k, -1, &best);
        sum += best;
    }
    return sum / n;
}

static int whole_pixels(int size)
{
    int pixels = (size + SHAPE_PARTS / 2) / SHAPE_PARTS;
    return pixels > 1 ? pixels : 1;
}

static int compare_numbers(long long a, long long b)
{
    return (a > b) - (a < b);
}

/* By area, then width: all that are equal in both are equal. */
static int compare_sizes(const void *pa, const void *pb)
{
    const int *a = pa, *b = pb;
    int by_area = compare_numbers((long long)a[0] * a[1], (long long)b[0] * b[1]);
    return by_area ? by_area : compare_numbers(a[0], b[0]);
}

/* Pairs of a side's length and a box's number */
static int compare_sides(const void *pa, const void *pb)
{
    const int *a = pa, *b = pb;
    return a[0] != b[0] ? compare_numbers(a[0], b[0]) : compare_numbers(a[1], b[1]);
}

int count_sizes(const int *sizes, int n)
{
    int count = 0;
    int *pixels = kd_calloc(n ? n : 1, PAIR);
    for (int i = 0; i < 2 * n; ++i) pixels[i] = whole_pixels(sizes[i]);
    qsort(pixels, n, PAIR, compare_sizes);
    for (int i = 0; i < n; ++i)
        count += !i || compare_sizes(pixels + 2 * i, pixels + 2 * (i - 1));
    free(pixels);
    return count;
}

static shape_search start_search(const int *sizes, int n, int k)
{
    shape_search s = {.n = n, .k = k};
    int *pairs = kd_calloc(n, PAIR);
    s.sizes = kd_calloc(n, PAIR);
    memcpy(s.sizes, sizes, n * PAIR);
    qsort(s.sizes, n, PAIR, compare_sizes);
    for (int side = 0; side < 2; ++side) {
        s.orders[side] = kd_calloc(n, sizeof(int));
        for (int i = 0; i < n; ++i) {
            pairs[2 * i] = s.sizes[2 * i + side];
            pairs[2 * i + 1] = i;
        }
        qsort(pairs, n, PAIR, compare_sides);
        for (int i = 0; i < n; ++i) s.orders[side][i] = pairs[2 * i + 1];
    }
    free(pairs);
    s.owners = kd_calloc(n, sizeof(int));
    s.rest = kd_calloc(n, sizeof(double));
    return s;
}

static void end_search(shape_search *s)
{
    free(s->sizes);
    free(s->orders[0]);
    free(s->orders[1]);
    free(s->owners);
    free(s->rest);
}

/*
 * One box of each k-th of the boxes by area: start 0 takes the middle ones, the others what a
 * fixed linear congruential generator says (Knuth's MMIX).
 */
static void take_start(const shape_search *s, int start, int *shapes)
{
    uint64_t state = start;
    for (int j = 0; j < s->k; ++j) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        uint64_t share = start ? state >> 48 : 1 << 15; /* of 2^16 */
        uint64_t i = (((uint64_t)j << 16) + share) * s->n / ((uint64_t)s->k << 16);
        for (int side = 0; side < 2; ++side)
            shapes[2 * j + side] = whole_pixels(s->sizes[2 * i + side]);
    }
}

/* Each box to its best shape. Returns the sum of their IoUs; *worst: the box with the least;
 * *changed: whether a box has another owner now. */
static double assign(shape_search *s, const int *shapes, int *worst, int *changed)
{
    double sum = 0, least = 2, best;
    *changed = 0;
    for (int i = 0; i < s->n; ++i) {
        int owner = best_shape(s->sizes + 2 * i, shapes, s->k, -1, &best);
        *changed |= owner != s->owners[i];
        s->owners[i] = owner;
        sum += best;
        if (best >= least) continue;
        least = best;
        *worst = i;
    }
    return sum;
}

/* Each shape to the medians of its boxes' sides; one without boxes to the worst box. Returns
 * whether there was such a one. */
static int move_shapes(const shape_search *s, int worst, int *shapes)
{
    int counts[MOST_SHAPES] = {0}, is_moved = 0;
    for (int i = 0; i < s->n; ++i) ++counts[s->owners[i]];
    for (int side = 0; side < 2; ++side) {
        int seen[MOST_SHAPES] = {0};
        for (int i = 0; i < s->n; ++i) {
            int box = s->orders[side][i], owner = s->owners[box];
            if (seen[owner]++ == (counts[owner] - 1) / 2)
                shapes[2 * owner + side] = whole_pixels(s->sizes[2 * box + side]);
        }
    }
    for (int j = 0; j < s->k && !is_moved; ++j) { /* one a round: the next finds another box */
        if (counts[j]) continue;
        is_moved = 1;
        for (int side = 0; side < 2; ++side)
            shapes[2 * j + side] = whole_pixels(s->sizes[2 * worst + side]);
    }
    return is_moved;
}

/* k-means from one start. Whole pixels can make a round worse: the best one goes to `best`,
 * whose sum is *most, where it is better than that. */
static void run_start(shape_search *s, int start, int *best, double *most)
{
    int shapes[2 * MOST_SHAPES], worst = 0, changed, is_moved = 1;
    take_start(s, start, shapes);
    for (int round = 0; round < MOST_ROUNDS; ++round) {
        double sum = assign(s, shapes, &worst, &changed);
        if (sum > *most) {
            *most = sum;
            memcpy(best, shapes, s->k * PAIR);
        }
        if (round && !changed && !is_moved) return;
        is_moved = move_shapes(s, worst, shapes);
    }
}

/* The sum with one shape, where rest[] has that of the others */
static double sum_with(const shape_search *s, const int *shape)
{
    double sum = 0;
    for (int i = 0; i < s->n; ++i) {
        double value = iou(s->sizes + 2 * i, shape);
        sum += value > s->rest[i] ? value : s->rest[i];
    }
    return sum;
}

/* Changes shape j's sides, one or both, by +-step as often as that helps; returns whether it
 * did. */
static int refine_shape(const shape_search *s, int *shapes, int j, int step)
{
    int *shape = shapes + 2 * j, helps = 1, rounds = 0;
    for (int i = 0; i < s->n; ++i) best_shape(s->sizes + 2 * i, shapes, s->k, j, s->rest + i);
    double sum = sum_with(s, shape);
    for (; helps; ++rounds) {
        helps = 0;
        for (int way = 0; way < 9; ++way) {
            int tried[] = {shape[0] + (way / 3 - 1) * step, shape[1] + (way % 3 - 1) * step};
            if (tried[0] < 1 || tried[1] < 1) continue;
            double other = sum_with(s, tried);
            if (other <= sum) continue;
            sum = other;
            memcpy(shape, tried, PAIR);
            helps = 1;
        }
    }
    return rounds > 1;
}

double find_shapes(const int *sizes, int n, int k, int *shapes)
{
    shape_search s = start_search(sizes, n, k);
    double most = -1;
    for (int start = 0; start < STARTS; ++start) run_start(&s, start, shapes, &most);
    for (int step = 8; step; step /= 2)
        for (int helps = 1; helps;) {
            helps = 0;
            for (int j = 0; j < k; ++j) helps |= refine_shape(&s, shapes, j, step);
        }
    qsort(shapes, k, PAIR, compare_sizes);
    double mean = mean_best_iou(s.sizes, n, shapes, k);
    end_search(&s);
    return mean;
}
