/*
 * Proves what a distillation method may be (kd_method, kd_math.h), with toys beside the real
 * ones:
 *   - the table of methods is sound;
 *   - (b) views: in a forward pass of each, rows pair the student's prediction of this view of
 * an image with the teacher's of the same or of another view, with a weight; MLKD and CRLD too;
 *   - (c) a loss of the whole batch adds to any component, TOG among them;
 *   - what a method needs and the network has not is an error;
 *   - components whose momenta are kept apart learn what merged ones learn;
 *   - the batch arrives whole: each subdivision knows its images.
 * Gradients are held against finite differences of the losses, through the whole network.
 */
#include "distil/gsnr.h"
#include "distil/replicas.h"
#include "distil/views.h"
#include "nets.h"

#define SAMPLES 30
#define STEP 1e-2
#define CLASSES 6
#define IMAGES 4

#define NET                                                                                    \
    "[net]\nbatch=4\nheight=8\nwidth=8\nchannels=3\nmax_batches=100\nlearning_rate=.05\n"
#define CONV_OPTIONS "size=3\npad=1\nfilters=4\nactivation=tanh\n"
#define CONV "[convolutional]\n" CONV_OPTIONS
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

/* What a component's gradient is the gradient of, but DIST's, which has one loss; TOG's own
 * loss is reckoned in double. */
static double component_loss(kd_component c)
{
    forward();
    if (c != KD_TOG) return kd->loss[c];
    return kd->loss[c] - *kd->net->cost * kd->options.task_weight + task();
}

/* Of a group's components */
static double group_loss(const momentum_group *g)
{
    double loss = 0;
    for (int c = 0; c < KD_COMPONENTS; ++c)
        if (g->has[c]) loss += component_loss(c);
    return loss;
}

static void ignore(network *net)
{
    (void)net;
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
    for (int k = 0; k < kd->groups->n; ++k) {
        const momentum_group *g = kd->groups->group + k;
        const float *gradient = g->buffers[0].weights;
        double worst = 0, scale = largest_of(gradient, weights_of(first));
        for (int i = 0; i < SAMPLES; ++i) {
            float *w = first.weights + i * weights_of(first) / SAMPLES, before = *w;
            *w = before + STEP;
            double above = group_loss(g), width = *w;
            *w = before - STEP;
            double below = group_loss(g);
            width -= *w;
            *w = before;
            worst = fmax(worst,
                         fabs((above - below) / width + gradient[w - first.weights]) / scale);
        }
        check(worst < 5e-3, "group %d: off by %.1e of the largest", k, worst);
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

/* A batch of the net's size, all arrays its own: the strong view is other noise. */
static image_batch make_views(void)
{
    network *net = kd->net;
    int n = images_per_batch(net);
    image_batch b = {.n = n, .inputs = net->inputs, .n_truths = net->truths};
    b.images = kd_calloc((size_t)n * b.inputs, sizeof(float));
    b.strong = kd_calloc((size_t)n * b.inputs, sizeof(float));
    b.truths = kd_calloc((size_t)n * b.n_truths, sizeof(float));
    b.indices = kd_calloc(n, sizeof(int));
    b.seeds = kd_calloc(n, sizeof(unsigned));
    b.sizes = kd_calloc(n, 2 * sizeof(int));
    srand(77);
    fill_uniform(b.images, (size_t)n * b.inputs, -1, 1);
    fill_uniform(b.strong, (size_t)n * b.inputs, -1, 1);
    for (int i = 0; i < n; ++i) b.truths[i * b.n_truths + rand() % b.n_truths] = 1;
    return b;
}

static void free_views(image_batch b)
{
    free(b.images), free(b.strong), free(b.truths), free(b.indices), free(b.seeds),
        free(b.sizes);
}

/* kd_row of one image's pair of views, added up as the layer should */
static void add_pair(int b, int theirs, double weight, kd_losses *loss, double *tcg)
{
    double z[CLASSES], y[CLASSES], t[CLASSES], n[CLASSES], scratch[KD_SCRATCH(CLASSES)];
    const float *student = output_logits(kd->net, &kd->outputs, 0) + b * CLASSES;
    const float *teacher = view_logits(kd, theirs) + b * CLASSES;
    for (int j = 0; j < CLASSES; ++j) z[j] = student[j], y[j] = teacher[j];
    int target = max_index(kd->net->truth + b * CLASSES, CLASSES);
    kd_losses l = kd_row(&kd->loss_config, CLASSES, z, y, target, CLASSES - 1, t, n, scratch);
    loss->tcg += weight * l.tcg;
    loss->ncg += weight * l.ncg;
    for (int j = 0; j < CLASSES; ++j) tcg[b * CLASSES + j] -= weight * t[j];
}

static void check_view(int v, int rows)
{
    kd_losses loss = {0, 0};
    double tcg[IMAGES * CLASSES] = {0};
    enter_view(kd, v);
    forward();
    assert_int_equal(kd->rows.n, rows);
    for (int b = 0; b < IMAGES; ++b) {
        if (v == 0) add_pair(b, 0, 1, &loss, tcg);
        if (v == 0) add_pair(b, 1, .25, &loss, tcg);
        else add_pair(b, 0, .5, &loss, tcg);
    }
    check(fabs(kd->loss[KD_TCG] / loss.tcg - 1) < 1e-9, "view %d: tcg's loss", v);
    check(fabs(kd->loss[KD_NCG] / loss.ncg - 1) < 1e-9, "view %d: ncg's loss", v);
    for (int i = 0; i < IMAGES * CLASSES; ++i)
        check(fabs(kd->delta[KD_TCG][0][i] - tcg[i]) < 1e-5, "view %d: tcg's delta %d", v, i);
    check_gradients();
}

static float *own_input, *own_truth; /* the net's, while it has those of a batch */

/* The student in each view, beside the teacher in both */
static void start_views(const char *student, const kd_method *method, image_batch *b)
{
    start(student, method);
    *b = make_views();
    own_input = kd->net->input;
    own_truth = kd->net->truth;
    kd->batch = b;
    kd->net->truth = b->truths;
    look_at_views(kd);
    for (int v = 0; v < kd->views; ++v) {
        float *images = v ? b->strong : b->images;
        memcpy(kd->net->input, images, (size_t)b->n * b->inputs * sizeof(float));
        network_predict(kd->teacher->net, images);
        const float *own = output_logits(kd->teacher->net, &kd->teacher->outputs, 0);
        for (int i = 0; i < IMAGES * CLASSES; ++i)
            check(own[i] == view_logits(kd, v)[i], "the teacher's logits of view %d", v);
    }
}

static void end_views(image_batch b)
{
    kd->batch = 0;
    kd->net->input = own_input;
    kd->net->truth = own_truth;
    free_views(b);
    free_pair(kd);
}

static void test_views(void)
{
    image_batch b;
    start_views(STUDENT SEPARATE, &two_views, &b);
    check_view(0, 2 * IMAGES);
    check_view(1, IMAGES);
    end_views(b);
}

#define NORMALIZED NET "[convolutional]\nbatch_normalize=1\n" CONV_OPTIONS HEAD LOSS SEPARATE

/* MLKD and CRLD: each view's losses have the gradients that go back through the network. */
static void check_method_of_views(const char *student, const char *options, int views)
{
    image_batch b;
    start_views(join(student, options, ""), 0, &b);
    assert_int_equal(kd->views, views);
    for (int v = 0; v < views; ++v) {
        enter_view(kd, v);
        check_gradients();
        check(kd->loss[KD_TCG] > 0 && kd->loss[KD_NCG] > 0, "%s: view %d teaches nothing",
              options, v);
    }
    end_views(b);
}

static void test_methods_of_views(void)
{
    check_method_of_views(STUDENT SEPARATE, "method=mlkd\n", 2);
    check_method_of_views(STUDENT SEPARATE,
                          "method=mlkd\nviews=1\nbatch_weight=9\nclass_weight=9\n", 1);
    check_method_of_views(STUDENT SEPARATE,
                          "method=mlkd\nofficial=1\nbatch_weight=5\ntemperatures=1,2\n", 2);
    check_method_of_views(STUDENT SEPARATE,
                          "method=crld\nconfidence_weak=.2\nconfidence_strong=.2\n", 2);
    check_method_of_views(STUDENT SEPARATE, "method=crld\nofficial=1\nconfidence_weak=.3\n", 2);
    check_method_of_views(NORMALIZED, "method=crld\nconfidence_weak=.2\n", 2);
    check_method_of_views(NORMALIZED, "method=mlkd\n", 2);
}

/* A step's gradient is the sum of its views', each in a pass of its own. */
static void test_step_of_views(void)
{
    static float sum[4 * 3 * 3 * 3];
    image_batch b;
    start_views(STUDENT SEPARATE "method=crld\nconfidence_weak=.2\n", 0, &b);
    size_t images = *kd->net->seen, n = weights_of(kd->net->layers[0]);
    assert_int_equal(n, COUNT(sum));
    memset(kd->groups->momenta, 0, kd->groups->n * kd->groups->size * sizeof(float));
    for (int v = 0; v < 2; ++v) {
        enter_view(kd, v);
        forward();
        kd->net->backward(kd->net);
    }
    const float *gradient = group_of(KD_TCG)->buffers[0].weights;
    memcpy(sum, gradient, sizeof(sum));
    memset(kd->groups->momenta, 0, kd->groups->n * kd->groups->size * sizeof(float));
    kd->net->update = ignore;
    replicas r = {{kd}, 1, 0};
    double loss = train_replicas(&r, b, 1);
    check(*kd->net->seen == images + IMAGES, "views are counted as images");
    check(fabs(loss - kd->loss[KD_TOG] / kd->images) < 1e-5, "%g is no mean over the views",
          loss);
    assert_int_equal(kd->images, 2 * IMAGES);
    for (int i = 0; i < COUNT(sum); ++i)
        check(fabs(sum[i] - gradient[i]) < 1e-5, "gradient %d: %g, expected %g", i, gradient[i],
              sum[i]);
    end_views(b);
}

static double square(const float *a, const float *b, size_t n, int sign)
{
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += pow(a[i] + sign * b[i], 2);
    return sum;
}

/* Measured are the halves' gradients, of both views, and the momenta before either of them. */
static void test_gsnr_of_views(void)
{
    image_batch b;
    start_views(STUDENT SEPARATE "gsnr_interval=1\nmethod=crld\nconfidence_weak=.2\n", 0, &b);
    size_t size = kd->groups->size, all = KD_COMPONENTS * size;
    float *half[2] = {kd_calloc(all, sizeof(float)), kd_calloc(all, sizeof(float))};
    for (int k = 0; k < 4; ++k) {
        momentum_groups *probe = make_groups(kd, 1);
        enter_view(kd, k / 2);
        forward();
        save_task_deltas(kd);
        allocate_group_deltas(kd->net, probe);
        backward_images(kd, probe, k % 2 * IMAGES / 2, IMAGES / 2);
        for (size_t i = 0; i < all; ++i) half[k % 2][i] += probe->momenta[i];
        free_groups(kd->net, probe);
    }
    attach_gsnr(kd, "student.cfg");
    for (size_t i = 0; i < all; ++i) kd->groups->momenta[i] = .5;
    kd->net->update = ignore;
    replicas r = {{kd}, 1, 0};
    train_replicas(&r, b, 1);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        const float *first = half[0] + c * size, *second = half[1] + c * size;
        kd_snr found = kd->sampler->samples[0].gradient[c],
               want = kd_signal_noise(square(first, second, size, 1),
                                      square(first, second, size, -1), IMAGES / 2, 1);
        check(fabs(found.signal - want.signal) < 1e-4 * fabs(want.signal) &&
                  fabs(found.noise - want.noise) < 1e-4 * want.noise,
              "%s: %g and %g, expected %g and %g", kd_component_name[c], found.signal,
              found.noise, want.signal, want.noise);
    }
    for (size_t i = 0; i < all; ++i)
        check(kd->sampler->before[i] == .5f, "momentum %zu is not that before the batch", i);
    assert_int_equal(kd->gsnr.samples, 1);
    free(half[0]), free(half[1]);
    release_gsnr(kd);
    end_views(b);
}

/* In a step each view has the batch norm of its own images alone. */
static void test_batch_norm_of_views(void)
{
    static float of_view[2][4];
    image_batch b;
    start_views(NORMALIZED "method=mlkd\n", 0, &b);
    layer first = kd->net->layers[0];
    for (int v = 0; v < 2; ++v) {
        enter_view(kd, v);
        forward();
        memcpy(of_view[v], first.mean, sizeof(of_view[v]));
    }
    for (int k = 0; k < 4; ++k) first.rolling_mean[k] = 0;
    kd->net->update = ignore;
    replicas r = {{kd}, 1, 0};
    train_replicas(&r, b, 1);
    for (int k = 0; k < 4; ++k) {
        float rolling = .99f * (.01f * of_view[0][k]) + .01f * of_view[1][k];
        check(of_view[0][k] != of_view[1][k], "filter %d: one mean of both views", k);
        check(fabs(first.rolling_mean[k] - rolling) < 1e-6, "filter %d: %g, expected %g", k,
              first.rolling_mean[k], rolling);
    }
    end_views(b);
}

/* TCG and NCG rise by the epoch: at its end, and by its number, from 1 */
static void test_warmup_by_epochs(void)
{
    static const struct {
        long batch;
        double factor;
    } cases[] = {{1, .25}, {3, .25}, {4, .5}, {6, .75}, {8, .75}, {9, 1}, {90, 1}};
    start(STUDENT SEPARATE "warmup=4\nwarmup_shape=epochs\n", 0);
    kd->epoch_images = 10; /* batches of 4 */
    kd->options.warmup_shape = WARMUP_LINEAR;
    *kd->net->seen = 1000L * IMAGES;
    forward();
    double whole = kd->loss[KD_NCG];
    kd->options.warmup_shape = WARMUP_EPOCHS;
    for (int i = 0; i < COUNT(cases); ++i) {
        *kd->net->seen = cases[i].batch * IMAGES;
        forward();
        check(fabs(kd->loss[KD_NCG] / whole - cases[i].factor) < 1e-9,
              "batch %ld: %g, expected %g", cases[i].batch, kd->loss[KD_NCG] / whole,
              cases[i].factor);
    }
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

/* Of all components together, for DIST's loss is one */
static void test_dist(void)
{
    start(STUDENT "trainer=sgd\nmethod=dist\ninter_weight=2\n", 0);
    forward();
    check(kd->loss[KD_NCG] > 0 && !kd->loss[KD_TCG], "its loss is in ncg alone");
    check_gradients();
    free_pair(kd);
}

/* The teacher's logits with swap=1 are those of a teacher that was right. */
static void test_swap(void)
{
    start(STUDENT SEPARATE "swap=1\n", 0);
    network *teacher = kd->teacher->net;
    float *logits = output_logits(teacher, &kd->teacher->outputs, 0);
    forward();
    double with = kd->loss[KD_NCG];
    for (int i = 0; i < IMAGES; ++i) {
        double y[CLASSES];
        for (int j = 0; j < CLASSES; ++j) y[j] = logits[i * CLASSES + j];
        kd_swap(CLASSES, y, max_index(kd->net->truth + i * CLASSES, CLASSES));
        for (int j = 0; j < CLASSES; ++j) logits[i * CLASSES + j] = y[j];
    }
    kd->options.swap = 0;
    kd->teacher->has_run = 1; /* its logits stay */
    forward();
    check(kd->loss[KD_NCG] == with, "%g, swapped beforehand %g", with, kd->loss[KD_NCG]);
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

static void start_any_in_child(void *student)
{
    start(student, 0);
}

static void test_needs(void)
{
    static char single[] =
        "[net]\nbatch=1\nheight=8\nwidth=8\nchannels=3\nmax_batches=9\n" CONV HEAD LOSS
        "method=mlkd\n";
    ASSERT_FAILS(start_in_child, STUDENT "views=1\n", "views=1", "two-views", "expected 2");
    ASSERT_FAILS(start_any_in_child, single, "batch / subdivisions is 1", "method=mlkd",
                 "expected 2 or more");
}

static void train_on_one_view(void *unused)
{
    (void)unused;
    start(STUDENT, &two_views);
    replicas r = {{kd}, 1, 0};
    train_replicas(&r, (image_batch){.n = IMAGES}, 1);
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
        TEST(test_methods_of_views),
        TEST(test_step_of_views),
        TEST(test_batch_norm_of_views),
        TEST(test_gsnr_of_views),
        TEST(test_warmup_by_epochs),
        TEST(test_batch_loss),
        TEST(test_dist),
        TEST(test_swap),
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
