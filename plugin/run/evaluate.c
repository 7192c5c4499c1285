/* See evaluate.h. */
#include "run/evaluate.h"
#include "cpu/ranks.h"
#include "data/loader.h"
#include "net/device.h"
#include "run/detect.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double merit(const evaluation *e)
{
    return e->by == METRIC_LOSS ? -e->loss : e->score[0];
}

/* How many classes come before the target: 0 is a hit. A logit that is no number comes before.
 */
static int rank_of(const float *logits, int classes, int target)
{
    int rank = 0;
    for (int j = 0; j < classes; ++j)
        if (logits[j] == logits[target]) rank += j < target;
        else rank += !(logits[j] < logits[target]);
    return rank;
}

static double cross_entropy(const float *logits, int classes, int target)
{
    double largest = logits[0], sum = 0;
    for (int j = 1; j < classes; ++j) largest = fmax(largest, logits[j]);
    for (int j = 0; j < classes; ++j) sum += exp(logits[j] - largest);
    return largest - logits[target] + log(sum);
}

int evaluate_classifier(network *net, const net_outputs *outputs, const image_list *list, int k,
                        int threads, const volatile sig_atomic_t *stop, evaluation *result,
                        float *all_logits)
{
    int classes = outputs->classes, done = 0;
    evaluation total = {METRIC_TOP1, 0, {0, 0}, k};
    loader *images = make_loader(list, net, net->batch, 0, threads, 0);
    start_loading(images, 0, net->w, net->h);
    while (done < list->n && !largest_of_ranks(!wait_for_images(images, stop))) {
        image_batch input = finish_loading(images);
        start_loading(images, done + net->batch, net->w, net->h);
        network_predict(net, input.images);
        pull_logits(net, outputs);
        for (int b = 0; b < net->batch && done < list->n; ++b, ++done) {
            const float *logits = output_logits(net, outputs, 0) + (size_t)b * classes;
            int target = list->targets[input.indices[b]];
            int rank = rank_of(logits, classes, target);
            total.score[0] += rank == 0;
            total.score[1] += rank < k;
            total.loss += cross_entropy(logits, classes, target);
            if (all_logits)
                memcpy(all_logits + (size_t)done * classes, logits, classes * sizeof(float));
        }
    }
    free_loader(images);
    if (done < list->n) return 0;
    *result = total;
    result->loss /= done;
    for (int i = 0; i < 2; ++i) result->score[i] /= done;
    return 1;
}

void free_found_boxes(found_boxes f)
{
    free(f.truths.boxes);
    free(f.found.boxes);
}

/* A teacher on the GPU has no memory left for the deltas that come with a loss. */
static int knows_loss(const network *net, const net_outputs *outputs)
{
    return layer_delta(net, outputs->layer[0]) != 0;
}

/* What Darknet's output layers say of the one image that the network has seen. */
static double detection_loss(network *net, const net_outputs *outputs, float *truth)
{
    network in = *net;
    size_t seen = (size_t)-1; /* beyond the first images, to which [region] adds a loss */
    double loss = 0;
    in.train = 1;
    in.truth = truth;
    in.seen = &seen;
    for (int o = 0; o < outputs->n; ++o) {
        layer l = net->layers[outputs->layer[o]];
        in.index = outputs->layer[o];
        forward_layer(net, l, in);
        loss += *l.cost;
    }
    return loss / outputs->n;
}

static void append_truth(found_boxes *boxes, ap_box truth)
{
    if (boxes->map) truth.class = boxes->map[truth.class];
    ap_append(&boxes->truths, truth);
}

/* An image's labels as truths in pixels */
static void append_labels(found_boxes *boxes, image_labels labels, long image, int width,
                          int height)
{
    for (int i = 0; i < labels.n; ++i) {
        labelled_box b = labels.boxes[i];
        double w = (double)b.w * width, h = (double)b.h * height;
        append_truth(boxes, (ap_box){.image = image,
                                     .class = b.class,
                                     .x = (double)b.x * width - w / 2,
                                     .y = (double)b.y * height - h / 2,
                                     .w = w,
                                     .h = h});
    }
}

/* The known truths of the list's images: a list may have but some of them. */
static void append_known(found_boxes *boxes, const annotations *known, const image_list *list)
{
    long *ids = kd_calloc(list->n, sizeof(long));
    for (int i = 0; i < list->n; ++i) {
        ids[i] = coco_image_id(list->paths[i]);
        if (!has_image(known, ids[i]))
            kd_fail("%s: found no image %ld in annotations=, expected it there", list->paths[i],
                    ids[i]);
    }
    qsort(ids, list->n, sizeof(long), compare_ids);
    for (int i = 1; i < list->n; ++i)
        if (ids[i] == ids[i - 1])
            kd_fail("image %ld: found twice in the validation list, expected it once", ids[i]);
    for (int i = 0; i < known->truths.n; ++i) {
        ap_box truth = known->truths.boxes[i];
        if (bsearch(&truth.image, ids, list->n, sizeof(long), compare_ids))
            append_truth(boxes, truth);
    }
    free(ids);
}

static int keep_quiet(network *net, region_figures f)
{
    (void)net, (void)f;
    return 0;
}

/* Image i of what `net`, which has that one alone, has seen: adds its loss, and its boxes to
 * what has been found. */
static void evaluate_image(network *net, const net_outputs *outputs, const image_list *list,
                           const annotations *known, const image_batch *input, int i,
                           double *loss, found_boxes *boxes)
{
    int index = input->indices[i], width = input->sizes[2 * i],
        height = input->sizes[2 * i + 1];
    int takes_truths = !boxes || !boxes->map || net->layers[outputs->layer[0]].map;
    if (takes_truths && knows_loss(net, outputs))
        *loss += detection_loss(net, outputs, input->truths + (size_t)i * net->truths);
    else *loss = NAN;
    if (!boxes) return;
    long id = known ? coco_image_id(list->paths[index]) : index;
    if (!detect_boxes(net, width, height, id, DETECT_THRESHOLD, DETECT_NMS, &boxes->found))
        *loss = NAN;
    if (!known) append_labels(boxes, list->labels[index], id, width, height);
}

int evaluate_detector(network *net, const net_outputs *outputs, const image_list *list,
                      const annotations *known, int threads, const volatile sig_atomic_t *stop,
                      evaluation *result, found_boxes *boxes)
{
    int done = 0;
    int (*hook)(network *, region_figures) = region_hook;
    double loss = 0;
    if (boxes && known) append_known(boxes, known, list);
    region_hook = keep_quiet;
    layer *layers = kd_calloc(net->n, sizeof(layer));
    loader *images = make_loader(list, net, net->batch, 0, threads, 0);
    start_loading(images, 0, net->w, net->h);
    while (done < list->n && !largest_of_ranks(!wait_for_images(images, stop))) {
        image_batch input = finish_loading(images);
        start_loading(images, done + net->batch, net->w, net->h);
        gather_items(input.truths, input.n, input.n_truths * sizeof(float));
        gather_items(input.sizes, input.n, 2 * sizeof(int));
        network_predict(net, input.images);
        for (int i = 0; i < net->batch && done < list->n; ++i, ++done) {
            /* Darknet reads detections of one image, or of two flipped */
            network one = cut_network(net, i, 1, layers);
            evaluate_image(&one, outputs, list, known, &input, i, &loss, boxes);
        }
    }
    free_loader(images);
    free(layers);
    region_hook = hook;
    if (done < list->n) return 0;
    *result = (evaluation){METRIC_LOSS, isnan(loss) ? NAN : loss / done, {NAN, NAN}, 0};
    if (!boxes) return 1;
    ap_result ap = average_precision(&boxes->truths, &boxes->found, outputs->classes);
    result->by = METRIC_MAP;
    result->score[0] = ap.map50;
    result->score[1] = ap.map;
    free_ap_result(ap);
    return 1;
}

int validate(const validation *v, network *net, const net_outputs *outputs, evaluation *result)
{
    if (!v->is_detector)
        return evaluate_classifier(net, outputs, v->list, v->top, v->threads, v->stop, result,
                                   0);
    found_boxes boxes = {.map = v->map};
    int done = evaluate_detector(net, outputs, v->list, v->known, v->threads, v->stop, result,
                                 v->with_map ? &boxes : 0);
    free_found_boxes(boxes);
    return done;
}
