/* See replicas.h. */
#include "distil/replicas.h"
#include "cpu/ranks.h"
#include "distil/replicas_gpu.h"
#include "distil/views.h"
#include "net/device.h"
#include "support.h"

#include "network.h"

void enter_copy(const replicas *r, int k)
{
    device_enter(r->kd[k]->net, student_lane(k));
}

void train_share(share *s)
{
    deepkd *kd = s->kd;
    network *net = kd->net;
    device_enter(net, student_lane(s->number));
    device_seed(s->seed);
    start_losses(kd);
    float *own_input = net->input, *own_truth = net->truth;
    for (int i = 0; i < net->subdivisions; ++i) {
        image_batch part = part_of_batch(s->batch, i * net->batch, net->batch);
        gather_items(part.truths, part.n, part.n_truths * sizeof(float));
        kd->batch = &part;
        net->truth = part.truths;
        look_at_views(kd);
        for (int v = 0; v < kd->views; ++v) {
            enter_view(kd, v);
            s->loss +=
                (v + 1 < kd->views ? train_view(net) : train_network_datum(net)) / kd->views;
        }
    }
    kd->batch = 0;
    net->input = own_input;
    net->truth = own_truth;
}

share make_share(const replicas *r, int k, image_batch batch, unsigned seed)
{
    long n = images_per_batch(r->kd[k]->net);
    return (share){r->kd[k], part_of_batch(batch, k * n, n), seed + k, k, 0};
}

replicas make_replicas(deepkd *first, const int *gpus, int n, replica_maker make, void *context)
{
    replicas r = {{first}, n, 0};
    if (on_gpu(first->net) && n > 1) make_copies(&r, gpus, make, context);
    return r;
}

void free_replicas(replicas *r)
{
    if (on_gpu(r->kd[0]->net)) free_copies(r);
}

void spread_student(replicas *r)
{
    if (on_gpu(r->kd[0]->net) && r->n > 1) spread_to_copies(r);
}

void resize_replicas(replicas *r, int width, int height)
{
    for (int k = 0; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        if (net->w != width || net->h != height) resize_network(net, width, height);
    }
    enter_copy(r, 0);
}

void print_gpus(const replicas *r)
{
    for (int k = 0; k < r->n; ++k) {
        enter_copy(r, k);
        print_gpu(r->kd[k]->net);
    }
    enter_copy(r, 0);
}

void print_figures(const replicas *r, int is_printed)
{
    for (int k = 0; k < r->n; ++k) r->kd[k]->prints_figures = is_printed;
}

void read_replicas(replicas *r)
{
    deepkd *first = r->kd[0];
    read_losses(first);
    for (int k = 1; k < r->n; ++k) {
        deepkd *kd = r->kd[k];
        enter_copy(r, k);
        read_losses(kd);
        for (int c = KD_TCG; c <= KD_NCG; ++c) first->loss[c] += kd->loss[c];
        if (first->broken || !kd->broken) continue;
        first->broken = kd->broken;
        first->broken_batch = kd->broken_batch;
    }
    enter_copy(r, 0);
}

static void check_views(const deepkd *kd, const image_batch *batch)
{
    int views = batch->strong ? 2 : 1;
    if (views != kd->views)
        kd_fail("method=%s: found %d views of an image in a batch, expected %d",
                kd->loss_config.method->name, views, kd->views);
}

double train_replicas(replicas *r, image_batch batch, unsigned seed)
{
    check_views(r->kd[0], &batch);
    if (on_gpu(r->kd[0]->net) && r->n > 1) return train_copies(r, batch, seed);
    share s = make_share(r, 0, batch, seed);
    train_share(&s);
    return s.loss / images_per_batch(s.kd->net);
}
