/* See calibrate.h. */
#include "run/calibrate.h"
#include "cpu/cores.h"
#include "data/loader.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>

/* 0 after a stop */
static int run_on_images(teacher *t, loader *l, const volatile sig_atomic_t *stop)
{
    const network *student = t->student;
    for (int done = 0; done < CALIBRATION_IMAGES; done += student->batch) {
        start_loading(l, done, student->w, student->h);
        if (!wait_for_images(l, stop)) return 0;
        run_teacher(t, finish_loading(l).images);
    }
    return 1;
}

static int has_int8_layer(const network *net)
{
    for (int i = 0; i < net->n; ++i)
        if (net->layers[i].type == CONVOLUTIONAL && find_arithmetic(net, i) == INT8) return 1;
    return 0;
}

static void calibrate(const deepkd *kd, teacher *t, const image_list *list, int threads,
                      uint64_t seed, const volatile sig_atomic_t *stop)
{
    if (t->arithmetic != INT8 || t->is_cached) return;
    float *largest = kd_calloc(t->net->n, sizeof(float));
    int augment = training_augmentation(kd) % AUGMENT_OPERATIONS; /* without strong views */
    loader *l = make_loader(list, kd->net, kd->net->batch, augment, threads, seed);
    note_largest(t->net, largest);
    int is_done = run_on_images(t, l, stop);
    note_largest(t->net, 0);
    free_loader(l);
    for (int i = 0; i < t->net->n; ++i)
        if (isinf(largest[i]))
            kd_fail("%s: layer %d: found a number that is not finite in its output, expected "
                    "none: precision=int8 cannot be calibrated",
                    t->cfg, i);
    if (is_done) use_int8(t->net, largest);
    if (is_done && !has_int8_layer(t->net))
        kd_fail("%s: precision=int8: found no linear, leaky, relu, mish or swish convolution "
                "of 16 channels between others, expected another precision",
                t->cfg);
    free(largest);
}

void calibrate_teachers(const deepkd *kd, const image_list *list, int threads, uint64_t seed,
                        const volatile sig_atomic_t *stop)
{
    for (teacher *t = kd->teacher; t; t = t->next) calibrate(kd, t, list, threads, seed, stop);
}
