/*
 * A teacher's logits in a file, so that it runs once for many students: an SQLite database,
 * which any language reads.
 *
 *   notes(key, value)                 what they are the logits of, in words
 *   logits(position, hash, numbers)   of the image at a position of the run, from 0: float32 in
 * the machine's order, or rows as math/top_row.h packs them; FNV-1a of position and numbers
 *
 * Positions come without gaps, from 0, or in a part of a run from where it begins. A program
 * that is killed leaves what it has saved, and one that reads keeps others from writing until
 * it ends. All functions exit with one line that names the file when they can't do what they
 * say.
 */
#ifndef KD_LOGIT_CACHE_H
#define KD_LOGIT_CACHE_H

#include <stddef.h>
#include <stdint.h>

typedef struct logit_cache logit_cache;

/* To be read; and to be written, made if it is not there, and gone again at exit if nothing has
 * been saved in it. Close it in the end. */
logit_cache *open_logit_cache(const char *file);
logit_cache *make_logit_cache(const char *file);
void close_logit_cache(logit_cache *c);

/* Its file, as it was given. */
const char *logit_cache_file(const logit_cache *c);

/* A note's text, which the caller frees; NULL: there is none. */
char *read_note(logit_cache *c, const char *key);
void write_note(logit_cache *c, const char *key, const char *value);

/* 1 when it has notes: it has begun. */
int has_notes(logit_cache *c);

/* Copies the notes but for `one`, or where they stand already, compares: the first key whose
 * text differs or that one of the two lacks, which the caller frees; else NULL. */
char *copy_notes(logit_cache *from, logit_cache *to, const char *one);

/* How many images it holds, of which the first one stands at this position. */
uint64_t cached_images(logit_cache *c, uint64_t first);

/* Copies all images, of which `to` has none. */
void copy_cached_logits(logit_cache *from, logit_cache *to);

/* The numbers, so many bytes, of the image at the position; one is cached only once. */
void write_logits(logit_cache *c, uint64_t position, const void *numbers, size_t bytes);
void read_cached_logits(logit_cache *c, uint64_t position, void *numbers, size_t bytes);

/* What has been written is there from now on, whatever happens. */
void save_logit_cache(logit_cache *c);

#endif
