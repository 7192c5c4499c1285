/*
 * Proves that a training step on the GPU is the CPU's:
 *   - after one forward and backward pass, every component's gradient in every array of the
 *     student, and the losses, for every type of layer that our cfgs have and for every kind of
 *     rows, groups and weights;
 *   - the weights after 20 steps, of a classifier and of a YOLO that changes its size;
 *   - the teacher's logits, though its layers share memory; it never changes, and keeps nothing
 *     that inference does not need.
 *
 * To add a case: a line in `cases`, of student, teacher and options. With an argument, "short",
 * only a few cases are run, for compute-sanitizer.
 */
#include "pairs.h"

static int is_short;

/* ---- students and teachers ----------------------------------------------- */

#define LEAKY "pad=1 activation=leaky "
#define TANH "pad=1 activation=tanh "
#define NORM "pad=1 batch_normalize=1 activation=leaky "
#define LINEAR "activation=linear "

static const char classifier[] =
    "[convolutional] filters=6 size=3 learning_rate=.5 " LEAKY
    "[convolutional] filters=4 size=1 " TANH "[convolutional] filters=6 size=3 stride=2 " LEAKY
    "[convolutional] filters=6 size=3 groups=2 pad=1 "
    "activation=logistic "
    "[shortcut] from=-2 activation=leaky "
    "[maxpool] size=2 stride=2 "
    "[upsample] stride=2 "
    "[route] layers=-1,4 "
    "[dropout] probability=0 "
    "[connected] output=24 activation=leaky "
    "[connected] output=6 " LINEAR "[softmax] ";

/* Without a connected layer; a shortcut between two shapes */
static const char pooled[] =
    "[convolutional] filters=5 size=3 " TANH "[maxpool] size=3 stride=2 "
    "[convolutional] filters=8 size=3 " LEAKY "[shortcut] from=0 activation=leaky "
    "[reorg] stride=2 "
    "[convolutional] filters=6 size=1 " LINEAR "[avgpool] [softmax] [cost] type=sse ";

static const char normed[] =
    "[convolutional] filters=6 size=3 " NORM "[maxpool] size=2 stride=2 "
    "[convolutional] filters=8 size=1 " NORM "[convolutional] filters=6 size=3 " NORM
    "[shortcut] from=-3 activation=leaky "
    "[connected] output=9 batch_normalize=1 activation=leaky "
    "[connected] output=6 " LINEAR "[softmax] ";

/* Windows that step differently, or have holes; a [maxpool] over channels */
static const char windows[] =
    "[convolutional] filters=6 size=3 stride_y=2 " TANH
    "[convolutional] filters=6 size=3 dilation=2 groups=2 stride_x=2 " TANH
    "[convolutional] filters=6 size=1 stride=2 " LEAKY "[upsample] stride=3 "
    "[maxpool] size=2 stride_x=1 stride_y=2 "
    "[convolutional] filters=7 size=2 padding=1 dilation=2 " NORM
    "[upsample] stride=2 [reorg3d] stride=2 [maxpool] maxpool_depth=1 out_channels=3 "
    "[local_avgpool] size=3 stride_x=2 stride_y=1 "
    "[connected] output=6 " LINEAR "[softmax] ";

/* What PyTorch's networks have beyond other Darknets'; a bias right before batch norm would
 * have a gradient of 0, but for its rounding */
static const char norms_and_shuffles[] =
    "[batchnorm] affine=1 [convolutional] filters=6 size=3 " TANH
    "[batchnorm] affine=1 [activation] " TANH "[shuffle] groups=3 "
    "[convolutional] filters=6 size=3 groups=3 " TANH "[shortcut] from=0 " TANH
    "[batchnorm] affine=1 [local_avgpool] size=3 stride=2 count_padding=1 "
    "[connected] output=6 " LINEAR "[softmax] ";

/* Sums of several layers */
static const char sums[] =
    "[convolutional] filters=6 size=3 " TANH "[convolutional] filters=6 size=3 " TANH
    "[convolutional] filters=6 size=1 " LEAKY "[shortcut] from=-2,-3 activation=tanh "
    "[convolutional] filters=6 size=3 " TANH
    "[shortcut] from=-2,0 weights_type=per_channel weights_normalization=softmax "
    "activation=mish "
    "[convolutional] filters=4 size=3 " TANH
    "[shortcut] from=-2,1 weights_type=per_feature weights_normalization=relu activation=leaky "
    "[connected] output=6 " LINEAR "[softmax] ";

/* It writes on its input, the images, which the other network reads */
#define CROP "[crop] crop_width=8 crop_height=8 flip=0 saturation=1 exposure=1 "
static const char cropped[] =
    CROP "[convolutional] filters=6 size=3 " TANH "[connected] output=6 " LINEAR "[softmax] ";

#define YOLO_HEAD(mask)                                                                        \
    "[convolutional] filters=27 size=1 " LINEAR "[yolo] mask=" mask                            \
    " num=6 classes=4 max=8 ignore_thresh=.5 truth_thresh=1 "                                  \
    "anchors=4,6,8,5,7,12,14,10,11,24,28,22 "
#define ONE_HEAD(conv)                                                                         \
    "[convolutional] filters=6 size=3 stride=2 " conv "[maxpool] size=2 stride=2 "             \
    "[convolutional] filters=6 size=3 " conv "[convolutional] filters=6 size=1 " LINEAR        \
    "[shortcut] from=-2 activation=leaky "                                                     \
    "[convolutional] filters=8 size=3 stride=2 " conv YOLO_HEAD("3,4,5")
#define TWO_HEADS(conv)                                                                        \
    ONE_HEAD(conv)                                                                             \
    "[route] layers=-3 "                                                                       \
    "[convolutional] filters=4 size=1 " TANH "[upsample] stride=2 "                            \
    "[route] layers=-1,4 "                                                                     \
    "[convolutional] filters=6 size=3 " conv YOLO_HEAD("0,1,2")
/* As yolo4_layers of detectors.h */
#define YOLO4(conv)                                                                            \
    "[convolutional] filters=6 size=3 stride=2 " conv "[maxpool] size=2 stride=2 "             \
    "[convolutional] filters=8 size=3 " conv "[route] layers=-1 groups=2 group_id=1 "          \
    "[convolutional] filters=4 size=3 pad=1 activation=mish "                                  \
    "[convolutional] filters=4 size=1 activation=logistic [sam] from=-2 "                      \
    "[route] layers=-1,-3 [avgpool] [convolutional] filters=8 size=1 activation=logistic "     \
    "[scale_channels] from=-3 [activation] activation=hard_mish "                              \
    "[shortcut] from=2 activation=swish "                                                      \
    "[convolutional] filters=1 size=1 activation=logistic [scale_channels] from=-2 "           \
    "scale_wh=1 "                                                                              \
    "[convolutional] filters=8 size=3 stride=2 pad=1 activation=relu6 "                        \
    "[convolutional] filters=27 size=1 activation=logistic "                                   \
    "[yolo] mask=3,4,5 num=6 classes=4 max=8 scale_x_y=2 new_coords=1 iou_loss=ciou "          \
    "iou_thresh=.2 objectness_smooth=1 anchors=4,6,8,5,7,12,14,10,11,24,28,22 "                \
    "[route] layers=4 [convolutional] filters=27 size=1 " LINEAR                               \
    "[yolo] mask=0,1,2 num=6 classes=4 max=8 scale_x_y=1.05 iou_loss=giou "                    \
    "delta_normalizer=.5 "                                                                     \
    "anchors=4,6,8,5,7,12,14,10,11,24,28,22 "
#define REGION(conv, options)                                                                  \
    "[convolutional] filters=6 size=3 stride=2 " conv "[maxpool] size=2 stride=2 "             \
    "[convolutional] filters=4 size=3 " conv "[convolutional] filters=8 size=3 stride=2 " conv \
    "[route] layers=2 "                                                                        \
    "[reorg] stride=2 "                                                                        \
    "[route] layers=-1,3 "                                                                     \
    "[convolutional] filters=6 size=3 " conv "[convolutional] filters=27 size=1 " LINEAR       \
    "[region] num=3 classes=4 coords=4 max=8 anchors=1,1.5,2.4,1.1,2.2,2.9 "                   \
    "object_scale=5 noobject_scale=.7 class_scale=1.5 coord_scale=1.2 thresh=.4 " options

static const char one_head[] = ONE_HEAD(TANH), two_heads[] = TWO_HEADS(TANH);
static const char normed_heads[] = TWO_HEADS(NORM);
static const char yolo4[] = YOLO4("pad=1 activation=mish ");
static const char normed_yolo4[] = YOLO4("pad=1 batch_normalize=1 activation=swish ");
static const char region[] = REGION(TANH, "softmax=1 bias_match=1 ");
static const char region_logistic[] = REGION(TANH, "softmax=0 ");

/* Teachers; a [dropout] does nothing in inference. */
#define TEACHER(size) "[net] channels=3 width=" #size " height=" #size " "
static const char classifying_teacher[] =
    TEACHER(8) "[convolutional] filters=8 size=3 " NORM "[dropout] probability=.5 "
               "[connected] output=6 " LINEAR "[softmax] ";
static const char cropping_teacher[] = TEACHER(8) CROP
    "[convolutional] filters=8 size=3 " TANH "[connected] output=6 " LINEAR "[softmax] ";
static const char larger_teacher[] =
    TEACHER(12) "[convolutional] filters=8 size=3 " LEAKY
                "[convolutional] filters=8 size=3 stride=2 " NORM
                "[shortcut] from=-2 activation=leaky "
                "[route] layers=-1,-2 "
                "[connected] output=6 " LINEAR "[softmax] ";
static const char yolo_teacher[] = TEACHER(48) TWO_HEADS(NORM);
static const char yolo4_teacher[] =
    TEACHER(32) YOLO4("pad=1 batch_normalize=1 activation=mish ");
static const char region_teacher[] = TEACHER(64) REGION(NORM, "softmax=1 bias_match=1 ");
/* It assigns a truth by its predictions, which the host must know then. */
static const char asked_teacher[] = TEACHER(32) REGION(LEAKY, "softmax=1 ");

/* ---- gradients ------------------------------------------------------------ */

/*
 * Relative to each array's largest gradient; of the losses a tenth. Reached: 2e-6; with batch
 * norm 1e-5, by cuDNN 5e-5, for it adds 1e-5 to the variance, not 1e-6 to its root.
 */
#define PLAIN 1e-4
#define NORMED 1e-3

typedef struct {
    const char *name;
    double tolerance;
    int groups;
    const char *net, *student, *teacher, *options; /* pair_spec; `options` of [deepkd_loss] */
} gradient_case;

#define SMALL "width=8 height=8 "
#define LARGE "width=32 height=32 "
#define THREE "momentum_tog=.9 momentum_tcg=.8 momentum_ncg=.7 "

static const gradient_case cases[] = {
    {"classifier, kd, two groups", PLAIN, 2, SMALL "batch=4", classifier, classifying_teacher,
     "topk_schedule=off"},
    {"classifier, dkd, three groups, top-k, warmup", PLAIN, 3, SMALL "batch=5", classifier,
     classifying_teacher, "method=dkd topk=2 warmup=9"},
    {"classifier, one group, subdivisions, standardization", PLAIN, 1,
     SMALL "batch=6 subdivisions=2", classifier, larger_teacher,
     "trainer=sgd logit_standardization=1 temperature=2"},
    {"classifier, trainer=dot, logistic", PLAIN, 2, SMALL "batch=4", classifier, larger_teacher,
     "trainer=dot activation=logistic"},
    {"classifier with other windows", NORMED, 2, SMALL "batch=4", windows, larger_teacher,
     "topk_schedule=off"},
    {"classifier with [batchnorm], [shuffle]", NORMED, 2,
     SMALL "batch=4 decay=.05 batch_norm_momentum=.2", norms_and_shuffles, larger_teacher,
     "topk_schedule=off decay_all=1"},
    {"classifier with sums of several layers", PLAIN, 3, SMALL "batch=4", sums, larger_teacher,
     THREE "topk_schedule=off"},
    {"classifier with [avgpool] and [cost]", PLAIN, 3, SMALL "batch=3", pooled, larger_teacher,
     THREE "alpha=.7 beta=2 method=dkd"},
    {"classifier, teacher_weight=0", PLAIN, 2, SMALL "batch=4", classifier, classifying_teacher,
     "teacher_weight=0"},
    {"classifier, task_weight=0", PLAIN, 2, SMALL "batch=4", classifier, classifying_teacher,
     "task_weight=0"},
    {"classifier with batch norm", NORMED, 3, SMALL "batch=8 subdivisions=2", normed,
     classifying_teacher, THREE},
    {"a student with [crop]", PLAIN, 2, SMALL "batch=4", cropped, classifying_teacher, ""},
    {"a teacher with [crop]", PLAIN, 2, SMALL "batch=4", classifier, cropping_teacher, ""},
    {"[yolo], rows=truth", PLAIN, 3, LARGE "batch=2", one_head, yolo_teacher,
     THREE "objectness_weight=.5"},
    {"[yolo], two heads, rows=truth, dkd, one group", PLAIN, 1, LARGE "batch=2", two_heads,
     yolo_teacher, "trainer=sgd method=dkd beta=3 task_weight=.6"},
    {"[yolo], two heads, rows=dense, softmax", PLAIN, 3, LARGE "batch=4 subdivisions=2",
     two_heads, yolo_teacher, THREE "rows=dense activation=softmax objectness_weight=2"},
    {"[yolo], two heads, feature_nms, top-k", PLAIN, 2, LARGE "batch=2", two_heads,
     yolo_teacher, "rows=dense feature_nms=1 topk=2 topk_schedule=static objectness_weight=.3"},
    {"[yolo] with batch norm, rows=dense", NORMED, 3, LARGE "batch=4", normed_heads,
     yolo_teacher, THREE "rows=dense"},
    {"YOLOv4's layers", PLAIN, 3, LARGE "batch=2", yolo4, yolo4_teacher,
     THREE "objectness_weight=.5"},
    {"YOLOv4's layers with batch norm", NORMED, 2, LARGE "batch=8", normed_yolo4, yolo_teacher,
     ""},
    {"[region] softmax=1, rows=truth", PLAIN, 3, LARGE "batch=2", region, region_teacher,
     THREE "objectness_weight=.5"},
    {"[region] softmax=1, rows=dense", PLAIN, 2, LARGE "batch=2", region, region_teacher,
     "rows=dense objectness_weight=1"},
    {"[region] softmax=0, a teacher that the host asks", PLAIN, 2, LARGE "batch=2",
     region_logistic, asked_teacher, ""},
    {"boxes, rows=truth", PLAIN, 3, LARGE "batch=2", two_heads, yolo_teacher,
     THREE "box_weight=2 box_loss=ciou"},
    {"boxes of a [region], rows=dense", PLAIN, 3, LARGE "batch=2", region, region_teacher,
     THREE "rows=dense box_weight=2"},
    {"bckd, rows=truth", PLAIN, 3, LARGE "batch=2", yolo4, yolo4_teacher, THREE "method=bckd"},
    {"bckd, feature_nms", PLAIN, 3, LARGE "batch=2", two_heads, yolo_teacher,
     THREE "method=bckd rows=dense feature_nms=1"},
    {"[region] from a [yolo]", PLAIN, 2, LARGE "batch=2", region, yolo_teacher, "rows=dense"},
    {"[yolo] from a [region]", PLAIN, 2, LARGE "batch=2", two_heads, region_teacher, ""},
};

/* A pair in its third batch, so that warmup and the schedule of K count, with its gradients */
static deepkd *make_gradients(const gradient_case *c, int gpu, unsigned int seed)
{
    char net[256], options[256];
    snprintf(net, sizeof(net), "%s max_batches=100", c->net);
    snprintf(options, sizeof(options), "[deepkd_loss] %s", c->options);
    deepkd *kd = make_pair_on(gpu, &(pair_spec){net, c->student, c->teacher, options}, seed);
    *kd->net->seen = 2 * images_per_batch(kd->net);
    kd->net->update = no_update;
    train_pair(kd, seed + 1);
    pull_pair(kd);
    return kd;
}

static void check_gradients(const gradient_case *c, unsigned int seed)
{
    worst_case gradients = {0}, losses = {0};
    deepkd *wanted = make_gradients(c, ON_CPU, seed), *found = make_gradients(c, ON_GPU, seed);
    int same_rows = found->rows.n == wanted->rows.n && found->keep == wanted->keep;
    ok(same_rows && (found->rows.n > 0) == (found->options.teacher_weight > 0) &&
           found->groups->n == c->groups && !found->broken,
       "%s: %d rows, %d groups, K %d", c->name, found->rows.n, found->groups->n, found->keep);
    compare_losses(&losses, found, wanted);
    near(&losses, c->tolerance / 10, "%s: losses", c->name);
    compare_groups(&gradients, found, wanted);
    near(&gradients, c->tolerance, "%s: gradients", c->name);
    free_pair(found), free_pair(wanted);
}

/* ---- trajectories --------------------------------------------------------- */

#define STEPS 20

/*
 * Small rates: what is proved is the GPU's arithmetic, not how a student amplifies rounding.
 * Relative to each array's largest weight, and to each loss; reached: 2e-6.
 */
#define TRAJECTORY 1e-4
static const pair_spec classifier_run = {
    SMALL "batch=4 max_batches=20 learning_rate=.02 momentum=.8 decay=.01 clip=.35 burn_in=3 "
          "policy=steps steps=8,15 scales=.5,.5",
    classifier, larger_teacher, "[deepkd_loss] method=dkd beta=1 warmup=5 decay_component=ncg"};
static const pair_spec yolo_run = {
    LARGE "batch=4 subdivisions=2 max_batches=20 learning_rate=.0003 momentum=.8 decay=.001",
    two_heads, yolo_teacher, "[deepkd_loss] rows=dense objectness_weight=.2"};
static const pair_spec following_run = {
    LARGE "batch=2 max_batches=20 learning_rate=.001 momentum=.8", region, region_teacher,
    "resize=1 [deepkd_loss] trainer=dot"};

static void train_both(deepkd *found, deepkd *wanted, int step, int size, worst_case *losses)
{
    replicas pairs[] = {single(found), single(wanted)};
    for (int k = 0; k < 2; ++k) {
        silence();
        if (size) resize_replicas(pairs + k, size, size);
        speak();
        train_step(pairs + k, 1, 100 + step);
    }
    compare_losses(losses, found, wanted);
}

static void check_trajectory(const char *name, const pair_spec *spec, const int *sizes)
{
    worst_case losses = {0}, weights = {0}, moved = {0};
    deepkd *found = make_pair_on(ON_GPU, spec, 7), *wanted = make_pair_on(ON_CPU, spec, 7);
    deepkd *start = make_pair_on(ON_CPU, spec, 7);
    for (int i = 0; i < (is_short ? 3 : STEPS); ++i)
        train_both(found, wanted, i, sizes ? sizes[i / 4 % 4] : 0, &losses);
    pull_pair(found);
    near(&losses, TRAJECTORY, "%s: losses of %d steps", name, STEPS);
    compare_weights(&weights, found, wanted);
    compare_weights(&moved, start, wanted);
    near(&weights, TRAJECTORY, "%s: weights after %d steps", name, STEPS);
    ok(moved.error > .05, "%s: weights have moved by %.2g", name, moved.error);
    free_pair(found), free_pair(wanted), free_pair(start);
}

static void test_trajectories(void)
{
    static const int sizes[] = {32, 64, 40, 32};
    check_trajectory("classifier", &classifier_run, 0);
    check_trajectory("[yolo] that changes its size", &yolo_run, sizes);
    if (!is_short)
        check_trajectory("[region] and teacher that change their size", &following_run, sizes);
}

/* ---- the teacher ----------------------------------------------------------- */

static void compare_logits(worst_case *w, teacher *found, teacher *wanted)
{
    pull_logits(found->net, &found->outputs);
    for (int o = 0; o < wanted->outputs.n; ++o) {
        layer l = wanted->net->layers[wanted->outputs.layer[o]];
        compare(w, output_logits(found->net, &found->outputs, o),
                output_logits(wanted->net, &wanted->outputs, o), (size_t)l.batch * l.inputs, 1,
                "output %d", o);
    }
}

/* The weights on the GPU are to the bit those that the teacher was loaded with. */
static int has_changed(const network *net)
{
    int changed = 0;
    for (int i = 0; i < net->n; ++i) {
        size_t weights, biases;
        layer l = net->layers[i];
        layer_sizes(l, &weights, &biases);
        struct {
            float *gpu, *host;
            size_t n;
        } arrays[] = {{l.weights_gpu, l.weights, weights},
                      {l.biases_gpu, l.biases, biases},
                      {l.scales_gpu, l.scales, biases},
                      {l.rolling_mean_gpu, l.rolling_mean, biases},
                      {l.rolling_variance_gpu, l.rolling_variance, biases}};
        for (int k = 0; k < COUNT(arrays); ++k) {
            size_t n = arrays[k].n;
            if (!n || !arrays[k].gpu) continue;
            float *copy = kd_calloc(n, sizeof(float));
            cuda_pull_array(arrays[k].gpu, copy, n);
            changed |= !!memcmp(copy, arrays[k].host, n * sizeof(float));
            free(copy);
        }
    }
    return changed;
}

/* Arrays on the GPU that only training needs */
static int training_arrays(const network *net)
{
    int n = 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        n += !!l.delta_gpu + !!l.weight_updates_gpu + !!l.bias_updates_gpu;
        n += !!l.scale_updates_gpu + !!l.x_norm_gpu + (l.x_gpu != 0 && l.x_gpu != l.output_gpu);
    }
    return n;
}

/* How many different arrays the layers' outputs are in */
static int output_arrays(const network *net)
{
    int n = 0;
    for (int i = 0; i < net->n; ++i) {
        int k = 0;
        while (k < i && net->layers[k].output_gpu != net->layers[i].output_gpu) ++k;
        n += k == i && net->layers[i].output_gpu;
    }
    return n;
}

static void check_teacher(const char *name, const pair_spec *spec, int resized)
{
    worst_case logits = {0};
    deepkd *found = make_pair_on(ON_GPU, spec, 30), *wanted = make_pair_on(ON_CPU, spec, 30);
    for (int step = 0; step < 3; ++step) {
        train_both(found, wanted, step, step == 2 ? resized : 0, &(worst_case){0});
        enter_pair(found);
        compare_logits(&logits, found->teacher, wanted->teacher);
    }
    network *net = found->teacher->net;
    near(&logits, 1e-5, "the teacher of %s: logits", name);
    ok(!has_changed(net), "the teacher of %s: does not change", name);
    ok(!training_arrays(net), "the teacher of %s: %d arrays for training", name,
       training_arrays(net));
    ok(output_arrays(net) < net->n, "the teacher of %s: %d layers in %d arrays", name, net->n,
       output_arrays(net));
    free_pair(found), free_pair(wanted);
}

static void test_teachers(void)
{
    check_teacher("a classifier", &classifier_run, 0);
    if (is_short) return;
    check_teacher("a [yolo]", &yolo_run, 64);
    check_teacher("a [region], which follows its size", &following_run, 64);
}

int main(int n, char **arguments)
{
    is_short = n > 1 && !strcmp(arguments[1], "short");
    start_pairs();
    for (int i = 0; i < COUNT(cases); ++i)
        if (!is_short || i % 4 == 2) check_gradients(cases + i, 10 + i);
    test_trajectories();
    test_teachers();
    return finish();
}
