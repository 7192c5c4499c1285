/* See parts.h. */
#include "net/parts.h"

#include <string.h>

static float *from(float *base, size_t offset)
{
    return base ? base + offset : 0;
}

static void cut_layer(layer *l, int first, int batch)
{
    size_t offset = (size_t)first * l->outputs;
    l->batch = batch;
    l->output = from(l->output, offset);
    l->delta = from(l->delta, offset);
    l->x = from(l->x, offset);
    if (l->indexes) l->indexes += offset;
#ifdef GPU
    l->output_gpu = from(l->output_gpu, offset);
    l->delta_gpu = from(l->delta_gpu, offset);
#endif
}

network cut_network(const network *net, int first, int batch, layer *layers)
{
    network part = *net;
    part.batch = batch;
    part.input += (size_t)first * net->inputs;
    part.layers = memcpy(layers, net->layers, net->n * sizeof(layer));
    for (int i = 0; i < net->n; ++i) cut_layer(layers + i, first, batch);
    return part;
}
