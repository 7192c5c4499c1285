/*
 * A cache of the teacher's logits for a whole run: what it has to be of, and how it is made.
 * The loader's images are a function of seed and position, and so are the logits, but for the
 * last digits, in which the images of one forward pass have a part.
 */
#ifndef KD_TEACHER_CACHE_H
#define KD_TEACHER_CACHE_H

#include "data/lists.h"
#include "distil/cached_logits.h"
#include "run/cache_parts.h"
#include "run/checkpoint.h"

/*
 * Writes what the cache is of into its notes, or where they stand already, and in one that is
 * only read, compares: exits with what was found and what was expected when they differ.
 * `state`: the run's, before its first batch (begin_state); of a teacher without weights it
 * takes the hash of the cache's, as kd->cache_top takes that of one that is only read. With
 * that, exits also when the loss is none for which such rows have a meaning: that of one
 * softmax, not standardized, at one temperature.
 */
typedef enum { CACHE_READ, CACHE_WRITTEN } cache_use;
void agree_on_cache(logit_cache *cache, deepkd *kd, run_state *state, cache_use use,
                    int has_weights);

/* The seed of the run that the cache was made for; exits when it has none. */
uint64_t cache_seed(logit_cache *cache);

/* Exits unless the cache has the run's images, `planned` of them, and the teacher is one whose
 * logits are all that is asked of it. */
void check_cache(logit_cache *cache, const deepkd *kd, uint64_t planned);

typedef struct {
    logit_cache *cache;
    deepkd *kd; /* with its teacher */
    const image_list *list;
    int is_detector, threads;
    uint64_t seed;
    cache_part part; /* that the cache is to have, also of the whole run */
} cache_job;

/* Adds what the cache lacks, in whole batches, until a signal comes. Prints how far it is.
 * Returns the exit status. */
int fill_cache(const cache_job *job);

#endif
