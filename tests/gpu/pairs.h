/*
 * Small students and teachers (nets.h), on the CPU and on the GPU alike: batches; steps;
 * comparing. The same `seed` gives the same weights and images on both.
 */
#ifndef PAIRS_H
#define PAIRS_H

#include "detectors.h"

#include "cuda.h"
#include "network.h"

#include "distil/replicas.h"

#define TEACHERS_SEED 1000 /* of every teacher, whatever its student's */

/* First in main. */
static inline void start_pairs(void)
{
    cuda_set_device(ON_GPU);
    if (!count_gpus()) kd_fail("found no GPU");
    start_nets();
    setvbuf(stdout, 0, _IOLBF, 0);
}

/* ---- pairs ------------------------------------------------------------- */

/* Cfg texts, with blanks for newlines */
typedef struct {
    const char *net, *student; /* lines of the student's [net], and its layers */
    const char *teacher;       /* a whole cfg */
    const char *options;       /* lines of [teacher], then [deepkd_loss] and its lines */
} pair_spec;

static inline deepkd *make_pair_on(int gpu, const pair_spec *spec, unsigned int seed)
{
    char text[4096];
    snprintf(text, sizeof(text), "[net] channels=3 %s %s [teacher] %s", spec->net,
             spec->student, spec->options);
    use_gpu(gpu);
    return pair_nets(gpu, write_cfg("student.cfg", text),
                     write_cfg("teacher.cfg", spec->teacher), seed, TEACHERS_SEED);
}

/* ---- batches and steps --------------------------------------------------- */

/* Images of noise and their truths, for n batches of this student */
typedef struct {
    float *images, *truths;
} batch;

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
        if (is_detector(&kd->outputs)) fill_boxes(truth, net->truths / 5, kd->classes);
        else truth[rand() % kd->classes] = 1;
    }
    return b;
}

static inline void free_batch(batch b)
{
    free(b.images), free(b.truths);
}

/* As train_replicas takes it; of the first one's size */
static inline image_batch whole_batch(const deepkd *kd, int n, batch b)
{
    return (image_batch){.n = n * images_per_batch(kd->net),
                         .inputs = kd->net->inputs,
                         .n_truths = kd->net->truths,
                         .images = b.images,
                         .truths = b.truths};
}

/* One step of all copies on n batches of the first one's; the mean loss of an image */
static inline double train_step(replicas *r, int n, unsigned int seed)
{
    enter_pair(r->kd[0]);
    batch b = make_batch(r->kd[0], n, seed);
    double loss = train_replicas(r, whole_batch(r->kd[0], n, b), seed);
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
            char name[64];
            name_broken(gradient_bits(wanted->groups->group + g), name, sizeof(name));
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
