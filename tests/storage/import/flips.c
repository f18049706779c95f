/* SPDX-License-Identifier: Apache-2.0 */
/* flips DIR SEED COUNT: one bit of one file at a time is read as its opposite. Then all must be as
 * before, or an error that names a place, or a torn end that is counted. Not in meta.json, which
 * has no checksum. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/rng.h"
#include "storage/import/prometheus.h"

struct flip_disk {
    struct disk disk;
    const char *path; /* of the file that is bad, or NULL */
    uint64_t offset;
    uint8_t mask;
};
struct flip_file {
    struct file file;
    struct file *real;
    const struct flip_disk *bad; /* NULL: another file */
};

static enum status flip_pread(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                              struct err *err) {
    const struct flip_file *ff = container_of(f, struct flip_file, file);
    TRY(file_pread(ff->real, p, len, offset, out_len, err));
    if (ff->bad != NULL && ff->bad->offset >= offset && ff->bad->offset - offset < *out_len)
        ((uint8_t *)p)[ff->bad->offset - offset] ^= ff->bad->mask;
    return OK;
}

static enum status flip_size(struct file *f, uint64_t *out, struct err *err) {
    return file_size(container_of(f, struct flip_file, file)->real, out, err);
}

static void flip_close(struct file *f) {
    struct flip_file *ff = container_of(f, struct flip_file, file);
    file_close(ff->real);
    free(ff);
}

static const struct file_ops flip_file_ops = {
    .pread = flip_pread, .size = flip_size, .close = flip_close};

static enum status flip_open(struct disk *d, const char *path, int flags, struct file **out,
                             struct err *err) {
    struct flip_disk *fd = container_of(d, struct flip_disk, disk);
    struct flip_file *ff = calloc(1, sizeof *ff);
    if (ff == NULL) abort();
    enum status got = disk_open(disk_real(), path, flags, &ff->real, err);
    if (got != OK) {
        free(ff);
        return got;
    }
    ff->file = (struct file){&flip_file_ops, ff->real->path};
    if (fd->path != NULL && strcmp(fd->path, path) == 0) ff->bad = fd;
    *out = &ff->file;
    return OK;
}

static enum status flip_list(UNUSED struct disk *d, const char *path,
                             bool (*fn)(void *ctx, const char *name), void *ctx, struct err *err) {
    return disk_list(disk_real(), path, fn, ctx, err);
}

static bool flip_exists(UNUSED struct disk *d, const char *path) {
    return disk_exists(disk_real(), path);
}

static const struct disk_ops flip_ops = {
    .open = flip_open, .list = flip_list, .exists = flip_exists};

/* -- the answer as a number */

struct answer {
    enum status status;
    struct err err;
    uint64_t hash, cut_bytes;
};

static uint64_t fold(uint64_t hash, const void *p, size_t len) {
    return len == 0 ? hash : hash64(p, len, hash);
}

static enum status read_all(struct prom_dir *dir, uint64_t *hash, struct err *err) {
    struct prom_scan *scan;
    TRY(prom_scan_new(dir, INT64_MIN, INT64_MAX, &scan, err));
    const struct prom_series *s;
    enum status got;
    while ((got = prom_scan_next(scan, &s, err)) == OK && s != NULL) {
        *hash = fold(*hash, s->canonical.ptr, s->canonical.len);
        *hash = fold(*hash, s->samples.times_ms, s->samples.count * sizeof(int64_t));
        *hash = fold(*hash, s->samples.values, s->samples.count * sizeof(double));
        for (size_t i = 0; i < s->exemplars_count; i++) {
            const struct prom_exemplar *e = &s->exemplars[i];
            *hash = fold(*hash, e->labels.ptr, e->labels.len);
            *hash = fold(*hash, &e->time_ms, sizeof e->time_ms);
            *hash = fold(*hash, &e->value, sizeof e->value);
        }
    }
    prom_scan_free(scan);
    return got;
}

static struct answer ask(struct disk *disk, const char *path) {
    struct answer a = {.hash = 1};
    struct prom_options options = {.disk = disk, .path = path, .secret = 7, .shards_count = 8};
    struct prom_dir *dir = NULL;
    a.status = prom_dir_open(&options, &dir, &a.err);
    if (a.status == OK) a.status = read_all(dir, &a.hash, &a.err);
    if (a.status == OK) {
        struct prom_counts c;
        prom_dir_counts(dir, &c);
        a.cut_bytes = c.wal_cut_bytes + c.head_chunks_cut_bytes;
    }
    prom_dir_close(dir);
    return a;
}

/* -- the files */

enum { FILES_MAX = 256 };
static char *files[FILES_MAX];
static uint64_t sizes[FILES_MAX]; /* up to the last byte that is not 0, and some */
static unsigned files_count;

static uint64_t used_bytes(const char *path, uint64_t size) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) abort();
    uint64_t used = 0, at = 0;
    for (int c; (c = fgetc(f)) != EOF; at++)
        if (c != 0) used = at + 1;
    fclose(f);
    return used + 64 < size ? used + 64 : size;
}

static void find_files(const char *path) {
    DIR *d = opendir(path);
    if (d == NULL) return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.' || strstr(e->d_name, ".tmp") != NULL ||
            strcmp(e->d_name, "meta.json") == 0)
            continue;
        char *child = NULL;
        if (asprintf(&child, "%s/%s", path, e->d_name) < 0) abort();
        struct stat st;
        if (stat(child, &st) != 0) abort();
        if (S_ISREG(st.st_mode) && st.st_size > 0 && files_count < FILES_MAX) {
            sizes[files_count] = used_bytes(child, (uint64_t)st.st_size);
            files[files_count++] = child;
            continue;
        }
        if (S_ISDIR(st.st_mode)) find_files(child);
        free(child);
    }
    closedir(d);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct rng rng;
    rng_init(&rng, strtoull(argv[2], NULL, 10));
    unsigned count = (unsigned)strtoul(argv[3], NULL, 10), same = 0, errors = 0, cuts = 0;
    find_files(argv[1]);
    struct flip_disk disk = {.disk = {&flip_ops}};
    struct answer want = ask(&disk.disk, argv[1]);
    if (want.status != OK || files_count == 0) {
        fprintf(stderr, "without a flip: %s\n", want.err.msg);
        return 1;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned n = (unsigned)rng_below(&rng, files_count);
        disk.path = files[n];
        disk.offset = rng_below(&rng, sizes[n]);
        disk.mask = (uint8_t)(1u << rng_below(&rng, 8));
        struct answer got = ask(&disk.disk, argv[1]);
        bool named = got.status == ERR_CORRUPT && strstr(got.err.msg, ": at ") != NULL;
        bool unknown = got.status == ERR_UNSUPPORTED && disk.offset == 4; /* a format's version */
        if (got.status == OK && got.hash == want.hash)
            same++;
        else if (got.status == OK && got.cut_bytes > want.cut_bytes)
            cuts++;
        else if (named || unknown)
            errors++;
        else {
            printf("bit %d of byte %" PRIu64 " of %s: %s %s\n", disk.mask, disk.offset, disk.path,
                   status_name(got.status), got.status == OK ? "another answer" : got.err.msg);
            return 1;
        }
    }
    printf("%u flips in %u files: %u errors, %u torn ends, %u without effect\n", count, files_count,
           errors, cuts, same);
    for (unsigned i = 0; i < files_count; i++)
        free(files[i]);
    return errors == 0;
}
