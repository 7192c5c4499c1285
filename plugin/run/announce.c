/* See announce.h. */
#include "run/announce.h"
#include "cpu/cores.h"
#include "cpu/forms.h"
#include "cpu/onednn.h"
#include "cpu/ranks.h"
#include "data/strong.h"
#include "distil/gsnr.h"
#include "net/parameters.h"
#include "run/log.h"

#include "network.h"

#include <stdio.h>

static void print_input(const network *net)
{
    printf(", input %d x %d x %d\n", net->w, net->h, net->c);
}

static void print_size(const char *role, network *net)
{
    int layers = 0; /* without our two sections */
    for (int i = 0; i < net->n; ++i) layers += net->layers[i].type != BLANK;
    printf("%s: %d layers, %zu parameters, %.4f BFLOPs", role, layers, count_parameters(net),
           count_bflops(net));
    print_input(net);
}

static void print_teacher(const teacher *t)
{
    if (!t->model) print_size("teacher", t->net);
    else {
        printf("teacher: an ONNX model");
        print_input(t->net);
    }
}

/* The layers with weights that multiply in this */
static void print_layers(const network *net, arithmetic how, const char *name)
{
    const char *between = "; %s: layer";
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (!l.weights || l.type == BLANK) continue;
        if ((is_convolution(l) ? find_arithmetic(net, i) : FLOAT32) != how) continue;
        printf(between, name);
        printf(" %d %s", i, get_layer_string(l.type));
        between = ",";
    }
}

/* Unless it is float32 alone; also which layers have no code for it */
static void print_precision(const char *role, const network *net, arithmetic how)
{
    static const char *const names[] = {"float32", "bfloat16", "int8"};
    int is_slow = how == BFLOAT16 && find_bfloat16() != BFLOAT16_FAST;
    if (how == FLOAT32) return;
    printf("%s's precision: %s%s", role, names[how], is_slow ? ", slow on this processor" : "");
    for (int less = how - 1; less >= 0 && has_cores(net); --less)
        print_layers(net, less, names[less]);
    printf("\n");
}

static void print_ensemble(const teacher *first)
{
    int n = 0;
    for (const teacher *t = first; t; t = t->next) ++n;
    if (n > 1)
        printf("ensemble: mean %s of %d teachers\n",
               first->rule == ENSEMBLE_LOGITS ? "logits" : "probabilities", n);
}

static void print_temperatures(const kd_loss_config *loss)
{
    if (!loss->n_temperatures) printf("temperature %g", loss->temperature);
    else printf("temperatures");
    for (int k = 0; k < loss->n_temperatures; ++k) printf(" %g", loss->temperatures[k]);
    printf(", ");
}

static void print_views(unsigned operations)
{
    char names[256] = "all operations";
    if (operations != ALL_OPERATIONS) list_operations(operations, names, sizeof(names));
    printf("views 2: weak, and strong by %s\n", names);
}

static void print_loss(const deepkd *kd)
{
    const deepkd_options *o = &kd->options;
    const kd_loss_config *loss = &kd->loss_config;
    const kd_parameter *p = loss->method->parameter;
    printf("method %s, activation %s, ", loss->method->name,
           loss->activation == KD_SOFTMAX ? "softmax" : "logistic");
    print_temperatures(loss);
    printf("task weight %g, teacher weight %g, alpha %g, ", o->task_weight, o->teacher_weight,
           o->alpha);
    for (int i = 0; i < KD_PARAMETERS && p[i].name; ++i)
        if (loss->parameter[i] == KD_WHOLE_KL) printf("%s 1-q_t, ", p[i].name);
        else printf("%s %g, ", p[i].name, loss->parameter[i]);
    if (o->tcg_gate) printf("TCG gated, ");
    if (o->swap) printf("a wrong teacher's logits swapped, ");
    printf("standardization %s, warmup %d %s\n", o->standardize ? "on" : "off", o->warmup,
           o->warmup_shape == WARMUP_EPOCHS ? "epochs" : "batches");
    if (kd->views > 1) print_views(o->operations);
}

static void print_rows(const deepkd *kd)
{
    static const char *const overlaps[] = {"IoU", "GIoU", "DIoU", "CIoU"};
    const deepkd_options *o = &kd->options;
    printf("rows %s%s, objectness weight %g", o->rows == ROWS_DENSE ? "dense" : "truth",
           o->feature_nms ? ", feature NMS" : "", o->objectness_weight);
    if (kd->loss_config.box_weight)
        printf(", box weight %g (%s)", kd->loss_config.box_weight,
               overlaps[kd->loss_config.overlap]);
    putchar('\n');
}

static void print_schedule(const deepkd *kd)
{
    const kd_topk_config *k = &kd->topk_config;
    long end = kd->net->max_batches;
    int all = kd->classes - 1;
    if (!all) return; /* one class has no others */
    if (k->schedule == KD_TOPK_OFF) printf("top-k: off, all %d other classes\n", all);
    if (k->schedule == KD_TOPK_STATIC) printf("top-k: static, K %d of %d\n", k->optimal, all);
    if (k->schedule == KD_TOPK_DYNAMIC)
        printf("top-k: dynamic, K from %d to %d until batch %ld, %d until batch %ld, "
               "to %d at batch %ld\n",
               kd_topk_schedule(k, kd->classes, 0), k->optimal, (long)(k->phase1_end * end),
               k->optimal, (long)(k->phase2_end * end), all, end);
}

/* Where some of them have nothing to do */
static void print_cores(const deepkd *kd)
{
    int cores = count_cores(), parts = has_cores(kd->net) ? count_parts(kd->net) : cores;
    if (parts < cores)
        printf("cores: %d of %d, as many as the batch of %d has parts (parts=%d)\n", parts,
               cores, kd->net->batch, kd->options.parts);
    if (count_ranks() > 1)
        printf("ranks: %d, each with %d of a batch's %d parts\n", count_ranks(),
               parts / count_ranks(), parts);
}

void announce_run(const replicas *r, const image_list *train, int valid_images, uint64_t seed)
{
    static const char *const trainers[] = {"deepkd", "dot", "sgd"};
    const deepkd *kd = r->kd[0];
    const deepkd_options *o = &kd->options;
    char groups[256];
    describe_groups(kd, groups, sizeof(groups));
    for (const teacher *t = kd->teacher; t; t = t->next) {
        print_teacher(t);
        print_precision("teacher", t->net, t->arithmetic);
    }
    print_ensemble(kd->teacher);
    print_size("student", kd->net);
    print_precision("student", kd->net, kd->arithmetic);
    print_loss(kd);
    printf("trainer %s, momentum groups: %s\n", trainers[o->trainer], groups);
    if (gsnr_interval(kd))
        printf("gsnr: measured every %d batches, momenta %s\n", gsnr_interval(kd),
               o->momentum_rule == RULE_GSNR ? "follow it" : "do not follow it");
    if (is_detector(&kd->outputs)) print_rows(kd);
    print_schedule(kd);
    print_gpus(r);
    print_cores(kd);
    printf("%d training images, ", train->n);
    if (train->unlabelled) printf("%d of them without labels, ", train->unlabelled);
    printf("%d validation images, batch %ld, %d batches, seed %llu\n", valid_images,
           images_per_batch(kd->net), kd->net->max_batches, (unsigned long long)seed);
}

void announce_teachers(const teacher *first, const validation *v, const char *list)
{
    evaluation result;
    char scores[128];
    if (v->is_detector && !v->with_map)
        return; /* its loss, with other heads, would not compare */
    for (const teacher *t = first; t; t = t->next) {
        if (!validate(v, t->net, &t->outputs, &result)) return;
        format_scores(&result, scores, sizeof(scores));
        printf("teacher: %s on %s\n", scores, list);
    }
}
