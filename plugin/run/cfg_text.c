/* See cfg_text.h. */
#include "run/cfg_text.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>

char *read_cfg_text(char *file)
{
    char *text, *line;
    size_t size;
    FILE *from = fopen(file, "r"), *to = open_memstream(&text, &size);
    if (!from) file_error(file);
    if (!to) kd_fail("%s: found no memory to read it", file);
    while ((line = fgetl(from))) {
        strip(line);
        line[strcspn(line, "#;")] = 0;
        if (*line) fprintf(to, "%s\n", line);
        free(line);
    }
    fclose(from);
    if (fclose(to)) kd_fail("%s: found no memory to read it", file);
    return text;
}

/* The line at `at`, behind its section's name */
static void name_line(const char *at, const char *section, char *name, size_t size)
{
    int length = strcspn(at, "\n"), title = strcspn(section, "\n");
    if (!length) snprintf(name, size, "its end");
    else if (*at == '[') snprintf(name, size, "%.*s", length, at);
    else snprintf(name, size, "%.*s %.*s", title, section, length, at);
}

void find_difference(const char *text, const char *other_text, char *one, char *other,
                     size_t size)
{
    const char *section = "";
    size_t line;
    while (line = strcspn(text, "\n"),
           line == strcspn(other_text, "\n") && *text && !strncmp(text, other_text, line)) {
        if (*text == '[') section = text;
        text += line + (text[line] == '\n'); /* a damaged state's may end in a line */
        other_text += line + (other_text[line] == '\n');
    }
    name_line(text, section, one, size);
    name_line(other_text, section, other, size);
}
