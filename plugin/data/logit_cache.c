/* See logit_cache.h. */
#include "data/logit_cache.h"
#include "support.h"

#include <stdlib.h>

#ifdef SQLITE

#include <sqlite3.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In the file's head, so that no other database is taken for one of ours */
#define APPLICATION_ID 1145785412 /* "DKLD" */

struct logit_cache {
    const char *file;
    sqlite3 *db;
    sqlite3_stmt *put, *get;
};

/* Exits with SQLite's reason. */
__attribute__((noreturn)) static void refuse(const logit_cache *c, int status)
{
    if (status == SQLITE_BUSY)
        kd_fail("%s: another program is at work with it: expected to be alone", c->file);
    if (status == SQLITE_READONLY)
        kd_fail("%s: was cut off while it was written: `deepkd cache` goes on with it",
                c->file);
    if (status == SQLITE_NOTADB || status == SQLITE_CORRUPT)
        kd_fail("%s: found no whole cache, expected one that `deepkd cache` has made", c->file);
    kd_fail("%s: %s", c->file, sqlite3_errmsg(c->db));
}

static void run_sql(const logit_cache *c, const char *sql)
{
    int status = sqlite3_exec(c->db, sql, 0, 0, 0);
    if (status != SQLITE_OK) refuse(c, status);
}

static sqlite3_stmt *prepare(const logit_cache *c, const char *sql)
{
    sqlite3_stmt *s;
    int status = sqlite3_prepare_v2(c->db, sql, -1, &s, 0);
    if (status != SQLITE_OK) refuse(c, status);
    return s;
}

/* 1: there is a row; 0: there is none, or no more */
static int step(const logit_cache *c, sqlite3_stmt *s)
{
    int status = sqlite3_step(s);
    if (status != SQLITE_ROW && status != SQLITE_DONE) refuse(c, status);
    return status == SQLITE_ROW;
}

/* The number that a query yields */
static int64_t ask(const logit_cache *c, const char *sql)
{
    sqlite3_stmt *s = prepare(c, sql);
    int64_t number = step(c, s) ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return number;
}

static logit_cache *open_database(const char *file, int flags)
{
    logit_cache *c = kd_calloc(1, sizeof(*c));
    c->file = file;
    int status = sqlite3_open_v2(file, &c->db, flags, 0);
    if (!c->db) kd_fail("out of memory");
    if (status != SQLITE_OK) refuse(c, status);
    sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, INT_MAX);
    return c;
}

static void check_is_ours(const logit_cache *c)
{
    if (ask(c, "PRAGMA application_id") != APPLICATION_ID) refuse(c, SQLITE_NOTADB);
}

static void prepare_use(logit_cache *c)
{
    c->get = prepare(c, "SELECT hash, numbers FROM logits WHERE position = ?");
    c->put = prepare(c, "INSERT INTO logits VALUES (?, ?, ?)");
}

logit_cache *open_logit_cache(const char *file)
{
    logit_cache *c = open_database(file, SQLITE_OPEN_READONLY);
    check_is_ours(c);
    run_sql(c, "BEGIN"); /* to the end: nobody writes meanwhile */
    prepare_use(c);
    return c;
}

static void make_tables(const logit_cache *c)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "PRAGMA application_id = %d;"
             "CREATE TABLE notes(key TEXT PRIMARY KEY, value TEXT);"
             "CREATE TABLE logits(position INTEGER PRIMARY KEY, hash INTEGER, numbers BLOB)",
             APPLICATION_ID);
    run_sql(c, sql);
}

/* The file that this program has made, until something is saved in it */
static const char *unsaved;

/* At exit: who is refused leaves nothing. */
static void remove_unsaved(void)
{
    if (!unsaved) return;
    char *journal = kd_calloc(strlen(unsaved) + sizeof("-journal"), 1);
    sprintf(journal, "%s-journal", unsaved);
    unlink(unsaved);
    unlink(journal);
    free(journal);
}

logit_cache *make_logit_cache(const char *file)
{
    int is_new = access(file, F_OK);
    logit_cache *c = open_database(file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    run_sql(c, "PRAGMA locking_mode = EXCLUSIVE");
    run_sql(c, "BEGIN IMMEDIATE");
    if (is_new) {
        unsaved = file;
        atexit(remove_unsaved);
    }
    if (ask(c, "SELECT count(*) FROM sqlite_master")) check_is_ours(c);
    else make_tables(c);
    prepare_use(c);
    return c;
}

void close_logit_cache(logit_cache *c)
{
    sqlite3_finalize(c->get);
    sqlite3_finalize(c->put);
    sqlite3_close(c->db);
    free(c);
}

const char *logit_cache_file(const logit_cache *c)
{
    return c->file;
}

char *read_note(logit_cache *c, const char *key)
{
    sqlite3_stmt *s = prepare(c, "SELECT value FROM notes WHERE key = ?");
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    const char *text = step(c, s) ? (const char *)sqlite3_column_text(s, 0) : 0;
    char *copy = text ? kd_copy(text) : 0;
    sqlite3_finalize(s);
    return copy;
}

void write_note(logit_cache *c, const char *key, const char *value)
{
    sqlite3_stmt *s = prepare(c, "INSERT INTO notes VALUES (?, ?)");
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, value, -1, SQLITE_STATIC);
    step(c, s);
    sqlite3_finalize(s);
}

/* 1 when `to` has the note now, as it is here. */
static int copy_note(logit_cache *to, const char *key, const char *value, int is_new)
{
    char *there = is_new ? 0 : read_note(to, key);
    int is_same = is_new || (there && !strcmp(there, value));
    if (is_new) write_note(to, key, value);
    free(there);
    return is_same;
}

static int64_t count_notes(const logit_cache *c)
{
    return ask(c, "SELECT count(*) FROM notes");
}

int has_notes(logit_cache *c)
{
    return count_notes(c) > 0;
}

char *copy_notes(logit_cache *from, logit_cache *to, const char *one)
{
    char *other = 0;
    int is_new = !count_notes(to);
    int64_t n = 0;
    sqlite3_stmt *s = prepare(from, "SELECT key, value FROM notes WHERE key != ?");
    sqlite3_bind_text(s, 1, one, -1, SQLITE_STATIC);
    for (; !other && step(from, s); ++n) {
        const char *key = (const char *)sqlite3_column_text(s, 0);
        const char *value = (const char *)sqlite3_column_text(s, 1);
        if (!key || !value) refuse(from, SQLITE_CORRUPT);
        if (!copy_note(to, key, value, is_new)) other = kd_copy(key);
    }
    sqlite3_finalize(s);
    return other || n == count_notes(to) ? other : kd_copy("notes");
}

uint64_t cached_images(logit_cache *c, uint64_t first)
{
    int64_t n = ask(c, "SELECT count(*) FROM logits"), begin = first;
    if (n && (ask(c, "SELECT min(position) FROM logits") != begin ||
              ask(c, "SELECT max(position) FROM logits") != begin + n - 1))
        refuse(c, SQLITE_CORRUPT);
    return n;
}

/* With the position, so that no image's logits are taken for another's */
static int64_t hash_logits(uint64_t position, const void *numbers, size_t bytes)
{
    uint64_t hash = kd_hash(KD_HASH_START, &position, sizeof(position));
    return kd_hash(hash, numbers, bytes);
}

void write_logits(logit_cache *c, uint64_t position, const void *numbers, size_t bytes)
{
    sqlite3_bind_int64(c->put, 1, position);
    sqlite3_bind_int64(c->put, 2, hash_logits(position, numbers, bytes));
    sqlite3_bind_blob64(c->put, 3, numbers, bytes, SQLITE_STATIC);
    step(c, c->put);
    sqlite3_reset(c->put);
}

void read_cached_logits(logit_cache *c, uint64_t position, void *numbers, size_t bytes)
{
    sqlite3_bind_int64(c->get, 1, position);
    if (!step(c, c->get))
        kd_fail("%s: found no logits of image %llu of the run", c->file,
                (unsigned long long)position);
    size_t found = sqlite3_column_bytes(c->get, 1);
    if (found != bytes)
        kd_fail("%s: image %llu of the run: found %zu bytes, expected %zu", c->file,
                (unsigned long long)position, found, bytes);
    if (bytes) memcpy(numbers, sqlite3_column_blob(c->get, 1), bytes);
    if (sqlite3_column_int64(c->get, 0) != hash_logits(position, numbers, bytes))
        kd_fail("%s: image %llu of the run: found damaged logits", c->file,
                (unsigned long long)position);
    sqlite3_reset(c->get);
}

void copy_cached_logits(logit_cache *from, logit_cache *to)
{
    sqlite3_stmt *s = prepare(from, "SELECT position, hash, numbers FROM logits ORDER BY 1");
    while (step(from, s)) {
        uint64_t position = sqlite3_column_int64(s, 0);
        const void *numbers = sqlite3_column_blob(s, 2);
        size_t bytes = sqlite3_column_bytes(s, 2);
        if (sqlite3_column_int64(s, 1) != hash_logits(position, numbers, bytes))
            kd_fail("%s: image %llu of the run: found damaged logits", from->file,
                    (unsigned long long)position);
        write_logits(to, position, numbers ? numbers : "", bytes);
    }
    sqlite3_finalize(s);
}

void save_logit_cache(logit_cache *c)
{
    run_sql(c, "COMMIT; BEGIN IMMEDIATE");
    unsaved = 0;
}

#else

/* Without SQLite there is no cache, and nobody who could call what stands below these two. */
logit_cache *open_logit_cache(const char *file)
{
    kd_fail("%s: this darknet was built with SQLITE=0: expected no cache", file);
}

logit_cache *make_logit_cache(const char *file)
{
    return open_logit_cache(file);
}

#define UNUSED __attribute__((unused))
#define NEVER                                                                                  \
    {                                                                                          \
        abort();                                                                               \
    }
void close_logit_cache(logit_cache *c UNUSED) NEVER const
    char *logit_cache_file(const logit_cache *c UNUSED) NEVER
    char *read_note(logit_cache *c UNUSED, const char *key UNUSED) NEVER
    void write_note(logit_cache *c UNUSED, const char *key UNUSED,
                    const char *value UNUSED) NEVER uint64_t
    cached_images(logit_cache *c UNUSED, uint64_t first UNUSED) NEVER
    int has_notes(logit_cache *c UNUSED) NEVER
    char *copy_notes(logit_cache *from UNUSED, logit_cache *to UNUSED,
                     const char *one UNUSED) NEVER
    void copy_cached_logits(logit_cache *from UNUSED, logit_cache *to UNUSED) NEVER
    void save_logit_cache(logit_cache *c UNUSED) NEVER

    void write_logits(logit_cache *c UNUSED, uint64_t position UNUSED,
                      const void *numbers UNUSED, size_t bytes UNUSED) NEVER

    void read_cached_logits(logit_cache *c UNUSED, uint64_t position UNUSED,
                            void *numbers UNUSED, size_t bytes UNUSED) NEVER

#endif
