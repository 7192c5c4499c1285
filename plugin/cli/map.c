/* See map.h. */
#include "cli/map.h"
#include "cli/single.h"
#include "data/loader.h"
#include "run/detect.h"
#include "support.h"

#include "plugin.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    char *data, *cfg, *weights;
    char *out;              /* JSON of the detections, or NULL */
    int per_class, threads; /* threads: that load images */
    int dont_show;
} map_arguments;

#define TO(field) offsetof(map_arguments, field)
const command map_command = {
    "deepkd map", "Measures a detector's mAP on the validation list of a .data file.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1, "a .data file with classes= and valid="},
        {"CFG", WORD_FILE, TO(cfg), 0, 1, "the detector"},
        {"WEIGHTS", WORD_FILE, TO(weights), 0, 1, "its weights"},
        {"-per_class", WORD_FLAG, TO(per_class), 0, 0, "each class's AP, too"},
        {"-out DETECTIONS.json", WORD_TEXT, TO(out), 0, 0,
         "writes what was found as COCO's JSON of results"},
        {"-dont_show", WORD_FLAG, TO(dont_show), 0, 0, "changes nothing: no window is opened"},
        {"-threads N", WORD_INT, TO(threads), MOST_THREADS, 0, "that load images; 1 a core"},
        {0}}};

/* AP in percent, and the class's truths, a line each; names may be NULL. */
static void print_classes(const ap_result *ap, char **names)
{
    for (int j = 0; j < ap->classes; ++j) {
        printf("class_id = %d, name = %s, ", j, names ? names[j] : "");
        if (ap->truths[j])
            printf("ap = %.2f %%, ap@[.50:.95] = %.2f %%, truths = %d\n", 100 * ap->ap50[j],
                   100 * ap->ap[j], ap->truths[j]);
        else printf("no truths\n");
    }
}

static void print_result(const found_boxes *boxes, int classes, char **names, int per_class)
{
    ap_result ap = average_precision(&boxes->truths, &boxes->found, classes);
    if (per_class) print_classes(&ap, names);
    printf("mean average precision (mAP@0.50) = %f, or %.2f %%\n", ap.map50, 100 * ap.map50);
    printf("mean average precision (mAP@[.50:.95]) = %f, or %.2f %%\n", ap.map, 100 * ap.map);
    free_ap_result(ap);
}

/* COCO's category of each of the network's classes; with map=, the first that it maps there */
static int *find_categories(const annotations *a, layer l)
{
    int *categories = kd_calloc(l.classes, sizeof(int));
    for (int j = 0; j < l.classes; ++j) categories[j] = j + 1;
    for (int j = a->classes - 1; j >= 0; --j)
        categories[l.map ? l.map[j] : j] = a->categories[j];
    return categories;
}

static void measure(const map_arguments *m)
{
    single s = {0};
    evaluation v;
    open_single(&s, m->data, m->cfg, m->weights, m->threads, A_DETECTOR);
    int classes = s.outputs.classes;
    layer last = s.net->layers[s.outputs.layer[s.outputs.n - 1]];
    found_boxes boxes = {.map = last.map};
    char **names = s.data.names ? read_names(s.data.names, classes) : 0;
    evaluate_detector(s.net, &s.outputs, &s.valid, s.how.known, m->threads, s.how.stop, &v,
                      &boxes);
    if (isnan(v.loss)) kd_fail("%s: the network's output is not finite", m->weights);
    int *categories = find_categories(&s.annotations, last);
    if (m->out) write_detections(&boxes.found, categories, m->out);
    printf("%d images, %d truths, %d detections, loss %f\n", s.valid.n, boxes.truths.n,
           boxes.found.n, v.loss);
    print_result(&boxes, classes, names, m->per_class);
    free_found_boxes(boxes);
    free(categories);
    close_single(&s);
}

int run_map(int argc, char **argv)
{
    map_arguments m = {.threads = loading_threads()};
    read_command(&map_command, argc, argv, 3, &m);
    measure(&m);
    return 0;
}
