/* The few helpers that all files share; see deepkd.h. */
#include "deepkd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kd_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *kd_calloc(size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory) kd_fail("out of memory: %zu x %zu bytes", n, size);
    return memory;
}

char *kd_copy(const char *text)
{
    return strcpy(kd_calloc(strlen(text) + 1, 1), text);
}
