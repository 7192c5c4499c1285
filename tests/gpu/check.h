/*
 * Verdicts in TAP, with the C library alone: ok() for what is true or not, and for numbers
 * compare(), as often as one likes, then near(), whose line shows the worst of them.
 * A program ends with `return finish();`.
 */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static int check_number, check_failures;

static inline int check_verdict(int is_true, const char *format, va_list arguments)
{
    printf("%sok %d - ", is_true ? "" : "not ", ++check_number);
    vprintf(format, arguments);
    check_failures += !is_true;
    return is_true;
}

/* One verdict with its name; returns it. */
__attribute__((format(printf, 2, 3))) static inline int ok(int is_true, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    check_verdict(is_true, format, arguments);
    va_end(arguments);
    putchar('\n');
    return is_true;
}

/* The largest relative error so far, and where it is; {0} at first */
typedef struct {
    double error, found, wanted;
    size_t index, compared;
    char where[96];
} worst_case;

/* One number; its error is relative to `scale`, and infinite when it is no number. */
static inline void compare_one(worst_case *w, double found, double wanted, double scale,
                               size_t index, const char *where)
{
    double error = found == wanted ? 0 : fabs(found - wanted) / scale;
    ++w->compared;
    if (isnan(error)) error = INFINITY;
    if (error <= w->error) return;
    w->error = error;
    w->found = found, w->wanted = wanted, w->index = index;
    snprintf(w->where, sizeof(w->where), "%s", where);
}

/*
 * Each of found[n] relative to wanted[n], or to `floor` times the largest of them where that is
 * more: floor 1 compares with the array as a whole, a small one entry by entry.
 */
__attribute__((format(printf, 6, 7))) static inline void
compare(worst_case *w, const float *found, const float *wanted, size_t n, double floor,
        const char *format, ...)
{
    char where[sizeof(w->where)];
    double largest = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(where, sizeof(where), format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < n; ++i) largest = fmax(largest, fabs(wanted[i]));
    for (size_t i = 0; i < n; ++i)
        compare_one(w, found[i], wanted[i], fmax(fabs(wanted[i]), floor * largest), i, where);
}

/* The verdict: something was compared, and nothing was off by more than `tolerance`. */
__attribute__((format(printf, 3, 4))) static inline int
near(const worst_case *w, double tolerance, const char *format, ...)
{
    int is_near = w->compared && w->error <= tolerance;
    va_list arguments;
    va_start(arguments, format);
    check_verdict(is_near, format, arguments);
    va_end(arguments);
    printf(": within %g\n", tolerance);
    printf("# %zu numbers, worst %.2g", w->compared, w->error);
    if (w->error > 0)
        printf(": %.9g, expected %.9g at %s[%zu]", w->found, w->wanted, w->where, w->index);
    putchar('\n');
    return is_near;
}

/* The plan; the program's exit status. */
static inline int finish(void)
{
    printf("1..%d\n", check_number);
    return check_failures || !check_number;
}

#endif
