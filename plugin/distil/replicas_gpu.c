/* See replicas_gpu.h. */
#include "distil/replicas_gpu.h"

#ifdef GPU

#include "net/device.h"
#include "support.h"

#include "cuda.h"

#include <pthread.h>
#include <string.h>

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

void make_copies(replicas *r, const int *gpus, replica_maker make, void *context)
{
    deepkd *first = r->kd[0];
    if (first->net->policy == RANDOM)
        kd_fail("-gpus: found [net] policy=random, which draws another rate for each GPU: "
                "expected another policy");
    for (int k = 1; k < r->n; ++k) {
        cuda_set_device(gpus[k]);
        r->kd[k] = make(context);
        r->kd[k]->teacher->lane = student_lane(k) + 1;
        allow_access(gpus[k], gpus[0]);
        allow_access(gpus[0], gpus[k]);
    }
    enter_copy(r, 0);
    r->incoming = device_array(first->net, first->groups->n * first->groups->size);
    for (int k = 0; k < r->n; ++k) {
        r->kd[k]->copies = r->n;
        count_as_one_of(r->kd[k]->net, r->n);
    }
}

void free_copies(replicas *r)
{
    device_free(r->kd[0]->net, r->incoming);
    for (int k = 1; k < r->n; ++k) {
        enter_copy(r, k);
        release_groups(r->kd[k]);
        free_network(r->kd[k]->net);
    }
    enter_copy(r, 0);
}

static void copy_arrays(kd_arrays from, kd_arrays to)
{
    for (int i = 0; i < from.n; ++i)
        memcpy(to.arrays[i].data, from.arrays[i].data, from.arrays[i].n * sizeof(float));
    kd_free_arrays(from);
    kd_free_arrays(to);
}

void spread_to_copies(replicas *r)
{
    deepkd *first = r->kd[0];
    pull_network(first->net);
    pull_groups(first);
    for (int k = 1; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        copy_arrays(network_arrays(first->net), network_arrays(net));
        copy_arrays(group_arrays(first), group_arrays(r->kd[k]));
        enter_copy(r, k);
        push_network(net);
        push_groups(r->kd[k]);
        *net->seen = *first->net->seen;
    }
    enter_copy(r, 0);
}

/* The mean of all copies' momenta, which hold the gradients by now, becomes theirs. */
static void average_momenta(replicas *r)
{
    deepkd *first = r->kd[0];
    size_t n = first->groups->n * first->groups->size, bytes = n * sizeof(float);
    int device = first->net->gpu_index;
    float *mean = first->groups->momenta;
    enter_copy(r, 0);
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
        r->kd[k]->gsnr = r->kd[0]->gsnr;
        enter_copy(r, k);
        update_groups(r->kd[k]->net);
    }
}

/* The others' losses and figures, as far as the host knows them, are the first one's too. */
static void gather_losses(replicas *r)
{
    deepkd *first = r->kd[0];
    for (int k = 1; k < r->n; ++k) {
        add_region_figures(first->net, r->kd[k]->figures);
        first->loss[KD_TOG] += r->kd[k]->loss[KD_TOG];
        first->images += r->kd[k]->images;
        if (!first->broken) first->broken = r->kd[k]->broken;
    }
}

double train_copies(replicas *r, image_batch batch, unsigned seed)
{
    share shares[KD_MOST_GPUS];
    pthread_t threads[KD_MOST_GPUS];
    double loss = 0;
    for (int k = 0; k < r->n; ++k) {
        network *net = r->kd[k]->net;
        *net->seen += (r->n - 1) * images_per_batch(net); /* the others' images */
        shares[k] = make_share(r, k, batch, seed);
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

#endif
