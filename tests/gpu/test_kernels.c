/*
 * Proves the plugin's own kernels against plain C on the CPU:
 *   - kd_rows_gpu: of every case of the table (vectors.h) losses and deltas are PyTorch's or,
 *     where floats can't hold its logits, those of kd_row (kd_math.c), which runs the same
 * table; they are kd_row's for every layout of the logits and number of classes around a warp
 * and a block; they add up, are the same to the bit when repeated, and what is not finite is
 *     reported;
 *   - kd_update_gpu: weights and momenta are those of the formula (groups.h); nothing changes
 *     once something is broken;
 *   - kd_resize_gpu: images are those of Darknet's resize_image.
 *
 * To add a row: tests/reference/make_vectors.py. To add a kind of logits to all layouts: a line
 * in make_logit. To add a number of classes: one in `classes`.
 * With an argument, "short", only small cases are run, for compute-sanitizer.
 */
#include "vectors.h"

#include "cuda.h"
#include "image.h"

#include "distil/groups_kernels.h"
#include "distil/teacher_kernels.h"
#include "math/box_formulas.h"
#include "math/kd_formulas.h"
#include "math/kd_math_kernels.h"
#include "net/device.h"
#include "support.h"

#include <limits.h>

static int is_short;

/* ---- memory -------------------------------------------------------------- */

static void *to_gpu(const void *host, size_t bytes)
{
    void *gpu;
    check_error(cudaMalloc(&gpu, bytes ? bytes : 1));
    check_error(cudaMemcpy(gpu, host, bytes, cudaMemcpyHostToDevice));
    return gpu;
}

/* Waits for all that was launched. */
static void from_gpu(void *host, void *gpu, size_t bytes)
{
    check_error(cudaMemcpy(host, gpu, bytes, cudaMemcpyDeviceToHost));
    check_error(cudaFree(gpu));
}

static float *copy_floats(const float *from, size_t n)
{
    return memcpy(kd_calloc(n, sizeof(float)), from, n * sizeof(float));
}

/* ---- rows: the logits ---------------------------------------------------- */

enum { NOISE, TIES, EQUAL, EXTREME, CERTAIN, FAR, HUGE_ONES, KINDS };
static const char *const kind_name[] = {
    "noise", "ties", "equal", "+-1e4", "a certain teacher", "far from 0", "+-1e30"};

static float make_logit(int kind, int is_teacher, int j)
{
    static const float ties[] = {-1.5, -0.f, 0, .25, 2};
    float noise = rand_uniform(-4, 4), sign = rand() % 2 ? 1 : -1;
    switch (kind) {
    case TIES: return ties[rand() % COUNT(ties)];
    case EQUAL: return is_teacher ? -2 : .75;
    case EXTREME: return 1e4 * sign + noise;
    case CERTAIN: return is_teacher ? (j == 0 ? 1000 : -1000) : noise;
    case FAR: return 1e4 + noise / 8;
    case HUGE_ONES: return 1e30 * sign;
    default: return noise;
    }
}

/* Logits as a [yolo] lays them out, an anchor for each kind: [KINDS][5 + classes][cells] */
#define STUDENT_CELLS 3
#define TEACHER_CELLS 2
#define OBJECTNESS 4

typedef struct {
    int classes;
    size_t students, teachers; /* numbers in each of the arrays */
    float *student, *teacher, *tcg, *ncg;
} sheets;

static size_t place(int classes, int cells, int kind, int entry, int cell)
{
    return ((size_t)kind * (5 + classes) + entry) * cells + cell;
}

static float *make_sheet(int classes, int cells, int is_teacher)
{
    float *sheet = kd_calloc(place(classes, cells, KINDS, 0, 0), sizeof(float));
    for (int kind = 0; kind < KINDS; ++kind)
        for (int entry = 0; entry < 5 + classes; ++entry)
            for (int cell = 0; cell < cells; ++cell)
                sheet[place(classes, cells, kind, entry, cell)] =
                    entry < 5 ? rand_uniform(-5, 5) : make_logit(kind, is_teacher, entry - 5);
    return sheet;
}

static sheets make_sheets(int classes)
{
    sheets s = {classes,
                place(classes, STUDENT_CELLS, KINDS, 0, 0),
                place(classes, TEACHER_CELLS, KINDS, 0, 0),
                make_sheet(classes, STUDENT_CELLS, 0),
                make_sheet(classes, TEACHER_CELLS, 1),
                0,
                0};
    s.tcg = kd_calloc(s.students, sizeof(float));
    s.ncg = kd_calloc(s.students, sizeof(float));
    return s;
}

static void free_sheets(sheets s)
{
    free(s.student), free(s.teacher), free(s.tcg), free(s.ncg);
}

static void clear_deltas(sheets s)
{
    memset(s.tcg, 0, s.students * sizeof(float));
    memset(s.ncg, 0, s.students * sizeof(float));
}

/* A row with the host's pointers: the student's logits of one kind, the teacher's of another */
static kd_gpu_row make_row(sheets s, int kind, int teacher_kind, int target, float weight)
{
    size_t at = place(s.classes, STUDENT_CELLS, kind, 5, kind % STUDENT_CELLS);
    size_t of = place(s.classes, TEACHER_CELLS, teacher_kind, 5, kind % TEACHER_CELLS);
    return (kd_gpu_row){.student = s.student + at,
                        .teacher = s.teacher + of,
                        .tcg = s.tcg + at,
                        .ncg = s.ncg + at,
                        .student_stride = STUDENT_CELLS,
                        .teacher_stride = TEACHER_CELLS,
                        .target = target,
                        .next = -1,
                        .is_first = 1,
                        .weight = weight};
}

#define ROWS (KINDS + 3)

static kd_box_place random_place(void)
{
    return (kd_box_place){rand() % 3, rand() % 4,         3,         4, rand_uniform(.1, .5),
                          .3,         rand_uniform(1, 2), rand() % 2};
}

/*
 * One row for each kind, and three more that are some others' `next`; two leave the class to
 * the teacher, two the weight, one has none, half of them have an objectness, and two of three
 * a box.
 */
static void make_rows(sheets s, kd_gpu_row *rows)
{
    static const float weights[] = {1, .5, 2, -1, 1.25, 1, 1};
    for (int k = 0; k < KINDS; ++k) {
        rows[k] = make_row(s, k, k, k == 1 || k == 3 ? -1 : rand() % s.classes, weights[k]);
        rows[k].objectness = k % 2 ? .75 : 0;
    }
    rows[KINDS] = make_row(s, NOISE, CERTAIN, 0, .5);
    rows[KINDS + 1] = make_row(s, NOISE, TIES, s.classes - 1, -1);
    rows[KINDS + 2] = make_row(s, TIES, NOISE, rand() % s.classes, 0);
    rows[NOISE].next = KINDS + 1, rows[KINDS + 1].next = KINDS, rows[TIES].next = KINDS + 2;
    for (int i = KINDS; i < ROWS; ++i) rows[i].is_first = 0;
}

/* Their boxes: a third has the teacher's objectness as its weight, a third none. */
static void make_boxes(kd_gpu_box *boxes)
{
    for (int i = 0; i < ROWS; ++i)
        boxes[i] = (kd_gpu_box){i % 3 == 0 ? -1 : i % 3 - 1, random_place(), random_place()};
}

/* ---- rows: on the CPU ---------------------------------------------------- */

typedef struct {
    kd_loss_config config;
    int keep;
    double weight;
    const kd_gpu_box *boxes; /* of the rows, or NULL */
} row_case;

/* The class of the largest logit, of equal ones the lowest */
static int most_confident(const double *y, int n)
{
    int best = 0;
    for (int j = 1; j < n; ++j)
        if (y[j] > y[best]) best = j;
    return best;
}

/* One row's classes: losses returned, deltas added. */
static kd_losses work_classes(const row_case *c, int n, const kd_gpu_row *r, double weight)
{
    double *z = kd_calloc(4 * n + KD_SCRATCH(n), sizeof(double));
    double *y = z + n, *tcg = y + n, *ncg = tcg + n;
    for (int j = 0; j < n; ++j) {
        z[j] = r->student[(size_t)j * r->student_stride];
        y[j] = r->teacher[(size_t)j * r->teacher_stride];
    }
    int target = r->target < 0 ? most_confident(y, n) : r->target;
    kd_losses loss = kd_row(&c->config, n, z, y, target, c->keep, tcg, ncg, ncg + n);
    for (int j = 0; j < n; ++j) {
        r->tcg[(size_t)j * r->student_stride] -= weight * tcg[j];
        r->ncg[(size_t)j * r->student_stride] -= weight * ncg[j];
    }
    free(z);
    return (kd_losses){weight * loss.tcg, weight * loss.ncg};
}

static double work_objectness(const row_case *c, const kd_gpu_row *r)
{
    if (!r->objectness) return 0;
    double gradient, z = r->student[-r->student_stride], y = r->teacher[-r->teacher_stride];
    double loss =
        kd_yes_or_no(c->weight * r->objectness, c->config.temperature, z, y, &gradient);
    r->tcg[-r->student_stride] -= gradient;
    return loss;
}

static double work_box(const row_case *c, int n, const kd_gpu_row *r, const kd_gpu_box *b)
{
    if (!b->weight) return 0;
    double gradient[4], z[4], y[4],
        sure = 1 / (1 + exp(-(double)r->teacher[-r->teacher_stride]));
    double weight = c->weight * c->config.box_weight * (b->weight < 0 ? sure : b->weight);
    double *zs = kd_calloc(2 * n, sizeof(double)), *ys = zs + n;
    for (int j = 0; j < n; ++j) {
        zs[j] = r->student[(size_t)j * r->student_stride];
        ys[j] = r->teacher[(size_t)j * r->teacher_stride];
    }
    if (c->config.method == find_method("bckd"))
        weight *= kd_farthest_class(n, c->config.temperature, zs, ys);
    free(zs);
    for (int k = 0; k < 4; ++k) z[k] = r->student[(k - 5) * r->student_stride];
    for (int k = 0; k < 4; ++k) y[k] = r->teacher[(k - 5) * r->teacher_stride];
    double loss = kd_row_box(weight, c->config.overlap, &b->at, z, &b->teachers, y, gradient);
    for (int k = 0; k < 4; ++k) r->tcg[(k - 5) * r->student_stride] -= gradient[k];
    return loss;
}

/* A row and those that follow it; their losses */
static kd_losses work_chain(const row_case *c, int n, const kd_gpu_row *rows, int i)
{
    kd_losses sum = {0, 0};
    for (; i >= 0; i = rows[i].next) {
        const kd_gpu_row *r = rows + i;
        double weight = c->weight * r->weight;
        if (r->weight < 0)
            weight = c->weight / (1 + exp(-(double)r->teacher[-r->teacher_stride]));
        kd_losses loss = work_classes(c, n, r, weight);
        sum.tcg += loss.tcg + work_objectness(c, r);
        if (c->boxes) sum.tcg += work_box(c, n, r, c->boxes + i);
        sum.ncg += loss.ncg;
    }
    return sum;
}

/* ---- rows: on the GPU ---------------------------------------------------- */

/* A copy of the rows with the GPU's pointers */
static kd_gpu_row *rows_to_gpu(const kd_gpu_row *rows, int n, sheets host, sheets gpu)
{
    kd_gpu_row *moved = kd_calloc(n, sizeof(*moved));
    for (int i = 0; i < n; ++i) {
        moved[i] = rows[i];
        moved[i].student = gpu.student + (rows[i].student - host.student);
        moved[i].teacher = gpu.teacher + (rows[i].teacher - host.teacher);
        moved[i].tcg = gpu.tcg + (rows[i].tcg - host.tcg);
        moved[i].ncg = gpu.ncg + (rows[i].ncg - host.ncg);
    }
    kd_gpu_row *result = to_gpu(moved, n * sizeof(*moved));
    free(moved);
    return result;
}

/*
 * Launches the rows `times` times, in batch 7; the deltas are in `host` afterwards, and the
 * launch's losses in losses[2 n].
 */
static kd_gpu_state launch(const row_case *c, sheets host, const kd_gpu_row *rows, int n,
                           int times, double *losses)
{
    sheets gpu = host;
    kd_gpu_state state = {0};
    gpu.student = to_gpu(host.student, host.students * sizeof(float));
    gpu.teacher = to_gpu(host.teacher, host.teachers * sizeof(float));
    gpu.tcg = to_gpu(host.tcg, host.students * sizeof(float));
    gpu.ncg = to_gpu(host.ncg, host.students * sizeof(float));
    kd_gpu_row *rows_gpu = rows_to_gpu(rows, n, host, gpu);
    kd_gpu_state *state_gpu = to_gpu(&state, sizeof(state));
    kd_gpu_box *boxes = c->boxes ? to_gpu(c->boxes, n * sizeof(*boxes)) : 0;
    double *losses_gpu = to_gpu(losses, 2 * n * sizeof(double));
    for (int i = 0; i < times; ++i)
        check_error(kd_rows_gpu(&c->config, host.classes, c->keep, c->weight, rows_gpu, boxes,
                                n, losses_gpu, state_gpu, 7 + i, get_cuda_stream()));
    from_gpu(&state, state_gpu, sizeof(state));
    from_gpu(losses, losses_gpu, 2 * n * sizeof(double));
    from_gpu(host.tcg, gpu.tcg, host.students * sizeof(float));
    from_gpu(host.ncg, gpu.ncg, host.students * sizeof(float));
    check_error(cudaFree(rows_gpu));
    check_error(cudaFree(boxes));
    check_error(cudaFree(gpu.student));
    check_error(cudaFree(gpu.teacher));
    return state;
}

/* ---- rows: the tests ----------------------------------------------------- */

#define LEAST                                                                                  \
    1e-6 /* of a row's largest delta: what is smaller may be what sums leave of it             \
          */

static void compare_deltas(worst_case *worst, const char *what, const float *found,
                           const float *wanted, int classes, const row_case *c)
{
    size_t n = (size_t)(5 + classes) * STUDENT_CELLS;
    for (int k = 0; k < KINDS; ++k)
        compare(worst, found + k * n, wanted + k * n, n, LEAST,
                "%s %s, %s, standardization %d, T %g, keep %d: %s", method_name(&c->config),
                activation_name(&c->config), what, c->config.standardize, c->config.temperature,
                c->keep, kind_name[k]);
}

static void check_rows(worst_case *deltas, worst_case *losses, row_case *c, sheets s)
{
    kd_gpu_row rows[ROWS];
    kd_gpu_box boxes[ROWS];
    double found[2 * ROWS], total[2] = {0};
    make_rows(s, rows);
    make_boxes(boxes);
    c->boxes = boxes;
    clear_deltas(s);
    kd_gpu_state state = launch(c, s, rows, ROWS, 1, found);
    float *tcg = copy_floats(s.tcg, s.students), *ncg = copy_floats(s.ncg, s.students);
    clear_deltas(s);
    for (int i = 0; i < ROWS; ++i) {
        kd_losses loss = work_chain(c, s.classes, rows, rows[i].is_first ? i : -1);
        const char *kind = i < KINDS ? kind_name[i] : "another's next";
        compare_one(losses, found[2 * i], loss.tcg, fmax(fabs(loss.tcg), LEAST), i, kind);
        compare_one(losses, found[2 * i + 1], loss.ncg, fmax(fabs(loss.ncg), LEAST), i, kind);
        total[0] += loss.tcg, total[1] += loss.ncg;
    }
    compare_one(losses, state.tcg, total[0], fmax(total[0], LEAST), 0, "sum of tcg");
    compare_one(losses, state.ncg, total[1], fmax(total[1], LEAST), 0, "sum of ncg");
    compare_one(losses, state.broken || state.done || state.batch, 0, 1, 0, "broken or done");
    compare_deltas(deltas, "tcg", tcg, s.tcg, s.classes, c);
    compare_deltas(deltas, "ncg", ncg, s.ncg, s.classes, c);
    free(tcg), free(ncg);
}

/* Method, activation and standardization by the bits of k, the numbers with them */
static row_case make_case(int k, int classes, int keep)
{
    static const double temperature[] = {.5, 1, 4, 2.5}, alpha[] = {1, .7, 2, 0};
    static const double beta[] = {8, 1, .5}, weight[] = {1, .3};
    row_case c = {.keep = keep, .weight = weight[k % 2]};
    c.config.activation = k & 2 || classes < 2 ? KD_LOGISTIC : KD_SOFTMAX;
    c.config.standardize = k >> 2 & 1;
    c.config.temperature = temperature[k % 4];
    c.config.alpha = alpha[(k + k / 4) % 4];
    c.config.box_weight = k % 5 ? 1.5 : 0;
    c.config.overlap = k % 4;
    int is_bckd = c.config.activation == KD_LOGISTIC && k % 3 == 0;
    set_method(&c.config, is_bckd ? "bckd" : k & 1 ? "dkd" : "kd", beta[k % 3]);
    return c;
}

/* 1e-5: the deltas are floats. */
static void test_rows(int classes)
{
    const int keeps[] = {0, 1, (classes - 1) / 2, classes - 2, classes - 1};
    int every = classes > 100 ? 2 : 1; /* of them, for the emulator's sake */
    worst_case deltas = {0}, losses = {0};
    srand(classes);
    sheets s = make_sheets(classes);
    for (int k = 0; k < 8; ++k)
        for (int i = 0, last = -1; i < COUNT(keeps); i += every) {
            if (keeps[i] <= last || keeps[i] >= classes) continue;
            row_case c = make_case(k, classes, last = keeps[i]);
            check_rows(&deltas, &losses, &c, s);
        }
    near(&deltas, 1e-5, "rows of %d classes: deltas", classes);
    near(&losses, 1e-5, "rows of %d classes: losses", classes);
    free_sheets(s);
}

static row_case softmax_case(const char *method, int keep)
{
    row_case c = {.config = {.activation = KD_SOFTMAX, .temperature = 4, .alpha = 1},
                  .keep = keep,
                  .weight = 1};
    set_method(&c.config, method, 2);
    return c;
}

/* Rows of a classifier: class after class, and many of them */
static kd_gpu_row *make_plain_rows(sheets s, int n)
{
    kd_gpu_row *rows = kd_calloc(n, sizeof(*rows));
    for (int i = 0; i < n; ++i) {
        size_t at = (size_t)i * s.classes;
        rows[i] = (kd_gpu_row){.student = s.student + at,
                               .teacher = s.teacher + at,
                               .tcg = s.tcg + at,
                               .ncg = s.ncg + at,
                               .student_stride = 1,
                               .teacher_stride = 1,
                               .target = rand() % s.classes,
                               .next = -1,
                               .is_first = 1,
                               .weight = 1};
    }
    return rows;
}

static sheets make_plain_sheets(int n, int classes)
{
    sheets s = {classes, (size_t)n * classes, (size_t)n * classes, 0, 0, 0, 0};
    float **arrays[] = {&s.student, &s.teacher, &s.tcg, &s.ncg};
    for (int k = 0; k < 4; ++k) {
        *arrays[k] = kd_calloc(s.students, sizeof(float));
        for (size_t i = 0; k < 2 && i < s.students; ++i)
            (*arrays[k])[i] = make_logit(NOISE, k, 0);
    }
    return s;
}

/* The sum of all rows' losses, and the deltas, which are double those of one launch */
static void test_many_rows(int n, int classes)
{
    row_case c = softmax_case("dkd", (classes - 1) / 2);
    worst_case worst = {0};
    srand(n);
    sheets s = make_plain_sheets(n, classes);
    kd_gpu_row *rows = make_plain_rows(s, n);
    double *losses = kd_calloc(2 * n, sizeof(double)), tcg = 0, ncg = 0;
    kd_gpu_state once = launch(&c, s, rows, n, 1, losses);
    clear_deltas(s);
    kd_gpu_state again = launch(&c, s, rows, n, 1, losses);
    float *first = copy_floats(s.tcg, s.students);
    ok(!memcmp(&once, &again, sizeof(once)), "%d rows: the same sums to the bit again", n);
    clear_deltas(s);
    kd_gpu_state twice = launch(&c, s, rows, n, 2, losses);
    ok(twice.tcg == 2 * once.tcg && twice.ncg == 2 * once.ncg, "%d rows: losses add up", n);
    for (size_t i = 0; i < s.students; ++i)
        compare_one(&worst, s.tcg[i], 2 * first[i], fabs(2 * first[i]), i, "twice the tcg");
    clear_deltas(s);
    for (int i = 0; i < n; ++i) {
        kd_losses loss = work_chain(&c, classes, rows, i);
        tcg += loss.tcg, ncg += loss.ncg;
    }
    compare(&worst, first, s.tcg, s.students, LEAST, "tcg");
    compare_one(&worst, once.tcg, tcg, tcg, 0, "sum of tcg");
    compare_one(&worst, once.ncg, ncg, ncg, 0, "sum of ncg");
    near(&worst, 1e-5, "%d rows of %d classes", n, classes);
    free(rows), free(losses), free(first), free_sheets(s);
}

/* ---- rows: the table of cases (vectors.h) --------------------------------- */

/* To the nearest floats, which is all that a GPU sees; 1 if that changed some. */
static int round_logits(row *r)
{
    int changed = 0;
    for (int j = 0; j < r->classes; ++j) {
        changed |= r->z[j] != (float)r->z[j] || r->y[j] != (float)r->y[j];
        r->z[j] = (float)r->z[j], r->y[j] = (float)r->y[j];
    }
    return changed;
}

static void run_on_gpu(const row *r, result *got)
{
    row_case c = {.config = r->config, .keep = r->keep, .weight = 1};
    double losses[2];
    sheets s = make_plain_sheets(1, r->classes);
    kd_gpu_row *rows = make_plain_rows(s, 1);
    rows[0].target = r->target;
    for (int j = 0; j < r->classes; ++j) s.student[j] = r->z[j], s.teacher[j] = r->y[j];
    kd_gpu_state state = launch(&c, s, rows, 1, 1, losses);
    check(!state.broken, "%s: bits %u", describe(r), state.broken);
    got->loss = (kd_losses){state.tcg, state.ncg};
    for (int j = 0; j < r->classes; ++j) got->tcg[j] = -s.tcg[j], got->ncg[j] = -s.ncg[j];
    free(rows), free_sheets(s);
}

static int compare_row(row *r, result *want)
{
    static result got;
    if (is_short && r->classes > 100) return 0;
    if (r->config.tcg_gate || r->swaps) return 0;
    if (round_logits(r)) run_row(r, want);
    run_on_gpu(r, &got);
    compare_results(r, &got, want, IN_FLOATS);
    return 1;
}

static void test_vectors(void)
{
    check(see_vectors(compare_row) > 400, "kd_vectors.txt: cases are missing");
}

static void test_no_rows(void)
{
    row_case c = make_case(0, 10, 3);
    sheets s = make_plain_sheets(1, 10);
    kd_gpu_state state = launch(&c, s, 0, 0, 1, 0);
    ok(state.tcg == 0 && state.ncg == 0 && !state.broken, "no rows: nothing");
    free_sheets(s);
}

/* `bad` at class j of a teacher or student whose class is not kept and not the target */
static void check_broken(const char *what, float sheets_student, float sheets_teacher, int j,
                         unsigned bits, unsigned not_bits)
{
    row_case c = softmax_case("kd", 1);
    double losses[2 * 3];
    srand(5);
    sheets s = make_plain_sheets(3, 300);
    s.student[2 * 300 + j] += sheets_student;
    s.teacher[2 * 300 + j] += sheets_teacher;
    kd_gpu_row *rows = make_plain_rows(s, 3);
    kd_gpu_state state = launch(&c, s, rows, 3, 2, losses);
    ok((state.broken & bits) == bits && !(state.broken & not_bits) &&
           state.batch == (bits ? 7 : 0),
       "%s: bits %u in batch %d", what, state.broken, state.batch);
    free(rows), free_sheets(s);
}

static void test_broken(void)
{
    check_broken("finite logits", 0, 0, 299, 0, ~0u);
    check_broken("a student's NaN", NAN, 0, 299, KD_BROKEN_STUDENT, KD_BROKEN_TEACHER);
    check_broken("a student's infinity", INFINITY, 0, 0, KD_BROKEN_STUDENT, KD_BROKEN_TEACHER);
    check_broken("a teacher's NaN", 0, NAN, 299, KD_BROKEN_TEACHER, KD_BROKEN_STUDENT);
    check_broken("a teacher's -infinity", 0, -INFINITY, 1, KD_BROKEN_TEACHER,
                 KD_BROKEN_STUDENT);
    check_broken("both", NAN, NAN, 256, KD_BROKEN_TEACHER | KD_BROKEN_STUDENT, 0);
}

/* An objectness is no class, but the loss shows it. */
static void test_broken_objectness(void)
{
    row_case c = make_case(2, 10, 9);
    kd_gpu_row rows[ROWS];
    double losses[2 * ROWS];
    srand(6);
    sheets s = make_sheets(10);
    make_rows(s, rows);
    *(float *)(rows[TIES].student - STUDENT_CELLS) = INFINITY;
    kd_gpu_state state = launch(&c, s, rows, ROWS, 1, losses);
    ok(state.broken == KD_BROKEN_TCG && state.batch == 7, "an infinite objectness: bits %u",
       state.broken);
    free_sheets(s);
}

/* ---- the update ---------------------------------------------------------- */

static const int sizes[] = {1, 255, 256, 257, 4096, 4097, 9000};
#define GAP 5 /* numbers between two arrays, which nobody may touch */

/* Parameters and each group's momenta: arrays of `sizes`, one behind the other */
typedef struct {
    size_t n;
    float *weights, *momenta[KD_MOST_GROUPS];
    kd_chunk chunks[64];
    int n_chunks;
} update_case;

/* As groups_gpu.c has them: some decay, some have a rate or a clip of their own */
static void add_array(update_case *u, size_t at, int size, int k)
{
    for (int first = 0; first < size; first += KD_CHUNK)
        u->chunks[u->n_chunks++] = (kd_chunk){u->weights + at + first,
                                              at + first,
                                              size - first < KD_CHUNK ? size - first : KD_CHUNK,
                                              k % 3 != 1,
                                              k % 2 ? .5 : 1,
                                              k % 3 ? 0 : .2};
}

static update_case make_update_case(int groups)
{
    update_case u = {0};
    size_t at = GAP;
    for (int k = 0; k < COUNT(sizes); ++k) u.n += sizes[k] + GAP;
    u.n += GAP;
    u.weights = kd_calloc(u.n, sizeof(float));
    for (size_t i = 0; i < u.n; ++i) u.weights[i] = rand_uniform(-1, 1);
    for (int g = 0; g < groups; ++g) {
        u.momenta[g] = kd_calloc(u.n, sizeof(float));
        for (size_t i = 0; i < u.n; ++i) u.momenta[g][i] = rand_uniform(-3, 3);
    }
    for (int k = 0; k < COUNT(sizes); at += sizes[k] + GAP, ++k) add_array(&u, at, sizes[k], k);
    return u;
}

static void free_update_case(update_case u)
{
    free(u.weights);
    for (int g = 0; g < KD_MOST_GROUPS; ++g) free(u.momenta[g]);
}

static kd_update make_update(int groups)
{
    return (kd_update){
        .groups = groups,
        .momentum = {.975, .825, .95},
        .broken = {KD_BROKEN_GRADIENT << 1, KD_BROKEN_GRADIENT, KD_BROKEN_GRADIENT << 2},
        .rate = .05f / 4,
        .decay = .01f * 4,
        .batch = 12};
}

/* On the GPU, which starts from *state; leaves the result in *u and *state. */
static void update_on_gpu(const kd_update *update, update_case *u, kd_gpu_state *state)
{
    kd_update moved = *update;
    kd_chunk chunks[COUNT(u->chunks)];
    float *weights = to_gpu(u->weights, u->n * sizeof(float));
    for (int g = 0; g < update->groups; ++g)
        moved.buffers[g] = to_gpu(u->momenta[g], u->n * sizeof(float));
    memcpy(chunks, u->chunks, sizeof(chunks));
    for (int k = 0; k < u->n_chunks; ++k)
        chunks[k].parameters = weights + (u->chunks[k].parameters - u->weights);
    kd_chunk *chunks_gpu = to_gpu(chunks, sizeof(chunks));
    kd_gpu_state *state_gpu = to_gpu(state, sizeof(*state));
    check_error(kd_update_gpu(&moved, chunks_gpu, u->n_chunks, state_gpu, get_cuda_stream()));
    from_gpu(state, state_gpu, sizeof(*state));
    from_gpu(u->weights, weights, u->n * sizeof(float));
    for (int g = 0; g < update->groups; ++g)
        from_gpu(u->momenta[g], moved.buffers[g], u->n * sizeof(float));
    check_error(cudaFree(chunks_gpu));
}

/* w <- w + rate sum_g v_g, v_g <- mu_g v_g; the first group's v has the decay. */
static void update_by_hand(const kd_update *update, update_case *u)
{
    for (int k = 0; k < u->n_chunks; ++k) {
        kd_chunk c = u->chunks[k];
        for (int i = 0; i < c.n; ++i) {
            double w = c.parameters[i], sum = 0;
            for (int g = 0; g < update->groups; ++g) {
                double v = u->momenta[g][c.at + i] - (g || !c.decays ? 0 : update->decay * w);
                sum += v;
                u->momenta[g][c.at + i] = update->momentum[g] * v;
            }
            w += update->rate * c.rate * sum;
            c.parameters[i] = c.clip ? fmin(fmax(w, -c.clip), c.clip) : w;
        }
    }
}

/* 1e-6: floats, of which the largest are 1 to 3. */
static void test_update(int groups)
{
    worst_case worst = {0};
    kd_update update = make_update(groups);
    kd_gpu_state state = {0};
    srand(groups);
    update_case found = make_update_case(groups);
    srand(groups);
    update_case wanted = make_update_case(groups);
    for (int step = 0; step < 3; ++step) {
        update_on_gpu(&update, &found, &state);
        update_by_hand(&update, &wanted);
    }
    compare(&worst, found.weights, wanted.weights, wanted.n, 1, "weights");
    for (int g = 0; g < groups; ++g)
        compare(&worst, found.momenta[g], wanted.momenta[g], wanted.n, 1, "group %d", g);
    near(&worst, 1e-6, "three updates with groups: %d", groups);
    ok(!state.broken && !state.batch, "three updates with groups: %d: nothing is broken",
       groups);
    free_update_case(found), free_update_case(wanted);
}

static int is_same(update_case a, update_case b)
{
    int same = !memcmp(a.weights, b.weights, a.n * sizeof(float));
    for (int g = 0; g < KD_MOST_GROUPS && a.momenta[g]; ++g)
        same &= !memcmp(a.momenta[g], b.momenta[g], a.n * sizeof(float));
    return same;
}

/* One number that is not finite: its bit, and the batch; from then on nothing changes. */
static void check_broken_update(const char *what, float *number, float value, update_case u,
                                unsigned bits)
{
    kd_update update = make_update(3);
    kd_gpu_state state = {0};
    *number = value;
    update_on_gpu(&update, &u, &state);
    ok(state.broken == bits && state.batch == 12, "%s: bits %u in batch %d", what, state.broken,
       state.batch);
    srand(9);
    update_case before = make_update_case(3), after = make_update_case(3);
    memcpy(after.weights, before.weights, before.n * sizeof(float));
    for (int g = 0; g < 3; ++g)
        memcpy(after.momenta[g], before.momenta[g], before.n * sizeof(float));
    update.batch = 13;
    update_on_gpu(&update, &after, &state);
    ok(is_same(before, after) && state.broken == bits && state.batch == 12,
       "%s: nothing changes afterwards", what);
    free_update_case(before), free_update_case(after), free_update_case(u);
}

static void test_broken_updates(void)
{
    srand(8);
    update_case u = make_update_case(3);
    size_t last = u.chunks[u.n_chunks - 1].at + u.chunks[u.n_chunks - 1].n - 1;
    check_broken_update("a NaN in the second group", u.momenta[1] + last, NAN, u,
                        KD_BROKEN_GRADIENT | KD_BROKEN_WEIGHTS);
    u = make_update_case(3);
    check_broken_update("an infinity in the third group", u.momenta[2] + GAP, -INFINITY, u,
                        KD_BROKEN_GRADIENT << 2 | KD_BROKEN_WEIGHTS);
    u = make_update_case(3);
    u.chunks[1].rate = 1e4;
    check_broken_update("a weight that overflows", u.momenta[0] + u.chunks[1].at, 3e38, u,
                        KD_BROKEN_WEIGHTS);
}

/* ---- resizing ------------------------------------------------------------ */

static void check_resize(int planes, int w, int h, int to_w, int to_h)
{
    worst_case worst = {0};
    image from = make_image(w, h, planes);
    size_t n = (size_t)to_w * to_h * planes;
    float *found = kd_calloc(n, sizeof(float));
    for (int i = 0; i < w * h * planes; ++i) from.data[i] = rand_uniform(-1, 1);
    image wanted = resize_image(from, to_w, to_h);
    float *from_data = to_gpu(from.data, (size_t)w * h * planes * sizeof(float));
    float *to_data = to_gpu(found, n * sizeof(float));
    check_error(kd_resize_gpu(planes, from_data, w, h, to_data, to_w, to_h, get_cuda_stream()));
    from_gpu(found, to_data, n * sizeof(float));
    check_error(cudaFree(from_data));
    compare(&worst, found, wanted.data, n, 1, "pixels");
    near(&worst, 1e-5, "%d planes of %d x %d to %d x %d", planes, w, h, to_w, to_h);
    free(found), free_image(from), free_image(wanted);
}

static void test_resizing(void)
{
    static const int cases[][4] = {
        {8, 8, 8, 8}, {8, 8, 13, 11}, {13, 7, 5, 3}, {31, 33, 64, 17}, {5, 9, 9, 5},
        {1, 1, 4, 3}, {1, 6, 3, 4},   {6, 1, 4, 3},  {3, 2, 2, 2},     {97, 65, 32, 127}};
    srand(3);
    for (int i = 0; i < COUNT(cases); ++i)
        check_resize(3 + i % 4, cases[i][0], cases[i][1], cases[i][2], cases[i][3]);
}

int main(int n, char **arguments)
{
    static const int classes[] = {1, 2, 3, 10, 31, 32, 33, 100, 257, 1000, 10000};
    is_short = n > 1 && !strcmp(arguments[1], "short");
    cuda_set_device(0);
    if (!count_gpus()) kd_fail("test_kernels: found no GPU");
    static const test_case tests[] = {TEST(test_vectors)};
    run_tests(tests, COUNT(tests));
    for (int i = 0; i < COUNT(classes); ++i)
        if (!is_short || classes[i] <= 100) test_rows(classes[i]);
    test_many_rows(is_short ? 100 : 1000, 10);
    test_many_rows(7, 1000);
    test_no_rows();
    test_broken();
    test_broken_objectness();
    for (int groups = 1; groups <= KD_MOST_GROUPS; ++groups) test_update(groups);
    test_broken_updates();
    test_resizing();
    return finish();
}
