/* See map.h. */
#include "cli/map.h"
#include "cli/arguments.h"
#include "support.h"
#include "run/detect.h"
#include "run/evaluate.h"
#include "net/parameters.h"
#include "net/strict.h"

#include "plugin.h"

#include <math.h>
#include <stdlib.h>

static const char usage[] = "usage: darknet deepkd map DATA CFG WEIGHTS [-per_class] "
                            "[-out DETECTIONS.json] [-threads N]";

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

static void measure(char *data_file, char *cfg, char *weights, int per_class, char *out,
                    int threads)
{
    static const volatile sig_atomic_t never = 0;
    data_options d = read_data_options(data_file, 0);
    annotations a = {0};
    const annotations *known = d.annotations ? &a : 0;
    evaluation v;
    cfg_section_hook = strict_section;
    network *net = parse_network_cfg(cfg);
    net_outputs outputs = find_outputs(net, cfg);
    if (!is_detector(&outputs)) kd_fail("%s: found a classifier, expected a detector", cfg);
    check_classes(net, &outputs, cfg, data_file, d.classes);
    load_whole_weights(net, weights, 0);
    layer last = net->layers[outputs.layer[outputs.n - 1]];
    if (known) a = read_annotations(d.annotations, d.classes);
    image_list list = read_box_list(d.valid, d.classes, last.max_boxes, known);
    found_boxes boxes = {.map = last.map};
    char **names = d.names ? read_names(d.names, outputs.classes) : 0;
    evaluate_detector(net, &outputs, &list, known, threads, &never, &v, &boxes);
    if (isnan(v.loss)) kd_fail("%s: the network's output is not finite", weights);
    int *categories = find_categories(&a, last);
    if (out) write_detections(&boxes.found, categories, out);
    printf("%d images, %d truths, %d detections, loss %f\n", list.n, boxes.truths.n,
           boxes.found.n, v.loss);
    print_result(&boxes, outputs.classes, names, per_class);
    free_found_boxes(boxes);
    free(categories);
    free(outputs.layer);
    free_annotations(a);
    free_network(net);
}

int run_map(int argc, char **argv)
{
    int per_class = find_arg(argc, argv, "-per_class");
    char *out = find_char_arg(argc, argv, "-out", 0);
    char *threads = find_char_arg(argc, argv, "-threads", "2");
    int n = read_count("-threads", threads, 256), files = 0;
    while (3 + files < argc && argv[3 + files] && argv[3 + files][0] != '-') ++files;
    if (files != 3 || (argc > 6 && argv[6])) kd_fail("%s", usage);
    measure(argv[3], argv[4], argv[5], per_class, out, n);
    return 0;
}
