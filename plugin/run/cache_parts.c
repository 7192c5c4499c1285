/* See cache_parts.h. */
#include "run/cache_parts.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long number;

enum { NOTE = 256 };
static const char *const part_key = "part";

static void describe_part(const cache_part *p, char *text, size_t size)
{
    *text = 0;
    if (p->of)
        snprintf(text, size, "%d of %d: %llu images from %llu on, of %llu", p->number, p->of,
                 (number)p->images, (number)p->first, (number)p->planned);
}

cache_part read_part(logit_cache *cache)
{
    cache_part p = {0};
    number first = 0, images = 0, planned = 0;
    char *found = read_note(cache, part_key);
    int n = !found ? 5
                   : sscanf(found, "%d of %d: %llu images from %llu on, of %llu", &p.number,
                            &p.of, &images, &first, &planned);
    if (n != 5 || (found && (p.of < 1 || !images || images > planned)))
        kd_fail("%s: part: found %s, expected one that `deepkd cache` has made",
                logit_cache_file(cache), found);
    free(found);
    p.first = first, p.images = images, p.planned = planned;
    return p;
}

void agree_on_part(logit_cache *cache, const cache_part *part)
{
    char expected[NOTE], found[NOTE];
    cache_part there = read_part(cache);
    describe_part(part, expected, sizeof(expected));
    describe_part(&there, found, sizeof(found));
    if (!has_notes(cache) && part->of) write_note(cache, part_key, expected);
    else if (strcmp(found, expected))
        kd_fail("%s: is of another run, part: found %s, expected %s", logit_cache_file(cache),
                there.of ? found : "none", part->of ? expected : "none");
}

int cut_part(cache_part *p, uint64_t batch)
{
    uint64_t batches = p->planned / batch;
    uint64_t first = batches * (p->number - 1) / p->of, end = batches * p->number / p->of;
    p->first = first * batch;
    p->images = (end - first) * batch;
    return (uint64_t)p->of <= batches;
}

/* The part that begins at a position; exits when there is none, or no more than some of it. */
static logit_cache *find_part(logit_cache *const *parts, int n, uint64_t first)
{
    for (int i = 0; i < n; ++i) {
        cache_part p = read_part(parts[i]);
        if (p.first != first) continue;
        uint64_t images = cached_images(parts[i], first);
        if (images == p.images) return parts[i];
        kd_fail("%s: found the logits of %llu images, expected those of the part's %llu; "
                "`deepkd cache` goes on with it",
                logit_cache_file(parts[i]), (number)images, (number)p.images);
    }
    kd_fail("%s: found no part that begins at image %llu, expected it among the files",
            logit_cache_file(parts[0]), (number)first);
}

/* Notes are those of the first one. */
static void merge_notes(logit_cache *part, logit_cache *out, const char *first)
{
    char *key = copy_notes(part, out, part_key);
    if (!key) return;
    char *found = read_note(part, key), *expected = read_note(out, key);
    kd_fail("%s: is of another run than %s, %s: found %s, expected %s", logit_cache_file(part),
            first, key, found ? found : "none", expected ? expected : "none");
}

/* Exits unless it is a part of the same run as the first one, whose notes become `out`'s. */
static void check_part(logit_cache *part, logit_cache *first, logit_cache *out)
{
    cache_part p = read_part(part), q = read_part(first);
    if (!p.of)
        kd_fail("%s: found no part of a cache, expected one that `deepkd cache -part` has made",
                logit_cache_file(part));
    merge_notes(part, out, logit_cache_file(first));
    if (p.planned != q.planned)
        kd_fail("%s: found a part of %llu images, expected one of %llu, as %s is",
                logit_cache_file(part), (number)p.planned, (number)q.planned,
                logit_cache_file(first));
}

void merge_caches(char *out, char **files, int n)
{
    logit_cache **parts = kd_calloc(n, sizeof(*parts)), *whole = make_logit_cache(out);
    uint64_t done = 0;
    int used = 0;
    if (has_notes(whole)) kd_fail("%s: found a cache, expected a new file", out);
    for (int i = 0; i < n; ++i) {
        parts[i] = open_logit_cache(files[i]);
        check_part(parts[i], parts[0], whole);
    }
    uint64_t planned = read_part(parts[0]).planned;
    for (; done < planned; ++used) {
        logit_cache *part = find_part(parts, n, done);
        copy_cached_logits(part, whole);
        done += read_part(part).images;
    }
    if (used != n)
        kd_fail("%s: found %d files, expected the run's %d parts, each once", out, n, used);
    save_logit_cache(whole);
    for (int i = 0; i < n; ++i) close_logit_cache(parts[i]);
    close_logit_cache(whole);
    free(parts);
    printf("%s: %llu images of %d parts\n", out, (number)planned, n);
}
