/*
 * A network as a script can read it: one line of JSON that says what its layers are, then their
 * numbers. scripts/export_onnx.py is the reader.
 */
#ifndef KD_DESCRIPTION_H
#define KD_DESCRIPTION_H

#include "net/outputs.h"

#include <stdio.h>

/*
 * The line: {"width": ..., "outputs": [layers], "layers": [{"type": "convolutional", ...}]};
 * the fields of a layer are Darknet's own, by their names in struct layer, which say more than
 * the cfg: all defaults and sizes are filled in. Behind it, as float32, the arrays of
 * network_arrays, in its order. Nothing is checked here: ferror(fp) knows.
 */
void describe_network(FILE *fp, network *net, const net_outputs *outputs);

#endif
