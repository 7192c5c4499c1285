/* See arguments.h. */
#include "cli/arguments.h"
#include "support.h"
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: darknet distill DATA STUDENT.cfg TEACHER.weights [-start STUDENT.weights] [-clear] "
    "[-resume] [-gpus N,N] [-seed N] [-threads N] [-map] [-dont_show] [-verbose]";

uint64_t read_count(const char *flag, const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    if (!text || !isdigit((unsigned char)*text) || *end || errno || value < 1 || value > most)
        kd_fail("%s %s: expected a whole number from 1 to %llu", flag, text ? text : "",
                (unsigned long long)most);
    return value;
}

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

/* Reads one flag at argv[i]; returns how many words it took. */
static int read_flag(distill_arguments *a, char **argv, int i)
{
    const char *flag = argv[i];
    char *value = argv[i + 1];
    if (!strcmp(flag, "-clear")) return a->clear = 1;
    if (!strcmp(flag, "-resume")) return a->resume = 1;
    if (!strcmp(flag, "-map")) return a->map = 1;
    if (!strcmp(flag, "-verbose")) return a->verbose = 1;
    if (!strcmp(flag, "-dont_show")) return a->dont_show = 1;
    if (!strcmp(flag, "-seed")) a->seed = read_count(flag, value, INT64_MAX);
    else if (!strcmp(flag, "-threads")) a->threads = read_count(flag, value, 256);
    else if (!strcmp(flag, "-start") && value) a->start = value;
    else if (!strcmp(flag, "-gpus") && value) read_gpus(a, value);
    else kd_fail("%s: unknown flag, or its value is missing; %s", flag, usage);
    return 2;
}

distill_arguments read_arguments(int argc, char **argv)
{
    distill_arguments a = {.threads = 2};
    char **place[] = {&a.data, &a.cfg, &a.weights};
    size_t files = 0;
    for (int i = 2; i < argc && argv[i];) {
        if (argv[i][0] == '-') {
            i += read_flag(&a, argv, i);
            continue;
        }
        if (files == sizeof(place) / sizeof(*place))
            kd_fail("%s: one file too many; %s", argv[i], usage);
        *place[files++] = argv[i++];
    }
    if (files < 2) kd_fail("%s", usage);
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

data_options read_data_options(char *file, int training)
{
    data_options d = {.save_interval = 100, .log_interval = 10};
    read_options(file, "", read_data_cfg(file), data_option_table, &d);
    const struct {
        const char *key, *value;
    } needed[] = {{"valid", d.valid}, {"train", d.train}, {"backup", d.backup}};
    for (size_t i = 0; i < (training ? 3 : 1); ++i)
        if (!needed[i].value) kd_fail("%s: found no %s=, expected it", file, needed[i].key);
    if (!d.classes) kd_fail("%s: found no classes=, expected it", file);
    if (d.top > d.classes)
        kd_fail("%s: top=%d: expected at most classes=%d", file, d.top, d.classes);
    if (training) check_folder(file, d.backup);
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
