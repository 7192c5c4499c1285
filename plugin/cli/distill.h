/*
 * ./darknet distill DATA STUDENT.cfg [TEACHER.weights] [flags]: trains the
 * student of a cfg with [teacher] and [deepkd_loss]. docs/options.md is its manual.
 */
#ifndef KD_DISTILL_H
#define KD_DISTILL_H

/* The command; returns its exit status: 0, or 128 + the signal that stopped it. */
int run_distill(int argc, char **argv);

#endif
