/*
 * Proves that resize_network, with patches/fixes/15, leaves what the cfg gives when
 * it is parsed at that size: each net here is parsed at one size and resized
 * through three others, and at each it computes, to the bit, what a net parsed
 * there with the same weights computes: every layer's output, in training and
 * not, the heads' costs, and every delta and gradient. Sizes are not square, go
 * up and down, and come back.
 *
 * To add a case: a line in `cases`. Not looked at: [crop], which a cfg gives in
 * pixels and resize_network scales, and what it cannot resize at all
 * ([connected], [dropout], [softmax] and others not behind an [avgpool]).
 */
#include "nets.h"

static const int sizes[][2] = {{32, 16}, {8, 24}, {24, 24}, {16, 16}};

#define CONV(filters, size, stride, more)                                                      \
    "[convolutional]\nfilters=" #filters "\nsize=" #size "\nstride=" #stride "\npad=1\n" more
#define LEAKY "batch_normalize=1\nactivation=leaky\n"
#define LINEAR "activation=linear\n"
#define POOL(size, stride) "[maxpool]\nsize=" #size "\nstride=" #stride "\n"
#define ROUTE(layers) "[route]\nlayers=" layers "\n"
#define SHORTCUT(from) "[shortcut]\nactivation=linear\nfrom=" #from "\n"
#define UPSAMPLE(stride) "[upsample]\nstride=" #stride "\n"
#define REORG(stride, more) "[reorg]\nstride=" #stride "\n" more
#define NORMALIZATION(size) "[normalization]\nsize=" #size "\nalpha=.01\nbeta=.75\nkappa=1\n"
#define YOLO_HEAD(mask, more)                                                                  \
    "[yolo]\nmask=" mask "\nanchors=3,4,6,5,9,8\nclasses=2\nnum=3\nignore_thresh=.4\n" more
#define REGION_HEAD(more)                                                                      \
    "[region]\nanchors=.6,.7,1.5,1.2\nclasses=3\nnum=2\nrescore=1\nthresh=.5\n" more

typedef struct {
    const char *name;
    const char *layers[4]; /* one after the other */
} net_case;

static const net_case cases[] = {
    {"two [yolo] heads",
     {CONV(6, 3, 1, LEAKY) POOL(2, 2) CONV(8, 3, 1, LEAKY) POOL(2, 1) CONV(8, 1, 1, LEAKY),
      SHORTCUT(-2) CONV(8, 3, 2, LEAKY) CONV(14, 1, 1, LINEAR) YOLO_HEAD("1,2", ""),
      ROUTE("-3") CONV(4, 1, 1, LEAKY) UPSAMPLE(2) ROUTE("-1,5"),
      REORG(2, "") CONV(7, 1, 1, LINEAR) YOLO_HEAD("0", "")}},
    {"layers after a [yolo] head",
     {CONV(7, 3, 2, LINEAR) YOLO_HEAD("0", "max=2\n"),
      CONV(14, 3, 1, LINEAR) YOLO_HEAD("1,2", "max=2\n")}},
    {"[region], softmax",
     {CONV(8, 3, 2, LEAKY) POOL(2, 2) CONV(8, 3, 1, LEAKY) ROUTE("-3"),
      REORG(2, "") ROUTE("-1,-3") CONV(16, 1, 1, LINEAR) REGION_HEAD("softmax=1\nmax=5\n")}},
    {"[region], logistic classes",
     {CONV(8, 3, 2, LEAKY) NORMALIZATION(3) CONV(16, 3, 2, LINEAR),
      REGION_HEAD("bias_match=1\n")}},
    {"[shortcut] from other sizes",
     {CONV(4, 3, 1, LEAKY) CONV(6, 3, 2, LEAKY) SHORTCUT(-2) CONV(6, 3, 2, LEAKY),
      UPSAMPLE(2) SHORTCUT(-2) CONV(7, 1, 1, LINEAR) YOLO_HEAD("1", "")}},
    {"[reorg] with extra outputs", {CONV(4, 3, 2, LEAKY) REORG(1, "extra=9\n") "[cost]\n"}},
    {"[reorg], reverse and flatten",
     {CONV(8, 3, 2, LEAKY) REORG(2, "reverse=1\n") REORG(1, "flatten=1\n") "[cost]\n"}},
    {"[upsample] that shrinks",
     {CONV(4, 3, 1, LEAKY) UPSAMPLE(-2) CONV(7, 1, 1, LINEAR) YOLO_HEAD("2", "")}},
    {"an xnor convolution",
     {CONV(4, 3, 1, LEAKY) CONV(4, 3, 1, "xnor=1\n" LEAKY) CONV(7, 1, 1, LINEAR),
      YOLO_HEAD("2", "")}},
    {"other windows, the largest of channels, means",
     {CONV(6, 3, 1, "stride_y=2\n" LEAKY) CONV(6, 3, 1, "dilation=2\nstride_x=2\n" LEAKY),
      "[maxpool]\nmaxpool_depth=1\nout_channels=4\n[local_avgpool]\nsize=3\nstride_x=2\n",
      POOL(2, 1) "stride_y=2\n" CONV(7, 1, 1, LINEAR) YOLO_HEAD("2", "")}},
    {"[shortcut] from several layers",
     {CONV(6, 3, 1, LEAKY) CONV(6, 3, 1, LEAKY) CONV(6, 1, 1, LEAKY),
      "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nweights_normalization=relu\n"
      "activation=mish\n",
      CONV(7, 1, 1, LINEAR) YOLO_HEAD("2", "")}},
    {"[shuffle], means that count padding",
     {CONV(6, 3, 1, LEAKY) "[shuffle]\ngroups=3\n",
      "[local_avgpool]\nsize=3\nstride=2\ncount_padding=1\n",
      CONV(7, 1, 1, LINEAR) YOLO_HEAD("2", "")}},
    {"[reorg3d]",
     {CONV(3, 3, 1, LEAKY) "[reorg3d]\nstride=2\n" CONV(7, 1, 1, LINEAR) YOLO_HEAD("2", "")}},
    {"[cost]", {CONV(4, 3, 2, LEAKY) CONV(2, 3, 1, LINEAR) "[cost]\n"}},
    {"a convolution after [avgpool]",
     {CONV(4, 1, 1, LEAKY) "[avgpool]\n" CONV(5, 3, 1, LINEAR) "[softmax]\n"}},
};

static int figures_calls;

static int count_figures(network *of, region_figures f)
{
    (void)of;
    (void)f;
    ++figures_calls;
    return 0; /* the line "Region ..." is not for this output */
}

static network *net_at(const net_case *c, int w, int h)
{
    char cfg[4096];
    int n =
        snprintf(cfg, sizeof(cfg), "[net]\nbatch=2\nwidth=%d\nheight=%d\nchannels=3\n", w, h);
    for (int i = 0; i < COUNT(c->layers) && c->layers[i]; ++i)
        n += snprintf(cfg + n, sizeof(cfg) - n, "%s", c->layers[i]);
    assert_true(n < (int)sizeof(cfg));
    return make_net(cfg, 3);
}

/* Boxes for a head, one class for [softmax], numbers for [cost]. */
static void fill_truths(network *net)
{
    layer last = net->layers[net->n - 1];
    fill_batch(net, 5);
    if (last.type == COST) fill_uniform(net->truth, (size_t)net->truths * net->batch, -1, 1);
    if (last.type != YOLO && last.type != REGION) return;
    memset(net->truth, 0, (size_t)net->truths * net->batch * sizeof(float));
    for (int b = 0; b < net->batch; ++b)
        for (int t = 0; t < 2; ++t) {
            float *truth = net->truth + b * net->truths + 5 * t;
            fill_uniform(truth, 4, .2, .8);
            truth[4] = rand() % last.classes;
        }
}

static void assert_same(const char *name, int i, const char *what, const float *a,
                        const float *b, size_t n)
{
    if (!a && !b) return;
    if (!a || !b || memcmp(a, b, n * sizeof(float)))
        fail_msg("%s: layer %d: %s: expected as in a net of that size", name, i, what);
}

static void assert_same_shapes(const char *name, const network *a, const network *b)
{
    assert_int_equal(a->inputs, b->inputs);
    assert_int_equal(a->outputs, b->outputs);
    assert_int_equal(a->truths, b->truths);
    for (int i = 0; i < a->n; ++i) {
        layer l = a->layers[i], m = b->layers[i];
        int mine[] = {l.w, l.h, l.c, l.inputs, l.out_w, l.out_h, l.out_c, l.outputs, l.truths};
        int want[] = {m.w, m.h, m.c, m.inputs, m.out_w, m.out_h, m.out_c, m.outputs, m.truths};
        if (memcmp(mine, want, sizeof(mine)) || l.workspace_size != m.workspace_size)
            fail_msg("%s: layer %d: shape: expected as in a net of that size", name, i);
    }
}

static void assert_same_arrays(const char *name, const network *a, const network *b)
{
    for (int i = 0; i < a->n; ++i) {
        layer l = a->layers[i], m = b->layers[i];
        size_t n = (size_t)l.outputs * l.batch;
        assert_same(name, i, "output", l.output, m.output, n);
        assert_same(name, i, "delta", l.delta, m.delta, n);
        assert_same(name, i, "cost", l.cost, m.cost, 1);
        assert_same(name, i, "weight updates", l.weight_updates, m.weight_updates, l.nweights);
        assert_same(name, i, "bias updates", l.bias_updates, m.bias_updates, l.nbiases);
        assert_same(name, i, "scale updates", l.scale_updates, m.scale_updates, l.n);
    }
}

static void train_step(network *net)
{
    fill_truths(net);
    zero_gradients(net);
    net->train = 1;
    forward_network(net);
    backward_network(net);
}

/* The resized net and a fresh one of the same size and weights, in training and not. */
static void compare_resized(const net_case *c, network *resized)
{
    network *fresh = net_at(c, resized->w, resized->h);
    copy_net(resized, fresh);
    assert_same_shapes(c->name, resized, fresh);
    train_step(resized);
    train_step(fresh);
    assert_same_arrays(c->name, resized, fresh);
    network_predict(resized, resized->input);
    network_predict(fresh, fresh->input);
    assert_same_arrays(c->name, resized, fresh);
    free_network(fresh);
}

static void test_resized_nets(void)
{
    region_hook = count_figures;
    figures_calls = 0;
    for (int i = 0; i < COUNT(cases); ++i) {
        network *net = net_at(cases + i, 16, 16);
        for (int s = 0; s < COUNT(sizes); ++s) {
            resize_network(net, sizes[s][0], sizes[s][1]);
            assert_int_equal(net->w, sizes[s][0]);
            assert_int_equal(net->h, sizes[s][1]);
            compare_resized(cases + i, net);
        }
        free_network(net);
    }
    region_hook = 0;
    assert_true(figures_calls > 0);
}

/* A gradient of nothing would be the same in any two nets. */
static void test_gradients_are_something(void)
{
    region_hook = count_figures;
    for (int i = 0; i < COUNT(cases); ++i) {
        network *net = net_at(cases + i, 16, 16);
        resize_network(net, 24, 8);
        train_step(net);
        layer first = net->layers[0];
        if (!(largest_of(first.weight_updates, first.nweights) > 0))
            fail_msg("%s: no gradient in the first layer", cases[i].name);
        free_network(net);
    }
    region_hook = 0;
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_resized_nets),
        TEST(test_gradients_are_something),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
