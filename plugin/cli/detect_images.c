/* See detect_images.h. */
#include "cli/detect_images.h"
#include "cli/arguments.h"
#include "cpu/cores.h"
#include "data/lists.h"
#include "net/device.h"
#include "net/parameters.h"
#include "net/strict.h"
#include "run/frames.h"
#include "run/pictures.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char *data, *cfg, *weights;
    word_list images;
    char *out, *json; /* a folder for pictures, a file; or NULL */
    double threshold;
    int ext_output, save_labels, dont_show;
} detect_arguments;

#define TO(field) offsetof(detect_arguments, field)
const command detect_command = {
    "deepkd detect",
    "Finds objects in images, or in those of lists (names that end in .txt or .list), without "
    "a window.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1,
         "a .data file with classes=; names= if it has them"},
        {"CFG", WORD_FILE, TO(cfg), 0, 1, "the detector"},
        {"WEIGHTS", WORD_FILE, TO(weights), 0, 1, "its weights"},
        {"IMAGE|LIST ...", WORD_FILES, TO(images), 0, 0,
         "the images; else those of the .data file's valid="},
        {"-thresh T", WORD_SHARE, TO(threshold), 0, 0,
         "the least score, from 0 to 1; .25, as AlexeyAB's"},
        {"-out FOLDER", WORD_TEXT, TO(out), 0, 0,
         "for pictures with the boxes, which are made there; labels too"},
        {"-json FILE", WORD_TEXT, TO(json), 0, 0, "writes all boxes, in AlexeyAB's form"},
        {"-save_labels", WORD_FLAG, TO(save_labels), 0, 0,
         "writes label files; without -out where Darknet looks for them, over no others"},
        {"-ext_output", WORD_FLAG, TO(ext_output), 0, 0, "prints each box's place, in pixels"},
        {"-dont_show", WORD_FLAG, TO(dont_show), 0, 0, "changes nothing: no window is opened"},
        {0}}};
#undef TO

/* The images and where what is made of each goes; [n] each, or NULL. */
typedef struct {
    image_list images;
    char **pictures, **labels;
} job;

static int ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcasecmp(text + n - m, end);
}

static void append_images(image_list *all, image_list more)
{
    all->paths = realloc(all->paths, (all->n + more.n) * sizeof(char *));
    if (!all->paths) kd_fail("out of memory");
    memcpy(all->paths + all->n, more.paths, more.n * sizeof(char *));
    all->n += more.n;
    free(more.paths);
}

static image_list read_images(const detect_arguments *a, const data_options *d)
{
    image_list all = {0};
    for (int i = 0; i < a->images.n; ++i) {
        char *name = a->images.of[i];
        if (ends_in(name, ".txt") || ends_in(name, ".list"))
            append_images(&all, read_paths(name));
        else append_images(&all, one_path(name));
    }
    return a->images.n ? all : read_paths(d->valid);
}

/* FOLDER/NAME of a path, with another ending; free */
static char *path_in(const char *folder, const char *path, const char *ending)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    int length = dot && dot != name ? (int)(dot - name) : (int)strlen(name);
    char *text = kd_calloc(strlen(folder) + length + strlen(ending) + 2, 1);
    sprintf(text, "%s/%.*s%s", folder, length, name, ending);
    return text;
}

static int is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return !stat(a, &one) && !stat(b, &other) && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Exits where two results would go to one file. */
static void check_distinct(const detect_arguments *a, const job *j)
{
    int n = 0;
    char **sorted = kd_calloc(2 * (size_t)j->images.n + 1, sizeof(char *));
    for (int i = 0; i < j->images.n; ++i) {
        if (j->pictures) sorted[n++] = j->pictures[i];
        if (j->labels) sorted[n++] = j->labels[i];
    }
    if (a->json) sorted[n++] = a->json;
    qsort(sorted, n, sizeof(char *), compare_texts);
    for (int i = 1; i < n; ++i)
        if (!strcmp(sorted[i], sorted[i - 1]))
            kd_fail("%s: found two results that would be written to it, expected other names",
                    sorted[i]);
    free(sorted);
}

/* -json takes the place of no file that is read, and can be written: said before the work. */
static void check_json(const detect_arguments *a, const data_options *d, const job *j)
{
    const char *read[] = {a->data, a->cfg, a->weights, d->names, d->valid};
    struct stat info;
    if (!a->json) return;
    for (int i = 0; i < 5 + a->images.n + j->images.n; ++i) {
        int k = i - 5 - a->images.n;
        const char *file = i < 5 ? read[i] : k < 0 ? a->images.of[i - 5] : j->images.paths[k];
        if (file && is_same_file(a->json, file))
            kd_fail("-json %s: would take the place of %s, expected another file", a->json,
                    file);
    }
    char *folder = kd_copy(a->json), *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    if (!*a->json || *a->json == '-' || (!stat(a->json, &info) && S_ISDIR(info.st_mode)))
        kd_fail("-json %s: expected a file's name", a->json);
    if (access(slash ? folder : ".", W_OK)) kd_fail("-json %s: %s", a->json, strerror(errno));
    free(folder);
}

static void make_folder(const char *folder)
{
    struct stat info;
    if (ends_in(folder, ".json") || ends_in(folder, ".jpg") || ends_in(folder, ".png"))
        kd_fail("-out %s: expected a folder, for pictures and labels; -json FILE writes JSON",
                folder);
    if (mkdir(folder, 0777) && errno != EEXIST) kd_fail("-out %s: %s", folder, strerror(errno));
    if (stat(folder, &info) || !S_ISDIR(info.st_mode))
        kd_fail("-out %s: found a file, expected a folder", folder);
}

static char **plan_pictures(const detect_arguments *a, const image_list *images)
{
    char **files = kd_calloc(images->n, sizeof(char *));
    for (int i = 0; i < images->n; ++i) {
        char *path = images->paths[i];
        files[i] = path_in(a->out, path, is_png(path) ? ".png" : ".jpg");
        if (is_same_file(files[i], path))
            kd_fail("-out %s: the picture would take the place of %s, expected another folder",
                    a->out, path);
    }
    return files;
}

/* Where Darknet looks for an image's labels: label_path's, unless its folder is not there. */
static char *find_label_file(char *image)
{
    char *file = label_path(image), *slash = strrchr(file, '/');
    if (slash) *slash = 0;
    int has_folder = !slash || !access(slash == file ? "/" : file, F_OK);
    if (slash) *slash = '/';
    if (has_folder) return file;
    free(file);
    char *folder = kd_copy(image); /* which has a slash, as the file has */
    *strrchr(folder, '/') = 0;
    file = path_in(folder, image, ".txt");
    free(folder);
    return file;
}

/* Where Darknet looks for them, or -out. What is there, which somebody may have made by hand,
 * is not written over. */
static char **plan_labels(const detect_arguments *a, const image_list *images)
{
    char **files = kd_calloc(images->n, sizeof(char *));
    for (int i = 0; i < images->n; ++i) {
        char *known = find_label_file(images->paths[i]);
        files[i] = a->out ? path_in(a->out, images->paths[i], ".txt") : kd_copy(known);
        if (!access(files[i], F_OK))
            kd_fail("%s: found labels, and -save_labels writes over none: expected %s -out "
                    "FOLDER",
                    files[i], a->out ? "another" : "an");
        free(known);
    }
    return files;
}

static char **read_class_names(const data_options *d, int classes)
{
    if (d->names) return read_names(d->names, classes);
    char **names = kd_calloc(classes, sizeof(char *));
    for (int j = 0; j < classes; ++j) {
        names[j] = kd_calloc(32, 1);
        snprintf(names[j], 32, "class %d", j);
    }
    return names;
}

static network *load_detector(const detect_arguments *a, const data_options *d,
                              net_outputs *outputs)
{
    network *net = parse_strictly(a->cfg, 1, 0);
    *outputs = find_outputs(net, a->cfg);
    if (!is_detector(outputs)) kd_fail("%s: found a classifier, expected a detector", a->cfg);
    if (net->c != 3) kd_fail("%s: [net] channels=%d: expected 3", a->cfg, net->c);
    check_classes(net, outputs, a->cfg, a->data, d->classes);
    load_whole_weights(net, a->weights, 0);
    if (!on_gpu(net)) attach_cores(net, outputs, FLOAT32, DEFAULT_PARTS);
    return net;
}

/* Labels and JSON are written when all is found, so that what was stopped leaves none. */
static void detect_all(const detect_arguments *a, network *net, const job *j, char **names)
{
    int n = j->images.n, classes = net->layers[net->n - 1].classes;
    frame *frames = kd_calloc(n, sizeof(frame));
    image **alphabet = j->pictures ? load_alphabet() : 0;
    for (int i = 0; i < n; ++i) {
        frames[i].path = j->images.paths[i];
        image im = load_image(frames[i].path, 0, 0, 3);
        if (!detect_frame(net, im, a->threshold, frames + i))
            kd_fail("%s: the network's output is not finite", a->weights);
        print_frame(frames + i, names, a->ext_output);
        if (j->pictures) {
            draw_boxes(im, &frames[i].found, names, classes, alphabet);
            save_picture(im, j->pictures[i]);
        }
        free_image(im);
    }
    for (int i = 0; j->labels && i < n; ++i) write_frame_labels(frames + i, j->labels[i]);
    if (a->json) write_frames(frames, n, names, a->json);
    for (int i = 0; i < n; ++i) free(frames[i].found.boxes);
    free(frames);
}

int run_detect(int argc, char **argv)
{
    detect_arguments a = {.threshold = .25};
    net_outputs outputs;
    read_command(&detect_command, argc, argv, 3, &a);
    data_options d = read_data_options(a.data, a.images.n ? 0 : NEEDS_VALID);
    job j = {read_images(&a, &d), 0, 0};
    network *net = load_detector(&a, &d, &outputs);
    char **names = read_class_names(&d, outputs.classes);
    if (a.out) j.pictures = plan_pictures(&a, &j.images);
    if (a.save_labels) j.labels = plan_labels(&a, &j.images);
    check_distinct(&a, &j);
    check_json(&a, &d, &j);
    if (a.out) make_folder(a.out);
    detect_all(&a, net, &j, names);
    if (j.pictures) free_ptrs((void **)j.pictures, j.images.n);
    if (j.labels) free_ptrs((void **)j.labels, j.images.n);
    free_ptrs((void **)names, outputs.classes);
    free(a.images.of);
    free(outputs.layer);
    detach_cores(net);
    free_network(net);
    return 0;
}
