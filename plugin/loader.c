/* See loader.h. */
#include "loader.h"
#include "deepkd.h"

#include "image.h"
#include "stb_image.h"
#include "utils.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANNELS 3      /* Darknet trains on colour images */
#define LEAST_SIDE .001 /* of a box, as in fill_truth_detection */

static int find_target(const char *file, const char *path, char **labels, int classes)
{
    int target = -1;
    for (int j = 0; j < classes; ++j) {
        if (!strstr(path, labels[j])) continue;
        if (target >= 0)
            kd_fail("%s: %s: found the labels %s and %s in it, expected one", file, path,
                    labels[target], labels[j]);
        target = j;
    }
    if (target < 0) kd_fail("%s: %s: found no label in it, expected one", file, path);
    return target;
}

static void check_image_file(const char *file, const char *path)
{
    struct stat info;
    if (stat(path, &info)) kd_fail("%s: %s: %s", file, path, strerror(errno));
    if (!S_ISREG(info.st_mode) || !info.st_size)
        kd_fail("%s: %s: found an empty file, expected an image", file, path);
}

char **read_names(char *file, int classes)
{
    list *lines = get_paths(file);
    if (lines->size != classes)
        kd_fail("%s: found %d labels, expected %d (classes= of the data file)", file,
                lines->size, classes);
    char **labels = (char **)list_to_array(lines);
    free_list(lines);
    for (int j = 0; j < classes; ++j)
        if (!*labels[j]) kd_fail("%s: line %d: found nothing, expected a label", file, j + 1);
    return labels;
}

/* The paths of a list, all of them files; no targets or labels yet. */
static image_list read_paths(char *list_file)
{
    list *lines = get_paths(list_file);
    image_list images = {(char **)list_to_array(lines), 0, 0, lines->size};
    free_list(lines);
    for (int i = 0; i < images.n; ++i) {
        if (!*images.paths[i])
            kd_fail("%s: line %d: found nothing, expected an image", list_file, i + 1);
        check_image_file(list_file, images.paths[i]);
    }
    return images;
}

image_list read_image_list(char *list_file, char *label_file, int classes)
{
    char **labels = read_names(label_file, classes);
    image_list images = read_paths(list_file);
    images.targets = kd_calloc(images.n, sizeof(int));
    for (int i = 0; i < images.n; ++i)
        images.targets[i] = find_target(list_file, images.paths[i], labels, classes);
    free_ptrs((void **)labels, classes);
    return images;
}

/* May the image be without a label file? */
static int needs_no_labels(char *path, const char *label_file, const annotations *known)
{
    long id = coco_image_id(path);
    return access(label_file, F_OK) && known && has_image(known, id) && !has_truths(known, id);
}

image_list read_box_list(char *list_file, int classes, int most, const annotations *known)
{
    image_list images = read_paths(list_file);
    int empty = 0;
    images.labels = kd_calloc(images.n, sizeof(image_labels));
    for (int i = 0; i < images.n; ++i) {
        char *file = label_path(images.paths[i]);
        if (!needs_no_labels(images.paths[i], file, known))
            images.labels[i] = read_labels(file, classes, most);
        empty += !images.labels[i].n;
        free(file);
    }
    if (empty) printf("%s: %d of %d images without objects\n", list_file, empty, images.n);
    return images;
}

struct loader {
    const image_list *list;
    network *net;
    int images, augment, threads;
    uint64_t seed;
    int truths;   /* floats an image, and the jitter: copies, for the net may be resized */
    float jitter; /* while the threads are at work */

    int *order; /* [list->n], shuffled for `epoch` */
    uint64_t epoch;

    loaded_images buffers[2]; /* while one is trained on, the other one fills */
    size_t pixels[2];         /* floats that each has room for */
    int filling;              /* which of them */
    int width, height;
    uint64_t position;  /* of the first image being loaded */
    pthread_t *workers; /* [threads] */
    int is_loading;     /* 1: they are at work */
    const char *failed; /* an image that could not be read */
};

/* splitmix64's finalizer: neighbouring numbers give unrelated seeds */
unsigned int derive_seed(uint64_t seed, uint64_t number)
{
    uint64_t z = seed * 0x9E3779B97F4A7C15ULL + number + 1;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (unsigned int)((z ^ (z >> 31)) >> 32);
}

loader *make_loader(const image_list *list, network *net, int images, int augment, int threads,
                    uint64_t seed)
{
    loader *l = kd_calloc(1, sizeof(*l));
    l->list = list;
    l->net = net;
    l->images = images;
    l->augment = augment;
    l->threads = threads;
    l->seed = seed;
    l->truths = net->truths;
    l->jitter = net->layers[net->n - 1].jitter;
    l->order = kd_calloc(list->n, sizeof(int));
    l->epoch = (uint64_t)-1; /* none is shuffled yet */
    l->workers = kd_calloc(threads, sizeof(pthread_t));
    for (int i = 0; i < 2; ++i) {
        l->buffers[i].truths = kd_calloc((size_t)images * l->truths, sizeof(float));
        l->buffers[i].indices = kd_calloc(images, sizeof(int));
        l->buffers[i].sizes = kd_calloc(images, 2 * sizeof(int));
    }
    return l;
}

/* Waits for the threads that are at work, if any; each returns a path that it could not read.
 */
static void join_workers(loader *l)
{
    for (int t = 0; t < l->threads && l->is_loading; ++t) {
        void *failed;
        pthread_join(l->workers[t], &failed);
        if (failed) l->failed = failed;
    }
    l->is_loading = 0;
}

void free_loader(loader *l)
{
    join_workers(l);
    for (int i = 0; i < 2; ++i) {
        free(l->buffers[i].images);
        free(l->buffers[i].truths);
        free(l->buffers[i].indices);
        free(l->buffers[i].sizes);
    }
    free(l->order);
    free(l->workers);
    free(l);
}

/* NULL data when the file is no image that can be decoded to its end. */
#ifdef OPENCV
static image read_image(const char *path)
{
    return read_image_cv((char *)path, CHANNELS);
}
#else
/*
 * PNG and JPEG say when they end too early; in other formats the decoder makes up what is
 * missing, so there the file must be as long as its pixels.
 */
static int is_whole(const char *path, int w, int h, int channels)
{
    unsigned char magic[2] = {0};
    struct stat info;
    FILE *fp = fopen(path, "rb");
    if (!fp) return 0;
    int is_read = fread(magic, sizeof(magic), 1, fp) == 1 && !fstat(fileno(fp), &info);
    fclose(fp);
    int is_png = magic[0] == 0x89 && magic[1] == 'P',
        is_jpeg = magic[0] == 0xFF && magic[1] == 0xD8;
    return is_read && (is_png || is_jpeg || info.st_size >= (off_t)w * h * channels);
}

static image read_image(const char *path)
{
    int w, h, channels;
    unsigned char *bytes = stbi_load(path, &w, &h, &channels, CHANNELS);
    if (!bytes || w < 1 || h < 1 || !is_whole(path, w, h, channels)) {
        free(bytes);
        return (image){0};
    }
    image im = make_image(w, h, CHANNELS);
    size_t plane = (size_t)w * h;
    for (size_t k = 0; k < CHANNELS; ++k)
        for (size_t i = 0; i < plane; ++i)
            im.data[k * plane + i] = bytes[i * CHANNELS + k] / 255.f;
    free(bytes);
    return im;
}
#endif

/* Darknet takes a factor of 0 for none. */
static float factor(float given)
{
    return given ? given : 1;
}

static void distort(image im, const network *net)
{
    random_distort_image(im, net->hue, factor(net->saturation), factor(net->exposure));
}

/* As load_image_augment_paths does; draws from this thread's random numbers. */
static image augment_image(image im, const network *net)
{
    image crop = net->center ? center_crop_image(im, net->w, net->h)
                             : random_augment_image(im, net->angle, factor(net->aspect),
                                                    net->min_ratio * net->w,
                                                    net->max_ratio * net->w, net->w, net->h);
    if (rand() % 2) flip_image(crop);
    distort(crop, net);
    return crop;
}

/* Where an image lies on the detector's input, in its pixels; flip: mirrored afterwards. */
typedef struct {
    float x, y, w, h;
    int flip;
} placement;

/* As load_data_detection places it: whole, its sides jittered, at a random place. */
static placement jitter_placement(image im, int w, int h, float jitter)
{
    float dw = jitter * im.w, dh = jitter * im.h;
    float ratio = (im.w + rand_uniform(-dw, dw)) / (im.h + rand_uniform(-dh, dh));
    placement p = {.w = w, .h = h};
    if (ratio < 1) p.w = h * ratio;
    else p.h = w / ratio;
    p.x = rand_uniform(0, w - p.w);
    p.y = rand_uniform(0, h - p.h);
    return p;
}

/* As letterbox_image places it: whole, in its own proportions, in the middle. */
static placement letterbox_placement(image im, int w, int h)
{
    int is_wide = (float)w / im.w < (float)h / im.h;
    int new_w = is_wide ? w : im.w * h / im.h, new_h = is_wide ? im.h * w / im.w : h;
    return (placement){(w - new_w) / 2, (h - new_h) / 2, new_w, new_h, 0};
}

/* One side of a box, from shares of the image to shares of the input, clipped to that. */
static void place_side(float *centre, float *length, float shift, float scale)
{
    float low = fmaxf(0, (*centre - *length / 2) * scale + shift);
    float high = fminf(1, (*centre + *length / 2) * scale + shift);
    *centre = (low + high) / 2;
    *length = fmaxf(0, high - low);
}

/*
 * The boxes of an image as truths, in a random order when augmented; tiny ones are left out,
 * and those that the network, a teacher, has no room for.
 */
static void place_boxes(const loader *l, image_labels labels, placement p, float *truth)
{
    if (!labels.n) return;
    labelled_box boxes[labels.n];
    memcpy(boxes, labels.boxes, sizeof(boxes));
    if (l->augment && labels.n > 1) shuffle(boxes, labels.n, sizeof(*boxes));
    const float *end = truth + l->truths / 5 * 5;
    for (int i = 0; i < labels.n && truth < end; ++i) {
        labelled_box b = boxes[i];
        place_side(&b.x, &b.w, p.x / l->width, p.w / l->width);
        place_side(&b.y, &b.h, p.y / l->height, p.h / l->height);
        if (b.w < LEAST_SIDE || b.h < LEAST_SIDE) continue;
        if (p.flip) b.x = 1 - b.x;
        const float numbers[] = {b.x, b.y, b.w, b.h, b.class};
        memcpy(truth, numbers, sizeof(numbers));
        truth += 5;
    }
}

static image place_detection(const loader *l, image im, image_labels labels, float *truth)
{
    placement p = letterbox_placement(im, l->width, l->height);
    image ready;
    if (l->augment) {
        network *net = l->net;
        p = jitter_placement(im, l->width, l->height, l->jitter);
        ready = make_image(l->width, l->height, im.c);
        fill_image(ready, .5);
        place_image(im, p.w, p.h, p.x, p.y, ready);
        distort(ready, net);
        p.flip = rand() % 2;
        if (p.flip) flip_image(ready);
    } else {
        ready = letterbox_image(im, l->width, l->height);
    }
    place_boxes(l, labels, p, truth);
    return ready;
}

/* Returns NULL, or the path when the image can't be read. */
static char *load_one(loader *l, int i)
{
    network *net = l->net;
    loaded_images *to = l->buffers + l->filling;
    int index = to->indices[i];
    char *path = l->list->paths[index];
    float *truth = to->truths + (size_t)i * l->truths;
    size_t inputs = (size_t)l->width * l->height * CHANNELS;
    image im = read_image(path), ready;
    if (!im.data) return path;
    srand(derive_seed(l->seed, l->position + i));
    memset(truth, 0, l->truths * sizeof(float));
    to->sizes[2 * i] = im.w;
    to->sizes[2 * i + 1] = im.h;
    if (l->list->labels) {
        ready = place_detection(l, im, l->list->labels[index], truth);
    } else {
        ready = l->augment ? augment_image(im, net) : center_crop_image(im, net->w, net->h);
        truth[l->list->targets[index]] = 1;
    }
    memcpy(to->images + i * inputs, ready.data, inputs * sizeof(float));
    free_image(im);
    free_image(ready);
    return 0;
}

typedef struct {
    loader *loader;
    int worker;
} work;

static void *load_share(void *argument)
{
    work w = *(work *)argument;
    free(argument);
    char *failed = 0;
    for (int i = w.worker; i < w.loader->images && !failed; i += w.loader->threads)
        failed = load_one(w.loader, i);
    return failed;
}

/* Fisher and Yates; each epoch starts again from the list's own order. */
static void shuffle_epoch(loader *l, uint64_t epoch)
{
    if (l->epoch == epoch) return;
    l->epoch = epoch;
    for (int i = 0; i < l->list->n; ++i) l->order[i] = i;
    if (!l->augment) return;
    srand(derive_seed(~l->seed, epoch));
    for (int i = l->list->n - 1; i > 0; --i) {
        int j = rand() % (i + 1), swap = l->order[i];
        l->order[i] = l->order[j];
        l->order[j] = swap;
    }
}

/* Makes room for the images that are about to be loaded. */
static void reserve(loader *l)
{
    size_t needed = (size_t)l->images * l->width * l->height * CHANNELS;
    loaded_images *to = l->buffers + l->filling;
    if (l->pixels[l->filling] >= needed) return;
    free(to->images);
    to->images = kd_calloc(needed, sizeof(float));
    l->pixels[l->filling] = needed;
}

void start_loading(loader *l, uint64_t position, int width, int height)
{
    join_workers(l);
    l->position = position;
    l->width = width;
    l->height = height;
    l->filling = !l->filling;
    reserve(l);
    for (int i = 0; i < l->images; ++i) {
        shuffle_epoch(l, (position + i) / l->list->n);
        l->buffers[l->filling].indices[i] = l->order[(position + i) % l->list->n];
    }
    for (int t = 0; t < l->threads; ++t) {
        work *w = kd_calloc(1, sizeof(*w));
        *w = (work){l, t};
        if (pthread_create(l->workers + t, 0, load_share, w)) kd_fail("cannot start a thread");
    }
    l->is_loading = 1;
}

loaded_images finish_loading(loader *l)
{
    join_workers(l);
    if (l->failed)
        kd_fail("%s: found no image that can be decoded to its end, expected PNG, JPEG or an "
                "uncompressed format that Darknet reads",
                l->failed);
    return l->buffers[l->filling];
}
