/* See anchors.h. */
#include "cli/anchors.h"
#include "cli/arguments.h"
#include "data/lists.h"
#include "data/loader.h"
#include "math/shapes.h"
#include "net/strict.h"
#include "support.h"

#include "darknet/decode.h"
#include "image.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    char *data, *cfg;
    int n, width, height;
    int letter_box; /* -1: not given */
} anchor_arguments;

#define TO(field) offsetof(anchor_arguments, field)
const command anchors_command = {
    "deepkd anchors",
    "Prints the anchors that fit the boxes of a .data file's training list, as a cfg's line.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1, "a .data file with classes= and train="},
        {"CFG", WORD_FILE, TO(cfg), 0, 0,
         "a detector, whose anchors, input and letter_box= are the defaults of what follows"},
        {"-n N", WORD_INT, TO(n), MOST_SHAPES, 0, "how many anchors, of all heads together"},
        {"-width W", WORD_INT, TO(width), MOST_SIDE, 0, "of the network's input, in pixels"},
        {"-height H", WORD_INT, TO(height), MOST_SIDE, 0, "of the network's input, in pixels"},
        {"-letter_box SWITCH", WORD_SWITCH, TO(letter_box), 0, 0,
         "1, Darknet's default: images keep their shape; 0, AlexeyAB's: they are stretched"},
        {0}}};
#undef TO

/* The cfg's own anchors, and what follows from it. */
typedef struct {
    int *shapes; /* [n][2] in whole pixels */
    int n;
    double stride; /* pixels of what an anchor is counted in: 1, a [region]'s cell's width */
} own_anchors;

static void append_anchors(own_anchors *own, network *net, const net_outputs *outputs, int o)
{
    layer l = net->layers[outputs->layer[o]];
    own->shapes = realloc(own->shapes, 2 * (own->n + l.n) * sizeof(int));
    if (!own->shapes) kd_fail("out of memory");
    for (int i = 0; i < l.n; ++i, ++own->n) {
        box b = anchor_in_pixels(net, outputs, o, i);
        own->shapes[2 * own->n] = fmax(1, round(b.w));
        own->shapes[2 * own->n + 1] = fmax(1, round(b.h));
    }
}

/* Reads the cfg, if there is one, and fills in what was not given. */
static own_anchors read_cfg_anchors(anchor_arguments *a, int classes)
{
    own_anchors own = {.stride = 1};
    if (!a->cfg) return own;
    network *net = parse_strictly(a->cfg, 1, 0);
    net_outputs outputs = find_outputs(net, a->cfg);
    if (!is_detector(&outputs)) kd_fail("%s: found a classifier, expected a detector", a->cfg);
    check_classes(net, &outputs, a->cfg, a->data, classes);
    for (int o = 0; o < outputs.n; ++o) append_anchors(&own, net, &outputs, o);
    layer last = net->layers[outputs.layer[outputs.n - 1]];
    if (last.type == REGION) own.stride = (double)net->w / last.w;
    if (!a->n && own.n > MOST_SHAPES)
        kd_fail("%s: found %d anchors, expected at most %d, or -n N", a->cfg, own.n,
                MOST_SHAPES);
    if (!a->n) a->n = own.n;
    if (!a->width) a->width = net->w;
    if (!a->height) a->height = net->h;
    if (a->letter_box < 0) a->letter_box = net->letter_box;
    free(outputs.layer);
    free_network(net);
    return own;
}

static void check_arguments(const anchor_arguments *a)
{
    const char *missing = !a->n        ? anchors_command.words[2].form
                          : !a->width  ? anchors_command.words[3].form
                          : !a->height ? anchors_command.words[4].form
                                       : 0;
    if (missing)
        kd_fail("darknet deepkd anchors: found neither %s nor CFG, expected one of them; "
                "usage: %s",
                missing, command_form(&anchors_command));
}

/* A side, from a share of the image to 1/SHAPE_PARTS pixels of the input */
static int side_in_parts(float share, int pixels)
{
    return fmax(1, round((double)share * pixels * SHAPE_PARTS));
}

/* All boxes' sizes, [*n][2], as the network sees them. Letterboxed, they depend on their
 * image's own size. */
static int *collect_sizes(const anchor_arguments *a, const image_list *list, int *n)
{
    char reason[DECODE_REASON];
    int *sizes = 0, room = 0, w = 1, h = 1;
    *n = 0;
    for (int i = 0; i < list->n; ++i) {
        image_labels labels = list->labels[i];
        if (!labels.n) continue;
        if (a->letter_box && !read_image_size(list->paths[i], &w, &h, reason))
            kd_fail("%s: cannot be decoded: %s", list->paths[i], reason);
        fitted_sides fit = fit_sides(w, h, a->width, a->height, !a->letter_box);
        if (*n > INT_MAX / 4 - labels.n)
            kd_fail("%s: found more boxes than %d, which is too many", a->data, INT_MAX / 4);
        if (room < *n + labels.n) {
            room = 2 * (*n + labels.n);
            sizes = realloc(sizes, room * 2 * sizeof(int));
            if (!sizes) kd_fail("out of memory");
        }
        for (int j = 0; j < labels.n; ++j, ++*n) {
            sizes[2 * *n] = side_in_parts(labels.boxes[j].w, fit.w);
            sizes[2 * *n + 1] = side_in_parts(labels.boxes[j].h, fit.h);
        }
    }
    return sizes;
}

static void check_sizes(const anchor_arguments *a, const char *list_file, int images,
                        const int *sizes, int n)
{
    if (!n)
        kd_fail(
            "%s: found no boxes in the labels of its %d images, expected at least %d for as "
            "many anchors",
            list_file, images, a->n);
    int different = count_sizes(sizes, n);
    if (different < a->n)
        kd_fail(
            "%s: found %d different sizes of boxes, in whole pixels of %d x %d, expected at "
            "least %d for as many anchors",
            list_file, different, a->width, a->height, a->n);
}

static void print_anchors(const int *shapes, int n, double stride)
{
    printf("anchors = ");
    for (int i = 0; i < n; ++i)
        printf("%s%.5g,%.5g", i ? ",  " : "", shapes[2 * i] / stride,
               shapes[2 * i + 1] / stride);
    putchar('\n');
}

int run_anchors(int argc, char **argv)
{
    anchor_arguments a = {.letter_box = -1};
    int shapes[2 * MOST_SHAPES], n;
    read_command(&anchors_command, argc, argv, 3, &a);
    data_options d = read_data_options(a.data, NEEDS_TRAIN);
    own_anchors own = read_cfg_anchors(&a, d.classes);
    check_arguments(&a);
    image_list list = read_box_list(d.train, d.classes, INT_MAX, 0);
    int *sizes = collect_sizes(&a, &list, &n);
    check_sizes(&a, d.train, list.n, sizes, n);
    double mean = find_shapes(sizes, n, a.n, shapes);
    printf("# %d boxes of %d images, %s to %d x %d: mean IoU with the best of %d anchors "
           "%.2f %%\n",
           n, list.n, a.letter_box ? "letterboxed" : "stretched", a.width, a.height, a.n,
           100 * mean);
    if (own.n)
        printf("# with those of %s: %.2f %%\n", a.cfg,
               100 * mean_best_iou(sizes, n, own.shapes, own.n));
    print_anchors(shapes, a.n, own.stride);
    free(own.shapes);
    free(sizes);
    return 0;
}
