/* See plain_cfg.h. */
#include "run/plain_cfg.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>

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

void check_is_plain(char *file)
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
