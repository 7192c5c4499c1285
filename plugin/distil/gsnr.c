/* See gsnr.h. */
#include "distil/gsnr.h"
#include "net/parameters.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL 50 /* usual with momentum_rule=gsnr, which needs samples */
#define NEW .2      /* share of a new sample in what has been measured so far */

int gsnr_interval(const deepkd *kd)
{
    const deepkd_options *o = &kd->options;
    if (o->gsnr_interval >= 0) return o->gsnr_interval;
    return o->momentum_rule == RULE_GSNR ? INTERVAL : 0;
}

/* Sums over some of a layer's numbers */
typedef struct {
    double sum2[KD_COMPONENTS], difference2[KD_COMPONENTS], cross[KD_COMPONENTS];
    double buffer2[KD_COMPONENTS];
} sums;

/* The other two of three components, in the order of gsnr_sample's cosine */
static const kd_component pairs[KD_COMPONENTS][2] = {
    {KD_TOG, KD_TCG}, {KD_TOG, KD_NCG}, {KD_TCG, KD_NCG}};

/* Adds `n` numbers from `at` on, of each component's buffers. */
static void add_numbers(const deepkd *kd, size_t at, size_t n, sums *to)
{
    const sampler *s = kd->sampler;
    size_t size = s->probe->size;
    for (size_t i = at; i < at + n; ++i) {
        double sum[KD_COMPONENTS];
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            double a = s->half[0][c * size + i], b = s->half[1][c * size + i];
            sum[c] = a + b;
            to->sum2[c] += sum[c] * sum[c];
            to->difference2[c] += (a - b) * (a - b);
        }
        for (int k = 0; k < KD_COMPONENTS; ++k)
            to->cross[k] += sum[pairs[k][0]] * sum[pairs[k][1]];
        for (int g = 0; g < kd->groups->n; ++g) {
            double v = s->before[g * size + i];
            to->buffer2[g] += v * v;
        }
    }
}

static void add_layer(const deepkd *kd, int i, sums *to)
{
    size_t weights, biases;
    layer_buffers b = kd->groups->group[0].host[i];
    const float *base = kd->groups->host;
    layer_sizes(kd->net->layers[i], &weights, &biases);
    add_numbers(kd, b.weights - base, weights, to);
    add_numbers(kd, b.biases - base, biases, to);
    if (b.scales) add_numbers(kd, b.scales - base, biases, to);
}

static void add_sums(sums *to, const sums *from)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        to->sum2[c] += from->sum2[c];
        to->difference2[c] += from->difference2[c];
        to->cross[c] += from->cross[c];
        to->buffer2[c] += from->buffer2[c];
    }
}

/* The momenta after the last batch; they have been multiplied for this one since. */
static kd_snr buffer_of(const deepkd *kd, kd_component c, const kd_snr *gradient, double square)
{
    long update = training_update(kd);
    double momentum = momentum_at(kd, c, update), images = images_per_batch(kd->net);
    if (!momentum) return (kd_snr){0, 0};
    return kd_buffer_snr(square / (momentum * momentum * images * images), *gradient, momentum,
                         update - 1);
}

/* A group's components are summed in its buffer: so is their noise, taken as independent. */
static kd_snr group_gradient(const momentum_group *group, const gsnr_sample *s)
{
    kd_snr total = {0, 0};
    for (int c = 0; c < KD_COMPONENTS; ++c)
        if (group->has[c]) total.noise += s->gradient[c].noise;
    return total;
}

static gsnr_sample make_sample(const deepkd *kd, int layer, const sums *s)
{
    gsnr_sample sample = {.layer = layer};
    for (int c = 0; c < KD_COMPONENTS; ++c)
        sample.gradient[c] = kd_signal_noise(s->sum2[c], s->difference2[c], kd->net->batch / 2,
                                             kd->net->subdivisions * kd->copies);
    for (int k = 0; k < KD_COMPONENTS; ++k) {
        double norms = sqrt(s->sum2[pairs[k][0]] * s->sum2[pairs[k][1]]);
        sample.cosine[k] = norms ? s->cross[k] / norms : 0;
    }
    for (int g = 0; g < kd->groups->n; ++g) {
        const momentum_group *group = kd->groups->group + g;
        kd_snr noise = group_gradient(group, &sample);
        for (int c = 0; c < KD_COMPONENTS; ++c)
            if (group->has[c]) sample.buffer[c] = buffer_of(kd, c, &noise, s->buffer2[g]);
    }
    return sample;
}

/* Adds the gradients of `n` images from `first` on, in the view that was seen. */
static void add_gradients(deepkd *kd, int first, int n, float *to)
{
    momentum_groups *probe = kd->sampler->probe;
    size_t size = probe->n * probe->size;
    device_clear(kd->net, size, probe->momenta);
    backward_images(kd, probe, first, n);
    device_pull(kd->net, size, probe->momenta, probe->host);
    for (size_t i = 0; i < size; ++i) to[i] += probe->host[i];
}

/* Before the batch's first view changes the momenta */
static void begin_sample(deepkd *kd)
{
    sampler *s = kd->sampler;
    size_t size = s->probe->n * s->probe->size;
    for (int k = 0; k < 2; ++k) memset(s->half[k], 0, size * sizeof(float));
    pull_groups(kd);
    memcpy(s->before, kd->groups->host, kd->groups->n * kd->groups->size * sizeof(float));
}

static void smooth(deepkd *kd, const gsnr_sample *all)
{
    gsnr_state *state = &kd->gsnr;
    double share = state->samples++ ? NEW : 1;
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        state->snr[c].signal += share * (all->gradient[c].signal - state->snr[c].signal);
        state->snr[c].noise += share * (all->gradient[c].noise - state->snr[c].noise);
    }
}

static void sample_gradients(deepkd *kd)
{
    sampler *s = kd->sampler;
    int half = kd->net->batch / 2;
    sums all = {0};
    if (!on_gpu(kd->net)) allocate_group_deltas(kd->net, s->probe);
    if (!kd->source.view) begin_sample(kd);
    for (int k = 0; k < 2; ++k) add_gradients(kd, k * half, half, s->half[k]);
    if (kd->source.view + 1 < kd->views) return;
    s->n = 1;
    for (int i = 0; i < kd->net->n; ++i) {
        sums own = {0};
        if (!is_trained(kd->net, i)) continue;
        add_layer(kd, i, &own);
        add_sums(&all, &own);
        if (kd->options.gsnr_layers) s->samples[s->n++] = make_sample(kd, i, &own);
    }
    s->samples[0] = make_sample(kd, -1, &all);
    s->batch = training_batch(kd->net);
    smooth(kd, s->samples);
}

/* Is this the first subdivision of a batch that is to be measured? */
static int is_due(const deepkd *kd)
{
    const network *net = kd->net;
    long batch = training_batch(net), interval = gsnr_interval(kd);
    int is_first = (*net->seen - net->batch) % images_per_batch(net) == 0;
    return !kd->broken && is_first && batch / interval != (batch - kd->copies) / interval;
}

/* net->backward */
static void backward_and_sample(network *net)
{
    deepkd *kd = find_deepkd(net);
    if (!is_due(kd)) {
        backward_groups(net);
        return;
    }
    save_task_deltas(kd);
    sample_gradients(kd);
    backward_images(kd, kd->groups, 0, net->batch);
}

void attach_gsnr(deepkd *kd, const char *cfg)
{
    network *net = kd->net;
    if (!gsnr_interval(kd)) return;
    if (net->batch < 2)
        kd_fail(
            "%s: [deepkd_loss] gsnr_interval=%d: found one image a subdivision, expected two "
            "or more, to tell signal from noise",
            cfg, gsnr_interval(kd));
    sampler *s = kd->sampler = kd_calloc(1, sizeof(*s));
    s->probe = make_groups(kd, 1);
    size_t size = s->probe->n * s->probe->size;
    for (int k = 0; k < 2; ++k) s->half[k] = kd_calloc(size, sizeof(float));
    s->before = kd_calloc(size, sizeof(float));
    s->samples = kd_calloc(net->n + 1, sizeof(*s->samples));
    net->backward = backward_and_sample;
}

void release_gsnr(deepkd *kd)
{
    sampler *s = kd->sampler;
    if (!s) return;
    free_groups(kd->net, s->probe);
    free(s->half[0]), free(s->half[1]);
    free(s->before);
    free(s->samples);
    free(s);
    kd->sampler = 0;
}
