/* See replicas.h. */
#include "distil/replicas.h"
#include "net/device.h"

#include "blas.h"
#include "cuda.h"
#include "network.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What one copy has to do in a step */
typedef struct {
    network *net;
    float *images, *truths;
    unsigned int seed;
    int number;
    double loss; /* out: the sum over its images */
} share;

/* This thread's work goes to copy k's GPU and stream from now on. */
static void enter(const network *net, int k)
{
#ifdef GPU
    if (!on_gpu(net)) return;
    cuda_set_device(net->gpu_index);
    cuda_set_lane(2 * k);
#endif
    (void)net, (void)k;
}

/* Its images through Darknet's train_network_datum, subdivision by subdivision */
static void train_share(share *s)
{
    network *net = s->net;
    size_t inputs = (size_t)net->batch * net->inputs, truths = (size_t)net->batch * net->truths;
    enter(net, s->number);
    srand(s->seed);
#ifdef GPU
    cuda_seed(s->seed);
#endif
    start_losses(find_deepkd(net));
    float *own_input = net->input, *own_truth = net->truth;
    for (int i = 0; i < net->subdivisions; ++i) {
        net->input = s->images + i * inputs;
        net->truth = s->truths + i * truths;
        s->loss += train_network_datum(net);
    }
    net->input = own_input;
    net->truth = own_truth;
}

static share make_share(const replicas *r, int k, float *images, float *truths,
                        unsigned int seed)
{
    network *net = r->kd[k]->net;
    size_t first = (size_t)k * images_per_batch(net);
    return (share){net, images + first * net->inputs, truths + first * net->truths, seed + k, k,
                   0};
}

void resize_replicas(replicas *r, int width, int height)
{
    for (int k = 0; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        if (net->w != width || net->h != height) resize_network(net, width, height);
    }
    enter(r->kd[0]->net, 0);
}

void print_gpus(const replicas *r)
{
    for (int k = 0; k < r->n; ++k) {
        enter(r->kd[k]->net, k);
        print_gpu(r->kd[k]->net);
    }
    enter(r->kd[0]->net, 0);
}

void read_replicas(replicas *r)
{
    deepkd *first = r->kd[0];
    read_losses(first);
    for (int k = 1; k < r->n; ++k) {
        deepkd *kd = r->kd[k];
        enter(kd->net, k);
        read_losses(kd);
        for (int c = KD_TCG; c <= KD_NCG; ++c) first->loss[c] += kd->loss[c];
        if (first->broken || !kd->broken) continue;
        first->broken = kd->broken;
        first->broken_batch = kd->broken_batch;
    }
    enter(first->net, 0);
}

#ifdef GPU

/* A thread of train_replicas; it ends when its GPU has. */
static void *train_in_thread(void *argument)
{
    train_share(argument);
    check_error(cudaStreamSynchronize(get_cuda_stream()));
    return 0;
}

static void update_later(network *net)
{
    (void)net;
}

/* n batches a step, as Darknet counts images and sets the rate for several GPUs */
static void count_as_one_of(network *net, int n)
{
    net->learning_rate *= n;
    net->update = update_later;
}

/* So that momenta go from card to card, where the machine can; else they go by its memory. */
static void allow_access(int from, int to)
{
    int can = 0;
    if (from == to) return;
    cuda_set_device(from);
    check_error(cudaDeviceCanAccessPeer(&can, from, to));
    if (can && cudaDeviceEnablePeerAccess(to, 0) != cudaSuccess) cudaGetLastError();
}

replicas make_replicas(deepkd *first, const int *gpus, int n, replica_maker make, void *context)
{
    replicas r = {{first}, n, 0};
    if (n > 1 && first->net->policy == RANDOM)
        kd_fail("-gpus: found [net] policy=random, which draws another rate for each GPU: "
                "expected another policy");
    size_t size = first->groups->n * first->groups->size;
    for (int k = 1; k < n; ++k) {
        cuda_set_device(gpus[k]);
        r.kd[k] = make(context);
        r.kd[k]->teacher->lane = 2 * k + 1;
        allow_access(gpus[k], gpus[0]);
        allow_access(gpus[0], gpus[k]);
    }
    if (n > 1) enter(first->net, 0);
    if (n > 1) r.incoming = device_array(first->net, size);
    for (int k = 0; n > 1 && k < n; ++k) count_as_one_of(r.kd[k]->net, n);
    return r;
}

void free_replicas(replicas *r)
{
    device_free(r->kd[0]->net, r->incoming);
    for (int k = 1; k < r->n; ++k) {
        enter(r->kd[k]->net, k);
        release_groups(r->kd[k]);
        free_network(r->kd[k]->net);
    }
    enter(r->kd[0]->net, 0);
}

static void copy_arrays(kd_arrays from, kd_arrays to)
{
    for (int i = 0; i < from.n; ++i)
        memcpy(to.arrays[i].data, from.arrays[i].data, from.arrays[i].n * sizeof(float));
    kd_free_arrays(from);
    kd_free_arrays(to);
}

void spread_student(replicas *r)
{
    deepkd *first = r->kd[0];
    if (r->n == 1) return;
    pull_network(first->net);
    pull_groups(first);
    for (int k = 1; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        copy_arrays(network_arrays(first->net), network_arrays(net));
        copy_arrays(group_arrays(first), group_arrays(r->kd[k]));
        enter(net, k);
        push_network(net);
        push_groups(r->kd[k]);
        *net->seen = *first->net->seen;
    }
    enter(first->net, 0);
}

/* The mean of all copies' momenta, which hold the gradients by now, becomes theirs. */
static void average_momenta(replicas *r)
{
    deepkd *first = r->kd[0];
    size_t n = first->groups->n * first->groups->size, bytes = n * sizeof(float);
    int device = first->net->gpu_index;
    float *mean = first->groups->momenta;
    enter(first->net, 0);
    cudaStream_t stream = get_cuda_stream();
    for (int k = 1; k < r->n; ++k) {
        check_error(cudaMemcpyPeerAsync(r->incoming, device, r->kd[k]->groups->momenta,
                                        r->kd[k]->net->gpu_index, bytes, stream));
        device_add(first->net, n, 1, r->incoming, mean);
    }
    scal_gpu(n, 1. / r->n, mean, 1);
    for (int k = 1; k < r->n; ++k)
        check_error(cudaMemcpyPeerAsync(r->kd[k]->groups->momenta, r->kd[k]->net->gpu_index,
                                        mean, device, bytes, stream));
    check_error(cudaStreamSynchronize(stream));
}

static void update_all(replicas *r)
{
    for (int k = r->n - 1; k >= 0; --k) {
        enter(r->kd[k]->net, k);
        update_groups(r->kd[k]->net);
    }
}

/* The others' losses, as far as the host knows them, are the first one's too. */
static void gather_losses(replicas *r)
{
    deepkd *first = r->kd[0];
    for (int k = 1; k < r->n; ++k) {
        first->loss[KD_TOG] += r->kd[k]->loss[KD_TOG];
        first->images += r->kd[k]->images;
        if (!first->broken) first->broken = r->kd[k]->broken;
    }
}

static double train_in_threads(replicas *r, float *images, float *truths, unsigned int seed)
{
    share shares[KD_MOST_GPUS];
    pthread_t threads[KD_MOST_GPUS];
    double loss = 0;
    for (int k = 0; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        *net->seen += (r->n - 1) * images_per_batch(net); /* the others' images */
        shares[k] = make_share(r, k, images, truths, seed);
        if (pthread_create(threads + k, 0, train_in_thread, shares + k))
            kd_fail("cannot start a thread for GPU %d", net->gpu_index);
    }
    for (int k = 0; k < r->n; ++k) {
        pthread_join(threads[k], 0);
        loss += shares[k].loss;
    }
    gather_losses(r);
    if (!r->kd[0]->broken) {
        average_momenta(r);
        update_all(r);
    }
    return loss / (r->n * images_per_batch(r->kd[0]->net));
}

#else

replicas make_replicas(deepkd *first, const int *gpus, int n, replica_maker make, void *context)
{
    (void)gpus, (void)make, (void)context;
    return (replicas){{first}, n, 0};
}

void free_replicas(replicas *r)
{
    (void)r;
}

void spread_student(replicas *r)
{
    (void)r;
}

#define train_in_threads(r, images, truths, seed) 0 /* n is 1 */

#endif

double train_replicas(replicas *r, float *images, float *truths, unsigned int seed)
{
    if (r->n > 1) return train_in_threads(r, images, truths, seed);
    share s = make_share(r, 0, images, truths, seed);
    train_share(&s);
    return s.loss / images_per_batch(s.net);
}
