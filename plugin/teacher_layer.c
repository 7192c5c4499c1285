/* See teacher_layer.h. */
#include "teacher_layer.h"
#include "deepkd.h"
#include "options.h"
#include "parameters.h"

#include <stdlib.h>
#include <string.h>

static const option teacher_options[] = {
    {"cfg", OPTION_TEXT, offsetof(teacher, cfg), 0, 0, 0},
    {"weights", OPTION_TEXT, offsetof(teacher, weights), 0, 0, 0},
    {0},
};

static void forward_nothing(layer l, network net)
{
    (void)l, (void)net;
}

static void release_nothing(layer l)
{
    (void)l;
}

static void resize_pass_through(layer *l, network *net)
{
    layer resized = make_pass_through_layer(net, l->index);
    resized.plugin = l->plugin;
    resized.forward = l->forward;
    resized.release = l->release;
    *l = resized;
}

/*
 * Darknet's commands look at the last layer for the network's output, its
 * classes and truths. A copy of the student's output layer keeps them working;
 * what must not count twice (its cost, its delta, its update) is cut off.
 */
layer make_pass_through_layer(network *net, int index)
{
    network before = *net;
    before.n = index;
    layer l = get_network_output_layer(&before);
    l.type = BLANK;
    l.index = index;
    l.forward = l.backward = forward_nothing;
    l.update = 0;
    l.delta = 0;
    l.cost = 0;
#ifdef GPU
    l.forward_gpu = l.backward_gpu = forward_nothing;
    l.update_gpu = 0;
    l.delta_gpu = 0;
#endif
    l.release = release_nothing;
    l.resize = resize_pass_through;
    l.workspace_size = 0;
    return l;
}

static void release_teacher_layer(layer l)
{
    teacher *t = l.plugin;
    if (t->net) free_network(t->net);
    free(t->input);
    free(t->cfg);
    free(t->weights);
    free(t);
}

layer parse_teacher(list *options, network *net, int index, char *cfgfile)
{
    if (index < 1 || index != net->n - 2)
        kd_fail(
            "%s: [teacher] is layer %d of %d: expected it, once, right before [deepkd_loss] "
            "at the end of the file",
            cfgfile, index, net->n);
    teacher *t = kd_calloc(1, sizeof(*t));
    read_options(cfgfile, "[teacher]", options, teacher_options, t);
    t->student = net;
    layer l = make_pass_through_layer(net, index);
    l.plugin = t;
    l.forward = forward_teacher_layer;
    l.release = release_teacher_layer;
    fprintf(stderr, "%5d teacher %s\n", index, t->cfg ? t->cfg : "");
    return l;
}

int find_softmax(network *net, const char *cfg)
{
    int i = net->n - 1;
    while (i > 0 && (net->layers[i].type == COST || net->layers[i].type == BLANK)) --i;
    layer l = net->layers[i];
    if (l.type != SOFTMAX || i == 0)
        kd_fail("%s: found no [softmax] as the network's output: expected a classifier", cfg);
    if (l.groups != 1 || l.softmax_tree)
        kd_fail("%s: [softmax] with groups=%d%s: expected one group and no tree", cfg, l.groups,
                l.softmax_tree ? " and a tree" : "");
    return i;
}

/* Inference needs no gradients; without a delta, forward_network need not clear it either. */
static void drop_training_buffers(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer *l = net->layers + i;
        if (l->type != DROPOUT) free(l->delta); /* a [dropout]'s delta is its neighbour's */
        free(l->weight_updates);
        free(l->bias_updates);
        free(l->scale_updates);
        l->delta = l->weight_updates = l->bias_updates = l->scale_updates = 0;
    }
}

void load_teacher(teacher *t, char *weights)
{
    network *student = t->student;
    char *cfg = t->cfg;
    t->net = parse_network_cfg_batch(cfg, student->batch);
    if (t->net->inputs != t->net->w * t->net->h * t->net->c)
        kd_fail("%s: [net] inputs=%d: expected width x height x channels", cfg, t->net->inputs);
    if (t->net->c != student->c)
        kd_fail("%s: channels=%d: expected %d, as the student's", cfg, t->net->c, student->c);
    int softmax = find_softmax(t->net, cfg);
    t->classes = t->net->layers[softmax].inputs;
    t->logits = t->net->layers[softmax - 1].output;
    if (t->net->w != student->w || t->net->h != student->h)
        t->input = kd_calloc((size_t)t->net->inputs * student->batch, sizeof(float));
    load_whole_weights(t->net, weights, 0);
    drop_training_buffers(t->net);
}

/* to <- from, each image of the batch resized to the teacher's input */
static void resize_images(network *from, network *to, float *input)
{
    for (int b = 0; b < from->batch; ++b) {
        image im =
            float_to_image(from->w, from->h, from->c, from->input + (size_t)b * from->inputs);
        image resized = resize_image(im, to->w, to->h);
        memcpy(input + (size_t)b * to->inputs, resized.data, to->inputs * sizeof(float));
        free_image(resized);
    }
}

void forward_teacher_layer(layer l, network net)
{
    teacher *t = l.plugin;
    if (!t->net || t->idle || !net.train) return;
    if (t->input) resize_images(t->student, t->net, t->input);
    network_predict(t->net, t->input ? t->input : t->student->input);
}
