/* ./darknet deepkd: cfg files with and without our sections, and what else helps around a run.
 */
#ifndef KD_TOOLS_H
#define KD_TOOLS_H

/* The command; returns its exit status. */
int run_deepkd(int argc, char **argv);

#endif
