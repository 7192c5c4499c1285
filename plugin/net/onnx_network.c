/* See onnx_network.h. */
#include "net/onnx_network.h"
#include "net/onnx_model.h"
#include "net/device.h"
#include "support.h"

#include "network.h"
#include "softmax_layer.h"
#include "yolo_layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* How many cells a box's middle can be away from its own */
#define REACH 16
#define SCALE_X_Y (2 * REACH + 1)
#define LEVELS 3
#define CELL(level) (8 << (level)) /* pixels */
#define ANCHOR 4                   /* cells */

/* What the layers of one network share */
typedef struct {
    onnx_model *model;
    onnx_shape shape;
    onnx_form form;
    float *images; /* [batch][c][h][w] as the model wants them; NULL if they stay as they are */
    float *raw;    /* [batch][rows][columns] */
} onnx_source;

/* One layer's */
typedef struct {
    onnx_source *source;
    int first; /* of the model's boxes */
} onnx_head;

static float logit(float p)
{
    const float least = 1e-7f;
    p = fminf(fmaxf(p, least), 1 - least);
    return logf(p / (1 - p));
}

static void run_model(const onnx_source *s, const network *net)
{
    size_t pixels = (size_t)s->shape.h * s->shape.w;
    for (size_t i = 0; s->images && i < (size_t)net->batch * net->inputs; ++i) {
        int c = i / pixels % s->shape.c;
        s->images[i] = (net->input[i] - s->form.mean.x[c]) / s->form.std.x[c];
    }
    run_onnx(s->model, s->images ? s->images : net->input, net->batch, s->raw);
}

static void forward_classes(layer l, network net)
{
    const onnx_source *s = ((onnx_head *)l.plugin)->source;
    run_model(s, &net);
    for (int i = 0; i < l.batch * l.outputs; ++i)
        l.output[i] = s->form.has_probabilities ? logf(fmaxf(s->raw[i], 1e-30f)) : s->raw[i];
}

/* A box of the model, its numbers `boxes` apart, to cell (i, j) of a head, whose numbers are
 * `cells` apart */
static void fill_cell(const onnx_source *s, layer l, const float *from, int i, int j, float *to)
{
    int boxes = s->shape.columns, cells = l.out_w * l.out_h;
    float cell_w = (float)s->shape.w / l.out_w, cell_h = (float)s->shape.h / l.out_h, best = 0;
    to[0] = logit((from[0] / cell_w - i + REACH) / SCALE_X_Y);
    to[cells] = logit((from[boxes] / cell_h - j + REACH) / SCALE_X_Y);
    to[2 * cells] = logf(fmaxf(from[2 * boxes], 1e-3f) / (ANCHOR * cell_w));
    to[3 * cells] = logf(fmaxf(from[3 * boxes], 1e-3f) / (ANCHOR * cell_h));
    for (int k = 4; k < s->shape.rows; ++k) {
        to[(k + 1) * cells] = logit(from[k * boxes]);
        best = fmaxf(best, from[k * boxes]);
    }
    to[4 * cells] = logit(best);
}

/* The first one's runs the model. */
static void forward_grid(layer l, network net)
{
    const onnx_head *h = l.plugin;
    const onnx_source *s = h->source;
    size_t of_image = (size_t)s->shape.rows * s->shape.columns;
    if (!h->first) run_model(s, &net);
    for (int b = 0; b < l.batch; ++b)
        for (int j = 0; j < l.out_h; ++j)
            for (int i = 0; i < l.out_w; ++i) {
                int cell = j * l.out_w + i;
                fill_cell(s, l, s->raw + b * of_image + h->first + cell, i, j,
                          l.output + (size_t)b * l.outputs + cell);
            }
}

static void release_head(layer l)
{
    onnx_head *h = l.plugin;
    if (!h->first) {
        close_onnx(h->source->model);
        free(h->source->images);
        free(h->source->raw);
        free(h->source);
    }
    free(h);
    free(l.output);
}

static layer make_head(onnx_source *s, int first, int batch, int w, int h, int c)
{
    onnx_head *head = kd_calloc(1, sizeof(*head));
    *head = (onnx_head){s, first};
    layer l = {.type = BLANK, .batch = batch, .inputs = s->shape.c * s->shape.h * s->shape.w};
    l.out_w = w;
    l.out_h = h;
    l.out_c = c;
    l.outputs = w * h * c;
    l.output = kd_calloc((size_t)batch * l.outputs, sizeof(float));
    l.plugin = head;
    l.release = release_head;
    set_passes(&l, s->shape.columns ? forward_grid : forward_classes, 0);
    return l;
}

static void add_classifier(network *net, onnx_source *s)
{
    net->layers[0] = make_head(s, 0, net->batch, 1, 1, s->shape.rows);
    fprintf(stderr, "%5d ", 1);
    net->layers[1] = make_softmax_layer(net->batch, s->shape.rows, 1);
    net->layers[1].temperature = 1;
}

static void add_grids(network *net, onnx_source *s)
{
    int first = 0, fields = s->shape.rows + 1;
    for (int k = 0; k < LEVELS; ++k) {
        int w = net->w / CELL(k), h = net->h / CELL(k), *mask = kd_calloc(1, sizeof(int));
        *mask = k;
        fprintf(stderr, "%5d ", 2 * k + 1);
        layer l = make_yolo_layer(net->batch, w, h, 1, LEVELS, mask, fields - 5);
        for (int i = 0; i < 2 * LEVELS; ++i) l.biases[i] = ANCHOR * CELL(i / 2);
        l.scale_x_y = SCALE_X_Y;
        net->layers[2 * k] = make_head(s, first, net->batch, w, h, fields);
        net->layers[2 * k + 1] = l;
        first += w * h;
    }
}

/* How many boxes such a detector has; 0: the size is no multiple of the largest cell */
static int count_cells(const onnx_shape *shape)
{
    int n = 0;
    for (int k = 0; k < LEVELS; ++k) n += shape->w / CELL(k) * (shape->h / CELL(k));
    return shape->w % CELL(LEVELS - 1) || shape->h % CELL(LEVELS - 1) ? 0 : n;
}

static void check_shape(const char *file, const onnx_shape *shape, const onnx_form *form)
{
    if (shape->columns && (shape->rows < 5 || shape->columns != count_cells(shape)))
        kd_fail(
            "%s: its output is [batch, %d, %d]: expected [batch, classes], or [batch, 4 + "
            "classes, boxes] with a box for each cell of 8, 16 and 32 pixels of its %d x %d, "
            "%d of them",
            file, shape->rows, shape->columns, shape->w, shape->h, count_cells(shape));
    if (shape->columns && form->has_probabilities)
        kd_fail("%s: [teacher] outputs=probabilities: expected it of a classifier alone", file);
    if (form->mean.n != form->std.n || (form->mean.n && form->mean.n != shape->c))
        kd_fail(
            "%s: [teacher] found %d numbers of mean= and %d of std=, expected %d of both, one "
            "a channel",
            file, form->mean.n, form->std.n, shape->c);
}

network *make_onnx_network(const char *file, int batch, const onnx_form *form)
{
    onnx_source *s = kd_calloc(1, sizeof(*s));
    const onnx_shape *shape = &s->shape;
    s->model = open_onnx(file, &s->shape);
    s->form = *form;
    check_shape(file, shape, form);
    network *net = make_network(shape->columns ? 2 * LEVELS : 2);
    net->batch = batch;
    net->c = shape->c;
    net->h = shape->h;
    net->w = shape->w;
    net->inputs = net->c * net->h * net->w;
    net->gpu_index = -1;
    size_t numbers = (size_t)shape->rows * (shape->columns ? shape->columns : 1);
    s->raw = kd_calloc(batch * numbers, sizeof(float));
    if (form->mean.n) s->images = kd_calloc((size_t)batch * net->inputs, sizeof(float));
    if (shape->columns) add_grids(net, s);
    else add_classifier(net, s);
    const layer *last = net->layers + net->n - 1;
    net->output = last->output;
    net->outputs = last->outputs;
    net->truths = last->truths ? last->truths : last->outputs;
    return net;
}
