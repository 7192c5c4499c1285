/* See loader.h. */
#include "loader.h"
#include "deepkd.h"

#include "image.h"
#include "stb_image.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHANNELS 3 /* Darknet trains its classifiers on colour images */

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

/* The label file's lines; exactly `classes` of them, none empty. */
static char **read_labels(char *file, int classes)
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

image_list read_image_list(char *list_file, char *label_file, int classes)
{
    char **labels = read_labels(label_file, classes);
    list *lines = get_paths(list_file);
    image_list images = {(char **)list_to_array(lines), 0, lines->size};
    free_list(lines);
    images.targets = kd_calloc(images.n, sizeof(int));
    for (int i = 0; i < images.n; ++i) {
        if (!*images.paths[i])
            kd_fail("%s: line %d: found nothing, expected an image", list_file, i + 1);
        check_image_file(list_file, images.paths[i]);
        images.targets[i] = find_target(list_file, images.paths[i], labels, classes);
    }
    free_ptrs((void **)labels, classes);
    return images;
}

/* One of the loader's two buffers: while one is trained on, the other one fills. */
typedef struct {
    float *images; /* [images][inputs] */
    int *targets;  /* [images] */
} buffer;

struct loader {
    const image_list *list;
    network *net;
    int images, augment, threads;
    uint64_t seed;

    int *order; /* [list->n], shuffled for `epoch` */
    uint64_t epoch;

    buffer buffers[2];
    int filling;        /* which of them */
    uint64_t position;  /* of the first image being loaded */
    int *indices;       /* [images], into the list */
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
    l->order = kd_calloc(list->n, sizeof(int));
    l->epoch = (uint64_t)-1; /* none is shuffled yet */
    l->indices = kd_calloc(images, sizeof(int));
    l->workers = kd_calloc(threads, sizeof(pthread_t));
    for (int i = 0; i < 2; ++i) {
        l->buffers[i].images = kd_calloc((size_t)images * net->inputs, sizeof(float));
        l->buffers[i].targets = kd_calloc(images, sizeof(int));
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
        free(l->buffers[i].targets);
    }
    free(l->order);
    free(l->indices);
    free(l->workers);
    free(l);
}

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

/* NULL data when the file is no image that can be decoded to its end. */
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

/* Darknet takes a factor of 0 for none. */
static float factor(float given)
{
    return given ? given : 1;
}

/* As load_image_augment_paths does; draws from this thread's random numbers. */
static image augment_image(image im, const network *net)
{
    image crop = net->center ? center_crop_image(im, net->w, net->h)
                             : random_augment_image(im, net->angle, factor(net->aspect),
                                                    net->min_ratio * net->w,
                                                    net->max_ratio * net->w, net->w, net->h);
    if (rand() % 2) flip_image(crop);
    random_distort_image(crop, net->hue, factor(net->saturation), factor(net->exposure));
    return crop;
}

/* Returns NULL, or the path when the image can't be read. */
static char *load_one(loader *l, int i)
{
    const network *net = l->net;
    char *path = l->list->paths[l->indices[i]];
    image im = read_image(path);
    if (!im.data) return path;
    srand(derive_seed(l->seed, l->position + i));
    image ready = l->augment ? augment_image(im, net) : center_crop_image(im, net->w, net->h);
    memcpy(l->buffers[l->filling].images + (size_t)i * net->inputs, ready.data,
           net->inputs * sizeof(float));
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

void start_loading(loader *l, uint64_t position)
{
    l->position = position;
    l->filling = !l->filling;
    for (int i = 0; i < l->images; ++i) {
        shuffle_epoch(l, (position + i) / l->list->n);
        l->indices[i] = l->order[(position + i) % l->list->n];
        l->buffers[l->filling].targets[i] = l->list->targets[l->indices[i]];
    }
    for (int t = 0; t < l->threads; ++t) {
        work *w = kd_calloc(1, sizeof(*w));
        *w = (work){l, t};
        if (pthread_create(l->workers + t, 0, load_share, w)) kd_fail("cannot start a thread");
    }
    l->is_loading = 1;
}

void finish_loading(loader *l, float **images, int **targets)
{
    join_workers(l);
    if (l->failed)
        kd_fail("%s: found no image that can be decoded to its end, expected PNG, JPEG or an "
                "uncompressed format that Darknet reads",
                l->failed);
    *images = l->buffers[l->filling].images;
    *targets = l->buffers[l->filling].targets;
}
