/*
 * How long a core's thread looks for more work before it sleeps. GCC's OpenMP looks 300,000
 * times by default, for some milliseconds: beside other busy programs, all of a core's turn
 * goes by until the thread that has the work gets one. A thousand times do as well on cores of
 * our own. OpenMP reads its environment before main(), so the program starts itself once more,
 * with GOMP_SPINCOUNT, unless the user has chosen that or OMP_WAIT_POLICY. Measured:
 * docs/speed.md.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(_OPENMP) && defined(__GLIBC__) && !defined(__clang__)

#define SPINS "1000"

/* glibc gives constructors main's arguments. What can't be done here is left as it is. */
__attribute__((constructor)) static void wait_briefly(int argc, char **argv)
{
    char program[PATH_MAX];
    if (argc < 2 || (strcmp(argv[1], "distill") && strcmp(argv[1], "deepkd"))) return;
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n <= 0 || setenv("GOMP_SPINCOUNT", SPINS, 1)) return;
    program[n] = 0;
    execv(program, argv);
}

#endif
