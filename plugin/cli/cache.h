/* ./darknet deepkd cache: the teacher's logits of a whole run, for `distill -cache`; and deepkd
 * merge, which makes one file of such files' parts. */
#ifndef KD_CACHE_H
#define KD_CACHE_H

#include "cli/command.h"

extern const command cache_command, merge_command;

/* Verbs of tools.c: the exit status. */
int run_cache(int argc, char **argv);
int run_merge(int argc, char **argv);

#endif
