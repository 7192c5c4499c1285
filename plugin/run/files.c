/* See files.h. */
#include "run/files.h"
#include "support.h"

#include "utils.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *backup_file(char *cfg, const char *folder, const char *suffix)
{
    char *base = basecfg(cfg);
    const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
    size_t size = strlen(folder) + strlen(base) + strlen(suffix) + 2;
    char *name = kd_calloc(size, 1);
    snprintf(name, size, "%s%s%s%s", folder, slash, base, suffix);
    free(base);
    return name;
}

run_files name_files(char *cfg, const char *folder)
{
    struct stat ours, plain;
    run_files files = {.last = backup_file(cfg, folder, "_last.weights"),
                       .best = backup_file(cfg, folder, "_best.weights"),
                       .final = backup_file(cfg, folder, "_final.weights"),
                       .state = backup_file(cfg, folder, ".state"),
                       .previous = backup_file(cfg, folder, "_previous.state"),
                       .csv = backup_file(cfg, folder, ".csv"),
                       .gsnr = backup_file(cfg, folder, "_gsnr.csv"),
                       .plain_cfg = backup_file(cfg, folder, ".cfg"),
                       .lock = backup_file(cfg, folder, ".lock")};
    if (!stat(cfg, &ours) && !stat(files.plain_cfg, &plain) && ours.st_dev == plain.st_dev &&
        ours.st_ino == plain.st_ino)
        kd_fail("%s: stands where the plain cfg is saved: expected another backup= folder",
                cfg);
    return files;
}

static char *locked;

static void remove_lock(void)
{
    unlink(locked);
}

static void refuse_lock(int fd, const char *file)
{
    int reason = errno;
    struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (reason != EACCES && reason != EAGAIN)
        kd_fail("%s: cannot be locked: %s", file, strerror(reason));
    fcntl(fd, F_GETLK, &other);
    kd_fail(
        "%s: found that process %ld writes the files of this name: expected another backup= "
        "folder, or to wait for its end",
        file, (long)other.l_pid);
}

/* Is the open file still the one of this name? A run that ends takes its lock's file away. */
static int is_there(int fd, const char *file)
{
    struct stat open, named;
    return !fstat(fd, &open) && !lstat(file, &named) && open.st_ino == named.st_ino &&
           open.st_dev == named.st_dev;
}

void lock_files(const run_files *files)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (;;) {
        int fd =
            open(files->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
        if (fd < 0) file_error(files->lock);
        if (fcntl(fd, F_SETLK, &all)) refuse_lock(fd, files->lock);
        if (is_there(fd, files->lock)) break; /* and stays open, for the lock goes with it */
        close(fd);
    }
    locked = files->lock;
    atexit(remove_lock);
}
