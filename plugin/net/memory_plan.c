/* See memory_plan.h. */
#include "net/memory_plan.h"
#include "support.h"

#include <stdlib.h>

int reads_output(const network *net, int reader, int i)
{
    layer l = net->layers[reader];
    int has_list = l.type == ROUTE || l.type == MULTI_SHORTCUT;
    for (int k = 0; has_list && k < l.n; ++k)
        if (l.input_layers[k] == i) return 1;
    if (l.type == ROUTE) return 0;
    int has_source = l.type == SHORTCUT || l.type == SAM || l.type == SCALE_CHANNELS;
    return i == reader - 1 || (has_source && l.index == i);
}

static void find_owners(const network *net, const net_outputs *outputs, int *owner)
{
    for (int i = 0; i < net->n; ++i) {
        owner[i] = i;
        if (i && net->layers[i].type == DROPOUT) owner[i] = owner[i - 1];
        if (net->layers[i].type == BLANK) owner[i] = outputs->layer[outputs->n - 1];
    }
}

static void find_last_uses(const network *net, const net_outputs *outputs, const int *owner,
                           int *last_use)
{
    for (int i = 0; i < net->n; ++i) last_use[i] = i;
    for (int reader = 1; reader < net->n; ++reader)
        for (int i = 0; i < reader && net->layers[reader].type != BLANK; ++i)
            if (reads_output(net, reader, i)) last_use[owner[i]] = reader;
    for (int o = 0; o < outputs->n; ++o) last_use[owner[outputs->layer[o] - 1]] = net->n;
}

/* The block that is free at layer i and has to grow least; a new one if none is free. */
static int choose_block(memory_plan *p, const int *busy_until, int i, size_t size)
{
    int best = -1;
    size_t best_growth = 0, best_waste = 0;
    for (int b = 0; b < p->blocks; ++b) {
        if (busy_until[b] >= i) continue;
        size_t growth = p->size[b] < size ? size - p->size[b] : 0;
        size_t waste = p->size[b] > size ? p->size[b] - size : 0;
        if (best >= 0 &&
            (growth > best_growth || (growth == best_growth && waste >= best_waste)))
            continue;
        best = b, best_growth = growth, best_waste = waste;
    }
    return best >= 0 ? best : p->blocks++;
}

memory_plan plan_memory(network *net, const net_outputs *outputs)
{
    memory_plan p = {kd_calloc(net->n, sizeof(int)), kd_calloc(net->n, sizeof(int)),
                     kd_calloc(net->n, sizeof(int)), kd_calloc(net->n, sizeof(size_t)), 0};
    int *busy_until = kd_calloc(net->n, sizeof(int));
    find_owners(net, outputs, p.owner);
    find_last_uses(net, outputs, p.owner, p.last_use);
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        size_t size = (size_t)l.outputs * l.batch;
        p.block[i] = -1;
        if (p.owner[i] != i || !size) continue;
        int b = p.block[i] = choose_block(&p, busy_until, i, size);
        busy_until[b] = p.last_use[i];
        if (p.size[b] < size) p.size[b] = size;
    }
    free(busy_until);
    return p;
}

void free_memory_plan(memory_plan p)
{
    free(p.block);
    free(p.owner);
    free(p.last_use);
    free(p.size);
}
