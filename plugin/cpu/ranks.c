/* See ranks.h. */
#include "cpu/ranks.h"
#include "cpu/onednn.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef BLAS
#include <cblas.h>
#endif
#ifdef MPI
#include <mpi.h>
#endif

#define CHUNK 4096        /* numbers of a sum that a core takes at once */
#define MESSAGE (1 << 16) /* numbers of a sum that go from rank to rank at once */
#define MOST_LINE 4096    /* bytes of a rank's last line */
#define PRECEDENCE 1      /* seconds in which rank 0 may say the same first */

static int rank, ranks = 1;
static exchange_figures figures;

int count_ranks(void)
{
    return ranks;
}

int is_first_rank(void)
{
    return !rank;
}

range own_range(int n)
{
    return (range){n / ranks * rank, n / ranks * (rank + 1)};
}

int is_own(int i, int n)
{
    range own = own_range(n);
    return i >= own.first && i < own.end;
}

exchange_figures read_exchange(void)
{
    return figures;
}

#ifdef MPI
static int is_ending;
static int shown; /* what standard error was before others' lines were kept back */
static MPI_Request sent = MPI_REQUEST_NULL;

/* The last line of standard error, which is a file by now, in line[MOST_LINE] */
static char *read_last_line(char *line)
{
    fflush(stderr);
    off_t end = lseek(STDERR_FILENO, 0, SEEK_END);
    off_t start = end < MOST_LINE ? 0 : end - MOST_LINE + 1;
    ssize_t n = pread(STDERR_FILENO, line, MOST_LINE - 1, start);
    while (n > 0 && line[n - 1] == '\n') --n;
    line[n > 0 ? n : 0] = 0;
    char *last = strrchr(line, '\n');
    return last ? last + 1 : line;
}

/* At exit. What all ranks find wrong rank 0 says, and its end is a signal to the others. */
static void end_rank(int status, void *nothing)
{
    char line[MOST_LINE];
    (void)nothing;
    if (is_ending) return;
    is_ending = 1;
    if (!status) {
        MPI_Finalize();
        return;
    }
    if (rank && !sleep(PRECEDENCE)) dprintf(shown, "rank %d: %s\n", rank, read_last_line(line));
    MPI_Abort(MPI_COMM_WORLD, status);
}

static void keep_quiet(void)
{
    FILE *kept = tmpfile();
    shown = dup(STDERR_FILENO);
    if (!kept || shown < 0 || dup2(fileno(kept), STDERR_FILENO) < 0 ||
        !freopen("/dev/null", "w", stdout))
        kd_fail("rank %d: cannot open a temporary file", rank);
}

void start_ranks(void)
{
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    int is_launched = 0, level;
    for (size_t i = 0; i < sizeof(launched) / sizeof(*launched); ++i)
        is_launched |= getenv(launched[i]) != 0;
    if (!is_launched) return;
    MPI_Init_thread(0, 0, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    on_exit(end_rank, 0);
    if (rank) keep_quiet();
}

void finish_ranks(void)
{
    int is_started;
    MPI_Initialized(&is_started);
    if (is_started) MPI_Finalize();
    is_ending = 1;
}

static void count_exchange(double began, size_t bytes)
{
    figures.seconds += MPI_Wtime() - began;
    figures.bytes += bytes;
}

void gather_items(void *items, int n, size_t bytes)
{
    MPI_Datatype item;
    double began = MPI_Wtime();
    if (ranks == 1) return;
    MPI_Type_contiguous(bytes, MPI_BYTE, &item);
    MPI_Type_commit(&item);
    MPI_Allgather(MPI_IN_PLACE, 0, item, items, n / ranks, item, MPI_COMM_WORLD);
    MPI_Type_free(&item);
    count_exchange(began, n * bytes);
}

/* sums[n] += what the ranks before have added up */
static void take_sums(float *sums, size_t n)
{
    static float before[MESSAGE];
    double began = MPI_Wtime();
    if (!rank) return;
    MPI_Recv(before, n, MPI_FLOAT, rank - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (size_t j = 0; j < n; ++j) sums[j] += before[j];
    count_exchange(began, n * sizeof(float));
}

static void pass_sums(const float *sums, size_t n)
{
    double began = MPI_Wtime();
    if (rank + 1 == ranks) return;
    MPI_Wait(&sent, MPI_STATUS_IGNORE);
    MPI_Isend(sums, n, MPI_FLOAT, rank + 1, 0, MPI_COMM_WORLD, &sent);
    count_exchange(began, n * sizeof(float));
}

/* The last rank's sums are whole. */
static void spread_sums(float *sums, size_t n)
{
    double began = MPI_Wtime();
    if (ranks == 1) return;
    MPI_Wait(&sent, MPI_STATUS_IGNORE);
    MPI_Bcast(sums, n, MPI_FLOAT, ranks - 1, MPI_COMM_WORLD);
    count_exchange(began, n * sizeof(float));
}

void copy_first_rank(void *bytes, size_t n)
{
    if (ranks > 1) MPI_Bcast(bytes, n, MPI_BYTE, 0, MPI_COMM_WORLD);
}

int largest_of_ranks(int x)
{
    if (ranks > 1) MPI_Allreduce(MPI_IN_PLACE, &x, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return x;
}
#else
void start_ranks(void)
{
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof(launched) / sizeof(*launched); ++i) {
        const char *size = getenv(launched[i]);
        if (size && atoi(size) > 1)
            kd_fail("mpirun: found %s processes, expected one: this darknet is built with "
                    "MPI=0",
                    size);
    }
}

void finish_ranks(void) {}

void gather_items(void *items, int n, size_t bytes)
{
    (void)items, (void)n, (void)bytes;
}

static void take_sums(float *sums, size_t n)
{
    (void)sums, (void)n;
}

static void pass_sums(const float *sums, size_t n)
{
    (void)sums, (void)n;
}

static void spread_sums(float *sums, size_t n)
{
    (void)sums, (void)n;
}

void copy_first_rank(void *bytes, size_t n)
{
    (void)bytes, (void)n;
}

int largest_of_ranks(int x)
{
    return x;
}
#endif

/* add_parts, of one rank */
static void add_up(float *to, size_t apart, int n, size_t size)
{
#pragma omp parallel for
    for (size_t start = 0; start < size; start += CHUNK) {
        size_t end = start + CHUNK < size ? start + CHUNK : size;
        for (int k = 1; k < n; ++k)
            for (size_t j = start; j < end; ++j) to[j] += to[k * apart + j];
    }
}

void add_parts(float *sums, size_t apart, int n, size_t size)
{
    size_t step = ranks > 1 ? MESSAGE : size;
    for (size_t start = 0; start < size; start += step) {
        size_t some = size - start < step ? size - start : step;
        take_sums(sums + start, some);
        add_up(sums + start, apart, n, some);
        pass_sums(sums + start, some);
    }
    spread_sums(sums, size);
}

void check_ranks_agree(int n, const char *const *name, const uint64_t *number)
{
    uint64_t *all = kd_calloc((size_t)ranks * n, sizeof(uint64_t));
    memcpy(all + (size_t)rank * n, number, n * sizeof(uint64_t));
    gather_items(all, ranks, n * sizeof(uint64_t));
    for (int k = 0; k < ranks * n; ++k)
        if (all[k] != all[k % n])
            kd_fail("rank %d: found another %s than rank 0's, expected the same", k / n,
                    name[k % n]);
    free(all);
}

uint64_t hash_processor(void)
{
    unsigned instructions = find_instructions();
    uint64_t hash = kd_hash(KD_HASH_START, &instructions, sizeof(instructions));
#ifdef BLAS
    const char *name = openblas_get_corename();
    hash = kd_hash(hash, name, strlen(name));
#endif
    return hash;
}
