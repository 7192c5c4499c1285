/* See support.h. */
#include "support.h"

#include "utils.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    exit_once(1);
    abort(); /* it does not come back */
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

/* splitmix64's finalizer: neighbouring numbers give unrelated seeds */
unsigned derive_seed(uint64_t seed, uint64_t number)
{
    uint64_t z = seed * 0x9E3779B97F4A7C15ULL + number + 1;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (unsigned)((z ^ (z >> 31)) >> 32);
}

uint64_t kd_hash(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; ++i) hash = (hash ^ p[i]) * 1099511628211ULL;
    return hash;
}
