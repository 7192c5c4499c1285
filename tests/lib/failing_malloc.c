/*
 * LD_PRELOAD: of the memory that a program itself asks for (not its libraries), the FAIL_AT-th
 * request is refused; all are counted, and at the end FAIL_COUNT, a file, has how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static long count, fail_at = -1;

/* Is this the request that is refused? */
static int fails(void *caller)
{
    static void *program;
    Dl_info info;
    if (fail_at < 0) {
        const char *text = getenv("FAIL_AT");
        fail_at = text ? atol(text) : 0;
        if (dladdr((void *)getauxval(AT_ENTRY), &info)) program = info.dli_fbase;
    }
    if (!dladdr(caller, &info) || info.dli_fbase != program) return 0;
    return __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) == fail_at;
}

#define FAILS fails(__builtin_return_address(0))

static void *refuse(void)
{
    errno = ENOMEM;
    return 0;
}

void *malloc(size_t size)
{
    return FAILS ? refuse() : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return FAILS ? refuse() : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return FAILS ? refuse() : __libc_realloc(old, size);
}

int posix_memalign(void **to, size_t alignment, size_t size)
{
    if (FAILS) return ENOMEM;
    *to = __libc_memalign(alignment, size);
    return *to ? 0 : ENOMEM;
}

__attribute__((destructor)) static void report(void)
{
    const char *file = getenv("FAIL_COUNT");
    FILE *fp = file ? fopen(file, "w") : 0;
    if (!fp) return;
    fprintf(fp, "%ld\n", count);
    fclose(fp);
}
