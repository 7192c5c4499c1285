/*
 * ./darknet deepkd anchors DATA [CFG] [-n N] [-width W] [-height H] [-letter_box 0|1]
 *
 * The anchors that fit the boxes of the .data file's training list (math/shapes.h), as the line
 * of a cfg on stdout, with the mean IoU in a comment of cfg files before it.
 */
#ifndef KD_ANCHORS_H
#define KD_ANCHORS_H

#include "cli/command.h"

extern const command anchors_command;

/* A verb of tools.c: the exit status; exits on bad input. */
int run_anchors(int argc, char **argv);

#endif
