/*
 * Proves cores.c, and the backward pass of all groups at once in groups.c, against Darknet's
 * own layers: each net here is made twice, and the twin without cores computes layer by layer
 * and goes back once a group.
 *   - Forward in training and in prediction leaves the same outputs, statistics and cost.
 *   - Each group's buffers grow by the same gradient, of one, two and three groups, and by the
 *     same bits whether the others go back along with it or not.
 *   - A network for prediction alone has the same logits and predictions, batch after batch,
 *     though its layers share memory.
 *   - All of that holds after the network's size or batch has changed, with batches cut into
 *     more and fewer parts, and with images channels last.
 *   - A student in bfloat16 computes and learns nearly the same, and goes nearly the same way
 * in 100 steps; a network for prediction in bfloat16 or int8 predicts nearly the same.
 *   - 50 steps of trainer=sgd lead to the same weights.
 *   - Weights are the same to the bit on any number of cores.
 *
 * "Same" is a norm of the difference, relative to the twin's. KD_VERBOSE=1 prints what it was.
 * Where rounding takes a number to the other side of an activation's bend, a gradient jumps: to
 * compare gradients, other images are taken then, and the 50 steps are small ones.
 *
 * To add a layer type: a line in `cases`, and in `predictors` if it reads what is not the layer
 * before.
 */
#include "detectors.h"

#include "cpu/cores.h"
#include "cpu/forms.h"
#include "cpu/onednn.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define THREADS                                                                                \
    3           /* where there are two cores, more threads than those do not wait in loops     \
                 */
#define TRIES 5 /* of images that bend no activation between the twins */

/* Reached, with other seeds too: 4e-7, 2e-6, 2e-5 (with these 5e-6), 1e-7 */
#define PLAIN 2e-6     /* of outputs and statistics without batch norm */
#define NORMED 5e-6    /* and with it */
#define BYTES 2e-2     /* and in int8, of few layers; reached: 7e-3 */
#define NARROW 2e-2    /* of what is predicted in bfloat16; reached: 8e-3 */
#define GRADIENTS 2e-5 /* of one array of a layer's */
/* The same in bfloat16, which takes outputs near 0 to the other side of a bend. Reached: .24;
 * of numbers in another order: 1 and more */
#define BENT .5
#define WEIGHTS 1e-5 /* after many steps */

#define CONV(filters, size, stride, more)                                                      \
    "[convolutional]\nfilters=" #filters "\nsize=" #size "\nstride=" #stride "\npad=1\n" more
#define PADDED(filters, size, padding, more)                                                   \
    "[convolutional]\nfilters=" #filters "\nsize=" #size "\npadding=" #padding "\n" more
#define LINEAR "activation=linear\n"
#define LEAKY "activation=leaky\n"
#define RELU_ "activation=relu\n"
#define TANH_ "activation=tanh\n"
#define LOGISTIC_ "activation=logistic\n"
#define MISH_ "activation=mish\n"
#define SWISH_ "activation=swish\n"
#define GATED CONV(16, 3, 1, LEAKY) CONV(16, 1, 1, LOGISTIC_) "[sam]\nfrom=-2\n"
#define NORM "batch_normalize=1\n"
#define CONNECTED_(outputs, more) "[connected]\noutput=" #outputs "\n" more
#define POOL(size, stride) "[maxpool]\nsize=" #size "\nstride=" #stride "\n"
#define AVERAGE "[avgpool]\n"
#define ROUTE_(layers) "[route]\nlayers=" layers "\n"
#define SHORTCUT_(from, more) "[shortcut]\nfrom=" #from "\n" more
#define UPSAMPLE_(stride, more) "[upsample]\nstride=" #stride "\n" more
#define REORG_(more) "[reorg]\n" more
#define DROPOUT_ "[dropout]\nprobability=.4\n"
#define NORM_ "[batchnorm]\naffine=1\n"
#define SHUFFLE_POOL "[shuffle]\ngroups=3\n[local_avgpool]\nsize=3\nstride=2\ncount_padding=1\n"
#define CROP_(width, height)                                                                   \
    "[crop]\ncrop_width=" #width "\ncrop_height=" #height "\nflip=1\nangle=0\n"
#define NORMALIZATION_ "[normalization]\nsize=3\nalpha=.01\nbeta=.75\nkappa=1\n"
#define LOGITS CONNECTED_(6, LINEAR)
#define HEAD LOGITS "[softmax]\n"

/* A classifier; the detectors' are in detectors.h. */
typedef struct {
    const char *name;
    int batch, width, height, channels;
    double tolerance; /* of its outputs */
    const char *layers;
} net_case;

static const net_case cases[] = {
    {"convolutions of every activation", 7, 9, 5, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) CONV(17, 1, 1, RELU_) CONV(5, 3, 2, TANH_) CONV(16, 3, 1, LOGISTIC_)
         CONV(32, 1, 1, LINEAR) HEAD},
    {"batch norm of every activation", 5, 13, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(17, 1, 1, NORM RELU_) CONV(5, 3, 2, NORM TANH_)
         CONV(16, 3, 1, NORM LOGISTIC_) CONV(32, 1, 1, NORM LINEAR) HEAD},
    {"one image", 1, 13, 9, 5, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(16, 3, 1, LEAKY) CONV(17, 3, 2, NORM RELU_) HEAD},
    {"sizes and strides", 12, 13, 9, 17, NORMED,
     CONV(16, 5, 2, LEAKY) PADDED(16, 3, 0, LEAKY) PADDED(5, 2, 2, NORM TANH_)
         CONV(17, 3, 3, NORM LEAKY) CONV(32, 3, 2, TANH_) HEAD},
    {"convolutions in groups", 3, 9, 7, 3, NORMED,
     CONV(16, 3, 1, LEAKY) CONV(32, 3, 1, "groups=2\n" NORM LEAKY)
         CONV(16, 1, 1, "groups=2\n" TANH_) CONV(5, 3, 2, NORM LEAKY) HEAD},
    {"maxpools", 16, 13, 13, 3, NORMED,
     POOL(2, 1) CONV(16, 3, 1, NORM LEAKY) POOL(2, 2) CONV(17, 3, 1, LEAKY) POOL(1, 2)
         CONV(32, 1, 1, LEAKY) POOL(3, 1) HEAD},
    {"an average of pixels", 24, 7, 5, 3, NORMED,
     CONV(32, 3, 1, NORM RELU_) CONV(17, 1, 1, LINEAR) AVERAGE HEAD},
    {"routes", 8, 7, 9, 3, NORMED,
     CONV(16, 3, 1, LEAKY) CONV(5, 3, 1, NORM LEAKY) ROUTE_("-2") CONV(3, 1, 1, TANH_)
         ROUTE_("-1,1,0,-1") CONV(16, 3, 2, LEAKY) HEAD},
    {"routes of parts", 8, 7, 9, 3, NORMED,
     CONV(16, 3, 1, LEAKY) CONV(8, 3, 1, NORM LEAKY) ROUTE_("-1,-2\ngroups=4\ngroup_id=3")
         CONV(3, 1, 1, LEAKY) ROUTE_("-1,1") CONV(16, 3, 2, LEAKY) HEAD},
    {"activations that keep what they are given", 5, 9, 9, 3, NORMED,
     CONV(16, 3, 1, NORM MISH_) CONV(16, 3, 1, SWISH_) SHORTCUT_(-2, MISH_)
         CONV(17, 3, 2, NORM SWISH_) "[activation]\n" MISH_ HEAD},
    {"gates", 6, 9, 7, 3, NORMED,
     GATED AVERAGE CONV(16, 1, 1, LOGISTIC_) "[scale_channels]\nfrom=-3\n" CONV(
         1, 1, 1, LEAKY) "[scale_channels]\nfrom=-2\nscale_wh=1\n" CONV(17, 3, 2, NORM LEAKY)
         HEAD},
    {"shortcuts of equal shapes", 5, 9, 9, 16, NORMED,
     CONV(17, 3, 1, NORM LEAKY) CONV(17, 3, 1, NORM LINEAR) SHORTCUT_(-2, RELU_)
         CONV(17, 1, 1, LEAKY) SHORTCUT_(-2, LEAKY) SHORTCUT_(-1, LINEAR) CONV(17, 3, 1, TANH_)
             SHORTCUT_(-5, "alpha=.5\nbeta=1.5\n" LOGISTIC_) HEAD},
    {"shortcuts of other shapes", 3, 13, 7, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) CONV(5, 3, 1, LEAKY) SHORTCUT_(-2, TANH_) CONV(17, 3, 1, LEAKY)
         SHORTCUT_(-2, RELU_) POOL(2, 2) POOL(1, 1) CONV(17, 3, 1, LEAKY) SHORTCUT_(-3, LEAKY)
             HEAD},
    {"a shortcut from a larger layer", 5, 8, 8, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) CONV(17, 3, 2, LEAKY) SHORTCUT_(-2, LEAKY) CONV(5, 3, 1, TANH_)
         UPSAMPLE_(2, "") SHORTCUT_(-2, LINEAR) HEAD},
    {"upsamples", 7, 7, 5, 3, NORMED,
     CONV(16, 3, 2, NORM LEAKY) UPSAMPLE_(2, "scale=.7\n") CONV(17, 3, 1, LEAKY)
         UPSAMPLE_(-2, "") CONV(5, 3, 1, LEAKY) HEAD},
    {"reorgs", 8, 13, 5, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) POOL(2, 1) CONV(16, 3, 2, LEAKY)
         CONV(16, 1, 1, LEAKY) "[maxpool]\nsize=4\nstride=1\npadding=2\n" CONV(32, 3, 1, LEAKY)
             REORG_("stride=2\n") CONV(16, 1, 1, TANH_) REORG_("stride=2\nreverse=1\n")
                 REORG_("flatten=1\n") REORG_("flatten=1\nreverse=1\n") HEAD},
    {"activations", 12, 9, 5, 3, NORMED,
     CONV(16, 3, 1, LINEAR) "[activation]\n" LEAKY CONV(5, 3, 1,
                                                        NORM LINEAR) "[activation]\n" TANH_
         CONNECTED_(17, LINEAR) "[activation]\n" LOGISTIC_ HEAD},
    {"dropouts", 16, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) DROPOUT_ CONV(17, 3, 1, LINEAR) DROPOUT_ ROUTE_("-1,0")
         CONV(5, 3, 2, LEAKY) CONNECTED_(32, LEAKY) DROPOUT_ HEAD},
    {"connected", 8, 5, 7, 5, NORMED,
     CONNECTED_(32, NORM LEAKY) CONNECTED_(17, RELU_) CONNECTED_(16, NORM TANH_)
         CONNECTED_(5, LOGISTIC_) HEAD},
    {"a crop", 8, 13, 13, 3, NORMED,
     CROP_(9, 7) CONV(16, 3, 1, NORM LEAKY) POOL(2, 2) CONV(17, 3, 1, LEAKY) HEAD},
    {"a crop before a maxpool", 2, 13, 13, 3, PLAIN, CROP_(9, 9) POOL(2, 2) HEAD},
    {"normalizations", 5, 9, 9, 3, NORMED,
     CONV(16, 3, 1, LEAKY) NORMALIZATION_ CONV(17, 3, 1, NORM LEAKY) NORMALIZATION_ HEAD},
    {"a deconvolution", 3, 5, 7, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) "[deconvolutional]\nfilters=5\nsize=2\nstride=2\n" LEAKY CONV(
         16, 3, 2, LEAKY) HEAD},
    {"a cost", 2, 9, 5, 3, PLAIN, CONV(16, 3, 1, LEAKY) HEAD "[cost]\n"},
    {"a cost alone", 2, 9, 5, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) LOGITS "[softmax]\nnoloss=1\n[cost]\n"},
    {"a layer as the truth", 3, 9, 5, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) CONNECTED_(6, LOGISTIC_ "truth=1\n") HEAD},
    {"layers that stay", 7, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(5, 3, 1, LEAKY "stopbackward=1\n")
         CONV(17, 3, 2, NORM LEAKY) HEAD},
    {"windows that step differently, or have holes", 6, 13, 11, 3, NORMED,
     CONV(16, 3, 1, "stride_y=2\n" NORM LEAKY) CONV(16, 3, 2, "dilation=2\nstride_x=1\n" TANH_)
         CONV(17, 3, 1, "dilation=3\n" LEAKY) CONV(16, 1, 2, NORM LEAKY)
             POOL(2, 1) "stride_x=2\n" CONV(16, 3, 1, "groups=2\ndilation=2\n" LEAKY) HEAD},
    {"means of windows", 6, 13, 11, 3, NORMED,
     CONV(17, 3, 1, NORM LEAKY) "[local_avgpool]\nsize=3\nstride=2\n" CONV(
         16, 3, 1, LEAKY) "[local_avgpool]\nsize=2\nstride_x=1\nstride_y=2\npadding=0\n" HEAD},
    {"maxpools over channels", 6, 9, 7, 3, NORMED,
     CONV(17, 3, 1, NORM LEAKY) "[maxpool]\nmaxpool_depth=1\nout_channels=5\n" CONV(
         16, 3, 1, LEAKY) "[maxpool]\nmaxpool_depth=1\n" HEAD},
    {"shortcuts from several layers", 6, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(16, 3, 1, LEAKY)
         CONV(16, 1, 1, LEAKY) "[shortcut]\nfrom=-2,-3\n" MISH_ CONV(
             16, 3, 1, LEAKY) "[shortcut]\nfrom=-2,0\nweights_type=per_channel\n"
                              "weights_normalization=relu\n" LINEAR CONV(
                                  16, 1, 1,
                                  LEAKY) "[shortcut]\nfrom=-2,-4\nweights_type=per_"
                                         "feature\nweights_normalization=softmax\n" LEAKY HEAD},
    {"blocks of pixels", 6, 8, 6, 3, NORMED,
     CONV(5, 3, 1, NORM LEAKY) "[reorg3d]\nstride=2\n" CONV(16, 3, 1, LEAKY) HEAD},
    {"channels that change places, padding that counts", 6, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) "[shuffle]\ngroups=4\n" CONV(6, 3, 1, LEAKY)
         SHUFFLE_POOL CONV(16, 1, 1, LEAKY) "[shuffle]\ngroups=2\n" HEAD},
    /* a bias right before batch norm has a gradient of 0, but for its rounding */
    {"batch norm before convolutions", 6, 9, 7, 3, NORMED,
     "batch_norm_momentum=.3\n" NORM_ CONV(16, 3, 1, LEAKY) NORM_
     "[activation]\n" RELU_ CONV(16, 3, 1, NORM RELU_) CONV(16, 3, 1, TANH_)
         SHORTCUT_(-5, LEAKY) NORM_ "[activation]\n" LEAKY CONV(5, 1, 2, TANH_) NORM_ HEAD},
};

static const whole_detector detectors[] = {
    {5, 24, "", yolo_layers, "batch_normalize=1\nactivation=leaky", ""},
    {2, 40, "", yolo_layers, "activation=tanh", ""},
    {4, 24, "", yolo4_layers, "batch_normalize=1\nactivation=mish",
     "iou_loss=ciou\niou_thresh=.3\nmax_delta=5"},
    {3, 24, "", region_layers, "batch_normalize=1\nactivation=leaky", "softmax=1"},
    {16, 24, "", region_layers, "activation=leaky", "bias_match=1\nthresh=.4\nrescore=1"},
};
static const whole_detector detectors_teacher = {
    1, 24, "", yolo_layers, "batch_normalize=1\nactivation=leaky", ""};

#define TEACHER                                                                                \
    CONV(16, 3, 2, NORM LEAKY) POOL(2, 1) CONV(17, 3, 1, RELU_) SHORTCUT_(-1, LINEAR) HEAD

/* With trainers[n] there are n + 1 groups. */
static const char *const trainers[] = {
    "trainer=sgd\n",
    "trainer=dot\n",
    "trainer=deepkd\ndelta_ncg=0\n",
};
#define LOSS "method=dkd\ntopk_schedule=static\ntopk=3\n"
#define SECTIONS "[teacher]\n[deepkd_loss]\n" LOSS

/* ---- nets -------------------------------------------------------------- */

#define NETS (COUNT(cases) + COUNT(detectors))

static char *case_cfg(const net_case *c, int batch, const char *layers, const char *more)
{
    char net[128];
    snprintf(net, sizeof(net),
             "[net]\nbatch=%d\nwidth=%d\nheight=%d\nchannels=%d\nmax_batches=100\n", batch,
             c->width, c->height, c->channels);
    return join(net, layers, more);
}

static const char *detector_name(int i)
{
    return detectors[i].layers == region_layers ? "[region]" : "[yolo]";
}

static double tolerance_of(int i)
{
    return i < COUNT(cases) ? cases[i].tolerance : NORMED;
}

/* ---- comparing --------------------------------------------------------- */

static const char *net_name; /* which net is being looked at, for messages */
static double worst;         /* error of any comparison since the last say_worst */

static void say_worst(const char *what)
{
    if (getenv("KD_VERBOSE")) fprintf(stderr, "%s: %s: %.1e\n", net_name, what, worst);
    worst = 0;
}

/* ||a - b|| / ||b||; not a number when one in them is none */
static double error_of(const float *a, const float *b, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; ++i) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return difference == 0 ? 0 : sqrt(difference / norm);
}

static void compare_arrays(int layer, const char *what, const float *found, const float *wanted,
                           size_t n, double tolerance)
{
    double error = wanted ? error_of(found, wanted, n) : 0;
    worst = fmax(worst, error);
    if (!(error <= tolerance))
        fail_msg("%s: layer %d: %s: expected as without cores, found %g of difference",
                 net_name, layer, what, error);
}

static int is_channels_last; /* the twin with cores has put_channels_last */

/* A layer's output in Darknet's form, which forms[i] is or not; free */
static float *plain_output(const network *net, const image_form *forms, int i)
{
    layer l = net->layers[i];
    size_t n = (size_t)l.batch * l.outputs, pixels = (size_t)l.out_w * l.out_h;
    float *plain = kd_calloc(n, sizeof(float));
    memcpy(plain, l.output, n * sizeof(float));
    for (size_t k = 0; k < n && forms[i]; ++k) {
        size_t image = k / l.outputs, channel = k % l.out_c, pixel = k % l.outputs / l.out_c;
        plain[image * l.outputs + channel * pixels + pixel] = l.output[k];
    }
    return plain;
}

static image_form *forms_of(const network *net)
{
    image_form *forms = kd_calloc(net->n, sizeof(*forms));
    if (is_channels_last) find_forms(net, FLOAT32, forms);
    return forms;
}

/* What forward leaves in each layer, and the cost */
static void compare_layers(const network *ours, const network *stock, double tolerance)
{
    image_form *forms = forms_of(ours);
    for (int i = 0; i < stock->n; ++i) {
        layer a = ours->layers[i], b = stock->layers[i];
        size_t n = b.batch_normalize ? b.out_c : 0;
        float *output = plain_output(ours, forms, i);
        compare_arrays(i, "output", output, b.output, (size_t)b.batch * b.outputs, tolerance);
        free(output);
        compare_arrays(i, "mean", a.mean, b.mean, n, tolerance);
        compare_arrays(i, "variance", a.variance, b.variance, n, tolerance);
        compare_arrays(i, "rolling mean", a.rolling_mean, b.rolling_mean, n, tolerance);
        compare_arrays(i, "rolling variance", a.rolling_variance, b.rolling_variance, n,
                       tolerance);
        compare_arrays(i, "cost", a.cost, b.cost, 1, tolerance);
    }
    free(forms);
    compare_arrays(stock->n, "cost of all", ours->cost, stock->cost, 1, tolerance);
}

/* ---- twins ------------------------------------------------------------- */

typedef struct {
    deepkd *ours, *stock; /* the latter, and its teacher, without cores */
} twins;

/* Net i of both tables with a teacher; `loss`: lines of [deepkd_loss] */
static deepkd *make_student(int i, const char *loss)
{
    char *sections = join(SECTIONS, loss, ""), *student, *teacher;
    if (i < COUNT(cases)) {
        net_name = cases[i].name;
        student = case_cfg(cases + i, cases[i].batch, cases[i].layers, sections);
        teacher = case_cfg(cases + i, 1, TEACHER, "");
    } else {
        net_name = detector_name(i - COUNT(cases));
        student = whole_cfg(detectors + i - COUNT(cases), sections);
        teacher = whole_cfg(&detectors_teacher, "");
    }
    deepkd *kd = make_pair(student, teacher, 100 + i);
    free(sections), free(student), free(teacher);
    return kd;
}

static twins make_twins(int i, const char *loss)
{
    twins t = {make_student(i, loss), make_student(i, loss)};
    assert_true(has_cores(t.ours->net) && has_cores(t.ours->teacher->net));
    detach_cores(t.stock->net);
    detach_cores(t.stock->teacher->net);
    assert_false(has_cores(t.stock->net) || has_cores(t.stock->teacher->net));
    return t;
}

static void free_twins(twins t)
{
    free_pair(t.ours);
    free_pair(t.stock);
}

static void fill(deepkd *kd, unsigned int seed)
{
    if (is_detector(&kd->outputs)) fill_full_scenes(kd->net, kd->classes, seed);
    else fill_batch(kd->net, seed);
}

static void forward(deepkd *kd, unsigned int seed)
{
    fill(kd, seed);
    srand(seed); /* for [dropout] and [crop] */
    forward_whole(kd);
}

/* Some output is above 0 in one of them alone. */
static int is_bent(twins t)
{
    image_form *forms = forms_of(t.ours->net);
    int bent = 0;
    for (int i = 0; i < t.stock->net->n; ++i) {
        layer b = t.stock->net->layers[i];
        float *output = plain_output(t.ours->net, forms, i);
        for (int k = 0; k < b.batch * b.outputs; ++k)
            bent |= (output[k] > 0) != (b.output[k] > 0);
        free(output);
    }
    free(forms);
    return bent;
}

/* With images that bend nothing, if there are */
static void forward_both(twins t, unsigned int seed)
{
    for (int k = 0; k < TRIES; ++k) {
        forward(t.ours, seed + 10 * k);
        forward(t.stock, seed + 10 * k);
        if (!is_bent(t)) return;
    }
}

/* [stopbackward] is behind it. */
static int stays(const network *net, int i)
{
    for (int j = i; j < net->n; ++j)
        if (net->layers[j].stopbackward) return 1;
    return 0;
}

static double gradient_tolerance = GRADIENTS;

static void compare_gradients(const network *net, int i, const char *what, const float *found,
                              const float *wanted, size_t n)
{
    if (!wanted || !n) return;
    compare_arrays(i, what, found, wanted, n, gradient_tolerance);
    if (!stays(net, i) != (largest_of(wanted, n) > 0))
        fail_msg("%s: layer %d: %s: found %sgradient", net_name, i, what,
                 stays(net, i) ? "a " : "no ");
}

static void compare_buffers(twins t)
{
    const network *net = t.stock->net;
    for (int g = 0; g < t.stock->groups->n; ++g)
        for (int i = 0; i < net->n; ++i) {
            size_t weights, biases;
            layer_buffers a = t.ours->groups->group[g].buffers[i];
            layer_buffers b = t.stock->groups->group[g].buffers[i];
            layer_sizes(net->layers[i], &weights, &biases);
            compare_gradients(net, i, "gradient of weights", a.weights, b.weights, weights);
            compare_gradients(net, i, "gradient of biases", a.biases, b.biases, biases);
            compare_gradients(net, i, "gradient of scales", a.scales, b.scales, biases);
        }
}

/* The same losses go back: where student and teacher nearly agree, what little their logits
 * differ by between the twins is much of the loss. */
static void share_deltas(twins t)
{
    for (int c = KD_TCG; c <= KD_NCG; ++c)
        for (int o = 0; o < t.ours->outputs.n; ++o) {
            layer l = t.ours->net->layers[t.ours->outputs.layer[o]];
            memcpy(t.stock->delta[c][o], t.ours->delta[c][o],
                   (size_t)l.batch * l.inputs * sizeof(float));
        }
}

/* Two batches in training, whose gradients add up, and one in prediction */
static void compare_passes(twins t, double tolerance)
{
    deepkd *both[] = {t.ours, t.stock};
    for (int batch = 0; batch < 2; ++batch) {
        forward_both(t, 50 + batch);
        compare_layers(t.ours->net, t.stock->net, tolerance);
        say_worst("training");
        share_deltas(t);
        for (int k = 0; k < 2; ++k) both[k]->net->backward(both[k]->net);
        compare_buffers(t);
        say_worst("gradients");
    }
    for (int k = 0; k < 2; ++k) {
        fill(both[k], 60);
        network_predict(both[k]->net, both[k]->net->input);
    }
    compare_layers(t.ours->net, t.stock->net, tolerance);
    say_worst("prediction");
}

/* ---- groups ------------------------------------------------------------ */

static float *copy_of(const float *x, size_t n)
{
    float *copy = kd_calloc(n, sizeof(float));
    memcpy(copy, x, n * sizeof(float));
    return copy;
}

/* After forward: no component of another group is active in backward. */
static void leave_group(deepkd *kd, const momentum_group *group)
{
    if (!group->has[KD_TOG]) kd->options.task_weight = 0;
    if (!group->has[KD_TCG]) kd->options.alpha = 0;
    if (!group->has[KD_NCG]) kd->loss_config.parameter[0] = 0;
}

/* Each group's buffers get the same bits alone, and the others' keep theirs. */
static void check_alone(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    deepkd_options options = kd->options;
    double beta = kd->loss_config.parameter[0];
    size_t size = groups->size, bytes = size * sizeof(float);
    float *before = copy_of(groups->momenta, groups->n * size);
    forward(kd, 70);
    kd->net->backward(kd->net);
    float *together = copy_of(groups->momenta, groups->n * size);
    for (int g = 0; g < groups->n; ++g) {
        memcpy(groups->momenta, before, groups->n * bytes);
        forward(kd, 70);
        leave_group(kd, groups->group + g);
        kd->net->backward(kd->net);
        kd->options = options;
        kd->loss_config.parameter[0] = beta;
        for (int k = 0; k < groups->n; ++k)
            if (memcmp(groups->momenta + k * size, (k == g ? together : before) + k * size,
                       bytes))
                fail_msg("%s: group %d alone: group %d has other bits", net_name, g, k);
        assert_memory_not_equal(together + g * size, before + g * size, bytes);
    }
    free(before), free(together);
}

/* ---- layer types ------------------------------------------------------- */

static void check_twins(twins t, int groups, double tolerance)
{
    assert_int_equal(t.ours->groups->n, groups);
    compare_passes(t, tolerance);
    check_alone(t.ours);
    free_twins(t);
}

static void test_layer_types(void)
{
    for (int i = 0; i < NETS; ++i)
        for (int n = 0; n < COUNT(trainers); ++n)
            check_twins(make_twins(i, trainers[n]), n + 1, tolerance_of(i));
}

/* ---- other sizes ------------------------------------------------------- */

/* Both with buffers of zeros, so that nothing hides behind what is in them */
static void compare_anew(twins t, double tolerance)
{
    size_t bytes = t.ours->groups->n * t.ours->groups->size * sizeof(float);
    memset(t.ours->groups->momenta, 0, bytes);
    memset(t.stock->groups->momenta, 0, bytes);
    compare_passes(t, tolerance);
}

static void set_batches(deepkd *kd, int batch)
{
    set_batch_network(kd->net, batch);
    set_batch_network(kd->teacher->net, batch);
}

static void test_other_batches(void)
{
    static const int batches[] = {1, 5, 2, 12, 7, 3, 8};
    for (int i = 0; i < COUNT(cases); ++i) {
        if (cases[i].batch < 12) continue;
        twins t = make_twins(i, trainers[2]);
        for (int k = 0; k < COUNT(batches); ++k) {
            set_batches(t.ours, batches[k]);
            set_batches(t.stock, batches[k]);
            compare_anew(t, NORMED);
        }
        free_twins(t);
    }
}

/* The student's and the teacher's images channels last */
static void test_channels_last(void)
{
    is_channels_last = 1;
    for (int i = 0; i < NETS; ++i) {
        twins t = make_twins(i, trainers[i % COUNT(trainers)]);
        deepkd *kd = t.ours;
        detach_cores(kd->net);
        detach_cores(kd->teacher->net);
        attach_cores(kd->net, 0, FLOAT32, DEFAULT_PARTS);
        attach_cores(kd->teacher->net, &kd->teacher->outputs, FLOAT32, DEFAULT_PARTS);
        put_channels_last(kd->net);
        put_channels_last(kd->teacher->net);
        check_twins(t, 1 + i % COUNT(trainers), tolerance_of(i));
    }
    is_channels_last = 0;
}

/* A student in bfloat16: what it computes and learns is near what it does in float32. */
static void test_narrow_student(void)
{
    is_channels_last = find_bfloat16() != BFLOAT16_NONE;
    if (!is_channels_last) skip_test("no bfloat16 here");
    gradient_tolerance = BENT;
    for (int i = 0; i < NETS; ++i) {
        char *options = join(trainers[0], "precision=bfloat16\n", "");
        twins t = make_twins(i, options);
        detach_cores(t.ours->teacher->net);
        compare_passes(t, 10 * NARROW);
        free(options);
        free_twins(t);
    }
    gradient_tolerance = GRADIENTS;
    is_channels_last = 0;
}

/* parts=: as many as images, more, and as many as divide the batch */
static void test_other_parts(void)
{
    static const struct {
        const char *option;
        int count;
    } parts[] = {
        {"parts=12\n", 12}, {"parts=256\n", 12}, {"parts=5\n", 4}, {"parts=1\n", 1}, {"", 6}};
    for (int i = 0; i < COUNT(cases); ++i)
        for (int k = 0; cases[i].batch == 12 && k < COUNT(parts); ++k) {
            char *options = join(trainers[2], parts[k].option, "");
            twins t = make_twins(i, options);
            assert_int_equal(count_parts(t.ours->net), parts[k].count);
            check_twins(t, 3, tolerance_of(i));
            free(options);
        }
}

static const int sizes[][2] = {{40, 24}, {24, 56}, {24, 24}};

static void test_other_sizes(void)
{
    for (int i = 0; i < COUNT(detectors); ++i) {
        twins t = make_twins(COUNT(cases) + i, trainers[1 + i % 2]);
        t.ours->teacher->resize = t.stock->teacher->resize = i % 2;
        for (int k = 0; k < COUNT(sizes); ++k) {
            resize_network(t.ours->net, sizes[k][0], sizes[k][1]);
            resize_network(t.stock->net, sizes[k][0], sizes[k][1]);
            compare_anew(t, NORMED);
        }
        free_twins(t);
    }
}

/* ---- prediction alone -------------------------------------------------- */

#define YOLO_(mask)                                                                            \
    "[yolo]\nmask=" mask "\nnum=4\nclasses=2\nmax=8\nanchors=3,4,6,5,9,8,12,11\n"

/* Layers that run whole, [yolo], [crop], [normalization], groups=2 and [softmax], part the
 * others; what is read behind one of them can't stand in a core's memory. */
static const net_case predictors[] = {
    {"a chain", 16, 13, 9, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) POOL(2, 2) CONV(17, 3, 1, NORM RELU_) CONV(32, 1, 1, TANH_)
         AVERAGE CONNECTED_(17, NORM LEAKY) HEAD},
    {"one image", 1, 13, 9, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) POOL(2, 2) CONV(32, 3, 1, LEAKY) HEAD},
    {"smooth activations", 6, 13, 9, 3, NORMED,
     CONV(16, 3, 1, NORM MISH_) POOL(2, 2) CONV(17, 3, 1, NORM SWISH_) CONV(32, 1, 1, MISH_)
         AVERAGE HEAD},
    {"residuals", 12, 9, 9, 3, NORMED,
     CONV(16, 3, 1, NORM RELU_) CONV(17, 3, 1, NORM RELU_) CONV(17, 3, 1, NORM LINEAR) ROUTE_(
         "-3") CONV(17, 1, 1, NORM LINEAR) SHORTCUT_(-3, RELU_) CONV(32, 3, 2, NORM RELU_)
         ROUTE_("-2") POOL(1, 2) CONV(32, 1, 1, LINEAR) SHORTCUT_(-4, RELU_) AVERAGE HEAD},
    {"a crop, read twice", 8, 13, 13, 3, PLAIN,
     CROP_(9, 7) CONV(16, 3, 1, LEAKY) ROUTE_("-1,0") CONV(17, 3, 1, LEAKY) HEAD},
    {"dropouts", 5, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) DROPOUT_ CONV(17, 3, 1, LEAKY) CONV(5, 3, 1, LEAKY)
         DROPOUT_ DROPOUT_ ROUTE_("-1,1") CONV(3, 3, 1, LEAKY) HEAD},
    {"a dropout, read behind a normalization", 3, 9, 7, 5, PLAIN,
     CONV(16, 3, 1, LEAKY) CONV(16, 3, 1, LEAKY) DROPOUT_ NORMALIZATION_ ROUTE_("-1,2")
         CONV(17, 3, 1, LEAKY) NORMALIZATION_ SHORTCUT_(-4, TANH_) HEAD},
    {"groups between", 7, 9, 5, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(32, 3, 1, LEAKY) CONV(16, 3, 1, "groups=2\n" NORM LEAKY)
         SHORTCUT_(-3, LINEAR) CONV(5, 1, 1, LEAKY) ROUTE_("-1,1") CONV(16, 3, 2, LEAKY) HEAD},
    {"reorg and upsample", 8, 13, 5, 3, PLAIN,
     CONV(16, 3, 2,
          LEAKY) POOL(2, 1) "[maxpool]\nsize=4\nstride=1\npadding=2\n" REORG_("stride=2\n")
         CONV(17, 1, 1, LEAKY) UPSAMPLE_(2, "") ROUTE_("-1,-4") "[activation]\n" TANH_ HEAD},
    {"heads in a row", 12, 9, 7, 3, NORMED,
     CONV(16, 3, 1, NORM LEAKY) CONV(32, 3, 1, LEAKY) CONV(14, 1, 1, LINEAR) YOLO_("0,1")
         ROUTE_("-1,-2,0") CONV(17, 3, 2, LEAKY) CONV(14, 1, 1, LINEAR) YOLO_("2,3")
             ROUTE_("-3") UPSAMPLE_(2, "") CONV(14, 3, 1, LINEAR) YOLO_("0,2")},
    {"a cost", 2, 9, 5, 3, PLAIN, CONV(16, 3, 1, LEAKY) CONV(5, 3, 1, LEAKY) HEAD "[cost]\n"},
    {"a student", 24, 7, 5, 3, PLAIN,
     CONV(16, 3, 1, LEAKY) CONV(5, 3, 1, LEAKY) HEAD "[teacher]\n[deepkd_loss]\n"},
};

/* One with cores, its twin without, and where both have their logits */
typedef struct {
    network *ours, *stock;
    net_outputs outputs;
} predictor;

static predictor make_predictor(const char *cfg, unsigned int seed)
{
    predictor p = {.ours = make_net(cfg, seed), .stock = make_net(cfg, seed)};
    p.outputs = find_outputs(p.ours, "net.cfg");
    return p;
}

static void free_predictor(predictor p)
{
    detach_cores(p.ours);
    free_network(p.ours);
    free_network(p.stock);
    free(p.outputs.layer);
}

/* Numbers that are none where the outputs stand */
static void spoil_outputs(network *net)
{
    for (int i = 0; i < net->n; ++i)
        fill_cpu(net->layers[i].outputs * net->batch, NAN, net->layers[i].output, 1);
}

static int count_spoilt(const network *net)
{
    int n = 0;
    for (int i = 0; i < net->n; ++i) n += isnan(net->layers[i].output[0]);
    return n;
}

static void compare_predictions(predictor p, unsigned int seed, double tolerance)
{
    network *net = p.stock;
    size_t n = (size_t)net->batch * net->inputs;
    float *images = kd_calloc(n, sizeof(float));
    srand(seed);
    fill_uniform(images, n, -1, 1);
    float *found = network_predict(p.ours, images), *wanted = network_predict(net, images);
    compare_arrays(net->n, "prediction", found, wanted, (size_t)net->batch * net->outputs,
                   tolerance);
    for (int o = 0; o < p.outputs.n; ++o) {
        int i = p.outputs.layer[o];
        layer l = net->layers[i];
        compare_arrays(i - 1, "logits", output_logits(p.ours, &p.outputs, o),
                       output_logits(net, &p.outputs, o), (size_t)l.batch * l.inputs,
                       tolerance);
        compare_arrays(i, "predictions", p.ours->layers[i].output, l.output,
                       (size_t)l.batch * l.outputs, tolerance);
    }
    free(images);
}

typedef enum { AS_IT_IS, CHANNELS_LAST, IN_BFLOAT16, IN_INT8, VARIANTS } variant;

static const char *const variants[] = {"prediction alone", "channels last",
                                       "prediction in bfloat16", "prediction in int8"};

static int bytes_taken; /* convolutions in int8 so far */

/* What largest numbers there are is found on the images that are looked at afterwards. */
static void start_int8(predictor p, unsigned int seed, double tolerance)
{
    network *net = p.ours;
    float *largest = kd_calloc(net->n, sizeof(float));
    note_largest(net, largest);
    for (int b = 0; b < 6; ++b) compare_predictions(p, seed + b, tolerance);
    note_largest(net, 0);
    use_int8(net, largest);
    free(largest);
    for (int i = 0; i < net->n; ++i)
        bytes_taken += is_convolution(net->layers[i]) && find_arithmetic(net, i) == INT8;
}

/* Four batches with cores, one of fewer images, one of all */
static void check_predictor(const char *cfg, unsigned int seed, variant v, double tolerance)
{
    predictor p = make_predictor(cfg, seed);
    int batch = p.ours->batch;
    spoil_outputs(p.ours);
    attach_cores(p.ours, &p.outputs, v == IN_BFLOAT16 ? BFLOAT16 : FLOAT32, DEFAULT_PARTS);
    if (v == CHANNELS_LAST) put_channels_last(p.ours);
    if (v == IN_INT8) start_int8(p, seed, NORMED);
    for (int b = 0; b < 4; ++b) compare_predictions(p, seed + b, tolerance);
    assert_true(count_spoilt(p.ours) > 0);
    for (int k = 0; k < 2; ++k) {
        set_batch_network(p.ours, k ? batch : (batch + 1) / 2);
        set_batch_network(p.stock, p.ours->batch);
        compare_predictions(p, seed + 4 + k, tolerance);
    }
    free_predictor(p);
    say_worst(variants[v]);
}

static void check_variants(const char *cfg, unsigned int seed, double exact)
{
    const double tolerances[] = {exact, exact, NARROW, BYTES};
    for (variant v = 0; v < VARIANTS; ++v)
        if (v != IN_INT8 || has_int8()) check_predictor(cfg, seed, v, tolerances[v]);
}

static void test_prediction_alone(void)
{
    for (int i = 0; i < COUNT(predictors); ++i) {
        const net_case *c = predictors + i;
        char *cfg = case_cfg(c, c->batch, c->layers, "");
        net_name = c->name;
        check_variants(cfg, 500 + i, c->tolerance);
        free(cfg);
    }
    for (int i = 0; i < COUNT(detectors); ++i) {
        char *cfg = whole_cfg(detectors + i, "");
        net_name = detector_name(i);
        check_variants(cfg, 550 + i, NORMED);
        free(cfg);
    }
    if (has_int8()) assert_true(bytes_taken >= 6);
}

/* Which layers hand their images on in which form: P plain, L channels last, N and B the same
 * in bfloat16 and in bytes */
static void test_forms(void)
{
    static const struct {
        const char *layers, *forms;
        arithmetic how;
    } nets[] = {
        {CONV(8, 3, 1, LEAKY) CONV(8, 1, 1, LINEAR) CONV(8, 3, 1, RELU_) HEAD, "NNPP",
         BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, TANH_) CONV(8, 3, 1, LEAKY) HEAD, "NPPP", BFLOAT16},
        {CONV(8, 3, 1, MISH_) CONV(8, 3, 1, SWISH_) CONV(8, 3, 1, LEAKY) HEAD, "NNPP",
         BFLOAT16},
        {CONV(8, 3, 1, LEAKY) POOL(2, 2) CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) HEAD,
         "LLNPP", BFLOAT16},
        {POOL(2, 2) CONV(8, 3, 1, LEAKY) UPSAMPLE_(2, "") CONV(8, 3, 1, LEAKY) POOL(2, 2)
             AVERAGE HEAD,
         "PLLLLP", BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) UPSAMPLE_(-2, "") CONV(8, 3, 1, LEAKY)
             ROUTE_("-1,2") CONV(8, 3, 1, LEAKY) HEAD,
         "NPPPPP", BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) SHORTCUT_(-2, TANH_) CONV(8, 3, 1, LEAKY)
             AVERAGE HEAD,
         "LLLLPP", BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) SHORTCUT_(-2, "") CONV(8, 3, 1, LEAKY)
             SHORTCUT_(-2, "") AVERAGE HEAD,
         "LLLLLPP", BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) ROUTE_("-2") CONV(8, 3, 1, LEAKY) HEAD,
         "LPLPP", BFLOAT16},
        {CONV(8, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY) DROPOUT_ SHORTCUT_(-3, "")
             CONV(8, 3, 1, LEAKY) HEAD,
         "PPPPPP", BFLOAT16},
        {CONV(16, 3, 1, LEAKY) CONV(16, 3, 1, LEAKY) CONV(16, 3, 1, LEAKY) CONV(8, 3, 1, LEAKY)
             CONV(16, 3, 1, LEAKY) HEAD,
         "LBBLP", INT8},
        {CONV(16, 3, 1, LEAKY) CONV(16, 3, 1, LEAKY) SHORTCUT_(-2, "") CONV(16, 3, 1, LEAKY)
             CONV(16, 3, 1, LEAKY) CONV(16, 3, 1, LEAKY) HEAD,
         "LLLBLP", INT8},
    };
    for (int i = 0; i < COUNT(nets); ++i) {
        static const net_case small = {"forms", 2, 8, 8, 3, 0, ""};
        char *cfg = case_cfg(&small, 2, nets[i].layers, "");
        predictor p = make_predictor(cfg, 1);
        image_form *forms = kd_calloc(p.ours->n, sizeof(*forms));
        find_forms(p.ours, nets[i].how, forms);
        for (int k = 0; nets[i].forms[k]; ++k)
            if ("PLNB"[forms[k]] != nets[i].forms[k])
                fail_msg("net %d: layer %d: found %c, expected %c", i, k, "PLNB"[forms[k]],
                         nets[i].forms[k]);
        free(forms), free(cfg), free_predictor(p);
    }
}

static void test_resized_prediction(void)
{
    for (int i = 0; i < COUNT(detectors); ++i) {
        char *cfg = whole_cfg(detectors + i, "");
        predictor p = make_predictor(cfg, 600 + i);
        net_name = detector_name(i);
        attach_cores(p.ours, &p.outputs, i % 2 ? BFLOAT16 : FLOAT32, 1 + i);
        for (int k = 0; k < COUNT(sizes); ++k) {
            resize_network(p.ours, sizes[k][0], sizes[k][1]);
            resize_network(p.stock, sizes[k][0], sizes[k][1]);
            compare_predictions(p, 650 + k, i % 2 ? NARROW : NORMED);
        }
        free_predictor(p);
        free(cfg);
    }
}

/* Once it has none, a network is Darknet's own again, to the bit. */
static void test_without_cores(void)
{
    for (int i = 0; i < COUNT(predictors); ++i) {
        const net_case *c = predictors + i;
        char *cfg = case_cfg(c, c->batch, c->layers, "");
        predictor p = make_predictor(cfg, 700 + i);
        net_name = c->name;
        for (int alone = 0; alone < 2; ++alone) {
            assert_false(has_cores(p.ours));
            attach_cores(p.ours, alone ? &p.outputs : 0, FLOAT32, MOST_PARTS);
            assert_true(has_cores(p.ours));
            compare_predictions(p, 750, c->tolerance);
            detach_cores(p.ours);
            detach_cores(p.ours);
            compare_predictions(p, 751, 0);
        }
        free_predictor(p);
        say_worst("with and without");
        free(cfg);
    }
}

/* ---- many steps -------------------------------------------------------- */

/*
 * With momentum .9. Where rounding takes a number to the other side of an activation's bend,
 * one of the gradient's jumps: that makes 2e-5 of a layer's weights at ten times this rate, but
 * only 2e-6 at this one.
 */
#define STEPS 50
#define RATE 2e-6
#define LEAST 1e-4    /* so much of their length the weights go, and more */
#define WAY 1e-2      /* the twins' difference, of a layer's way */
#define NARROW_WAY .2 /* and in bfloat16; reached: .08 */

static void train(deepkd *kd, int steps)
{
    for (int i = 0; i < steps; ++i) {
        fill(kd, 800 + i);
        srand(800 + i);
        start_losses(kd);
        train_network_datum(kd->net);
        assert_false(kd->broken);
    }
}

static void compare_way(const parameter *ours, const parameter *stock, const float *start)
{
    size_t n = stock->n;
    double way = error_of(start, stock->data, n);
    double apart = error_of(ours->data, stock->data, n);
    compare_arrays(stock->layer, stock->name, ours->data, stock->data, n, WEIGHTS);
    if (way > 0 && !(apart <= WAY * way))
        fail_msg("%s: layer %d: %s went %g, and are %g apart", net_name, stock->layer,
                 stock->name, way, apart);
}

static void check_steps(twins t)
{
    float *starts[MAX_PARAMETERS];
    double longest = 0;
    parameters ours = parameters_of(t.ours->net), stock = parameters_of(t.stock->net);
    t.ours->net->learning_rate = t.stock->net->learning_rate = RATE;
    for (int i = 0; i < stock.n; ++i) starts[i] = copy_of(stock.list[i].data, stock.list[i].n);
    train(t.ours, STEPS), train(t.stock, STEPS);
    for (int i = 0; i < stock.n; ++i) {
        compare_way(ours.list + i, stock.list + i, starts[i]);
        longest = fmax(longest, error_of(starts[i], stock.list[i].data, stock.list[i].n));
        free(starts[i]);
    }
    assert_true(longest > LEAST);
    say_worst("weights");
    free_twins(t);
}

static void test_many_steps(void)
{
    for (int i = 1; i < NETS; i += 2) check_steps(make_twins(i, trainers[0])); /* takes long */
}

/* A hundred steps of a student in bfloat16 lead it along the way of one in float32. */
static void test_narrow_steps(void)
{
    static const int nets[] = {1, 8, NETS - 1}; /* batch norm, shortcuts, a detector */
    if (find_bfloat16() == BFLOAT16_NONE) skip_test("no bfloat16 here");
    for (int k = 0; k < COUNT(nets); ++k) {
        char *options = join(trainers[0], "precision=bfloat16\n", "");
        deepkd *both[] = {make_student(nets[k], options), make_student(nets[k], trainers[0])};
        parameters narrow = parameters_of(both[0]->net), exact = parameters_of(both[1]->net);
        float *starts[MAX_PARAMETERS];
        for (int i = 0; i < exact.n; ++i)
            starts[i] = copy_of(exact.list[i].data, exact.list[i].n);
        for (int b = 0; b < 2; ++b) both[b]->net->learning_rate = 1e-4, train(both[b], 100);
        for (int i = 0; i < exact.n; ++i) {
            parameter p = exact.list[i];
            double way = error_of(starts[i], p.data, p.n);
            double apart = error_of(narrow.list[i].data, p.data, p.n);
            worst = fmax(worst, way > 0 ? apart / way : 0);
            if (!(apart <= NARROW_WAY * way))
                fail_msg("%s: layer %d: %s went %g, and are %g apart", net_name, p.layer,
                         p.name, way, apart);
            free(starts[i]);
        }
        say_worst("100 steps in bfloat16");
        free(options), free_pair(both[0]), free_pair(both[1]);
    }
}

/* ---- any number of cores ----------------------------------------------- */

#define FEW 5 /* steps */

/* Of weights, statistics and momenta after some steps, and of the output for another batch */
static uint64_t hash_steps(deepkd *kd)
{
    network *net = kd->net;
    kd_arrays momenta = group_arrays(kd);
    net->learning_rate = 1e-4;
    train(kd, FEW);
    uint64_t hash = kd_hash(hash_net(net), net->cost, sizeof(float));
    hash ^= hash_arrays(momenta);
    fill(kd, 60);
    float *output = network_predict(net, net->input);
    kd_free_arrays(momenta);
    return kd_hash(hash, output, (size_t)net->batch * net->outputs * sizeof(float));
}

/* 0: this build knows no other number than 1. */
static int use_cores(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
    return 1;
#else
    (void)n;
    return 0;
#endif
}

static void test_any_number_of_cores(void)
{
    static const int cores[] = {1, 2, 3, 5, 3};
    if (!use_cores(1)) skip_test("a build for one core");
    for (int i = 0; i < NETS; i += 2) {
        uint64_t first = 0;
        for (int k = 0; k < COUNT(cores); ++k) {
            use_cores(cores[k]);
            deepkd *kd = make_student(i, trainers[2]);
            uint64_t hash = hash_steps(kd);
            if (!k) first = hash;
            if (hash != first) fail_msg("%s: other bits on %d cores", net_name, cores[k]);
            free_pair(kd);
        }
    }
    use_cores(THREADS);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_layer_types),         TEST(test_other_batches), TEST(test_channels_last),
        TEST(test_narrow_student),      TEST(test_other_parts),   TEST(test_other_sizes),
        TEST(test_prediction_alone),    TEST(test_forms),         TEST(test_resized_prediction),
        TEST(test_without_cores),       TEST(test_many_steps),    TEST(test_narrow_steps),
        TEST(test_any_number_of_cores),
    };
    use_cores(THREADS);
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
