/*
 * Proves convolution.c and onednn.c against loops in double, on shapes from a table and drawn
 * ones, and on some whose channels are split, by GEMM and by oneDNN where it takes the shape
 * (also with fixed weights, and on all cores):
 *   - the output, and the gradients of three losses, which are added to what is there;
 *   - the sums of two losses may be added before add_gradient;
 *   - losses at once give the same bits as each alone, and as without the images' gradient;
 *   - threads at once give the same bits as one;
 *   - changed weights are seen once they are set;
 *   - with DNNL=1 oneDNN is really used;
 *   - in bfloat16, where the processor has it: of images and weights that are exact in it, the
 *     output is float32's; of others it is not, yet within bfloat16's 8 bits, as are the
 *     gradients;
 *   - in int8 it is the exact convolution of rounded images and weights;
 *   - finished ones add biases and bend, and take and give images in each of the forms;
 *   - nothing is written outside the arrays; but for the sums, they are not aligned.
 *
 * To add a shape: a line in `cases`.
 */
#include "nets.h"

#include "cpu/convolution.h"
#include "cpu/onednn.h"

#include <pthread.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* ||found - expected|| / ||expected||; GEMM's is always the first; reached: 7e-7 */
#define DIRECT 2e-6
#define WINOGRAD 5e-6 /* where oneDNN may take it */

#define ROUNDING 4e-3 /* of bfloat16, half a unit of its last bit; reached: 2.4e-3 */

#define GROUPS 3
#define CORES 3  /* of a convolution that is alone */
#define GUARD 16 /* sentinels at least on either side of every array: a vector */
#define SENTINEL 12345.678f

typedef struct {
    int n, c, h, w, filters, size, stride, pad;
    double tolerance;
} shape_case;

/* Of all shapes, until this is changed: stride_y, or 0 where it is stride; dilation; parts of
 * the channels */
static int down, spacing = 1, split = 1;

static const shape_case cases[] = {
    {1, 1, 7, 5, 1, 1, 1, 0, DIRECT},
    {1, 1, 1, 1, 1, 1, 1, 0, DIRECT},
    {2, 3, 1, 1, 7, 3, 1, 1, DIRECT},
    {3, 5, 13, 13, 16, 1, 1, 0, DIRECT},
    {2, 32, 9, 16, 45, 1, 1, 0, DIRECT},
    {8, 64, 1, 1, 30, 1, 1, 0, DIRECT},
    {2, 17, 7, 5, 7, 1, 2, 0, DIRECT},
    {2, 16, 8, 6, 16, 1, 2, 0, DIRECT}, /* loses rows */
    {1, 13, 7, 5, 7, 1, 1, 1, DIRECT},  /* more padding than a filter has */
    {1, 16, 7, 5, 16, 1, 3, 3, DIRECT},
    {5, 1, 9, 16, 7, 2, 1, 0, DIRECT},
    {2, 5, 13, 13, 30, 2, 2, 0, DIRECT}, /* loses rows */
    {3, 16, 7, 5, 16, 2, 2, 1, DIRECT},
    {1, 17, 9, 16, 7, 2, 3, 2, DIRECT},
    {5, 3, 13, 13, 16, 3, 1, 1, DIRECT}, /* a first layer */
    {1, 3, 32, 32, 16, 3, 1, 1, DIRECT},
    {2, 1, 32, 32, 7, 3, 2, 1, DIRECT}, /* loses rows */
    {1, 1, 7, 5, 1, 3, 1, 0, DIRECT},
    {2, 16, 16, 32, 32, 3, 2, 1, DIRECT}, /* loses rows */
    {3, 32, 13, 13, 45, 3, 2, 1, DIRECT},
    {2, 13, 9, 16, 30, 3, 2, 0, DIRECT},
    {2, 17, 13, 13, 7, 3, 3, 2, DIRECT},
    {1, 5, 9, 16, 7, 3, 1, 3, DIRECT},
    {1, 16, 7, 5, 16, 3, 1, 1, DIRECT}, /* too few tiles for Winograd's */
    {8, 13, 9, 9, 16, 3, 1, 1, DIRECT}, /* too few channels */
    {8, 16, 7, 5, 16, 3, 1, 1, WINOGRAD},
    {1, 16, 32, 32, 16, 3, 1, 1, WINOGRAD},
    {5, 17, 13, 13, 30, 3, 1, 1, WINOGRAD},
    {2, 32, 9, 16, 45, 3, 1, 1, WINOGRAD},
    {1, 64, 13, 16, 64, 3, 1, 1, WINOGRAD},
    {3, 64, 13, 13, 16, 3, 1, 1, WINOGRAD},
    {3, 16, 13, 13, 30, 3, 1, 0, WINOGRAD},
    {2, 17, 9, 16, 45, 3, 1, 0, WINOGRAD},
    {2, 16, 16, 13, 17, 3, 1, 2, WINOGRAD},
    {1, 16, 13, 16, 16, 3, 1, 3, WINOGRAD},
    {2, 3, 13, 13, 7, 5, 1, 2, DIRECT},
    {1, 16, 9, 16, 16, 5, 1, 2, DIRECT},
    {3, 5, 16, 9, 30, 5, 2, 2, DIRECT}, /* loses rows */
    {1, 32, 13, 13, 7, 5, 3, 1, DIRECT},
    {1, 3, 32, 32, 16, 7, 2, 3, DIRECT}, /* loses rows */
    {2, 1, 7, 5, 7, 7, 1, 3, DIRECT},
    {1, 13, 9, 16, 16, 7, 3, 3, DIRECT},
    {2, 16, 7, 7, 7, 7, 1, 0, DIRECT},
    /* rows of filters that see nothing but padding */
    {1, 3, 7, 1, 1, 5, 2, 2, DIRECT},
    {8, 24, 1, 1, 24, 3, 2, 1, DIRECT},
    {1, 64, 13, 1, 64, 3, 2, 1, DIRECT},
    {2, 192, 1, 7, 32, 5, 1, 2, DIRECT},
    {1, 16, 1, 1, 24, 2, 2, 1, DIRECT},
    {2, 32, 2, 2, 16, 3, 3, 1, DIRECT},
};

/* Pixels from a window's first to behind its last */
static int extent_of(shape_case k)
{
    return (k.size - 1) * spacing + 1;
}

static convolution_shape complete(shape_case k)
{
    convolution_shape s = {.n = k.n, .c = k.c, .h = k.h, .w = k.w};
    s.filters = k.filters, s.size = k.size, s.stride_x = k.stride, s.pad = k.pad;
    s.stride_y = down ? down : k.stride, s.spacing = spacing, s.split = split;
    s.out_h = (k.h + 2 * k.pad - extent_of(k)) / s.stride_y + 1;
    s.out_w = (k.w + 2 * k.pad - extent_of(k)) / s.stride_x + 1;
    return s;
}

static size_t images_of(convolution_shape s)
{
    return (size_t)s.n * s.c * s.h * s.w;
}

static size_t filters_of(convolution_shape s)
{
    return (size_t)s.filters * (s.c / s.split) * s.size * s.size;
}

static size_t outputs_of(convolution_shape s)
{
    return (size_t)s.n * s.filters * s.out_h * s.out_w;
}

/* ---- arrays ------------------------------------------------------------ */

/* n numbers that are none, between sentinels, after `guard` of them */
static float *guard_array(size_t n, int guard)
{
    size_t all = n + 2 * guard;
    float *base = kd_vectors(all);
    for (size_t i = 0; i < all; ++i)
        base[i] = i < (size_t)guard || i >= n + guard ? SENTINEL : NAN;
    return base + guard;
}

/* At an address that no vector is at */
static float *make_array(size_t n)
{
    return guard_array(n, GUARD + 1);
}

/* As convolve_back's sums have to be */
static float *make_vectors(size_t n)
{
    return guard_array(n, GUARD);
}

static void free_array(float *x, size_t n)
{
    int guard = (uintptr_t)x % (GUARD * sizeof(float)) ? GUARD + 1 : GUARD;
    for (int i = 1; i <= guard; ++i) {
        assert_true(x[-i] == SENTINEL);
        assert_true(x[n + i - 1] == SENTINEL);
    }
    free(x - guard);
}

static float *random_array(size_t n)
{
    float *x = make_array(n);
    fill_uniform(x, n, -.6, 1);
    return x;
}

static float *copy_of(const float *x, size_t n)
{
    float *copy = make_array(n);
    for (size_t i = 0; i < n; ++i) copy[i] = x[i];
    return copy;
}

/* Against sum + before (NULL: 0) */
static double error_of(const float *found, const double *sum, const float *before, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; ++i) {
        double expected = sum[i] + (before ? before[i] : 0);
        difference += (found[i] - expected) * (found[i] - expected);
        norm += expected * expected;
    }
    return difference == 0 ? 0 : sqrt(difference / norm);
}

/* ---- the loops --------------------------------------------------------- */

/* Images, weights and gradients of outputs, what the gradients of weights and images are added
 * to, and what is expected in double */
typedef struct {
    convolution_shape shape;
    float *in, *weights, *deltas[GROUPS], *gradient, *in_delta;
    double *out, *sums[GROUPS], *in_deltas[GROUPS];
} example;

/* One image's channel, and one filter's weights for it */
static void loop_over_pixels(convolution_shape s, const float *in, const float *weights,
                             const float *delta, double *out, double *sum, double *in_delta)
{
    for (int k = 0; k < s.size * s.size; ++k)
        for (int y = 0; y < s.out_h; ++y)
            for (int x = 0; x < s.out_w; ++x) {
                int row = y * s.stride_y + k / s.size * s.spacing - s.pad;
                int col = x * s.stride_x + k % s.size * s.spacing - s.pad;
                if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
                int i = row * s.w + col, o = y * s.out_w + x;
                out[o] += (double)weights[k] * in[i];
                sum[k] += (double)delta[o] * in[i];
                in_delta[i] += (double)delta[o] * weights[k];
            }
}

static void expect(example *e, int g)
{
    convolution_shape s = e->shape;
    int channels = s.c / s.split, filters = s.filters / s.split;
    memset(e->out, 0, outputs_of(s) * sizeof(double));
    for (int n = 0; n < s.n; ++n)
        for (int f = 0; f < s.filters; ++f)
            for (int c = 0; c < channels; ++c) {
                size_t in = ((size_t)n * s.c + f / filters * channels + c) * s.h * s.w;
                size_t out = ((size_t)n * s.filters + f) * s.out_h * s.out_w;
                size_t weights = ((size_t)f * channels + c) * s.size * s.size;
                loop_over_pixels(s, e->in + in, e->weights + weights, e->deltas[g] + out,
                                 e->out + out, e->sums[g] + weights, e->in_deltas[g] + in);
            }
}

static example make_example(convolution_shape s)
{
    example e = {.shape = s};
    e.in = random_array(images_of(s));
    e.weights = random_array(filters_of(s));
    e.gradient = random_array(filters_of(s));
    e.in_delta = random_array(images_of(s));
    e.out = kd_calloc(outputs_of(s), sizeof(double));
    for (int g = 0; g < GROUPS; ++g) {
        e.deltas[g] = random_array(outputs_of(s));
        e.sums[g] = kd_calloc(filters_of(s), sizeof(double));
        e.in_deltas[g] = kd_calloc(images_of(s), sizeof(double));
    }
    return e;
}

static void free_example(example e)
{
    free_array(e.in, images_of(e.shape));
    free_array(e.weights, filters_of(e.shape));
    free_array(e.gradient, filters_of(e.shape));
    free_array(e.in_delta, images_of(e.shape));
    free(e.out);
    for (int g = 0; g < GROUPS; ++g) {
        free_array(e.deltas[g], outputs_of(e.shape));
        free(e.sums[g]), free(e.in_deltas[g]);
    }
}

/* ---- ways to compute it ------------------------------------------------ */

typedef enum { GEMM, ONEDNN, FIXED, NARROW, TRAINED, INTEGERS, ALONE, WAYS } way;

static const char *const way_names[WAYS] = {"GEMM",
                                            "oneDNN",
                                            "oneDNN, fixed weights",
                                            "oneDNN, bfloat16",
                                            "oneDNN, bfloat16, trained",
                                            "oneDNN, int8",
                                            "oneDNN on all cores"};
static double worst[WAYS]; /* error of any case */

/* The threads that oneDNN may use when this one calls it */
static void allow_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* free_convolution, then allow_threads(1) */
static convolution *start(convolution_shape s, way by)
{
    s.is_constant = by == FIXED || by == NARROW, s.is_alone = by == ALONE;
    s.arithmetic = by == NARROW || by == TRAINED ? BFLOAT16 : FLOAT32;
    if (by == ALONE) allow_threads(CORES);
    return make_convolution(s, by != GEMM);
}

static void check_error(const example *e, way by, const char *what, double error,
                        double tolerance)
{
    convolution_shape s = e->shape;
    worst[by] = fmax(worst[by], error);
    if (!(error <= tolerance))
        fail_msg("%s: %s of n=%d c=%d h=%d w=%d filters=%d size=%d stride=%d,%d dilation=%d "
                 "pad=%d: error %g",
                 way_names[by], what, s.n, s.c, s.h, s.w, s.filters, s.size, s.stride_x,
                 s.stride_y, s.spacing, s.pad, error);
}

static void say_worst(void)
{
    for (int by = 0; by < WAYS; ++by)
        if (worst[by] > 0) note("%s: errors up to %.1e", way_names[by], worst[by]);
    memset(worst, 0, sizeof(worst));
}

/* ---- results ----------------------------------------------------------- */

/* What convolve_back leaves, of `groups` losses */
typedef struct {
    int groups;
    float *sums[GROUPS], *in_deltas[GROUPS];
} gradients;

static gradients go_back(const convolution *c, const example *e, int first, int groups,
                         int to_images)
{
    gradients found = {.groups = groups};
    for (int g = 0; g < groups; ++g) {
        found.sums[g] = make_vectors(gradient_size(c));
        found.in_deltas[g] = copy_of(e->in_delta, images_of(e->shape));
    }
    convolve_back(c, e->in, groups, e->deltas + first, found.sums,
                  to_images ? found.in_deltas : 0);
    return found;
}

static void free_gradients(const convolution *c, gradients found)
{
    for (int g = 0; g < found.groups; ++g) {
        free_array(found.sums[g], gradient_size(c));
        free_array(found.in_deltas[g], images_of(c->shape));
    }
}

/* The weights' gradient of a sum, on top of the example's */
static float *added(const convolution *c, const example *e, const float *sum)
{
    float *gradient = copy_of(e->gradient, filters_of(e->shape));
    add_gradient(c, sum, gradient);
    return gradient;
}

/* Some of the losses again, `all` has been found for each of them */
static void check_bits(const convolution *c, const example *e, int first, int groups,
                       int to_images, gradients all)
{
    size_t n = filters_of(e->shape), images = images_of(e->shape) * sizeof(float);
    gradients found = go_back(c, e, first, groups, to_images);
    for (int g = 0; g < groups; ++g) {
        float *one = added(c, e, found.sums[g]), *same = added(c, e, all.sums[first + g]);
        const float *in_delta = to_images ? all.in_deltas[first + g] : e->in_delta;
        assert_memory_equal(one, same, n * sizeof(float));
        assert_memory_equal(found.in_deltas[g], in_delta, images);
        free_array(one, n), free_array(same, n);
    }
    free_gradients(c, found);
}

/* Of two losses; adds to the sums of the first. */
static void check_sum_of_two(const convolution *c, const example *e, way by, gradients found,
                             double tolerance)
{
    size_t n = filters_of(e->shape);
    double *expected = kd_calloc(n, sizeof(double));
    for (size_t i = 0; i < n; ++i) expected[i] = e->sums[0][i] + e->sums[1][i];
    for (size_t i = 0; i < gradient_size(c); ++i) found.sums[0][i] += found.sums[1][i];
    float *gradient = added(c, e, found.sums[0]);
    check_error(e, by, "two losses' gradient of weights",
                error_of(gradient, expected, e->gradient, n), tolerance);
    free_array(gradient, n), free(expected);
}

static void check_back(const convolution *c, const example *e, way by, double tolerance)
{
    size_t n = filters_of(e->shape);
    gradients all = go_back(c, e, 0, GROUPS, 1);
    const float *before = e->shape.is_alone_in_delta ? 0 : e->in_delta;
    for (int g = 0; g < GROUPS; ++g) {
        float *gradient = added(c, e, all.sums[g]);
        check_error(e, by, "gradient of weights",
                    error_of(gradient, e->sums[g], e->gradient, n), tolerance);
        check_error(e, by, "gradient of images",
                    error_of(all.in_deltas[g], e->in_deltas[g], before, images_of(e->shape)),
                    tolerance);
        free_array(gradient, n);
        check_bits(c, e, g, 1, 1, all);
    }
    check_bits(c, e, 1, 2, 1, all);
    check_bits(c, e, 0, GROUPS, 0, all);
    check_sum_of_two(c, e, by, all, tolerance);
    free_gradients(c, all);
}

/* Twice: with weights for convolve alone, then for both passes */
static void check_example(const example *e, way by, double tolerance)
{
    size_t n = outputs_of(e->shape);
    convolution *c = start(e->shape, by);
    for (int backward = 0; backward < (c->shape.is_constant ? 1 : 2); ++backward) {
        float *out = make_array(n);
        set_weights(c, e->weights, backward);
        convolve(c, e->in, out);
        check_error(e, by, "output", error_of(out, e->out, 0, n), tolerance);
        free_array(out, n);
    }
    if (!c->shape.is_constant) check_back(c, e, by, tolerance);
    free_convolution(c);
    allow_threads(1);
}

static void check_shape(shape_case k, way first, way last)
{
    example e = make_example(complete(k));
    for (int g = 0; g < GROUPS; ++g) expect(&e, g);
    for (int alone = 0; alone < 2; ++alone) {
        e.shape.is_alone_in_delta = alone;
        for (way by = first; by <= last; ++by)
            check_example(&e, by, by == GEMM ? DIRECT : by == TRAINED ? ROUNDING : k.tolerance);
    }
    free_example(e);
}

static void test_the_table(void)
{
    srand(1);
    for (int k = 0; k < COUNT(cases); ++k) check_shape(cases[k], GEMM, FIXED);
    say_worst();
}

static void test_all_cores(void)
{
    srand(5);
    for (int k = 0; k < COUNT(cases); k += 4) check_shape(cases[k], ALONE, ALONE);
    say_worst();
}

/* Channels that are split, with a filter for each of them at the end: {shape}, split */
static void test_split_channels(void)
{
    static const struct {
        shape_case shape;
        int split;
    } table[] = {
        {{2, 12, 9, 7, 8, 3, 1, 1, DIRECT}, 4},     {{1, 32, 13, 13, 32, 3, 1, 1, DIRECT}, 2},
        {{2, 24, 7, 5, 54, 1, 1, 0, DIRECT}, 3},    {{3, 54, 4, 4, 216, 1, 1, 0, DIRECT}, 3},
        {{2, 30, 8, 8, 15, 5, 3, 2, DIRECT}, 5},    {{2, 6, 7, 7, 12, 3, 1, 1, DIRECT}, 6},
        {{3, 16, 13, 13, 16, 3, 1, 1, DIRECT}, 16}, {{2, 24, 8, 8, 24, 3, 2, 1, DIRECT}, 24},
        {{1, 58, 9, 7, 58, 3, 1, 1, DIRECT}, 58},   {{2, 17, 2, 2, 17, 3, 2, 1, DIRECT}, 17},
    };
    srand(8);
    for (int k = 0; k < COUNT(table); ++k) {
        split = table[k].split;
        check_shape(table[k].shape, GEMM, FIXED);
        check_shape(table[k].shape, ALONE, ALONE);
    }
    split = 1;
    say_worst();
}

/* ---- drawn shapes ------------------------------------------------------ */

#define DRAWN 60
#define MOST_PRODUCTS 7e5 /* in a drawn shape's output */

#define DRAW(values) values[rand() % COUNT(values)]

static shape_case draw(void)
{
    static const int images[] = {1, 2, 3, 5, 8}, channels[] = {1, 3, 5, 13, 16, 17, 32, 64},
                     filters[] = {1, 7, 16, 30, 45, 64}, sizes[] = {1, 2, 3, 5, 7},
                     sides[] = {1, 2, 4, 5, 7, 8, 9, 13, 16, 32};
    shape_case k = {.n = DRAW(images), .c = DRAW(channels), .h = DRAW(sides), .w = DRAW(sides)};
    k.filters = DRAW(filters), k.size = DRAW(sizes);
    k.stride = 1 + rand() % 3, k.pad = rand() % 4;
    k.tolerance = k.size == 3 && k.stride == 1 ? WINOGRAD : DIRECT;
    return k;
}

static int is_usable(shape_case k)
{
    convolution_shape s = complete(k);
    return k.h + 2 * k.pad >= extent_of(k) && k.w + 2 * k.pad >= extent_of(k) &&
           (double)outputs_of(s) * k.c * k.size * k.size <= MOST_PRODUCTS;
}

static void check_drawn_shapes(int with_holes)
{
    for (int found = 0; found < DRAWN;) {
        shape_case k = draw();
        if (with_holes) down = 1 + rand() % 3, spacing = 1 + rand() % 3, k.size += k.size == 1;
        if (!is_usable(k)) continue;
        check_shape(k, GEMM, FIXED);
        if (find_bfloat16() != BFLOAT16_NONE) check_shape(k, TRAINED, TRAINED);
        ++found;
    }
    down = 0, spacing = 1;
    say_worst();
}

static void test_drawn_shapes(void)
{
    srand(2);
    check_drawn_shapes(0);
}

/* Strides that differ, and windows whose pixels lie apart */
static void test_drawn_windows(void)
{
    srand(7);
    check_drawn_shapes(1);
}

/* ---- threads ----------------------------------------------------------- */

#define PARTS 8
#define THREADS 4
#define ROUNDS 3

/* All of the same convolution */
typedef struct {
    example e;
    float *out;
    gradients found;
} part;

typedef struct {
    const convolution *c;
    part *parts;
    int first;
} share;

static void run_part(const convolution *c, part *p)
{
    p->out = make_array(outputs_of(c->shape));
    convolve(c, p->e.in, p->out);
    p->found = go_back(c, &p->e, 0, GROUPS, 1);
}

static void *run_share(void *pointer)
{
    share *s = pointer;
    allow_threads(1);
    for (int i = s->first; i < PARTS; i += THREADS) run_part(s->c, s->parts + i);
    return 0;
}

static void run_by_pthreads(const convolution *c, part *parts)
{
    pthread_t threads[THREADS];
    share shares[THREADS];
    for (int t = 0; t < THREADS; ++t) {
        shares[t] = (share){c, parts, t};
        assert_int_equal(pthread_create(threads + t, 0, run_share, shares + t), 0);
    }
    for (int t = 0; t < THREADS; ++t) assert_int_equal(pthread_join(threads[t], 0), 0);
}

static void run_by_openmp(const convolution *c, part *parts)
{
#pragma omp parallel for num_threads(3) schedule(dynamic)
    for (int i = 0; i < PARTS; ++i) run_part(c, parts + i);
}

static void free_results(const convolution *c, part *p)
{
    free_array(p->out, outputs_of(c->shape));
    free_gradients(c, p->found);
}

/* The sums' padding is nobody's. */
static void check_same(const convolution *c, const part *one, const part *many)
{
    size_t n = filters_of(c->shape);
    assert_memory_equal(one->out, many->out, outputs_of(c->shape) * sizeof(float));
    for (int g = 0; g < GROUPS; ++g) {
        float *a = added(c, &one->e, one->found.sums[g]);
        float *b = added(c, &many->e, many->found.sums[g]);
        assert_memory_equal(a, b, n * sizeof(float));
        assert_memory_equal(one->found.in_deltas[g], many->found.in_deltas[g],
                            images_of(c->shape) * sizeof(float));
        free_array(a, n), free_array(b, n);
    }
}

static void check_threads(const convolution *c, part *one)
{
    void (*const ways[])(const convolution *, part *) = {run_by_pthreads, run_by_openmp};
    for (int k = 0; k < ROUNDS * COUNT(ways); ++k) {
        part many[PARTS];
        memcpy(many, one, sizeof(many));
        ways[k % COUNT(ways)](c, many);
        for (int i = 0; i < PARTS; ++i) {
            check_same(c, one + i, many + i);
            free_results(c, many + i);
        }
    }
}

static void check_shared(shape_case k, way by)
{
    part parts[PARTS];
    convolution *c = start(complete(k), by);
    for (int i = 0; i < PARTS; ++i) parts[i].e = make_example(c->shape);
    set_weights(c, parts[0].e.weights, 1);
    for (int i = 0; i < PARTS; ++i) run_part(c, parts + i);
    check_threads(c, parts);
    for (int i = 0; i < PARTS; ++i) {
        free_results(c, parts + i);
        free_example(parts[i].e);
    }
    free_convolution(c);
}

static void test_threads(void)
{
    static const shape_case shared[] = {
        {1, 3, 13, 13, 16, 3, 1, 1, 0}, {2, 16, 13, 13, 17, 3, 1, 1, 0},
        {1, 17, 16, 9, 30, 3, 2, 1, 0}, {2, 32, 7, 5, 16, 1, 1, 0, 0},
        {1, 5, 13, 13, 7, 5, 1, 2, 0},  {1, 16, 32, 32, 16, 3, 1, 1, 0},
        {1, 64, 9, 16, 45, 1, 1, 0, 0},
    };
    srand(3);
    for (int k = 0; k < COUNT(shared); ++k)
        for (way by = GEMM; by <= ONEDNN; ++by) check_shared(shared[k], by);
}

/* ---- weights ----------------------------------------------------------- */

/* c has the bits of a convolution made anew, in both passes. */
static void check_as_new(const convolution *c, const example *e, way by)
{
    part old = {.e = *e}, new = {.e = *e};
    convolution *fresh = start(e->shape, by);
    set_weights(fresh, e->weights, 1);
    run_part(c, &old);
    run_part(fresh, &new);
    check_same(c, &old, &new);
    free_results(c, &old), free_results(c, &new);
    free_convolution(fresh);
}

/* In place, in another array, and for one pass before both */
static void check_changes(shape_case k, way by)
{
    example e = make_example(complete(k));
    size_t n = filters_of(e.shape);
    convolution *c = start(e.shape, by);
    for (int backward = 0; backward < 2; ++backward) {
        set_weights(c, e.weights, backward);
        set_weights(c, e.weights, 1);
        check_as_new(c, &e, by);
        fill_uniform(e.weights, n, -.6, 1);
        set_weights(c, e.weights, 1);
        check_as_new(c, &e, by);
        free_array(e.weights, n);
        e.weights = random_array(n);
    }
    for (int g = 0; g < GROUPS; ++g) expect(&e, g);
    check_example(&e, by, k.tolerance);
    free_convolution(c);
    free_example(e);
}

static void test_weights_change(void)
{
    static const shape_case changed[] = {
        {2, 16, 13, 13, 16, 3, 1, 1, WINOGRAD},
        {2, 3, 13, 13, 7, 3, 2, 1, DIRECT},
        {3, 5, 7, 5, 16, 1, 1, 0, DIRECT},
        {3, 16, 1, 1, 16, 1, 1, 0, DIRECT},
    };
    srand(4);
    for (int k = 0; k < COUNT(changed); ++k)
        for (way by = GEMM; by <= ONEDNN; ++by) check_changes(changed[k], by);
}

/* ---- bfloat16 ---------------------------------------------------------- */

/* Its upper half alone */
static void cut_off(float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof(bits));
        bits &= 0xffff0000;
        memcpy(x + i, &bits, sizeof(bits));
    }
}

static double bfloat16_error(example *e)
{
    size_t n = outputs_of(e->shape);
    float *out = make_array(n);
    convolution *c = start(e->shape, NARROW);
    expect(e, 0);
    set_weights(c, e->weights, 0);
    convolve(c, e->in, out);
    double error = error_of(out, e->out, 0, n);
    free_array(out, n), free_convolution(c);
    return error;
}

/* Outputs and gradients of what is rounded to bfloat16 */
static void test_bfloat16_trained(void)
{
    srand(6);
    for (int k = 0; k < COUNT(cases); ++k) check_shape(cases[k], TRAINED, TRAINED);
    if (find_bfloat16() == BFLOAT16_FAST) assert_true(worst[TRAINED] > ROUNDING / 20);
    say_worst();
}

static void test_bfloat16(void)
{
    double least = INFINITY;
    srand(6);
    for (int k = 0; k < COUNT(cases); ++k) {
        example e = make_example(complete(cases[k]));
        double rounded = bfloat16_error(&e);
        if (e.shape.n * e.shape.filters > 1) least = fmin(least, rounded);
        check_error(&e, NARROW, "output", rounded, ROUNDING);
        cut_off(e.in, images_of(e.shape)), cut_off(e.weights, filters_of(e.shape));
        check_error(&e, NARROW, "output of exact numbers", bfloat16_error(&e), DIRECT);
        free_example(e);
    }
    if (find_bfloat16() == BFLOAT16_FAST) assert_true(least > ROUNDING / 20);
    say_worst();
}

/* ---- finished ones, and forms ------------------------------------------ */

static const ACTIVATION finishing[] = {LEAKY, MISH, SWISH}; /* shapes take turns */

/* Number i of n images of c x pixels, as Darknet has it, stands here. */
static size_t place(size_t i, int c, int pixels, image_form form)
{
    size_t image = i / ((size_t)c * pixels), channel = i / pixels % c, pixel = i % pixels;
    return form == FORM_PLAIN ? i : (image * pixels + pixel) * c + channel;
}

static float *to_form(const float *x, size_t n, int c, int pixels, image_form form)
{
    float *made = make_array(n);
    for (size_t i = 0; i < n; ++i) {
        size_t to = place(i, c, pixels, form);
        if (form != FORM_NARROW) made[to] = x[i];
        else memcpy((uint16_t *)made + to, (const char *)(x + i) + 2, 2); /* the upper half */
    }
    return made;
}

static float *from_form(const float *x, size_t n, int c, int pixels, image_form form)
{
    float *made = make_array(n);
    for (size_t i = 0; i < n; ++i) {
        size_t at = place(i, c, pixels, form);
        uint32_t wide = form == FORM_NARROW ? (uint32_t)((const uint16_t *)x)[at] << 16 : 0;
        if (form == FORM_NARROW) memcpy(made + i, &wide, sizeof(wide));
        else made[i] = x[at];
    }
    return made;
}

/* As they are defined */
static double activated(double x, ACTIVATION a)
{
    if (a == MISH) return x * tanh(log1p(exp(x)));
    if (a == SWISH) return x / (1 + exp(-x));
    return x > 0 ? x : .1 * x;
}

static void expect_finished(example *e, const float *biases)
{
    int pixels = e->shape.out_h * e->shape.out_w;
    expect(e, 0);
    for (size_t i = 0; i < outputs_of(e->shape); ++i)
        e->out[i] =
            activated(e->out[i] + biases[i / pixels % e->shape.filters], e->shape.activation);
}

/* 0 when oneDNN has none of this form */
static int check_finished(const example *e, const float *biases, image_form in, image_form out)
{
    convolution_shape s = e->shape;
    size_t n = outputs_of(s);
    s.is_constant = s.is_finished = 1, s.arithmetic = BFLOAT16, s.in = in, s.out = out;
    convolution *c = make_convolution(s, 1);
    if (!c) return 0;
    float *images = to_form(e->in, images_of(s), s.c, s.h * s.w, in), *found = make_array(n);
    set_weights_and_biases(c, e->weights, biases);
    convolve(c, images, found);
    float *plain = from_form(found, n, s.filters, s.out_h * s.out_w, out);
    check_error(e, NARROW, "finished output", error_of(plain, e->out, 0, n),
                out == FORM_NARROW ? ROUNDING : DIRECT);
    free_array(images, images_of(s)), free_array(found, n), free_array(plain, n);
    free_convolution(c);
    return 1;
}

static void test_finished(void)
{
    int made = 0, most = 0;
    srand(6);
    for (int k = 0; k < COUNT(cases); ++k) {
        example e = make_example(complete(cases[k]));
        float *biases = random_array(e.shape.filters);
        cut_off(e.in, images_of(e.shape)), cut_off(e.weights, filters_of(e.shape));
        e.shape.activation = finishing[k % COUNT(finishing)];
        expect_finished(&e, biases);
        for (int form = 0; form < 9; ++form, ++most)
            made += check_finished(&e, biases, form / 3, form % 3);
        free_array(biases, e.shape.filters), free_example(e);
    }
    note("%d of %d shapes and forms", made, most);
    assert_true(made > most / 2 || find_bfloat16() == BFLOAT16_NONE);
    say_worst();
}

/* ---- int8 -------------------------------------------------------------- */

#define IN_SCALE (.8f / 127) /* some images are beyond it */

static double clamp_byte(double x)
{
    return fmax(-127, fmin(127, nearbyint(x)));
}

/* Images and weights as they are in bytes; scales [filters] of the latter */
static void round_example(example *e)
{
    size_t n = filters_of(e->shape) / e->shape.filters;
    for (size_t i = 0; i < images_of(e->shape); ++i)
        e->in[i] = IN_SCALE * clamp_byte(e->in[i] * (1 / IN_SCALE));
    for (int f = 0; f < e->shape.filters; ++f) {
        float *weights = e->weights + f * n, largest = 0;
        for (size_t i = 0; i < n; ++i) largest = fmaxf(largest, fabsf(weights[i]));
        float scale = largest / 127;
        for (size_t i = 0; i < n && largest > 0; ++i)
            weights[i] = scale * clamp_byte(weights[i] / scale);
    }
}

/* Images channels last, as floats or bytes of this scale */
static float *to_bytes(const float *x, size_t n, int c, int pixels, image_form form,
                       float scale)
{
    float *made = to_form(x, n, c, pixels, FORM_LAST);
    for (size_t i = 0; i < n && form == FORM_BYTE; ++i)
        ((signed char *)made)[i] = clamp_byte(made[i] / scale); /* behind what is read next */
    return made;
}

/* Of numbers channels last; in bytes one may be rounded to the other side. */
static void check_bytes_out(const example *e, const float *found, float scale)
{
    size_t n = outputs_of(e->shape), others = 0;
    int pixels = e->shape.out_h * e->shape.out_w;
    for (size_t i = 0; i < n; ++i) {
        size_t at = place(i, e->shape.filters, pixels, FORM_LAST);
        double apart = ((const signed char *)found)[at] - clamp_byte(e->out[i] / scale);
        assert_true(fabs(apart) <= 1);
        others += apart != 0;
    }
    assert_true(others <= 1 + n / 100);
}

/* e: rounded, and its `out` that of the rounded ones; images: as they were. 0 as
 * check_finished */
static int check_bytes(const example *e, const float *images, const float *weights,
                       const float *biases, image_form in, image_form out)
{
    convolution_shape s = e->shape;
    size_t n = outputs_of(s);
    s.is_constant = s.is_finished = 1, s.arithmetic = INT8;
    s.in = in, s.out = out, s.in_scale = IN_SCALE, s.out_scale = .02f;
    convolution *c = make_convolution(s, 1);
    if (!c) return 0;
    float *given = to_bytes(images, images_of(s), s.c, s.h * s.w, in, IN_SCALE);
    float *found = make_array(n);
    set_weights_and_biases(c, weights, biases);
    convolve(c, given, found);
    if (out == FORM_BYTE) {
        check_bytes_out(e, found, s.out_scale);
    } else {
        float *plain = from_form(found, n, s.filters, s.out_h * s.out_w, out);
        check_error(e, INTEGERS, "output", error_of(plain, e->out, 0, n), DIRECT);
        free_array(plain, n);
    }
    free_array(given, images_of(s)), free_array(found, n);
    free_convolution(c);
    return 1;
}

static void test_int8(void)
{
    static const image_form forms[] = {FORM_LAST, FORM_BYTE};
    int made = 0, most = 0;
    srand(8);
    if (!has_int8()) skip_test("no int8 here");
    for (int k = 0; k < COUNT(cases); ++k) {
        example e = make_example(complete(cases[k]));
        float *biases = random_array(e.shape.filters);
        memset(e.weights, 0, filters_of(e.shape) / e.shape.filters * sizeof(float));
        float *images = copy_of(e.in, images_of(e.shape));
        float *weights = copy_of(e.weights, filters_of(e.shape));
        round_example(&e);
        e.shape.activation = finishing[k % COUNT(finishing)];
        expect_finished(&e, biases);
        for (int form = 0; form < 4; ++form, ++most)
            made += check_bytes(&e, images, weights, biases, forms[form / 2], forms[form % 2]);
        free_array(images, images_of(e.shape)), free_array(weights, filters_of(e.shape));
        free_array(biases, e.shape.filters), free_example(e);
    }
    note("%d of %d shapes and forms in int8", made, most);
    assert_int_equal(made, most);
    say_worst();
}

/* ---- oneDNN ------------------------------------------------------------ */

static void check_who_computes(shape_case k)
{
    convolution *gemm = start(complete(k), GEMM), *best = start(complete(k), ONEDNN);
#ifdef DNNL
    assert_ptr_not_equal(best->code, gemm->code);
#else
    assert_ptr_equal(best->code, gemm->code);
#endif
    assert_int_equal(gradient_size(gemm), filters_of(gemm->shape));
    free_convolution(gemm), free_convolution(best);
}

static void test_who_computes(void)
{
    check_who_computes((shape_case){2, 16, 13, 13, 16, 3, 1, 1, 0});
    check_who_computes((shape_case){2, 16, 16, 32, 32, 3, 2, 1, 0}); /* loses rows */
    check_who_computes((shape_case){2, 32, 13, 13, 16, 1, 1, 0, 0});
    split = 32;
    check_who_computes((shape_case){2, 32, 13, 13, 32, 3, 1, 1, 0});
    check_who_computes((shape_case){2, 32, 13, 13, 32, 3, 2, 1, 0});
    split = 1;
    free_convolution(0);
}

int main(void)
{
    allow_threads(1);
    static const test_case tests[] = {
        TEST(test_the_table),        TEST(test_all_cores),      TEST(test_drawn_shapes),
        TEST(test_threads),          TEST(test_weights_change), TEST(test_bfloat16),
        TEST(test_bfloat16_trained), TEST(test_finished),       TEST(test_int8),
        TEST(test_who_computes),     TEST(test_drawn_windows),  TEST(test_split_channels),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
