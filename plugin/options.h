/*
 * The options of a cfg section or a .data file: a table says what is known,
 * of which type and range; anything else is an error that names the file, the
 * section, the option, what was found and what was expected.
 */
#ifndef KD_OPTIONS_H
#define KD_OPTIONS_H

#include "darknet.h"

#include <stddef.h>

typedef enum {
    OPTION_INT,
    OPTION_REAL,
    OPTION_PAIR,
    OPTION_NUMBERS,
    OPTION_GROWING,
    OPTION_CHOICE,
    OPTION_TEXT
} option_kind;

/* What an OPTION_NUMBERS sets, one at least; OPTION_GROWING: each above the one before. */
#define MOST_NUMBERS 8
typedef struct {
    int n;
    double x[MOST_NUMBERS];
} option_numbers;

typedef struct {
    const char *key;
    option_kind kind;
    size_t offset;    /* of the int, double, double[2], option_numbers, int or char * to set */
    double low, high; /* both allowed; for numbers */
    const char *choices; /* OPTION_CHOICE: "kd|dkd", set to the index of what was found */
} option;

/*
 * Reads `options`, Darknet's list of key=value, into the struct `into`, whose
 * defaults the caller has set. `section` is "[name]", or "" for a .data file.
 * An inline comment (# to the end of the line) is cut off. Text is copied and
 * belongs to the caller. The table ends with a NULL key. Exits on bad input.
 */
void read_options(const char *file, const char *section, list *options, const option *table,
                  void *into);

/* Where an option stands, for messages. */
typedef struct {
    const char *file, *section, *key, *value;
} option_place;

/* Exits with one line: where, what was found, what was expected. */
void bad_option(const option_place *at, const char *expected) __attribute__((noreturn));

/* The table's entry for a key, or NULL. */
const option *find_option(const option *table, const char *key);

/* Exits unless the value is a number as `o` says, a comment behind it allowed. */
void check_number(const option_place *at, const option *o);

#endif
