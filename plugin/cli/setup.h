/* What `distill` and `deepkd cache` begin with: from the words to both networks and the images.
 */
#ifndef KD_SETUP_H
#define KD_SETUP_H

#include "cli/arguments.h"
#include "data/lists.h"
#include "data/logit_cache.h"
#include "distil/student.h"
#include "run/evaluate.h"

typedef struct {
    distill_arguments arguments;
    data_options data;
    uint64_t seed;
    logit_cache *cache; /* of the teacher's logits, or NULL */
    network *net;
    deepkd *kd;
    image_list train, valid;
    annotations annotations;
    int is_detector; /* 1: both networks are; 0: both are classifiers */
} setup;

/* Reads the .data file that the arguments name, chooses the seed, and opens the arguments'
 * cache if they have one, whose seed it is then. */
void begin_setup(setup *s);

/* Parses the student's cfg with its two sections; exits on what distill cannot train. */
network *parse_student(const setup *s);

/* Gives a student its teacher, from the weights that are named; a cached one needs none. */
void attach_teacher(const setup *s, deepkd *kd);

/* 1 when all teachers' weights are named, on the command line or in [teacher]. */
int has_teacher_weights(const setup *s);

/* The layer that Darknet looks at for a network's classes, boxes and jitter. */
layer last_layer(const network *net);

/* Parses and loads both networks, says so, and checks them against the .data file. */
void load_networks(setup *s);

/* Reads both lists of images, with the classes or boxes that the student learns. */
void read_lists(setup *s);

/* How both networks are judged, on the .data file's valid=. */
validation plan_validation(const setup *s);

/* Frees all but the arguments. */
void release_setup(setup *s);

#endif
