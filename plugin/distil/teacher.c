/* See teacher.h. */
#include "distil/teacher.h"
#include "cpu/cores.h"
#include "cpu/ranks.h"
#include "distil/teacher_gpu.h"
#include "net/device.h"
#include "net/parameters.h"
#include "net/pass_through.h"
#include "net/strict.h"
#include "options.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

static const option teacher_options[] = {
    {"cfg", OPTION_TEXT, offsetof(teacher, cfg), 0, 0, 0},
    {"weights", OPTION_TEXT, offsetof(teacher, weights), 0, 0, 0},
    {"model", OPTION_TEXT, offsetof(teacher, model), 0, 0, 0},
    {"mean", OPTION_NUMBERS, offsetof(teacher, form.mean), -1e6, 1e6, 0},
    {"std", OPTION_NUMBERS, offsetof(teacher, form.std), 1e-6, 1e6, 0},
    {"outputs", OPTION_CHOICE, offsetof(teacher, form.has_probabilities), 0, 0,
     "logits|probabilities"},
    {"resize", OPTION_INT, offsetof(teacher, resize), 0, 1, 0},
    {"precision", OPTION_CHOICE, offsetof(teacher, precision), 0, 0, TEACHER_PRECISIONS},
    {0},
};

static void release_teacher_layer(layer l)
{
    teacher *t = l.plugin;
    if (on_gpu(t->student) && t->gpu) release_teacher_gpu(t);
    if (t->net) detach_cores(t->net);
    if (t->net) free_network(t->net);
    free(t->input);
    free(t->outputs.layer);
    free(t->file);
    free(t->cfg);
    free(t->weights);
    free(t->model);
    free(t);
}

/* Inference needs no gradients; without a delta, forward_network need not clear it either. */
static void drop_training_buffers(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer *l = net->layers + i;
        if (on_gpu(net)) drop_from_gpu(net, l);
        if (l->type == YOLO || l->type == REGION) continue; /* their forward clears it */
        int is_copy = l->type == BLANK; /* of its output layer, in a student that teaches */
        if (l->type != DROPOUT && !is_copy)
            free(l->delta); /* a [dropout]'s is its neighbour's */
        if (!is_copy) {
            free(l->weight_updates);
            free(l->bias_updates);
            free(l->scale_updates);
            free(l->activation_input);
        }
        l->delta = l->weight_updates = l->bias_updates = l->scale_updates = 0;
        l->activation_input = 0;
    }
}

/* The teacher follows its student's size, when its cfg says so. */
static void follow_student(teacher *t)
{
    if (!t->resize || (t->net->w == t->student->w && t->net->h == t->student->h)) return;
    if (on_gpu(t->net) && t->gpu) unshare_outputs(t);
    resize_network(t->net, t->student->w, t->student->h);
    drop_training_buffers(t->net);
    if (on_gpu(t->net) && t->gpu) share_outputs(t);
}

static void resize_teacher_layer(layer *l, network *net)
{
    teacher *t = l->plugin;
    resize_pass_through(l, net);
    if (t->net) follow_student(t);
}

/* A model has all that a cfg and weights say, at one size. */
static void name_model(teacher *t)
{
    if (t->cfg || t->weights || t->resize || t->precision)
        kd_fail("%s: [teacher] model=%s: expected neither cfg=, weights=, resize=1 nor another "
                "precision than float32 beside it",
                t->file, t->model);
    t->cfg = kd_copy(t->model);
}

/* A cfg says itself what its network is given and gives. */
static void refuse_form(const teacher *t)
{
    if (t->form.mean.n || t->form.std.n || t->form.has_probabilities)
        kd_fail("%s: [teacher] found %s=: expected it with model= alone", t->file,
                t->form.mean.n  ? "mean"
                : t->form.std.n ? "std"
                                : "outputs");
}

layer parse_teacher(list *options, network *net, int index, char *cfgfile)
{
    if (index < 1 || index > net->n - 2 || index < net->n - 1 - KD_MOST_TEACHERS)
        kd_fail("%s: [teacher] is layer %d of %d: expected it, or up to %d, right before "
                "[deepkd_loss] at the end of the file",
                cfgfile, index, net->n, KD_MOST_TEACHERS);
    teacher *t = kd_calloc(1, sizeof(*t));
    t->lane = 1;
    t->parts = DEFAULT_PARTS;
    read_options(cfgfile, "[teacher]", options, teacher_options, t);
    t->file = kd_copy(cfgfile);
    if (t->model) name_model(t);
    else refuse_form(t);
    t->student = net;
    layer l = make_pass_through_layer(net, index, forward_teacher_layer);
    l.plugin = t;
    l.release = release_teacher_layer;
    l.resize = resize_teacher_layer;
    fprintf(stderr, "%5d teacher %s\n", index, t->cfg ? t->cfg : "");
    return l;
}

static int is_teacher(const network *net, int i)
{
    return net->layers[i].forward == forward_teacher_layer;
}

teacher *join_teachers(const network *net, int index, const char *cfg)
{
    teacher *first = 0;
    int i = index - 1;
    for (; i > 0 && is_teacher(net, i); --i) {
        teacher *t = net->layers[i].plugin;
        t->next = first;
        if (first) first->is_led = 1;
        first = t;
    }
    if (!first) kd_fail("%s: found no [teacher] right before [deepkd_loss]", cfg);
    for (; i > 0; --i)
        if (is_teacher(net, i))
            kd_fail("%s: [teacher] is layer %d of %d: expected it right before [deepkd_loss], "
                    "or another [teacher]",
                    cfg, i, net->n);
    return first;
}

/* The ensemble as what it is averaged by; returns how many there are */
static int list_members(const teacher *first, ensemble_member members[KD_MOST_TEACHERS])
{
    int n = 0;
    for (const teacher *t = first; t; t = t->next)
        members[n++] = (ensemble_member){t->net, t->outputs, t->cfg};
    return n;
}

void check_teachers(const teacher *first)
{
    ensemble_member members[KD_MOST_TEACHERS];
    check_ensemble(members, list_members(first, members));
    for (const teacher *t = first->next; t; t = t->next)
        if (t->resize != first->resize && is_detector(&t->outputs))
            kd_fail("%s: [teacher] found resize=%d for %s, and %d for %s: expected the same",
                    t->file, first->resize, first->cfg, t->resize, t->cfg);
}

/* 1 when a layer keeps more of each image in inference than its output and [maxpool]'s indexes.
 */
static int has_scratch(const network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == CROP || l.type == NORMALIZATION || l.type == L2NORM || l.xnor) return 1;
    }
    return 0;
}

/*
 * With the student's batch; on the GPU, where all of a network's outputs and deltas would be
 * there at once, with one image, to which teacher_gpu.c adds what a batch really needs.
 */
static void make_network(teacher *t)
{
    if (t->model) {
        if (on_gpu(t->student))
            kd_fail("%s: [teacher] model=%s runs on the CPU alone: expected -nogpu", t->file,
                    t->model);
        t->own_batch = t->student->batch;
        t->net = make_onnx_network(t->model, t->own_batch, &t->form);
        t->net->letter_box = t->student->letter_box;
        return;
    }
    t->own_batch = on_gpu(t->student) && !t->is_cached ? 1 : t->student->batch;
    t->net = parse_strictly(t->cfg, t->own_batch, 0);
    if (t->own_batch == t->student->batch || !has_scratch(t->net)) return;
    free_network(t->net);
    t->own_batch = t->student->batch;
    t->net = parse_strictly(t->cfg, t->own_batch, 0);
}

void load_teacher(teacher *t, char *weights)
{
    network *student = t->student;
    char *cfg = t->cfg;
    t->arithmetic = t->is_cached /* it does not run */
                        ? asked_arithmetic(t->precision)
                        : find_precision(t->precision, student, t->file, "[teacher]");
    make_network(t);
    if (t->net->inputs != t->net->w * t->net->h * t->net->c)
        kd_fail("%s: [net] inputs=%d: expected width x height x channels", cfg, t->net->inputs);
    if (t->net->c != student->c)
        kd_fail("%s: channels=%d: expected %d, as the student's", cfg, t->net->c, student->c);
    t->outputs = find_outputs(t->net, cfg);
    if (is_detector(&t->outputs) && t->net->letter_box != student->letter_box)
        kd_fail("%s: [net] letter_box=%d: expected %d, as the student's, for both see the same "
                "images",
                cfg, t->net->letter_box, student->letter_box);
    if (t->resize && !is_resizable(t->net))
        kd_fail("%s: found a layer that Darknet cannot resize: expected [teacher] resize=0",
                cfg);
    if (weights) load_whole_weights(t->net, weights, 0);
    drop_training_buffers(t->net);
    follow_student(t);
    if (t->is_cached || t->model) return;
    if (on_gpu(student)) attach_teacher_gpu(t);
    else
        attach_cores(t->net, &t->outputs, t->arithmetic == BFLOAT16 ? BFLOAT16 : FLOAT32,
                     t->parts);
}

/* The student's images, this rank's, each resized to the teacher's input. */
static void resize_images(teacher *t)
{
    network *from = t->student, *to = t->net;
    if (!t->input) t->input = kd_calloc((size_t)to->inputs * to->batch, sizeof(float));
    range own = own_range(from->batch);
    for (int b = own.first; b < own.end; ++b) {
        image im =
            float_to_image(from->w, from->h, from->c, from->input + (size_t)b * from->inputs);
        image resized = resize_image(im, to->w, to->h);
        memcpy(t->input + (size_t)b * to->inputs, resized.data, to->inputs * sizeof(float));
        free_image(resized);
    }
}

static void predict_alone(teacher *t)
{
    int same = t->net->w == t->student->w && t->net->h == t->student->h;
    if (!same) resize_images(t);
    network_predict(t->net, same ? t->student->input : t->input);
}

/* With its ensemble */
static void predict(teacher *first)
{
    ensemble_member members[KD_MOST_TEACHERS];
    for (teacher *t = first; t; t = t->next) predict_alone(t);
    int n = list_members(first, members);
    check_ensemble(members, n); /* a new size may give other grids */
    average_ensemble(members, n, first->rule);
}

void forward_teacher_layer(layer l, network net)
{
    teacher *t = l.plugin;
    if (!t->net || t->is_led || t->idle || t->has_run || t->is_cached || !net.train) return;
    if (on_gpu(t->net)) finish_teacher_gpu(t);
    else predict(t);
}

void run_teacher(teacher *t, float *images)
{
    float *own_input = t->student->input;
    t->student->input = images;
    if (on_gpu(t->net)) run_teacher_gpu(t);
    else predict(t);
    t->student->input = own_input;
}
