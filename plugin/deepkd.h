/*
 * DeepKD for Darknet: a small student network learns from a large teacher.
 *
 * How one training step flows (the files named here are in this folder):
 *
 *   images ──┬─> student ──> logits z ──> [softmax], [yolo], [region]: Darknet's task loss
 *            └─> [teacher] ─> logits y        (teacher_layer.c)
 *                              │
 *   rows           which of the student's predictions learns from which of the teacher's:
 *                  a classifier's image; a detector's truth box at its cell and anchor, or
 *                  every cell and anchor that pair                  (outputs.c, rows.c)
 *                              │
 *   [deepkd_loss]  for each row: losses and deltas of               (deepkd_loss_layer.c,
 *                  TOG  the task, as Darknet computed it             kd_math.c)
 *                  TCG  the target class against the rest
 *                  NCG  the teacher's K best other classes among themselves
 *                              │
 *   backward       once for each momentum group: the deltas of its components, summed,
 *                  go back through the student into the group's buffers    (groups.c)
 *                              │
 *   update         w <- w - rate * (sum of the groups' buffers), once a batch  (groups.c)
 *
 * On the CPU both networks run part by part on all cores, and all groups go back at once (cores.c).
 * On the GPU (GPU=1) the same code drives Darknet's own GPU layers: the teacher runs on a
 * stream of its own beside the student, all rows are one launch, and so is the update. What
 * only a GPU needs stands in files of its own, *_gpu.c beside the CPU's, and its kernels in
 * *_kernels.cu.
 *
 * Files, from the mathematics up; each builds on some of those above it:
 *   support.c            errors, memory
 *   kd_math.c            losses, gradients, top-k mask, its schedule: plain arrays;
 *                        kd_formulas.h has what its twin kd_math_kernels.cu shares with it
 *   average_precision.c  mAP as COCO defines it: plain arrays
 *   options.c            a cfg section's options: table, types, ranges, errors
 *   strict.c             Darknet's own sections, without its leniency
 *   parameters.c         a network's weights as a list of arrays: count, hash, check
 *   device.c             a network's arrays, on the CPU or on the GPU
 *   convolution.c        a convolution and its gradients: plain arrays; onednn.c: by oneDNN
 *   filters.c            batch norm, activations, sums, pooling: plain arrays
 *   memory_plan.c        which layers can share memory in inference
 *   outputs.c            output layers, where a prediction's logits stand, Darknet's assignment
 *   rows.c               the student's and the teacher's predictions, row by row
 *   cores.c              a network on all of the CPU's cores
 *   teacher_layer.c      the [teacher] section
 *   deepkd_loss_layer.c  the [deepkd_loss] section
 *   groups.c             momentum groups: backward and update by component
 *   replicas.c           the student on several GPUs, learning as one
 *   annotations.c        COCO's JSON of truth boxes
 *   labels.c             Darknet's label files
 *   loader.c             images and truths of a batch, in threads, repeatable by seed
 *   detect.c             from a detector's output to boxes, and to COCO's JSON of results
 *   evaluate.c           accuracy, loss or mAP on a list of images
 *   checkpoint.c         what -resume needs, in one file
 *   arguments.c          command line and .data file of `distill`
 *   chart.cpp            the CSV drawn as it grows (OPENCV=1)
 *   log.c                training lines, progress bar, CSV
 *   map.c                ./darknet deepkd map
 *   tools.c              ./darknet deepkd wrap | export | map
 *   distill.c            ./darknet distill
 *   deepkd.c             registers all of it with Darknet
 *
 * Sources: DeepKD, arXiv 2505.15133; DKD, CVPR 2022; DOT, ICCV 2023; for rows=dense, arXiv
 * 1805.06361.
 */
#ifndef DEEPKD_H
#define DEEPKD_H

/* Registers the sections and commands; Darknet's main calls it (-DPLUGIN_INIT). */
void deepkd_init(void);

#endif
