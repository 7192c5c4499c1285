/*
 * DeepKD for Darknet: a small student network learns from a large teacher.
 *
 * How one training step flows (the files named here are in this folder):
 *
 *   images ──┬─> student ──> logits z ──> [softmax], Darknet's own task loss
 *            └─> [teacher] ─> logits y        (teacher_layer.c)
 *                              │
 *   [deepkd_loss]  for each row (image): losses and deltas of    (deepkd_loss_layer.c,
 *                  TOG  the task, as Darknet computed it          kd_math.c)
 *                  TCG  the target class against the rest
 *                  NCG  the teacher's K best other classes among themselves
 *                              │
 *   backward       once for each momentum group: the deltas of its components, summed,
 *                  go back through the student into the group's buffers    (groups.c)
 *                              │
 *   update         w <- w - rate * (sum of the groups' buffers), once a batch  (groups.c)
 *
 * Files, from the mathematics up; each builds on some of those above it:
 *   support.c            errors, memory
 *   kd_math.c            losses, gradients, top-k mask, its schedule: plain arrays
 *   options.c            a cfg section's options: table, types, ranges, errors
 *   strict.c             Darknet's own sections, without its leniency
 *   parameters.c         a network's weights as a list of arrays: count, hash, check
 *   teacher_layer.c      the [teacher] section
 *   deepkd_loss_layer.c  the [deepkd_loss] section
 *   groups.c             momentum groups: backward and update by component
 *   loader.c             images and labels of a batch, in threads, repeatable by seed
 *   checkpoint.c         what -resume needs, in one file
 *   evaluate.c           accuracy on a list of images
 *   arguments.c          command line and .data file of `distill`
 *   log.c                training lines, progress bar, CSV
 *   tools.c              ./darknet deepkd wrap | export
 *   distill.c            ./darknet distill
 *   deepkd.c             registers all of it with Darknet
 *
 * Sources: DeepKD, arXiv 2505.15133; DKD, CVPR 2022; DOT, ICCV 2023.
 */
#ifndef DEEPKD_H
#define DEEPKD_H

#include "darknet.h"

/* The three parts of the student's gradient (DeepKD). */
typedef enum { KD_TOG, KD_TCG, KD_NCG, KD_COMPONENTS } kd_component;
extern const char *const kd_component_name[KD_COMPONENTS]; /* "tog", "tcg", "ncg" */

/* Registers the sections and commands; Darknet's main calls it (-DPLUGIN_INIT). */
void deepkd_init(void);

/* One line on stderr, then exit status 1. The format needs no newline. */
void kd_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* calloc that does not come back without memory. */
void *kd_calloc(size_t n, size_t size);

/* A copy of a string that kd_calloc made. */
char *kd_copy(const char *text);

#endif
