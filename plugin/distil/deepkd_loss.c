/* See deepkd_loss_layer.h. */
#include "distil/deepkd_loss.h"
#include "distil/deepkd_loss_gpu.h"
#include "net/device.h"
#include "distil/groups.h"
#include "options.h"
#include "net/parameters.h"

#include "network.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TO(field) offsetof(deepkd_options, field)
#define MOST 0.9999 /* a momentum of 1 never forgets */
static const option deepkd_option_table[] = {
    {"method", OPTION_CHOICE, TO(method), 0, 0, "kd|dkd"},
    {"trainer", OPTION_CHOICE, TO(trainer), 0, 0, "deepkd|dot|sgd"},
    {"activation", OPTION_CHOICE, TO(activation), 0, 0, "softmax|logistic"},
    {"temperature", OPTION_REAL, TO(temperature), .01, 1000, 0},
    {"task_weight", OPTION_REAL, TO(task_weight), 0, 1e6, 0},
    {"teacher_weight", OPTION_REAL, TO(teacher_weight), 0, 1e6, 0},
    {"alpha", OPTION_REAL, TO(alpha), 0, 1e6, 0},
    {"beta", OPTION_REAL, TO(beta), 0, 1e6, 0},
    {"warmup", OPTION_INT, TO(warmup), 0, INT_MAX, 0},
    {"logit_standardization", OPTION_INT, TO(standardize), 0, 1, 0},
    {"topk_schedule", OPTION_CHOICE, TO(topk_schedule), 0, 0, "dynamic|static|off"},
    {"topk", OPTION_INT, TO(topk), 1, INT_MAX, 0},
    {"topk_phases", OPTION_PAIR, TO(topk_phases), 0, 1, 0},
    {"rows", OPTION_CHOICE, TO(rows), 0, 0, "truth|dense"},
    {"feature_nms", OPTION_INT, TO(feature_nms), 0, 1, 0},
    {"objectness_weight", OPTION_REAL, TO(objectness_weight), 0, 1e6, 0},
    {"delta_tog", OPTION_REAL, TO(delta[KD_TOG]), -1, 1, 0},
    {"delta_tcg", OPTION_REAL, TO(delta[KD_TCG]), -1, 1, 0},
    {"delta_ncg", OPTION_REAL, TO(delta[KD_NCG]), -1, 1, 0},
    {"momentum_tog", OPTION_REAL, TO(momentum[KD_TOG]), 0, MOST, 0},
    {"momentum_tcg", OPTION_REAL, TO(momentum[KD_TCG]), 0, MOST, 0},
    {"momentum_ncg", OPTION_REAL, TO(momentum[KD_NCG]), 0, MOST, 0},
    {"decay_component", OPTION_CHOICE, TO(decay_component), 0, 0, "tog|tcg|ncg"},
    {0},
};

static const deepkd_options defaults = {
    .method = KD_METHOD_KD,
    .trainer = TRAINER_DEEPKD,
    .activation = -1,
    .temperature = 4,
    .task_weight = 1,
    .teacher_weight = 1,
    .alpha = 1,
    .beta = 8,
    .topk_schedule = KD_TOPK_DYNAMIC,
    .topk_phases = {.3, .7},
    .delta = {NAN, NAN, NAN},
    .momentum = {NAN, NAN, NAN},
    .decay_component = KD_TOG,
};

static void free_deltas(deepkd *kd)
{
    for (int c = KD_TCG; c <= KD_NCG; ++c) {
        for (int o = 0; kd->delta[c] && o < kd->outputs.n; ++o)
            device_free(kd->net, kd->delta[c][o]);
        free(kd->delta[c]);
    }
}

/* For the present size of the student. */
static void allocate_deltas(deepkd *kd)
{
    for (int c = KD_TCG; c <= KD_NCG; ++c) {
        kd->delta[c] = kd_calloc(kd->outputs.n, sizeof(float *));
        for (int o = 0; o < kd->outputs.n; ++o) {
            layer l = kd->net->layers[kd->outputs.layer[o]];
            kd->delta[c][o] = device_array(kd->net, (size_t)l.batch * l.inputs);
        }
    }
}

static void release_deepkd_loss_layer(layer l)
{
    deepkd *kd = l.plugin;
    if (on_gpu(kd->net)) release_deepkd_loss_gpu(kd);
    free_deltas(kd);
    free_pairs(&kd->source);
    free(kd->outputs.layer);
    free(kd->rows.rows);
    free(kd->scratch);
    free(kd);
}

static void resize_deepkd_loss_layer(layer *l, network *net)
{
    deepkd *kd = l->plugin;
    resize_pass_through(l, net);
    if (!kd->groups) return;
    free_deltas(kd);
    allocate_deltas(kd);
    resize_groups(kd);
}

deepkd *find_deepkd(network *net)
{
    layer last = net->layers[net->n - 1];
    return last.forward == forward_deepkd_loss_layer ? last.plugin : 0;
}

layer parse_deepkd_loss(list *options, network *net, int index, char *cfgfile)
{
    if (index != net->n - 1)
        kd_fail(
            "%s: [deepkd_loss] is layer %d of %d: expected it, once, at the end of the file",
            cfgfile, index, net->n);
    if (index < 2 || net->layers[index - 1].forward != forward_teacher_layer)
        kd_fail("%s: found no [teacher] right before [deepkd_loss]", cfgfile);
    deepkd *kd = kd_calloc(1, sizeof(*kd));
    kd->options = defaults;
    read_options(cfgfile, "[deepkd_loss]", options, deepkd_option_table, &kd->options);
    kd->net = net;
    kd->teacher = net->layers[index - 1].plugin;
    layer l = make_pass_through_layer(net, index);
    l.plugin = kd;
    set_forward(&l, forward_deepkd_loss_layer);
    l.release = release_deepkd_loss_layer;
    l.resize = resize_deepkd_loss_layer;
    fprintf(stderr, "%5d deepkd loss %39d\n", index, l.outputs);
    return l;
}

double component_momentum(const deepkd *kd, kd_component c)
{
    const deepkd_options *o = &kd->options;
    const double deepkd_delta[] = {.075, -.075, o->method == KD_METHOD_DKD ? .05 : .075};
    const double dot_delta[] = {-.075, .075, .075};
    double base = kd->net->momentum;
    if (o->trainer == TRAINER_SGD) return base;
    if (o->trainer == TRAINER_DOT) return base + dot_delta[c];
    if (!isnan(o->momentum[c])) return o->momentum[c];
    return base + (isnan(o->delta[c]) ? deepkd_delta[c] : o->delta[c]);
}

int is_active(const deepkd *kd, kd_component c)
{
    const deepkd_options *o = &kd->options;
    if (c == KD_TOG) return o->task_weight > 0;
    if (c == KD_TCG) return o->teacher_weight * (o->alpha + o->objectness_weight) > 0;
    return o->teacher_weight > 0 && (o->method == KD_METHOD_KD || o->beta > 0);
}

/* Only trainer=deepkd takes the momenta from the options; nothing may be ignored. */
static void check_trainer(const deepkd_options *o, const char *cfg)
{
    for (int c = 0; c < KD_COMPONENTS && o->trainer != TRAINER_DEEPKD; ++c)
        if (!isnan(o->delta[c]) || !isnan(o->momentum[c]))
            kd_fail("%s: [deepkd_loss] found delta_%s or momentum_%s: expected it with "
                    "trainer=deepkd alone",
                    cfg, kd_component_name[c], kd_component_name[c]);
    if (!o->task_weight && !o->teacher_weight)
        kd_fail("%s: [deepkd_loss] task_weight=0 and teacher_weight=0: expected one above 0",
                cfg);
}

static void check_momenta(const deepkd *kd, const char *cfg)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double momentum = component_momentum(kd, c);
        if (momentum < 0 || momentum > MOST)
            kd_fail("%s: [deepkd_loss] momentum of %s is %g ([net] momentum=%g and its delta): "
                    "expected 0 to %g",
                    cfg, kd_component_name[c], momentum, kd->net->momentum, MOST);
    }
}

static void check_topk(deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    int others = kd->classes - 1, half = others / 2 > 1 ? others / 2 : 1;
    if (o->topk > others)
        kd_fail(
            "%s: [deepkd_loss] topk=%d: expected at most %d, the classes without the target",
            cfg, o->topk, others);
    kd->topk_config = (kd_topk_config){o->topk_schedule, o->topk ? o->topk : half,
                                       o->topk_phases[0], o->topk_phases[1]};
}

/* What the student's output layer does with its class logits. */
static kd_activation native_activation(layer l)
{
    return l.type == SOFTMAX || (l.type == REGION && l.softmax) ? KD_SOFTMAX : KD_LOGISTIC;
}

static void check_rows(const deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    const char *given = o->rows != ROWS_TRUTH  ? "rows=dense"
                        : o->feature_nms       ? "feature_nms=1"
                        : o->objectness_weight ? "objectness_weight"
                                               : 0;
    if (given && !is_detector(&kd->outputs))
        kd_fail("%s: [deepkd_loss] found %s: expected it in a detector's cfg alone", cfg,
                given);
    if (o->feature_nms && o->rows != ROWS_DENSE)
        kd_fail("%s: [deepkd_loss] feature_nms=1: expected it with rows=dense alone", cfg);
}

static void find_both_outputs(deepkd *kd, const char *cfg)
{
    teacher *t = kd->teacher;
    kd->outputs = find_outputs(kd->net, cfg);
    kd->classes = kd->outputs.classes;
    if (is_detector(&t->outputs) != is_detector(&kd->outputs))
        kd_fail("%s: found a %s, expected a %s as %s is", t->cfg,
                is_detector(&t->outputs) ? "detector" : "classifier",
                is_detector(&kd->outputs) ? "detector" : "classifier", cfg);
    if (t->outputs.classes != kd->classes)
        kd_fail("%s: found %d classes, expected the teacher's %d (%s)", cfg, kd->classes,
                t->outputs.classes, t->cfg);
    layer ours = kd->net->layers[kd->outputs.layer[0]];
    layer theirs = t->net->layers[t->outputs.layer[0]];
    if (is_detector(&kd->outputs) && ours.map && theirs.map &&
        (ours.map_size != theirs.map_size ||
         memcmp(ours.map, theirs.map, ours.map_size * sizeof(int))))
        kd_fail("%s: map=: found another one than the teacher's (%s), expected the same", cfg,
                t->cfg);
    kd->source = (row_source){
        kd->net, t->net, kd->outputs, t->outputs, kd->options.rows, kd->options.feature_nms, 0};
    kd->teacher->pulls = needs_teacher(&kd->source);
}

void attach_deepkd_loss(deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    find_both_outputs(kd, cfg);
    int activation = o->activation;
    if (activation < 0) activation = native_activation(kd->net->layers[kd->outputs.layer[0]]);
    if (activation == KD_SOFTMAX && kd->classes < 2)
        kd_fail("%s: [deepkd_loss] activation=softmax with one class teaches nothing: expected "
                "activation=logistic",
                cfg);
    kd->teacher->idle = !o->teacher_weight;
    check_rows(kd, cfg);
    check_topk(kd, cfg);
    check_trainer(o, cfg);
    check_momenta(kd, cfg);
    if (o->rows == ROWS_DENSE) pair_heads(&kd->source, cfg, kd->teacher->cfg);
    kd->loss_config = (kd_loss_config){o->method,      activation, o->standardize,
                                       o->temperature, o->alpha,   o->beta};
    allocate_deltas(kd);
    if (on_gpu(kd->net)) attach_deepkd_loss_gpu(kd);
    kd->scratch = kd_calloc(kd->classes, (4 + KD_SCRATCH(1)) * sizeof(double));
}

long images_per_batch(const network *net)
{
    return (long)net->batch * net->subdivisions;
}

long training_batch(network *net)
{
    long images = images_per_batch(net);
    return ((long)*net->seen + images - 1) / images;
}

double training_progress(network *net)
{
    return (double)training_batch(net) / net->max_batches;
}

/* TCG and NCG rise linearly over the first `warmup` batches. */
static double warmup_factor(const deepkd *kd)
{
    double batch = training_batch(kd->net);
    return batch < kd->options.warmup ? batch / kd->options.warmup : 1;
}

static int finite_logits(network *net, const net_outputs *outputs)
{
    for (int o = 0; o < outputs->n; ++o) {
        layer l = net->layers[outputs->layer[o]];
        kd_array array = {output_logits(net, outputs, o), (size_t)l.batch * l.inputs};
        if (!all_finite((kd_arrays){&array, 1})) return 0;
    }
    return 1;
}

/* The classes of a row: adds their losses, and the deltas of both components. */
static void distil_classes(deepkd *kd, const row *r, double weight)
{
    int n = kd->classes;
    double *z = kd->scratch, *y = z + n, *tcg = y + n, *ncg = tcg + n;
    prediction p = r->student, q = r->teacher;
    const float *student = output_logits(kd->net, &kd->outputs, p.output) + p.classes;
    const float *teacher =
        output_logits(kd->teacher->net, &kd->teacher->outputs, q.output) + q.classes;
    for (int j = 0; j < n; ++j) {
        z[j] = student[(size_t)j * p.stride];
        y[j] = teacher[(size_t)j * q.stride];
    }
    kd_losses loss = kd_row(&kd->loss_config, n, z, y, r->target, kd->keep, tcg, ncg, ncg + n);
    kd->loss[KD_TCG] += weight * loss.tcg;
    kd->loss[KD_NCG] += weight * loss.ncg;
    for (int j = 0; j < n; ++j) {
        kd->delta[KD_TCG][p.output][p.classes + (size_t)j * p.stride] -= weight * tcg[j];
        kd->delta[KD_NCG][p.output][p.classes + (size_t)j * p.stride] -= weight * ncg[j];
    }
}

/* Its objectness, which belongs to the TCG */
static void distil_objectness(deepkd *kd, const row *r, double weight)
{
    prediction p = r->student, q = r->teacher;
    double z = output_logits(kd->net, &kd->outputs, p.output)[p.objectness], gradient;
    double y = output_logits(kd->teacher->net, &kd->teacher->outputs, q.output)[q.objectness];
    kd->loss[KD_TCG] += kd_yes_or_no(weight, kd->options.temperature, z, y, &gradient);
    kd->delta[KD_TCG][p.output][p.objectness] -= gradient;
}

static void clear_component_deltas(deepkd *kd)
{
    for (int c = KD_TCG; c <= KD_NCG; ++c)
        for (int o = 0; o < kd->outputs.n; ++o) {
            layer l = kd->net->layers[kd->outputs.layer[o]];
            device_clear(kd->net, (size_t)l.batch * l.inputs, kd->delta[c][o]);
        }
}

/*
 * The name of what is not finite, if anything is; checked before anything is built on it. The
 * GPU looks at logits and momenta itself, and is asked only when the host sees that it must be.
 */
static const char *find_broken(deepkd *kd)
{
    teacher *t = kd->teacher;
    if (on_gpu(kd->net)) {
        if (isfinite(kd->loss[KD_TOG])) return 0;
        read_losses_gpu(kd);
        if (kd->broken) return kd->broken;
        pull_logits(kd->net, &kd->outputs);
        if (!t->idle) pull_logits(t->net, &t->outputs);
    }
    if (!t->idle && !finite_logits(t->net, &t->outputs)) return "teacher's logits";
    if (!finite_logits(kd->net, &kd->outputs)) return "student's logits";
    if (!isfinite(kd->loss[KD_TOG])) return "task loss (tog)";
    return 0;
}

static void distil_rows(deepkd *kd, double weight)
{
    for (int i = 0; i < kd->rows.n; ++i) {
        const row *r = kd->rows.rows + i;
        double objectness = weight * kd->options.objectness_weight * r->is_first;
        if (r->weight) distil_classes(kd, r, weight * r->weight);
        if (objectness) distil_objectness(kd, r, objectness);
    }
    if (!isfinite(kd->loss[KD_TCG])) kd->broken = "target-class loss (tcg)";
    else if (!isfinite(kd->loss[KD_NCG])) kd->broken = "non-target-class loss (ncg)";
}

void forward_deepkd_loss_layer(layer l, network net)
{
    deepkd *kd = l.plugin;
    if (!kd->groups || !net.train) return;
    calc_network_cost(kd->net);
    if (kd->options.task_weight) kd->loss[KD_TOG] += kd->options.task_weight * *kd->net->cost;
    kd->images += net.batch;
    kd->keep = kd_topk_schedule(&kd->topk_config, kd->classes, training_progress(kd->net));
    if (!kd->broken) kd->broken = find_broken(kd);
    if (kd->broken || !kd->options.teacher_weight) return;

    double weight = kd->options.teacher_weight * warmup_factor(kd);
    find_rows(&kd->source, &kd->rows);
    clear_component_deltas(kd);
    if (on_gpu(kd->net)) distil_rows_gpu(kd, weight);
    else distil_rows(kd, weight);
}

void start_losses(deepkd *kd)
{
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->images = 0;
    if (on_gpu(kd->net)) clear_losses_gpu(kd);
}

void read_losses(deepkd *kd)
{
    if (on_gpu(kd->net)) read_losses_gpu(kd);
}
