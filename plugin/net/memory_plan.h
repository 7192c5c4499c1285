/*
 * Which of a network's layers can share memory for their outputs in inference, where an output
 * is needed no longer than until the last layer that reads it has run. For a plain chain of
 * layers two blocks of memory do, the size of its largest neighbours.
 */
#ifndef KD_MEMORY_PLAN_H
#define KD_MEMORY_PLAN_H

#include "net/outputs.h"

typedef struct {
    int *block;    /* [net->n] of each layer's output; -1: it has none of its own */
    int *owner;    /* [net->n] the layer whose output this one's is: itself but for [dropout],
                      and for the plugin's own layers, which hand on the network's output */
    int *last_use; /* [net->n] the last layer that reads its output; its own index: none */
    size_t *size;  /* [blocks] numbers */
    int blocks;
} memory_plan;

/* 1 when layer `reader` reads the output of layer i. */
int reads_output(const network *net, int reader, int i);

/*
 * For the network's present size and batch; the network is only read. The logits, inputs of
 * `outputs`, last to the end. Free with free_memory_plan.
 */
memory_plan plan_memory(network *net, const net_outputs *outputs);
void free_memory_plan(memory_plan p);

#endif
