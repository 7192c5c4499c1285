/* See arguments.h. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/habits.h"
#include "data/loader.h"
#include "options.h"
#include "support.h"

#include "option_list.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TO(field) offsetof(distill_arguments, field)
static const command distill_command = {
    "distill",
    "Trains the student of a cfg with [teacher] and [deepkd_loss], from the teacher's "
    "outputs.\n"
    "Darknet's own flags: -i N takes GPU N, -nogpu none.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1,
         "a .data file: classes=, train=, valid=, backup=, and labels= or names="},
        {"STUDENT.cfg", WORD_FILE, TO(cfg), 0, 1, "the student; `deepkd wrap` makes one"},
        {"TEACHER.weights", WORD_FILE, TO(weights), 0, 0,
         "of the teacher; can be left out where [teacher] has weights="},
        {"-cache FILE", WORD_TEXT, TO(cache), 0, 0,
         "the teacher's logits, as `deepkd cache` has made them: the teacher does not run"},
        {"-start STUDENT.weights", WORD_TEXT, TO(start), 0, 0,
         "weights that the student starts from, of all or of its first layers"},
        {"-clear", WORD_FLAG, TO(clear), 0, 0,
         "begins at image 0, also over a run that stopped or ended"},
        {"-resume", WORD_FLAG, TO(resume), 0, 0, "goes on with the run that was stopped"},
        {"-gpus N,N", WORD_TEXT, TO(gpu_list), 0, 0,
         "trains on these GPUs, a batch on each a step"},
        {"-seed N", WORD_LONG, TO(seed), INT64_MAX, 0,
         "of all random numbers: the same seed, the same run; else the clock's"},
        {"-threads N", WORD_INT, TO(threads), MOST_THREADS, 0, "that load images; 1 a core"},
        {"-map", WORD_FLAG, TO(map), 0, 0, "detectors: each evaluation measures mAP"},
        {"-dont_show", WORD_FLAG, TO(dont_show), 0, 0, "opens no window (OPENCV=1)"},
        {"-verbose", WORD_FLAG, TO(verbose), 0, 0,
         "Darknet's line of each detection layer, and how long training waited for images"},
        {0}}};
#undef TO

/* "0,1" */
static void read_gpus(distill_arguments *a, const char *text)
{
    for (const char *c = text; *c; c += *c == ',') {
        char *end;
        long gpu = strtol(c, &end, 10);
        if (!isdigit((unsigned char)*c) || (*end && *end != ',') || gpu > INT_MAX ||
            a->n_gpus == KD_MOST_GPUS)
            kd_fail("-gpus %s: expected up to %d numbers of GPUs with commas between", text,
                    KD_MOST_GPUS);
        a->gpus[a->n_gpus++] = gpu;
        c = end;
    }
    if (!a->n_gpus || text[strlen(text) - 1] == ',')
        kd_fail("-gpus %s: expected numbers of GPUs with commas between", text);
}

distill_arguments read_arguments(int argc, char **argv)
{
    distill_arguments a = {.threads = loading_threads()};
    if (asks_for_help(argc, argv, 2)) {
        print_help(&distill_command);
        check_printed();
        exit(0);
    }
    read_command(&distill_command, argc, argv, 2, &a);
    if (a.gpu_list) read_gpus(&a, a.gpu_list);
    if (a.resume && a.start)
        kd_fail("-resume goes on from the saved state: expected no -start");
    if (a.clear && a.resume)
        kd_fail("-resume goes on from the saved state: expected no -clear");
    return a;
}

#define TO(field) offsetof(data_options, field)
static const option data_option_table[] = {
    {"classes", OPTION_INT, TO(classes), 1, INT_MAX, 0},
    {"train", OPTION_TEXT, TO(train), 0, 0, 0},
    {"valid", OPTION_TEXT, TO(valid), 0, 0, 0},
    {"unlabelled", OPTION_TEXT, TO(unlabelled), 0, 0, 0},
    {"labels", OPTION_TEXT, TO(labels), 0, 0, 0},
    {"annotations", OPTION_TEXT, TO(annotations), 0, 0, 0},
    {"backup", OPTION_TEXT, TO(backup), 0, 0, 0},
    {"teacher", OPTION_TEXT, TO(teacher), 0, 0, 0},
    {"top", OPTION_INT, TO(top), 1, INT_MAX, 0},
    {"eval_interval", OPTION_INT, TO(eval_interval), 1, INT_MAX, 0},
    {"save_interval", OPTION_INT, TO(save_interval), 1, INT_MAX, 0},
    {"log_interval", OPTION_INT, TO(log_interval), 1, INT_MAX, 0},
    {"names", OPTION_TEXT, TO(names), 0, 0, 0},
    {"eval", OPTION_TEXT, TO(eval), 0, 0, 0},
    {"results", OPTION_TEXT, TO(results), 0, 0, 0},
    {"map", OPTION_TEXT, TO(map), 0, 0, 0},
    {0},
};

static void check_folder(const char *file, const char *folder)
{
    struct stat info;
    if (stat(folder, &info) || !S_ISDIR(info.st_mode))
        kd_fail("%s: backup=%s: found no such folder, expected one to save into", file, folder);
    if (access(folder, W_OK))
        kd_fail("%s: backup=%s: %s, expected a folder to save into", file, folder,
                strerror(errno));
}

/* Exits at a key that has another name here. */
static void check_key_names(const char *file, list *options)
{
    for (const node *n = options->front; n; n = n->next) {
        const kvp *pair = n->val;
        const char *here = find_key_habit(pair->key);
        for (const option *o = data_option_table; o->key; ++o)
            if (strcmp(o->key, pair->key) && are_alike(o->key, pair->key))
                kd_fail("%s: %s=%s: expected %s=", file, pair->key, pair->val, o->key);
        if (here) kd_fail("%s: %s=%s: expected %s", file, pair->key, pair->val, here);
    }
}

data_options read_data_options(char *file, int needs)
{
    data_options d = {.save_interval = 100, .log_interval = 10};
    list *options = read_data_cfg(file);
    check_key_names(file, options);
    read_options(file, "", options, data_option_table, &d);
    const struct {
        const char *key, *value;
    } needed[] = {{"valid", d.valid}, {"train", d.train}, {"backup", d.backup}};
    for (int i = 0; i < 3; ++i)
        if (needs & 1 << i && !needed[i].value)
            kd_fail("%s: found no %s=, expected it", file, needed[i].key);
    if (!d.classes) kd_fail("%s: found no classes=, expected it", file);
    if (d.top > d.classes)
        kd_fail("%s: top=%d: expected at most classes=%d", file, d.top, d.classes);
    if (needs & NEEDS_BACKUP) check_folder(file, d.backup);
    return d;
}

void check_task(const distill_arguments *a, const data_options *d, int detector)
{
    if (detector && (d->labels || d->top))
        kd_fail("%s: found %s=: expected it with a classifier alone", a->data,
                d->top ? "top" : "labels");
    if (!detector && !d->labels) kd_fail("%s: found no labels=, expected it", a->data);
    if (!detector && d->annotations)
        kd_fail("%s: annotations=%s: expected it with a detector alone", a->data,
                d->annotations);
    if (!detector && a->map) kd_fail("-map: expected it with a detector alone");
}

void check_classes(network *net, const net_outputs *outputs, const char *cfg, const char *data,
                   int classes)
{
    layer l = net->layers[outputs->layer[0]];
    int is_mapped = is_detector(outputs) && l.map;
    int expected = is_mapped ? l.map_size : outputs->classes;
    if (classes != expected)
        kd_fail("%s: classes=%d: expected %d, as in %s%s", data, classes, expected, cfg,
                is_mapped ? " (map=)" : "");
}
