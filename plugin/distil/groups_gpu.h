/* The part of groups.c that only a network on the GPU has: its update. */
#ifndef KD_GROUPS_GPU_H
#define KD_GROUPS_GPU_H

#include "distil/groups.h"

/* Makes the table of the student's parameters that update_groups_gpu walks, and frees it. */
void attach_groups_gpu(deepkd *kd);
void release_groups_gpu(deepkd *kd);

/* net->update for a student on the GPU: one launch, which nothing waits for. */
void update_groups_gpu(deepkd *kd);

#endif
