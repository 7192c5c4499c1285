/*
 * The part of [teacher] that only a teacher on the GPU has: it runs on a stream of its own
 * beside the student, on the student's own upload of the images, and keeps no memory but its
 * weights and the outputs that are needed at one time (memory_plan.h).
 */
#ifndef KD_TEACHER_GPU_H
#define KD_TEACHER_GPU_H

#include "distil/teacher.h"

/*
 * Hooks the teacher into the student's forward pass (patches/hooks/02, `start`), and undoes it.
 * After its training buffers are gone.
 */
void attach_teacher_gpu(teacher *t);
void release_teacher_gpu(teacher *t);

/* Before and after Darknet resizes the teacher: to memory of each layer's own, and back. */
void unshare_outputs(teacher *t);
void share_outputs(teacher *t);

/*
 * Lets the student's stream wait for the teacher's logits, and fetches its predictions if the
 * host needs them (t->pulls), which waits.
 */
void finish_teacher_gpu(teacher *t);

/* Runs it by itself on the images in the student's host input, and fetches its logits. */
void run_teacher_gpu(teacher *t);

/* Frees what only training needs of a layer. */
void drop_from_gpu(const network *net, layer *l);

#endif
