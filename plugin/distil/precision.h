/* precision= of [teacher] and [deepkd_loss]: in what a network's convolutions multiply. */
#ifndef KD_PRECISION_H
#define KD_PRECISION_H

#include "cpu/convolution_code.h"

#include "darknet.h"

typedef enum {
    PRECISION_FLOAT32,
    PRECISION_BFLOAT16,
    PRECISION_AUTO,
    PRECISION_INT8
} precision;
#define STUDENT_PRECISIONS "float32|bfloat16|auto"
#define TEACHER_PRECISIONS STUDENT_PRECISIONS "|int8"

/* What is asked for, whether it can be had or not; of auto FLOAT32. */
arithmetic asked_arithmetic(precision asked);

/* What is asked for; of auto BFLOAT16 where that is fast here, else FLOAT32. Exits, naming the
 * section of the cfg `file`, where it can't be had: on a GPU, in this build, or here. */
arithmetic find_precision(precision asked, const network *net, const char *file,
                          const char *section);

#endif
