/* See kd_math_kernels.h. A block of threads takes one row, a thread every THREADS-th class. */
#include "math/kd_math_kernels.h"
#include "math/box_formulas.h"
#include "math/kd_formulas.h"

#include <limits.h>

#define MOST_THREADS 256

typedef unsigned long long sort_key;

struct plus {
    template <typename T> __device__ T operator()(T a, T b) const
    {
        return a + b;
    }
};

struct larger {
    template <typename T> __device__ T operator()(T a, T b) const
    {
        return a > b ? a : b;
    }
};

/* Of all threads' values, in an order that depends on their number alone; every thread gets it
 */
template <typename T, typename Operation> static __device__ T reduce(T mine, Operation with)
{
    __shared__ T values[MOST_THREADS];
    values[threadIdx.x] = mine;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half)
            values[threadIdx.x] = with(values[threadIdx.x], values[threadIdx.x + half]);
        __syncthreads();
    }
    T result = values[0];
    __syncthreads();
    return result;
}

static __device__ double sum(double mine)
{
    return reduce(mine, plus());
}

/* One row while it is worked on */
struct row_view {
    const float *z, *y; /* logits, and their strides */
    int z_stride, y_stride, classes, target;
    int kernel; /* of the method (kd_formulas.h) */
    double temperature;
    double z_mean, z_scale, z_std, y_mean, y_scale, y_std; /* standardization; else 0, 1, 0 */
    int index_bits;                                        /* of a class's index in its key */
    sort_key weakest; /* the key of the last class that the mask keeps */

    __device__ double student(int j) const
    {
        return (z[(size_t)j * z_stride] - z_mean) * z_scale / temperature;
    }
    __device__ double teacher(int j) const
    {
        return (y[(size_t)j * y_stride] - y_mean) * y_scale / temperature;
    }
    /* Orders classes by the teacher's logit; of two equal ones the lower index is larger. */
    __device__ sort_key key(int j) const
    {
        float logit = y[(size_t)j * y_stride] + 0.f; /* -0 is 0 */
        unsigned bits = __float_as_uint(logit);
        bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        return (sort_key)bits << index_bits | (sort_key)(classes - 1 - j);
    }
    __device__ bool is_kept(int j) const
    {
        return j != target && key(j) >= weakest;
    }
};

#define FOR_CLASSES(j, n) for (int j = threadIdx.x; j < (n); j += blockDim.x)

/* Mean and standard deviation of n logits, as kd_math.c has them */
static __device__ void standardize(const float *x, int stride, int n, double *mean,
                                   double *scale, double *std)
{
    double total = 0, squares = 0;
    FOR_CLASSES(j, n) total += ((double)x[(size_t)j * stride] - x[0]) / n;
    *mean = sum(total) + x[0]; /* exact when all are equal */
    FOR_CLASSES(j, n)
    {
        double away = x[(size_t)j * stride] - *mean;
        squares += away * away;
    }
    *std = sqrt(sum(squares) / (n - 1));
    *scale = 1 / (STD_EPSILON + *std);
}

static __device__ int most_confident(const row_view *v)
{
    sort_key best = 0;
    FOR_CLASSES(j, v->classes) best = larger()(best, v->key(j));
    best = reduce(best, larger());
    return v->classes - 1 - (int)(best & (((sort_key)1 << v->index_bits) - 1));
}

/* The largest key that `keep` of the other classes reach: found bit by bit from the top. */
static __device__ sort_key find_weakest(const row_view *v, int keep)
{
    sort_key weakest = 0;
    if (keep <= 0) return ULLONG_MAX;
    if (keep >= v->classes - 1) return 0;
    for (int bit = 31 + v->index_bits; bit >= 0; --bit) {
        sort_key candidate = weakest | (sort_key)1 << bit;
        int reach = 0;
        FOR_CLASSES(j, v->classes) reach += j != v->target && v->key(j) >= candidate;
        reach = reduce(reach, plus());
        if (reach >= keep) weakest = candidate;
        if (reach == keep) break;
    }
    return weakest;
}

/* Over the classes without the target or, with `kept`, over those that the mask keeps */
template <bool of_teacher, bool kept> static __device__ log_sum log_sum_exp(const row_view *v)
{
    log_sum s = {-1e300, 0};
    double total = 0;
    FOR_CLASSES(j, v->classes)
    if (kept ? v->is_kept(j) : j != v->target)
        s.largest = larger()(s.largest, of_teacher ? v->teacher(j) : v->student(j));
    s.largest = reduce(s.largest, larger());
    FOR_CLASSES(j, v->classes)
    if (kept ? v->is_kept(j) : j != v->target)
        total += exp((of_teacher ? v->teacher(j) : v->student(j)) - s.largest);
    s.log = log(sum(total));
    return s;
}

/* What the gradients of a softmax row's classes have in common */
struct softmax_row {
    log_sum rest_p, rest_q, kept_p, kept_q;
    double tcg, ncg_weight;
};

/* Fills `r`; returns the row's loss of TCG. */
static __device__ double prepare_softmax(const kd_loss_config *config, const row_view *v,
                                         softmax_row *r)
{
    r->rest_p = log_sum_exp<false, false>(v);
    r->rest_q = log_sum_exp<true, false>(v);
    r->kept_p = v->weakest ? log_sum_exp<false, true>(v) : r->rest_p;
    r->kept_q = v->weakest ? log_sum_exp<true, true>(v) : r->rest_q;
    double ahead_p = minus(v->student(v->target), r->rest_p);
    double ahead_q = minus(v->teacher(v->target), r->rest_q);
    double log_p = log_sigmoid(ahead_p), log_1p = log_sigmoid(-ahead_p);
    double log_q = log_sigmoid(ahead_q), log_1q = log_sigmoid(-ahead_q);
    double weight = config->alpha * config->temperature;
    r->tcg = weight * difference(log_p, log_1p, log_q, log_1q);
    r->ncg_weight = config->temperature *
                    (v->kernel == KERNEL_KD ? exp(log_1q) : config->parameter[DKD_BETA]);
    return weight * config->temperature * binary_kl(log_q, log_1q, log_p, log_1p);
}

/* dL/dx of class j in both components; returns the class's part of NCG's loss. */
static __device__ double softmax_class(const kd_loss_config *config, const row_view *v,
                                       const softmax_row *r, int j, double *tcg, double *ncg)
{
    *tcg = j == v->target ? r->tcg : -r->tcg * exp(minus(v->student(j), r->rest_p));
    *ncg = 0;
    if (!v->is_kept(j)) return 0;
    double log_p = minus(v->student(j), r->kept_p), log_q = minus(v->teacher(j), r->kept_q);
    *ncg = r->ncg_weight * (exp(log_p) - exp(log_q));
    return r->ncg_weight * config->temperature * exp(log_q) * (log_q - log_p);
}

/* The same of a logistic row; *tcg_loss is set by the target's thread alone. */
static __device__ double logistic_class(const kd_loss_config *config, const row_view *v, int j,
                                        double *tcg, double *ncg, double *tcg_loss)
{
    double weight = v->kernel == KERNEL_KD ? 1 : config->parameter[DKD_BETA];
    double x = v->student(j), y = v->teacher(j), t = config->temperature;
    *tcg = *ncg = 0;
    if (v->kernel == KERNEL_BCKD) {
        if (j == v->target) *tcg_loss = distant_yes_or_no(config->alpha, t, x, y, tcg);
        return v->is_kept(j) ? distant_yes_or_no(1, t, x, y, ncg) : 0;
    }
    if (j == v->target) *tcg_loss = yes_or_no(config->alpha, t, x, y, tcg);
    return v->is_kept(j) ? yes_or_no(weight, t, x, y, ncg) : 0;
}

/* See backward_standardize of kd_math.c. */
struct standardized {
    double scale, mean, along;

    __device__ double operator()(const row_view *v, int j, double gradient) const
    {
        double u = v->student(j) * v->temperature;
        double slope = v->z_std > 0 ? u / (scale * (v->classes - 1) * v->z_std) : 0;
        return scale * (gradient - mean - along * slope);
    }
};

/* A row's two losses, and its gradients into its deltas; every thread returns the losses. */
static __device__ kd_losses work_row(const kd_loss_config *config, const row_view *v,
                                     const kd_gpu_row *row, double weight)
{
    softmax_row r = {};
    kd_losses loss = {0, 0};
    standardized by_tcg = {v->z_scale, 0, 0}, by_ncg = by_tcg;
    int is_softmax = config->activation == KD_SOFTMAX, twice = config->standardize;
    double tcg, ncg, tcg_loss = 0, ncg_loss = 0;
    if (v->classes < 2) twice = 0;
    if (is_softmax) loss.tcg = prepare_softmax(config, v, &r);
    /* the standardization's gradient needs sums over all classes before it can be applied */
    for (int pass = twice ? 0 : 1; pass < 2; ++pass) {
        ncg_loss = 0;
        FOR_CLASSES(j, v->classes)
        {
            ncg_loss += is_softmax ? softmax_class(config, v, &r, j, &tcg, &ncg)
                                   : logistic_class(config, v, j, &tcg, &ncg, &tcg_loss);
            if (!pass) {
                double u = v->student(j) * v->temperature;
                by_tcg.mean += tcg / v->classes, by_tcg.along += tcg * u;
                by_ncg.mean += ncg / v->classes, by_ncg.along += ncg * u;
                continue;
            }
            if (twice) tcg = by_tcg(v, j, tcg), ncg = by_ncg(v, j, ncg);
            size_t at = (size_t)j * v->z_stride;
            row->tcg[at] = row->tcg[at] - weight * tcg;
            row->ncg[at] = row->ncg[at] - weight * ncg;
        }
        if (!pass) {
            by_tcg.mean = sum(by_tcg.mean), by_tcg.along = sum(by_tcg.along);
            by_ncg.mean = sum(by_ncg.mean), by_ncg.along = sum(by_ncg.along);
        }
    }
    if (!is_softmax) loss.tcg = sum(tcg_loss);
    loss.ncg = sum(ncg_loss);
    return loss;
}

static __device__ void report(kd_gpu_state *state, unsigned bit, int batch)
{
    atomicOr(&state->broken, bit);
    atomicCAS(&state->batch, 0, batch);
}

static __device__ row_view view_row(const kd_loss_config *config, const kd_gpu_row *row,
                                    int kernel, int classes, int keep)
{
    row_view v = {row->student,
                  row->teacher,
                  row->student_stride,
                  row->teacher_stride,
                  classes,
                  row->target,
                  kernel,
                  config->temperature,
                  0,
                  1,
                  0,
                  0,
                  1,
                  0,
                  0,
                  0};
    while ((classes - 1) >> v.index_bits) ++v.index_bits;
    if (v.target < 0) v.target = most_confident(&v);
    v.weakest = find_weakest(&v, keep);
    if (config->standardize && classes > 1) {
        standardize(v.z, v.z_stride, classes, &v.z_mean, &v.z_scale, &v.z_std);
        standardize(v.y, v.y_stride, classes, &v.y_mean, &v.y_scale, &v.y_std);
    }
    return v;
}

/* The objectness of a row; its loss, which only the first thread returns */
static __device__ double work_objectness(const kd_loss_config *config, const kd_gpu_row *row,
                                         double weight)
{
    if (!row->objectness || threadIdx.x) return 0;
    double t = config->temperature, gradient;
    double z = row->student[-row->student_stride], y = row->teacher[-row->teacher_stride];
    double loss = yes_or_no(weight * row->objectness, t, z / t, y / t, &gradient);
    float *delta = row->tcg - row->student_stride;
    *delta = *delta - gradient;
    return loss;
}

/* As kd_farthest_class; every thread gets it */
static __device__ double farthest_class(const row_view *v)
{
    double most = 0, t = v->temperature;
    FOR_CLASSES(j, v->classes)
    {
        double z = v->z[(size_t)j * v->z_stride], y = v->y[(size_t)j * v->y_stride];
        most = larger()(most, fabs(class_distance(z / t, y / t)));
    }
    return reduce(most, larger());
}

/* The box of a row; its loss, which only the first thread returns */
static __device__ double work_box(const kd_loss_config *config, const row_view *v,
                                  const kd_gpu_row *row, const kd_gpu_box *box, double weight)
{
    double z[4], y[4], gradient[4];
    weight *= config->box_weight;
    if (v->kernel == KERNEL_BCKD) weight *= farthest_class(v);
    if (threadIdx.x) return 0;
    for (int k = 0; k < 4; ++k) {
        z[k] = row->student[(k - 5) * row->student_stride];
        y[k] = row->teacher[(k - 5) * row->teacher_stride];
    }
    double loss = kd_row_box(weight, config->overlap, &box->at, z, &box->teachers, y, gradient);
    for (int k = 0; k < 4; ++k) {
        float *delta = row->tcg + (k - 5) * row->student_stride;
        *delta = *delta - gradient[k];
    }
    return loss;
}

/* A row's weight; below 0: the teacher's objectness */
static __device__ double weight_of(const kd_gpu_row *row, double given)
{
    return given < 0 ? exp(log_sigmoid(row->teacher[-row->teacher_stride])) : given;
}

/* Adds the blocks' losses up, in the block that is the last to end. */
static __device__ void add_losses(const volatile double *losses, kd_gpu_state *state, int batch)
{
    __shared__ int is_last;
    __threadfence(); /* this block's losses are there before its ticket */
    if (!threadIdx.x) is_last = atomicAdd(&state->done, 1) == gridDim.x - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence(); /* and so are the other blocks' */
    double tcg = 0, ncg = 0;
    FOR_CLASSES(i, (int)gridDim.x)
    {
        tcg += losses[2 * i];
        ncg += losses[2 * i + 1];
    }
    tcg = sum(tcg), ncg = sum(ncg);
    if (threadIdx.x) return;
    state->tcg += tcg;
    state->ncg += ncg;
    state->done = 0;
    if (!isfinite(tcg)) report(state, KD_BROKEN_TCG, batch);
    if (!isfinite(ncg)) report(state, KD_BROKEN_NCG, batch);
}

static __global__ void rows_kernel(kd_loss_config config, int kernel, int classes, int keep,
                                   double weight, const kd_gpu_row *rows,
                                   const kd_gpu_box *boxes, double *losses, kd_gpu_state *state,
                                   int batch)
{
    kd_losses total = {0, 0};
    int first = rows[blockIdx.x].is_first ? (int)blockIdx.x : -1;
    for (int i = first; i >= 0; i = rows[i].next) {
        const kd_gpu_row *row = rows + i;
        row_view v = view_row(&config, row, kernel, classes, keep);
        double row_weight = weight * weight_of(row, row->weight);
        kd_losses loss = {0, 0};
        if (row_weight) loss = work_row(&config, &v, row, row_weight);
        total.tcg += row_weight * loss.tcg + work_objectness(&config, row, weight);
        if (boxes && boxes[i].weight)
            total.tcg +=
                work_box(&config, &v, row, boxes + i, weight * weight_of(row, boxes[i].weight));
        total.ncg += row_weight * loss.ncg;
        FOR_CLASSES(j, classes)
        {
            if (!isfinite(v.teacher(j))) report(state, KD_BROKEN_TEACHER, batch);
            if (!isfinite(v.student(j))) report(state, KD_BROKEN_STUDENT, batch);
        }
    }
    if (!threadIdx.x) {
        losses[2 * blockIdx.x] = total.tcg;
        losses[2 * blockIdx.x + 1] = total.ncg;
    }
    add_losses(losses, state, batch);
}

cudaError_t kd_rows_gpu(const kd_loss_config *config, int classes, int keep, double weight,
                        const kd_gpu_row *rows, const kd_gpu_box *boxes, int n, double *losses,
                        kd_gpu_state *state, int batch, cudaStream_t stream)
{
    int threads = 32;
    if (!n) return cudaSuccess;
    while (threads < MOST_THREADS && threads < classes) threads *= 2;
    rows_kernel<<<n, threads, 0, stream>>>(*config, config->method->kernel, classes, keep,
                                           weight, rows, boxes, losses, state, batch);
    return cudaGetLastError();
}
