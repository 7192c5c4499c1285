/*
 * Proves what boxes are distilled by (plugin/math/box_formulas.h):
 *   - losses and gradients are PyTorch's (tests/reference/make_box_vectors.py);
 *   - gradients are the loss's central differences, through the logits, in double;
 *   - identities: equal boxes have no loss and no slope; each kind's loss is IoU's and its
 *     penalty, written out here; nothing depends on where both boxes are;
 *   - boxes that vanish, or are as large as logits make them, give finite numbers;
 *   - a prediction's box is what Darknet makes of the same logits.
 */
#include "detectors.h"

#include "math/box_formulas.h"

static const char *const names[] = {"iou", "giou", "diou", "ciou"};

static double uniform(double low, double high)
{
    return low + (high - low) * rand() / RAND_MAX;
}

/* ---- PyTorch ----------------------------------------------------------- */

static void read_prediction(FILE *fp, kd_box_place *at, double t[4])
{
    assert_int_equal(fscanf(fp, "%d %d %d %d %lf %lf %lf %d %lf %lf %lf %lf", &at->i, &at->j,
                            &at->columns, &at->rows, &at->anchor_w, &at->anchor_h, &at->scale,
                            &at->new_coords, t, t + 1, t + 2, t + 3),
                     12);
}

static void test_vectors(void)
{
    const char *root = getenv("ROOT");
    char path[512], line[256], kind[8];
    int n = 0;
    double want[5];
    snprintf(path, sizeof(path), "%s/tests/reference/box_row_vectors.txt", root ? root : ".");
    FILE *fp = fopen(path, "r");
    assert_non_null(fp);
    for (int i = 0; i < 5; ++i) assert_non_null(fgets(line, sizeof(line), fp));
    for (; fscanf(fp, " %7s %lf %lf %lf %lf %lf", kind, want, want + 1, want + 2, want + 3,
                  want + 4) == 6;
         ++n) {
        kd_box_place ours, theirs;
        double z[4], y[4], gradient[4];
        int k = 0;
        while (strcmp(kind, names[k])) ++k;
        read_prediction(fp, &ours, z);
        read_prediction(fp, &theirs, y);
        double loss = kd_row_box(1, k, &ours, z, &theirs, y, gradient);
        check(fabs(loss - want[0]) < 1e-12, "%s: loss %g, expected %g", kind, loss, want[0]);
        for (int c = 0; c < 4; ++c)
            check(fabs(gradient[c] - want[1 + c]) < 1e-12, "%s: gradient %g, expected %g", kind,
                  gradient[c], want[1 + c]);
    }
    fclose(fp);
    assert_int_equal(n, 240);
}

/* ---- differences ------------------------------------------------------- */

static kd_box_place random_place(void)
{
    int new_coords = rand() % 2, columns = 3 + rand() % 9, rows = 3 + rand() % 9;
    return (kd_box_place){columns / 2,     rows / 2,        columns,       rows,
                          uniform(.1, .5), uniform(.1, .5), uniform(1, 2), new_coords};
}

/* The loss with the weight of CIoU's aspect held as it is at the logits `fixed` */
static double held_loss(int kind, const kd_box_place *at, const double z[4],
                        const double fixed[4], const double theirs[4])
{
    double ours[4], then[4], unused[4];
    kd_decode_box(at, z, ours, unused);
    if (kind != KD_CIOU) return kd_box_loss(kind, ours, theirs, unused);
    kd_decode_box(at, fixed, then, unused);
    double turn = atan(theirs[2] / theirs[3]) - atan(ours[2] / ours[3]);
    double old = atan(theirs[2] / theirs[3]) - atan(then[2] / then[3]);
    double v = 4 / (M_PI * M_PI) * old * old;
    double alpha = v / (kd_box_loss(KD_IOU, then, theirs, unused) + v + 1e-6);
    return kd_box_loss(KD_DIOU, ours, theirs, unused) + alpha * 4 / (M_PI * M_PI) * turn * turn;
}

static void test_differences(void)
{
    const double h = 1e-6;
    for (int n = 0; n < 4000; ++n) {
        kd_box_place at = random_place(), there = random_place();
        double z[4], y[4], theirs[4], unused[4], gradient[4];
        for (int k = 0; k < 4; ++k) z[k] = uniform(-2, 2), y[k] = uniform(-2, 2);
        kd_decode_box(&there, y, theirs, unused);
        kd_row_box(1, n % 4, &at, z, &there, y, gradient);
        for (int k = 0; k < 4; ++k) {
            double high[4], low[4];
            memcpy(high, z, sizeof(z)), memcpy(low, z, sizeof(z));
            high[k] += h, low[k] -= h;
            double slope = (held_loss(n % 4, &at, high, z, theirs) -
                            held_loss(n % 4, &at, low, z, theirs)) /
                           (2 * h);
            check(fabs(slope - gradient[k]) < 1e-8 * fmax(1, fabs(slope)),
                  "%s, logit %d: gradient %.12g, differences %.12g", names[n % 4], k,
                  gradient[k], slope);
        }
    }
}

/* ---- identities -------------------------------------------------------- */

static void some_box(double b[4])
{
    for (int k = 0; k < 4; ++k) b[k] = uniform(.2, .8);
}

static void test_equal_boxes(void)
{
    for (int n = 0; n < 400; ++n) {
        double box[4], gradient[4];
        some_box(box);
        check(fabs(kd_box_loss(n % 4, box, box, gradient)) < 1e-14, "%s", names[n % 4]);
        for (int k = 0; k < 4; ++k)
            check(fabs(gradient[k]) < 1e-12, "%s: %g", names[n % 4], gradient[k]);
    }
}

/* IoU and what each kind adds, from the boxes' edges */
static double plain_loss(int kind, const double s[4], const double t[4])
{
    double both = 1, hull = 1, across = 0, apart = 0;
    for (int k = 0; k < 2; ++k) {
        double low = s[k] - s[k + 2] / 2, high = s[k] + s[k + 2] / 2;
        double l = t[k] - t[k + 2] / 2, h = t[k] + t[k + 2] / 2;
        double length = fmax(high, h) - fmin(low, l);
        both *= fmax(0, fmin(high, h) - fmax(low, l));
        hull *= length;
        across += length * length;
        apart += (s[k] - t[k]) * (s[k] - t[k]);
    }
    double all = s[2] * s[3] + t[2] * t[3] - both, loss = 1 - both / all;
    double turn = 2 / M_PI * (atan(t[2] / t[3]) - atan(s[2] / s[3]));
    if (kind == KD_GIOU) loss += (hull - all) / hull;
    if (kind == KD_DIOU || kind == KD_CIOU) loss += apart / across;
    if (kind == KD_CIOU)
        loss += turn * turn * turn * turn / (1 - both / all + turn * turn + 1e-6);
    return loss;
}

static void test_definitions(void)
{
    for (int n = 0; n < 4000; ++n) {
        double s[4], t[4], moved_s[4], moved_t[4], g[4], moved_g[4];
        some_box(s), some_box(t);
        if (n % 3 == 0) t[0] += 2;
        memcpy(moved_s, s, sizeof(s)), memcpy(moved_t, t, sizeof(t));
        moved_s[0] += 1, moved_t[0] += 1, moved_s[1] -= 3, moved_t[1] -= 3;
        double loss = kd_box_loss(n % 4, s, t, g);
        double moved = kd_box_loss(n % 4, moved_s, moved_t, moved_g);
        check(fabs(loss - plain_loss(n % 4, s, t)) < 1e-13, "%s: %g", names[n % 4], loss);
        check(fabs(loss - moved) < 1e-13, "%s: %g, moved %g", names[n % 4], loss, moved);
        for (int k = 0; k < 4; ++k)
            check(fabs(g[k] - moved_g[k]) < 1e-11, "%s: slope %d", names[n % 4], k);
        check(loss >= 0 && loss < 3, "%s: %g", names[n % 4], loss);
        if (n % 3 == 0 && n % 4 == KD_IOU)
            check(loss == 1 && !g[0] && !g[2], "apart: %g", loss);
    }
}

static void test_extremes(void)
{
    static const double logits[] = {-1e30, -360, -30, 0, 49, 1e30};
    for (int n = 0; n < 6 * 6 * 6 * 6 * 4; ++n) {
        kd_box_place at = random_place(), there = random_place();
        int k = n / 4;
        double z[4] = {logits[k % 6], 1, logits[k / 6 % 6], 0}, gradient[4];
        double y[4] = {0, logits[k / 36 % 6], logits[k / 216 % 6], -1};
        double loss = kd_row_box(2, n % 4, &at, z, &there, y, gradient);
        check(isfinite(loss) && loss > -1e-9 && loss < 6, "%s: %g", names[n % 4], loss);
        for (int c = 0; c < 4; ++c)
            check(isfinite(gradient[c]), "%s: %g", names[n % 4], gradient[c]);
    }
}

/* ---- Darknet's boxes ---------------------------------------------------- */

/* Darknet's, which no header declares */
box get_region_box(float *x, float *biases, int n, int index, int i, int j, int w, int h,
                   int stride);

static void check_boxes(const whole_detector *d)
{
    char *cfg = whole_cfg(d, "");
    srand(5);
    network *net = make_net(cfg, 1);
    free(cfg);
    net_outputs outputs = find_outputs(net, "a.cfg");
    float *input = kd_calloc(net->inputs * net->batch, sizeof(float));
    fill_uniform(input, (size_t)net->inputs * net->batch, -1, 1);
    network_predict(net, input);
    for (int o = 0; o < outputs.n; ++o) {
        layer l = net->layers[outputs.layer[o]];
        for (int m = 0; m < l.n * l.w * l.h * l.batch; ++m) {
            int i = m % l.w, j = m / l.w % l.h, n = m / (l.w * l.h) % l.n;
            prediction p = find_prediction(net, &outputs, o, m / (l.n * l.w * l.h), n, i, j);
            kd_box_place at = box_place(net, &outputs, p);
            double t[4], found[4], unused[4];
            const float *logit = output_logits(net, &outputs, o) + p.objectness;
            for (int k = 0; k < 4; ++k) t[k] = logit[(k - 4) * p.stride];
            kd_decode_box(&at, t, found, unused);
            box want = l.type == YOLO
                           ? predicted_box(net, &outputs, p)
                           : get_region_box(l.output, l.biases, n, p.objectness - 4 * p.stride,
                                            i, j, l.w, l.h, p.stride);
            const float numbers[] = {want.x, want.y, want.w, want.h};
            for (int k = 0; k < 4; ++k)
                check(fabs(found[k] - numbers[k]) < 1e-5 * fmax(1, fabs(numbers[k])),
                      "box %d, %d: %g, expected %g", m, k, found[k], numbers[k]);
        }
    }
    free(input), free(outputs.layer);
    free_network(net);
}

static void test_boxes_are_darknets(void)
{
    static const whole_detector detectors[] = {
        {2, 32, "", yolo_layers, "activation=leaky", ""},
        {2, 32, "", yolo4_layers, "activation=leaky", ""},
        {2, 64, "", region_layers, "activation=leaky", "softmax=1"},
    };
    for (int i = 0; i < COUNT(detectors); ++i) check_boxes(detectors + i);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_vectors),     TEST(test_differences), TEST(test_equal_boxes),
        TEST(test_definitions), TEST(test_extremes),    TEST(test_boxes_are_darknets),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
