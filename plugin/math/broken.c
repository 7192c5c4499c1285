/* See broken.h. */
#include "math/broken.h"
#include "math/kd_math.h"

#include <stdio.h>
#include <string.h>

#define GRADIENTS (((1 << KD_COMPONENTS) - 1) * KD_BROKEN_GRADIENT)

static const struct {
    unsigned bits;
    const char *name;
} names[] = {
    {KD_BROKEN_TEACHER, "teacher's logits"},
    {KD_BROKEN_STUDENT, "student's logits"},
    {KD_BROKEN_TASK, "task loss (tog)"},
    {KD_BROKEN_TCG, "target-class loss (tcg)"},
    {KD_BROKEN_NCG, "non-target-class loss (ncg)"},
    {GRADIENTS, "gradient of"},
    {KD_BROKEN_WEIGHTS, "student's weights"},
};

void name_broken(unsigned bits, char *text, size_t size)
{
    size_t i = 0;
    while (!(names[i].bits & bits)) ++i;
    snprintf(text, size, "%s", names[i].name);
    for (int c = 0; names[i].bits == GRADIENTS && c < KD_COMPONENTS; ++c) {
        size_t length = strlen(text);
        if (bits & KD_BROKEN_GRADIENT << c)
            snprintf(text + length, size - length, " %s", kd_component_name[c]);
    }
}

int may_be_the_rate(unsigned bits)
{
    return !(bits & KD_BROKEN_TEACHER);
}
