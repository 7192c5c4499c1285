/*
 * Small students and teachers, on the CPU and on the GPU alike: a pair of cfg texts to a
 * student that is ready to be trained, as `distill` makes it; batches; steps; comparing. The
 * same `seed` gives the same weights and images on both.
 */
#ifndef PAIRS_H
#define PAIRS_H

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda.h"
#include "network.h"
#include "parser.h"
#include "utils.h"

#include "deepkd.h"
#include "net/device.h"
#include "distil/groups.h"
#include "distil/replicas.h"

enum { ON_CPU = -1, ON_GPU = 0 };
#define TEACHERS_SEED 1000 /* of every teacher, whatever its student's */

/* ---- files ------------------------------------------------------------- */

static char pairs_folder[64];

static inline void remove_folder(void)
{
    DIR *folder = opendir(pairs_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    rmdir(pairs_folder);
}

/* The path of a file in the program's folder, which goes when it ends; free it. */
static inline char *file_path(const char *name)
{
    char path[sizeof(pairs_folder) + 64];
    snprintf(path, sizeof(path), "%s/%s", pairs_folder, name);
    return kd_copy(path);
}

/* Writes a text with a newline for every blank; its path. */
static inline char *write_cfg(const char *name, const char *text)
{
    char *path = file_path(name);
    FILE *fp = fopen(path, "w");
    if (!fp) kd_fail("%s: cannot be written", path);
    for (; *text; ++text) fputc(*text == ' ' ? '\n' : *text, fp);
    fclose(fp);
    return path;
}

/* ---- stderr ------------------------------------------------------------ */

/* Darknet's tables are not shown between silence() and speak(silence()). */
static inline int silence(void)
{
    fflush(stderr);
    int real = dup(2), nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 2);
    close(nowhere);
    return real;
}

static inline void speak(int real)
{
    fflush(stderr);
    dup2(real, 2);
    close(real);
}

/* region_hook: Darknet's lines for each head and batch are not shown. */
static inline int no_figures(region_figures f)
{
    (void)f;
    return 0;
}

/* First in main. */
static inline void start_pairs(void)
{
    cuda_set_device(ON_GPU);
    if (!count_gpus()) kd_fail("found no GPU");
    strcpy(pairs_folder, "/tmp/deepkd-gpu-XXXXXX");
    if (!mkdtemp(pairs_folder)) kd_fail("%s: cannot be made", pairs_folder);
    atexit(remove_folder);
    deepkd_init();
    region_hook = no_figures;
    setvbuf(stdout, 0, _IOLBF, 0);
}

/* ---- networks ---------------------------------------------------------- */

/* Cfg texts, with blanks for newlines */
typedef struct {
    const char *net, *student; /* lines of the student's [net], and its layers */
    const char *teacher;       /* a whole cfg */
    const char *options;       /* lines of [teacher], then [deepkd_loss] and its lines */
} pair_spec;

/* Biases, scales and statistics, which Darknet starts at 0 and 1 */
static inline void randomise(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        size_t weights, biases;
        layer_sizes(l, &weights, &biases);
        for (size_t k = 0; k < biases; ++k) {
            l.biases[k] = rand_uniform(-.4, .4);
            if (!l.batch_normalize) continue;
            l.scales[k] = rand_uniform(.5, 1.5);
            l.rolling_mean[k] = rand_uniform(-.3, .3);
            l.rolling_variance[k] = rand_uniform(.5, 1.5);
        }
    }
    push_network(net);
}

static inline network *parse_net(char *cfg, int batch, int gpu, unsigned int seed)
{
    int real = silence();
    gpu_index = gpu;
    srand(seed);
    network *net = parse_network_cfg_batch(cfg, batch);
    speak(real);
    randomise(net);
    return net;
}

/* What follows is about this pair's network, on its CPU or GPU. */
static inline void enter_pair(const deepkd *kd)
{
    cuda_set_device(kd->net->gpu_index);
}

/* What `distill` does between parsing and training */
static inline deepkd *make_pair(const pair_spec *spec, int gpu, unsigned int seed)
{
    char text[4096];
    snprintf(text, sizeof(text), "[net] channels=3 %s %s [teacher] %s", spec->net,
             spec->student, spec->options);
    char *cfg = write_cfg("student.cfg", text);
    char *teacher_cfg = write_cfg("teacher.cfg", spec->teacher);
    char *weights = file_path("teacher.weights");
    network *other = parse_net(teacher_cfg, 1, ON_CPU, TEACHERS_SEED);
    network *net = parse_net(cfg, 0, gpu, seed);
    deepkd *kd = find_deepkd(net);
    int real = silence();
    save_weights(other, weights);
    enter_pair(kd);
    kd->teacher->cfg = teacher_cfg; /* which frees it */
    load_teacher(kd->teacher, weights);
    attach_deepkd_loss(kd, cfg);
    attach_groups(kd, cfg);
    speak(real);
    free_network(other), free(cfg), free(weights);
    return kd;
}

static inline void free_pair(deepkd *kd)
{
    enter_pair(kd);
    release_groups(kd);
    free_network(kd->net);
}

/* ---- batches and steps --------------------------------------------------- */

/* Images of noise and their truths, for n batches of this student */
typedef struct {
    float *images, *truths;
} batch;

/* A detector's boxes, as many as an image can have, over all sizes */
static inline void make_boxes(float *truth, int most, int classes)
{
    for (int t = 0; t < most; ++t) {
        float size = .1 + .8 * t / most;
        float box[] = {rand_uniform(.01, .99), rand_uniform(.01, .99),
                       size * rand_uniform(.6, 1), size * rand_uniform(.6, 1),
                       rand() % classes};
        memcpy(truth + 5 * t, box, sizeof(box));
    }
}

static inline batch make_batch(const deepkd *kd, int n, unsigned int seed)
{
    const network *net = kd->net;
    size_t images = n * images_per_batch(net), numbers = images * net->inputs;
    batch b = {kd_calloc(numbers, sizeof(float)),
               kd_calloc(images * net->truths, sizeof(float))};
    srand(seed);
    for (size_t i = 0; i < numbers; ++i) b.images[i] = rand_uniform(0, 1);
    for (size_t i = 0; i < images; ++i) {
        float *truth = b.truths + i * net->truths;
        if (is_detector(&kd->outputs)) make_boxes(truth, net->truths / 5, kd->classes);
        else truth[rand() % kd->classes] = 1;
    }
    return b;
}

static inline void free_batch(batch b)
{
    free(b.images), free(b.truths);
}

/* One step of all copies on n batches of the first one's; the mean loss of an image */
static inline double train_step(replicas *r, int n, unsigned int seed)
{
    enter_pair(r->kd[0]);
    batch b = make_batch(r->kd[0], n, seed);
    double loss = train_replicas(r, b.images, b.truths, seed);
    read_replicas(r);
    free_batch(b);
    return loss;
}

static inline replicas single(deepkd *kd)
{
    return (replicas){{kd}, 1, 0};
}

static inline double train_pair(deepkd *kd, unsigned int seed)
{
    replicas r = single(kd);
    return train_step(&r, 1, seed);
}

static inline void no_update(network *net)
{
    (void)net;
}

/* ---- comparing --------------------------------------------------------- */

/* The host's copies of the student's weights, statistics and momenta */
static inline void pull_pair(deepkd *kd)
{
    enter_pair(kd);
    pull_network(kd->net);
    pull_groups(kd);
}

/* Both as of the last pull_pair; relative to the largest of each array */
static inline void compare_groups(worst_case *w, const deepkd *found, const deepkd *wanted)
{
    for (int g = 0; g < wanted->groups->n; ++g)
        for (int i = 0; i < wanted->net->n; ++i) {
            size_t weights, biases;
            const char *name = name_gradient(wanted->groups->group + g);
            layer_buffers a = found->groups->group[g].host[i];
            layer_buffers b = wanted->groups->group[g].host[i];
            layer_sizes(wanted->net->layers[i], &weights, &biases);
            compare(w, a.weights, b.weights, weights, 1, "%s, layer %d, weights", name, i);
            compare(w, a.biases, b.biases, biases, 1, "%s, layer %d, biases", name, i);
            if (b.scales)
                compare(w, a.scales, b.scales, biases, 1, "%s, layer %d, scales", name, i);
        }
}

static inline void compare_weights(worst_case *w, const deepkd *found, const deepkd *wanted)
{
    for (int i = 0; i < wanted->net->n; ++i) {
        size_t n, biases;
        layer a = found->net->layers[i], b = wanted->net->layers[i];
        layer_sizes(b, &n, &biases);
        compare(w, a.weights, b.weights, n, 1, "layer %d, weights", i);
        compare(w, a.biases, b.biases, biases, 1, "layer %d, biases", i);
        if (!b.batch_normalize) continue;
        compare(w, a.scales, b.scales, biases, 1, "layer %d, scales", i);
        compare(w, a.rolling_mean, b.rolling_mean, biases, 1, "layer %d, means", i);
        compare(w, a.rolling_variance, b.rolling_variance, biases, 1, "layer %d, variances", i);
    }
}

/* The losses as of the last read_replicas; relative to each */
static inline void compare_losses(worst_case *w, const deepkd *found, const deepkd *wanted)
{
    for (int c = 0; c < KD_COMPONENTS; ++c)
        compare_one(w, found->loss[c], wanted->loss[c], fabs(wanted->loss[c]), 0,
                    kd_component_name[c]);
    compare_one(w, found->images, wanted->images, 1, 0, "images");
}

#endif
