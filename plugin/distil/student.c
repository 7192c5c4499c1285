/* See student.h. */
#include "distil/student.h"
#include "data/loader.h"
#include "distil/student_gpu.h"
#include "net/device.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

deepkd *find_deepkd(const network *net)
{
    layer last = net->layers[net->n - 1];
    return last.release == release_student ? last.plugin : 0;
}

static int has_delta(const deepkd *kd, int c)
{
    return c != KD_TOG || kd->loss_config.method->batch;
}

void allocate_student_deltas(deepkd *kd)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        if (!has_delta(kd, c)) continue;
        kd->delta[c] = kd_calloc(kd->outputs.n, sizeof(float *));
        for (int o = 0; o < kd->outputs.n; ++o) {
            layer l = kd->net->layers[kd->outputs.layer[o]];
            kd->delta[c][o] = device_array(kd->net, (size_t)l.batch * l.inputs);
        }
    }
}

void free_student_deltas(deepkd *kd)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        for (int o = 0; kd->delta[c] && o < kd->outputs.n; ++o)
            device_free(kd->net, kd->delta[c][o]);
        free(kd->delta[c]);
        kd->delta[c] = 0;
    }
}

void release_student(layer l)
{
    deepkd *kd = l.plugin;
    if (on_gpu(kd->net)) release_student_gpu(kd);
    free_student_deltas(kd);
    for (int v = 0; v < KD_VIEWS; ++v) free(kd->view_logits[v]);
    free(kd->options.operation_names);
    free_pairs(&kd->source);
    free(kd->outputs.layer);
    free(kd->rows.rows);
    free(kd->scratch);
    free(kd);
}

/* As the options say, without any measurement */
static double planned_momentum(const deepkd *kd, kd_component c)
{
    static const double dot_delta[] = {-.075, .075, .075}; /* DOT, ICCV 2023 */
    const deepkd_options *o = &kd->options;
    double base = kd->net->momentum;
    if (o->trainer == TRAINER_SGD) return base;
    if (o->trainer == TRAINER_DOT) return kd_usual_momentum(base, dot_delta[c]);
    if (!isnan(o->momentum[c])) return o->momentum[c];
    if (!isnan(o->delta[c])) return base + o->delta[c];
    return kd_usual_momentum(base, kd_methods[o->method].delta[c]);
}

double component_momentum(const deepkd *kd, kd_component c)
{
    double momentum[KD_COMPONENTS], planned[KD_COMPONENTS];
    int active[KD_COMPONENTS];
    if (kd->options.momentum_rule != RULE_GSNR || !kd->gsnr.samples)
        return planned_momentum(kd, c);
    for (int i = 0; i < KD_COMPONENTS; ++i) {
        active[i] = is_active(kd, i);
        momentum[i] = planned[i] = planned_momentum(kd, i);
    }
    kd_gsnr_momenta(planned, kd->gsnr.snr, active, momentum);
    return momentum[c];
}

double momentum_at(const deepkd *kd, kd_component c, long update)
{
    return kd_warm_momentum(component_momentum(kd, c), kd->options.momentum_warmup, update);
}

long training_update(const deepkd *kd)
{
    return (training_batch(kd->net) + kd->copies - 1) / kd->copies;
}

/* Has the method's own weight of the component been set to 0? */
static int is_off(const kd_loss_config *config, kd_component c)
{
    const kd_parameter *p = config->method->parameter;
    for (int i = 0; i < KD_PARAMETERS && p[i].name; ++i)
        if (p[i].weighs == c && c != KD_TOG && !config->parameter[i]) return 1;
    return 0;
}

int is_active(const deepkd *kd, kd_component c)
{
    const deepkd_options *o = &kd->options;
    if (c == KD_TOG && o->task_weight > 0) return 1;
    if (!has_delta(kd, c) || !(o->teacher_weight > 0)) return 0;
    if (kd->loss_config.method->batch) return 1; /* whose losses these weights do not weigh */
    if (c == KD_TCG && !(o->alpha + o->objectness_weight + kd->loss_config.box_weight > 0))
        return 0;
    return !is_off(&kd->loss_config, c);
}

long images_per_batch(const network *net)
{
    return (long)net->batch * net->subdivisions;
}

long training_batch(const network *net)
{
    long images = images_per_batch(net);
    return ((long)*net->seen + images - 1) / images;
}

double training_progress(const network *net)
{
    return (double)training_batch(net) / net->max_batches;
}

int training_augmentation(const deepkd *kd)
{
    const deepkd_options *o = &kd->options;
    int is_cifar = o->augment < 0 ? kd->views > 1 : o->augment;
    int augment = is_cifar ? AUGMENT_CIFAR : AUGMENT_DARKNET;
    return kd->views > 1 ? augment + AUGMENT_OPERATIONS * (int)o->operations : augment;
}

void start_losses(deepkd *kd)
{
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->figures = (region_figures){0};
    kd->images = 0;
    if (on_gpu(kd->net)) clear_losses_gpu(kd);
}

void read_losses(deepkd *kd)
{
    if (on_gpu(kd->net)) read_losses_gpu(kd);
}

int add_region_figures(network *net, region_figures f)
{
    deepkd *kd = find_deepkd(net);
    region_figures *sum = &kd->figures;
    sum->count += f.count;
    sum->class_count += f.class_count;
    sum->cells += f.cells;
    sum->iou += f.iou;
    sum->class_prob += f.class_prob;
    sum->obj += f.obj;
    sum->anyobj += f.anyobj;
    sum->recall50 += f.recall50;
    sum->recall75 += f.recall75;
    return kd->prints_figures;
}
