/*
 * How long it takes to decode images: before, by the stb_image of 2017 that Darknet brings, and
 * now, by plugin/darknet/decode.c. One line of JSON: the pixels of all files, and for each of
 * ROUNDS the seconds of CPU that both took, in turn. `make bench` runs it.
 */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#include "stb_image.h"

#define ROUNDS 15

static unsigned char *decode_before(const char *path, int *w, int *h)
{
    int c;
    return stbi_load(path, w, h, &c, 3);
}

static unsigned char *decode_now(const char *path, int *w, int *h)
{
    char reason[DECODE_REASON];
    int c;
    return decode_image(path, 3, w, h, &c, reason);
}

/* Seconds of all files; exits when one can't be decoded. */
static double time_all(unsigned char *(*decode)(const char *, int *, int *), char **paths,
                       long *pixels)
{
    struct timespec began, ended;
    int w, h;
    *pixels = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
    for (; *paths; ++paths) {
        unsigned char *bytes = decode(*paths, &w, &h);
        if (!bytes) {
            fprintf(stderr, "%s: cannot be decoded\n", *paths);
            exit(1);
        }
        *pixels += (long)w * h;
        free(bytes);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
    return ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) * 1e-9;
}

int main(int argc, char **argv)
{
    double before[ROUNDS], now[ROUNDS];
    long pixels;
    if (argc < 2) return 1;
    time_all(decode_before, argv + 1, &pixels); /* the files are in memory then */
    for (int i = 0; i < ROUNDS; ++i) {
        before[i] = time_all(decode_before, argv + 1, &pixels);
        now[i] = time_all(decode_now, argv + 1, &pixels);
    }
    printf("{\"pixels\": %ld, \"rounds\": [", pixels);
    for (int i = 0; i < ROUNDS; ++i) printf("%s[%.9f, %.9f]", i ? ", " : "", before[i], now[i]);
    printf("]}\n");
    return 0;
}
