/* ./darknet deepkd wrap | export | map: cfg files with and without our sections; mAP. */
#ifndef KD_TOOLS_H
#define KD_TOOLS_H

#include <stdio.h>

/* Writes a student's cfg without [teacher] and [deepkd_loss] to `to`; exits when it can't be
 * read. */
void export_cfg(char *file, FILE *to);

/* The command; returns its exit status. */
int run_deepkd(int argc, char **argv);

#endif
