/*
 * Proves that distilling a whole detector follows its gradients. The student is a net of
 * convolutions (with and without batch norm), maxpool, shortcut, routes of one and of two
 * layers, upsample and two [yolo], or reorg and a [region]:
 *   - what the backward passes of TCG and of NCG leave is the derivative of their own losses
 *     (finite differences), with rows=truth and rows=dense and every kind of loss, and after
 *     the student has been resized;
 *   - TOG is the derivative of what Darknet's own deltas at the logits stand for, and of the
 *     task's loss written out from the truths.
 *
 * To add a kind of loss: a line of options in `losses`. KD_VERBOSE=1 prints each error.
 */
#include "detectors.h"

#include "box.h"

#define SAMPLES 4
#define STEP 1e-2
#define POOLED_STEP 1e-3 /* before the [maxpool], whose choice must not change */
#define KINKED_STEP 5e-4 /* of slopes that jump: where edges meet, or p is q */

#define KINKED 1e-2 /* with that step; reached: 6e-3 */
/* What each error is relative to the array's largest gradient; reached: 3e-3, 1.3e-2, 1.1e-2.
 */
#define SMOOTH 4e-3
#define CURVED                                                                                 \
    1.5e-2 /* of mish and gates: by the differences' own error, half at half the step */
#define NORMED 1.5e-2 /* batch norm: see test_gradients.c */

#define TANH "activation=tanh"
#define NORM_TANH "batch_normalize=1\nactivation=tanh"
#define SEPARATE "momentum_tog=.3\nmomentum_tcg=.2\nmomentum_ncg=.1\n"
#define REGION_HEAD                                                                            \
    "bias_match=1\nobject_scale=5\nnoobject_scale=.7\nclass_scale=1.5\ncoord_scale=1.2\n"      \
    "thresh=.4\n"

static const whole_detector yolo = {2, 32, "", yolo_layers, TANH, "ignore_thresh=.3"};
static const whole_detector normed_yolo = {10,          32,        "",
                                           yolo_layers, NORM_TANH, "ignore_thresh=.3"};
static const whole_detector yolo4 = {2,
                                     32,
                                     "",
                                     yolo4_layers,
                                     "activation=mish",
                                     "ignore_thresh=.3\niou_loss=ciou\niou_thresh=.3"};
static const whole_detector yolo4_teacher = {
    1, 48, "", yolo4_layers, "batch_normalize=1\nactivation=swish", ""};
static const whole_detector region = {2, 32, "", region_layers, TANH, REGION_HEAD "softmax=1"};
static const whole_detector logistic_region = {
    2, 32, "", region_layers, TANH, REGION_HEAD "softmax=0"};
static const whole_detector yolo_teacher = {1, 48, "", yolo_layers, NORM_TANH, ""};
static const whole_detector region_teacher = {
    1, 64, "", region_layers, NORM_TANH, "softmax=1\nbias_match=1"};

static deepkd *kd;
static network *net;

static void start(const whole_detector *student, const whole_detector *teacher,
                  const char *loss, unsigned int seed)
{
    kd = start_whole(student, teacher, loss, seed);
    net = kd->net;
}

static void stop(void)
{
    free_pair(kd);
}

static void forward(void)
{
    forward_whole(kd);
}

/* ---- finite differences ------------------------------------------------- */

static uint64_t hash_maxima(void)
{
    layer l = net->layers[1];
    assert_int_equal(l.type, MAXPOOL);
    return kd_hash(KD_HASH_START, l.indexes, (size_t)l.outputs * l.batch * sizeof(int));
}

/* Which losses are differentiated: [KD_COMPONENTS], from the networks' state after forward() */
typedef void (*loss_function)(double *losses);

/* The derivatives by one weight; returns 0 where a [maxpool] chose another input on the way. */
static int difference(float *w, double step, loss_function losses, double *slopes)
{
    float before = *w, above = before + step, below = before - step;
    double up[KD_COMPONENTS] = {0}, down[KD_COMPONENTS] = {0};
    *w = above;
    forward();
    losses(up);
    uint64_t maxima = hash_maxima();
    *w = below;
    forward();
    losses(down);
    *w = before;
    for (int c = 0; c < KD_COMPONENTS; ++c)
        slopes[c] = (up[c] - down[c]) / ((double)above - below);
    return maxima == hash_maxima();
}

static momentum_group *group_of(kd_component c)
{
    for (int g = 0; g < kd->groups->n; ++g)
        if (kd->groups->group[g].has[c]) return kd->groups->group + g;
    fail_msg("component %d is in no group", c);
    return 0;
}

static void zero_buffers(void)
{
    kd_arrays buffers = group_arrays(kd);
    for (int i = 0; i < buffers.n; ++i)
        memset(buffers.arrays[i].data, 0, buffers.arrays[i].n * sizeof(float));
    kd_free_arrays(buffers);
}

/* The group's gradients of one array of parameters */
static const float *gradient_in(const momentum_group *group, const parameter *p)
{
    layer_buffers b = group->buffers[p->layer];
    return *p->name == 'w' ? b.weights : *p->name == 'b' ? b.biases : b.scales;
}

/* Compares the gradients of components first to last with differences, in samples of an array.
 */
static void check_array(const parameter *p, loss_function losses, int first, int last,
                        double tolerance, const char *name)
{
    double worst[KD_COMPONENTS] = {0}, slopes[KD_COMPONENTS];
    size_t wanted = p->n < SAMPLES ? p->n : SAMPLES, checked = 0;
    int has_kinks = strstr(name, "box") || strstr(name, "bckd");
    double step = has_kinks ? KINKED_STEP : p->layer ? STEP : POOLED_STEP;
    if (has_kinks) tolerance = fmax(tolerance, KINKED);
    for (size_t i = 0; i < p->n && checked < wanted; ++i) {
        size_t j = (i * 7919 + 13) % p->n;
        if (!difference(p->data + j, step, losses, slopes)) continue;
        ++checked;
        for (int c = first; c <= last; ++c)
            worst[c] = fmax(worst[c], fabs(gradient_in(group_of(c), p)[j] + slopes[c]));
    }
    assert_true(checked > wanted / 2);
    for (int c = first; c <= last; ++c) {
        double scale = largest_of(gradient_in(group_of(c), p), p->n);
        if (getenv("KD_VERBOSE"))
            fprintf(stderr, "%s: %s of layer %d, %s: %.1e of %.1e\n", name,
                    kd_component_name[c], p->layer, p->name, worst[c] / scale, scale);
        if (!(scale > 1e-5) || !(worst[c] < tolerance * scale))
            fail_msg("%s: %s of layer %d, %s: error %g of the largest gradient %g", name,
                     kd_component_name[c], p->layer, p->name, worst[c] / scale, scale);
    }
}

static void check_net(loss_function losses, int first, int last, double tolerance,
                      const char *name)
{
    forward();
    net->backward(net);
    parameters p = parameters_of(net);
    for (int i = 0; i < p.n; ++i) check_array(p.list + i, losses, first, last, tolerance, name);
}

/* ---- TCG and NCG -------------------------------------------------------- */

static const char *const losses[] = {
    "topk_schedule=off\n",
    "rows=dense\ntopk_schedule=off\nobjectness_weight=.7\n",
    "method=dkd\ntopk_schedule=static\ntopk=2\nbeta=3\nalpha=.7\nteacher_weight=1.3\n"
    "objectness_weight=2\nwarmup=9\n",
    "rows=dense\nmethod=dkd\ntopk_schedule=static\ntopk=2\nbeta=3\nalpha=.7\nfeature_nms=1\n",
    "activation=softmax\ntopk_schedule=static\ntopk=2\n",
    "rows=dense\nactivation=softmax\nmethod=dkd\ntopk_schedule=off\nobjectness_weight=.3\n",
    "logit_standardization=1\nactivation=softmax\nmethod=dkd\ntopk_schedule=off\n"
    "temperature=2\n",
    "rows=dense\nlogit_standardization=1\nactivation=logistic\ntopk_schedule=static\ntopk=2\n",
    "activation=logistic\nmethod=dkd\ntopk_schedule=off\ntemperature=1\n",
    "topk_schedule=off\nbox_weight=2\nbox_loss=giou\n",
    "rows=dense\nfeature_nms=1\nbox_weight=3\nbox_loss=diou\n",
    "activation=logistic\nmethod=bckd\nbox_weight=0\nrows=dense\n",
};

static void distilled_losses(double *found)
{
    memcpy(found, kd->loss, sizeof(kd->loss));
}

static void check_losses(const whole_detector *student, const whole_detector *teacher,
                         int first, int by, double tolerance)
{
    for (int i = first; i < COUNT(losses); i += by) {
        start(student, teacher, join(losses[i], SEPARATE, ""), 10 + i);
        check_net(distilled_losses, KD_TCG, KD_NCG, tolerance, losses[i]);
        stop();
    }
}

static void test_yolo_components(void)
{
    check_losses(&yolo, &yolo_teacher, 0, 1, SMOOTH);
    check_losses(&normed_yolo, &yolo_teacher, 1, 4, NORMED);
}

/* Logits come before the logistic of new_coords, whoever has it. */
static void test_yolo4_components(void)
{
    check_losses(&yolo4, &yolo4_teacher, 0, 2, CURVED);
    check_losses(&yolo4, &yolo_teacher, 1, 4, CURVED);
    check_losses(&yolo, &yolo4_teacher, 0, 4, CURVED);
}

static void test_region_components(void)
{
    check_losses(&region, &region_teacher, 0, 2, SMOOTH);
    check_losses(&logistic_region, &region_teacher, 1, 2, SMOOTH);
}

/* Heads of one kind learn from those of the other. */
static void test_mixed_components(void)
{
    check_losses(&yolo, &region_teacher, 0, 4, SMOOTH);
    check_losses(&region, &yolo_teacher, 0, 5, SMOOTH);
}

/* After resize_network, with a teacher of its own size */
static void test_resized_components(void)
{
    start(&yolo, &yolo_teacher, join(losses[1], SEPARATE, ""), 70);
    for (int i = 0; i < 2; ++i) {
        silence();
        resize_network(net, i ? 24 : 64, i ? 24 : 64);
        speak();
        zero_buffers();
        fill_full_scenes(net, 4, 71 + i);
        check_net(distilled_losses, KD_TCG, KD_NCG, SMOOTH, "resized");
    }
    stop();
}

/* ---- TOG ---------------------------------------------------------------- */

static float *fixed_delta[MAX_HEADS]; /* -dL/dz of the task, held fixed */

/* Darknet's deltas; a [region]'s backward takes those of x, y and objectness on to the logits.
 */
static void fix_deltas(void)
{
    forward();
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        size_t n = (size_t)l.batch * l.inputs;
        fixed_delta[o] = kd_calloc(n, sizeof(float));
        for (size_t i = 0; i < n; ++i) {
            int entry = i / (l.w * l.h) % (5 + l.classes);
            double slope = 1, s = l.output[i];
            if (l.type == REGION && (entry < 2 || entry == 4)) slope = s * (1 - s);
            fixed_delta[o][i] = l.delta[i] * slope;
        }
    }
}

/* sum of -d z, whose derivative is -d at the logits */
static void linear_loss(double *found)
{
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        const float *z = output_logits(net, &kd->outputs, o);
        for (size_t i = 0; i < (size_t)l.batch * l.inputs; ++i)
            found[KD_TOG] -= (double)fixed_delta[o][i] * z[i];
    }
}

static void free_deltas(void)
{
    for (int o = 0; o < kd->outputs.n; ++o) free(fixed_delta[o]);
}

static void test_task_follows_darknets_deltas(void)
{
    const whole_detector *const students[] = {&yolo, &region, &normed_yolo, &logistic_region,
                                              &yolo4};
    for (int i = 0; i < COUNT(students); ++i) {
        start(students[i], i % 2 ? &region_teacher : &yolo_teacher, SEPARATE, 30 + i);
        fix_deltas();
        check_net(linear_loss, KD_TOG, KD_TOG, i == 2 ? NORMED : SMOOTH, "fixed deltas");
        free_deltas();
        stop();
    }
}

/*
 * What one number of a head is to become: with p = sigmoid(z), t the target,
 *   LOGISTIC: w (log(1 + e^z) - t z);   SQUARED: w (t - p)^2 / 2;   LINEAR: w (t - z)^2 / 2;
 *   SOFTMAX: w (log(sum of e^z over the classes) - z), at the class that is the target.
 */
typedef enum { UNTRAINED, LOGISTIC_LOSS, SQUARED, LINEAR_LOSS, SOFTMAX_LOSS } wish_kind;
typedef struct {
    wish_kind kind;
    double target, weight;
} wish;

static wish *wishes[MAX_HEADS];

/* Objectness where no truth is: 0, except where the predicted box overlaps one */
static void wish_for_nothing(int o, layer l, prediction p, int n)
{
    int cells = l.w * l.h;
    const float *x = l.output + p.objectness - 4 * cells;
    const float *anchor = l.biases + 2 * (l.type == YOLO ? l.mask[n] : n);
    double w = l.type == YOLO ? net->w : l.w, h = l.type == YOLO ? net->h : l.h;
    box guess = {(p.i + x[0]) / l.w, (p.j + x[cells]) / l.h, exp(x[2 * cells]) * anchor[0] / w,
                 exp(x[3 * cells]) * anchor[1] / h};
    double best = 0;
    for (int t = 0; t < net->truths / 5; ++t)
        best = fmax(best, box_iou(guess, float_to_box(truth_of(net, p.image, t), 1)));
    wish *to = wishes[o];
    int is_ignored = best > (l.type == YOLO ? l.ignore_thresh : l.thresh);
    double weight = l.type == YOLO ? 1 : l.noobject_scale;
    to[p.objectness] =
        (wish){l.type == YOLO ? LOGISTIC_LOSS : SQUARED, 0, is_ignored ? 0 : weight};
    if (l.type == YOLO) return;
    for (int e = 0; e < 4; ++e) /* the first images: the anchor in the middle of its cell */
        to[p.objectness - (4 - e) * cells] =
            (wish){e < 2 ? SQUARED : LINEAR_LOSS, e < 2 ? .5 : 0, .01};
}

static void wish_for_class(wish *to, layer l, prediction p, int class)
{
    int is_taken = to[p.classes].kind != UNTRAINED || to[p.classes + p.stride].kind;
    for (int c = 0; c < l.classes; ++c) {
        wish *one = to + p.classes + (size_t)c * p.stride;
        if (l.type == REGION && l.softmax)
            *one = (wish){c == class ? SOFTMAX_LOSS : UNTRAINED, 1, l.class_scale};
        else if (c == class || !is_taken)
            *one = (wish){LOGISTIC_LOSS, c == class, l.type == YOLO ? 1 : l.class_scale};
    }
}

static void wish_for_truth(int o, layer l, prediction p, box truth, int class)
{
    int cells = l.w * l.h, n = (p.objectness / cells - 4) / (5 + l.classes) % l.n;
    const float *anchor = l.biases + 2 * (l.type == YOLO ? l.mask[n] : n);
    double w = l.type == YOLO ? net->w : l.w, h = l.type == YOLO ? net->h : l.h;
    double scale = (2 - truth.w * truth.h) * (l.type == YOLO ? 1 : l.coord_scale);
    wish_kind place = l.type == YOLO ? LOGISTIC_LOSS : SQUARED;
    wish *to = wishes[o], *x = to + p.objectness - 4 * cells;
    x[0] = (wish){place, truth.x * l.w - p.i, scale};
    x[cells] = (wish){place, truth.y * l.h - p.j, scale};
    x[2 * cells] = (wish){LINEAR_LOSS, log(truth.w * w / anchor[0]), scale};
    x[3 * cells] = (wish){LINEAR_LOSS, log(truth.h * h / anchor[1]), scale};
    to[p.objectness] = (wish){place, 1, l.type == YOLO ? 1 : l.object_scale};
    wish_for_class(to, l, p, class);
}

/* All of it, as Darknet's papers say and from nothing that its layers have computed but the
 * predicted boxes; assign_box is proved in test_rows.c. */
static void make_wishes(void)
{
    forward();
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        int cells = l.w * l.h;
        wishes[o] = kd_calloc((size_t)l.batch * l.inputs, sizeof(wish));
        for (int k = 0; k < l.batch * l.n * cells; ++k) {
            int b = k / (l.n * cells), n = k / cells % l.n;
            wish_for_nothing(
                o, l, find_prediction(net, &kd->outputs, o, b, n, k % l.w, k / l.w % l.h), n);
        }
        for (int k = 0; k < l.batch * net->truths / 5; ++k) {
            int b = k / (net->truths / 5), t = k % (net->truths / 5);
            box truth = float_to_box(truth_of(net, b, t), 1);
            prediction p;
            if (assign_box(net, &kd->outputs, o, b, truth, &p))
                wish_for_truth(o, l, p, truth, truth_of(net, b, t)[4]);
        }
    }
}

static double log_sum_of_classes(const float *z, int cells, size_t at, int classes)
{
    double sum = 0;
    size_t first = at - at / cells % (5 + classes) * cells + 5 * cells;
    for (int c = 0; c < classes; ++c) sum += exp(z[first + c * cells]);
    return log(sum);
}

static double wish_loss(wish w, double z)
{
    double p = 1 / (1 + exp(-z));
    switch (w.kind) {
    case LOGISTIC_LOSS: return w.weight * (log1p(exp(z)) - w.target * z);
    case SQUARED: return w.weight / 2 * (w.target - p) * (w.target - p);
    case LINEAR_LOSS: return w.weight / 2 * (w.target - z) * (w.target - z);
    default: return 0;
    }
}

static void task_losses(double *found)
{
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        const float *z = output_logits(net, &kd->outputs, o);
        for (size_t i = 0; i < (size_t)l.batch * l.inputs; ++i) {
            wish w = wishes[o][i];
            found[KD_TOG] += wish_loss(w, z[i]);
            if (w.kind == SOFTMAX_LOSS)
                found[KD_TOG] +=
                    w.weight * (log_sum_of_classes(z, l.w * l.h, i, l.classes) - z[i]);
        }
    }
}

static void test_task_follows_its_loss(void)
{
    const whole_detector *const students[] = {&yolo, &region, &logistic_region};
    for (int i = 0; i < COUNT(students); ++i) {
        start(students[i], &yolo_teacher, SEPARATE, 40 + i);
        make_wishes();
        check_net(task_losses, KD_TOG, KD_TOG, SMOOTH, "the task");
        for (int o = 0; o < kd->outputs.n; ++o) free(wishes[o]);
        stop();
    }
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_yolo_components),       TEST(test_yolo4_components),
        TEST(test_region_components),     TEST(test_mixed_components),
        TEST(test_resized_components),    TEST(test_task_follows_darknets_deltas),
        TEST(test_task_follows_its_loss),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
