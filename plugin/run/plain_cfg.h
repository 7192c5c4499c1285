/* A student's cfg without our two sections, for stock Darknet and OpenCV, which don't know
 * them. */
#ifndef KD_PLAIN_CFG_H
#define KD_PLAIN_CFG_H

#include <stdio.h>

/* Writes a student's cfg without [teacher] and [deepkd_loss] to `to`; exits when it can't be
 * read. */
void export_cfg(char *file, FILE *to);

/* Exits unless the cfg has neither section, or when it can't be read. */
void check_is_plain(char *file);

#endif
