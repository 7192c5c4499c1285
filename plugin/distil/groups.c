/* See groups.h. */
#include "distil/groups.h"
#include "cpu/cores.h"
#include "cpu/ranks.h"
#include "distil/groups_gpu.h"
#include "net/device.h"
#include "support.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNED                                                                                \
    64 /* numbers, of which each array begins a multiple: 256 bytes, as cudaMalloc's */
#define SAME 1e-6 /* [net] momentum is a float: .9f - .075 is .825 but for its rounding */

/* Layers whose update() reads weight_updates, bias_updates and scale_updates, and no more. */
static int is_groupable(layer l)
{
    return l.type == CONVOLUTIONAL || l.type == DECONVOLUTIONAL || l.type == CONNECTED ||
           l.type == MULTI_SHORTCUT || l.type == BATCHNORM;
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
        if (l.type == BATCHNORM && !l.affine)
            kd_fail("%s: layer %d: a [batchnorm] without affine=1 is never trained: expected "
                    "affine=1, or batch_normalize=1 in the layer before it",
                    cfg, i);
    }
}

/* The next n numbers from base[*at] on; *at goes to the place of the next ones. */
static float *take(float *base, size_t *at, size_t n)
{
    float *numbers = base ? base + *at : 0;
    *at += (n + ALIGNED - 1) / ALIGNED * ALIGNED;
    return numbers;
}

/* A layer's buffers from base[*at] on; base may be NULL to learn the size alone. */
static layer_buffers take_buffers(layer l, float *base, size_t *at)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    layer_buffers b = {take(base, at, weights), take(base, at, biases), 0};
    if (l.scale_updates) b.scales = take(base, at, biases);
    return b;
}

/* Points every layer at the group's buffers. */
static void select_group(network *net, const momentum_group *group)
{
    for (int i = 0; i < net->n; ++i)
        if (is_trained(net, i)) set_updates(net->layers + i, group->buffers[i], group->host[i]);
}

kd_component component_of(const momentum_group *group)
{
    kd_component c = 0;
    while (!group->has[c]) ++c;
    return c;
}

/* Here alone it is decided which components share their momenta. */
static int belong_together(const deepkd *kd, kd_component a, kd_component b)
{
    return kd->options.momentum_rule == RULE_FIXED &&
           fabs(component_momentum(kd, a) - component_momentum(kd, b)) <= SAME;
}

/* A component joins a group, or opens one. */
static void add_component(const deepkd *kd, momentum_groups *groups, kd_component c,
                          int keeps_apart)
{
    int g = 0;
    while (g < groups->n &&
           (keeps_apart || !belong_together(kd, component_of(groups->group + g), c)))
        ++g;
    if (g == groups->n) ++groups->n;
    groups->group[g].has[c] = 1;
    if (c == (kd_component)kd->options.decay_component) groups->group[g].decays = 1;
}

/* A network's buffers, one layer behind the other from base[0] on; *size: how many numbers */
static layer_buffers *lay_out(network *net, float *base, size_t *size)
{
    layer_buffers *buffers = kd_calloc(net->n, sizeof(layer_buffers));
    *size = 0;
    for (int i = 0; i < net->n; ++i)
        if (is_trained(net, i)) buffers[i] = take_buffers(net->layers[i], base, size);
    return buffers;
}

/* What a layer was made with gives way to the groups' buffers. */
static void free_own_buffers(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (!is_trained(net, i)) continue;
        free_updates(net, l);
    }
}

static void allocate_buffers(network *net, momentum_groups *groups)
{
    free(lay_out(net, 0, &groups->size));
    groups->momenta = device_array(net, groups->n * groups->size);
    groups->host = groups->momenta;
    if (on_gpu(net)) groups->host = kd_calloc(groups->n * groups->size, sizeof(float));
    for (int g = 0; g < groups->n; ++g) {
        momentum_group *group = groups->group + g;
        group->buffers = lay_out(net, groups->momenta + g * groups->size, &groups->size);
        group->host = lay_out(net, groups->host + g * groups->size, &groups->size);
    }
}

/* [dropout] shares its neighbour's delta. */
static int has_own_delta(layer l)
{
    return l.delta && l.type != DROPOUT;
}

void allocate_group_deltas(network *net, momentum_groups *groups)
{
    size_t size = 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (has_own_delta(l)) size += (size_t)l.batch * l.outputs;
    }
    for (int g = 1; g < groups->n; ++g) {
        free(groups->group[g].deltas);
        groups->group[g].deltas = kd_calloc(size, sizeof(float));
    }
}

/* The network with the group's buffers and deltas; free its layers. */
static network view_group(const network *net, const momentum_group *group)
{
    network view = *net;
    float *next = group->deltas;
    view.layers = kd_calloc(net->n, sizeof(layer));
    memcpy(view.layers, net->layers, net->n * sizeof(layer));
    select_group(&view, group);
    for (int i = 0; i < net->n && next; ++i) {
        layer *l = view.layers + i;
        if (has_own_delta(*l)) {
            l->delta = next;
            next += (size_t)l->batch * l->outputs;
        } else if (l->delta) {
            l->delta = l[-1].delta;
        }
    }
    return view;
}

void resize_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    if (has_cores(kd->net)) allocate_group_deltas(kd->net, groups);
    for (int i = 0; i < kd->net->n; ++i) {
        layer l = kd->net->layers[i];
        if (!l.cost) continue;
        device_free(kd->net, groups->task_delta[i]);
        groups->task_delta[i] = device_array(kd->net, (size_t)l.batch * l.outputs);
    }
}

void save_task_deltas(deepkd *kd)
{
    for (int i = 0; i < kd->net->n; ++i) {
        layer l = kd->net->layers[i];
        float *saved = kd->groups->task_delta[i];
        size_t n = (size_t)l.batch * l.outputs;
        if (saved) device_copy(kd->net, n, layer_delta(kd->net, i), saved);
    }
}

/* Of this rank's images */
static void clear_deltas(network *net)
{
    range own = own_range(net->batch);
#pragma omp parallel for schedule(dynamic) if (!on_gpu(net))
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        float *delta = layer_delta(net, i);
        if (has_cores(net) && sets_delta(net, i)) continue;
        size_t first = (size_t)l.outputs * own.first, end = (size_t)l.outputs * own.end;
        if (delta) device_clear(net, end - first, delta + first);
    }
}

/*
 * Puts the sum of the group's deltas of `n` images from `first` on where backward starts, in a
 * network cleared of others.
 */
static void seed_deltas(const deepkd *kd, network *net, const momentum_group *group, int first,
                        int n)
{
    for (int i = 0; group->has[KD_TOG] && i < net->n; ++i) {
        size_t size = net->layers[i].outputs;
        float *saved = kd->groups->task_delta[i];
        if (saved)
            device_add(net, n * size, kd->options.task_weight, saved + first * size,
                       layer_delta(net, i) + first * size);
    }
    for (int o = 0; o < kd->outputs.n; ++o) {
        int i = kd->outputs.layer[o];
        layer l = net->layers[i];
        size_t size = l.inputs;
        /* a [region]'s backward would take its delta through the logistic of its objectness */
        float *delta = layer_delta(net, l.type == REGION ? i - 1 : i) + first * size;
        for (int c = 0; c < KD_COMPONENTS; ++c)
            if (group->has[c] && kd->delta[c])
                device_add(net, n * size, 1, kd->delta[c][o] + first * size, delta);
    }
}

static int group_is_active(const deepkd *kd, const momentum_group *group)
{
    for (int c = 0; c < KD_COMPONENTS; ++c)
        if (group->has[c] && is_active(kd, c)) return 1;
    return 0;
}

/* One pass through the network for all groups */
static void backward_at_once(deepkd *kd, momentum_groups *groups, int first, int images)
{
    network views[KD_COMPONENTS];
    int n = 0;
    for (int g = 0; g < groups->n; ++g) {
        if (!group_is_active(kd, groups->group + g)) continue;
        views[n] = view_group(kd->net, groups->group + g);
        clear_deltas(views + n);
        seed_deltas(kd, views + n, groups->group + g, first, images);
        ++n;
    }
    if (n) backward_on_cores(views, n);
    while (n) free(views[--n].layers);
}

/* A pass for each */
static void backward_one_by_one(deepkd *kd, momentum_groups *groups, int first, int images)
{
    network *net = kd->net;
    for (int g = 0; g < groups->n; ++g) {
        if (!group_is_active(kd, groups->group + g)) continue;
        clear_deltas(net);
        seed_deltas(kd, net, groups->group + g, first, images);
        select_group(net, groups->group + g);
        backward_network(net);
    }
    select_group(net, kd->groups->group);
}

void backward_images(deepkd *kd, momentum_groups *groups, int first, int n)
{
    if (has_cores(kd->net)) backward_at_once(kd, groups, first, n);
    else backward_one_by_one(kd, groups, first, n);
}

void backward_groups(network *net)
{
    deepkd *kd = find_deepkd(net);
    if (kd->broken) return;
    save_task_deltas(kd);
    backward_images(kd, kd->groups, 0, net->batch);
}

/* Of what Darknet's own updates take no decay from: biases and batch norm's scales */
static void decay_others(const network *net, layer l, float decay)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    device_add(net, biases, -decay, l.biases, l.bias_updates);
    if (l.scale_updates) device_add(net, biases, -decay, l.scales, l.scale_updates);
}

static void update_group(const deepkd *kd, const momentum_group *group, update_args a,
                         int is_last)
{
    network *net = kd->net;
    select_group(net, group);
    a.momentum = momentum_at(kd, component_of(group), training_update(kd) + 1);
    a.decay = group->decays ? net->decay : 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (!is_last) l.clip = 0; /* what clip= bounds are the weights after the whole step */
        if (!l.update) continue;
        if (kd->options.decay_all) decay_others(net, l, a.decay * a.batch);
        l.update(l, a);
    }
}

void update_groups(network *net)
{
    deepkd *kd = find_deepkd(net);
    momentum_groups *groups = kd->groups;
    if (kd->broken) return;
    if (on_gpu(net)) {
        update_groups_gpu(kd);
        return;
    }
    update_args a = {0};
    a.batch = net->batch * net->subdivisions;
    a.learning_rate = get_current_rate(net);
    int left = groups->n;
    for (int decays = 1; decays >= 0; --decays)
        for (int g = 0; g < groups->n; ++g)
            if (groups->group[g].decays == decays)
                update_group(kd, groups->group + g, a, --left == 0);
    select_group(net, groups->group);
}

momentum_groups *make_groups(deepkd *kd, int keeps_apart)
{
    momentum_groups *groups = kd_calloc(1, sizeof(*groups));
    for (int c = 0; c < KD_COMPONENTS; ++c) add_component(kd, groups, c, keeps_apart);
    allocate_buffers(kd->net, groups);
    return groups;
}

void free_groups(const network *net, momentum_groups *groups)
{
    for (int g = 0; g < groups->n; ++g) {
        free(groups->group[g].deltas);
        free(groups->group[g].buffers);
        free(groups->group[g].host);
    }
    if (on_gpu(net)) free(groups->host);
    device_free(net, groups->momenta);
    free(groups);
}

void attach_groups(deepkd *kd, const char *cfg)
{
    network *net = kd->net;
    check_layers(net, cfg);
    kd->groups = make_groups(kd, kd->keeps_apart);
    free_own_buffers(net);
    select_group(net, kd->groups->group);
    kd->groups->task_delta = kd_calloc(net->n, sizeof(float *));
    kd->arithmetic = find_precision(kd->options.precision, net, cfg, "[deepkd_loss]");
    if (!on_gpu(net)) attach_cores(net, 0, kd->arithmetic, kd->options.parts);
    resize_groups(kd);
    if (on_gpu(net)) attach_groups_gpu(kd);
    net->backward = backward_groups;
    net->update = update_groups;
}

void release_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    if (!groups) return;
    network *net = kd->net;
    if (on_gpu(net)) release_groups_gpu(kd);
    else detach_cores(net);
    for (int i = 0; i < net->n; ++i) {
        if (is_trained(net, i))
            set_updates(net->layers + i, (layer_buffers){0}, (layer_buffers){0});
        device_free(net, groups->task_delta[i]);
    }
    free(groups->task_delta);
    free_groups(net, groups);
    kd->groups = 0;
}

void pull_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    device_pull(kd->net, groups->n * groups->size, groups->momenta, groups->host);
}

void push_groups(deepkd *kd)
{
    momentum_groups *groups = kd->groups;
    device_push(kd->net, groups->n * groups->size, groups->host, groups->momenta);
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
        layer_buffers b = group->host[i];
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

unsigned gradient_bits(const momentum_group *group)
{
    unsigned bits = 0;
    for (int c = 0; c < KD_COMPONENTS; ++c)
        if (group->has[c]) bits |= KD_BROKEN_GRADIENT << c;
    return bits;
}

unsigned find_broken_group(const deepkd *kd)
{
    for (int g = 0; g < kd->groups->n; ++g) {
        kd_arrays list = {0, 0};
        append_group(&list, kd, kd->groups->group + g);
        int is_finite = all_finite(list);
        kd_free_arrays(list);
        if (!is_finite) return gradient_bits(kd->groups->group + g);
    }
    return KD_BROKEN_WEIGHTS;
}

void describe_groups(const deepkd *kd, char *text, size_t size)
{
    text[0] = 0;
    for (int g = 0; g < kd->groups->n; ++g) {
        const momentum_group *group = kd->groups->group + g;
        double momentum = component_momentum(kd, component_of(group));
        long end = kd_warm_end(momentum, kd->options.momentum_warmup);
        const char *between = g ? ", " : "";
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            if (!group->has[c]) continue;
            append(text, size, "%s%s", between, kd_component_name[c]);
            between = "+";
        }
        append(text, size, " %g", momentum);
        if (end > 1) append(text, size, " from batch %ld", end * kd->copies);
        if (group->decays) append(text, size, " (weight decay)");
    }
}
