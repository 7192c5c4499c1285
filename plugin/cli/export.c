/* See export.h. */
#include "cli/export.h"
#include "net/description.h"
#include "net/parameters.h"
#include "net/strict.h"
#include "run/plain_cfg.h"
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char *cfg, *weights, *onnx, *heads, *names;
    int half, batchnorm;
} export_arguments;

#define TO(field) offsetof(export_arguments, field)
const command export_command = {
    "deepkd export",
    "Prints a student's cfg without [teacher] and [deepkd_loss], for stock Darknet and "
    "OpenCV.\n"
    "With -onnx: writes the network and its weights as an ONNX file, by Python's package onnx.",
    (const word[]){
        {"STUDENT.cfg", WORD_FILE, TO(cfg), 0, 1, "the student, or any other network"},
        {"WEIGHTS", WORD_FILE, TO(weights), 0, 0, "its weights, for -onnx"},
        {"-onnx FILE", WORD_TEXT, TO(onnx), 0, 0,
         "the file to write, whose name ends with .onnx"},
        {"-heads FORM", WORD_TEXT, TO(heads), 0, 0,
         "of a detector: yolov5 (the default), yolov8 or raw; of a classifier: raw"},
        {"-names FILE", WORD_TEXT, TO(names), 0, 0, "the classes' names, for its metadata"},
        {"-half", WORD_FLAG, TO(half), 0, 0, "weights and arithmetic in float16"},
        {"-batchnorm", WORD_FLAG, TO(batchnorm), 0, 0,
         "keeps batch norm apart; else it is folded into the weights"},
        {0}}};
#undef TO

/* -onnx and the words that go with it come together. */
static void check_words(const export_arguments *a)
{
    const char *alone = a->heads       ? "-heads"
                        : a->names     ? "-names"
                        : a->half      ? "-half"
                        : a->batchnorm ? "-batchnorm"
                                       : a->weights;
    if (a->onnx && !a->weights)
        kd_fail("-onnx %s: found no WEIGHTS, expected them behind the cfg", a->onnx);
    if (!a->onnx && alone) kd_fail("%s: expected -onnx FILE along with it", alone);
}

/* Where a script of ours is: of a build, or installed; free */
static char *find_script(const char *name)
{
    static const char *const places[] = {".root/scripts", "../share/darknet-deepkd"};
    char program[PATH_MAX] = "", path[PATH_MAX + 64];
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        kd_fail("/proc/self/exe: %s", strerror(errno));
    *strrchr(program, '/') = 0;
    for (int i = 0; i < 2; ++i) {
        snprintf(path, sizeof(path), "%s/%s/%s", program, places[i], name);
        if (!access(path, R_OK)) return kd_copy(path);
    }
    kd_fail("-onnx: found no %s in %s/%s or %s/%s, expected what `make` or `make install` left",
            name, program, places[0], program, places[1]);
}

/* "key=value", or an empty word for a NULL; lives as long as the program */
static char *pair(const char *key, const char *value)
{
    char *text = kd_calloc(strlen(key) + strlen(value ? value : "") + 2, 1);
    if (value) sprintf(text, "%s=%s", key, value);
    return text;
}

/* This program becomes the script, whose standard input is the network's description. */
__attribute__((noreturn)) static void become_script(const export_arguments *a, FILE *input)
{
    char *python = getenv("PYTHON");
    if (!python || !*python) python = "/usr/bin/python3";
    char *words[] = {python,
                     find_script("export_onnx.py"),
                     pair("cfg", a->cfg),
                     pair("weights", a->weights),
                     pair("onnx", a->onnx),
                     pair("heads", a->heads),
                     pair("names", a->names),
                     pair("half", a->half ? "1" : 0),
                     pair("batchnorm", a->batchnorm ? "1" : 0),
                     0};
    setenv("PYTHONDONTWRITEBYTECODE", "1", 1); /* what is installed stays as it is */
    if (dup2(fileno(input), STDIN_FILENO) < 0) kd_fail("-onnx: %s", strerror(errno));
    execvp(python, words);
    kd_fail("-onnx: %s: %s: expected Python 3, or PYTHON= another", python, strerror(errno));
}

__attribute__((noreturn)) static void export_onnx(const export_arguments *a)
{
    network *net = parse_strictly(a->cfg, 1, 0);
    net_outputs outputs = find_outputs(net, a->cfg);
    load_whole_weights(net, a->weights, 0);
    FILE *fp = tmpfile();
    if (!fp) kd_fail("-onnx: no temporary file: %s", strerror(errno));
    describe_network(fp, net, &outputs);
    if (fflush(fp) || ferror(fp) || lseek(fileno(fp), 0, SEEK_SET))
        kd_fail("-onnx: a temporary file can't be written: %s", strerror(errno));
    become_script(a, fp);
}

int run_export(int argc, char **argv)
{
    export_arguments a = {0};
    read_command(&export_command, argc, argv, 3, &a);
    check_words(&a);
    if (a.onnx) export_onnx(&a);
    export_cfg(a.cfg, stdout);
    return 0;
}
