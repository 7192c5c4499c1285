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

layer parse_teacher(list *options, network *net, int index, char *cfgfile)
{
    if (index < 1 || index != net->n - 2)
        kd_fail(
            "%s: [teacher] is layer %d of %d: expected it, once, right before [deepkd_loss] "
            "at the end of the file",
            cfgfile, index, net->n);
    teacher *t = kd_calloc(1, sizeof(*t));
    t->lane = 1;
    t->parts = DEFAULT_PARTS;
    read_options(cfgfile, "[teacher]", options, teacher_options, t);
    t->file = kd_copy(cfgfile);
    t->student = net;
    layer l = make_pass_through_layer(net, index, forward_teacher_layer);
    l.plugin = t;
    l.release = release_teacher_layer;
    l.resize = resize_teacher_layer;
    fprintf(stderr, "%5d teacher %s\n", index, t->cfg ? t->cfg : "");
    return l;
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
    if (t->is_cached) return;
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

static void predict(teacher *t)
{
    int same = t->net->w == t->student->w && t->net->h == t->student->h;
    if (!same) resize_images(t);
    network_predict(t->net, same ? t->student->input : t->input);
}

void forward_teacher_layer(layer l, network net)
{
    teacher *t = l.plugin;
    if (!t->net || t->idle || t->has_run || t->is_cached || !net.train) return;
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
