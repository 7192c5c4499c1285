/*
 * How every C program of the tests gives its verdicts: TAP on stdout, reasons on stderr. With
 * the C library alone, for the tests on a GPU run where nothing else is installed, and one way
 * to check is easier to read than two.
 *
 *   check(is_true, "format", ...)   a fact; if it is none, the test has failed, but goes on
 *   assert_...(...), fail_msg()     the same, but the test ends there
 *   compare(), then near()          numbers, as many as one likes, then a verdict on the worst
 *   ok(is_true, "format", ...)      a verdict of its own
 *
 * A program is a table of tests, each of which is a verdict, or calls ok() and near() for
 * itself: static const test_case tests[] = {TEST(test_this), TEST(test_that)}; run_tests(tests,
 * COUNT(tests)); return finish();
 */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct {
    int verdicts, failures; /* so far, and those of them that are "not ok" */
    const char *test;       /* the table's one that runs; NULL: none does */
    int facts;              /* that were none, in this test */
    int is_child;           /* 1: the test that made this process has its own verdict */
    int real;               /* stderr, as it was when the test began */
    const char *skipped;
    jmp_buf end;
} check_state;

/* ---- reasons ----------------------------------------------------------- */

static inline const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/*
 * A line of stderr, which prove shows, as it would not a line of stdout; up to its newline. A
 * test that has silenced stderr is heard from now on.
 */
static inline void begin_reason(void)
{
    fflush(stdout), fflush(stderr);
    if (check_state.test && !check_state.is_child) dup2(check_state.real, 2);
    fprintf(stderr, "# %s: ", base_name(__BASE_FILE__));
    if (check_state.test) fprintf(stderr, "%s: ", check_state.test);
}

/* ---- facts ------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static inline void
check_at(const char *file, int line, int is_true, const char *format, ...)
{
    if (is_true) return;
    va_list arguments;
    va_start(arguments, format);
    begin_reason();
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (%s:%d)\n", base_name(file), line);
    va_end(arguments);
    ++check_state.facts;
}
#define check(is_true, ...) check_at(__FILE__, __LINE__, (is_true) ? 1 : 0, __VA_ARGS__)

#define CHILD_FAILED 99 /* exit status */

/* The test has failed, or is skipped: on with the next one. Outside a table nothing goes on. */
__attribute__((noreturn)) static inline void end_test(void)
{
    if (check_state.is_child) _exit(CHILD_FAILED);
    if (!check_state.test) exit(1);
    longjmp(check_state.end, 1);
}

__attribute__((noreturn)) static inline void skip_test(const char *why)
{
    check_state.skipped = why;
    end_test();
}

#define fail_msg(...) (check_at(__FILE__, __LINE__, 0, __VA_ARGS__), end_test())

/* Words instead of numbers: assert_that(n > 2, "found %d, expected more than 2", n) */
#define assert_that(is_true, ...)                                                              \
    do {                                                                                       \
        if (!(is_true)) fail_msg(__VA_ARGS__);                                                 \
    } while (0)

#define assert_true(a) assert_that(a, "not true: %s", #a)
#define assert_false(a) assert_that(!(a), "true: %s", #a)
#define assert_null(a) assert_that(!(a), "not NULL: %s", #a)
#define assert_non_null(a) assert_that(a, "NULL: %s", #a)
#define assert_ptr_equal(a, b) assert_that((a) == (b), "%s is not %s", #a, #b)
#define assert_ptr_not_equal(a, b) assert_that((a) != (b), "%s is %s", #a, #b)

/* Integers of any kind */
#define assert_int_equal(a, b)                                                                 \
    do {                                                                                       \
        long long a_ = (long long)(a), b_ = (long long)(b);                                    \
        assert_that(a_ == b_, "%s: found %lld, expected %lld", #a, a_, b_);                    \
    } while (0)
#define assert_int_not_equal(a, b)                                                             \
    do {                                                                                       \
        long long a_ = (long long)(a), b_ = (long long)(b);                                    \
        assert_that(a_ != b_, "%s: found %lld, expected another number", #a, a_);              \
    } while (0)
#define assert_in_range(a, least, most)                                                        \
    do {                                                                                       \
        long long a_ = (long long)(a), b_ = (long long)(least), c_ = (long long)(most);        \
        assert_that(b_ <= a_ && a_ <= c_, "%s: found %lld, expected %lld to %lld", #a, a_, b_, \
                    c_);                                                                       \
    } while (0)
#define assert_float_equal(a, b, tolerance)                                                    \
    do {                                                                                       \
        double a_ = (a), b_ = (b), c_ = (tolerance);                                           \
        assert_that(fabs(a_ - b_) <= c_, "%s: found %.17g, expected %.17g within %g", #a, a_,  \
                    b_, c_);                                                                   \
    } while (0)
#define assert_string_equal(a, b)                                                              \
    do {                                                                                       \
        const char *a_ = (a), *b_ = (b);                                                       \
        assert_that(!strcmp(a_, b_), "%s: found \"%s\", expected \"%s\"", #a, a_, b_);         \
    } while (0)

/* The first of `size` bytes in which the two differ, or `size` */
static inline size_t first_difference(const void *a, const void *b, size_t size)
{
    size_t i = 0;
    while (i < size && ((const char *)a)[i] == ((const char *)b)[i]) ++i;
    return i;
}
#define assert_memory_equal(a, b, size)                                                        \
    do {                                                                                       \
        size_t n_ = (size), at_ = first_difference((a), (b), n_);                              \
        assert_that(at_ == n_, "%s and %s differ at byte %zu of %zu", #a, #b, at_, n_);        \
    } while (0)
#define assert_memory_not_equal(a, b, size)                                                    \
    do {                                                                                       \
        size_t n_ = (size);                                                                    \
        assert_that(first_difference((a), (b), n_) < n_, "%s and %s: the same %zu bytes", #a,  \
                    #b, n_);                                                                   \
    } while (0)

/* ---- verdicts ---------------------------------------------------------- */

static inline int check_verdict(int is_true, const char *more, const char *format,
                                va_list arguments)
{
    char name[256];
    vsnprintf(name, sizeof(name), format, arguments);
    printf("%sok %d - %s%s\n", is_true ? "" : "not ", ++check_state.verdicts, name, more);
    if (is_true) return 1;
    ++check_state.failures;
    begin_reason();
    fprintf(stderr, "not ok %d - %s%s\n", check_state.verdicts, name, more);
    return 0;
}

/* One verdict with its name; returns it. */
__attribute__((format(printf, 2, 3))) static inline int ok(int is_true, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    check_verdict(is_true, "", format, arguments);
    va_end(arguments);
    return is_true;
}

/* A line for who reads the test's own output */
__attribute__((format(printf, 1, 2))) static inline void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("# ");
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

/* The plan; the program's exit status. */
static inline int finish(void)
{
    printf("1..%d\n", check_state.verdicts);
    return check_state.failures || !check_state.verdicts;
}

/* ---- tables of tests --------------------------------------------------- */

typedef struct {
    const char *name;
    void (*run)(void);
    void (*before)(void); /* or NULL */
} test_case;
#define TEST(function)                                                                         \
    {                                                                                          \
#function, function, 0                                                                 \
    }
#define TEST_AFTER(before, function)                                                           \
    {                                                                                          \
#function, function, before                                                            \
    }

static inline void run_test(const test_case *t)
{
    check_state.real = dup(2); /* a test may end while stderr is another */
    check_state.test = t->name;
    check_state.facts = 0;
    check_state.skipped = 0;
    if (!setjmp(check_state.end)) {
        if (t->before) t->before();
        t->run();
    }
    fflush(stderr);
    dup2(check_state.real, 2);
    close(check_state.real);
    check_state.test = 0;
    if (check_state.skipped) ok(1, "%s # SKIP %s", t->name, check_state.skipped);
    else ok(!check_state.facts, "%s", t->name);
}

static inline void run_tests(const test_case *tests, int n)
{
    setvbuf(stdout, 0, _IOLBF, 0); /* what has been said is there if a test crashes */
    for (int i = 0; i < n; ++i) run_test(tests + i);
}

/* ---- numbers ----------------------------------------------------------- */

static inline double largest_of(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; ++i) most = fmax(most, fabs(x[i]));
    return most;
}

/* The largest difference, relative to the largest entry of b; INFINITY when one is not finite.
 */
static inline double distance_of(const float *a, const float *b, size_t n)
{
    double most = 0, scale = largest_of(b, n);
    for (size_t i = 0; i < n; ++i) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
        most = fmax(most, fabs((double)a[i] - b[i]));
    }
    return most == 0 ? 0 : most / scale;
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

static inline void print_worst(FILE *to, const worst_case *w)
{
    fprintf(to, "# %zu numbers, worst %.2g", w->compared, w->error);
    if (w->error > 0)
        fprintf(to, ": %.9g, expected %.9g at %s[%zu]", w->found, w->wanted, w->where,
                w->index);
    fputc('\n', to);
}

/* The verdict: something was compared, and nothing was off by more than `tolerance`. */
__attribute__((format(printf, 3, 4))) static inline int
near(const worst_case *w, double tolerance, const char *format, ...)
{
    char within[32];
    int is_near = w->compared && w->error <= tolerance;
    va_list arguments;
    snprintf(within, sizeof(within), ": within %g", tolerance);
    va_start(arguments, format);
    check_verdict(is_near, within, format, arguments);
    va_end(arguments);
    print_worst(is_near ? stdout : stderr, w);
    return is_near;
}

#endif
