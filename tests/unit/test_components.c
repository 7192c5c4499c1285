/*
 * Proves how [teacher], [deepkd_loss] and the momentum groups train a student:
 *   - each component's backward pass alone leaves the derivative of that
 *     component's own loss (finite differences), for every kind of loss;
 *   - components in one group give the sum of what they give in three;
 *   - kd without a mask, alpha=1, is plain knowledge distillation;
 *   - a student without a teacher's weight is trained bit for bit as stock
 *     Darknet trains the plain cfg;
 *   - the teacher never changes, and says what it says alone, at any input size;
 *   - weight decay enters its own group's buffers and no other;
 *   - subdivisions change nothing;
 *   - a number that is not finite stops the update.
 *
 * To add a kind of loss: a line of options in `losses`. To add a stock run: a
 * [net] in `stock_nets`.
 */
#include "cpu/cores.h"
#include "nets.h"

#define SAMPLES 40
#define STEP 1e-2

#define NET "[net]\nheight=8\nwidth=8\nchannels=3\nmax_batches=100\nlearning_rate=.05\n"
#define BATCH(n) "batch=" #n "\n"
#define CONV "[convolutional]\nsize=3\npad=1\n"
#define HEAD "[connected]\noutput=6\nactivation=linear\n[softmax]\n"
#define TEACHER "[teacher]\n"
#define SEPARATE "momentum_tog=.3\nmomentum_tcg=.2\nmomentum_ncg=.1\n"

#define PLAIN                                                                                  \
    CONV "filters=4\nactivation=tanh\n" CONV "filters=4\nstride=2\nactivation=logistic\n" HEAD
#define NORMED                                                                                 \
    CONV "filters=4\nbatch_normalize=1\nactivation=tanh\n" CONV                                \
         "filters=6\nstride=2\nbatch_normalize=1\nactivation=tanh\n" HEAD
#define SMALL_TEACHER                                                                          \
    "[net]\nbatch=1\nheight=8\nwidth=8\nchannels=3\n" CONV                                     \
    "filters=8\nbatch_normalize=1\nactivation=leaky\n[dropout]\nprobability=.5\n" HEAD

static deepkd *kd;
static network *net;

static void start(const char *student, const char *loss, unsigned int seed)
{
    kd = make_pair(join(student, TEACHER "[deepkd_loss]\n", loss), SMALL_TEACHER, seed);
    net = kd->net;
    fill_batch(net, seed + 1);
    *net->seen = 3L * net->batch * net->subdivisions; /* batch 3, for warmup and schedule */
}

static void stop(void)
{
    free_pair(kd);
}

static const float *teacher_logits(void)
{
    return output_logits(kd->teacher->net, &kd->teacher->outputs, 0);
}

/* A forward pass in training that leaves nothing but its losses. */
static void forward(void)
{
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->images = 0;
    net->train = 1;
    srand(5);
    forward_network(net);
    assert_false(kd->broken);
}

static double component_loss(kd_component c)
{
    forward();
    return c == KD_TOG ? kd->options.task_weight * task_loss(net, kd->outputs.layer[0])
                       : kd->loss[c];
}

static double difference(float *w, kd_component c)
{
    float before = *w, above = before + STEP, below = before - STEP;
    *w = above;
    double up = component_loss(c);
    *w = below;
    double down = component_loss(c);
    *w = before;
    return (up - down) / ((double)above - below);
}

static momentum_group *group_of(kd_component c)
{
    for (int g = 0; g < kd->groups->n; ++g)
        if (kd->groups->group[g].has[c]) return kd->groups->group + g;
    fail_msg("component %d is in no group", c);
    return 0;
}

/* The arrays of parameters_of, with the group's buffers as gradients. */
static parameters parameters_in(const momentum_group *group)
{
    parameters p = parameters_of(net);
    for (int i = 0; i < p.n; ++i) {
        layer_buffers b = group->buffers[p.list[i].layer];
        const char *name = p.list[i].name;
        p.list[i].gradient = *name == 'w' ? b.weights : *name == 'b' ? b.biases : b.scales;
    }
    return p;
}

/* ---- gradients --------------------------------------------------------- */

/* What each error is relative to the array's largest gradient; reached: 9e-4, 5e-3. */
#define SMOOTH 3e-3
#define NORM 1e-2 /* batch norm: see test_gradients.c */

static const char *const losses[] = {
    "method=kd\ntopk_schedule=off\n",
    "method=dkd\ntopk_schedule=off\n",
    "method=kd\ntopk_schedule=static\ntopk=2\nalpha=.7\nteacher_weight=1.3\n",
    "method=dkd\ntopk_schedule=static\ntopk=3\nbeta=3\ntask_weight=.6\n",
    "method=kd\ntopk_schedule=static\ntopk=2\nlogit_standardization=1\ntemperature=1\n",
    "method=dkd\ntopk_schedule=static\ntopk=2\nlogit_standardization=1\n",
    "method=kd\ntopk_schedule=static\nactivation=logistic\n",
    "method=dkd\ntopk_schedule=off\nactivation=logistic\ntemperature=2\n",
    "method=dkd\ntopk_schedule=static\ntopk=2\nwarmup=9\n",
};

static void check_array(const parameter *p, kd_component c, double tolerance, const char *name)
{
    double scale = largest_of(p->gradient, p->n), worst = 0;
    size_t n = p->n < SAMPLES ? p->n : SAMPLES;
    for (size_t i = 0; i < n; ++i) {
        size_t j = p->n <= SAMPLES ? i : (i * 7919 + 13) % p->n;
        worst = fmax(worst, fabs(p->gradient[j] + difference(p->data + j, c)));
    }
    if (getenv("KD_VERBOSE"))
        fprintf(stderr, "%s of layer %d, %s: %.1e of %.1e\n", kd_component_name[c], p->layer,
                p->name, worst / scale, scale);
    if (!(scale > 1e-5) || !(worst < tolerance * scale))
        fail_msg("%s: %s of layer %d, %s: error %g of the largest gradient %g", name,
                 kd_component_name[c], p->layer, p->name, worst / scale, scale);
}

static void check_components(const char *student, int i, double tolerance)
{
    start(student, join(losses[i], SEPARATE, ""), 10 + i);
    forward();
    net->backward(net);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        parameters p = parameters_in(group_of(c));
        for (int j = 0; j < p.n; ++j) check_array(p.list + j, c, tolerance, losses[i]);
    }
    stop();
}

static void test_each_component_has_its_own_gradient(void)
{
    for (int i = 0; i < COUNT(losses); ++i) check_components(NET BATCH(4) PLAIN, i, SMOOTH);
}

static void test_each_component_through_batch_norm(void)
{
    for (int i = 2; i < 6; ++i) check_components(NET BATCH(8) NORMED, i, NORM);
}

/* ---- groups ------------------------------------------------------------ */

/* The buffers of a fresh pair after one backward pass, array by array; free each. */
static int gradients(const char *loss, float *arrays[MAX_PARAMETERS], size_t *sizes,
                     int component)
{
    start(NET BATCH(8) NORMED, loss, 40);
    forward();
    net->backward(net);
    parameters p = parameters_in(group_of(component));
    for (int i = 0; i < p.n; ++i) {
        sizes[i] = p.list[i].n;
        arrays[i] = kd_calloc(sizes[i], sizeof(float));
        memcpy(arrays[i], p.list[i].gradient, sizes[i] * sizeof(float));
    }
    stop();
    return p.n;
}

static void check_grouped(const char *options, const char *momenta, int a, int b)
{
    float *grouped[MAX_PARAMETERS], *one[MAX_PARAMETERS], *sum[MAX_PARAMETERS];
    size_t sizes[MAX_PARAMETERS];
    int n = gradients(join(options, momenta, ""), grouped, sizes, a);
    gradients(join(options, SEPARATE, ""), sum, sizes, a);
    for (int c = a + 1; c <= b; ++c) {
        gradients(join(options, SEPARATE, ""), one, sizes, c);
        for (int i = 0; i < n; ++i) axpy_cpu(sizes[i], 1, one[i], 1, sum[i], 1);
        for (int i = 0; i < n; ++i) free(one[i]);
    }
    for (int i = 0; i < n; ++i) {
        double error = distance_of(grouped[i], sum[i], sizes[i]);
        if (!(error < 1e-5)) fail_msg("%s: array %d: grouped is %g off", options, i, error);
        free(grouped[i]), free(sum[i]);
    }
}

static void test_grouped_is_the_sum_of_separate(void)
{
    for (int i = 0; i < COUNT(losses); ++i) {
        check_grouped(losses[i], "trainer=sgd\n", KD_TOG, KD_NCG);
        check_grouped(losses[i], "trainer=dot\n", KD_TCG, KD_NCG);
    }
}

/* TCG + NCG go back as T (p - q) from the logits. */
static void test_unmasked_kd_is_plain_distillation(void)
{
    double T = 3;
    start(NET BATCH(4) PLAIN,
          "temperature=3\nalpha=1\ntask_weight=0\ntopk_schedule=off\ntrainer=sgd\n", 50);
    detach_cores(net);
    forward();
    float *delta = kd_calloc((size_t)net->batch * kd->classes, sizeof(float));
    float *p = kd_calloc(kd->classes, sizeof(float)),
          *q = kd_calloc(kd->classes, sizeof(float));
    for (int b = 0; b < net->batch; ++b) {
        int n = kd->classes;
        softmax_cpu(output_logits(net, &kd->outputs, 0) + b * n, n, 1, 0, 1, 0, 1, T, p);
        softmax_cpu((float *)teacher_logits() + b * n, n, 1, 0, 1, 0, 1, T, q);
        for (int j = 0; j < n; ++j) delta[b * n + j] = -T * (p[j] - q[j]);
    }
    net->backward(net);
    parameters found = parameters_of(net);
    float *copies[MAX_PARAMETERS];
    for (int i = 0; i < found.n; ++i) {
        copies[i] = kd_calloc(found.list[i].n, sizeof(float));
        memcpy(copies[i], found.list[i].gradient, found.list[i].n * sizeof(float));
    }
    zero_gradients(net);
    forward();
    memcpy(net->layers[kd->outputs.layer[0]].delta, delta,
           (size_t)net->batch * kd->classes * sizeof(float));
    backward_network(net);
    for (int i = 0; i < found.n; ++i) {
        assert_true(distance_of(copies[i], found.list[i].gradient, found.list[i].n) < 1e-5);
        free(copies[i]);
    }
    free(delta), free(p), free(q);
    stop();
}

/* Components with no weight cost no pass and leave nothing. */
static void test_weights_of_zero(void)
{
    start(NET BATCH(4) PLAIN, "task_weight=0\nalpha=0\ntopk_schedule=off\n" SEPARATE, 51);
    forward();
    net->backward(net);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        parameters p = parameters_in(group_of(c));
        for (int i = 0; i < p.n; ++i)
            assert_true((largest_of(p.list[i].gradient, p.list[i].n) > 0) == (c == KD_NCG));
    }
    stop();
}

/* ---- stock Darknet ----------------------------------------------------- */

#define STUDENT                                                                                \
    CONV "filters=4\nbatch_normalize=1\nactivation=leaky\nlearning_rate=.3\n[maxpool]\nsize=2" \
         "\nstride=2\n" CONV "filters=4\nactivation=leaky\n[shortcut]\nfrom=-2\n"              \
         "activation=linear\n[dropout]\nprobability=.3\n[connected]\noutput=8\n"               \
         "batch_normalize=1\nactivation=leaky\nlearning_rate=2\n" HEAD

static const char *const stock_nets[] = {
    NET BATCH(4) "momentum=0\ndecay=0\n",
    NET BATCH(4) "momentum=.9\ndecay=.01\n",
    NET BATCH(4) "subdivisions=2\nmomentum=.9\ndecay=.01\n",
    NET BATCH(8) "subdivisions=4\nmomentum=.95\ndecay=.001\nburn_in=5\npower=2\n",
    NET BATCH(4) "subdivisions=2\nmomentum=.9\npolicy=steps\nsteps=2,4\nscales=.1,.1\n",
    NET BATCH(4) "momentum=.9\npolicy=poly\nburn_in=2\n",
};

static const char *const stock_losses[] = {
    "trainer=sgd\nteacher_weight=0\ntask_weight=1\n",
    "trainer=sgd\nteacher_weight=0\ntask_weight=1\ndecay_component=ncg\n",
    "trainer=deepkd\nteacher_weight=0\ndelta_tog=0\n",
};

/* One call of train_network_datum on the i-th batch. */
static double train_datum(network *n, int i)
{
    fill_batch(n, 1000 + i);
    srand(2000 + i);
    return train_network_datum(n);
}

static void check_stock(const char *head, const char *layers, const char *loss)
{
    kd = make_pair(join(head, layers, join(TEACHER, "[deepkd_loss]\nmomentum_warmup=0\n", loss)),
                   SMALL_TEACHER, 60);
    detach_cores(kd->net); /* test_cores.c has what they change: the rounding */
    network *plain = make_net(join(head, layers, ""), 61);
    copy_net(kd->net, plain);
    for (int i = 0; i < 6 * plain->subdivisions; ++i) {
        float wanted = train_datum(plain, i), found = train_datum(kd->net, i);
        assert_memory_equal(&found, &wanted, sizeof(found));
        if (hash_net(plain) != hash_net(kd->net))
            fail_msg("%s%s: datum %d: other weights than stock's", head, loss, i);
    }
    assert_int_equal(*plain->seen, *kd->net->seen);
    free_network(plain);
    stop();
}

static void test_task_alone_is_stock_darknet(void)
{
    for (int i = 0; i < COUNT(stock_nets); ++i)
        for (int j = 0; j < 2; ++j) check_stock(stock_nets[i], STUDENT, stock_losses[j]);
    check_stock(stock_nets[2], STUDENT, stock_losses[2]);
}

/* Two layers with a loss, as Darknet's older cfgs have them. */
static void test_cost_behind_softmax_is_stock_darknet(void)
{
    check_stock(stock_nets[2], STUDENT "[cost]\ntype=sse\n", stock_losses[0]);
    check_stock(stock_nets[2], PLAIN "[cost]\ntype=smooth\nscale=.5\n", stock_losses[0]);
}

/* ---- the teacher ------------------------------------------------------- */

static void train_batches(int n)
{
    for (int i = 0; i < n * net->subdivisions; ++i) {
        train_datum(net, i);
        assert_false(kd->broken);
    }
}

static void test_teacher_does_not_change(void)
{
    start(NET BATCH(4) "subdivisions=2\n" NORMED, "method=dkd\nbeta=1\n", 70);
    uint64_t teacher_before = hash_net(kd->teacher->net), student_before = hash_net(net);
    train_batches(20);
    assert_true(hash_net(kd->teacher->net) == teacher_before);
    assert_true(hash_net(net) != student_before);
    assert_int_equal(*kd->teacher->net->seen, 0);
    stop();
}

/* kd->teacher's logits are those of the teacher's network alone, given `input`. */
static void check_logits(const char *teacher_cfg, const float *input)
{
    char *cfg = write_text("alone.cfg", teacher_cfg);
    network *alone = parse_net(cfg, net->batch, 81);
    copy_net(kd->teacher->net, alone);
    network_predict(alone, (float *)input);
    net_outputs outputs = find_outputs(alone, cfg);
    const float *logits = output_logits(alone, &outputs, 0);
    size_t n = (size_t)net->batch * kd->classes;
    assert_true(largest_of(logits, n) > .01);
    assert_memory_equal(teacher_logits(), logits, n * sizeof(float));
    free_network(alone);
    free(outputs.layer), free(cfg);
}

static void test_teacher_logits(void)
{
    start(NET BATCH(4) NORMED, "", 80);
    detach_cores(kd->teacher->net);
    forward();
    check_logits(SMALL_TEACHER, net->input);
    stop();
}

static float *resized_input(const network *to)
{
    float *input = kd_calloc((size_t)net->batch * to->inputs, sizeof(float));
    for (int b = 0; b < net->batch; ++b) {
        image from = float_to_image(net->w, net->h, net->c, net->input + b * net->inputs);
        image resized = resize_image(from, to->w, to->h);
        memcpy(input + (size_t)b * to->inputs, resized.data, to->inputs * sizeof(float));
        free_image(resized);
    }
    return input;
}

static void test_teacher_of_another_input_size(void)
{
    static const char *const sizes[] = {"height=12\nwidth=12\n", "height=5\nwidth=5\n",
                                        "height=8\nwidth=11\n"};
    for (int i = 0; i < COUNT(sizes); ++i) {
        char cfg[1024];
        snprintf(cfg, sizeof(cfg), "[net]\nbatch=2\nsubdivisions=2\nchannels=3\n%s%s", sizes[i],
                 CONV "filters=8\nactivation=leaky\n" HEAD);
        kd = make_pair(NET BATCH(4) PLAIN TEACHER "[deepkd_loss]\n", cfg, 82);
        net = kd->net;
        fill_batch(net, 83);
        detach_cores(kd->teacher->net);
        forward();
        float *input = resized_input(kd->teacher->net);
        check_logits(cfg, input);
        free(input);
        stop();
    }
}

/* Without a teacher's weight it does not run. */
static void test_idle_teacher(void)
{
    start(NET BATCH(4) PLAIN, "teacher_weight=0\n", 84);
    forward();
    assert_true(largest_of(teacher_logits(), (size_t)net->batch * kd->classes) == 0);
    assert_true(kd->loss[KD_TOG] > 0 && kd->loss[KD_TCG] == 0 && kd->loss[KD_NCG] == 0);
    assert_int_equal(kd->images, net->batch);
    assert_int_equal(kd->rows.n, 0);
    stop();
}

/* Inference costs nothing, and the network's output is the student's. */
static void test_inference(void)
{
    start(NET BATCH(4) NORMED, "", 85);
    detach_cores(net);
    network *plain = make_net(NET BATCH(4) NORMED, 86);
    copy_net(net, plain);
    float *found = network_predict(net, net->input),
          *wanted = network_predict(plain, net->input);
    assert_memory_equal(found, wanted, net->batch * kd->classes * sizeof(float));
    assert_int_equal(kd->images, 0);
    assert_true(largest_of(teacher_logits(), (size_t)net->batch * kd->classes) == 0);
    free_network(plain);
    stop();
}

/* ---- updates ----------------------------------------------------------- */

static void zero_buffers(void)
{
    kd_arrays buffers = group_arrays(kd);
    for (int i = 0; i < buffers.n; ++i)
        memset(buffers.arrays[i].data, 0, buffers.arrays[i].n * sizeof(float));
    kd_free_arrays(buffers);
}

/* No gradient: the decay group holds mu (-decay batch w), and w <- w (1 - rate decay). */
static void check_decay(int decays)
{
    const float *before[MAX_PARAMETERS] = {0};
    network *copy = make_net(NET BATCH(4) NORMED, 91);
    copy_net(net, copy);
    parameters old = parameters_of(copy);
    for (int i = 0; i < old.n; ++i) before[i] = old.list[i].data;
    net->update(net);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        parameters p = parameters_in(group_of(c));
        double momentum = momentum_at(kd, c, training_update(kd) + 1);
        for (int i = 0; i < p.n; ++i) {
            int is_weights = !strcmp(p.list[i].name, "weights");
            for (size_t j = 0; j < p.list[i].n; ++j) {
                double w = before[i][j], v = is_weights && c == decays ? -.01 * 4 * w : 0;
                assert_float_equal(p.list[i].gradient[j], momentum * v, 1e-6 * fabs(w));
                w = is_weights ? w * (1 - .05 * .01) : w;
                assert_float_equal(p.list[i].data[j], w, 2e-7 * fabs(w));
            }
        }
    }
    free_network(copy);
}

static void test_decay_enters_its_group_alone(void)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        char loss[256];
        snprintf(loss, sizeof(loss), "decay_component=%s\n%s", kd_component_name[c], SEPARATE);
        start(NET BATCH(4) "decay=.01\n" NORMED, loss, 90);
        zero_buffers();
        check_decay(c);
        stop();
    }
}

/* It is taken from the weights before the step, whatever the other groups do to them. */
static void test_decay_comes_before_the_step(void)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        char loss[256];
        snprintf(loss, sizeof(loss), "decay_component=%s\n%s", kd_component_name[c], SEPARATE);
        start(NET BATCH(4) "decay=.01\n" PLAIN, loss, 94);
        zero_buffers();
        for (int other = 0; other < KD_COMPONENTS; ++other)
            if (other != c) group_of(other)->buffers[0].weights[0] = 50;
        double w = net->layers[0].weights[0], v = -.01 * 4 * w;
        net->update(net);
        const momentum_group *g = group_of(c);
        assert_float_equal(g->buffers[0].weights[0], momentum_at(kd, c, training_update(kd) + 1) * v, 1e-6 * fabs(w));
        assert_float_equal(net->layers[0].weights[0], w + .05 / 4 * (100 + v), 1e-5);
        stop();
    }
}

/* v <- mu v + gradient and w <- w - rate v, group by group, over three updates. */
static void test_momentum_of_each_group(void)
{
    start(NET BATCH(4) "decay=0\n" PLAIN, SEPARATE, 92);
    float *w = net->layers[0].weights, first = *w;
    double v[KD_COMPONENTS] = {0}, expected = first;
    zero_buffers();
    for (int step = 1; step <= 3; ++step) {
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            momentum_group *g = group_of(c);
            g->buffers[0].weights[0] += c + step; /* what backward would add */
            v[c] += c + step;
            expected += .05 / 4 * v[c];
        }
        net->update(net);
        for (int c = 0; c < KD_COMPONENTS; ++c) v[c] *= momentum_at(kd, c, training_update(kd) + 1);
        assert_float_equal(*w, expected, 1e-5);
    }
    stop();
}

/* Four images at once, or two by two: the same buffers. */
static void test_subdivisions_accumulate(void)
{
    float *whole[MAX_PARAMETERS];
    float images[4 * 3 * 8 * 8], truth[4 * 6];
    const char *loss = "method=dkd\nbeta=2\ntopk_schedule=static\ntopk=2\n" SEPARATE;
    start(NET BATCH(4) PLAIN, loss, 93);
    memcpy(images, net->input, sizeof(images));
    memcpy(truth, net->truth, sizeof(truth));
    forward();
    net->backward(net);
    double parts[KD_COMPONENTS];
    memcpy(parts, kd->loss, sizeof(parts));
    kd_arrays buffers = group_arrays(kd);
    for (int i = 0; i < buffers.n; ++i) {
        whole[i] = kd_calloc(buffers.arrays[i].n, sizeof(float));
        memcpy(whole[i], buffers.arrays[i].data, buffers.arrays[i].n * sizeof(float));
    }
    kd_free_arrays(buffers);
    stop();

    start(NET BATCH(4) "subdivisions=2\n" PLAIN, loss, 93);
    *net->seen = 2L * 4; /* so that these are the halves of batch 3 */
    net->update = update_network;
    for (int half = 0; half < 2; ++half) {
        memcpy(net->input, images + half * COUNT(images) / 2, sizeof(images) / 2);
        memcpy(net->truth, truth + half * COUNT(truth) / 2, sizeof(truth) / 2);
        *net->seen += net->batch;
        net->train = 1;
        forward_network(net);
        net->backward(net);
    }
    assert_int_equal(kd->images, 4);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        assert_float_equal(kd->loss[c], parts[c], 1e-5 * fabs(parts[c]));
    buffers = group_arrays(kd);
    for (int i = 0; i < buffers.n; ++i) {
        assert_true(distance_of(buffers.arrays[i].data, whole[i], buffers.arrays[i].n) < 1e-5);
        free(whole[i]);
    }
    kd_free_arrays(buffers);
    stop();
}

/* ---- what is not finite ------------------------------------------------ */

static void check_broken(const char *what, const char *loss, void (*spoil)(void))
{
    start(NET BATCH(4) PLAIN, loss, 95);
    spoil();
    uint64_t before = hash_net(net);
    kd_arrays buffers = group_arrays(kd);
    uint64_t buffers_before = hash_arrays(buffers);
    train_network_datum(net);
    assert_true(kd->broken);
    assert_string_equal(broken_words(kd), what);
    assert_true(hash_net(net) == before);
    assert_true(hash_arrays(buffers) == buffers_before);
    kd_free_arrays(buffers);
    stop();
}

static void spoil_teacher(void)
{
    kd->teacher->net->layers[kd->teacher->net->n - 2].biases[1] = INFINITY;
}

static void spoil_student(void)
{
    net->layers[kd->outputs.layer[0] - 1].biases[1] = NAN;
}

static void test_nothing_is_learnt_from_what_is_not_finite(void)
{
    check_broken("teacher's logits", "", spoil_teacher);
    check_broken("student's logits", "", spoil_student);
    check_broken("student's logits", "teacher_weight=0\n", spoil_student);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_each_component_has_its_own_gradient),
        TEST(test_each_component_through_batch_norm),
        TEST(test_grouped_is_the_sum_of_separate),
        TEST(test_unmasked_kd_is_plain_distillation),
        TEST(test_weights_of_zero),
        TEST(test_task_alone_is_stock_darknet),
        TEST(test_cost_behind_softmax_is_stock_darknet),
        TEST(test_teacher_does_not_change),
        TEST(test_teacher_logits),
        TEST(test_teacher_of_another_input_size),
        TEST(test_idle_teacher),
        TEST(test_inference),
        TEST(test_decay_enters_its_group_alone),
        TEST(test_decay_comes_before_the_step),
        TEST(test_momentum_of_each_group),
        TEST(test_subdivisions_accumulate),
        TEST(test_nothing_is_learnt_from_what_is_not_finite),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
