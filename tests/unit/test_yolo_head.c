/*
 * Proves the overlaps of boxes and what a [yolo] learns by patches/layers/03 and 04:
 *   - gradients of overlaps are PyTorch's (tests/reference/make_box_vectors.py);
 *   - each part of a gradient is the derivative of what it is of, by differences in double;
 *   - a gradient pulls a box that is beside the other towards it, the other one back, and does
 * by x what it does by y;
 *   - logits of a head with new_coords learn the derivative of what comes out of their
 * logistic;
 *   - each of a head's keys does what it says, and what is not asked for changes nothing;
 *   - learning rates of policy=cosine and sgdr (08) are their formula's.
 */
#include "nets.h"

#include "box.h"
#include "yolo_layer.h"

#include <math.h>

static const char *const kinds[] = {"mse", "iou", "giou", "diou", "ciou"};

static BOX_LOSS kind_of(const char *name)
{
    int k = 0;
    while (strcmp(kinds[k], name)) ++k;
    return k;
}

static double error_of(double found, double expected)
{
    return fabs(found - expected) / fmax(1, fabs(expected));
}

static void check_box(const char *kind, box found, const double *expected, double tolerance)
{
    const float *numbers = &found.x;
    for (int i = 0; i < 4; ++i)
        if (!(error_of(numbers[i], expected[i]) <= tolerance))
            fail_msg("%s: gradient by %c: found %g, expected %g", kind, "xywh"[i], numbers[i],
                     expected[i]);
}

/* ---- PyTorch ----------------------------------------------------------- */

#define CLOSE 2e-5 /* error_of; reached: 6e-6 */

static void test_vectors(void)
{
    const char *root = getenv("ROOT");
    char path[512], line[1024], kind[8];
    snprintf(path, sizeof(path), "%s/tests/reference/box_vectors.txt", root ? root : ".");
    FILE *fp = fopen(path, "r");
    int n = 0;
    assert_non_null(fp);
    while (fgets(line, sizeof(line), fp)) {
        double g[4];
        box a, b;
        if (*line == '#') continue;
        assert_int_equal(sscanf(line, "%7s %f %f %f %f %f %f %f %f %lf %lf %lf %lf", kind, &a.x,
                                &a.y, &a.w, &a.h, &b.x, &b.y, &b.w, &b.h, g, g + 1, g + 2,
                                g + 3),
                         13);
        check_box(kind, box_overlap_gradient(a, b, kind_of(kind)), g, CLOSE);
        ++n;
    }
    fclose(fp);
    assert_int_equal(n, 200);
}

/* ---- derivatives ------------------------------------------------------- */

typedef struct {
    double x, y, w, h;
} double_box;

/* What the overlap is made of: of areas, less distance, less aspect with a weight held fixed */
static void find_parts(double_box a, double_box b, BOX_LOSS kind, double weight, double *parts)
{
    double l = fmax(a.x - a.w / 2, b.x - b.w / 2), r = fmin(a.x + a.w / 2, b.x + b.w / 2);
    double t = fmax(a.y - a.h / 2, b.y - b.h / 2), d = fmin(a.y + a.h / 2, b.y + b.h / 2);
    double w = fmax(a.x + a.w / 2, b.x + b.w / 2) - fmin(a.x - a.w / 2, b.x - b.w / 2);
    double h = fmax(a.y + a.h / 2, b.y + b.h / 2) - fmin(a.y - a.h / 2, b.y - b.h / 2);
    double both = r > l && d > t ? (r - l) * (d - t) : 0, all = a.w * a.h + b.w * b.h - both;
    double angle = 2 / M_PI * (atan(b.w / b.h) - atan(a.w / a.h));
    parts[0] = both / all - (kind == BOX_GIOU ? 1 - all / (w * h) : 0);
    parts[1] = kind < BOX_DIOU ? 0 : -(pow(a.x - b.x, 2) + pow(a.y - b.y, 2)) / (w * w + h * h);
    parts[2] = kind < BOX_CIOU ? 0 : -weight * angle * angle;
    if (weight < 0) parts[2] = angle * angle / (1 - both / all + angle * angle + 1e-6);
}

static void find_gradient(double_box a, double_box b, BOX_LOSS kind, double *g)
{
    double now[3], up[3], down[3], step = 1e-6;
    find_parts(a, b, kind, -1, now);
    for (int i = 0; i < 4; ++i) {
        double *at = &a.x + i, before = *at;
        *at = before + step, find_parts(a, b, kind, now[2], up);
        *at = before - step, find_parts(a, b, kind, now[2], down);
        *at = before;
        double by[3], aspect = a.w * a.w + a.h * a.h;
        for (int k = 0; k < 3; ++k) by[k] = (up[k] - down[k]) / (2 * step);
        g[i] = (i < 2 ? by[0] : 2 * by[0]) + by[1] + by[2] * aspect;
    }
}

static box random_box(void)
{
    return (box){rand_uniform(.2, .8), rand_uniform(.2, .8), rand_uniform(.05, .6),
                 rand_uniform(.05, .6)};
}

static void test_derivatives(void)
{
    srand(1);
    for (int i = 0; i < 2000; ++i) {
        box a = random_box(), b = random_box();
        double g[4];
        if (i % 5 == 0) a.x += 1.5;
        find_gradient((double_box){a.x, a.y, a.w, a.h}, (double_box){b.x, b.y, b.w, b.h}, i % 5,
                      g);
        check_box(kinds[i % 5], box_overlap_gradient(a, b, i % 5), g, 1e-4);
    }
}

/* ---- identities -------------------------------------------------------- */

static box turned(box b)
{
    return (box){b.y, b.x, b.h, b.w};
}

static void test_identities(void)
{
    srand(2);
    for (int i = 0; i < 1000; ++i) {
        box a = random_box(), b = random_box(), beside = a;
        beside.x += 1;
        for (int k = BOX_MSE; k <= BOX_CIOU; ++k) {
            box g = box_overlap_gradient(a, b, k), back = box_overlap_gradient(b, a, k);
            box other = turned(box_overlap_gradient(turned(a), turned(b), k));
            for (int e = 0; e < 4; ++e) assert_true(error_of((&other.x)[e], (&g.x)[e]) < 1e-4);
            assert_true(error_of(g.x, -back.x) < 1e-4 && error_of(g.y, -back.y) < 1e-4);
            if (k < BOX_GIOU) continue;
            assert_true(box_overlap_gradient(a, beside, k).x > 0);
            assert_true(box_overlap_gradient(beside, a, k).x < 0);
        }
    }
}

/* ---- heads ------------------------------------------------------------- */

#define CELLS 4 /* by 4, of 32 x 32 pixels */
#define CLASSES 3
#define ENTRIES (5 + CLASSES)
#define HEAD                                                                                   \
    "[net]\nbatch=1\nwidth=32\nheight=32\nchannels=3\n"                                        \
    "[convolutional]\nfilters=16\nsize=3\nstride=8\npad=1\nactivation=%s\n"                    \
    "[yolo]\nclasses=3\nnum=3\nmask=0,1\nmax=4\nanchors=8,8, 16,20, 30,9\nignore_thresh=.5\n"

static network *net;

static layer start(const char *activation, const char *keys)
{
    char text[1024];
    int length = snprintf(text, sizeof(text), HEAD, activation);
    snprintf(text + length, sizeof(text) - length, "%s", keys);
    net = make_net(text, 3);
    net->train = 1;
    memset(net->truth, 0, net->truths * sizeof(float));
    srand(4);
    fill_uniform(net->layers[0].output, net->layers[0].outputs, -1, 1);
    return net->layers[1];
}

static void put_truth(int t, float x, float y, float w, float h, int class)
{
    const float numbers[] = {x, y, w, h, class};
    memcpy(net->truth + 5 * t, numbers, sizeof(numbers));
}

static void forward(layer l)
{
    network in = *net;
    in.index = 1;
    in.input = net->layers[0].output;
    silence();
    l.forward(l, in);
    speak();
}

/* Entry e of anchor n in the cell (i, j), in the layer's arrays */
static int at(int n, int i, int j, int e)
{
    return (n * ENTRIES + e) * CELLS * CELLS + j * CELLS + i;
}

static void test_new_coords_logits(void)
{
    layer l = start("logistic", "new_coords=1\nscale_x_y=2\nignore_thresh=1\n");
    float *z = net->layers[0].output;
    assert_int_equal(net->layers[0].activation, LINEAR); /* the logistic is the head's */
    put_truth(0, .4, .6, .25, .25, 1);
    forward(l);
    for (int k = 0; k < l.outputs; ++k) {
        int entry = k / (CELLS * CELLS) % ENTRIES, cell = k % (CELLS * CELLS), n = k / 128;
        int is_truth = n == 0 && cell == 2 * CELLS + 1;
        double p = 1 / (1 + exp(-z[k])), out = entry < 2 ? 2 * p - .5 : p, target = 0;
        double scale = entry < 4 ? (2 - .0625) * is_truth : entry == 4 || is_truth;
        if (entry == 0) target = .4 * CELLS - 1;
        if (entry == 1) target = .6 * CELLS - 2;
        if (entry == 2 || entry == 3) target = sqrt(.25 * 32 / 8 / 4);
        if (entry == 4 || entry == 6) target = is_truth;
        assert_true(fabs(l.output[k] - out) < 1e-6);
        assert_true(fabs(l.delta[k] - scale * (target - out) * p * (1 - p)) < 1e-6);
    }
    free_network(net);
}

/* Other keys than Darknet's own at their defaults: the same to the bit */
static void test_defaults_change_nothing(void)
{
    float before[2 * ENTRIES * CELLS * CELLS];
    for (int k = 0; k < 2; ++k) {
        layer l = start("linear", k ? "iou_normalizer=1\nobj_normalizer=1\ncls_normalizer=.3\n"
                                      "delta_normalizer=1\nscale_x_y=1\niou_thresh=1\n"
                                      "label_smooth_eps=0\nfocal_loss=0\nobjectness_smooth=0\n"
                                    : "");
        put_truth(0, .4, .6, .25, .25, 1), put_truth(1, .41, .61, .25, .25, 2);
        forward(l);
        if (!k) memcpy(before, l.delta, sizeof(before));
        else assert_memory_equal(before, l.delta, sizeof(before));
        free_network(net);
    }
}

static void test_box_losses(void)
{
    for (int kind = BOX_IOU; kind <= BOX_CIOU; ++kind) {
        char keys[64];
        snprintf(keys, sizeof(keys), "iou_loss=%s\niou_normalizer=.5\n", kinds[kind]);
        layer l = start("linear", keys);
        put_truth(0, .4, .6, .25, .25, 1);
        forward(l);
        box guess = get_yolo_box(l, 0, at(0, 1, 2, 0), 1, 2, 32, 32),
            truth = {.4, .6, .25, .25};
        box g = box_overlap_gradient(guess, truth, kind);
        const float *z = net->layers[0].output;
        double expected[] = {.5 * g.x, .5 * g.y, .5 * g.w * exp(z[at(0, 1, 2, 2)]),
                             .5 * g.h * exp(z[at(0, 1, 2, 3)])};
        for (int e = 0; e < 4; ++e)
            assert_true(error_of(l.delta[at(0, 1, 2, e)], expected[e]) < 1e-5);
        free_network(net);
    }
}

static void test_clipped_deltas(void)
{
    layer l = start("linear", "iou_loss=ciou\niou_normalizer=1000\nmax_delta=.25\n");
    put_truth(0, .4, .6, .25, .25, 1);
    forward(l);
    for (int e = 0; e < 4; ++e) assert_true(fabs(fabs(l.delta[at(0, 1, 2, e)]) - .25) < 1e-6);
    free_network(net);
}

/* A net whose statistics are still those of the start gives boxes of any size. */
static void test_boxes_beyond_bounds(void)
{
    for (int kind = BOX_IOU; kind <= BOX_CIOU; ++kind) {
        layer l = start("linear", join("iou_loss=", kinds[kind], "\n"));
        float *z = net->layers[0].output;
        z[at(0, 1, 2, 2)] = 200, z[at(0, 1, 2, 3)] = -200;
        z[at(0, 3, 0, 2)] = z[at(0, 3, 0, 3)] = 100;
        put_truth(0, .4, .6, .25, .25, 1), put_truth(1, .9, .1, .25, .25, 1);
        forward(l);
        for (int k = 0; k < l.outputs; ++k) assert_true(isfinite(l.delta[k]));
        free_network(net);
    }
}

/* The anchor 16x20 is like a truth of 10x10 by .31, the other by .64. */
static void test_more_positives(void)
{
    static const char *const thresholds[] = {".4", ".2"};
    for (int k = 0; k < 2; ++k) {
        layer l = start("linear", join("iou_loss=iou\niou_thresh=", thresholds[k], "\n"));
        put_truth(0, .4, .6, 10 / 32., 10 / 32., 1);
        forward(l);
        assert_true(l.delta[at(0, 1, 2, 4)] > 0);
        assert_int_equal(l.delta[at(1, 1, 2, 4)] > 0, k);
        assert_int_equal(l.delta[at(1, 1, 2, 6)] > 0, k);
        free_network(net);
    }
}

/* Two truths of other classes in one prediction: their boxes' deltas are averaged. */
static void test_averaged_boxes(void)
{
    float sums[4];
    for (int k = 0; k < 2; ++k) {
        layer l = start("linear", k ? "iou_loss=iou\niou_thresh=.9\n" : "iou_loss=iou\n");
        put_truth(0, .4, .6, .25, .25, 1), put_truth(1, .42, .6, .25, .25, 2);
        forward(l);
        for (int e = 0; e < 4; ++e) {
            float delta = l.delta[at(0, 1, 2, e)];
            if (!k) sums[e] = delta;
            else assert_true(fabs(2 * delta - sums[e]) < 1e-5);
        }
        free_network(net);
    }
}

static void test_smooth_labels_and_weights(void)
{
    layer l = start("linear", "iou_loss=ciou\nlabel_smooth_eps=.2\nobj_normalizer=.4\n"
                              "counters_per_class=10,5,1\ncls_normalizer=.5\nmax_delta=3\n");
    put_truth(0, .4, .6, .25, .25, 1);
    forward(l);
    const float *p = l.output;
    int other = at(0, 1, 2, 5), own = at(0, 1, 2, 6), object = at(0, 1, 2, 4);
    assert_true(fabs(l.delta[other] - (.1 - p[other])) < 1e-6);
    assert_true(fabs(l.delta[own] - 2 * .5 * (.9 - p[own])) < 1e-6);
    assert_true(fabs(l.delta[object] - 2 * .4 * (1 - p[object])) < 1e-6);
    object = at(1, 3, 3, 4);
    assert_true(fabs(l.delta[object] + .4 * p[object]) < 1e-6);
    free_network(net);
}

/* A prediction that overlaps a truth and is sure of a class: what its objectness is to be */
static void test_smooth_objectness(void)
{
    for (int k = 0; k < 3; ++k) {
        layer l = start("linear",
                        k == 1 ? "iou_loss=ciou\nobjectness_smooth=1\n" : "iou_loss=ciou\n");
        float *z = net->layers[0].output;
        int object = at(1, 1, 2, 4);
        z[at(1, 1, 2, 0)] = z[at(1, 1, 2, 1)] = z[at(1, 1, 2, 2)] = z[at(1, 1, 2, 3)] = 0;
        for (int c = 0; c < CLASSES; ++c) z[at(1, 1, 2, 5 + c)] = k == 2 ? -4 : 0;
        put_truth(0, 1.5 / 4, 2.5 / 4, .25, .25, 0);       /* by the other anchor */
        put_truth(1, 1.5 / 4 + .26, 2.5 / 4, .5, .625, 0); /* in another cell */
        z[at(1, 1, 2, 0)] = 8;
        forward(l);
        box guess = get_yolo_box(l, 1, at(1, 1, 2, 0), 1, 2, 32, 32);
        float iou = box_iou(guess, (box){1.5 / 4 + .26, 2.5 / 4, .5, .625});
        float p = l.output[object];
        assert_true(iou > .5);
        float expected = k == 0 ? 0 : k == 1 ? iou - p : -p;
        assert_true(fabs(l.delta[object] - expected) < 1e-6);
        free_network(net);
    }
}

static void test_focal_loss(void)
{
    layer l = start("linear", "iou_loss=ciou\nfocal_loss=1\n");
    put_truth(0, .4, .6, .25, .25, 1);
    forward(l);
    double p = l.output[at(0, 1, 2, 6)], weight = .5 * -(1 - p) * (2 * p * log(p) + p - 1);
    for (int c = 0; c < CLASSES; ++c) {
        int k = at(0, 1, 2, 5 + c);
        assert_true(fabs(l.delta[k] - weight * ((c == 1) - l.output[k])) < 1e-6);
    }
    free_network(net);
}

/* ---- suppression ------------------------------------------------------- */

static void test_suppression(void)
{
    static const float exponents[] = {0, .6};
    for (int k = 0; k < 2; ++k) {
        float probs[] = {.9, .8};
        detection dets[2] = {{.bbox = {.5, .5, .4, .4}, .objectness = 1, .prob = probs},
                             {.bbox = {.6, .5, .4, .4}, .objectness = 1, .prob = probs + 1}};
        do_nms_kind(dets, 2, 1, .45, exponents[k]); /* IoU .6, less (.01/.41)^.6 = .108 */
        assert_true((probs[1] > 0) == 0);
        probs[1] = .8;
        do_nms_kind(dets, 2, 1, .55, exponents[k]);
        assert_true((probs[1] > 0) == k);
    }
}

/* ---- learning rates ---------------------------------------------------- */

static void check_rate(size_t batch, double expected)
{
    *net->seen = batch * net->batch * net->subdivisions;
    assert_true(fabs(get_current_rate(net) - expected) < 1e-7);
}

static void test_cosine_rates(void)
{
    net = make_net(
        "[net]\nbatch=4\nsubdivisions=2\nwidth=8\nheight=8\nchannels=3\nmax_batches=80\n"
        "learning_rate=.4\nlearning_rate_min=.1\npolicy=cosine\nburn_in=10\npower=1\n"
        "[convolutional]\n",
        1);
    check_rate(5, .2);
    for (int t = 10; t <= 80; t += 10) check_rate(t, .1 + .15 * (1 + cos(M_PI * t / 80)));
    free_network(net);
    net =
        make_net("[net]\nbatch=4\nwidth=8\nheight=8\nchannels=3\nmax_batches=80\n"
                 "learning_rate=.4\npolicy=sgdr\nsgdr_cycle=10\nsgdr_mult=3\n[convolutional]\n",
                 1);
    check_rate(0, .4);
    check_rate(10, 0);
    check_rate(11, .2 * (1 + cos(M_PI * 1 / 30)));
    check_rate(40, 0);
    check_rate(70, .2 * (1 + cos(M_PI * 30 / 90)));
    free_network(net);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_vectors),
        TEST(test_derivatives),
        TEST(test_identities),
        TEST(test_new_coords_logits),
        TEST(test_defaults_change_nothing),
        TEST(test_box_losses),
        TEST(test_clipped_deltas),
        TEST(test_boxes_beyond_bounds),
        TEST(test_more_positives),
        TEST(test_averaged_boxes),
        TEST(test_smooth_labels_and_weights),
        TEST(test_smooth_objectness),
        TEST(test_focal_loss),
        TEST(test_suppression),
        TEST(test_cosine_rates),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
