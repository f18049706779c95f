/* SPDX-License-Identifier: Apache-2.0 */
/* The tombstones file of a block:
 *   u32be 0x0130BA30 | u8 1 | { uvarint ref, varint min_ms, varint max_ms }* | u32be crc
 * The checksum is of what stands between the version and it. */
#include <assert.h>
#include <stdlib.h>

#include "storage/import/internal.h"

enum { HEADER_BYTES = 5, CRC_BYTES = 4, MAGIC_TOMBSTONES = 0x0130BA30 };

enum status prom_intervals_add(struct prom_intervals *list, struct prom_interval item) {
    if (item.min_ms > item.max_ms) return OK; /* deletes nothing */
    void *items = list->items;
    TRY(prom_grow(&items, &list->cap, list->count, sizeof *list->items));
    list->items = items;
    list->items[list->count++] = item;
    list->sorted = false;
    return OK;
}

static int cmp_interval(const void *a, const void *b) {
    const struct prom_interval *x = a, *y = b;
    if (x->ref != y->ref) return x->ref < y->ref ? -1 : 1;
    return x->min_ms < y->min_ms ? -1 : x->min_ms > y->min_ms;
}

void prom_intervals_sort(struct prom_intervals *list) {
    list->sorted = true;
    if (list->count == 0) return;
    qsort(list->items, list->count, sizeof *list->items, cmp_interval);
    size_t n = 1;
    for (size_t i = 1; i < list->count; i++) {
        struct prom_interval *last = &list->items[n - 1], *item = &list->items[i];
        if (item->ref == last->ref && item->min_ms <= last->max_ms)
            last->max_ms = MAX(last->max_ms, item->max_ms);
        else
            list->items[n++] = *item;
    }
    list->count = n;
}

void prom_intervals_fini(struct prom_intervals *list) {
    free(list->items);
    *list = (struct prom_intervals){0};
}

const struct prom_interval *prom_intervals_of(const struct prom_intervals *list, uint64_t ref,
                                              size_t *out_count) {
    assert(list->sorted || list->count == 0);
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (list->items[mid].ref < ref)
            low = mid + 1;
        else
            high = mid;
    }
    size_t end = low;
    while (end < list->count && list->items[end].ref == ref)
        end++;
    *out_count = end - low;
    return end == low ? NULL : &list->items[low];
}

static enum status parse(struct prom_file *f, const uint8_t *p, size_t len,
                         struct prom_intervals *out, struct err *err) {
    if (get_u32be(p) != MAGIC_TOMBSTONES) return prom_corrupt(f, 0, err, "not a tombstones file");
    if (p[4] != 1) return prom_corrupt(f, 4, err, "a tombstones file of an unknown version");
    size_t body_len = len - HEADER_BYTES - CRC_BYTES;
    if (prom_crc32c(0, p + HEADER_BYTES, body_len) != get_u32be(p + len - CRC_BYTES))
        return prom_corrupt(f, len - CRC_BYTES, err, "the tombstones fail their checksum");
    struct reader r = reader_init(p + HEADER_BYTES, body_len);
    while (reader_left(&r) > 0) {
        uint64_t at = (uint64_t)(r.cur - p);
        struct prom_interval item = {.ref = read_varint(&r)};
        item.min_ms = read_zigzag(&r);
        item.max_ms = read_zigzag(&r);
        if (r.failed) return prom_corrupt(f, at, err, "a tombstone is malformed");
        if (prom_intervals_add(out, item) != OK)
            return err_set(err, ERR_NOMEM, 0, "%s: no memory", f->file->path);
    }
    return OK;
}

enum status prom_tombstones_read(struct disk *disk, const char *path, struct prom_intervals *out,
                                 struct err *err) {
    struct prom_file f;
    if (!disk_exists(disk, path)) {
        *out = (struct prom_intervals){.sorted = true};
        return OK;
    }
    TRY(prom_file_open(disk, path, 1, &f, err));
    struct prom_intervals list = {0};
    const uint8_t *p;
    enum status got = OK;
    if (f.size < HEADER_BYTES + CRC_BYTES)
        got = prom_corrupt(&f, 0, err, "shorter than a tombstones file can be");
    else
        got = prom_file_read(&f, 0, (size_t)f.size, &p, err);
    if (got == OK) got = parse(&f, p, (size_t)f.size, &list, err);
    prom_file_close(&f);
    if (got != OK) {
        prom_intervals_fini(&list);
        return got;
    }
    prom_intervals_sort(&list);
    *out = list;
    return OK;
}
