/* The few helpers that all files share: errors and memory. */
#ifndef KD_SUPPORT_H
#define KD_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* One line on stderr, then exit status 1. The format needs no newline. */
void kd_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* calloc that does not come back without memory. */
void *kd_calloc(size_t n, size_t size);

/* n numbers, not set, where vectors of any processor may stand; free. As kd_calloc. */
float *kd_vectors(size_t n);

/* A copy of a string that kd_calloc made. */
char *kd_copy(const char *text);

/* A seed for one purpose: the hash of a run's seed and a number. */
unsigned derive_seed(uint64_t seed, uint64_t number);

/* FNV-1a over `n` bytes, going on from `hash`; start with KD_HASH_START. */
#define KD_HASH_START 14695981039346656037ULL
uint64_t kd_hash(uint64_t hash, const void *bytes, size_t n);

#endif
