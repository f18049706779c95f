/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/internal.h"

enum { STEP_BYTES = 256 << 10 };

enum status prom_file_open(struct disk *disk, const char *path, size_t ahead_bytes,
                           struct prom_file *out, struct err *err) {
    assert(ahead_bytes > 0);
    struct prom_file f = {.ahead_bytes = ahead_bytes};
    TRY(disk_open(disk, path, DISK_READ, &f.file, err));
    enum status got = file_size(f.file, &f.size, err);
    if (got != OK) {
        file_close(f.file);
        return got;
    }
    *out = f;
    return OK;
}

void prom_file_close(struct prom_file *f) {
    file_close(f->file);
    free(f->window);
    *f = (struct prom_file){0};
}

enum status prom_corrupt(const struct prom_file *f, uint64_t offset, struct err *err,
                         const char *what) {
    return err_set(err, ERR_CORRUPT, 0, "%s: at %" PRIu64 ": %s", f->file->path, offset, what);
}

enum status prom_file_read(struct prom_file *f, uint64_t offset, size_t len, const uint8_t **out,
                           struct err *err) {
    if (offset > f->size || f->size - offset < len)
        return prom_corrupt(f, offset, err, "the file ends before what should be there");
    if (f->window != NULL && offset >= f->window_at && offset - f->window_at <= f->window_len &&
        f->window_len - (size_t)(offset - f->window_at) >= len) {
        *out = f->window + (offset - f->window_at);
        return OK;
    }
    size_t want = prom_file_left(f, offset, MAX(len, f->ahead_bytes));
    if (want > f->window_cap || f->window == NULL) {
        size_t cap = MAX(want, f->ahead_bytes);
        uint8_t *grown = malloc(cap);
        if (grown == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", f->file->path);
        free(f->window);
        f->window = grown;
        f->window_cap = cap;
    }
    f->window_len = 0;
    size_t got;
    TRY(file_pread(f->file, f->window, want, offset, &got, err));
    f->window_at = offset;
    f->window_len = got;
    if (got < len) return prom_corrupt(f, offset, err, "the file was cut while it was read");
    *out = f->window;
    return OK;
}

enum status prom_file_check_section(struct prom_file *f, uint64_t offset, uint32_t *out_len,
                                    struct err *err) {
    const uint8_t *p;
    TRY(prom_file_read(f, offset, 4, &p, err));
    uint32_t len = get_u32be(p), crc = 0;
    if (f->size - offset - 4 < (uint64_t)len + 4)
        return prom_corrupt(f, offset, err, "a section is longer than the file");
    for (uint32_t done = 0; done < len;) {
        size_t n = MIN(len - done, (uint32_t)STEP_BYTES);
        TRY(prom_file_read(f, offset + 4 + done, n, &p, err));
        crc = prom_crc32c(crc, p, n);
        done += (uint32_t)n;
    }
    TRY(prom_file_read(f, offset + 4 + len, 4, &p, err));
    if (get_u32be(p) != crc) return prom_corrupt(f, offset, err, "a section fails its checksum");
    *out_len = len;
    return OK;
}

bool prom_file_is_zero(struct prom_file *f, uint64_t offset) {
    while (offset < f->size) {
        size_t n = prom_file_left(f, offset, STEP_BYTES);
        const uint8_t *p = NULL;
        if (prom_file_read(f, offset, n, &p, NULL) != OK) return false;
        for (size_t i = 0; i < n; i++)
            if (p[i] != 0) return false;
        offset += n;
    }
    return true;
}

/* -- names */

enum status prom_grow(void **items, size_t *cap, size_t count, size_t size) {
    if (count < *cap) return OK;
    size_t want = *cap < 8 ? 8 : *cap * 2, bytes;
    if (want < *cap || __builtin_mul_overflow(want, size, &bytes)) return ERR_NOMEM;
    void *grown = realloc(*items, bytes);
    if (grown == NULL) return ERR_NOMEM;
    *items = grown;
    *cap = want;
    return OK;
}

struct listing {
    struct prom_numbers *out;
    struct sv prefix;
};

static bool on_name(void *ctx, const char *name) {
    struct listing *l = ctx;
    struct sv s = sv_from(name);
    if (!sv_starts(s, l->prefix)) return true;
    s = sv_skip(s, l->prefix.len);
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return true;
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s.ptr[i] - '0'), &n))
            return true;
    }
    if (s.len == 0) return true;
    void *items = l->out->items;
    if (prom_grow(&items, &l->out->cap, l->out->count, sizeof *l->out->items) != OK) {
        l->out->failed = true;
        return false;
    }
    l->out->items = items;
    l->out->items[l->out->count++] = n;
    return true;
}

static int cmp_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum status prom_list_numbers(struct disk *disk, const char *path, struct sv prefix,
                              struct prom_numbers *out, struct err *err) {
    *out = (struct prom_numbers){0};
    struct listing l = {out, prefix};
    enum status got = disk_list(disk, path, on_name, &l, err);
    if (got == ERR_UNAVAILABLE) got = OK;
    if (got == OK && out->failed) got = err_set(err, ERR_NOMEM, 0, "%s: no memory", path);
    if (got != OK) {
        free(out->items);
        *out = (struct prom_numbers){0};
        return got;
    }
    if (out->count > 0) qsort(out->items, out->count, sizeof *out->items, cmp_number);
    return OK;
}

char *prom_path(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *path = NULL;
    int n = vasprintf(&path, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : path;
}
