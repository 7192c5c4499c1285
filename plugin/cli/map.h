/*
 * ./darknet deepkd map DATA CFG WEIGHTS [-per_class] [-out DETECTIONS.json] [-dont_show]
 *     [-threads N]
 *
 * A detector's mAP on the .data file's validation list, by the evaluator that `distill -map`
 * uses: mAP@0.50 and COCO's mAP@[.50:.95], on request the AP of each class, and the detections
 * as COCO's results JSON.
 */
#ifndef KD_MAP_H
#define KD_MAP_H

#include "cli/command.h"

extern const command map_command;

/* `deepkd map`; returns the exit status, exits on bad input. */
int run_map(int argc, char **argv);

#endif
