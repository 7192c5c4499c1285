/* What commands begin with that judge one network by itself: from the words to the network, its
 * weights and the images of the validation list. */
#ifndef KD_SINGLE_H
#define KD_SINGLE_H

#include "cli/arguments.h"
#include "run/evaluate.h"

typedef struct {
    data_options data;
    network *net;
    net_outputs outputs;
    image_list valid;
    annotations annotations;
    validation how; /* it is judged: by Darknet's loss, a classifier by its accuracy too */
} single;

typedef enum { EITHER_KIND, A_CLASSIFIER, A_DETECTOR } single_kind;

/*
 * Reads the .data file, the cfg and the weights, on all cores or the GPU, and the validation
 * list into a zeroed `s`, which `how` points into. Exits on bad input, and when `kind` asks for
 * another kind of network than it is. Free with close_single.
 */
void open_single(single *s, char *data, char *cfg, char *weights, int threads,
                 single_kind kind);
void close_single(single *s);

#endif
