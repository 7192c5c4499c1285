/* See groups.h. */
#include "groups.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME 1e-6 /* [net] momentum is a float: .9f - .075 is .825 but for its rounding */

/* Layers whose update() reads weight_updates, bias_updates and scale_updates, and no more. */
static int is_groupable(layer l)
{
    return l.type == CONVOLUTIONAL || l.type == DECONVOLUTIONAL || l.type == CONNECTED;
}

static void check_layers(network *net, const char *cfg)
{
    if (net->adam)
        kd_fail("%s: [net] adam=1: expected 0, distill has momentum of its own", cfg);
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.update && !is_groupable(l))
            kd_fail("%s: layer %d: its type can't be trained by distill: expected "
                    "[convolutional], [deconvolutional] or [connected] where there are weights",
                    cfg, i);
        if (l.type == BATCHNORM)
            kd_fail("%s: layer %d: Darknet never trains a [batchnorm] of its own: expected "
                    "batch_normalize=1 in the layer before it",
                    cfg, i);
    }
}

static layer_buffers own_buffers(layer l)
{
    return (layer_buffers){l.weight_updates, l.bias_updates, l.scale_updates};
}

static layer_buffers make_buffers(layer l)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    return (layer_buffers){kd_calloc(weights, sizeof(float)), kd_calloc(biases, sizeof(float)),
                           l.scale_updates ? kd_calloc(biases, sizeof(float)) : 0};
}

static void set_buffers(layer *l, layer_buffers b)
{
    l->weight_updates = b.weights;
    l->bias_updates = b.biases;
    l->scale_updates = b.scales;
}

/* Points every layer at the group's buffers. */
static void select_group(network *net, const momentum_group *group)
{
    for (int i = 0; i < net->n; ++i)
        if (net->layers[i].update) set_buffers(net->layers + i, group->buffers[i]);
}

/* A component joins the group of its momentum, or opens one. */
static void add_component(deepkd *kd, momentum_groups *groups, kd_component c)
{
    double momentum = component_momentum(kd, c);
    int g = 0;
    while (g < groups->n && fabs(groups->group[g].momentum - momentum) > SAME) ++g;
    if (g == groups->n) {
        groups->group[g].momentum = momentum;
        ++groups->n;
    }
    groups->group[g].has[c] = 1;
    if (c == (kd_component)kd->options.decay_component) groups->group[g].decays = 1;
}

static void allocate_buffers(network *net, momentum_groups *groups)
{
    for (int g = 0; g < groups->n; ++g) {
        groups->group[g].buffers = kd_calloc(net->n, sizeof(layer_buffers));
        for (int i = 0; i < net->n; ++i) {
            layer l = net->layers[i];
            if (l.update) groups->group[g].buffers[i] = g ? make_buffers(l) : own_buffers(l);
        }
    }
}

void resize_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    for (int i = 0; i < kd->net->n; ++i) {
        layer l = kd->net->layers[i];
        if (!l.cost) continue;
        free(groups->task_delta[i]);
        groups->task_delta[i] = kd_calloc((size_t)l.batch * l.outputs, sizeof(float));
    }
}

/* Darknet's delta of the task, which the first backward pass would use up. */
static void save_task_deltas(deepkd *kd)
{
    for (int i = 0; i < kd->net->n; ++i) {
        layer l = kd->net->layers[i];
        float *saved = kd->groups->task_delta[i];
        if (saved) memcpy(saved, l.delta, (size_t)l.batch * l.outputs * sizeof(float));
    }
}

static void clear_deltas(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.delta) fill_cpu(l.outputs * l.batch, 0, l.delta, 1);
    }
}

/* Puts the sum of the group's deltas where backward starts. */
static void seed_deltas(deepkd *kd, const momentum_group *group)
{
    network *net = kd->net;
    for (int i = 0; group->has[KD_TOG] && i < net->n; ++i) {
        layer l = net->layers[i];
        float *saved = kd->groups->task_delta[i];
        if (saved) axpy_cpu(l.outputs * l.batch, kd->options.task_weight, saved, 1, l.delta, 1);
    }
    for (int o = 0; o < kd->outputs.n; ++o) {
        int i = kd->outputs.layer[o];
        layer l = net->layers[i];
        /* a [region]'s backward would take its delta through the logistic of its objectness */
        float *delta = l.type == REGION ? net->layers[i - 1].delta : l.delta;
        for (int c = KD_TCG; c <= KD_NCG; ++c)
            if (group->has[c]) axpy_cpu(l.batch * l.inputs, 1, kd->delta[c][o], 1, delta, 1);
    }
}

static int group_is_active(const deepkd *kd, const momentum_group *group)
{
    for (int c = 0; c < KD_COMPONENTS; ++c)
        if (group->has[c] && is_active(kd, c)) return 1;
    return 0;
}

/* net->backward: the student's gradient of each group, added to the group's buffers. */
static void backward_groups(network *net)
{
    deepkd *kd = find_deepkd(net);
    momentum_groups *groups = kd->groups;
    if (kd->broken) return;
    save_task_deltas(kd);
    for (int g = 0; g < groups->n; ++g) {
        if (!group_is_active(kd, groups->group + g)) continue;
        clear_deltas(net);
        seed_deltas(kd, groups->group + g);
        select_group(net, groups->group + g);
        backward_network(net);
    }
    select_group(net, groups->group);
}

static void update_group(network *net, const momentum_group *group, update_args a)
{
    select_group(net, group);
    a.momentum = group->momentum;
    a.decay = group->decays ? net->decay : 0;
    for (int i = 0; i < net->n; ++i)
        if (net->layers[i].update) net->layers[i].update(net->layers[i], a);
}

/*
 * net->update: each layer's own update once a group. The group that decays comes
 * first, for its decay is taken from the weights before the step.
 */
static void update_groups(network *net)
{
    deepkd *kd = find_deepkd(net);
    momentum_groups *groups = kd->groups;
    if (kd->broken) return;
    update_args a = {0};
    a.batch = net->batch * net->subdivisions;
    a.learning_rate = get_current_rate(net);
    for (int decays = 1; decays >= 0; --decays)
        for (int g = 0; g < groups->n; ++g)
            if (groups->group[g].decays == decays) update_group(net, groups->group + g, a);
    select_group(net, groups->group);
}

void attach_groups(deepkd *kd, const char *cfg)
{
    check_layers(kd->net, cfg);
    kd->groups = kd_calloc(1, sizeof(*kd->groups));
    for (int c = 0; c < KD_COMPONENTS; ++c) add_component(kd, kd->groups, c);
    allocate_buffers(kd->net, kd->groups);
    kd->groups->task_delta = kd_calloc(kd->net->n, sizeof(float *));
    resize_groups(kd);
    kd->net->backward = backward_groups;
    kd->net->update = update_groups;
}

void release_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    if (!groups) return;
    for (int g = 0; g < groups->n; ++g) {
        for (int i = 0; g && i < kd->net->n; ++i) {
            layer_buffers b = groups->group[g].buffers[i];
            free(b.weights), free(b.biases), free(b.scales);
        }
        free(groups->group[g].buffers);
    }
    for (int i = 0; i < kd->net->n; ++i) free(groups->task_delta[i]);
    free(groups->task_delta);
    free(groups);
    kd->groups = 0;
}

/* Appends to text[size], cut where it is full. */
static void append(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

/* One group's buffers, added to a list. */
static void append_group(kd_arrays *list, const deepkd *kd, const momentum_group *group)
{
    for (int i = 0; i < kd->net->n; ++i) {
        size_t weights, biases;
        layer_buffers b = group->buffers[i];
        layer_sizes(kd->net->layers[i], &weights, &biases);
        kd_append(list, b.weights, weights);
        kd_append(list, b.biases, biases);
        kd_append(list, b.scales, biases);
    }
}

kd_arrays group_arrays(const deepkd *kd)
{
    kd_arrays list = {0, 0};
    for (int g = 0; g < kd->groups->n; ++g) append_group(&list, kd, kd->groups->group + g);
    return list;
}

const char *broken_group(const deepkd *kd)
{
    static char text[64];
    snprintf(text, sizeof(text), "student's weights");
    for (int g = 0; g < kd->groups->n; ++g) {
        const momentum_group *group = kd->groups->group + g;
        kd_arrays list = {0, 0};
        append_group(&list, kd, group);
        int is_finite = all_finite(list);
        kd_free_arrays(list);
        if (is_finite) continue;
        snprintf(text, sizeof(text), "gradient of");
        for (int c = 0; c < KD_COMPONENTS; ++c)
            if (group->has[c]) append(text, sizeof(text), " %s", kd_component_name[c]);
        return text;
    }
    return text;
}

void describe_groups(const deepkd *kd, char *text, size_t size)
{
    text[0] = 0;
    for (int g = 0; g < kd->groups->n; ++g) {
        const momentum_group *group = kd->groups->group + g;
        const char *between = g ? ", " : "";
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            if (!group->has[c]) continue;
            append(text, size, "%s%s", between, kd_component_name[c]);
            between = "+";
        }
        append(text, size, " %g%s", group->momentum, group->decays ? " (weight decay)" : "");
    }
}
