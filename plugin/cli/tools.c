/*
 * ./darknet deepkd: the tool box.
 *   wrap STOCK.cfg -teacher TEACHER.cfg   prints a student's cfg: the stock one
 *                                         with [teacher] and [deepkd_loss] added
 *   export STUDENT.cfg [WEIGHTS ...]      prints it without them, for stock Darknet and
 *                                         OpenCV, or writes ONNX (export.h)
 *   cache DATA STUDENT.cfg WEIGHTS -out F the teacher's logits of a run, in a file (cache.h)
 *   merge OUT PART ...                    such a file of its parts
 *   map DATA CFG WEIGHTS                  a detector's mAP (map.h)
 *   logits DATA CFG WEIGHTS -out F        a classifier's logits, for Python (logits.h)
 *   landscape DATA CFG WEIGHTS -out F     the loss around its weights (landscape.h)
 *   detect DATA CFG WEIGHTS [IMAGE ...]   what it finds in images (detect_images.h)
 *   anchors DATA [CFG]                    anchors for its boxes (anchors.h)
 *   version                               what this program is made of (version.h)
 * export undoes wrap to the byte, but for blank lines at the end and Windows line ends.
 * To add a verb: a row of `verbs`.
 */
#include "cli/tools.h"
#include "cli/anchors.h"
#include "cli/cache.h"
#include "cli/command.h"
#include "cli/detect_images.h"
#include "cli/export.h"
#include "cli/habits.h"
#include "cli/landscape.h"
#include "cli/logits.h"
#include "cli/map.h"
#include "cli/version.h"
#include "net/strict.h"
#include "run/plain_cfg.h"
#include "support.h"

#include "utils.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char sections[] = "\n[teacher]\n"
                               "%s=%s\n"
                               "\n"
                               "[deepkd_loss]\n"
                               "method=kd\n"
                               "trainer=deepkd\n"
                               "temperature=4\n";

typedef struct {
    char *cfg, *teacher;
} wrap_arguments;

#define TO(field) offsetof(wrap_arguments, field)
static const command wrap_command = {
    "deepkd wrap",
    "Prints a student's cfg: a plain one with [teacher] and [deepkd_loss] added.",
    (const word[]){
        {"STOCK.cfg", WORD_FILE, TO(cfg), 0, 1, "the network that is to be a student"},
        {"-teacher TEACHER.cfg", WORD_TEXT, TO(teacher), 0, 1,
         "the network that teaches it; or an ONNX file"},
        {0}}};

/* A line of a cfg has no place for a line end, a comment or outer blanks. */
static void check_fits_cfg(const char *name)
{
    char *trimmed = kd_copy(name);
    trim(trimmed);
    for (const char *c = name; *c; ++c)
        if ((unsigned char)*c < ' ' || *c == '#')
            kd_fail("-teacher %s: found a # or a line end, which a cfg can't hold: expected "
                    "another name",
                    name);
    if (!*name || strcmp(trimmed, name))
        kd_fail("-teacher '%s': found blanks at an end, expected a name without", name);
    free(trimmed);
}

static int run_wrap(int argc, char **argv)
{
    wrap_arguments a = {0};
    read_command(&wrap_command, argc, argv, 3, &a);
    check_is_plain(a.cfg);
    check_fits_cfg(a.teacher);
    FILE *fp = fopen(a.teacher, "r");
    if (!fp) file_error(a.teacher);
    fclose(fp);
    free_network(parse_strictly(a.cfg, 1, 1)); /* or `distill` would refuse it later */
    export_cfg(a.cfg, stdout);
    const char *end = strrchr(a.teacher, '.');
    printf(sections, end && !strcmp(end, ".onnx") ? "model" : "cfg", a.teacher);
    return 0;
}

static const struct {
    const command *is;
    int (*run)(int argc, char **argv);
} verbs[] = {{&wrap_command, run_wrap},       {&export_command, run_export},
             {&cache_command, run_cache},     {&merge_command, run_merge},
             {&map_command, run_map},         {&landscape_command, run_landscape},
             {&logits_command, run_logits},   {&detect_command, run_detect},
             {&anchors_command, run_anchors}, {&version_command, run_version}};
#define VERBS ((int)(sizeof(verbs) / sizeof(*verbs)))

static const char *verb_name(int i)
{
    return strrchr(verbs[i].is->name, ' ') + 1;
}

/* The command's number in `verbs`; exits with the usage of all of them when it is none. */
static int find_verb(const char *text)
{
    char usage[2048] = "";
    for (int i = 0; i < VERBS; ++i) {
        if (text && !strcmp(text, verb_name(i))) return i;
        char *form = command_form(verbs[i].is);
        size_t n = strlen(usage);
        snprintf(usage + n, sizeof(usage) - n, "%s%s", i ? " | " : "", form);
        free(form);
    }
    if (text && find_verb_habit(text))
        kd_fail("deepkd %s: expected deepkd %s; usage: %s", text, find_verb_habit(text), usage);
    kd_fail("usage: %s", usage);
}

static int print_help_of_all(void)
{
    for (int i = 0; i < VERBS; ++i) {
        if (i) putchar('\n');
        print_help(verbs[i].is);
    }
    printf("\nTraining is `darknet distill`; `darknet distill --help` lists its flags.\n");
    return 0;
}

int run_deepkd(int argc, char **argv)
{
    if (argv[2] && !strcmp(argv[2], "--version")) argv[2] = "version";
    int status = asks_for_help(argc, argv, 2) ? print_help_of_all()
                                              : verbs[find_verb(argv[2])].run(argc, argv);
    check_printed();
    return status;
}
