/*
 * ./darknet deepkd landscape DATA CFG WEIGHTS -out LANDSCAPE.csv [-points N] [-range R]
 *     [-images N] [-seed N] [-threads N]
 *
 * The loss around a network's weights, on a grid in a plane of two random directions that are
 * normalised filter by filter (net/weight_plane.h), by the evaluation of `distill`, on images
 * of the validation list. The weights file stays as it is.
 */
#ifndef KD_LANDSCAPE_H
#define KD_LANDSCAPE_H

#include "cli/command.h"

extern const command landscape_command;

/* `deepkd landscape`; returns the exit status, exits on bad input. */
int run_landscape(int argc, char **argv);

#endif
