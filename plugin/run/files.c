/* See files.h. */
#include "run/files.h"
#include "support.h"

#include "utils.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
                       .csv = backup_file(cfg, folder, ".csv"),
                       .gsnr = backup_file(cfg, folder, "_gsnr.csv"),
                       .plain_cfg = backup_file(cfg, folder, ".cfg")};
    if (!stat(cfg, &ours) && !stat(files.plain_cfg, &plain) && ours.st_dev == plain.st_dev &&
        ours.st_ino == plain.st_ino)
        kd_fail("%s: stands where the plain cfg is saved: expected another backup= folder",
                cfg);
    return files;
}
