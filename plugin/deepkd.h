/*
 * DeepKD for Darknet: a small student network learns from a large teacher.
 *
 * How one training step flows (files are named with their folder):
 *
 *   images ──┬─> student ──> logits z ──> [softmax], [yolo], [region]: Darknet's task loss
 *            └─> [teacher] ─> logits y        (distil/teacher.c)
 *                              │
 *   rows           which of the student's predictions learns from which of the teacher's:
 *                  a classifier's image; a detector's truth box at its cell and anchor, or
 *                  every cell and anchor that pair        (net/outputs.c, distil/rows.c)
 *                              │
 *   [deepkd_loss]  for each row: losses and deltas of     (distil/deepkd_loss.c,
 *                  TOG  the task, as Darknet computed it   math/kd_math.c)
 *                  TCG  the target class against the rest
 *                  NCG  the teacher's K best other classes among themselves
 *                              │
 *   backward       once for each momentum group: the deltas of its components, summed,
 *                  go back through the student into the group's buffers
 *                                                          (distil/groups.c)
 *                              │
 *   update         w <- w - rate * (sum of the groups' buffers), once a batch
 *                                                          (distil/groups.c)
 *
 * On the CPU both networks run part by part on all cores, and all groups go back at once
 * (cpu/cores.c).
 * On the GPU (GPU=1) the same code drives Darknet's own GPU layers: the teacher runs on a
 * stream of its own beside the student, all rows are one launch, and so is the update. What
 * only a GPU needs stands in files of its own, *_gpu.c beside the CPU's, and its kernels in
 * *_kernels.cu.
 *
 * Folders, from the ground up. A file includes its own folder and those further up in this list,
 * never one further down, by the path from here: "math/kd_math.h" (tests/cli/house.t checks it).
 * A .c stands for its header too, and for the *_gpu and *_kernels beside it.
 *
 *   plugin/   what all others may use; of the other folders it includes nothing
 *     deepkd.h             this page
 *     support.c            errors, memory, seeds, hashes
 *     options.c            a cfg section's options: table, types, ranges, errors
 *     plugin.mk            how Darknet's Makefile compiles and links all of it
 *   darknet/  what Darknet itself calls (patches/): in its libraries too, and with PLUGIN=0, so it
 *             includes nothing else of the plugin's
 *     geometry.c           what a cfg asks for, reckoned before anything of it is made
 *     decode.c             an image's file to pixels: EXIF, channels, limits
 *     decode_jpeg.c        by libjpeg-turbo
 *     decode_png.c         by libpng
 *     decode_others.c      BMP, TGA and the like, by stb
 *     atomic_file.c        files that take the place of others once they are whole
 *     checked_memory.c     memory that there is not ends the program with one line
 *   math/     what plain arrays are enough for; includes no header of Darknet's
 *     kd_math.c            losses, gradients, top-k mask, its schedule
 *     kd_formulas.h        what the CPU shares with its twin kd_math_kernels.cu
 *     box_formulas.h       a detector's box from its logits, and its loss to another
 *     methods.c            the table of methods: name, options, default deltas, loss
 *     mlkd.c               MLKD's losses of a whole batch
 *     mean_logits.c        several teachers' logits as one's
 *     dist.c               DIST's
 *     confidence.c         probabilities, how sure the teacher is, and weights that follow
 *     top_row.c            a row's largest logits in few bytes
 *     momentum.c           warm-up, signal and noise, momenta that follow them
 *     plane.c              a plane through weights: its directions, how sharp its middle is
 *     broken.c             what was not finite, as bits with names
 *     average_precision.c  mAP as COCO defines it
 *     shapes.c             a detector's anchors, from its training boxes
 *   net/      one Darknet network seen from outside; nothing of teachers and students
 *     parameters.c         its weights as a list of arrays: count, hash, check
 *     device.c             its arrays, on the CPU or on the GPU
 *     outputs.c            output layers, where a prediction's logits stand, Darknet's assignment
 *     weight_plane.c       its weights moved along two random directions
 *     pass_through.c       a layer that is nothing to Darknet: our sections
 *     onnx_model.c         an ONNX file, by ONNX Runtime
 *     onnx_network.c       such a model as one of Darknet's networks
 *     memory_plan.c        which layers can share memory in inference
 *     description.c        all of it as JSON and numbers, for scripts
 *     strict.c             Darknet's own sections, without its leniency
 *   cpu/      how the CPU's cores compute a network's layers
 *     convolution.c        a convolution and its gradients: plain arrays
 *     onednn.c             the same by oneDNN
 *     bytes.c              the same in int8
 *     convolution_code.h   what those agree on
 *     scratch.c            memory of each thread's own
 *     between.c            what stands between a convolution and its layer's output
 *     channels.c           batch norm and activations, channels last: plain arrays
 *     filters.c            batch norm, activations, sums, pooling: plain arrays
 *     forms.c              which layers hand images on channels last
 *     last.c               [route], pools and [upsample], channels last
 *     ranks.c              processes that train as one (MPI=1), each a share of a batch
 *     cores.c              a network on all of the cores
 *     waiting.c            how long its threads look for work before they sleep
 *   data/     from files to a batch in memory
 *     batch.h              a batch of images, with all that is known of them
 *     lists.c              lists of images
 *     labels.c             Darknet's label files
 *     annotations.c        COCO's JSON of truth boxes
 *     logit_cache.c        a file of a teacher's logits
 *     strong.c             an image's strong view: RandAugment and a cutout
 *     loader.c             images and truths of a batch, in threads, repeatable by seed
 *   distil/   one training step: how the student learns from the teacher
 *     precision.c          what precision= comes to here
 *     ensemble.c           several teachers' outputs averaged
 *     teacher.c            the [teacher] section
 *     rows.c               the student's and the teacher's predictions, row by row
 *     loss_options.c       the options of [deepkd_loss]
 *     student.c            the student's state, which the files below share
 *     views.c              a forward pass for each view of the images
 *     cached_logits.c      the teacher's logits of a batch, to a file and from it
 *     deepkd_loss.c        the [deepkd_loss] section
 *     groups.c             momentum groups: backward and update by component
 *     gsnr.c               the components' gradients measured as the run goes on
 *     replicas.c           the student on several GPUs, learning as one
 *   run/      a whole run: the loop, what is measured, said and saved
 *     detect.c             from a detector's output to boxes, and to COCO's JSON of results
 *     frames.c             what was found in images, as lines, labels and AlexeyAB's JSON
 *     pictures.c           the boxes drawn
 *     calibrate.c          a teacher in int8 looks at some images first
 *     evaluate.c           accuracy, loss or mAP on a list of images
 *     checkpoint.c         what -resume needs, in one file
 *     cfg_text.c           a cfg's lines, and where two cfgs differ
 *     plain_cfg.c          the student's cfg without our sections
 *     clients.c            which other programs read the cfg
 *     chart.cpp            the CSV drawn as it grows (OPENCV=1)
 *     log.c                training lines, progress bar, CSV
 *     announce.c           what is said before a run begins
 *     files.c              the files that a run writes, and its lock
 *     stop.c               signals that end a run
 *     train.c              the loop
 *     cache_parts.c        that file in parts, and one of them
 *     teacher_cache.c      the file of a teacher's logits: made, and whether it is this run's
 *   cli/      the commands: from words to a run
 *     habits.c             words of AlexeyAB's Darknet, and what stands for them here
 *     command.c            a command's words: what its parser and its --help read
 *     arguments.c          command line and .data file of `distill`
 *     setup.c              from there to both networks and the images
 *     cache.c              ./darknet deepkd cache and deepkd merge
 *     single.c             from the words to one network by itself and the validation list
 *     map.c                ./darknet deepkd map
 *     logits.c             ./darknet deepkd logits
 *     landscape.c          ./darknet deepkd landscape
 *     detect_images.c      ./darknet deepkd detect
 *     anchors.c            ./darknet deepkd anchors
 *     version.c            ./darknet deepkd version
 *     version_opencv.cpp   the part of it that is C++
 *     export.c             ./darknet deepkd export
 *     tools.c              ./darknet deepkd wrap and the table of all its commands
 *     distill.c            ./darknet distill
 *   deepkd.c  registers all of it with Darknet
 *
 * Sources: DeepKD, arXiv 2505.15133; DKD, CVPR 2022; DOT, ICCV 2023; for rows=dense, arXiv
 * 1805.06361, as for boxes; BCKD, ICCV 2023; MLKD, CVPR 2023; CRLD, ACM MM 2024; DIST, NeurIPS
 * 2022; SLD, arXiv 2504.20108; RandAugment, arXiv 1909.13719; landscapes, arXiv 1712.09913.
 */
#ifndef DEEPKD_H
#define DEEPKD_H

#define DEEPKD_VERSION "0.9.0"

/* Registers the sections and commands; Darknet's main calls it (-DPLUGIN_INIT). */
void deepkd_init(void);

#endif
