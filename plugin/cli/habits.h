/*
 * Words of AlexeyAB's Darknet and what stands for them here, for messages: commands, flags and
 * keys of .data files. To add one: a row of a table.
 */
#ifndef KD_HABITS_H
#define KD_HABITS_H

/* 1 when two words are the same but for case, - and _: -dont-show is -dont_show. */
int are_alike(const char *a, const char *b);

/* What stands for a flag, a word behind `deepkd`, or a key of a .data file, that is
 * unknown; NULL when nothing does. */
const char *find_flag_habit(const char *flag);
const char *find_verb_habit(const char *verb);
const char *find_key_habit(const char *key);

/* `detector map` and `detector calc_anchors`: exits and says what they are called here. */
int run_detector_habit(int argc, char **argv);

#endif
