/*
 * ./darknet deepkd: the tool box.
 *   wrap STOCK.cfg -teacher TEACHER.cfg   prints a student's cfg: the stock one
 *                                         with [teacher] and [deepkd_loss] added
 *   export STUDENT.cfg                    prints it without them, for stock
 *                                         Darknet and OpenCV
 *   map DATA CFG WEIGHTS                  a detector's mAP (map.h)
 * export undoes wrap to the byte, but for blank lines at the end and Windows line ends.
 */
#include "cli/tools.h"
#include "support.h"
#include "cli/map.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>

static const char sections[] = "\n[teacher]\n"
                               "cfg=%s\n"
                               "\n"
                               "[deepkd_loss]\n"
                               "method=kd\n"
                               "trainer=deepkd\n"
                               "temperature=4\n"
                               "topk_schedule=dynamic\n";

/* Does this line open a section of ours? Darknet allows blanks around it. */
static int opens_our_section(const char *line)
{
    char *text = kd_copy(line);
    strip(text);
    int ours = !strcmp(text, "[teacher]") || !strcmp(text, "[deepkd_loss]");
    free(text);
    return ours;
}

static int opens_section(const char *line)
{
    return line[strspn(line, " \t")] == '[';
}

static FILE *open_cfg(char *file)
{
    FILE *fp = fopen(file, "r");
    if (!fp) file_error(file);
    return fp;
}

void export_cfg(char *file, FILE *to)
{
    FILE *from = open_cfg(file);
    char *line;
    int ours = 0, blanks = 0;
    while ((line = fgetl(from))) {
        if (opens_section(line)) ours = opens_our_section(line);
        int is_blank = !*line;
        if (!ours && is_blank) ++blanks; /* written only when something of theirs follows */
        if (!ours && !is_blank) {
            for (; blanks; --blanks) fputc('\n', to);
            fprintf(to, "%s\n", line);
        }
        free(line);
    }
    fclose(from);
}

static void check_is_plain(char *file)
{
    FILE *fp = open_cfg(file);
    char *line;
    while ((line = fgetl(fp))) {
        if (opens_our_section(line))
            kd_fail("%s: found %s in it, expected a cfg without it", file, line);
        free(line);
    }
    fclose(fp);
}

static void wrap_cfg(char *file, char *teacher_cfg)
{
    check_is_plain(file);
    fclose(open_cfg(teacher_cfg));
    export_cfg(file, stdout);
    printf(sections, teacher_cfg);
}

int run_deepkd(int argc, char **argv)
{
    if (argc > 2 && argv[2] && !strcmp(argv[2], "map")) return run_map(argc, argv);
    char *teacher_cfg = find_char_arg(argc, argv, "-teacher", 0);
    char *verb = argc > 2 ? argv[2] : 0, *file = argc > 3 ? argv[3] : 0;
    int is_wrap = verb && !strcmp(verb, "wrap"), is_export = verb && !strcmp(verb, "export");
    int extra = argc > 4 && argv[4];
    if (!file || extra || !(is_wrap ? teacher_cfg != 0 : is_export && !teacher_cfg))
        kd_fail("usage: darknet deepkd wrap STOCK.cfg -teacher TEACHER.cfg | "
                "darknet deepkd export STUDENT.cfg | darknet deepkd map DATA CFG WEIGHTS "
                "[-per_class] [-out DETECTIONS.json] [-threads N]");
    if (is_wrap) wrap_cfg(file, teacher_cfg);
    else export_cfg(file, stdout);
    if (fflush(stdout)) kd_fail("standard output cannot be written");
    return 0;
}
