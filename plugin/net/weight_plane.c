/* See weight_plane.h. */
#include "net/weight_plane.h"
#include "math/plane.h"
#include "net/device.h"
#include "net/parameters.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* One layer's weights */
typedef struct {
    float *weights; /* [n], the network's own */
    float *centre, *along[2];
    size_t n;
} moved_layer;

struct weight_plane {
    network *net;
    moved_layer *layers;
    int n;
};

/* How many filters its weights are, one behind the other; 0: none */
static size_t count_filters(layer l)
{
    switch (l.type) {
    case CONVOLUTIONAL: return l.n;
    case DECONVOLUTIONAL: return l.c;
    case CONNECTED: return l.outputs;
    case LOCAL: return (size_t)l.n * l.out_w * l.out_h;
    default: return 0;
    }
}

/* first: how many numbers the layers before it have */
static moved_layer make_layer(layer l, uint64_t seed, uint64_t first)
{
    size_t biases, filters = count_filters(l);
    moved_layer m = {.weights = l.weights};
    layer_sizes(l, &m.n, &biases);
    m.centre = kd_calloc(m.n, sizeof(float));
    memcpy(m.centre, m.weights, m.n * sizeof(float));
    for (int d = 0; d < 2; ++d) {
        m.along[d] = kd_calloc(m.n, sizeof(float));
        for (size_t i = 0; i < m.n; ++i) m.along[d][i] = draw_normal(seed, 2 * (first + i) + d);
        normalise_filters(m.along[d], m.centre, filters, m.n / filters);
    }
    return m;
}

weight_plane *make_plane(network *net, uint64_t seed)
{
    weight_plane *p = kd_calloc(1, sizeof(weight_plane));
    uint64_t numbers = 0;
    p->net = net;
    p->layers = kd_calloc(net->n, sizeof(moved_layer));
    for (int i = 0; i < net->n; ++i) {
        if (!count_filters(net->layers[i])) continue;
        p->layers[p->n] = make_layer(net->layers[i], seed, numbers);
        numbers += p->layers[p->n++].n;
    }
    return p;
}

void free_plane(weight_plane *p)
{
    for (int i = 0; i < p->n; ++i) {
        free(p->layers[i].centre);
        for (int d = 0; d < 2; ++d) free(p->layers[i].along[d]);
    }
    free(p->layers);
    free(p);
}

void move_weights(weight_plane *p, double x, double y)
{
    for (int k = 0; k < p->n; ++k) {
        moved_layer m = p->layers[k];
        for (size_t i = 0; i < m.n; ++i)
            m.weights[i] = m.centre[i] + x * m.along[0][i] + y * m.along[1][i];
    }
    push_network(p->net);
}
