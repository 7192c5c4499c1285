/*
 * Proves filters.c against Darknet's own layers, on odd sizes:
 *   - statistics, outputs and all gradients of filters with and without batch norm are those of
 *     [convolutional] and [batchnorm];
 *   - the gradients are the derivatives of the batch norm's formula (finite differences in
 *     double);
 *   - means far above the spread cost the variance no digits;
 *   - in place and on some of the images the bits are the same, and nothing else is touched;
 *   - sums and their gradients are those of [shortcut], maxima and their places those of
 *     [maxpool].
 *
 * To add an activation: a line in `activations`; a size: a number in `batches` and so on.
 */
#include "nets.h"

#include "activations.h"
#include "batchnorm_layer.h"
#include "convolutional_layer.h"
#include "maxpool_layer.h"

#include "cpu/between.h"
#include "cpu/filters.h"

static double linear(double x)
{
    return x;
}

static double leaky(double x)
{
    return x > 0 ? x : .1 * x;
}

static double relu(double x)
{
    return x > 0 ? x : 0;
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static double elu(double x)
{
    return x >= 0 ? x : exp(x) - 1;
}

static double mish(double x)
{
    return x * tanh(log1p(exp(x)));
}

static double hard_mish(double x)
{
    return x > 0 ? x : x > -2 ? x * x / 2 + x : 0;
}

static double swish(double x)
{
    return x / (1 + exp(-x));
}

static double relu6(double x)
{
    return fmin(fmax(x, 0), 6);
}

static const struct {
    ACTIVATION id;
    double (*of)(double);
} activations[] = {{LINEAR, linear},       {LEAKY, leaky}, {RELU, relu}, {LOGISTIC, logistic},
                   {TANH, tanh},           {ELU, elu},     {MISH, mish}, {SWISH, swish},
                   {HARD_MISH, hard_mish}, {RELU6, relu6}};

static const int batches[] = {1, 2, 5}, filters[] = {1, 3, 17}, spatials[] = {1, 7, 64, 169};

#define SHAPES (COUNT(batches) * COUNT(filters) * COUNT(spatials) * COUNT(activations) * 2)

/* The k-th shape; *normed: with batch norm, which one number alone can't have */
static filter_shape shape_of(int k, int *normed)
{
    filter_shape s;
    *normed = k % 2, k /= 2;
    s.activation = activations[k % COUNT(activations)].id, k /= COUNT(activations);
    s.spatial = spatials[k % COUNT(spatials)], k /= COUNT(spatials);
    s.filters = filters[k % COUNT(filters)], k /= COUNT(filters);
    s.batch = batches[k];
    if (s.batch * s.spatial == 1) *normed = 0;
    return s;
}

static size_t size_of(filter_shape s)
{
    return (size_t)s.batch * s.filters * s.spatial;
}

static double error_of(double found, double expected)
{
    return fabs(found - expected) / fmax(1, fabs(expected));
}

/* Relative to the largest, which counts as 1 at least: sums may cancel. */
static double array_error(const float *found, const float *expected, size_t n)
{
    return distance_of(found, expected, n) * fmin(1, largest_of(expected, n));
}

static void check_close(filter_shape s, int normed, const char *what, double error,
                        double tolerance)
{
    if (!(error <= tolerance))
        fail_msg("%s of %d x %d x %d, %s%s: error %g", what, s.batch, s.filters, s.spatial,
                 get_activation_string(s.activation), normed ? " with batch norm" : "", error);
}

/* ---- Darknet's layers -------------------------------------------------- */

/* array_error; reached: 7e-6, by the float sums of Darknet */
#define CLOSE 1e-5

/* A layer of random numbers, the same ones for the same seed: those of a [convolutional] that
 * are behind its convolution */
static layer make_filters(filter_shape s, int normed, unsigned int seed)
{
    silence();
    layer l = make_batchnorm_layer(s.batch, s.spatial, 1, s.filters);
    speak();
    l.type = CONVOLUTIONAL;
    l.activation = s.activation, l.batch_normalize = normed;
    make_activation_input(&l);
    srand(seed);
    fill_uniform(l.x, size_of(s), -2, 3);
    fill_uniform(l.delta, size_of(s), -1, 1.5);
    fill_uniform(l.biases, s.filters, -1, 1);
    fill_uniform(l.scales, s.filters, .5, 2);
    fill_uniform(l.bias_updates, s.filters, -1, 1);
    fill_uniform(l.scale_updates, s.filters, -1, 1);
    return l;
}

static void forward_by_darknet(layer l)
{
    size_t n = (size_t)l.batch * l.outputs;
    network net = {.train = 1};
    memcpy(l.output, l.x, n * sizeof(float));
    if (l.batch_normalize) forward_batchnorm_layer(l, net);
    else add_bias(l.output, l.biases, l.batch, l.out_c, l.out_w);
    activate_layer(l);
}

static void backward_by_darknet(layer l)
{
    network net = {.train = 1};
    gradient_layer(l);
    if (l.batch_normalize) backward_batchnorm_layer(l, net);
    else backward_bias(l.bias_updates, l.delta, l.batch, l.out_c, l.out_w);
}

static void forward(layer l, filter_shape s)
{
    for (int f = 0; f < s.filters; ++f) {
        float a = 1, b = l.biases[f];
        if (l.batch_normalize) {
            filter_statistics(s, f, l.x, l.mean + f, l.variance + f);
            a = l.scales[f] / (sqrtf(l.variance[f]) + .000001f);
            b -= a * l.mean[f];
        }
        forward_filter(s, f, a, b, l.x, l.activation_input, l.output);
    }
}

static void backward(layer l, filter_shape s, int f)
{
    filter_norm norm = {l.x, l.mean[f], l.variance[f], l.scales[f]};
    if (l.batch_normalize)
        backward_filter(s, f, norm, gradient_source(l), l.delta, l.bias_updates + f,
                        l.scale_updates + f);
    else
        backward_filter(s, f, (filter_norm){0}, gradient_source(l), l.delta, l.bias_updates + f,
                        0);
}

/* Both go back from the same output: a kink of the activation is on one side. */
static void check_layer(filter_shape s, int normed, unsigned int seed)
{
    size_t n = size_of(s);
    layer found = make_filters(s, normed, seed), expected = make_filters(s, normed, seed);
    forward_by_darknet(expected);
    forward(found, s);
#define CHECK(what, array, n)                                                                  \
    check_close(s, normed, what, array_error(found.array, expected.array, n), CLOSE)
    CHECK("output", output, n);
    if (found.activation_input) CHECK("what is kept", activation_input, n);
    CHECK("means", mean, s.filters);
    CHECK("variances", variance, s.filters);
    memcpy(found.output, expected.output, n * sizeof(float));
    if (found.activation_input)
        memcpy(found.activation_input, expected.activation_input, n * sizeof(float));
    backward_by_darknet(expected);
    for (int f = 0; f < s.filters; ++f) backward(found, s, f);
    CHECK("delta", delta, n);
    CHECK("gradient of biases", bias_updates, s.filters);
    CHECK("gradient of scales", scale_updates, s.filters);
#undef CHECK
    free_layer(found), free_layer(expected);
}

static void test_darknets_layers(void)
{
    for (int k = 0; k < SHAPES; ++k) {
        int normed;
        filter_shape s = shape_of(k, &normed);
        check_layer(s, normed, k);
    }
}

/* ---- derivatives ------------------------------------------------------- */

#define SAMPLES 20
#define STEP 1e-5
#define DERIVED 3e-6 /* error_of; reached: 7e-7 */

/* One filter in double. The gradient that Darknet's formulas give is that of a variance over
 * all n numbers, not n - 1: this one. */
typedef struct {
    int n, normed;
    double *x, *weight; /* of each input; of each output in the loss */
    double mean, variance, scale, bias;
    double (*activation)(double);
} double_filter;

static void find_statistics(double_filter *d)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < d->n; ++i) sum += d->x[i];
    d->mean = sum / d->n;
    for (int i = 0; i < d->n; ++i) squares += (d->x[i] - d->mean) * (d->x[i] - d->mean);
    d->variance = squares / d->n;
}

/* What the activation is given */
static double line_of(const double_filter *d, int i)
{
    if (!d->normed) return d->x[i] + d->bias;
    double unit = (d->x[i] - d->mean) / sqrt(d->variance + .00001);
    return d->scale * unit + d->bias;
}

static double output_of(const double_filter *d, int i)
{
    return d->activation(line_of(d, i));
}

static double loss_of(double_filter *d)
{
    double loss = 0;
    find_statistics(d);
    for (int i = 0; i < d->n; ++i) loss += d->weight[i] * output_of(d, i);
    return loss;
}

static double derivative(double_filter *d, double *at)
{
    double before = *at;
    *at = before + STEP;
    double above = loss_of(d);
    *at = before - STEP;
    double below = loss_of(d);
    *at = before;
    find_statistics(d);
    return (above - below) / (2 * STEP);
}

static size_t place(filter_shape s, int f, int i)
{
    return ((size_t)(i / s.spatial) * s.filters + f) * s.spatial + i % s.spatial;
}

/* Filter f of a layer, whose output and statistics it sets */
static double_filter take_filter(layer l, filter_shape s, int f, double (*activation)(double))
{
    int n = s.batch * s.spatial;
    double_filter d = {.n = n, .normed = l.batch_normalize, .activation = activation};
    d.x = kd_calloc(n, sizeof(double)), d.weight = kd_calloc(n, sizeof(double));
    d.scale = l.scales[f], d.bias = l.biases[f];
    for (int i = 0; i < n; ++i) {
        d.x[i] = l.x[place(s, f, i)];
        d.weight[i] = l.delta[place(s, f, i)];
    }
    find_statistics(&d);
    for (int i = 0; i < n; ++i) {
        l.output[place(s, f, i)] = output_of(&d, i);
        if (l.activation_input) l.activation_input[place(s, f, i)] = line_of(&d, i);
    }
    l.mean[f] = d.mean, l.variance[f] = d.variance;
    return d;
}

/* Darknet's formula for it has another small number beside the spread than the outputs'. */
static double by_scale(double_filter *d)
{
    double spread = sqrt(d->variance);
    return derivative(d, &d->scale) * sqrt(d->variance + .00001) / (spread + .000001);
}

static void check_derivatives(filter_shape s, int normed, double (*activation)(double), int f)
{
    layer l = make_filters(s, normed, 100 + f);
    double_filter d = take_filter(l, s, f, activation);
    float bias = l.bias_updates[f], scale = l.scale_updates[f];
    backward(l, s, f);
    check_close(s, normed, "derivative by the bias",
                error_of(l.bias_updates[f] - bias, derivative(&d, &d.bias)), DERIVED);
    if (normed)
        check_close(s, normed, "derivative by the scale",
                    error_of(l.scale_updates[f] - scale, by_scale(&d)), DERIVED);
    for (int k = 0; k < d.n && k < SAMPLES; ++k) {
        int i = d.n <= SAMPLES ? k : (k * 7919 + 13) % d.n;
        check_close(s, normed, "derivative by an input",
                    error_of(l.delta[place(s, f, i)], derivative(&d, d.x + i)), DERIVED);
    }
    free(d.x), free(d.weight), free_layer(l);
}

static void test_derivatives(void)
{
    for (int k = 0; k < SHAPES; ++k) {
        int normed;
        filter_shape s = shape_of(k, &normed);
        check_derivatives(s, normed, activations[k / 2 % COUNT(activations)].of, s.filters / 2);
    }
}

/* ---- statistics -------------------------------------------------------- */

/* The variance's error where it is about 1/3: the mean is a float; reached: 9e-7 */
#define SPREAD 3e-6

/* Numbers 1 around `level` or more, different in each filter */
static void check_statistics(filter_shape s, double level)
{
    float *x = kd_calloc(size_of(s), sizeof(float)), mean, variance;
    double_filter d = {.n = s.batch * s.spatial, .x = kd_calloc(size_of(s), sizeof(double))};
    fill_uniform(x, size_of(s), -1, 1);
    for (size_t i = 0; i < size_of(s); ++i) x[i] += level + i / s.spatial % s.filters;
    for (int f = 0; f < s.filters; ++f) {
        for (int i = 0; i < d.n; ++i) d.x[i] = x[place(s, f, i)];
        find_statistics(&d);
        filter_statistics(s, f, x, &mean, &variance);
        check_close(s, 1, "mean", fabs(mean / d.mean - 1), CLOSE);
        check_close(s, 1, "variance", fabs(variance - d.variance * d.n / (d.n - 1)), SPREAD);
    }
    free(x), free(d.x);
}

static void test_large_means(void)
{
    static const filter_shape shapes[] = {
        {1, 1, 2, LINEAR},   {2, 3, 1, LINEAR},    {1, 2, 7, LINEAR},  {5, 17, 64, LINEAR},
        {3, 2, 169, LINEAR}, {64, 1, 169, LINEAR}, {64, 3, 1, LINEAR}, {2, 1, 1024, LINEAR},
    };
    srand(3);
    for (int k = 0; k < COUNT(shapes); ++k) {
        check_statistics(shapes[k], 1e4);
        check_statistics(shapes[k], -100);
    }
    check_statistics((filter_shape){2, 2, 208 * 208, LINEAR}, 10);
}

/* ---- where it writes --------------------------------------------------- */

static int is_inside(filter_shape s, int f, size_t i)
{
    return (int)(i / s.spatial % s.filters) == f;
}

/* Inside the part as `inside` has it, outside as `outside` */
static void check_part(filter_shape s, int f, const float *found, const float *inside,
                       const float *outside)
{
    for (size_t i = 0; i < size_of(s); ++i) {
        float expected = is_inside(s, f, i) ? inside[i] : outside[i];
        if (memcmp(found + i, &expected, sizeof(float)))
            fail_msg("filter %d of %d x %d x %d: found %g at %zu, expected %g", f, s.batch,
                     s.filters, s.spatial, found[i], i, expected);
    }
}

/* Filter f alone is written, in another array and in place */
static void check_one_filter(layer l, filter_shape s, int f)
{
    size_t bytes = size_of(s) * sizeof(float);
    float *x = l.x, *whole = l.output, *found = l.x_norm, *before = l.delta;
    forward_filter(s, f, 1.5, -.25, x, 0, whole);
    memcpy(found, before, bytes);
    forward_filter(s, f, 1.5, -.25, x, 0, found);
    check_part(s, f, found, whole, before);
    memcpy(found, x, bytes);
    forward_filter(s, f, 1.5, -.25, found, 0, found);
    check_part(s, f, found, whole, x);
}

static void check_one_filter_back(layer l, filter_shape s, int f)
{
    size_t bytes = size_of(s) * sizeof(float);
    float *before = l.x_norm;
    memcpy(before, l.delta, bytes);
    float *biases = kd_calloc(2 * s.filters, sizeof(float)), *scales = biases + s.filters;
    memcpy(biases, l.bias_updates, s.filters * sizeof(float));
    memcpy(scales, l.scale_updates, s.filters * sizeof(float));
    backward(l, s, f);
    check_part(s, f, l.delta, l.delta, before);
    for (int k = 0; k < s.filters; ++k) {
        assert_true(k == f || l.bias_updates[k] == biases[k]);
        assert_true(k == f || l.scale_updates[k] == scales[k]);
        assert_true(l.batch_normalize || l.scale_updates[k] == scales[k]);
    }
    free(biases);
}

static void test_nothing_else_is_touched(void)
{
    for (int k = 0; k < SHAPES; ++k) {
        int normed;
        filter_shape s = shape_of(k, &normed);
        layer l = make_filters(s, normed, 200 + k);
        for (int f = 0; f < s.filters; f += 2) check_one_filter(l, s, f);
        forward(l, s);
        for (int f = 0; f < s.filters; f += 2) check_one_filter_back(l, s, f);
        free_layer(l);
    }
}

/* ---- [shortcut] -------------------------------------------------------- */

#define MOST 1000

typedef struct {
    float in[MOST], add[MOST], out[MOST], delta[MOST], in_delta[MOST], add_delta[MOST],
        kept[MOST];
} sums;

static void sum_by_darknet(sums *x, int n, ACTIVATION a, float alpha, float beta)
{
    memcpy(x->out, x->in, n * sizeof(float));
    shortcut_cpu(1, n, 1, 1, x->add, n, 1, 1, alpha, beta, x->out);
    memcpy(x->kept, x->out, n * sizeof(float));
    activate_array(x->out, n, a);
    gradient_array(gradient_needs_input(a) ? x->kept : x->out, n, a, x->delta);
    axpy_cpu(n, alpha, x->delta, 1, x->in_delta, 1);
    shortcut_cpu(1, n, 1, 1, x->delta, n, 1, 1, 1, beta, x->add_delta);
}

/* All arrays, also behind their n numbers; the back pass from the same output */
static void check_sum(int n, ACTIVATION a, float alpha, float beta)
{
    sums found, expected;
    fill_uniform((float *)&found, sizeof(found) / sizeof(float), -1, 1);
    expected = found;
    sum_by_darknet(&expected, n, a, alpha, beta);
    forward_sum(n, a, alpha, beta, found.in, found.add, found.kept, found.out);
    memcpy(found.kept, expected.kept, n * sizeof(float)); /* of others than has_slope() */
    assert_true(distance_of(found.out, expected.out, n) <= CLOSE);
    memcpy(found.out, expected.out, n * sizeof(float));
    backward_sum(n, a, alpha, beta, gradient_needs_input(a) ? found.kept : found.out,
                 found.delta, found.in_delta, found.add_delta);
    double error =
        distance_of((float *)&found, (float *)&expected, sizeof(found) / sizeof(float));
    if (!(error <= CLOSE))
        fail_msg("sum of %d numbers, %s, %g and %g: error %g", n, get_activation_string(a),
                 alpha, beta, error);
}

/* A layer that adds its input to itself */
static void check_sum_with_itself(void)
{
    float x[7], out[7], delta[7], both[7];
    fill_uniform(x, 7, 1, 2), fill_uniform(delta, 7, 1, 2);
    memset(both, 0, sizeof(both));
    forward_sum(7, LINEAR, 2, 3, x, x, 0, out);
    backward_sum(7, LINEAR, 2, 3, out, delta, both, both);
    for (int i = 0; i < 7; ++i) {
        assert_true(fabs(out[i] - 5 * x[i]) < 1e-5);
        assert_true(fabs(both[i] - 5 * delta[i]) < 1e-5);
    }
}

static void test_sums(void)
{
    static const int sizes[] = {1, 7, 64, 169, MOST - 1};
    srand(4);
    for (int k = 0; k < COUNT(sizes) * COUNT(activations); ++k) {
        ACTIVATION a = activations[k % COUNT(activations)].id;
        check_sum(sizes[k / COUNT(activations)], a, 1, 1);
        check_sum(sizes[k / COUNT(activations)], a, .5, -1.5);
    }
    check_sum_with_itself();
}

/* ---- [maxpool] --------------------------------------------------------- */

#define PLANES 6 /* of 2 images */

/* Few different numbers, so that maxima stand at several places */
static void check_pool(int h, int w, int size, int stride_x, int stride_y, int pad)
{
    silence();
    layer l = make_maxpool_layer(2, h, w, PLANES / 2, size, stride_x, stride_y, pad);
    speak();
    size_t n = (size_t)l.batch * l.outputs;
    pool_shape s = find_pool(l, PLANES);
    float *in = kd_calloc(PLANES * h * w, sizeof(float));
    float *out = kd_calloc(n, sizeof(float)), *alone = kd_calloc(n, sizeof(float));
    int *indexes = kd_calloc(n, sizeof(int));
    for (int i = 0; i < PLANES * h * w; ++i) in[i] = rand() % 8 - 6;
    forward_maxpool_layer(l, (network){.input = in});
    forward_pool(s, in, out, indexes);
    forward_pool(s, in, alone, 0);
    if (memcmp(out, l.output, n * sizeof(float)) || memcmp(out, alone, n * sizeof(float)) ||
        memcmp(indexes, l.indexes, n * sizeof(int)))
        fail_msg("maxima of %d x %d, size=%d stride=%d,%d pad=%d are not Darknet's", h, w, size,
                 stride_x, stride_y, pad);
    free(in), free(out), free(alone), free(indexes), free_layer(l);
}

static void test_pools(void)
{
    static const int sides[] = {1, 2, 7, 13}, sizes[] = {1, 2, 3, 5, 13};
    srand(5);
    for (int k = 0; k < COUNT(sides) * COUNT(sides) * COUNT(sizes); ++k) {
        int h = sides[k % 4], w = sides[k / 4 % 4], size = sizes[k / 16];
        for (int strides = 0; strides < 9; ++strides)
            for (int pad = 0; pad <= size + 4; ++pad)
                if (h + pad >= size && w + pad >= size)
                    check_pool(h, w, size, 1 + strides % 3, 1 + strides / 3, pad);
    }
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_darknets_layers),         TEST(test_derivatives), TEST(test_large_means),
        TEST(test_nothing_else_is_touched), TEST(test_sums),        TEST(test_pools),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
