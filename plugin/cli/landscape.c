/* See landscape.h. */
#include "cli/landscape.h"
#include "cli/single.h"
#include "cpu/cores.h"
#include "data/loader.h"
#include "math/plane.h"
#include "net/weight_plane.h"
#include "run/stop.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>

#define MOST_POINTS 201

typedef struct {
    char *data, *cfg, *weights, *out;
    int points, images, threads;
    double range;
    uint64_t seed;
} landscape_arguments;

#define TO(field) offsetof(landscape_arguments, field)
const command landscape_command = {
    "deepkd landscape",
    "Writes the loss around a network's weights, in a plane of two random directions, as CSV.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1, "a .data file with classes= and valid="},
        {"CFG", WORD_FILE, TO(cfg), 0, 1, "a classifier or a detector"},
        {"WEIGHTS", WORD_FILE, TO(weights), 0, 1, "its weights, the centre of the plane"},
        {"-out LANDSCAPE.csv", WORD_TEXT, TO(out), 0, 1,
         "a line for each point: x,y,loss,top1"},
        {"-points N", WORD_INT, TO(points), MOST_POINTS, 0,
         "along each direction, an odd number; default 21"},
        {"-range R", WORD_SHARE, TO(range), 0, 0,
         "the plane goes from -R to R; 1, the default, is each filter's own norm"},
        {"-images N", WORD_INT, TO(images), INT32_MAX, 0,
         "of the validation list, evenly spread over it; default 1000, or all"},
        {"-seed N", WORD_LONG, TO(seed), INT64_MAX, 0, "of the directions; default 1"},
        {"-threads N", WORD_INT, TO(threads), MOST_THREADS, 0, "that load images; 1 a core"},
        {0}}};
#undef TO

static void check_arguments(const landscape_arguments *a)
{
    if (a->points < 5 || a->points % 2 == 0)
        kd_fail("-points %d: expected an odd number from 5 to %d", a->points, MOST_POINTS);
    if (!a->range) kd_fail("-range 0: expected a number above 0, to 1");
}

/* Leaves `n` of the list's images, as far from each other as they can be, or all. */
static void thin_list(image_list *list, int n)
{
    if (n >= list->n) return;
    for (int i = 0; i < n; ++i) {
        size_t from = (size_t)i * list->n / n;
        list->paths[i] = list->paths[from];
        if (list->targets) list->targets[i] = list->targets[from];
        if (list->labels) list->labels[i] = list->labels[from];
    }
    list->n = n;
}

/* Cores keep what they make of weights that don't change, as those of a single network. */
static void let_weights_change(network *net)
{
    if (!has_cores(net)) return;
    detach_cores(net);
    attach_cores(net, 0, FLOAT32, DEFAULT_PARTS);
}

/* From -range to range, 0 in the middle */
static double place(const landscape_arguments *a, int i)
{
    return a->range * (i - a->points / 2) / (a->points / 2);
}

/* Evaluates all points into found[points][points], of which y is the row. */
static void measure(const landscape_arguments *a, const single *s, evaluation *found)
{
    weight_plane *plane = make_plane(s->net, a->seed);
    let_weights_change(s->net);
    for (int j = 0; j < a->points; ++j) {
        for (int i = 0; i < a->points; ++i) {
            move_weights(plane, place(a, i), place(a, j));
            if (!validate(&s->how, s->net, &s->outputs, found + j * a->points + i)) {
                fprintf(stderr, "stopped, nothing was written\n");
                exit(128 + stop_signal);
            }
        }
        printf("%d of %d points\n", (j + 1) * a->points, a->points * a->points);
        fflush(stdout);
    }
    free_plane(plane);
}

/* top1 is empty for a detector; what is not finite is "nan" or "inf". */
static void print_landscape(FILE *fp, const landscape_arguments *a, int detects,
                            const evaluation *found)
{
    fprintf(fp, "x,y,loss,top1\n");
    for (int j = 0; j < a->points; ++j)
        for (int i = 0; i < a->points; ++i, ++found) {
            fprintf(fp, "%g,%g,%.9g,", place(a, i), place(a, j), found->loss);
            if (!detects) fprintf(fp, "%.9g", found->score[0]);
            fprintf(fp, "\n");
        }
}

int run_landscape(int argc, char **argv)
{
    landscape_arguments a = {
        .points = 21, .images = 1000, .range = 1, .seed = 1, .threads = loading_threads()};
    single s = {0};
    read_command(&landscape_command, argc, argv, 3, &a);
    check_arguments(&a);
    open_single(&s, a.data, a.cfg, a.weights, a.threads, EITHER_KIND);
    thin_list(&s.valid, a.images);
    int n = a.points * a.points;
    evaluation *found = kd_calloc(n, sizeof(evaluation));
    double *loss = kd_calloc(n, sizeof(double));
    FILE *fp = open_atomic(a.out); /* what can't be written is known at once */
    catch_signals();
    measure(&a, &s, found);
    for (int i = 0; i < n; ++i) loss[i] = found[i].loss;
    if (!isfinite(loss[n / 2])) kd_fail("%s: the loss is not finite, expected it", a.weights);
    print_landscape(fp, &a, s.how.is_detector, found);
    close_atomic(fp, a.out);
    printf("%d images, loss %.6f, sharpness %.4g %% within %g\n", s.valid.n, loss[n / 2],
           find_sharpness(loss, a.points), place(&a, a.points / 2 + a.points / 4));
    free(found), free(loss);
    close_single(&s);
    return 0;
}
