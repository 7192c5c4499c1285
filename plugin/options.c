/* See options.h. */
#include "options.h"
#include "support.h"

#include "option_list.h"
#include "utils.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void bad_option(const option_place *at, const char *expected)
{
    kd_fail("%s: %s%s%s=%s: expected %s", at->file, at->section, *at->section ? " " : "",
            at->key, at->value, expected);
}

/* The number at *text; moves *text behind it. */
static double read_number(const option_place *at, const option *o, char **text)
{
    char expected[128], *end;
    errno = 0;
    double value = strtod(*text, &end);
    int whole = o->kind != OPTION_INT || value == floor(value);
    if (end == *text || errno || !(value >= o->low && value <= o->high) || !whole) {
        const char *two = o->kind == OPTION_PAIR ? "two growing numbers, " : "";
        snprintf(expected, sizeof(expected), "%s%s from %.10g to %.10g", two,
                 o->kind == OPTION_INT ? "a whole number" : "a number", o->low, o->high);
        bad_option(at, expected);
    }
    *text = end;
    return value;
}

static void read_numbers(const option_place *at, const option *o, char **text,
                         option_numbers *to)
{
    int grows = o->kind == OPTION_GROWING;
    const char *expected = grows ? "up to 8 growing numbers with commas between them"
                                 : "up to 8 numbers with commas between them";
    for (to->n = 0;; ++*text) {
        if (to->n == MOST_NUMBERS) bad_option(at, expected);
        to->x[to->n] = read_number(at, o, text);
        if (grows && to->n && to->x[to->n] <= to->x[to->n - 1]) bad_option(at, expected);
        ++to->n;
        if (**text != ',') return;
    }
}

static int read_choice(const option_place *at, const option *o)
{
    const char *rest = o->choices;
    size_t length = strlen(at->value);
    for (int index = 0; *rest; ++index) {
        size_t n = strcspn(rest, "|");
        if (n == length && !strncmp(rest, at->value, n)) return index;
        rest += n + (rest[n] == '|');
    }
    bad_option(at, o->choices);
}

void check_number(const option_place *at, const option *o)
{
    char *end = (char *)at->value;
    read_number(at, o, &end);
    if (*end && *end != '#') bad_option(at, "a number and nothing behind it");
}

static void set_option(const option_place *at, const option *o, char *value, void *into)
{
    void *to = (char *)into + o->offset;
    char *end = value;
    if (o->kind != OPTION_TEXT) strip(value);
    switch (o->kind) {
    case OPTION_INT: *(int *)to = (int)read_number(at, o, &end); break;
    case OPTION_REAL: *(double *)to = read_number(at, o, &end); break;
    case OPTION_NUMBERS:
    case OPTION_GROWING: read_numbers(at, o, &end, to); break;
    case OPTION_CHOICE: *(int *)to = read_choice(at, o); return;
    case OPTION_TEXT:
        if (!*value) bad_option(at, "a text");
        *(char **)to = kd_copy(value);
        return;
    case OPTION_PAIR: {
        double *pair = to;
        pair[0] = read_number(at, o, &end);
        if (*end != ',') bad_option(at, "two numbers with a comma between them");
        ++end;
        pair[1] = read_number(at, o, &end);
        if (pair[0] >= pair[1]) bad_option(at, "two growing numbers");
    }
    }
    if (*end) bad_option(at, "a number and nothing behind it");
}

const option *find_option(const option *table, const char *key)
{
    for (const option *o = table; o->key; ++o)
        if (!strcmp(o->key, key)) return o;
    return 0;
}

/* "a, b, c": the keys of a table, in a buffer that is never too small for ours */
static const char *known_keys(const option *table)
{
    static char keys[1024];
    keys[0] = 0;
    for (const option *o = table; o->key; ++o) {
        if (keys[0]) strncat(keys, ", ", sizeof(keys) - strlen(keys) - 1);
        strncat(keys, o->key, sizeof(keys) - strlen(keys) - 1);
    }
    return keys;
}

/* Is the key given again before this node? */
static int is_repeated(list *options, node *n)
{
    for (node *m = options->front; m != n; m = m->next)
        if (!strcmp(((kvp *)m->val)->key, ((kvp *)n->val)->key)) return 1;
    return 0;
}

void read_options(const char *file, const char *section, list *options, const option *table,
                  void *into)
{
    for (node *n = options->front; n; n = n->next) {
        kvp *pair = n->val;
        char *value = kd_copy(pair->val);
        value[strcspn(value, "#")] = 0;
        trim(value);
        option_place at = {file, section, pair->key, value};
        const option *o = find_option(table, pair->key);
        if (!o) {
            char expected[1100];
            snprintf(expected, sizeof(expected), "one of the options %s", known_keys(table));
            bad_option(&at, expected);
        }
        if (is_repeated(options, n)) bad_option(&at, "each option once");
        pair->used = 1;
        set_option(&at, o, value, into);
        free(value);
    }
}
