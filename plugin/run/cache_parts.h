/*
 * A cache of a teacher's logits (teacher_cache.h) in parts, each made by a program of its own,
 * on any machine, and one file of them. Which part a file is stands in its notes. All functions
 * exit with one line when they can't do what they say.
 */
#ifndef KD_CACHE_PARTS_H
#define KD_CACHE_PARTS_H

#include "data/logit_cache.h"

/* A share of a run's images, which one of several programs caches; of=0: the whole run. */
typedef struct {
    int number, of;         /* from 1 */
    uint64_t first, images; /* the first one's position, and how many there are */
    uint64_t planned;       /* of all parts */
} cache_part;

/* Part `number` of `of` in whole batches of so many images; 0 when there are fewer batches. */
int cut_part(cache_part *part, uint64_t batch);

/* What the cache has noted of its part, of=0: nothing. And notes it, in a cache that has not
 * begun; exits when one that has is of another part. */
cache_part read_part(logit_cache *cache);
void agree_on_part(logit_cache *cache, const cache_part *part);

/* Makes a cache of all the parts of a run; exits with what is missing, and with what differs.
 */
void merge_caches(char *out, char **parts, int n);

#endif
