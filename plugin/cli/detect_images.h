/*
 * ./darknet deepkd detect DATA CFG WEIGHTS [IMAGE|LIST ...]
 *
 * What a detector finds in images, without a window: lines on stdout, and on request pictures
 * with the boxes, JSON in AlexeyAB's form, and label files, which can be learnt from.
 */
#ifndef KD_DETECT_IMAGES_H
#define KD_DETECT_IMAGES_H

#include "cli/command.h"

extern const command detect_command;

/* A verb of tools.c: the exit status; exits on bad input. */
int run_detect(int argc, char **argv);

#endif
