/* See top_row.h. */
#include "math/top_row.h"
#include "math/kd_math.h"

#include <math.h>
#include <string.h>

#define LEAST_HALF (-65504.f)

uint16_t kd_to_half(float x)
{
    uint32_t bits, sign;
    memcpy(&bits, &x, sizeof(bits));
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;                       /* no number */
    if (bits >= 0x47800000) return sign | 0x7c00;                      /* 65536 and more */
    if (bits < 0x38800000) return sign | lrintf(ldexpf(fabsf(x), 24)); /* subnormal */
    return sign | (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13;
}

float kd_from_half(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    float x = exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24);
    if (exponent == 31) x = fraction ? NAN : INFINITY;
    return half & 0x8000 ? -x : x;
}

size_t kd_top_row_bytes(int keep)
{
    return (keep + 1) * 2 * sizeof(uint16_t) + sizeof(float);
}

static int find_largest(int n, const float *y)
{
    int best = 0;
    for (int j = 1; j < n; ++j)
        if (y[j] > y[best]) best = j;
    return best;
}

/* Where the parts of a packed row are */
static char *logits_of(const void *bytes, int keep)
{
    return (char *)bytes + (keep + 1) * sizeof(uint16_t);
}

static char *rest_of(const void *bytes, int keep)
{
    return logits_of(logits_of(bytes, keep), keep);
}

static void put_class(void *bytes, int keep, int at, int class, float logit)
{
    uint16_t number = class, half = kd_to_half(fmaxf(logit, LEAST_HALF));
    memcpy((char *)bytes + at * sizeof(number), &number, sizeof(number));
    memcpy(logits_of(bytes, keep) + at * sizeof(half), &half, sizeof(half));
}

void kd_pack_top_row(int classes, const float *y, int target, int keep, double temperature,
                     void *bytes, double *scratch)
{
    double *logits = scratch, *mask = logits + classes, sum = 0;
    int best = find_largest(classes, y), n = 0;
    if (target < 0) target = best;
    for (int j = 0; j < classes; ++j) logits[j] = (double)y[j] - y[best];
    kd_topk_mask(classes, logits, target, keep, mask, mask + classes);
    put_class(bytes, keep, n++, target, logits[target]);
    for (int j = 0; j < classes; ++j)
        if (mask[j]) put_class(bytes, keep, n++, j, logits[j]);
        else if (j != target) sum += exp(logits[j] / temperature);
    float rest = classes > keep + 1 ? fmax(log(sum), -3e38) : 0;
    memcpy(rest_of(bytes, keep), &rest, sizeof(rest));
}

static int class_at(const void *bytes, int i)
{
    uint16_t class;
    memcpy(&class, (const char *)bytes + i * sizeof(class), sizeof(class));
    return class;
}

static float logit_at(const void *bytes, int keep, int i)
{
    uint16_t half;
    memcpy(&half, logits_of(bytes, keep) + i * sizeof(half), sizeof(half));
    return kd_from_half(half);
}

int kd_unpack_top_row(int classes, const void *bytes, int keep, double temperature, float *y)
{
    int left = classes - keep - 1;
    float rest, least = 0;
    memcpy(&rest, rest_of(bytes, keep), sizeof(rest));
    for (int i = 0; i <= keep; ++i) {
        if (class_at(bytes, i) >= classes) return 0;
        if (i) least = fminf(least, logit_at(bytes, keep, i));
    }
    double common = left ? temperature * (rest - log(left)) : 0;
    for (int j = 0; j < classes; ++j) y[j] = fmin(common, least);
    for (int i = 0; i <= keep; ++i) y[class_at(bytes, i)] = logit_at(bytes, keep, i);
    return 1;
}
