/* ./darknet deepkd wrap | export | map | version: cfg files with and without our sections, mAP.
 */
#ifndef KD_TOOLS_H
#define KD_TOOLS_H

/* The command; returns its exit status. */
int run_deepkd(int argc, char **argv);

#endif
