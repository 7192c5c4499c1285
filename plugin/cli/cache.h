/* ./darknet deepkd cache: the teacher's logits of a whole run, for `distill -cache`. */
#ifndef KD_CACHE_H
#define KD_CACHE_H

#include "cli/command.h"

extern const command cache_command;

/* A verb of tools.c: the exit status. */
int run_cache(int argc, char **argv);

#endif
