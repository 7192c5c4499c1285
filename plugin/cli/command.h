/*
 * A command's line as a table: the words that it takes, one a row, each with a line of help.
 * What reads the line and what prints the help go by the same rows, so they can't disagree.
 */
#ifndef KD_COMMAND_H
#define KD_COMMAND_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    WORD_FILE,   /* char *: a word that is no flag; in the order of the rows */
    WORD_FILES,  /* word_list: all further ones, the last row of those */
    WORD_TEXT,   /* char *: a flag and a word */
    WORD_FLAG,   /* int: 1 when the flag is there */
    WORD_INT,    /* int: a flag and a whole number from 1 to `most` */
    WORD_LONG,   /* uint64_t: the same */
    WORD_SWITCH, /* int: a flag and 0 or 1 */
    WORD_SHARE,  /* double: a flag and a number from 0 to 1 */
} word_kind;

/* Words in their order, none at first; free(of) */
typedef struct {
    char **of; /* [n], which point into argv */
    int n;
} word_list;

typedef struct {
    const char *form; /* as it is typed: "DATA", "-clear", "-seed N" */
    word_kind kind;
    size_t offset;    /* of its field in the command's struct */
    uint64_t most;    /* of a number */
    int needed;       /* files and texts: an error without it */
    const char *help; /* one line */
} word;

typedef struct {
    const char *name;  /* behind "darknet": "distill", "deepkd wrap" */
    const char *help;  /* what it does, in a line or some */
    const word *words; /* the last one is {0} */
} command;

/*
 * Reads the words from argv[first] on into the struct `to`, whose fields hold the defaults;
 * exits with the usage on what the table does not have. Strings point into argv.
 */
void read_command(const command *c, int argc, char **argv, int first, void *to);

/* 1 when one of the words from argv[first] on is -h, -help or --help. */
int asks_for_help(int argc, char **argv, int first);

/* Prints the usage, what the command does, and a line for each word. */
void print_help(const command *c);

/* Exits when something that was printed to stdout could not be written. */
void check_printed(void);

/* "darknet deepkd wrap STOCK.cfg -teacher TEACHER.cfg"; free */
char *command_form(const command *c);

#endif
