/*
 * How long a core's thread looks for more work before it sleeps. GCC's OpenMP looks 300,000
 * times by default, for some milliseconds: beside other busy programs, all of a core's turn
 * goes by until the thread that has the work gets one. A thousand times do as well on cores of
 * our own. OpenMP reads its environment before main(), so the program starts itself once more,
 * with GOMP_SPINCOUNT, unless the user has chosen how threads wait, or binds them to cores:
 * then this thread is on its core by now, and another start would find no other. Measured:
 * docs/speed.md.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#if defined(_OPENMP) && defined(__GLIBC__) && !defined(__clang__)

#define SPINS "1000"

static int has_choice(void)
{
    static const char *const names[] = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_PROC_BIND",
                                        "OMP_PLACES", "GOMP_CPU_AFFINITY"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); ++i)
        if (getenv(names[i])) return 1;
    return 0;
}

/* glibc gives constructors main's arguments. What can't be done here is left as it is; where
 * ld.so was told to start the program, /proc/self/exe is ld.so, and AT_BASE is 0. */
__attribute__((constructor)) static void wait_briefly(int argc, char **argv)
{
    char program[PATH_MAX];
    if (argc < 2 || (strcmp(argv[1], "distill") && strcmp(argv[1], "deepkd"))) return;
    if (has_choice() || !getauxval(AT_BASE)) return;
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n <= 0 || setenv("GOMP_SPINCOUNT", SPINS, 1)) return;
    program[n] = 0;
    execv(program, argv);
    unsetenv("GOMP_SPINCOUNT");
}

#endif
