/*
 * Files that take the place of others once they are whole. Until then each stands beside its
 * target, under a name that is no other's: O_EXCL writes through no link and into no pipe that
 * somebody put there. It is locked for as long as its program lives. One without a lock is what
 * a killed program left behind; it goes when the same file is written the next time.
 */
#include "darknet.h"
#include "utils.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct atomic_file {
    FILE *fp;
    char *target;    /* the file itself, where the name that was given is a link's */
    char *temporary; /* 0: the target is a device, a pipe or open already, and is written to */
    struct atomic_file *next;
} atomic_file;

static atomic_file *opened;
static volatile int is_ending; /* another thread has failed, and said so */

static void atomic_error(char *filename)
{
    int error = errno;
    if (is_ending && error == ENOENT)
        exit_once(1); /* its file was removed under it: it waits */
    fprintf(stderr, "Couldn't write file: %s: %s\n", filename, strerror(error));
    exit_once(1);
}

/* At the end of a program that failed with a file half written */
static void remove_opened(void)
{
    atomic_file *file;
    is_ending = 1;
    for (file = opened; file; file = file->next) {
        if (file->temporary) unlink(file->temporary);
    }
}

/* The last file name of a path */
static char *base_name(char *filename)
{
    char *slash = strrchr(filename, '/');
    return slash ? slash + 1 : filename;
}

static char *folder_of(char *filename)
{
    int length = base_name(filename) - filename;
    char *folder = calloc(length + 2, 1);
    sprintf(folder, "%.*s.", length, filename);
    return folder;
}

static int is_temporary(char *name, char *base)
{
    size_t length = strlen(base);
    if (strncmp(name, base, length) || name[length] != '.') return 0;
    char *number = name + length + 1, *end = number;
    while (isdigit((unsigned char)*end)) ++end;
    return end > number && !strcmp(end, ".tmp");
}

/* As open, but for a regular file that no program has locked, and locks it; else -1 */
static int open_unlocked(int folder, char *name)
{
    struct stat info;
    int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    if (!fstat(fd, &info) && S_ISREG(info.st_mode) && !flock(fd, LOCK_EX | LOCK_NB)) return fd;
    close(fd);
    return -1;
}

static void remove_leftovers(char *filename)
{
    char *path = folder_of(filename);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        if (!is_temporary(entry->d_name, base_name(filename))) continue;
        int fd = open_unlocked(dirfd(folder), entry->d_name);
        if (fd < 0) continue;
        unlinkat(dirfd(folder), entry->d_name, 0);
        close(fd);
    }
    if (folder) closedir(folder);
    free(path);
}

/* Its name goes into file->temporary. */
static int open_temporary(char *filename, atomic_file *file)
{
    int fd, number = getpid();
    size_t size = strlen(filename) + sizeof(".2147483647.tmp");
    file->temporary = calloc(size, 1);
    do {
        snprintf(file->temporary, size, "%s.%d.tmp", filename, number++);
        fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
    if (fd >= 0) flock(fd, LOCK_EX | LOCK_NB); /* a disk without locks keeps its leftovers */
    return fd;
}

/* A pipe that nobody reads is an error, not a wait. */
static int open_special(char *filename)
{
    int fd = open(filename, O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) fcntl(fd, F_SETFL, 0);
    return fd;
}

static int is_descriptor(const char *path)
{
    static const char *const begins[] = {"/dev/std", "/dev/fd/", "/proc/"};
    for (size_t i = 0; i < sizeof(begins) / sizeof(*begins); ++i)
        if (!strncmp(path, begins[i], strlen(begins[i]))) return 1;
    return 0;
}

/* What is there already and can't be replaced: no file, or one that somebody has open under a
 * name such as /dev/stdout */
static int is_special(char *filename)
{
    char link[PATH_MAX + 1];
    struct stat info;
    if (stat(filename, &info)) return 0;
    ssize_t n = readlink(filename, link, PATH_MAX);
    link[n > 0 ? n : 0] = 0;
    return !S_ISREG(info.st_mode) || is_descriptor(filename) || is_descriptor(link);
}

/* As open_temporary, beside the file that a link leads to, with its permissions */
static int open_beside(char *filename, atomic_file *file)
{
    struct stat info;
    file->target = realpath(filename, 0);
    int is_there = file->target && !stat(file->target, &info);
    if (!file->target) file->target = copy_string(filename);
    remove_leftovers(file->target);
    int fd = open_temporary(file->target, file);
    if (fd >= 0 && is_there) fchmod(fd, info.st_mode & 07777);
    return fd;
}

FILE *open_atomic(char *filename)
{
    if (!filename) error("Couldn't write file: found no name for it");
    atomic_file *file = calloc(1, sizeof(atomic_file));
    int fd = is_special(filename) ? open_special(filename) : open_beside(filename, file);
    if (fd >= 0) file->fp = fdopen(fd, "wb");
    if (!file->fp) {
        if (fd >= 0 && file->temporary) unlink(file->temporary);
        atomic_error(filename);
    }
    static int is_registered;
    if (!is_registered) is_registered = !atexit(remove_opened);
    file->next = opened;
    opened = file;
    return file->fp;
}

/* Until its folder is on the disk too, a file's new name may be lost. Some disks can't do it.
 */
static int flush_folder(char *filename)
{
    char *path = folder_of(filename);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd >= 0 && fsync(fd) && errno != EINVAL && errno != ENOTSUP;
    if (fd >= 0) close(fd);
    free(path);
    return failed;
}

static int put_in_place(atomic_file *file)
{
    if (!file->temporary) return fclose(file->fp);
    /* closed last, for with it goes the lock */
    int failed = fsync(fileno(file->fp)) || rename(file->temporary, file->target) ||
                 flush_folder(file->target);
    return fclose(file->fp) || failed;
}

void close_atomic(FILE *fp, char *filename)
{
    atomic_file **at = &opened;
    while (*at && (*at)->fp != fp) at = &(*at)->next;
    atomic_file *file = *at;
    if (!file) error("close_atomic: the file was not opened by open_atomic");
    if (ferror(fp) || fflush(fp) || put_in_place(file)) atomic_error(filename);
    *at = file->next;
    free(file->target);
    free(file->temporary);
    free(file);
}
