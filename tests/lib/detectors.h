/*
 * Small detectors for the tests: their cfg files, images of noise with random truth boxes, and
 * what Darknet's own forward pass has made of those.
 */
#ifndef DETECTORS_H
#define DETECTORS_H

#include "nets.h"

#define MAX_HEADS 3

/* Heads on one trunk of convolutions; each has the cells of its stride. */
typedef struct {
    int batch, width, height, classes;
    const char *anchors; /* of all heads: pixels; of a [region]: cells */
    struct {
        int stride;       /* 8, 16 or 32 */
        const char *mask; /* NULL: a [region] with all anchors */
    } heads[MAX_HEADS];   /* up to a stride of 0 */
    const char *options;  /* lines of every head */
} detector;

static inline int count_commas(const char *text)
{
    int n = 0;
    for (; *text; ++text) n += *text == ',';
    return n;
}

static inline void print_head(FILE *to, const detector *d, int stride, const char *mask)
{
    int layer = stride == 8    ? 1
                : stride == 16 ? 2
                               : 3,
        num = (count_commas(d->anchors) + 1) / 2;
    int anchors = mask ? count_commas(mask) + 1 : num;
    fprintf(to, "[route]\nlayers=%d\n[convolutional]\nsize=1\nactivation=linear\nfilters=%d\n",
            layer, anchors * (5 + d->classes));
    if (mask) fprintf(to, "[yolo]\nmask=%s\n", mask);
    else fprintf(to, "[region]\n");
    fprintf(to, "anchors=%s\nnum=%d\nclasses=%d\n%s", d->anchors, num, d->classes,
            d->options ? d->options : "");
}

/* The cfg's text, with `more` at its end; free it. */
static inline char *detector_cfg(const detector *d, const char *more)
{
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    fprintf(to, "[net]\nbatch=%d\nwidth=%d\nheight=%d\nchannels=3\nmax_batches=100\n", d->batch,
            d->width, d->height);
    for (int i = 0; i < 4; ++i)
        fprintf(to, "[convolutional]\nfilters=6\nsize=3\npad=1\nstride=%d\nactivation=tanh\n",
                i ? 2 : 4);
    for (int i = 0; i < MAX_HEADS && d->heads[i].stride; ++i)
        print_head(to, d, d->heads[i].stride, d->heads[i].mask);
    fprintf(to, "%s", more);
    fclose(to);
    return text;
}

/*
 * Whole detectors, of every layer type that YOLO's cfgs have, in short: a line a layer; @ is
 * the larger layers' activation and batch norm, $ the heads' options. For 32 x 32 pixels they
 * have 4 x 4 cells, and yolo_layers 8 x 8 more.
 */
#define YOLO_ANCHORS "anchors=4,6,8,5,7,12,14,10,11,24,28,22"
static const char yolo_layers[] =
    "[convolutional] filters=6 size=3 stride=2 pad=1 @ "
    "[maxpool] size=2 stride=2 "
    "[convolutional] filters=6 size=3 pad=1 @ "
    "[convolutional] filters=6 size=1 activation=linear "
    "[shortcut] from=-2 activation=linear "
    "[convolutional] filters=8 size=3 stride=2 pad=1 activation=logistic "
    "[convolutional] filters=27 size=1 activation=linear "
    "[yolo] mask=3,4,5 num=6 classes=4 max=8 " YOLO_ANCHORS " $ "
    "[route] layers=-3 "
    "[convolutional] filters=4 size=1 activation=tanh "
    "[upsample] stride=2 "
    "[route] layers=-1,4 "
    "[convolutional] filters=6 size=3 pad=1 @ "
    "[convolutional] filters=27 size=1 activation=linear "
    "[yolo] mask=0,1,2 num=6 classes=4 max=8 " YOLO_ANCHORS " $ ";

/* The same of YOLOv4's: parts of channels, gates, and heads that say more */
static const char yolo4_layers[] =
    "[convolutional] filters=6 size=3 stride=2 pad=1 @ "
    "[maxpool] size=2 stride=2 "
    "[convolutional] filters=8 size=3 pad=1 @ "
    "[route] layers=-1 groups=2 group_id=1 "
    "[convolutional] filters=4 size=3 pad=1 @ "
    "[convolutional] filters=4 size=1 activation=logistic "
    "[sam] from=-2 "
    "[route] layers=-1,-3 "
    "[avgpool] "
    "[convolutional] filters=8 size=1 activation=logistic "
    "[scale_channels] from=-3 "
    "[convolutional] filters=8 size=3 stride=2 pad=1 activation=swish "
    "[convolutional] filters=27 size=1 activation=logistic "
    "[yolo] mask=3,4,5 num=6 classes=4 max=8 scale_x_y=2 new_coords=1 " YOLO_ANCHORS " $ "
    "[route] layers=4 "
    "[convolutional] filters=27 size=1 activation=linear "
    "[yolo] mask=0,1,2 num=6 classes=4 max=8 scale_x_y=1.05 " YOLO_ANCHORS " $ ";

#define REGION_ANCHORS "anchors=1,1.5,2.4,1.1,2.2,2.9"
static const char region_layers[] =
    "[convolutional] filters=6 size=3 stride=2 pad=1 @ "
    "[maxpool] size=2 stride=2 "
    "[convolutional] filters=4 size=3 pad=1 @ "
    "[convolutional] filters=8 size=3 stride=2 pad=1 @ "
    "[route] layers=2 "
    "[reorg] stride=2 "
    "[route] layers=-1,3 "
    "[convolutional] filters=6 size=3 pad=1 @ "
    "[convolutional] filters=27 size=1 activation=linear "
    "[region] num=3 classes=4 coords=4 max=8 " REGION_ANCHORS " $ ";

typedef struct {
    int batch, size;
    const char *net; /* more lines of [net] */
    const char *layers, *conv, *head;
} whole_detector;

/* The cfg's text, with `more` at its end; free it. */
static inline char *whole_cfg(const whole_detector *d, const char *more)
{
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    fprintf(to, "[net]\nbatch=%d\nwidth=%d\nheight=%d\nchannels=3\nmax_batches=100\n%s",
            d->batch, d->size, d->size, d->net);
    for (const char *at = d->layers; *at; ++at) {
        if (*at == '@') fputs(d->conv, to);
        else if (*at == '$') fputs(d->head, to);
        else fputc(*at == ' ' ? '\n' : *at, to);
    }
    fputs(more, to);
    fclose(to);
    return text;
}

/* A student and its teacher as `distill` would pair them; `loss`: lines of [deepkd_loss] */
static inline deepkd *make_whole(const whole_detector *student, const whole_detector *teacher,
                                 const char *loss, unsigned int seed)
{
    char *tail = join("[teacher]\n[deepkd_loss]\n", loss, "");
    char *cfg = whole_cfg(student, tail), *other = whole_cfg(teacher, "");
    deepkd *kd = make_pair(cfg, other, seed);
    free(tail), free(cfg), free(other);
    return kd;
}

/* A student's spec and its teacher's as `distill` would pair them. */
static inline deepkd *make_detectors(const detector *student, const detector *teacher,
                                     const char *loss, unsigned int seed)
{
    char *cfg = detector_cfg(student, "[teacher]\n[deepkd_loss]\n");
    char *both = join(cfg, loss, ""), *other = detector_cfg(teacher, "");
    deepkd *kd = make_pair(both, other, seed);
    free(cfg), free(both), free(other);
    return kd;
}

/* ---- truths ------------------------------------------------------------ */

static inline float *truth_of(network *net, int b, int t)
{
    return net->truth + (size_t)b * net->truths + 5 * t;
}

static inline void set_truth(network *net, int b, int t, box where, int class)
{
    const float numbers[] = {where.x, where.y, where.w, where.h, class};
    memcpy(truth_of(net, b, t), numbers, sizeof(numbers));
}

/* An image's truths: as many boxes as it can have, spread over all sizes. */
static inline void fill_boxes(float *truth, int most, int classes)
{
    for (int t = 0; t < most; ++t) {
        float size = .1 + .8 * t / most;
        float box[] = {rand_uniform(.01, .99), rand_uniform(.01, .99),
                       size * rand_uniform(.6, 1), size * rand_uniform(.6, 1),
                       rand() % classes};
        memcpy(truth + 5 * t, box, sizeof(box));
    }
}

static inline void fill_full_scenes(network *net, int classes, unsigned int seed)
{
    srand(seed);
    fill_uniform(net->input, (size_t)net->inputs * net->batch, -1, 1);
    for (int b = 0; b < net->batch; ++b)
        fill_boxes(truth_of(net, b, 0), net->truths / 5, classes);
}

/* A pair with truths in every image, in its third batch, so that warmup and schedule count */
static inline deepkd *start_whole(const whole_detector *student, const whole_detector *teacher,
                                  const char *loss, unsigned int seed)
{
    deepkd *kd = make_whole(student, teacher, loss, seed);
    fill_full_scenes(kd->net, 4, seed + 1);
    *kd->net->seen = 3L * kd->net->batch * kd->net->subdivisions;
    return kd;
}

/* A forward pass in training that leaves nothing but its losses and deltas. */
static inline void forward_whole(deepkd *kd)
{
    memset(kd->loss, 0, sizeof(kd->loss));
    kd->images = 0;
    kd->net->train = 1;
    forward_network(kd->net);
    assert_false(kd->broken);
}

/* A box that lies in the image; of any size, now and then in a corner or as large as it. */
static inline box random_box(void)
{
    box b = {0, 0, exp(rand_uniform(log(.01), 0)), exp(rand_uniform(log(.01), 0))};
    b.x = rand_uniform(b.w / 2, 1 - b.w / 2);
    b.y = rand_uniform(b.h / 2, 1 - b.h / 2);
    switch (rand() % 14) {
    case 0: return (box){.5, .5, 1, 1};
    case 1: return (box){1, b.y, .002, b.h};
    case 2: return (box){b.x, 1, b.w, .002};
    case 3: return (box){.9999, .9999, b.w, b.h};
    case 4: return (box){1e-4, 0, .001, .001};
    case 5: return (box){0, b.y, b.w, b.h}; /* ends the list */
    default: return b;
    }
}

/* Images of noise; in each up to `most` boxes, some of them twice, of `classes` classes. */
static inline void fill_scenes(network *net, int most, int classes, unsigned int seed)
{
    srand(seed);
    fill_uniform(net->input, (size_t)net->inputs * net->batch, -1, 1);
    memset(net->truth, 0, (size_t)net->truths * net->batch * sizeof(float));
    for (int b = 0; b < net->batch; ++b) {
        int n = rand() % (most + 1);
        for (int t = 0; t < n; ++t) {
            set_truth(net, b, t, random_box(), rand() % classes);
            if (t && rand() % 3 == 0) /* the same place and shape, of any class */
                memcpy(truth_of(net, b, t), truth_of(net, b, rand() % t), 4 * sizeof(float));
        }
    }
}

#endif
