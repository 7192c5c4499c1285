/*
 * Proves how a training step of a detector is put together:
 *   - without a mask the logistic deltas are T (sigmoid(z/T) - sigmoid(y/T)) at the rows'
 *     classes and objectness, and nothing elsewhere;
 *   - boxes are of the TCG, and count as the teacher is sure, with bckd as the classes are
 * apart;
 *   - of images without labels the teacher alone speaks;
 *   - components in one group give the sum of what they give in three;
 *   - a student without a teacher's weight is trained bit for bit as stock Darknet trains the
 *     plain cfg, and so is one whose components all have no weight;
 *   - the teacher never changes, and one that is the student's equal teaches nothing;
 *   - a resized student (random=1) learns what it learns when it has that size from the start,
 *     with a teacher of its own size and with one that follows, and goes back bit for bit.
 *
 * To add a stock run: a [net] in `stock_nets`.
 */
#include "cpu/cores.h"
#include "detectors.h"
#include "math/box_formulas.h"

#define TANH "activation=tanh"
#define LEAKY "batch_normalize=1\nactivation=leaky"
#define SEPARATE "momentum_tog=.3\nmomentum_tcg=.2\nmomentum_ncg=.1\n"
#define REGION_HEAD                                                                            \
    "bias_match=1\nobject_scale=5\nnoobject_scale=.7\nclass_scale=1.5\ncoord_scale=1.2\n"      \
    "thresh=.4\nsoftmax=1"

static const whole_detector yolo = {2, 32, "", yolo_layers, TANH, ""};
static const whole_detector normed_yolo = {3, 32, "", yolo_layers, LEAKY, ""};
static const whole_detector region = {2, 32, "", region_layers, TANH, REGION_HEAD};
static const whole_detector normed_region = {3, 32, "", region_layers, LEAKY, REGION_HEAD};
static const whole_detector yolo_teacher = {1, 48, "", yolo_layers, LEAKY, ""};
static const whole_detector region_teacher = {
    1, 64, "", region_layers, LEAKY, "softmax=1\nbias_match=1"};

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

/* ---- the deltas --------------------------------------------------------- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* What the rows should leave at the logits of output o, from the formula alone */
static double *plain_deltas(int o, double T, double weight, double objectness)
{
    layer l = net->layers[kd->outputs.layer[o]];
    const float *z = output_logits(net, &kd->outputs, o);
    double *want = kd_calloc((size_t)l.batch * l.inputs, sizeof(double));
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        prediction p = r->student, q = r->teacher;
        const float *y = output_logits(kd->teacher->net, &kd->teacher->outputs, q.output);
        if (p.output != o) continue;
        for (int c = 0; c < 4; ++c) {
            size_t at = p.classes + (size_t)c * p.stride;
            double apart = sigmoid(z[at] / T) - sigmoid(y[q.classes + c * q.stride] / T);
            want[at] -= weight * r->weight * T * apart;
        }
        double apart = sigmoid(z[p.objectness] / T) - sigmoid(y[q.objectness] / T);
        want[p.objectness] -= weight * objectness * r->is_first * T * apart;
    }
    return want;
}

static void check_identity(const char *rows, const whole_detector *student,
                           const whole_detector *teacher)
{
    char loss[256];
    snprintf(loss, sizeof(loss),
             "%smethod=kd\nactivation=logistic\ntopk_schedule=off\ntemperature=3\n"
             "teacher_weight=1.5\nobjectness_weight=.4\n",
             rows);
    start(student, teacher, loss, 10);
    forward();
    assert_true(kd->rows.n >= net->batch);
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        double *want = plain_deltas(o, 3, 1.5, .4);
        for (size_t i = 0; i < (size_t)l.batch * l.inputs; ++i) {
            double found = (double)kd->delta[KD_TCG][o][i] + kd->delta[KD_NCG][o][i];
            int entry = i / (l.w * l.h) % (5 + l.classes);
            if (!(fabs(found - want[i]) <= 1e-6 * (1 + fabs(want[i]))))
                fail_msg("output %d, %zu: delta %g, expected %g", o, i, found, want[i]);
            if (!want[i] || entry < 4) assert_true(found == 0);
            if (entry == 4) assert_true(kd->delta[KD_NCG][o][i] == 0);
        }
        free(want);
    }
    stop();
}

static void test_unmasked_kd_is_plain_distillation(void)
{
    static const char *const rows[] = {"", "rows=dense\n", "rows=dense\nfeature_nms=1\n"};
    for (int i = 0; i < COUNT(rows); ++i) {
        check_identity(rows[i], &yolo, &yolo_teacher);
        check_identity(rows[i], &region, &region_teacher);
        check_identity(rows[i], &region, &yolo_teacher);
    }
}

/* The losses of an objectness alone are of the TCG; without alpha nothing else is. */
static void test_objectness_is_of_the_tcg(void)
{
    start(&yolo, &yolo_teacher,
          "rows=dense\nalpha=0\nmethod=dkd\nbeta=0\nobjectness_weight=2\n", 11);
    forward();
    double want = 0;
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        double z = output_logits(net, &kd->outputs, r->student.output)[r->student.objectness];
        double y = output_logits(kd->teacher->net, &kd->teacher->outputs,
                                 r->teacher.output)[r->teacher.objectness];
        double p = sigmoid(z / 4), q = sigmoid(y / 4);
        want += r->is_first * 2 * 16 * (q * log(q / p) + (1 - q) * log((1 - q) / (1 - p)));
    }
    assert_true(want > 0 && fabs(kd->loss[KD_TCG] - want) < 1e-6 * want);
    assert_true(kd->loss[KD_NCG] == 0);
    assert_true(is_active(kd, KD_TCG) && !is_active(kd, KD_NCG));
    stop();
}

/* The weight of a row's box, but for teacher_weight and box_weight */
static double share_of(const row *r, int is_bckd, int is_dense)
{
    prediction p = r->student, q = r->teacher;
    const float *z = output_logits(net, &kd->outputs, p.output) + p.classes;
    const float *y = output_logits(kd->teacher->net, &kd->teacher->outputs, q.output);
    double most = 0;
    if (!is_bckd) return is_dense ? r->weight : sigmoid(y[q.objectness]);
    for (int j = 0; j < kd->classes; ++j)
        most =
            fmax(most, fabs(sigmoid(z[j * p.stride]) - sigmoid(y[q.classes + j * q.stride])));
    return r->weight * most;
}

/* What the rows leave at their boxes, and the loss, from the formula of one box */
static double plain_boxes(int is_bckd, int is_dense, kd_overlap overlap, double weight,
                          double **want)
{
    double loss = 0;
    for (int i = 0; i < kd->rows.n; ++i) {
        const row *r = kd->rows.rows + i;
        prediction p = r->student, q = r->teacher;
        network *teacher = kd->teacher->net;
        const net_outputs *theirs = &kd->teacher->outputs;
        const float *logits = output_logits(net, &kd->outputs, p.output) + p.objectness;
        const float *labels = output_logits(teacher, theirs, q.output) + q.objectness;
        kd_box_place at = box_place(net, &kd->outputs, p),
                     there = box_place(teacher, theirs, q);
        double z[4], y[4], gradient[4];
        for (int k = 0; k < 4; ++k) z[k] = logits[(k - 4) * p.stride];
        for (int k = 0; k < 4; ++k) y[k] = labels[(k - 4) * q.stride];
        double share = r->is_first * share_of(r, is_bckd, is_dense);
        loss += kd_row_box(weight * share, overlap, &at, z, &there, y, gradient);
        for (int k = 0; k < 4; ++k)
            want[p.output][p.objectness + (k - 4) * (long)p.stride] -= gradient[k];
    }
    return loss;
}

static void check_boxes(const char *loss, kd_overlap overlap, const whole_detector *student,
                        const whole_detector *teacher)
{
    int is_bckd = !!strstr(loss, "bckd"), is_dense = !!strstr(loss, "dense");
    double *want[2];
    start(student, teacher, join("teacher_weight=.5\n", loss, ""), 10);
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        want[o] = kd_calloc((size_t)l.batch * l.inputs, sizeof(double));
    }
    forward();
    double all = kd->loss[KD_TCG];
    double boxes =
        plain_boxes(is_bckd, is_dense, overlap, .5 * kd->loss_config.box_weight, want);
    assert_true(boxes > 0);
    if (strstr(loss, "alpha=0")) assert_true(fabs(all - boxes) < 1e-6 * boxes);
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        for (size_t i = 0; i < (size_t)l.batch * l.inputs; ++i) {
            if (i / (l.w * l.h) % (5 + l.classes) >= 4) continue;
            double found = kd->delta[KD_TCG][o][i];
            check(fabs(found - want[o][i]) <= 1e-6 * (1 + fabs(want[o][i])),
                  "%s, output %d, %zu: delta %g, expected %g", loss, o, i, found, want[o][i]);
            check(kd->delta[KD_NCG][o][i] == 0, "%s: a box in the NCG", loss);
        }
        free(want[o]);
    }
    assert_true(is_active(kd, KD_TCG));
    stop();
}

static void test_boxes_are_of_the_tcg(void)
{
    check_boxes("alpha=0\nbox_weight=2\n", KD_GIOU, &yolo, &yolo_teacher);
    check_boxes("alpha=0\nbox_weight=3\nbox_loss=iou\nrows=dense\n", KD_IOU, &yolo,
                &yolo_teacher);
    check_boxes("box_weight=3\nbox_loss=ciou\n", KD_CIOU, &region, &region_teacher);
    check_boxes("box_weight=1\nbox_loss=diou\nrows=dense\n", KD_DIOU, &region, &yolo_teacher);
    check_boxes("alpha=0\nmethod=bckd\n", KD_GIOU, &yolo, &yolo_teacher);
    check_boxes("alpha=0\nmethod=bckd\nrows=dense\nfeature_nms=1\n", KD_GIOU, &yolo,
                &yolo_teacher);
}

/* A head with iou_loss= has its boxes distilled by it. */
static void test_the_heads_overlap(void)
{
    static const whole_detector ciou = {2, 32, "", yolo_layers, TANH, "iou_loss=ciou"};
    static const whole_detector mse = {2, 32, "", yolo_layers, TANH, "iou_loss=mse"};
    check_boxes("alpha=0\nbox_weight=2\n", KD_CIOU, &ciou, &yolo_teacher);
    check_boxes("alpha=0\nbox_weight=2\n", KD_GIOU, &mse, &yolo_teacher);
    check_boxes("alpha=0\nbox_weight=2\nbox_loss=iou\n", KD_IOU, &ciou, &yolo_teacher);
}

/* Batch 3 of 9: a third of the losses and deltas, the objectness included */
static void test_warmup(void)
{
    const char *loss = "rows=dense\ntopk_schedule=off\nobjectness_weight=.7\n";
    double full[KD_COMPONENTS];
    start(&yolo, &yolo_teacher, loss, 13);
    forward();
    memcpy(full, kd->loss, sizeof(full));
    float delta =
        largest_of(kd->delta[KD_TCG][1], kd->net->layers[kd->outputs.layer[1]].inputs);
    stop();
    start(&yolo, &yolo_teacher, join(loss, "warmup=9\n", ""), 13);
    forward();
    assert_true(kd->loss[KD_TOG] == full[KD_TOG]);
    for (int c = KD_TCG; c <= KD_NCG; ++c)
        assert_true(fabs(kd->loss[c] - full[c] / 3) < 1e-9 * full[c]);
    float warm = largest_of(kd->delta[KD_TCG][1], kd->net->layers[kd->outputs.layer[1]].inputs);
    assert_true(fabs(warm - delta / 3) < 1e-6 * delta);
    stop();
}

static void check_broken(const char *what, network *broken, int layer)
{
    broken->layers[layer].biases[3] = NAN;
    uint64_t before = hash_net(net);
    train_network_datum(net);
    assert_true(kd->broken);
    assert_string_equal(broken_words(kd), what);
    assert_true(hash_net(net) == before);
    stop();
}

/* In any head of either network */
static void test_nothing_is_learnt_from_what_is_not_finite(void)
{
    for (int o = 0; o < 2; ++o) {
        start(&yolo, &yolo_teacher, "", 14);
        check_broken("student's logits", net, kd->outputs.layer[o] - 1);
        start(&yolo, &yolo_teacher, "", 14);
        check_broken("teacher's logits", kd->teacher->net, kd->teacher->outputs.layer[o] - 1);
    }
}

/* Images without boxes leave a task, and with rows=truth nothing to distil. */
/* Of an image without labels no head has a delta or a cost of the task's; others keep theirs.
 */
static void check_unlabelled(const whole_detector *student, const whole_detector *teacher)
{
    char flags[3] = {0};
    image_batch batch = {.n = 3, .unlabelled = flags};
    float *before[2], cost[2] = {0};
    start(student, teacher, "rows=dense\nobjectness_weight=1\n", 13);
    memset(truth_of(net, 1, 0), 0, net->truths * sizeof(float));
    kd->batch = &batch;
    forward();
    double rows = kd->rows.n, distilled = kd->loss[KD_TCG];
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        before[o] = kd_calloc((size_t)l.batch * l.inputs, sizeof(float));
        memcpy(before[o], l.delta, (size_t)l.batch * l.inputs * sizeof(float));
        memset(before[o] + l.inputs, 0, l.inputs * sizeof(float));
        cost[o] = pow(mag_array(before[o], l.batch * l.inputs), 2);
        assert_true(cost[o] < *l.cost);
    }
    flags[1] = 1;
    forward();
    assert_true(kd->rows.n == rows && kd->loss[KD_TCG] == distilled);
    double mean = 0;
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        assert_memory_equal(l.delta, before[o], (size_t)l.batch * l.inputs * sizeof(float));
        assert_true(*l.cost == cost[o]);
        mean += cost[o] / kd->outputs.n;
        free(before[o]);
    }
    assert_true(fabs(kd->loss[KD_TOG] - mean) < 1e-5 * mean);
    kd->batch = 0;
    stop();
}

static void test_unlabelled_images(void)
{
    check_unlabelled(&normed_yolo, &yolo_teacher);
    check_unlabelled(&normed_region, &region_teacher);
}

static void test_images_without_boxes(void)
{
    start(&yolo, &yolo_teacher, "objectness_weight=1\n", 12);
    memset(net->truth, 0, (size_t)net->batch * net->truths * sizeof(float));
    forward();
    assert_int_equal(kd->rows.n, 0);
    assert_int_equal(kd->rows.n, 0);
    assert_int_equal(kd->images, 2);
    assert_true(kd->loss[KD_TOG] > 0 && kd->loss[KD_TCG] == 0 && kd->loss[KD_NCG] == 0);
    for (int o = 0; o < 2; ++o)
        for (int c = KD_TCG; c <= KD_NCG; ++c)
            assert_true(
                largest_of(kd->delta[c][o], 2 * net->layers[kd->outputs.layer[o]].inputs) == 0);
    uint64_t before = hash_net(net);
    net->backward(net);
    net->update(net);
    assert_true(hash_net(net) != before);
    stop();
}

/* ---- groups ------------------------------------------------------------- */

static const char *const group_losses[] = {
    "method=dkd\nbeta=3\nobjectness_weight=.5\ntask_weight=.6\n",
    "rows=dense\ntopk_schedule=off\nactivation=softmax\nobjectness_weight=2\n",
};

/* The buffers of each parameter after one backward pass, summed over all groups; free each. */
static int summed_gradients(const whole_detector *student, const char *loss,
                            float *arrays[MAX_PARAMETERS], size_t *sizes, int *groups)
{
    start(student, &yolo_teacher, loss, 20);
    forward();
    net->backward(net);
    parameters p = parameters_of(net);
    *groups = kd->groups->n;
    for (int i = 0; i < p.n; ++i) {
        sizes[i] = p.list[i].n;
        arrays[i] = kd_calloc(sizes[i], sizeof(float));
        for (int g = 0; g < kd->groups->n; ++g) {
            layer_buffers b = kd->groups->group[g].buffers[p.list[i].layer];
            const char *name = p.list[i].name;
            axpy_cpu(sizes[i], 1,
                     *name == 'w'   ? b.weights
                     : *name == 'b' ? b.biases
                                    : b.scales,
                     1, arrays[i], 1);
        }
    }
    stop();
    return p.n;
}

static void test_grouped_is_the_sum_of_separate(void)
{
    static const char *const grouped[] = {"trainer=sgd\n", "trainer=dot\n"};
    const whole_detector *const students[] = {&normed_yolo, &normed_region};
    float *one[MAX_PARAMETERS], *sum[MAX_PARAMETERS];
    size_t sizes[MAX_PARAMETERS];
    for (int i = 0; i < 8; ++i) {
        const char *loss = group_losses[i / 2 % 2];
        int groups, n = summed_gradients(students[i / 4], join(loss, grouped[i % 2], ""), one,
                                         sizes, &groups);
        assert_int_equal(groups, 1 + i % 2);
        summed_gradients(students[i / 4], join(loss, SEPARATE, ""), sum, sizes, &groups);
        assert_int_equal(groups, 3);
        for (int k = 0; k < n; ++k) {
            double error = distance_of(one[k], sum[k], sizes[k]);
            if (!(error < 1e-5)) fail_msg("%s: array %d: grouped is %g off", loss, k, error);
            free(one[k]), free(sum[k]);
        }
    }
}

/* ---- stock Darknet ------------------------------------------------------ */

static const char *const stock_nets[] = {
    "momentum=.9\ndecay=.01\nlearning_rate=.001\n",
    "subdivisions=3\nmomentum=.9\ndecay=.0005\nlearning_rate=.001\nburn_in=5\n",
};

static const char *const stock_losses[] = {
    "momentum_warmup=0\ntrainer=sgd\nteacher_weight=0\n",
    "momentum_warmup=0\ntrainer=sgd\nalpha=0\nmethod=dkd\nbeta=0\nobjectness_weight=0\n",
    "momentum_warmup=0\ntrainer=sgd\nrows=dense\nalpha=0\nmethod=dkd\nbeta=0\n",
    "momentum_warmup=0\ntrainer=deepkd\ndelta_tog=0\nteacher_weight=0\n",
};

/* One call of train_network_datum on the i-th batch; its loss is what Darknet prints. */
static float train_datum(network *n, int i)
{
    fill_scenes(n, 8, 4, 1000 + i);
    srand(2000 + i);
    return train_network_datum(n);
}

static void check_stock(whole_detector student, const char *head, const char *loss)
{
    student.batch = 6;
    student.net = head;
    char *plain_cfg = whole_cfg(&student, "");
    kd = make_whole(&student, &yolo_teacher, loss, 30);
    detach_cores(kd->net); /* test_cores.c has what they change: the rounding */
    network *plain = make_net(plain_cfg, 31);
    copy_net(kd->net, plain);
    for (int i = 0; i < 5 * plain->subdivisions; ++i) {
        float wanted = train_datum(plain, i), found = train_datum(kd->net, i);
        assert_false(kd->broken);
        assert_true(isfinite(wanted));
        assert_memory_equal(&found, &wanted, sizeof(found));
        if (hash_net(plain) != hash_net(kd->net))
            fail_msg("%s%s: datum %d: other weights than stock's", head, loss, i);
    }
    assert_int_equal(*plain->seen, *kd->net->seen);
    free_network(plain), free(plain_cfg);
    stop();
}

static void test_task_alone_is_stock_darknet(void)
{
    for (int i = 0; i < COUNT(stock_nets); ++i)
        for (int k = 0; k < COUNT(stock_losses); ++k) {
            check_stock(normed_yolo, stock_nets[i], stock_losses[k]);
            check_stock(normed_region, stock_nets[i], stock_losses[k]);
        }
}

/* ---- the teacher -------------------------------------------------------- */

static void test_teacher_does_not_change(void)
{
    const whole_detector *const students[] = {&yolo, &region};
    for (int i = 0; i < 2; ++i) {
        start(students[i], i ? &region_teacher : &yolo_teacher,
              "rows=dense\nobjectness_weight=1\n", 40);
        uint64_t teacher_before = hash_net(kd->teacher->net), before = hash_net(net);
        for (int k = 0; k < 8; ++k) train_datum(net, k);
        assert_false(kd->broken);
        assert_true(hash_net(kd->teacher->net) == teacher_before);
        assert_true(hash_net(net) != before);
        assert_int_equal(*kd->teacher->net->seen, 0);
        stop();
    }
}

/* A teacher that says what the student says */
static void test_equal_teacher_teaches_nothing(void)
{
    static const char *const rows[] = {"objectness_weight=1\n",
                                       "rows=dense\nobjectness_weight=1\n",
                                       "rows=dense\nactivation=softmax\nmethod=dkd\n"};
    const whole_detector *const students[] = {&yolo, &region};
    for (int i = 0; i < 2 * COUNT(rows); ++i) {
        start(students[i % 2], students[i % 2], rows[i / 2], 50);
        copy_net(net, kd->teacher->net);
        forward();
        assert_true(kd->rows.n > 0);
        assert_true(fabs(kd->loss[KD_TCG]) < 1e-10 && fabs(kd->loss[KD_NCG]) < 1e-10);
        for (int o = 0; o < kd->outputs.n; ++o) {
            layer l = net->layers[kd->outputs.layer[o]];
            for (int c = KD_TCG; c <= KD_NCG; ++c)
                assert_true(largest_of(kd->delta[c][o], (size_t)l.batch * l.inputs) < 1e-6);
        }
        stop();
    }
}

/* ---- other sizes (random=1) --------------------------------------------- */

static void resize(int size)
{
    silence();
    resize_network(net, size, size);
    speak();
}

/* Losses, deltas and buffers of one step on images of the net's present size */
static uint64_t hash_step(unsigned int seed)
{
    kd_arrays buffers = group_arrays(kd);
    for (int i = 0; i < buffers.n; ++i)
        memset(buffers.arrays[i].data, 0, buffers.arrays[i].n * sizeof(float));
    fill_full_scenes(net, 4, seed);
    forward();
    net->backward(net);
    uint64_t hash = kd_hash(hash_arrays(buffers), kd->loss, sizeof(kd->loss));
    for (int o = 0; o < kd->outputs.n; ++o) {
        layer l = net->layers[kd->outputs.layer[o]];
        for (int c = KD_TCG; c <= KD_NCG; ++c)
            hash = kd_hash(hash, kd->delta[c][o], (size_t)l.batch * l.inputs * sizeof(float));
    }
    kd_free_arrays(buffers);
    assert_true(kd->loss[KD_TCG] > 0 && kd->loss[KD_NCG] > 0);
    return hash;
}

/* A pair whose student has this size from the start, with the weights of seed 60 */
static uint64_t hash_of_size(whole_detector student, const whole_detector *teacher,
                             const char *loss, int size)
{
    student.size = size;
    start(&student, teacher, loss, 60);
    uint64_t hash = hash_step(61);
    stop();
    return hash;
}

/* `teacher_options`: the lines of [teacher]; make_whole() has none. */
static void start_resizable(const whole_detector *student, const whole_detector *teacher,
                            const char *loss, int follows)
{
    char *tail = join(follows ? "[teacher]\nresize=1\n[deepkd_loss]\n"
                              : "[teacher]\nresize=0\n[deepkd_loss]\n",
                      loss, "");
    char *cfg = whole_cfg(student, tail), *other = whole_cfg(teacher, "");
    kd = make_pair(cfg, other, 60);
    net = kd->net;
    *net->seen = 3L * net->batch * net->subdivisions;
    free(tail), free(cfg), free(other);
}

static void check_resizing(const whole_detector *student, const whole_detector *teacher,
                           const char *loss, int follows)
{
    static const int sizes[] = {64, 40, 32, 96, 32};
    whole_detector same = *teacher;
    int is_first = 1;
    uint64_t first = 0;
    start_resizable(student, teacher, loss, follows);
    deepkd *resized = kd;
    for (int i = -1; i < COUNT(sizes); ++i) {
        int size = i < 0 ? 32 : sizes[i];
        kd = resized, net = kd->net;
        if (i >= 0) resize(size);
        uint64_t found = hash_step(61);
        if (is_first) first = found, is_first = 0;
        assert_int_equal(kd->teacher->net->w, follows ? size : teacher->size);
        if (size == 32) assert_true(found == first);
        if (follows) same.size = size;
        assert_true(found == hash_of_size(*student, &same, loss, size));
    }
    kd = resized;
    stop();
}

static void test_resized_networks(void)
{
    static const char *const losses[] = {
        "topk_schedule=off\nobjectness_weight=.5\n",
        "rows=dense\ntopk_schedule=off\nobjectness_weight=.5\n"};
    for (int follows = 0; follows < 2; ++follows)
        for (int i = 0; i < COUNT(losses); ++i) {
            check_resizing(&normed_yolo, &yolo_teacher, losses[i], follows);
            check_resizing(&normed_region, &yolo_teacher, losses[i], follows);
            check_resizing(&yolo, &region_teacher, losses[i], follows);
        }
}

/* What Darknet's other commands look at: the last layer, and the network's output */
static void test_outputs_of_a_resized_student(void)
{
    start(&yolo, &yolo_teacher, "", 62);
    for (int size = 64; size >= 32; size -= 32) {
        resize(size);
        layer last = net->layers[net->n - 1], head = net->layers[kd->outputs.layer[1]];
        assert_int_equal(last.w, size / 4);
        assert_int_equal(last.outputs, head.outputs);
        assert_ptr_equal(last.output, head.output);
        assert_ptr_equal(net->output, head.output);
        assert_ptr_equal(find_deepkd(net), kd);
        assert_int_equal(net->truths, 40);
        assert_ptr_equal(network_predict(net, net->input), head.output);
    }
    stop();
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_unmasked_kd_is_plain_distillation),
        TEST(test_objectness_is_of_the_tcg),
        TEST(test_boxes_are_of_the_tcg),
        TEST(test_the_heads_overlap),
        TEST(test_warmup),
        TEST(test_nothing_is_learnt_from_what_is_not_finite),
        TEST(test_unlabelled_images),
        TEST(test_images_without_boxes),
        TEST(test_grouped_is_the_sum_of_separate),
        TEST(test_task_alone_is_stock_darknet),
        TEST(test_teacher_does_not_change),
        TEST(test_equal_teacher_teaches_nothing),
        TEST(test_resized_networks),
        TEST(test_outputs_of_a_resized_student),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
