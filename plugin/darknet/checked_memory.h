/*
 * Included before every C file of Darknet's (plugin.mk's CHECKED): memory that there is not
 * ends the program with one line, not with a write to address 0.
 */
#ifndef KD_CHECKED_MEMORY_H
#define KD_CHECKED_MEMORY_H
#include <stdlib.h>

void *checked_malloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *checked_calloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *checked_realloc(void *old, size_t size) __attribute__((alloc_size(2)));

#define malloc(size) checked_malloc(size)
#define calloc(n, size) checked_calloc(n, size)
#define realloc(old, size) checked_realloc(old, size)
#endif
