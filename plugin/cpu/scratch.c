/* See scratch.h. */
#include "cpu/scratch.h"
#include "support.h"

#include <stdlib.h>

typedef struct {
    float *data;
    size_t n;
} scratch;

float *thread_scratch(scratch_slot slot, size_t n)
{
    static _Thread_local scratch slots[SCRATCH_SLOTS];
    scratch *s = slots + slot;
    if (s->n >= n) return s->data;
    free(s->data);
    s->n = n;
    s->data = kd_vectors(n);
    return s->data;
}
