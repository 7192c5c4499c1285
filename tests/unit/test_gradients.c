/*
 * Proves that Darknet, with patches/fixes/01, computes the gradient of a whole
 * network: for each small net here and each of its arrays of weights, what
 * backward_network leaves in the *_updates is the derivative of the loss by
 * finite differences. Every layer type of our cfgs stands in one of them, and
 * in `fork_cases` every one stands where its input also goes elsewhere, so
 * that what it overwrites would be missed. One test undoes the patch for the
 * 1x1 convolution, and sees the residual net's gradient go wrong.
 *
 * The nets compute in single precision: differences are central, the loss is
 * taken in double from the logits, and activations are smooth (logistic, tanh,
 * linear); where a [maxpool]'s maximum moves during a step, the next weight is
 * taken.
 *
 * To add a case: a line in `cases` (a net's layers below its head) or in
 * `fork_cases` (one layer). KD_VERBOSE=1 prints the error of every array.
 */
#include "nets.h"

#include "data.h"
#include "utils.h"

#define SAMPLES 48
#define CLASSES 5

#define STEP 1e-2

/* Errors relative to the largest gradient of the same array. */
#define SMOOTH 1e-3 /* reached: 6e-4 */
#define NORMED 1e-2 /* with batch norm, see `cases`; reached: 7e-3 */

static network *net;
static int output; /* index of the [softmax], whose input is the logits */

/* Which input each [maxpool] has chosen. */
static uint64_t hash_maxima(void)
{
    uint64_t hash = KD_HASH_START;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == MAXPOOL || l.type == CHANNEL_POOL)
            hash = kd_hash(hash, l.indexes, (size_t)l.outputs * l.batch * sizeof(int));
    }
    return hash;
}

static double loss(void)
{
    srand(77); /* the same mask in every [dropout] */
    net->train = 1;
    forward_network(net);
    return task_loss(net, output);
}

static int softmax_of(network *n)
{
    for (int i = n->n - 1; i > 0; --i)
        if (n->layers[i].type == SOFTMAX) return i;
    fail_msg("no [softmax]");
    return 0;
}

static void start(const char *cfg, unsigned int seed)
{
    net = make_net(cfg, seed);
    output = softmax_of(net);
    fill_batch(net, seed + 1);
    zero_gradients(net);
    loss();
    backward_network(net);
}

/* The derivative; *moved = 1 when a [maxpool] chose another input on the way, a kink. */
static double difference(float *w, int *moved)
{
    float before = *w, above = before + STEP, below = before - STEP;
    *w = above;
    double up = loss();
    uint64_t maxima = hash_maxima();
    *w = below;
    double down = loss();
    *moved = maxima != hash_maxima();
    *w = before;
    return (up - down) / ((double)above - below);
}

/* The largest error of a sample of the array, relative to its largest gradient. */
static double error_of(const parameter *p, double times)
{
    double scale = largest_of(p->gradient, p->n), worst = 0;
    int checked = 0, moved;
    for (size_t i = 0; i < p->n && checked < SAMPLES; ++i) {
        size_t j = p->n <= SAMPLES ? i : (i * 7919 + 13) % p->n;
        double want = -times * difference(p->data + j, &moved);
        if (moved) continue;
        worst = fmax(worst, fabs(p->gradient[j] - want));
        ++checked;
    }
    return checked ? worst / scale : INFINITY;
}

/* ---- layer types ------------------------------------------------------- */

typedef struct {
    const char *name;
    int batch;
    const char *layers;
    const char *tail;
    double times; /* Darknet's delta is this many times that of the cross-entropy */
    double tolerance;
} net_case;

#define CONV(filters, size, stride, more)                                                      \
    "[convolutional]\nfilters=" #filters "\nsize=" #size "\nstride=" #stride "\npad=1\n" more
#define TANH "activation=tanh\n"
#define LOGISTIC "activation=logistic\n"
#define LINEAR "activation=linear\n"
#define LEAKY "activation=leaky\n"
#define MISH_ "activation=mish\n"
#define SWISH_ "activation=swish\n"
#define NORM "batch_normalize=1\n"
#define CONNECTED_(outputs, more) "[connected]\noutput=" #outputs "\n" more

#define HEAD CONNECTED_(5, LINEAR) "[softmax]\n"
#define POOLED CONV(5, 1, 1, LINEAR) "[avgpool]\n[softmax]\n"

/*
 * Batch norm's derivative in Darknet divides by n where its variance divides
 * by n - 1 (n: the batch, or batch times pixels), and has another epsilon:
 * hence the larger batches, which make that smaller than the tolerance.
 */
static const net_case cases[] = {
    {"convolutional 3x3, 1x1, stride 2", 4,
     CONV(4, 3, 1, TANH) CONV(6, 1, 1, LOGISTIC) CONV(6, 3, 2, TANH), HEAD, 1, SMOOTH},
    {"convolutional 5x5, average of pixels", 4, CONV(4, 5, 2, TANH), POOLED, 1, SMOOTH},
    {"convolutional, batch norm", 8, CONV(4, 3, 1, NORM TANH) CONV(6, 3, 2, NORM LOGISTIC),
     HEAD, 1, NORMED},
    {"convolutional 1x1, batch norm", 8, CONV(4, 3, 2, TANH) CONV(6, 1, 1, NORM TANH), HEAD, 1,
     NORMED},
    {"convolutional, groups", 4,
     CONV(4, 3, 1, TANH) CONV(6, 3, 1, "groups=2\n" TANH) CONV(4, 1, 1, "groups=2\n" TANH),
     HEAD, 1, SMOOTH},
    {"convolutional, groups, batch norm", 8,
     CONV(4, 3, 1, TANH) CONV(4, 3, 2, "groups=4\n" NORM TANH), HEAD, 1, NORMED},
    {"deconvolutional", 4,
     CONV(4, 3, 2, TANH) "[deconvolutional]\nfilters=4\nsize=4\nstride=2\npadding=1\n" TANH,
     HEAD, 1, SMOOTH},
    {"connected", 4, CONNECTED_(12, TANH) CONNECTED_(9, LOGISTIC), HEAD, 1, SMOOTH},
    {"connected, batch norm", 200, CONNECTED_(8, NORM TANH) CONNECTED_(7, NORM TANH), HEAD, 1,
     NORMED},
    {"maxpool", 4, CONV(4, 3, 1, TANH) "[maxpool]\nsize=2\nstride=2\n" CONV(4, 3, 1, TANH),
     HEAD, 1, SMOOTH},
    {"maxpool that overlaps", 4, CONV(4, 3, 1, TANH) "[maxpool]\nsize=3\nstride=2\n", HEAD, 1,
     SMOOTH},
    {"maxpool, stride 1", 4, CONV(4, 3, 1, TANH) "[maxpool]\nsize=2\nstride=1\n", HEAD, 1,
     SMOOTH},
    {"maxpool, strides that differ", 4,
     CONV(4, 3, 1, TANH) "[maxpool]\nsize=3\nstride_x=1\nstride_y=2\n", HEAD, 1, SMOOTH},
    {"maxpool of channels", 4,
     CONV(5, 3, 4, TANH) "[maxpool]\nmaxpool_depth=1\nout_channels=2\n" CONV(4, 3, 1, TANH),
     HEAD, 1, SMOOTH},
    {"maxpool of all channels", 4, CONV(4, 3, 4, TANH) "[maxpool]\nmaxpool_depth=1\n", HEAD, 1,
     SMOOTH},
    {"convolutional, strides that differ", 4,
     CONV(4, 3, 1, "stride_y=2\n" TANH) CONV(6, 3, 2, "stride_y=1\n" TANH), HEAD, 1, SMOOTH},
    {"convolutional 1x1, strides, padding", 4,
     CONV(4, 1, 2, TANH) CONV(6, 1, 1, "pad=0\npadding=1\nstride_x=3\n" TANH), HEAD, 1, SMOOTH},
    {"convolutional, dilation", 4,
     CONV(4, 3, 1, "dilation=2\n" TANH) CONV(6, 3, 2, "dilation=3\n" TANH), HEAD, 1, SMOOTH},
    {"convolutional, dilation, groups, no padding", 4,
     CONV(4, 3, 1, TANH) "[convolutional]\nfilters=4\nsize=2\ngroups=2\ndilation=3\n"
                         "stride_x=2\nstride_y=1\n" TANH,
     HEAD, 1, SMOOTH},
    {"average pool", 4, CONV(6, 3, 1, TANH) "[avgpool]\n" CONNECTED_(6, TANH), HEAD, 1, SMOOTH},
    {"local average pool", 4, CONV(4, 3, 1, TANH) "[local_avgpool]\nsize=3\nstride=2\n", HEAD,
     1, SMOOTH},
    {"local average pool, strides that differ", 4,
     CONV(4, 3, 1, TANH) "[local_avgpool]\nsize=4\nstride_x=1\nstride_y=3\npadding=2\n" CONV(
         4, 3, 1, TANH),
     HEAD, 1, SMOOTH},
    {"shortcut", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH) CONV(4, 3, 1, LINEAR) "[shortcut]\nfrom=-3\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut to more channels", 4,
     CONV(4, 3, 1, TANH) CONV(6, 3, 1, TANH) "[shortcut]\nfrom=-2\n" LINEAR, HEAD, 1, SMOOTH},
    {"shortcut to fewer channels", 4,
     CONV(6, 3, 1, TANH) CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2\n" LINEAR, HEAD, 1, SMOOTH},
    {"shortcut to a smaller layer", 4,
     CONV(4, 3, 1, TANH) CONV(6, 3, 2, TANH) "[shortcut]\nfrom=-2\n" LINEAR, HEAD, 1, SMOOTH},
    {"shortcut to a larger layer", 4,
     CONV(4, 3, 2, TANH) "[upsample]\nstride=2\n[shortcut]\nfrom=-2\n" LINEAR, HEAD, 1, SMOOTH},
    {"route of one layer", 4,
     CONV(4, 3, 1, TANH) CONV(3, 3, 1, TANH) "[route]\nlayers=-2\n" CONV(
         4, 3, 1, TANH) "[route]\nlayers=-1,-3\n",
     HEAD, 1, SMOOTH},
    {"convolutional, mish and swish", 4,
     CONV(4, 3, 1, MISH_) CONV(6, 1, 1, SWISH_) CONV(6, 3, 2, MISH_), HEAD, 1, SMOOTH},
    {"convolutional, batch norm, mish and swish", 24,
     CONV(4, 3, 1, NORM MISH_) CONV(6, 3, 2, NORM SWISH_), HEAD, 1, NORMED},
    {"shortcut and activation, mish and swish", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, LINEAR) "[shortcut]\nfrom=-2\n" MISH_
                                               "[activation]\n" SWISH_,
     HEAD, 1, SMOOTH},
    {"route of a part", 4, CONV(6, 3, 1, TANH) "[route]\nlayers=-1\ngroups=3\ngroup_id=1\n",
     HEAD, 1, SMOOTH},
    {"route of parts of two layers", 4,
     CONV(4, 3, 1, TANH) CONV(
         6, 3, 1, TANH) "[route]\nlayers=-1,-2\ngroups=2\ngroup_id=1\n" CONV(4, 3, 2, TANH),
     HEAD, 1, SMOOTH},
    {"sam", 4, CONV(4, 3, 1, TANH) CONV(4, 3, 1, LOGISTIC) "[sam]\nfrom=-2\n" TANH, HEAD, 1,
     SMOOTH},
    {"scale_channels", 4,
     CONV(4, 3, 1, TANH) "[avgpool]\n" CONV(4, 1, 1,
                                            LOGISTIC) "[scale_channels]\nfrom=-3\n" TANH,
     HEAD, 1, SMOOTH},
    {"scale_channels of pixels", 4,
     CONV(4, 3, 1, TANH) CONV(1, 1, 1, LOGISTIC) "[scale_channels]\nfrom=-2\nscale_wh=1\n",
     HEAD, 1, SMOOTH},
    {"route of two layers", 4,
     CONV(4, 3, 1, TANH) CONV(3, 3, 1, TANH) "[route]\nlayers=-1,-2\n" CONV(4, 3, 2, TANH),
     HEAD, 1, SMOOTH},
    {"dropout", 4,
     CONV(4, 3, 1, LINEAR) "[dropout]\nprobability=.4\n" CONNECTED_(
         9, LINEAR) "[dropout]\nprobability=.3\n",
     HEAD, 1, SMOOTH},
    {"upsample", 4, CONV(4, 3, 2, TANH) "[upsample]\nstride=2\nscale=.7\n" CONV(4, 3, 2, TANH),
     HEAD, 1, SMOOTH},
    {"upsample, reverse", 4, CONV(4, 3, 1, TANH) "[upsample]\nstride=-2\n", HEAD, 1, SMOOTH},
    {"reorg", 4, CONV(4, 3, 1, TANH) "[reorg]\nstride=2\n" CONV(4, 3, 1, TANH), HEAD, 1,
     SMOOTH},
    {"reorg, reverse", 4, CONV(4, 3, 2, TANH) "[reorg]\nstride=2\nreverse=1\n", HEAD, 1,
     SMOOTH},
    {"reorg, flatten", 4, CONV(4, 3, 1, TANH) "[reorg]\nflatten=1\n", HEAD, 1, SMOOTH},
    {"activation", 4,
     CONV(4, 3, 1, LINEAR) "[activation]\n" TANH CONNECTED_(8,
                                                            LINEAR) "[activation]\n" LOGISTIC,
     HEAD, 1, SMOOTH},
    {"batchnorm", 8, CONV(4, 3, 1, TANH) "[batchnorm]\n" CONV(4, 3, 2, TANH), HEAD, 1, NORMED},
    {"batchnorm of the images", 8, "[batchnorm]\n" CONV(4, 3, 2, TANH), HEAD, 1, NORMED},
    {"batchnorm that is trained", 8,
     CONV(4, 3, 1, TANH) "[batchnorm]\naffine=1\n[activation]\n" TANH CONV(4, 3, 2, TANH), HEAD,
     1, NORMED},
    {"shuffle", 4, CONV(6, 3, 1, TANH) "[shuffle]\ngroups=3\n" CONV(6, 3, 2, "groups=3\n" TANH),
     HEAD, 1, SMOOTH},
    {"local average pool that counts padding", 4,
     CONV(4, 3, 1, TANH) "[local_avgpool]\nsize=3\nstride=2\ncount_padding=1\n", HEAD, 1,
     SMOOTH},
    {"softmax and cost", 4, CONV(4, 3, 2, TANH), HEAD "[cost]\ntype=sse\n", 2, SMOOTH},
    {"softmax without loss, and cost", 4, CONV(4, 3, 2, TANH),
     CONNECTED_(5, LINEAR) "[softmax]\nnoloss=1\n[cost]\ntype=sse\n", 1, SMOOTH},
    {"shortcut from several layers", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_feature, none", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_feature\nweights_"
                             "normalization=none\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_feature, relu", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_feature\nweights_"
                             "normalization=relu\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_feature, softmax", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_feature\nweights_"
                             "normalization=softmax\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_channel, none", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nweights_"
                             "normalization=none\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_channel, relu", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nweights_"
                             "normalization=relu\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut, per_channel, softmax", 4,
     CONV(4, 3, 1, TANH) CONV(4, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nweights_"
                             "normalization=softmax\n" TANH,
     HEAD, 1, SMOOTH},
    {"shortcut from several layers of other channels", 4,
     CONV(6, 3, 1, TANH) CONV(2, 3, 1, TANH)
         CONV(4, 3, 1, TANH) "[shortcut]\nfrom=-3,-2,-2\n"
                             "weights_type=per_channel\n"
                             "weights_normalization=softmax\n" MISH_,
     HEAD, 1, SMOOTH},
    {"reorg3d", 4, CONV(3, 3, 1, TANH) "[reorg3d]\nstride=2\n" CONV(4, 3, 1, TANH), HEAD, 1,
     SMOOTH},
};

static void print_cfg(char *text, size_t size, int batch, const char *layers, const char *tail)
{
    snprintf(text, size, "[net]\nbatch=%d\nheight=8\nwidth=8\nchannels=3\nmax_batches=9\n%s%s",
             batch, layers, tail);
}

static int failures;

/* A line for each array whose gradient is not the loss's, or is nothing. */
static void check_net(const char *name, double times, double tolerance)
{
    parameters p = parameters_of(net);
    for (int i = 0; i < p.n; ++i) {
        const parameter *one = p.list + i;
        double size = largest_of(one->gradient, one->n), error = error_of(one, times);
        int good = size > 1e-3 && error < tolerance;
        failures += !good;
        if (!good || getenv("KD_VERBOSE"))
            fprintf(stderr, "%s: layer %d: %s: error %.1e of the largest gradient %.1e%s\n",
                    name, one->layer, one->name, error, size, good ? "" : ": too much");
    }
}

static void test_layer_types(void)
{
    char cfg[4096];
    failures = 0;
    for (int i = 0; i < COUNT(cases); ++i) {
        const net_case *c = cases + i;
        print_cfg(cfg, sizeof(cfg), c->batch, c->layers, c->tail);
        start(cfg, 100 + i);
        check_net(c->name, c->times, c->tolerance);
        free_network(net);
    }
    assert_int_equal(failures, 0);
}

/* ---- truths that are no class ------------------------------------------- */

/* A [softmax]'s cost is -sum t log p, and its delta the derivative, of any truths that sum
 * to 1. */
static void test_soft_truths(void)
{
    char cfg[4096];
    print_cfg(cfg, sizeof(cfg), 2, "", "[softmax]\n");
    network *soft = make_net(cfg, 7);
    layer l = soft->layers[soft->n - 1];
    fill_uniform(soft->input, (size_t)soft->inputs * soft->batch, -2, 2);
    soft->train = 1;
    for (int b = 0; b < soft->batch; ++b) {
        float *truth = soft->truth + (size_t)b * soft->truths;
        memset(truth, 0, soft->truths * sizeof(float));
        truth[b + 1] = 1;
        smooth_labels(truth, soft->truths, .3);
        assert_float_equal(sum_array(truth, soft->truths), 1, 1e-5);
    }
    forward_network(soft);
    double cost = 0;
    for (int k = 0; k < l.batch * l.inputs; ++k) {
        cost -= soft->truth[k] * log(l.output[k]);
        assert_float_equal(l.delta[k], soft->truth[k] - l.output[k], 1e-6);
    }
    assert_float_equal(*l.cost, cost, 1e-4 * cost);
    free_network(soft);
}

/* ---- a layer beside another path --------------------------------------- */

/*
 * Layer 0's output goes to the layer in question, and later to the second
 * [connected]. Backward comes to the latter first: what it leaves in layer 0's
 * delta must be there still when the former has added its own.
 */
static const struct {
    const char *name, *layer;
    double tolerance;
} fork_cases[] = {
    {"convolutional 3x3", CONV(4, 3, 1, TANH), SMOOTH},
    {"convolutional 1x1", CONV(4, 1, 1, TANH), SMOOTH},
    {"convolutional 1x1, batch norm", CONV(4, 1, 1, NORM TANH), NORMED},
    {"convolutional 1x1, groups", CONV(4, 1, 1, "groups=2\n" TANH), SMOOTH},
    {"deconvolutional", "[deconvolutional]\nfilters=4\nsize=2\nstride=2\n" TANH, SMOOTH},
    {"connected", CONNECTED_(7, TANH), SMOOTH},
    {"maxpool", "[maxpool]\nsize=2\nstride=2\n", SMOOTH},
    {"maxpool, strides that differ", "[maxpool]\nsize=2\nstride_x=2\nstride_y=1\n", SMOOTH},
    {"maxpool of channels", "[maxpool]\nmaxpool_depth=1\nout_channels=3\n", SMOOTH},
    {"convolutional 1x1, stride", CONV(4, 1, 2, TANH), SMOOTH},
    {"convolutional, dilation", CONV(4, 3, 1, "dilation=2\nstride_x=2\n" TANH), SMOOTH},
    {"avgpool", "[avgpool]\n", SMOOTH},
    {"local_avgpool", "[local_avgpool]\nsize=3\nstride=1\n", SMOOTH},
    {"dropout", "[dropout]\nprobability=.4\n", SMOOTH},
    {"upsample", "[upsample]\nstride=2\n", SMOOTH},
    {"upsample, reverse", "[upsample]\nstride=-2\n", SMOOTH},
    {"reorg", "[reorg]\nstride=2\n", SMOOTH},
    {"reorg, reverse", "[reorg]\nstride=2\nreverse=1\n", SMOOTH},
    {"reorg, flatten", "[reorg]\nflatten=1\n", SMOOTH},
    {"reorg3d", "[reorg3d]\nstride=2\n", SMOOTH},
    {"activation", "[activation]\n" TANH, SMOOTH},
    {"batchnorm", "[batchnorm]\n", NORMED},
    {"batchnorm that is trained", "[batchnorm]\naffine=1\n", NORMED},
    {"shuffle", "[shuffle]\ngroups=2\n", SMOOTH},
    {"local_avgpool that counts padding",
     "[local_avgpool]\nsize=3\nstride=1\ncount_padding=1\n", SMOOTH},
    {"shortcut", "[shortcut]\nfrom=-1\n" LINEAR, SMOOTH},
    {"shortcut from several layers", "[shortcut]\nfrom=-1,-1\nweights_type=per_feature\n" TANH,
     SMOOTH},
    {"route", "[route]\nlayers=-1,-1\n", SMOOTH},
    {"route of a part", "[route]\nlayers=-1\ngroups=2\n", SMOOTH},
    {"sam", "[sam]\nfrom=-1\n", SMOOTH},
};

static void test_layers_beside_another_path(void)
{
    char cfg[4096], layers[2048];
    failures = 0;
    for (int i = 0; i < COUNT(fork_cases); ++i) {
        snprintf(layers, sizeof(layers), "%s%s%s", CONV(4, 3, 1, LINEAR), fork_cases[i].layer,
                 CONNECTED_(6, LINEAR) "[route]\nlayers=0\n" CONNECTED_(
                     6, LINEAR) "[route]\nlayers=-1,-3\n");
        print_cfg(cfg, sizeof(cfg), 8, layers, HEAD);
        start(cfg, 200 + i);
        check_net(fork_cases[i].name, 1, fork_cases[i].tolerance);
        free_network(net);
    }
    assert_int_equal(failures, 0);
}

/* ---- the 1x1 convolution's lost gradient ------------------------------- */

static void (*patched_backward)(layer, network);

/* As before patches/fixes/01: what the [shortcut] has put into the delta below is lost. */
static void backward_without_patch(layer l, network n)
{
    fill_cpu(l.batch * l.inputs, 0, n.delta, 1);
    patched_backward(l, n);
}

/* |gradient - difference| / |difference| of the first layer's weights */
static double first_layer_error(void)
{
    parameter p = parameters_of(net).list[0];
    double error = 0, size = 0;
    int moved;
    for (size_t j = 0; j < p.n; ++j) {
        double want = -difference(p.data + j, &moved);
        error += pow(p.gradient[j] - want, 2);
        size += want * want;
    }
    return sqrt(error / size);
}

static void test_residual_net_needs_the_patch(void)
{
    char cfg[4096];
    print_cfg(cfg, sizeof(cfg), 4,
              CONV(6, 3, 1, TANH) CONV(3, 1, 1, TANH)
                  CONV(6, 3, 1, TANH) "[shortcut]\nfrom=-3\n" LINEAR,
              HEAD);
    start(cfg, 300);
    double patched = first_layer_error();
    patched_backward = net->layers[1].backward;
    net->layers[1].backward = backward_without_patch;
    zero_gradients(net);
    loss();
    backward_network(net);
    double stock = first_layer_error();
    if (getenv("KD_VERBOSE")) fprintf(stderr, "residual: %g, stock %g\n", patched, stock);
    assert_true(patched < 1e-2);
    assert_true(stock > .2);
    free_network(net);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_layer_types),
        TEST(test_soft_truths),
        TEST(test_layers_beside_another_path),
        TEST(test_residual_net_needs_the_patch),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
