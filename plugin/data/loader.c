/* See loader.h. */
#include "data/loader.h"
#include "cpu/cores.h"
#include "cpu/ranks.h"
#include "data/strong.h"
#include "support.h"

#include "data.h"
#include "image.h"
#include "utils.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHANNELS 3 /* Darknet trains on colour images */
#define LEAST_THREADS 2
#define PADDING 4       /* of AUGMENT_CIFAR, each side */
#define STRONG 0x5354   /* makes of an image's seed its strong view's */
#define LEAST_SIDE .001 /* of a box, as in fill_truth_detection */

/* A decoded image: [h][w][CHANNELS] bytes, or NULL; kept: they belong to the cache. */
typedef struct {
    int w, h, is_kept;
    unsigned char *bytes;
} pixels;

/* A file that can't be read, and why. */
typedef struct {
    const char *path;
    char reason[DECODE_REASON];
} failure;

/* A batch that is loading, or has been loaded. */
typedef struct {
    image_batch loaded;
    size_t room;       /* floats that loaded.images has room for */
    uint64_t position; /* of its first image */
    int width, height;
    int begun, done; /* images that a thread has taken, and that are there */
    int failed;      /* the first image that can't be made, or the number of images: none */
    failure why;
} load;

#define LOADS (LOADER_AHEAD + 1) /* with the one that is trained on */

struct loader {
    image_list list;
    network net;  /* a copy, and its jitter: Darknet writes to the net, and resizes it, while */
    float jitter; /* the threads are at work */
    int images, augment, threads;
    uint64_t seed;

    int *order; /* [list->n], shuffled for `epoch` */
    uint64_t epoch;

    load loads[LOADS];  /* number n of the run stands in n % LOADS */
    uint64_t fetched;   /* loads that finish_loading has given out */
    pthread_t *workers; /* [threads] */

    pthread_mutex_t mutex; /* for what follows, and each load's begun, done and failed */
    pthread_cond_t has_work, has_news; /* for the threads, and for who waits for them */
    int working;                       /* threads that have not ended */
    uint64_t started, taken; /* loads that are begun; that have no image left to take */
    int is_ending;
    const volatile sig_atomic_t *stop; /* wait_for_images's, or NULL */
    pixels *cache;                     /* [list->n], or NULL; what is in it stays as it is */
    size_t cached;                     /* bytes */
};

/* NULL bytes when the file is no whole image, and in `reason` why. */
static pixels decode(const char *path, char *reason)
{
    pixels p = {0};
    int channels;
    p.bytes = decode_image(path, CHANNELS, &p.w, &p.h, &channels, reason);
    return p;
}

static image to_floats(pixels p)
{
    image im = make_image(p.w, p.h, CHANNELS);
    size_t plane = (size_t)p.w * p.h;
    float shares[UCHAR_MAX + 1];
    for (int value = 0; value <= UCHAR_MAX; ++value) shares[value] = value / 255.f;
    for (size_t i = 0; i < plane; ++i)
        for (size_t k = 0; k < CHANNELS; ++k)
            im.data[k * plane + i] = shares[p.bytes[i * CHANNELS + k]];
    return im;
}

/* Darknet takes a factor of 0 for none. */
static float factor(float given)
{
    return given ? given : 1;
}

static void distort(image im, const network *net)
{
    random_distort_image(im, net->hue, factor(net->saturation), factor(net->exposure));
}

/* AUGMENT_CIFAR's crop; an image of another size is brought to the net's first */
static image pad_and_crop(image im, int w, int h)
{
    image whole = center_crop_image(im, w, h), crop = make_image(w, h, im.c);
    int dx = rand() % (2 * PADDING + 1) - PADDING, dy = rand() % (2 * PADDING + 1) - PADDING;
    for (int row = 0; row < im.c * h; ++row) {
        int y = row % h + dy;
        for (int x = 0; x < w && y >= 0 && y < h; ++x)
            if (x + dx >= 0 && x + dx < w)
                crop.data[(size_t)row * w + x] =
                    whole.data[((size_t)row / h * h + y) * w + x + dx];
    }
    free_image(whole);
    return crop;
}

/* Draws from this thread's random numbers; AUGMENT_DARKNET as load_image_augment_paths does. */
static image augment_image(image im, const network *net, int augment)
{
    image crop = augment & AUGMENT_CIFAR ? pad_and_crop(im, net->w, net->h)
                 : net->center           ? center_crop_image(im, net->w, net->h)
                               : random_augment_image(im, net->angle, factor(net->aspect),
                                                      net->min_ratio * net->w,
                                                      net->max_ratio * net->w, net->w, net->h);
    int keeps_colours = !net->hue && factor(net->saturation) == 1 && factor(net->exposure) == 1;
    if (rand() % 2) flip_image(crop);
    /* from colour to hue and back again no number stays the same */
    if (!(augment & AUGMENT_CIFAR) || !keeps_colours) distort(crop, net);
    return crop;
}

/* Where an image's strong view goes, and the seed that it follows from; to NULL: there is none
 */
typedef struct {
    float *to;
    unsigned seed;
} strong_view;

/* Of a decoded image: a crop of its own, after some of the operations of `augment` */
static void make_strong(image im, const network *net, int augment, strong_view strong)
{
    srand(strong.seed);
    image crop = augment_image(im, net, augment);
    size_t plane = (size_t)crop.w * crop.h;
    pixels p = {crop.w, crop.h, 0, kd_calloc(plane * CHANNELS, 1)};
    for (size_t i = 0; i < plane * CHANNELS; ++i)
        p.bytes[i] =
            (unsigned char)(crop.data[i % CHANNELS * plane + i / CHANNELS] * 255 + .5f);
    strengthen((byte_image){p.w, p.h, p.bytes}, (unsigned)augment / AUGMENT_OPERATIONS);
    image ready = to_floats(p);
    memcpy(strong.to, ready.data, plane * CHANNELS * sizeof(float));
    free(p.bytes);
    free_image(crop);
    free_image(ready);
}

/* Where an image lies on the detector's input, in its pixels; flip: mirrored afterwards. */
typedef struct {
    float x, y, w, h;
    int flip;
} placement;

/* As load_data_detection places it: whole, its sides jittered, at a random place; stretched:
 * its sides are the input's before the jitter. */
static placement jitter_placement(image im, int w, int h, float jitter, int is_stretched)
{
    float own_w = is_stretched ? 1 : im.w, own_h = is_stretched ? 1 : im.h;
    float dw = jitter * own_w, dh = jitter * own_h;
    float ratio = (own_w + rand_uniform(-dw, dw)) / (own_h + rand_uniform(-dh, dh));
    placement p = {.w = w, .h = h};
    if (ratio < 1) p.w = (is_stretched ? w : h) * ratio;
    else p.h = (is_stretched ? h : w) / ratio;
    p.x = rand_uniform(0, w - p.w);
    p.y = rand_uniform(0, h - p.h);
    return p;
}

fitted_sides fit_sides(int w, int h, int input_w, int input_h, int is_stretched)
{
    if (is_stretched) return (fitted_sides){input_w, input_h};
    if ((float)input_w / w < (float)input_h / h)
        return (fitted_sides){input_w, h * input_w / w};
    return (fitted_sides){w * input_h / h, input_h};
}

/* As fit_image places it: whole, in its own proportions, in the middle; or stretched. */
static placement fit_placement(image im, int w, int h, int is_stretched)
{
    fitted_sides own = fit_sides(im.w, im.h, w, h, is_stretched);
    return (placement){(w - own.w) / 2, (h - own.h) / 2, own.w, own.h, 0};
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
static void place_boxes(const loader *l, const load *to, image_labels labels, placement p,
                        float *truth)
{
    if (!labels.n) return;
    labelled_box boxes[labels.n];
    memcpy(boxes, labels.boxes, sizeof(boxes));
    if (l->augment && labels.n > 1) shuffle(boxes, labels.n, sizeof(*boxes));
    const float *end = truth + l->net.truths / 5 * 5;
    for (int i = 0; i < labels.n && truth < end; ++i) {
        labelled_box b = boxes[i];
        place_side(&b.x, &b.w, p.x / to->width, p.w / to->width);
        place_side(&b.y, &b.h, p.y / to->height, p.h / to->height);
        if (b.w < LEAST_SIDE || b.h < LEAST_SIDE) continue;
        if (p.flip) b.x = 1 - b.x;
        const float numbers[] = {b.x, b.y, b.w, b.h, b.class};
        memcpy(truth, numbers, sizeof(numbers));
        truth += 5;
    }
}

/* An image as the detector sees it, and its boxes in truth, which is 0 before. */
static image place_detection(const loader *l, const load *to, image im, image_labels labels,
                             float *truth)
{
    int is_stretched = !l->net.letter_box;
    placement p = fit_placement(im, to->width, to->height, is_stretched);
    image ready;
    if (l->augment) {
        p = jitter_placement(im, to->width, to->height, l->jitter, is_stretched);
        ready = make_image(to->width, to->height, im.c);
        fill_image(ready, .5);
        place_image(im, p.w, p.h, p.x, p.y, ready);
        distort(ready, &l->net);
        p.flip = rand() % 2;
        if (p.flip) flip_image(ready);
    } else {
        ready = is_stretched ? resize_image(im, to->width, to->height)
                             : letterbox_image(im, to->width, to->height);
    }
    place_boxes(l, to, labels, p, truth);
    return ready;
}

/* An image's pixels from the cache, which they go to if it has room for them; or as decode's.
 */
static pixels get_pixels(loader *l, int index, char *reason)
{
    pthread_mutex_lock(&l->mutex);
    pixels p = l->cache ? l->cache[index] : (pixels){0};
    pthread_mutex_unlock(&l->mutex);
    if (p.bytes) return p;
    p = decode(l->list.paths[index], reason);
    size_t size = (size_t)p.w * p.h * CHANNELS;
    pthread_mutex_lock(&l->mutex);
    if (p.bytes && l->cache && !l->cache[index].bytes && l->cached + size <= LOADER_CACHE) {
        p.is_kept = 1;
        l->cache[index] = p;
        l->cached += size;
    }
    pthread_mutex_unlock(&l->mutex);
    return p;
}

/*
 * Image `index` of the list as the network sees it, truth filled in, size[2] as in the file;
 * and its strong view. No data when it can't be read.
 */
static image make_input(loader *l, const load *to, int index, float *truth, int *size,
                        strong_view strong, failure *why)
{
    const network *net = &l->net;
    pixels p = get_pixels(l, index, why->reason);
    why->path = l->list.paths[index];
    if (!p.bytes) return (image){0};
    image im = to_floats(p), ready;
    if (!p.is_kept) free(p.bytes);
    if (size) memcpy(size, (int[]){im.w, im.h}, 2 * sizeof(int));
    if (l->list.labels) {
        ready = place_detection(l, to, im, l->list.labels[index], truth);
    } else {
        ready = l->augment ? augment_image(im, net, l->augment)
                           : center_crop_image(im, net->w, net->h);
        int is_known = !is_unlabelled(&l->list, index);
        truth[l->list.targets[index]] = is_known;
        if (l->augment && net->label_smooth_eps && is_known)
            smooth_labels(truth, net->truths, net->label_smooth_eps);
    }
    if (strong.to) make_strong(im, net, l->augment, strong);
    free_image(im);
    return ready;
}

/* Any image that has labels if this one has, and else none */
static int draw_alike(const image_list *list, int index)
{
    int labelled = list->n - list->unlabelled;
    return index < labelled ? rand() % labelled : labelled + rand() % list->unlabelled;
}

/* As make_input: the image and three others of the list, for Darknet's mosaic */
static image make_input_of_four(loader *l, const load *to, int index, float *truth, int *size,
                                strong_view strong, failure *why)
{
    int n = l->net.truths / 5;
    float *truths = kd_calloc(4 * 5 * n, sizeof(float));
    float *pixels[4] = {0}, *boxes[4];
    image whole = {0};
    int t = 0;
    do {
        boxes[t] = truths + t * 5 * n;
        pixels[t] = make_input(l, to, index, boxes[t], t ? 0 : size, strong, why).data;
        index = draw_alike(&l->list, index);
    } while (pixels[t] && ++t < 4);
    if (t == 4) whole = make_mosaic(pixels, boxes, to->width, to->height, n, truth);
    while (t--) free(pixels[t]);
    free(truths);
    return whole;
}

/* Makes image i of a load, unless it is another rank's; 0 when a file can't be read. */
static int load_one(loader *l, load *to, int i, failure *why)
{
    image_batch *b = &to->loaded;
    float *truth = b->truths + (size_t)i * l->net.truths;
    if (!is_own(i % l->net.batch, l->net.batch)) return 1;
    srand(b->seeds[i]);
    memset(truth, 0, l->net.truths * sizeof(float));
    int is_mosaic = l->augment && l->net.mosaic && rand() % 2;
    strong_view strong = {b->strong ? b->strong + (size_t)i * b->inputs : 0,
                          derive_seed(b->seeds[i], STRONG)};
    image ready = (is_mosaic ? make_input_of_four : make_input)(l, to, b->indices[i], truth,
                                                                b->sizes + 2 * i, strong, why);
    if (!ready.data) return 0;
    memcpy(b->images + (size_t)i * b->inputs, ready.data, b->inputs * sizeof(float));
    free_image(ready);
    return 1;
}

/* Loads the next image that no thread has taken; has the mutex before and after. */
static void load_next(loader *l)
{
    load *to = l->loads + l->taken % LOADS;
    int i = to->begun++;
    if (to->begun == l->images) ++l->taken;
    failure why;
    pthread_mutex_unlock(&l->mutex);
    int is_made = load_one(l, to, i, &why);
    pthread_mutex_lock(&l->mutex);
    if (!is_made && i < to->failed) {
        to->failed = i;
        to->why = why;
    }
    if (++to->done == l->images) pthread_cond_signal(&l->has_news);
}

static void *work(void *argument)
{
    loader *l = argument;
    pthread_mutex_lock(&l->mutex);
    while (!l->is_ending)
        if (l->taken < l->started) load_next(l);
        else pthread_cond_wait(&l->has_work, &l->mutex);
    --l->working;
    pthread_cond_signal(&l->has_news);
    pthread_mutex_unlock(&l->mutex);
    return 0;
}

/* A tenth of a second at most, whatever the clock does; 1 when it has passed without news. */
static int wait_a_moment(loader *l)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += 100000000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&l->has_news, &l->mutex, &end) == ETIMEDOUT;
}

static void start_workers(loader *l)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->mutex, 0);
    pthread_cond_init(&l->has_work, 0);
    pthread_cond_init(&l->has_news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->working = l->threads;
    l->workers = kd_calloc(l->threads, sizeof(pthread_t));
    for (int t = 0; t < l->threads; ++t)
        if (pthread_create(l->workers + t, 0, work, l)) kd_fail("cannot start a thread");
}

/* 0 when some did not end in time. */
static int stop_workers(loader *l)
{
    int moments = 0;
    pthread_mutex_lock(&l->mutex);
    l->is_ending = 1;
    pthread_cond_broadcast(&l->has_work);
    while (l->working && (moments < 10 || !l->stop || !*l->stop)) moments += wait_a_moment(l);
    int is_done = !l->working;
    pthread_mutex_unlock(&l->mutex);
    if (!is_done) return 0;
    for (int t = 0; t < l->threads; ++t) pthread_join(l->workers[t], 0);
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->has_work);
    pthread_cond_destroy(&l->has_news);
    return 1;
}

int loading_threads(void)
{
    int cores = count_cores();
    return cores < LEAST_THREADS ? LEAST_THREADS : cores > MOST_THREADS ? MOST_THREADS : cores;
}

loader *make_loader(const image_list *list, network *net, int images, int augment, int threads,
                    uint64_t seed)
{
    loader *l = kd_calloc(1, sizeof(*l));
    l->list = *list;
    l->net = *net;
    l->jitter = net->layers[net->n - 1].jitter;
    l->images = images;
    l->augment = augment;
    l->threads = threads;
    l->seed = seed;
    l->order = kd_calloc(list->n, sizeof(int));
    l->epoch = (uint64_t)-1; /* none is shuffled yet */
    if (augment) l->cache = kd_calloc(list->n, sizeof(pixels));
    for (int i = 0; i < LOADS; ++i) {
        image_batch *to = &l->loads[i].loaded;
        to->truths = kd_calloc((size_t)images * l->net.truths, sizeof(float));
        to->n = images;
        to->n_truths = l->net.truths;
        to->indices = kd_calloc(images, sizeof(int));
        to->unlabelled = kd_calloc(images, 1);
        to->seeds = kd_calloc(images, sizeof(unsigned));
        to->sizes = kd_calloc(images, 2 * sizeof(int));
    }
    start_workers(l);
    return l;
}

void free_loader(loader *l)
{
    if (!stop_workers(l)) return;
    for (int i = 0; i < LOADS; ++i) {
        image_batch *to = &l->loads[i].loaded;
        free(to->images);
        free(to->strong);
        free(to->truths);
        free(to->indices);
        free(to->unlabelled);
        free(to->seeds);
        free(to->sizes);
    }
    for (int i = 0; l->cache && i < l->list.n; ++i) free(l->cache[i].bytes);
    free(l->cache);
    free(l->order);
    free(l->workers);
    free(l);
}

/* Fisher and Yates; each epoch starts again from the list's own order. */
static void shuffle_epoch(loader *l, uint64_t epoch)
{
    if (l->epoch == epoch) return;
    l->epoch = epoch;
    for (int i = 0; i < l->list.n; ++i) l->order[i] = i;
    if (!l->augment) return;
    srand(derive_seed(~l->seed, epoch));
    for (int i = l->list.n - 1; i > 0; --i) {
        int j = rand() % (i + 1), swap = l->order[i];
        l->order[i] = l->order[j];
        l->order[j] = swap;
    }
}

/* Makes room for the images that are about to be loaded. */
static void reserve(const loader *l, load *to)
{
    to->loaded.inputs = to->width * to->height * CHANNELS;
    size_t needed = (size_t)l->images * to->loaded.inputs;
    if (to->room >= needed) return;
    free(to->loaded.images);
    free(to->loaded.strong);
    to->loaded.images = kd_calloc(needed, sizeof(float));
    if (l->augment >= AUGMENT_OPERATIONS) to->loaded.strong = kd_calloc(needed, sizeof(float));
    to->room = needed;
}

void start_loading(loader *l, uint64_t position, int width, int height)
{
    load *to = l->loads + l->started % LOADS;
    to->position = position;
    to->width = width;
    to->height = height;
    to->begun = to->done = 0;
    to->failed = l->images;
    reserve(l, to);
    for (int i = 0; i < l->images; ++i) {
        shuffle_epoch(l, (position + i) / l->list.n);
        to->loaded.indices[i] = l->order[(position + i) % l->list.n];
        to->loaded.unlabelled[i] = is_unlabelled(&l->list, to->loaded.indices[i]);
        to->loaded.seeds[i] = derive_seed(l->seed, position + i);
    }
    pthread_mutex_lock(&l->mutex);
    ++l->started;
    pthread_cond_broadcast(&l->has_work);
    pthread_mutex_unlock(&l->mutex);
}

int wait_for_images(loader *l, const volatile sig_atomic_t *stop)
{
    const load *to = l->loads + l->fetched % LOADS;
    l->stop = stop;
    pthread_mutex_lock(&l->mutex);
    while (to->done < l->images && !*stop) wait_a_moment(l);
    pthread_mutex_unlock(&l->mutex);
    return !*stop;
}

image_batch finish_loading(loader *l)
{
    load *to = l->loads + l->fetched++ % LOADS;
    pthread_mutex_lock(&l->mutex);
    while (to->done < l->images) pthread_cond_wait(&l->has_news, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    if (to->failed < l->images)
        kd_fail("%s: cannot be decoded: %s", to->why.path, to->why.reason);
    return to->loaded;
}
