/* See detect.h. */
#include "run/detect.h"

#include <math.h>

/*
 * Darknet counts the boxes above a threshold, then writes those not below it: NaN is only in
 * the second.
 */
static int has_finite_outputs(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type != YOLO && l.type != REGION) continue;
        for (int j = 0; j < l.outputs; ++j)
            if (!isfinite(l.output[j])) return 0;
    }
    return 1;
}

/* In pixels of an image of w x h, left, top, width and height, inside it; as print_cocos. */
static ap_box clip_box(box b, int w, int h)
{
    float left = b.x - b.w / 2., right = b.x + b.w / 2.;
    float top = b.y - b.h / 2., bottom = b.y + b.h / 2.;
    if (left < 0) left = 0;
    if (top < 0) top = 0;
    if (right > w) right = w;
    if (bottom > h) bottom = h;
    return (ap_box){.x = left, .y = top, .w = right - left, .h = bottom - top};
}

int detect_boxes(network *net, int width, int height, long image, float threshold, float nms,
                 ap_boxes *list)
{
    layer last = net->layers[net->n - 1];
    int n = 0, classes = last.classes;
    if (!has_finite_outputs(net)) return 0;
    detection *found = get_network_boxes(net, width, height, threshold, 0, 0, 0, &n);
    if (nms > 0) do_nms_kind(found, n, classes, nms, last.nms_exponent);
    for (int i = 0; i < n; ++i) {
        ap_box box = clip_box(found[i].bbox, width, height);
        box.image = image;
        for (box.class = 0; box.class < classes; ++box.class) {
            box.score = found[i].prob[box.class];
            if (box.score > 0 && box.w > 0 && box.h > 0) ap_append(list, box);
        }
    }
    free_detections(found, n);
    return 1;
}

void write_detections(const ap_boxes *list, const int *categories, char *file)
{
    FILE *fp = open_atomic(file);
    fprintf(fp, "[");
    for (int i = 0; i < list->n; ++i) {
        ap_box b = list->boxes[i];
        fprintf(fp,
                "%s\n{\"image_id\":%ld, \"category_id\":%d, "
                "\"bbox\":[%.9g, %.9g, %.9g, %.9g], \"score\":%.9g}",
                i ? "," : "", b.image, categories[b.class], b.x, b.y, b.w, b.h, b.score);
    }
    fprintf(fp, "\n]\n");
    close_atomic(fp, file);
}
