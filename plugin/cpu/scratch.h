/* Memory that each thread keeps from call to call. */
#ifndef KD_SCRATCH_MEMORY_H
#define KD_SCRATCH_MEMORY_H

#include <stddef.h>

typedef enum {
    SCRATCH_IN,
    SCRATCH_OUT,
    SCRATCH_RESULT,
    SCRATCH_WORK,
    SCRATCH_OUTPUTS,
    SCRATCH_BYTES,
    SCRATCH_SUMS,
    SCRATCH_SLOTS
} scratch_slot;

/* Memory of the calling thread's own for n numbers, until its next call with this slot. */
float *thread_scratch(scratch_slot slot, size_t n);

#endif
