/* See command.h. */
#include "cli/command.h"
#include "cli/habits.h"
#include "support.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *command_form(const command *c)
{
    char *text;
    size_t size;
    FILE *fp = open_memstream(&text, &size);
    if (!fp) kd_fail("darknet %s: found no memory", c->name);
    fprintf(fp, "darknet %s", c->name);
    for (const word *w = c->words; w->form; ++w)
        fprintf(fp, w->needed ? " %s" : " [%s]", w->form);
    if (fclose(fp)) kd_fail("darknet %s: found no memory", c->name);
    return text;
}

int asks_for_help(int argc, char **argv, int first)
{
    for (int i = first; i < argc && argv[i]; ++i)
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "-help") || !strcmp(argv[i], "--help"))
            return 1;
    return 0;
}

void print_help(const command *c)
{
    char *form = command_form(c);
    int width = 0;
    for (const word *w = c->words; w->form; ++w)
        if ((int)strlen(w->form) > width) width = strlen(w->form);
    printf("usage: %s\n\n%s\n", form, c->help);
    if (width) putchar('\n');
    for (const word *w = c->words; w->form; ++w)
        printf("  %-*s  %s\n", width, w->form, w->help);
    free(form);
}

void check_printed(void)
{
    if (fflush(stdout) || ferror(stdout)) kd_fail("standard output cannot be written");
}

/* Exits, and says what the user may have meant. */
__attribute__((noreturn)) static void refuse_flag(const command *c, const char *flag)
{
    const char *here = find_flag_habit(flag), *comma = here ? ", " : "";
    char alike[64] = "";
    for (const word *w = c->words; w->form; ++w) {
        snprintf(alike, sizeof(alike), "%.*s", (int)strcspn(w->form, " "), w->form);
        if (*w->form == '-' && are_alike(alike, flag))
            kd_fail("%s: unknown flag, expected %s; usage: %s", flag, alike, command_form(c));
    }
    kd_fail("%s: unknown flag%s%s; usage: %s", flag, comma, here ? here : "", command_form(c));
}

/* The row of a flag as the user typed it */
static const word *find_flag(const command *c, const char *flag)
{
    size_t n = strlen(flag);
    for (const word *w = c->words; w->form; ++w)
        if (*w->form == '-' && strcspn(w->form, " ") == n && !strncmp(w->form, flag, n))
            return w;
    refuse_flag(c, flag);
}

static uint64_t read_count(const command *c, uint64_t limit, const char *flag, const char *text)
{
    char *end;
    unsigned long long most = limit;
    if (!text)
        kd_fail("%s: its value is missing, expected a whole number from 1 to %llu; usage: %s",
                flag, most, command_form(c));
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || errno || value < 1 || value > most)
        kd_fail("%s %s: expected a whole number from 1 to %llu", flag, text, most);
    return value;
}

static int read_switch(const command *c, const char *flag, const char *text)
{
    if (!text)
        kd_fail("%s: its value is missing, expected 0 or 1; usage: %s", flag, command_form(c));
    if (strcmp(text, "0") && strcmp(text, "1")) kd_fail("%s %s: expected 0 or 1", flag, text);
    return *text == '1';
}

static double read_share(const command *c, const char *flag, const char *text)
{
    char *end;
    if (!text)
        kd_fail("%s: its value is missing, expected a number from 0 to 1; usage: %s", flag,
                command_form(c));
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1))
        kd_fail("%s %s: expected a number from 0 to 1", flag, text);
    return value;
}

/* Reads the flag argv[0]; returns how many words it took. */
static int read_flag(const command *c, char **argv, void *to)
{
    const word *w = find_flag(c, argv[0]);
    void *field = (char *)to + w->offset;
    if (w->kind == WORD_FLAG) return *(int *)field = 1;
    if (w->kind == WORD_INT) *(int *)field = read_count(c, w->most, argv[0], argv[1]);
    else if (w->kind == WORD_SWITCH) *(int *)field = read_switch(c, argv[0], argv[1]);
    else if (w->kind == WORD_SHARE) *(double *)field = read_share(c, argv[0], argv[1]);
    else if (w->kind == WORD_LONG)
        *(uint64_t *)field = read_count(c, w->most, argv[0], argv[1]);
    else if (argv[1]) *(char **)field = argv[1];
    else
        kd_fail("%s: its value is missing, expected %s; usage: %s", argv[0], w->form,
                command_form(c));
    return 2;
}

static void append_word(word_list *list, char *word)
{
    list->of = realloc(list->of, (list->n + 1) * sizeof(char *));
    if (!list->of) kd_fail("out of memory");
    list->of[list->n++] = word;
}

/* Takes a word as the first file that none has been given for yet. */
static void take_file(const command *c, char *file, void *to)
{
    for (const word *w = c->words; w->form; ++w) {
        char **field = (char **)((char *)to + w->offset);
        if (w->kind == WORD_FILES) {
            append_word((word_list *)((char *)to + w->offset), file);
            return;
        }
        if (w->kind != WORD_FILE || *field) continue;
        *field = file;
        return;
    }
    kd_fail("%s: one file too many; usage: %s", file, command_form(c));
}

void read_command(const command *c, int argc, char **argv, int first, void *to)
{
    for (int i = first; i < argc && argv[i];) {
        if (argv[i][0] == '-') i += read_flag(c, argv + i, to);
        else take_file(c, argv[i++], to);
    }
    for (const word *w = c->words; w->form; ++w)
        if (w->needed && !*(char **)((char *)to + w->offset))
            kd_fail("darknet %s: found no %s; usage: %s", c->name, w->form, command_form(c));
}
