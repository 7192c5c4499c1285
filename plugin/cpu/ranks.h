/*
 * Several processes that train as one (MPI=1, by mpirun). Each, a rank, runs the whole command
 * on networks of the whole batch, but reads no more than its own share of the images and
 * computes no more than its own parts of the batch (cores.h). What is known of parts is
 * exchanged here; sums over parts are taken in the parts' order, whoever has them. All else
 * each rank computes like all others, so that at any time all have the same numbers, those of
 * one process, to the bit. Rank 0 alone prints and writes files. All ranks call these functions
 * in the same order, from their first thread. Of one rank, and without MPI=1, they do nothing
 * but what their comments say of it.
 */
#ifndef KD_RANKS_H
#define KD_RANKS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Joins the other processes of the same mpirun; without one there is one rank. From here on the
 * others than rank 0 print nothing, but for the last line of their errors, with their number;
 * and one that exits before finish_ranks ends all others. Exits where a build without MPI=1 is
 * started as several processes.
 */
void start_ranks(void);
void finish_ranks(void);

int count_ranks(void);
int is_first_rank(void);

/* Of n things, a multiple of the number of ranks, those of this rank: [first, end) */
typedef struct {
    int first, end;
} range;
range own_range(int n);
int is_own(int i, int n);

/* items[n], each of `bytes`, of which a rank has its own: all ranks have all afterwards. */
void gather_items(void *items, int n, size_t bytes);

/*
 * sums[size] += the n - 1 arrays that follow it, `apart` from one to the next, in their order,
 * on all cores: a rank's own parts. Those of the ranks before come before them and of those
 * behind after them; afterwards all ranks have the whole sum. From rank to rank goes one array,
 * and one comes back, whatever n is.
 */
void add_parts(float *sums, size_t apart, int n, size_t size);

/* bytes[n] of rank 0 go to all. */
void copy_first_rank(void *bytes, size_t n);

/* The largest x of all ranks */
int largest_of_ranks(int x);

/* Exits unless number[k] is the same on all ranks, and says which `name` is not, on which. */
void check_ranks_agree(int n, const char *const *name, const uint64_t *number);

/* The same on processors that sums and products are computed alike on */
uint64_t hash_processor(void);

/* What this rank has sent and received so far, and how long it took, waiting included; all 0
 * of one rank. */
typedef struct {
    double seconds;
    uint64_t bytes;
} exchange_figures;
exchange_figures read_exchange(void);

#endif
