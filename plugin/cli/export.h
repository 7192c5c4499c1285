/*
 * ./darknet deepkd export STUDENT.cfg                            the cfg without our sections
 * ./darknet deepkd export STUDENT.cfg WEIGHTS -onnx FILE [...]   the network as an ONNX file
 *
 * The second is scripts/export_onnx.py's work, by the Python package onnx: this program reads
 * and checks cfg and weights, hands them on as net/description.h has them, and becomes Python.
 */
#ifndef KD_EXPORT_H
#define KD_EXPORT_H

#include "cli/command.h"

extern const command export_command;

/* A verb of tools.c: the exit status; exits on bad input. */
int run_export(int argc, char **argv);

#endif
