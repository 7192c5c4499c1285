/* See outputs.h. */
#include "net/outputs.h"
#include "net/device.h"
#include "support.h"

#include "region_layer.h"
#include "yolo_layer.h"

#include <string.h>

enum { OBJECTNESS = 4, FIRST_CLASS = 5 }; /* entries of a prediction, behind x, y, w, h */

int is_detector(const net_outputs *outputs)
{
    return outputs->type != SOFTMAX;
}

kd_activation native_activation(layer l)
{
    return l.type == SOFTMAX || (l.type == REGION && l.softmax) ? KD_SOFTMAX : KD_LOGISTIC;
}

static void check_softmax(layer l, const char *cfg)
{
    if (l.groups != 1 || l.softmax_tree)
        kd_fail("%s: [softmax] with groups=%d%s: expected one group and no tree", cfg, l.groups,
                l.softmax_tree ? " and a tree" : "");
}

static void check_region(layer l, const char *cfg)
{
    if (l.coords != 4) kd_fail("%s: [region] coords=%d: expected 4", cfg, l.coords);
    if (l.background || l.softmax_tree)
        kd_fail("%s: [region] with %s: expected plain classes", cfg,
                l.background ? "background=1" : "tree=");
}

/* Darknet takes these from the last head alone: none may ask for something else. */
static void check_agreement(network *net, const net_outputs *outputs, const char *cfg)
{
    layer last = net->layers[outputs->layer[outputs->n - 1]];
    for (int o = 0; o + 1 < outputs->n; ++o) {
        layer l = net->layers[outputs->layer[o]];
        const char *what = 0;
        if (l.type != last.type) what = "type";
        else if (l.classes != last.classes) what = "classes";
        else if (l.total != last.total ||
                 memcmp(l.biases, last.biases, 2 * l.total * sizeof(float)))
            what = "anchors";
        else if (l.map_size != last.map_size ||
                 (l.map && memcmp(l.map, last.map, l.map_size * sizeof(int))))
            what = "map";
        else if (l.softmax != last.softmax) what = "softmax";
        else if (l.max_boxes != last.max_boxes) what = "max";
        else if (l.jitter != last.jitter) what = "jitter";
        else if (l.random && !last.random) what = "random";
        else if (l.nms_exponent != last.nms_exponent) what = "nms_kind";
        if (what)
            kd_fail("%s: layers %d and %d: found another %s in each, expected the same in all "
                    "detection layers",
                    cfg, outputs->layer[o], outputs->layer[outputs->n - 1], what);
    }
}

net_outputs find_outputs(network *net, const char *cfg)
{
    net_outputs outputs = {0};
    int last = net->n - 1;
    while (last > 0 && (net->layers[last].type == COST || net->layers[last].type == BLANK))
        --last;
    layer l = net->layers[last];
    outputs.type = l.type;
    outputs.layer = kd_calloc(net->n, sizeof(int));
    if (last == 0 || (l.type != SOFTMAX && l.type != YOLO && l.type != REGION))
        kd_fail(
            "%s: found no [softmax], [yolo] or [region] as the network's output: expected a "
            "classifier or a detector",
            cfg);
    for (int i = 1; i <= last; ++i) {
        LAYER_TYPE type = net->layers[i].type;
        if (i == last || (l.type != SOFTMAX && (type == YOLO || type == REGION)))
            outputs.layer[outputs.n++] = i;
    }
    outputs.classes = l.type == SOFTMAX ? l.inputs : l.classes;
    if (l.type == SOFTMAX) check_softmax(l, cfg);
    check_agreement(net, &outputs, cfg);
    for (int o = 0; o < outputs.n && l.type == REGION; ++o)
        check_region(net->layers[outputs.layer[o]], cfg);
    return outputs;
}

float *output_logits(network *net, const net_outputs *outputs, int o)
{
    return net->layers[outputs->layer[o] - 1].output;
}

void pull_logits(network *net, const net_outputs *outputs)
{
    for (int o = 0; o < outputs->n; ++o) {
        int logits = outputs->layer[o] - 1;
        layer l = net->layers[logits];
        device_pull(net, (size_t)l.batch * l.outputs, layer_output(net, logits), l.output);
    }
}

prediction find_prediction(network *net, const net_outputs *outputs, int o, int b, int n, int i,
                           int j)
{
    layer l = net->layers[outputs->layer[o]];
    size_t image = (size_t)b * l.inputs;
    if (!is_detector(outputs)) return (prediction){o, b, 0, 0, 0, image, 1};
    int cells = l.w * l.h;
    size_t first = image + (size_t)n * cells * (FIRST_CLASS + l.classes) + j * l.w + i;
    return (prediction){o,    b, i, j, first + OBJECTNESS * cells, first + FIRST_CLASS * cells,
                        cells};
}

box anchor_in_pixels(network *net, const net_outputs *outputs, int o, int n)
{
    layer l = net->layers[outputs->layer[o]];
    if (l.type == YOLO)
        return (box){0, 0, l.biases[2 * l.mask[n]], l.biases[2 * l.mask[n] + 1]};
    return (box){0, 0, l.biases[2 * n] * net->w / l.w, l.biases[2 * n + 1] * net->h / l.h};
}

int assign_box(network *net, const net_outputs *outputs, int o, int b, box truth, prediction *p)
{
    layer l = net->layers[outputs->layer[o]];
    int i, j;
    int n = l.type == YOLO ? yolo_assignment(l, truth, net->w, net->h, &i, &j)
                           : region_assignment(l, b, truth, &i, &j);
    if (n < 0) return 0;
    *p = find_prediction(net, outputs, o, b, n, i, j);
    return 1;
}

int fit_box(network *net, const net_outputs *outputs, int o, int b, box truth, int n,
            prediction *p)
{
    layer l = net->layers[outputs->layer[o]];
    int i, j;
    if (l.type != YOLO || !yolo_fits_shape(l, truth, n, net->w, net->h)) return 0;
    int best = yolo_assignment(l, truth, net->w, net->h, &i, &j);
    if (best == -2 || best == n) return 0;
    *p = find_prediction(net, outputs, o, b, n, i, j);
    return 1;
}

/* Its anchor, of the layer's own */
static int anchor_of(layer l, prediction p)
{
    return (p.objectness - (size_t)p.image * l.inputs) /
           ((FIRST_CLASS + l.classes) * l.w * l.h);
}

box predicted_box(network *net, const net_outputs *outputs, prediction p)
{
    layer l = net->layers[outputs->layer[p.output]];
    return get_yolo_box(l, anchor_of(l, p), p.objectness - OBJECTNESS * p.stride, p.i, p.j,
                        net->w, net->h);
}

kd_box_place box_place(network *net, const net_outputs *outputs, prediction p)
{
    layer l = net->layers[outputs->layer[p.output]];
    box anchor = anchor_in_pixels(net, outputs, p.output, anchor_of(l, p));
    return (kd_box_place){.i = p.i,
                          .j = p.j,
                          .columns = l.w,
                          .rows = l.h,
                          .anchor_w = anchor.w / net->w,
                          .anchor_h = anchor.h / net->h,
                          .scale = l.type == YOLO ? l.scale_x_y : 1,
                          .new_coords = l.new_coords};
}

int is_resizable(network *net)
{
    static const LAYER_TYPE types[] = {
        CONVOLUTIONAL, CROP,          MAXPOOL,        REGION, YOLO,  ROUTE,
        SHORTCUT,      SAM,           UPSAMPLE,       REORG,  BLANK, NORMALIZATION,
        CHANNEL_POOL,  LOCAL_AVGPOOL, MULTI_SHORTCUT, SHUFFLE};
    for (int i = 0; i < net->n; ++i) {
        size_t k = 0, n = sizeof(types) / sizeof(*types);
        while (k < n && net->layers[i].type != types[k]) ++k;
        if (k == n) return 0;
    }
    return 1;
}
