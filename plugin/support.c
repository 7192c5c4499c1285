/* The few helpers that all files share; see deepkd.h. */
#include "deepkd.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const kd_component_name[KD_COMPONENTS] = {"tog", "tcg", "ncg"};

void kd_fail(const char *format, ...)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER; /* of several threads, one exits */
    char line[4096];
    va_list arguments;
    pthread_mutex_lock(&once);
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    for (char *c = line; *c; ++c)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?'; /* a binary file, shown as text */
    if (isatty(STDOUT_FILENO)) printf("\r\033[K");          /* a live line */
    fflush(stdout);
    fprintf(stderr, "%s\n", line);
    exit(1);
}

void *kd_calloc(size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory) kd_fail("out of memory: %zu x %zu bytes", n, size);
    return memory;
}

float *kd_vectors(size_t n)
{
    void *memory;
    if (posix_memalign(&memory, 64, (n ? n : 1) * sizeof(float)))
        kd_fail("out of memory: %zu numbers", n);
    return memory;
}

char *kd_copy(const char *text)
{
    return strcpy(kd_calloc(strlen(text) + 1, 1), text);
}
