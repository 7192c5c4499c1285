/* precision= of [teacher] and [deepkd_loss]: in what a network's convolutions multiply. */
#ifndef KD_PRECISION_H
#define KD_PRECISION_H

#include "darknet.h"

typedef enum { PRECISION_FLOAT32, PRECISION_BFLOAT16, PRECISION_AUTO } precision;
#define PRECISIONS "float32|bfloat16|auto"

/* 1: bfloat16, as asked for, or as auto finds it fast here. Exits, naming the section of the
 * cfg `file`, where bfloat16 is asked for and can't be had: on a GPU, in this build, or here.
 */
int find_precision(precision asked, const network *net, const char *file, const char *section);

#endif
