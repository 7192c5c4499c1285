/*
 * ./darknet deepkd version
 *
 * What this program is made of, a name and its value a line: `deepkd` our version, `commit`
 * ours, `darknet` Darknet's, the switches that make was given, the libraries with the versions
 * that are loaded now, `cores` that `distill` will use on the CPU.
 */
#ifndef KD_VERSION_H
#define KD_VERSION_H

#include "cli/command.h"

extern const command version_command;

/* `deepkd version`; returns the exit status. */
int run_version(int argc, char **argv);

#endif
