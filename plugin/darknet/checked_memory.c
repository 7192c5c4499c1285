/* See checked_memory.h. */
#include "darknet/checked_memory.h"
#include "utils.h"

#include <stdio.h>

#undef malloc
#undef calloc
#undef realloc

static void *check(void *memory, size_t n, size_t size)
{
    if (memory || !n || !size) return memory;
    fprintf(stderr, "out of memory: %zu x %zu bytes\n", n, size);
    exit_once(1);
    return 0;
}

void *checked_malloc(size_t size)
{
    return check(malloc(size), 1, size);
}

void *checked_calloc(size_t n, size_t size)
{
    return check(calloc(n, size), n, size);
}

void *checked_realloc(void *old, size_t size)
{
    return check(realloc(old, size), 1, size);
}
