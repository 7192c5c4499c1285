/*
 * What was not finite, as bits: the CPU and the GPU set them where they meet it, and one table
 * (broken.c) names them, in the order in which a step comes to them.
 */
#ifndef KD_BROKEN_H
#define KD_BROKEN_H

#include <stddef.h>

enum {
    KD_BROKEN_TEACHER = 1 << 0,
    KD_BROKEN_STUDENT = 1 << 1,
    KD_BROKEN_TASK = 1 << 2,
    KD_BROKEN_TCG = 1 << 3,
    KD_BROKEN_NCG = 1 << 4,
    KD_BROKEN_GRADIENT = 1 << 5, /* of the component c: KD_BROKEN_GRADIENT << c */
    KD_BROKEN_WEIGHTS = 1 << 8
};

/*
 * The first of the bits in words, "student's logits", into text[size], cut where it is full;
 * gradients are named together: "gradient of tog ncg". bits is not 0.
 */
void name_broken(unsigned bits, char *text, size_t size);

/* 1 when a lower learning rate may help: all but the teacher's. */
int may_be_the_rate(unsigned bits);

#endif
