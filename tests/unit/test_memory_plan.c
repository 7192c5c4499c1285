/*
 * Proves that layers which share memory by memory_plan.c never lose an output that is still to
 * be read, and how little memory they need: the plan is acted out, layer by layer, with the
 * name of the layer that has written last in each block.
 *
 * To add a network: a line in `nets`.
 */
#include "net/memory_plan.h"
#include "nets.h"

#define NET "[net]\nbatch=2\nwidth=16\nheight=16\nchannels=3\n"
#define CONV(filters) "[convolutional]\nsize=3\npad=1\nfilters=" #filters "\n"
#define HALF "[maxpool]\nsize=2\nstride=2\n"
#define LAST "[avgpool]\n[connected]\noutput=5\n[softmax]\n"
#define YOLO "[yolo]\nnum=2\nmask=0\nclasses=2\nanchors=4,5, 9,9\n"

typedef struct {
    const char *title, *cfg;
    int blocks; /* as few as possible */
} net_case;

static const net_case nets[] = {
    {"a chain", NET CONV(8) HALF CONV(16) HALF CONV(32) LAST, 2},
    {"a dropout, whose output is its neighbour's",
     NET CONV(8) CONV(9) "[dropout]\nprobability=.5\n" CONV(7) LAST, 2},
    {"a skip over one layer", NET CONV(8) CONV(8) "[shortcut]\nfrom=-2\n" CONV(4) LAST, 3},
    {"a skip over three",
     NET CONV(8) CONV(8) CONV(8) CONV(8) "[shortcut]\nfrom=-4\n" CONV(4) LAST, 3},
    {"a skip from two layers",
     NET CONV(8) CONV(8) CONV(8) CONV(8) "[shortcut]\nfrom=-3,-4\n" CONV(4) LAST, 4},
    {"skips in a row",
     NET CONV(4) CONV(4) CONV(4) "[shortcut]\nfrom=-3\n" CONV(4)
         CONV(4) "[shortcut]\nfrom=-3\n" LAST,
     3},
    {"a route back to the first layer",
     NET CONV(4) CONV(8) CONV(8) "[route]\nlayers=-1,0\n" CONV(8) LAST, 3},
    {"two heads, whose logits last to the end",
     NET CONV(8) HALF CONV(7) YOLO "[route]\nlayers=-3\n" CONV(4) CONV(7) YOLO, 3},
    {"a student with its two sections", NET CONV(8) CONV(7) YOLO "[teacher]\n[deepkd_loss]\n",
     2},
};

/* Layer `reader` finds the output of layer i where the plan has it. */
static void check_reading(const memory_plan *p, const int *holder, int reader, int i)
{
    assert_true(p->block[p->owner[i]] >= 0);
    if (holder[p->block[p->owner[i]]] != p->owner[i])
        fail_msg("layer %d finds layer %d where it reads layer %d", reader,
                 holder[p->block[p->owner[i]]], i);
}

static void check_readings(network *net, const memory_plan *p, const int *holder, int i)
{
    layer l = net->layers[i];
    if (l.type == ROUTE)
        for (int k = 0; k < l.n; ++k) check_reading(p, holder, i, l.input_layers[k]);
    else if (i) check_reading(p, holder, i, i - 1);
    if (l.type == SHORTCUT) check_reading(p, holder, i, l.index);
}

/* Acts the plan out; returns how many numbers all blocks hold. */
static size_t act_out(network *net, const net_outputs *outputs, const memory_plan *p)
{
    int *holder = kd_calloc(net->n, sizeof(int));
    size_t total = 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == BLANK) {
            assert_int_equal(p->owner[i], outputs->layer[outputs->n - 1]);
            continue;
        }
        check_readings(net, p, holder, i);
        assert_int_equal(p->owner[i], l.type == DROPOUT ? i - 1 : i);
        if (p->owner[i] != i) continue;
        assert_true(p->size[p->block[i]] >= (size_t)l.batch * l.outputs);
        holder[p->block[i]] = i;
        if (i) check_readings(net, p, holder, i); /* its inputs are there while it writes */
    }
    for (int o = 0; o < outputs->n; ++o)
        check_reading(p, holder, net->n, outputs->layer[o] - 1);
    for (int b = 0; b < p->blocks; ++b) total += p->size[b];
    free(holder);
    return total;
}

/* The two largest outputs, but for logits and what comes behind them */
static size_t two_largest(const network *net, const net_outputs *outputs)
{
    size_t first = 0, second = 0;
    for (int i = 0; i < outputs->layer[0] - 1; ++i) {
        size_t n = (size_t)net->layers[i].outputs * net->batch;
        if (n > first) second = first, first = n;
        else if (n > second) second = n;
    }
    return first + second;
}

static void test_plans(void)
{
    for (int k = 0; k < COUNT(nets); ++k) {
        network *net = make_net(nets[k].cfg, 1);
        net_outputs outputs = find_outputs(net, "net.cfg");
        memory_plan p = plan_memory(net, &outputs);
        size_t total = act_out(net, &outputs, &p);
        note("%s: %d blocks, %zu numbers", nets[k].title, p.blocks, total);
        assert_int_equal(p.blocks, nets[k].blocks);
        if (k < 2) assert_true(total <= two_largest(net, &outputs));
        free_memory_plan(p), free(outputs.layer), free_network(net);
    }
}

/* Our teachers: all of their outputs, against what is needed at one time */
static void test_teachers(void)
{
    static char *const files[] = {"cfg/fmnist-teacher.cfg", "cfg/scenes-teacher.cfg",
                                  "cfg/resnet32x4.cfg"};
    for (int k = 0; k < COUNT(files); ++k) {
        size_t all = 0;
        silence();
        network *net = parse_network_cfg_batch(files[k], 1);
        speak();
        net_outputs outputs = find_outputs(net, files[k]);
        memory_plan p = plan_memory(net, &outputs);
        size_t total = act_out(net, &outputs, &p);
        for (int i = 0; i < net->n; ++i) all += net->layers[i].outputs;
        note("%s: %zu of %zu numbers", files[k], total, all);
        assert_true(total <= two_largest(net, &outputs) * 2);
        assert_true(total < all);
        free_memory_plan(p), free(outputs.layer), free_network(net);
    }
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_plans),
        TEST(test_teachers),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
