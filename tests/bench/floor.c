/*
 * What this machine can do at most: single-precision matrix products, and copying memory. A
 * line of JSON for one thread and, where OpenMP has more, one for all of them at work at once:
 * the best of RUNS. `make bench` runs it; floors.py reckons with it.
 */
#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 15
#define SIDE 1024            /* of the matrices: each thread multiplies its own */
#define COPIED (128UL << 20) /* bytes of a copy: far more than a cache holds */

typedef struct {
    float *a, *b, *c;
    char *from, *to;
} arrays;

static void *filled(size_t size)
{
    void *array = malloc(size);
    if (!array) {
        fprintf(stderr, "floor: found no memory for %zu bytes\n", size);
        exit(1);
    }
    return memset(array, 0x3f, size); /* as floats: .75 */
}

static arrays make_arrays(void)
{
    size_t matrix = (size_t)SIDE * SIDE * sizeof(float);
    return (arrays){filled(matrix), filled(matrix), filled(matrix), filled(COPIED),
                    filled(COPIED)};
}

static void multiply(arrays *t)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIDE, SIDE, SIDE, 1, t->a, SIDE,
                t->b, SIDE, 0, t->c, SIDE);
}

static void copy(arrays *t)
{
    memcpy(t->to, t->from, COPIED);
}

/* Seconds until all threads have done it once, at best */
static double best(void (*work)(arrays *), arrays *of, int threads)
{
    double least = 1e9;
    for (int i = 0; i < RUNS; ++i) {
        double began = omp_get_wtime();
#pragma omp parallel num_threads(threads)
        work(of + omp_get_thread_num());
        double took = omp_get_wtime() - began;
        if (took < least) least = took;
    }
    return least;
}

static void print_peaks(arrays *of, int threads)
{
    double product = best(multiply, of, threads), copied = best(copy, of, threads);
    printf("{\"threads\": %d, \"gemm_gflops\": %.1f, \"copy_gb_s\": %.2f}\n", threads,
           2. * SIDE * SIDE * SIDE * threads / product / 1e9,
           2. * COPIED * threads / copied / 1e9);
}

int main(void)
{
    int threads = omp_get_max_threads();
    arrays *of = filled(threads * sizeof(arrays));
    openblas_set_num_threads(1);
#pragma omp parallel
    of[omp_get_thread_num()] = make_arrays();
    print_peaks(of, 1);
    if (threads > 1) print_peaks(of, threads);
    return 0;
}
