/* See cores.h. */
#include "cpu/cores.h"
#include "cpu/between.h"
#include "cpu/channels.h"
#include "cpu/convolution.h"
#include "cpu/filters.h"
#include "cpu/forms.h"
#include "cpu/last.h"
#include "cpu/onednn.h"
#include "cpu/ranks.h"
#include "cpu/scratch.h"
#include "math/kd_math.h"
#include "net/device.h"
#include "net/memory_plan.h"
#include "support.h"

#include "network.h"

#ifdef BLAS
#include <cblas.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNED 16 /* numbers: sums begin where vectors may */

/* What a network has for its cores; network.plugin */
typedef struct {
    const net_outputs *outputs; /* of a network for prediction, else NULL */
    arithmetic arithmetic;      /* of attach_cores, or INT8 */
    int parts;                  /* of attach_cores */
    float *largest;             /* of note_largest, or NULL */
    float *scales;              /* [net->n] of layers' outputs, with INT8; else NULL */
    image_form *forms;          /* [net->n] of layers' outputs; NULL: all plain */
    convolution **convolutions; /* [net->n] of a part's images; NULL: none */
    float *sums;                /* gradients of weights: [part of this rank][loss][] */
    size_t n_sums;
} cores;

/* Layers whose forward and backward take each image for itself, and change nothing else */
static int is_by_image(layer l)
{
    static const LAYER_TYPE types[] = {MAXPOOL, CHANNEL_POOL, AVGPOOL,        LOCAL_AVGPOOL,
                                       ROUTE,   SHORTCUT,     UPSAMPLE,       REORG,
                                       ACTIVE,  SAM,          SCALE_CHANNELS, SHUFFLE};
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); ++i)
        if (l.type == types[i]) return 1;
    return 0;
}

/* Batch norm in training looks at all images; a [connected], and a [shortcut] with weights, has
 * no sums but in backward. */
static int is_forward_by_image(layer l, int train)
{
    if (is_convolution(l) || l.type == CONNECTED) return !(train && l.batch_normalize);
    return is_by_image(l) || l.type == MULTI_SHORTCUT ||
           (!train && (l.type == DROPOUT || l.type == BATCHNORM));
}

/* Parts */

int count_parts(const network *net)
{
    const cores *c = net->plugin;
    int n = net->batch < c->parts ? net->batch : c->parts;
    while (net->batch % n) --n;
    return n;
}

/* [count_parts] parts of a network; free_parts */
static network *cut(const network *net)
{
    int count = count_parts(net), batch = net->batch / count;
    network *parts = kd_calloc(count, sizeof(network));
    layer *layers = kd_calloc((size_t)count * net->n, sizeof(layer));
    for (int p = 0; p < count; ++p)
        parts[p] = cut_network(net, p * batch, batch, layers + p * net->n);
    return parts;
}

static void free_parts(network *parts)
{
    free(parts->layers);
    free(parts);
}

static float *input_of(const network *net, int i)
{
    return i ? net->layers[i - 1].output : net->input;
}

static convolution *convolution_of(const network *net, int i)
{
    const cores *c = net->plugin;
    return c->convolutions[i];
}

arithmetic find_arithmetic(const network *net, int i)
{
    const cores *c = net->plugin;
    if (net->layers[i].groups > 1) return FLOAT32;
    if (c->arithmetic != INT8) return c->arithmetic;
    if (c->forms && takes_bytes(net, c->forms, i)) return INT8;
    return find_bfloat16() == BFLOAT16_FAST ? BFLOAT16 : FLOAT32;
}

int sets_delta(const network *net, int i)
{
    layer l = net->layers[i];
    if (i + 1 == net->n || !is_convolution(net->layers[i + 1])) return 0;
    if (!l.delta || l.cost || l.type == DROPOUT) return 0; /* a [dropout]'s is another's too */
    for (int reader = i + 2; reader < net->n; ++reader)
        if (reads_output(net, reader, i)) return 0;
    return 1;
}

static convolution_shape find_shape(const network *part, int i, int is_alone)
{
    const cores *c = part->plugin;
    layer l = part->layers[i];
    convolution_shape s = {.n = l.batch, .c = l.c, .h = l.h, .w = l.w, .filters = l.n};
    s.stride_x = l.stride_x, s.stride_y = l.stride_y, s.spacing = l.dilation;
    s.size = l.size, s.pad = l.pad, s.out_h = l.out_h, s.out_w = l.out_w, s.split = l.groups;
    s.is_first = !i || !part->layers[i - 1].delta;
    s.is_alone_in_delta = i && sets_delta(part, i - 1);
    s.is_constant = c->outputs != 0, s.is_alone = is_alone;
    s.arithmetic = find_arithmetic(part, i);
    if (!c->forms) return s;
    s.is_finished = c->outputs && l.groups == 1 && has_last(l.activation);
    if (s.is_finished) s.activation = l.activation;
    s.in = i ? c->forms[i - 1] : FORM_PLAIN, s.out = c->forms[i];
    if (s.arithmetic == INT8) s.in_scale = c->scales[i - 1], s.out_scale = c->scales[i];
    return s;
}

static void set_finished(convolution *own, layer l)
{
    size_t n = (size_t)l.c * l.size * l.size;
    float *weights = kd_vectors(l.n * n), *biases = kd_vectors(l.n), a;
    for (int f = 0; f < l.n; ++f) {
        find_line(l, f, l.rolling_mean, l.rolling_variance, &a, biases + f);
        for (size_t i = f * n; i < (f + 1) * n; ++i) weights[i] = a * l.weights[i];
    }
    set_weights_and_biases(own, weights, biases);
    free(weights), free(biases);
}

/* A layer's convolution with the present weights, made anew after a resize; 0 when none has its
 * form. */
static int provide_convolution(const network *part, int i, int is_alone)
{
    cores *c = part->plugin;
    convolution **own = c->convolutions + i;
    layer l = part->layers[i];
    convolution_shape s = find_shape(part, i, is_alone);
    int is_new = !*own || memcmp(&(*own)->shape, &s, sizeof(s));
    if (is_new) {
        free_convolution(*own);
        *own = make_convolution(s, 1);
        if (!*own) return 0;
        if (s.is_finished) set_finished(*own, l);
    }
    if (!s.is_finished && (is_new || !c->outputs)) set_weights(*own, l.weights, part->train);
    return 1;
}

/* Where oneDNN lacks one of them, all take plain images. */
static void provide_convolutions(const network *part, int is_alone)
{
    cores *c = part->plugin;
    for (int i = 0; i < part->n; ++i) {
        if (!is_convolution(part->layers[i]) || provide_convolution(part, i, is_alone))
            continue;
        if (c->arithmetic == INT8)
            kd_fail(
                "precision=int8: layer %d: found a convolution that oneDNN has no code for, "
                "expected another precision",
                i);
        free(c->forms);
        c->forms = 0;
        i = -1;
    }
}

/* Forward */

/* 1 for a layer of last.h that has images channels last */
static int is_last(const network *net, int i)
{
    const cores *c = net->plugin;
    layer l = net->layers[i];
    if (!c->forms) return 0;
    return l.type == AVGPOOL ? i && c->forms[i - 1] : passes_last(l) && c->forms[i];
}

static void forward_part(network part, int i)
{
    layer l = part.layers[i];
    part.index = i;
    part.input = input_of(&part, i);
    if (is_sum(l)) {
        forward_sum(l.batch * l.outputs, l.activation, l.alpha, l.beta, part.input,
                    part.layers[l.index].output, l.activation_input, l.output);
    } else if (is_convolution(l)) {
        const convolution *own = convolution_of(&part, i);
        convolve(own, part.input, l.output);
        if (!own->shape.is_finished)
            finish_part(l, own->shape.out, l.rolling_mean, l.rolling_variance, l.output);
    } else if (is_last(&part, i)) {
        forward_last(&part, i);
    } else if (l.type == BATCHNORM) {
        finish_part(l, FORM_PLAIN, l.rolling_mean, l.rolling_variance, part.input);
    } else if (l.type == MAXPOOL) {
        forward_pool(find_pool(l, l.batch * l.c), part.input, l.output,
                     part.train ? l.indexes : 0);
    } else {
        l.forward(l, part);
    }
}

/* A convolution with batch norm in training */
static void forward_normalized(const network *net, const network *parts, int i)
{
    int count = count_parts(net);
    range own = own_range(count);
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        convolve(convolution_of(net, i), input_of(parts + p, i), parts[p].layers[i].x);
    normalize_parts(net, parts, count, i, convolution_of(net, i)->shape.out);
}

/* As forward_network does: [cost] and others may take another layer's output for the truth.
 * Each rank runs the layer whole, so that all have all logits; a [dropout] and our sections
 * need no other rank's images for that. */
static void forward_whole(const network *whole, int i)
{
    network net = *whole;
    layer l = net.layers[i];
    net.index = i;
    net.input = input_of(whole, i);
    if (l.type != DROPOUT && l.type != BLANK)
        gather_items(net.input, l.batch, l.inputs * sizeof(float));
    for (int j = 0; j < i; ++j)
        if (net.layers[j].truth) net.truth = net.layers[j].output;
    if (l.cost && l.delta) memset(l.delta, 0, (size_t)l.batch * l.outputs * sizeof(float));
    l.forward(l, net);
}

/* Where the outputs of a network for prediction stand: in memory of the core's own */
typedef struct {
    memory_plan plan;
    size_t *start; /* [net->n] of a layer's output, KEPT: in the network's own */
    size_t size;
} placement;

#define KEPT ((size_t)-1)

/* Of each part. What is in use while a layer runs whole, and so all parts wait, is kept. */
static placement place_outputs(network *part, const net_outputs *outputs)
{
    placement at = {plan_memory(part, outputs), kd_calloc(part->n, sizeof(size_t)), 0};
    size_t *blocks = kd_calloc(part->n, sizeof(size_t));
    for (int b = 0; b < at.plan.blocks; ++b) {
        blocks[b] = at.size;
        at.size += at.plan.size[b];
    }
    for (int i = 0; i < part->n; ++i)
        at.start[i] = at.plan.block[i] >= 0 ? blocks[at.plan.block[i]] : KEPT;
    for (int i = 0; i < part->n; ++i) {
        if (at.plan.last_use[i] == part->n) at.start[i] = KEPT;
        if (is_forward_by_image(part->layers[i], 0)) continue;
        at.start[i] = KEPT;
        for (int j = 0; j < i; ++j)
            if (at.plan.last_use[j] >= i) at.start[j] = KEPT;
    }
    free(blocks);
    return at;
}

static void free_placement(placement at)
{
    free_memory_plan(at.plan);
    free(at.start);
}

static void use_own_memory(network part, const placement *at)
{
    float *memory = thread_scratch(SCRATCH_OUTPUTS, at->size);
    for (int i = 0; i < part.n; ++i) {
        size_t start = at->start[at->plan.owner[i]];
        if (start != KEPT) part.layers[i].output = memory + start;
    }
}

static void note_output(network part, int i)
{
    const cores *c = part.plugin;
    layer l = part.layers[i];
    float largest = 0;
    if (!c->largest) return;
    for (int k = 0; k < l.batch * l.outputs; ++k) {
        float size = fabsf(l.output[k]);
        if (!(size <= largest)) largest = isfinite(size) ? size : INFINITY;
    }
#pragma omp critical
    if (largest > c->largest[i]) c->largest[i] = largest;
}

/* The layers [first, end), each part through all of them before the next part */
static void forward_parts(const network *net, const network *parts, int first, int end,
                          const placement *at)
{
    range own = own_range(count_parts(net));
#pragma omp parallel for schedule(dynamic) if (own.end > 1)
    for (int p = own.first; p < own.end; ++p) {
        if (at) use_own_memory(parts[p], at);
        for (int i = first; i < end; ++i) {
            forward_part(parts[p], i);
            note_output(parts[p], i);
        }
    }
}

static void forward_layers(const network *net, const network *parts, const placement *at)
{
    for (int i = 0, end; i < net->n; i = end) {
        for (end = i; end < net->n && is_forward_by_image(net->layers[end], net->train);) ++end;
        if (end > i) {
            forward_parts(net, parts, i, end, at);
            continue;
        }
        layer l = net->layers[i];
        if (is_convolution(l)) forward_normalized(net, parts, i);
        else if (l.type == BATCHNORM) normalize_images(net, i, input_of(net, i));
        else forward_whole(net, i);
        ++end;
    }
}

static void forward_on_cores(network *net)
{
    const cores *c = net->plugin;
    network *parts = cut(net);
    provide_convolutions(parts, count_parts(net) == 1 && !net->train);
    if (c->outputs) {
        placement at = place_outputs(parts, c->outputs);
        forward_layers(net, parts, &at);
        free_placement(at);
    } else {
        forward_layers(net, parts, 0);
    }
    free_parts(parts);
    calc_network_cost(net);
}

/* Backward */

static void backward_layer(network net, int i)
{
    layer l = net.layers[i];
    net.index = i;
    if (i) {
        net.input = net.layers[i - 1].output;
        net.delta = net.layers[i - 1].delta;
    }
    if (l.type == REORG) /* its scratch memory, which several parts would share */
        net.workspace = thread_scratch(SCRATCH_WORK, (size_t)l.batch * l.inputs);
    if (is_sum(l) && net.delta && net.layers[l.index].delta) /* a [crop] has none */
        backward_sum(l.batch * l.outputs, l.activation, l.alpha, l.beta, gradient_source(l),
                     l.delta, net.delta, net.layers[l.index].delta);
    else if (is_last(&net, i)) backward_last(&net, i);
    else l.backward(l, net);
}

static void reserve_sums(cores *c, size_t n)
{
    if (c->n_sums >= n) return;
    free(c->sums);
    c->sums = kd_vectors(n);
    c->n_sums = n;
}

/* One part: the sums of its images for each loss, and what goes on to the layer before */
static void convolve_part_back(network *const *parts, int groups, int p, int i, float *of_part,
                               size_t size)
{
    float *deltas[KD_COMPONENTS], *in_deltas[KD_COMPONENTS], *sums[KD_COMPONENTS];
    int has_delta = i && parts[0]->layers[i - 1].delta;
    for (int g = 0; g < groups; ++g) {
        sums[g] = of_part + size * g;
        deltas[g] = parts[g][p].layers[i].delta;
        if (has_delta) in_deltas[g] = parts[g][p].layers[i - 1].delta;
    }
    convolve_back(convolution_of(parts[0], i), input_of(parts[0] + p, i), groups, deltas, sums,
                  has_delta ? in_deltas : 0);
}

static void backward_convolution(const network *views, network *const *parts, int groups, int i)
{
    cores *c = views->plugin;
    const convolution *own = c->convolutions[i];
    int count = count_parts(views);
    range part = own_range(count);
    size_t size = (gradient_size(own) + ALIGNED - 1) / ALIGNED * ALIGNED, all = size * groups;
    reserve_sums(c, all * (part.end - part.first));
    backward_between(views, parts, groups, count, i, own->shape.out);
#pragma omp parallel for schedule(dynamic)
    for (int p = part.first; p < part.end; ++p)
        convolve_part_back(parts, groups, p, i, c->sums + all * (p - part.first), size);
    add_parts(c->sums, all, part.end - part.first, all);
    for (int g = 0; g < groups; ++g)
        add_gradient(own, c->sums + size * g, views[g].layers[i].weight_updates);
}

static void backward_normalized(const network *views, network *const *parts, int groups, int i)
{
    range own = own_range(count_parts(views));
    backward_filters(views, groups, i, input_of(views, i));
    if (!i || !views->layers[i - 1].delta) return;
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        for (int g = 0; g < groups; ++g) {
            layer l = parts[g][p].layers[i];
            add_row(l.batch * l.outputs, 1, l.delta, parts[g][p].layers[i - 1].delta);
        }
}

static void backward_by_image(network *const *parts, int count, int groups, int i)
{
    range own = own_range(count);
#pragma omp parallel for schedule(dynamic)
    for (int p = own.first; p < own.end; ++p)
        for (int g = 0; g < groups; ++g) backward_layer(parts[g][p], i);
}

/* On every rank too; where there are weights, their gradients are all ranks' own then. */
static void backward_whole(const network *view, int i)
{
    layer l = view->layers[i];
    if (l.type == CONNECTED || l.type == DECONVOLUTIONAL) {
        gather_items(input_of(view, i), l.batch, l.inputs * sizeof(float));
        gather_items(l.output, l.batch, l.outputs * sizeof(float));
        gather_items(l.delta, l.batch, l.outputs * sizeof(float));
    }
    backward_layer(*view, i);
}

void backward_on_cores(const network *views, int groups)
{
    network *parts[KD_COMPONENTS];
    int count = count_parts(views);
    for (int g = 0; g < groups; ++g) parts[g] = cut(views + g);
    for (int i = views->n - 1; i >= 0 && !views->layers[i].stopbackward; --i) {
        layer l = views->layers[i];
        if (is_convolution(l)) backward_convolution(views, parts, groups, i);
        else if (l.type == BATCHNORM) backward_normalized(views, parts, groups, i);
        else if (is_by_image(l)) backward_by_image(parts, count, groups, i);
        else
            for (int g = 0; g < groups; ++g) backward_whole(views + g, i);
    }
    for (int g = 0; g < groups; ++g) free_parts(parts[g]);
}

void check_shares(const network *net, const char *cfg)
{
    static const LAYER_TYPE whole[] = {CONNECTED, DECONVOLUTIONAL, DROPOUT, SOFTMAX,
                                       YOLO,      REGION,          BLANK,   BATCHNORM};
    int parts = count_parts(net);
    if (parts % count_ranks())
        kd_fail("%s: found %d ranks, expected a divisor of %d, of the parts of a batch / "
                "subdivisions of %d",
                cfg, count_ranks(), parts, net->batch);
    for (int i = 0; i < net->n && count_ranks() > 1; ++i) {
        layer l = net->layers[i];
        int is_known = is_convolution(l) || is_by_image(l);
        for (size_t k = 0; k < sizeof(whole) / sizeof(*whole); ++k)
            is_known |= l.type == whole[k];
        if (!is_known)
            kd_fail("%s: layer %d: found [%s], expected another layer, or one process: ranks "
                    "cannot share it",
                    cfg, i, get_layer_string(l.type));
    }
}

int count_cores(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void attach_cores(network *net, const net_outputs *outputs, arithmetic how, int parts)
{
    cores *c = kd_calloc(1, sizeof(*c));
#if defined(BLAS) && defined(_OPENMP)
    openblas_set_num_threads(1); /* each core has matrix products of its own */
#endif
    c->outputs = outputs;
    c->arithmetic = how;
    c->parts = parts;
    c->convolutions = kd_calloc(net->n, sizeof(convolution *));
    net->plugin = c;
    net->forward = forward_on_cores;
    if (how != FLOAT32) put_channels_last(net);
}

void put_channels_last(network *net)
{
    cores *c = net->plugin;
    if (!c->forms) c->forms = kd_calloc(net->n, sizeof(image_form));
    find_forms(net, c->outputs ? c->arithmetic : FLOAT32, c->forms);
}

void note_largest(network *net, float *largest)
{
    cores *c = net->plugin;
    c->largest = largest;
}

void use_int8(network *net, const float *largest)
{
    cores *c = net->plugin;
    c->arithmetic = INT8;
    c->scales = kd_calloc(net->n, sizeof(float));
    for (int i = 0; i < net->n; ++i)
        c->scales[i] = largest[i] > FLT_MIN * 1e6f ? largest[i] / MOST_BYTE : 1;
    put_channels_last(net);
}

void detach_cores(network *net)
{
    cores *c = net->plugin;
    if (!c) return;
    for (int i = 0; i < net->n; ++i) free_convolution(c->convolutions[i]);
    free(c->convolutions);
    free(c->forms);
    free(c->scales);
    free(c->sums);
    free(c);
    net->plugin = 0;
    net->forward = 0;
}

int has_cores(const network *net)
{
    return net->forward == forward_on_cores;
}
