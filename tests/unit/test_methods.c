/*
 * Proves what a distillation method may be (kd_method, kd_math.h), with toys beside the real
 * ones:
 *   - the table of methods is sound;
 *   - (b) views: rows pair a prediction of one view of an image with the teacher's of the same
 * or of another view, with a weight;
 *   - (c) a loss of the whole batch adds to any component, TOG among them;
 *   - what a method needs and the network has not is an error;
 *   - components whose momenta are kept apart learn what merged ones learn;
 *   - the batch arrives whole: each subdivision knows its images.
 * Gradients are held against finite differences of the losses, through the whole network.
 */
#include "distil/replicas.h"
#include "nets.h"

#define SAMPLES 30
#define STEP 1e-2
#define CLASSES 6
#define IMAGES 4

#define NET                                                                                    \
    "[net]\nbatch=4\nheight=8\nwidth=8\nchannels=3\nmax_batches=100\nlearning_rate=.05\n"
#define CONV "[convolutional]\nsize=3\npad=1\nfilters=4\nactivation=tanh\n"
#define HEAD "[connected]\noutput=6\nactivation=linear\n[softmax]\n"
#define LOSS "[teacher]\n[deepkd_loss]\ntopk_schedule=off\n"
#define SEPARATE "momentum_tog=.3\nmomentum_tcg=.2\nmomentum_ncg=.1\n"
#define STUDENT NET CONV HEAD LOSS

static deepkd *kd;

static void start(const char *student, const kd_method *method)
{
    next_method = method;
    kd = make_pair(student, NET CONV HEAD, 7);
    next_method = 0;
    fill_batch(kd->net, 8);
    *kd->net->seen = IMAGES;
}

static void forward(void)
{
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->net->train = 1;
    forward_network(kd->net);
    assert_false(kd->broken);
}

/* ---- the table --------------------------------------------------------- */

static void check_parameters(const kd_method *m)
{
    for (int i = 0; i < KD_PARAMETERS && m->parameter[i].name; ++i) {
        kd_parameter p = m->parameter[i];
        check(p.least <= p.usual && p.usual <= p.most, "%s: %s=%g is out of its range", m->name,
              p.name, p.usual);
        check(p.weighs < KD_COMPONENTS, "%s: %s weighs no component", m->name, p.name);
    }
}

static void test_table(void)
{
    int n = 0, parameters = 0;
    for (const kd_method *m = kd_methods; m->name; ++m, ++n) {
        check(find_method(m->name) == m, "%s: found another method of that name", m->name);
        check(m->row && m->views >= 1 && m->pair[0].weight, "%s: no loss or no rows", m->name);
        for (int i = 0; i < KD_VIEW_PAIRS && m->pair[i].weight; ++i)
            check(m->pair[i].student < m->views && m->pair[i].teacher < m->views,
                  "%s: pair %d is of views that are not there", m->name, i);
        check_parameters(m);
        for (int i = 0; i < KD_PARAMETERS && m->parameter[i].name; ++i) ++parameters;
    }
    check(parameters <= METHOD_OPTIONS, "%d parameters: no room for them all", parameters);
    check(n >= 2, "found %d methods, expected kd and dkd", n);
    check(!find_method("dk"), "found a method that is none");
}

/* ---- gradients --------------------------------------------------------- */

static double task(void)
{
    return kd->options.task_weight * task_loss(kd->net, kd->outputs.layer[0]);
}

/* What a component's gradient is the gradient of; TOG's own loss is reckoned in double. */
static double component_loss(kd_component c)
{
    forward();
    if (c != KD_TOG) return kd->loss[c];
    return kd->loss[c] - *kd->net->cost * kd->options.task_weight + task();
}

static momentum_group *group_of(kd_component c)
{
    momentum_group *g = kd->groups->group;
    while (!g->has[c]) ++g;
    return g;
}

/* Derivatives by SAMPLES weights of the first layer, beside what backward leaves */
static void check_gradients(void)
{
    layer first = kd->net->layers[0];
    memset(kd->groups->momenta, 0, kd->groups->n * kd->groups->size * sizeof(float));
    forward();
    kd->net->backward(kd->net);
    for (kd_component c = 0; c < KD_COMPONENTS; ++c) {
        const float *gradient = group_of(c)->buffers[0].weights;
        double worst = 0, scale = largest_of(gradient, weights_of(first));
        for (int i = 0; i < SAMPLES; ++i) {
            float *w = first.weights + i * weights_of(first) / SAMPLES, before = *w;
            *w = before + STEP;
            double above = component_loss(c), width = *w;
            *w = before - STEP;
            double below = component_loss(c);
            width -= *w;
            *w = before;
            worst = fmax(worst,
                         fabs((above - below) / width + gradient[w - first.weights]) / scale);
        }
        check(worst < 5e-3, "%s: off by %.1e of the largest", kd_component_name[c], worst);
    }
}

/* ---- views ------------------------------------------------------------- */

static kd_losses kd_of_view(const kd_loss_config *config, const kd_prepared_row *row,
                            double *tcg, double *ncg)
{
    return find_method("kd")->row(config, row, tcg, ncg);
}

static const kd_method two_views = {
    .name = "two-views",
    .row = kd_of_view,
    .views = 2,
    .pair = {{0, 0, 1}, {1, 0, .5}, {0, 1, .25}},
};

/* kd_row of one pair of images, added up as the layer should */
static void add_pair(int ours, int theirs, double weight, kd_losses *loss, double *tcg)
{
    double z[CLASSES], y[CLASSES], t[CLASSES], n[CLASSES], scratch[KD_SCRATCH(CLASSES)];
    const float *student = output_logits(kd->net, &kd->outputs, 0) + ours * CLASSES;
    const float *teacher =
        output_logits(kd->teacher->net, &kd->teacher->outputs, 0) + theirs * CLASSES;
    for (int j = 0; j < CLASSES; ++j) z[j] = student[j], y[j] = teacher[j];
    int target = max_index(kd->net->truth + ours * CLASSES, CLASSES);
    kd_losses l = kd_row(&kd->loss_config, CLASSES, z, y, target, CLASSES - 1, t, n, scratch);
    loss->tcg += weight * l.tcg;
    loss->ncg += weight * l.ncg;
    for (int j = 0; j < CLASSES; ++j) tcg[ours * CLASSES + j] -= weight * t[j];
}

static void test_views(void)
{
    kd_losses loss = {0, 0};
    double tcg[IMAGES * CLASSES] = {0};
    start(STUDENT SEPARATE, &two_views);
    forward();
    assert_int_equal(kd->rows.n, 6);
    for (int b = 0; b < IMAGES; b += 2) {
        add_pair(b, b, 1, &loss, tcg);
        add_pair(b + 1, b, .5, &loss, tcg);
        add_pair(b, b + 1, .25, &loss, tcg);
    }
    check(fabs(kd->loss[KD_TCG] / loss.tcg - 1) < 1e-9, "tcg's loss");
    check(fabs(kd->loss[KD_NCG] / loss.ncg - 1) < 1e-9, "ncg's loss");
    for (int i = 0; i < IMAGES * CLASSES; ++i)
        check(fabs(kd->delta[KD_TCG][0][i] - tcg[i]) < 1e-5, "tcg's delta %d", i);
    check_gradients();
    free_pair(kd);
}

/* ---- the whole batch --------------------------------------------------- */

/* NCG: .5 (sum_b z_b - y_b)^2 / B, class by class; TOG: .5 |z|^2 */
static void sums_alike(const kd_loss_config *config, const kd_row_batch *b,
                       double loss[KD_COMPONENTS], double *gradient[KD_COMPONENTS])
{
    (void)config;
    for (int j = 0; j < b->classes; ++j) {
        double away = 0;
        for (int i = 0; i < b->rows; ++i) {
            double z = b->student[i * b->classes + j];
            away += z - b->teacher[i * b->classes + j];
            loss[KD_TOG] += .5 * z * z;
            gradient[KD_TOG][i * b->classes + j] += z;
        }
        loss[KD_NCG] += .5 * away * away / b->rows;
        for (int i = 0; i < b->rows; ++i)
            gradient[KD_NCG][i * b->classes + j] += away / b->rows;
    }
}

static const kd_method whole_batch = {
    .name = "whole-batch",
    .row = kd_of_view,
    .views = 1,
    .pair = {{0, 0, 1}},
    .batch = sums_alike,
};

static void test_batch_loss(void)
{
    start(STUDENT SEPARATE, &whole_batch);
    forward();
    double with = kd->loss[KD_NCG];
    check_gradients();
    free_pair(kd);
    start(STUDENT SEPARATE, 0);
    forward();
    check(with > kd->loss[KD_NCG] * 1.01, "the batch's loss is in ncg");
    free_pair(kd);
}

static void infinite_in_tog(const kd_loss_config *config, const kd_row_batch *b,
                            double loss[KD_COMPONENTS], double *gradient[KD_COMPONENTS])
{
    (void)config, (void)b, (void)gradient;
    loss[KD_TOG] += INFINITY;
}

/* Of the same batch, before anything is updated */
static void test_batch_loss_not_finite(void)
{
    kd_method infinite = whole_batch;
    infinite.batch = infinite_in_tog;
    start(STUDENT, &infinite);
    kd->net->train = 1;
    forward_network(kd->net);
    assert_int_equal(kd->broken, KD_BROKEN_TASK);
    free_pair(kd);
}

/* A task weight of 0 leaves TOG to the batch's loss. */
static void test_batch_loss_alone_in_tog(void)
{
    start(STUDENT SEPARATE "task_weight=0\n", &whole_batch);
    check(is_active(kd, KD_TOG), "tog is active");
    check_gradients();
    free_pair(kd);
}

/* ---- what a method needs ----------------------------------------------- */

static void start_in_child(void *student)
{
    start(student, &two_views);
}

static void test_needs(void)
{
    static char odd[] =
        "[net]\nbatch=3\nheight=8\nwidth=8\nchannels=3\nmax_batches=9\n" CONV HEAD LOSS;
    ASSERT_FAILS(start_in_child, odd, "batch / subdivisions is 3",
                 "2 views of method=two-views");
}

static void train_on_one_view(void *unused)
{
    (void)unused;
    start(STUDENT, &two_views);
    replicas r = {{kd}, 1, 0};
    train_replicas(&r, (image_batch){.n = IMAGES, .views = 1}, 1);
}

static void test_needs_views(void)
{
    ASSERT_FAILS(train_on_one_view, 0, "method=two-views: found 1 views", "expected 2");
}

/* ---- momenta kept apart ------------------------------------------------ */

static float *train_five(int apart, int *groups)
{
    keep_next_apart = apart;
    start(STUDENT "trainer=sgd\n", 0);
    keep_next_apart = 0;
    *groups = kd->groups->n;
    for (int i = 0; i < 5; ++i) {
        fill_batch(kd->net, 20 + i);
        train_network_datum(kd->net);
    }
    size_t n = weights_of(kd->net->layers[0]);
    float *weights = kd_calloc(n, sizeof(float));
    memcpy(weights, kd->net->layers[0].weights, n * sizeof(float));
    free_pair(kd);
    return weights;
}

static void test_apart(void)
{
    int merged_groups, apart_groups;
    float *merged = train_five(0, &merged_groups), *apart = train_five(1, &apart_groups);
    assert_int_equal(merged_groups, 1);
    assert_int_equal(apart_groups, KD_COMPONENTS);
    for (int i = 0; i < 3 * 3 * 3 * 4; ++i)
        check(fabs(merged[i] - apart[i]) < 1e-6, "weight %d: %g and %g", i, merged[i],
              apart[i]);
    free(merged), free(apart);
}

/* ---- the batch --------------------------------------------------------- */

static int seen[4], n_seen;

static void look_at_batch(network *net)
{
    const image_batch *b = find_deepkd(net)->batch;
    assert_int_equal(b->n, 2);
    check(b->images == net->input && b->truths == net->truth, "the images of another part");
    for (int i = 0; i < b->n; ++i, ++n_seen) {
        seen[n_seen] = b->indices[i];
        assert_int_equal(b->seeds[i], 1000 + b->indices[i]);
        assert_int_equal(b->sizes[2 * i + 1], 50 + b->indices[i]);
    }
}

static void ignore(network *net)
{
    (void)net;
}

static void test_batch_arrives_whole(void)
{
    int indices[] = {3, 9, 0, 5}, sizes[8];
    unsigned seeds[4];
    for (int i = 0; i < 4; ++i) seeds[i] = 1000 + indices[i];
    for (int i = 0; i < 8; ++i) sizes[i] = 50 + indices[i / 2];
    start("[net]\nbatch=4\nsubdivisions=2\nheight=8\nwidth=8\nchannels=3\nmax_batches=9\n" CONV
              HEAD LOSS,
          0);
    network *net = kd->net;
    image_batch b = {.n = 4,
                     .views = 1,
                     .inputs = net->inputs,
                     .n_truths = net->truths,
                     .images = kd_calloc(4 * net->inputs, sizeof(float)),
                     .truths = kd_calloc(4 * net->truths, sizeof(float)),
                     .indices = indices,
                     .seeds = seeds,
                     .sizes = sizes};
    replicas r = {{kd}, 1, 0};
    net->backward = look_at_batch;
    net->update = ignore;
    train_replicas(&r, b, 1);
    assert_int_equal(n_seen, 4);
    assert_memory_equal(seen, indices, sizeof(indices));
    assert_null(kd->batch);
    free(b.images), free(b.truths);
    free_pair(kd);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_table),
        TEST(test_views),
        TEST(test_batch_loss),
        TEST(test_batch_loss_not_finite),
        TEST(test_batch_loss_alone_in_tog),
        TEST(test_needs),
        TEST(test_needs_views),
        TEST(test_apart),
        TEST(test_batch_arrives_whole),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
