/* See deepkd_loss.h. */
#include "distil/deepkd_loss.h"
#include "distil/cached_logits.h"
#include "distil/deepkd_loss_gpu.h"
#include "distil/groups.h"
#include "distil/student_gpu.h"
#include "distil/views.h"
#include "math/box_formulas.h"
#include "net/device.h"
#include "net/parameters.h"
#include "net/pass_through.h"
#include "support.h"

#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void resize_deepkd_loss_layer(layer *l, network *net)
{
    deepkd *kd = l->plugin;
    resize_pass_through(l, net);
    if (!kd->groups) return;
    free_student_deltas(kd);
    allocate_student_deltas(kd);
    resize_groups(kd);
}

layer parse_deepkd_loss(list *options, network *net, int index, char *cfgfile)
{
    if (index != net->n - 1)
        kd_fail(
            "%s: [deepkd_loss] is layer %d of %d: expected it, once, at the end of the file",
            cfgfile, index, net->n);
    deepkd *kd = kd_calloc(1, sizeof(*kd));
    kd->options = read_deepkd_options(options, cfgfile, &kd->loss_config);
    kd->net = net;
    kd->copies = 1;
    kd->teacher = join_teachers(net, index, cfgfile);
    layer l = make_pass_through_layer(net, index, forward_deepkd_loss_layer);
    l.plugin = kd;
    l.release = release_student;
    l.resize = resize_deepkd_loss_layer;
    fprintf(stderr, "%5d deepkd loss %39d\n", index, l.outputs);
    return l;
}

/* Only trainer=deepkd takes the momenta from the options; nothing may be ignored. */
static void check_trainer(const deepkd_options *o, const char *cfg)
{
    for (int c = 0; c < KD_COMPONENTS && o->trainer != TRAINER_DEEPKD; ++c)
        if (!isnan(o->delta[c]) || !isnan(o->momentum[c]))
            kd_fail("%s: [deepkd_loss] found delta_%s or momentum_%s: expected it with "
                    "trainer=deepkd alone",
                    cfg, kd_component_name[c], kd_component_name[c]);
    if (o->momentum_rule == RULE_GSNR && o->trainer != TRAINER_DEEPKD)
        kd_fail("%s: [deepkd_loss] momentum_rule=gsnr: expected trainer=deepkd", cfg);
    if (o->momentum_rule == RULE_GSNR && !o->gsnr_interval)
        kd_fail("%s: [deepkd_loss] gsnr_interval=0: expected 1 or more, for momentum_rule=gsnr",
                cfg);
    if (!o->task_weight && !o->teacher_weight)
        kd_fail("%s: [deepkd_loss] task_weight=0 and teacher_weight=0: expected one above 0",
                cfg);
}

static void check_momenta(const deepkd *kd, const char *cfg)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double momentum = component_momentum(kd, c);
        if (momentum < 0 || momentum > KD_MOST_MOMENTUM)
            kd_fail("%s: [deepkd_loss] momentum of %s is %g ([net] momentum=%g and its delta): "
                    "expected 0 to %g, by momentum_%s= or delta_%s=",
                    cfg, kd_component_name[c], momentum, kd->net->momentum, KD_MOST_MOMENTUM,
                    kd_component_name[c], kd_component_name[c]);
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
    int schedule = o->topk_schedule;
    /* the mask costs accuracy wherever it was measured (docs/results.md) */
    if (schedule < 0) schedule = o->topk ? KD_TOPK_DYNAMIC : KD_TOPK_OFF;
    kd->topk_config = (kd_topk_config){schedule, o->topk ? o->topk : half, o->topk_phases[0],
                                       o->topk_phases[1]};
}

static void check_rows(const deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    const char *given = o->rows != ROWS_TRUTH   ? "rows=dense"
                        : o->feature_nms        ? "feature_nms=1"
                        : o->objectness_weight  ? "objectness_weight"
                        : !isnan(o->box_weight) ? "box_weight"
                        : o->box_loss >= 0      ? "box_loss"
                                                : 0;
    if (given && !is_detector(&kd->outputs))
        kd_fail("%s: [deepkd_loss] found %s: expected it in a detector's cfg alone", cfg,
                given);
    if (o->feature_nms && o->rows != ROWS_DENSE)
        kd_fail("%s: [deepkd_loss] feature_nms=1: expected it with rows=dense alone", cfg);
}

/* What boxes are distilled by: as given, or as the method and the student's head usually do */
static void choose_box_loss(deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    kd_loss_config *config = &kd->loss_config;
    layer l = kd->net->layers[kd->outputs.layer[0]];
    config->overlap = o->box_loss >= 0       ? (kd_overlap)o->box_loss
                      : l.box_loss > BOX_MSE ? (kd_overlap)(l.box_loss - BOX_IOU)
                                             : KD_GIOU;
    config->box_weight = isnan(o->box_weight) ? config->method->box_weight : o->box_weight;
    if (!is_detector(&kd->outputs)) config->box_weight = 0;
    if (o->box_loss >= 0 && !config->box_weight)
        kd_fail("%s: [deepkd_loss] found box_loss: expected it with box_weight above 0", cfg);
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
    kd->source = (row_source){.student = kd->net,
                              .teacher = t->net,
                              .student_outputs = kd->outputs,
                              .teacher_outputs = t->outputs,
                              .kind = kd->options.rows,
                              .feature_nms = kd->options.feature_nms,
                              .view_pairs = kd->loss_config.method->pair};
    kd->teacher->pulls = needs_teacher(&kd->source);
}

/* What is averaged of several teachers, where they can be one */
static void choose_ensemble(deepkd *kd, const char *cfg)
{
    int rule = kd->options.ensemble;
    if (!kd->teacher->next) {
        if (rule >= 0)
            kd_fail("%s: [deepkd_loss] found ensemble: expected it with two [teacher] or more",
                    cfg);
        return;
    }
    if (on_gpu(kd->net) && !kd->teacher->is_cached)
        kd_fail("%s: found several [teacher]: have no code for the GPU, expected -nogpu, or "
                "-cache",
                cfg);
    if (needs_teacher(&kd->source) && kd->options.rows != ROWS_DENSE)
        kd_fail(
            "%s: found a [region] with bias_match=0, which looks at its boxes: expected one "
            "[teacher]",
            kd->teacher->cfg);
    kd->teacher->rule = rule < 0 ? ENSEMBLE_LOGITS : (ensemble_rule)rule;
    check_teachers(kd->teacher);
}

/* How many views of an image there are, and what cannot be had of them */
static void choose_views(deepkd *kd, const char *cfg)
{
    const kd_method *m = kd->loss_config.method;
    const deepkd_options *o = &kd->options;
    int least = m->least_views ? m->least_views : m->views;
    kd->views = o->views ? o->views : m->views;
    if (kd->views < least || kd->views > m->views)
        kd_fail("%s: [deepkd_loss] views=%d: method=%s compares %d of an image, expected %d",
                cfg, kd->views, m->name, m->views, m->views);
    if (o->operation_names && kd->views < 2)
        kd_fail(
            "%s: [deepkd_loss] operations=%s: found one view, expected it with views=2 alone",
            cfg, o->operation_names);
    if (o->augment > 0 && is_detector(&kd->outputs))
        kd_fail("%s: [deepkd_loss] augment=cifar: expected it in a classifier's cfg alone",
                cfg);
}

/* What changes the teacher's word, or takes it for less, and where it cannot */
static void check_doubts(const deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    const char *given = o->swap ? "swap" : o->tcg_gate ? "tcg_gate" : 0;
    const char *cut = o->standardize                            ? "logit_standardization=1"
                      : kd->topk_config.schedule != KD_TOPK_OFF ? "a top-k mask"
                      : o->tcg_gate                             ? "tcg_gate=1"
                                                                : 0;
    if (given && is_detector(&kd->outputs))
        kd_fail("%s: [deepkd_loss] %s=1: expected it in a classifier's cfg alone", cfg, given);
    if (o->tcg_gate && kd->loss_config.activation != KD_SOFTMAX)
        kd_fail("%s: [deepkd_loss] tcg_gate=1: expected activation=softmax", cfg);
    if (cut && kd->loss_config.method->is_raw)
        kd_fail("%s: [deepkd_loss] %s: method=%s compares all classes as they are, expected it "
                "with another method",
                cfg, cut, kd->loss_config.method->name);
    if (given && on_gpu(kd->net))
        kd_fail("%s: [deepkd_loss] %s=1: has no code for the GPU, expected -nogpu", cfg, given);
}

/* What a method needs that is not always there */
static void check_method(const deepkd *kd, const char *cfg)
{
    const kd_method *m = kd->loss_config.method;
    if ((m->is_softmax || m->views > 1) && is_detector(&kd->outputs))
        kd_fail("%s: [deepkd_loss] method=%s compares whole images: expected a classifier", cfg,
                m->name);
    if (m->is_softmax && kd->loss_config.activation != KD_SOFTMAX)
        kd_fail("%s: [deepkd_loss] method=%s: expected activation=softmax", cfg, m->name);
    if (m->batch && kd->net->batch < 2)
        kd_fail(
            "%s: [net] batch / subdivisions is 1: method=%s compares the images of a batch, "
            "expected 2 or more",
            cfg, m->name);
    if (m->is_logistic && kd->loss_config.activation != KD_LOGISTIC)
        kd_fail("%s: [deepkd_loss] method=%s: expected activation=logistic", cfg, m->name);
    if (on_gpu(kd->net) && (!m->kernel || m->batch || m->weigh || kd->views > 1))
        kd_fail("%s: [deepkd_loss] method=%s: has no code for the GPU, expected -nogpu", cfg,
                m->name);
}

void attach_deepkd_loss(deepkd *kd, const char *cfg)
{
    const deepkd_options *o = &kd->options;
    find_both_outputs(kd, cfg);
    choose_ensemble(kd, cfg);
    int activation = o->activation;
    if (activation < 0) activation = native_activation(kd->net->layers[kd->outputs.layer[0]]);
    if (activation == KD_SOFTMAX && kd->classes < 2)
        kd_fail("%s: [deepkd_loss] activation=softmax with one class teaches nothing: expected "
                "activation=logistic",
                cfg);
    kd->teacher->idle = !o->teacher_weight;
    check_rows(kd, cfg);
    choose_box_loss(kd, cfg);
    check_topk(kd, cfg);
    check_trainer(o, cfg);
    check_momenta(kd, cfg);
    if (o->rows == ROWS_DENSE) pair_heads(&kd->source, cfg, kd->teacher->cfg);
    kd->loss_config.activation = activation;
    choose_views(kd, cfg);
    check_method(kd, cfg);
    check_doubts(kd, cfg);
    allocate_student_deltas(kd);
    allocate_views(kd);
    if (on_gpu(kd->net)) attach_student_gpu(kd);
    kd->scratch = kd_calloc(kd->classes, (4 + KD_SCRATCH(1)) * sizeof(double));
}

/* TCG and NCG rise linearly over the first `warmup` batches, or by a step each epoch. */
static double warmup_factor(const deepkd *kd)
{
    const deepkd_options *o = &kd->options;
    double passed = training_batch(kd->net);
    if (o->warmup_shape == WARMUP_EPOCHS)
        passed = 1 + (long)(passed - 1) * images_per_batch(kd->net) / kd->epoch_images;
    return passed < o->warmup ? passed / o->warmup : 1;
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

/* A row's logits, [classes] of each network */
static void read_logits(const deepkd *kd, const row *r, double *z, double *y)
{
    prediction p = r->student, q = r->teacher;
    const teacher *t = kd->teacher;
    const float *student = output_logits(kd->net, &kd->outputs, p.output) + p.classes;
    const float *teacher = output_logits(t->net, &t->outputs, q.output) + q.classes;
    if (kd->views > 1)
        teacher = view_logits(kd, kd->source.view_pairs[r->pair].teacher) + q.classes;
    for (int j = 0; j < kd->classes; ++j) {
        z[j] = student[(size_t)j * p.stride];
        y[j] = teacher[(size_t)j * q.stride];
    }
    if (kd->options.swap) kd_swap(kd->classes, y, r->target);
}

/* delta <- delta - weight gradient[classes], at a prediction of the student */
static void add_gradient(float *delta, prediction p, int classes, const double *gradient,
                         double weight)
{
    for (int j = 0; j < classes; ++j)
        delta[p.classes + (size_t)j * p.stride] -= weight * gradient[j];
}

/* The classes of a row: adds their losses, and the deltas of both components. */
static void distil_classes(deepkd *kd, const row *r, double weight)
{
    int n = kd->classes, o = r->student.output;
    double *z = kd->scratch, *y = z + n, *tcg = y + n, *ncg = tcg + n;
    read_logits(kd, r, z, y);
    kd_losses loss = kd_row(&kd->loss_config, n, z, y, r->target, kd->keep, tcg, ncg, ncg + n);
    kd->loss[KD_TCG] += weight * loss.tcg;
    kd->loss[KD_NCG] += weight * loss.ncg;
    add_gradient(kd->delta[KD_TCG][o], r->student, n, tcg, weight);
    add_gradient(kd->delta[KD_NCG][o], r->student, n, ncg, weight);
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

/* How much a row's box counts: as much as its classes, or the teacher is sure of its object */
static double box_share(const deepkd *kd, const row *r)
{
    int n = kd->classes;
    double *z = kd->scratch, *y = z + n;
    if (!kd->loss_config.method->box_weight)
        return kd->options.rows == ROWS_DENSE ? r->weight
                                              : teachers_objectness(&kd->source, r->teacher);
    read_logits(kd, r, z, y);
    return r->weight * kd_farthest_class(n, kd->options.temperature, z, y);
}

static void read_box(const float *logits, prediction p, double box[4])
{
    for (int k = 0; k < 4; ++k) box[k] = logits[p.objectness - (4 - k) * (size_t)p.stride];
}

/* Its box, which belongs to the TCG: where the target is */
static void distil_box(deepkd *kd, const row *r, double weight)
{
    prediction p = r->student, q = r->teacher;
    network *net = kd->net, *teacher = kd->teacher->net;
    const net_outputs *theirs = &kd->teacher->outputs;
    kd_box_place at = box_place(net, &kd->outputs, p), there = box_place(teacher, theirs, q);
    double student[4], label[4], gradient[4];
    read_box(output_logits(net, &kd->outputs, p.output), p, student);
    read_box(output_logits(teacher, theirs, q.output), q, label);
    kd->loss[KD_TCG] += kd_row_box(weight * box_share(kd, r), kd->loss_config.overlap, &at,
                                   student, &there, label, gradient);
    for (int k = 0; k < 4; ++k)
        kd->delta[KD_TCG][p.output][p.objectness - (4 - k) * (size_t)p.stride] -= gradient[k];
}

/* All rows of the batch, and [rows][classes] of three gradients, set to 0 */
typedef struct {
    kd_row_batch batch;
    double *gradient[KD_COMPONENTS];
    double *numbers; /* to be freed, as targets: what the others point into */
    int *targets;
} gathered_rows;

static gathered_rows gather_rows(const deepkd *kd)
{
    int n = kd->classes, rows = kd->rows.n;
    size_t size = (size_t)rows * n;
    gathered_rows g = {.numbers = kd_calloc(size * (2 + KD_COMPONENTS) + rows, sizeof(double)),
                       .targets = kd_calloc(rows, sizeof(int))};
    double *z = g.numbers, *y = z + size, *weights = y + (1 + KD_COMPONENTS) * size;
    for (int c = 0; c < KD_COMPONENTS; ++c) g.gradient[c] = y + (1 + c) * size;
    for (int i = 0; i < rows; ++i) {
        const row *r = kd->rows.rows + i;
        read_logits(kd, r, z + (size_t)i * n, y + (size_t)i * n);
        g.targets[i] = r->target;
        weights[i] = r->weight;
    }
    g.batch = (kd_row_batch){rows, n, kd->source.view, z, y, g.targets, weights};
    return g;
}

/* A method's loss of all rows together; what it adds to the task does not warm up */
static void distil_batch(deepkd *kd, double warm_weight)
{
    int n = kd->classes;
    double loss[KD_COMPONENTS] = {0};
    gathered_rows g = gather_rows(kd);
    kd->loss_config.method->batch(&kd->loss_config, &g.batch, loss, g.gradient);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double weight = c == KD_TOG ? kd->options.teacher_weight : warm_weight;
        kd->loss[c] += weight * loss[c];
        for (int i = 0; i < kd->rows.n; ++i) {
            prediction p = kd->rows.rows[i].student;
            add_gradient(kd->delta[c][p.output], p, n, g.gradient[c] + (size_t)i * n, weight);
        }
    }
    free(g.numbers);
    free(g.targets);
}

static void clear_component_deltas(deepkd *kd)
{
    for (int c = 0; c < KD_COMPONENTS; ++c)
        for (int o = 0; kd->delta[c] && o < kd->outputs.n; ++o) {
            layer l = kd->net->layers[kd->outputs.layer[o]];
            device_clear(kd->net, (size_t)l.batch * l.inputs, kd->delta[c][o]);
        }
}

/*
 * What is not finite, if anything is; checked before anything is built on it. The GPU looks at
 * logits and momenta itself, and is asked only when the host sees that it must be.
 */
static unsigned find_broken(deepkd *kd)
{
    teacher *t = kd->teacher;
    if (on_gpu(kd->net)) {
        if (isfinite(kd->loss[KD_TOG])) return 0;
        read_losses_gpu(kd);
        if (kd->broken) return kd->broken;
        pull_logits(kd->net, &kd->outputs);
        if (!t->idle) pull_logits(t->net, &t->outputs);
    }
    if (!t->idle && !finite_logits(t->net, &t->outputs)) return KD_BROKEN_TEACHER;
    if (!finite_logits(kd->net, &kd->outputs)) return KD_BROKEN_STUDENT;
    if (!isfinite(kd->loss[KD_TOG])) return KD_BROKEN_TASK;
    return 0;
}

static void distil_rows(deepkd *kd, double weight)
{
    double box = weight * kd->loss_config.box_weight;
    for (int i = 0; i < kd->rows.n; ++i) {
        const row *r = kd->rows.rows + i;
        double objectness = weight * kd->options.objectness_weight * r->is_first;
        if (r->weight) distil_classes(kd, r, weight * r->weight);
        if (objectness) distil_objectness(kd, r, objectness);
        if (box && r->is_first) distil_box(kd, r, box);
    }
    if (kd->loss_config.method->batch) distil_batch(kd, weight);
    if (!isfinite(kd->loss[KD_TOG])) kd->broken |= KD_BROKEN_TASK; /* by a batch's loss */
    if (!isfinite(kd->loss[KD_TCG])) kd->broken |= KD_BROKEN_TCG;
    if (!isfinite(kd->loss[KD_NCG])) kd->broken |= KD_BROKEN_NCG;
}

/* The task knows nothing of images without labels: no deltas, and no part of a head's cost. */
static void silence_task(deepkd *kd)
{
    network *net = kd->net;
    const char *unlabelled = kd->batch ? kd->batch->unlabelled : 0;
    for (int k = 0; unlabelled && k < net->batch * kd->outputs.n; ++k) {
        int b = k / kd->outputs.n, i = kd->outputs.layer[k % kd->outputs.n];
        layer l = net->layers[i];
        size_t first = (size_t)b * l.inputs;
        if (!unlabelled[b]) continue;
        memset(l.delta + first, 0, l.inputs * sizeof(float));
        device_clear(net, l.inputs, layer_delta(net, i) + first);
        if (l.type != SOFTMAX) *l.cost = pow(mag_array(l.delta, l.outputs * l.batch), 2);
    }
}

void forward_deepkd_loss_layer(layer l, network net)
{
    deepkd *kd = l.plugin;
    if (!kd->groups || !net.train) return;
    silence_task(kd);
    calc_network_cost(kd->net);
    if (kd->options.task_weight) kd->loss[KD_TOG] += kd->options.task_weight * *kd->net->cost;
    kd->images += net.batch;
    kd->keep = kd_topk_schedule(&kd->topk_config, kd->classes, training_progress(kd->net));
    if (kd->cache && !kd->teacher->idle && !kd->teacher->has_run) recall_logits(kd);
    if (!kd->broken) kd->broken = find_broken(kd);
    if (kd->broken || !kd->options.teacher_weight) return;

    double weight = kd->options.teacher_weight * warmup_factor(kd);
    find_rows(&kd->source, &kd->rows);
    weigh_rows(kd);
    clear_component_deltas(kd);
    if (on_gpu(kd->net)) distil_rows_gpu(kd, weight);
    else distil_rows(kd, weight);
}
