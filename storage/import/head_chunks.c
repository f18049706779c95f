/* SPDX-License-Identifier: Apache-2.0 */
/* Files of head chunks (tsdb/docs/format/head_chunks.md), which are made longer than what is in
 * them:
 *   u32be 0x0130BC91 | u8 1 | 0 0 0
 *   { u64be series, u64be min_ms, u64be max_ms, u8 encoding, uvarint length, bytes, u32be crc }*
 * The checksum is of all before it; 0x80 in the encoding marks a chunk of out-of-order samples. */
#include <inttypes.h>
#include <stdlib.h>

#include "storage/import/internal.h"

enum {
    FILE_HEADER = 8,
    CHUNK_FIXED = 3 * 8 + 1, /* before the length */
    CHUNK_HEAD_MAX = CHUNK_FIXED + VARINT_BYTES_MAX,
    SCAN_AHEAD = 256 << 10,
    READ_AHEAD = 4 << 10,
};
static const uint32_t magic_head_chunks = 0x0130BC91;

struct chunk {
    uint64_t ref;
    int64_t min_ms, max_ms;
    uint8_t encoding;
    const uint8_t *bytes; /* borrowed from the file */
    size_t len, total;
    const char *why; /* why it cannot be read, or NULL */
    bool ends;       /* zeros: there is no more */
};

static enum status read_chunk(struct prom_file *f, uint64_t at, struct chunk *out,
                              struct err *err) {
    const uint8_t *p;
    *out = (struct chunk){0};
    size_t n = prom_file_left(f, at, CHUNK_HEAD_MAX);
    TRY(prom_file_read(f, at, n, &p, err));
    struct reader r = reader_init(p, n);
    out->ref = read_u64be(&r);
    out->min_ms = (int64_t)read_u64be(&r);
    out->max_ms = (int64_t)read_u64be(&r);
    if (out->ref == 0 && out->min_ms == 0 && out->max_ms == 0) {
        out->ends = true; /* also when fewer bytes are left than a header has */
        return OK;
    }
    out->encoding = read_u8(&r);
    uint64_t len = read_varint(&r);
    size_t head = (size_t)(r.cur - p);
    if (r.failed || len > f->size || f->size - at - head < len + 4) {
        out->why = "a head chunk is longer than the file";
        return OK;
    }
    out->len = (size_t)len;
    out->total = head + out->len + 4;
    TRY(prom_file_read(f, at, out->total, &p, err));
    out->bytes = p + head;
    if (prom_crc32c(0, p, head + out->len) != get_u32be(p + head + out->len))
        out->why = "a head chunk fails its checksum";
    return OK;
}

static enum status remember(struct prom_head *head, const struct chunk *c, uint64_t place) {
    head->chunk_last_place = place;
    bool late = (c->encoding & PROM_OUT_OF_ORDER) != 0;
    if (!late && c->max_ms < head->min_valid_ms) return OK; /* it is in a block */
    struct prom_head_ref *ref = prom_head_ref(head, c->ref);
    if (ref == NULL || head->chunks_count >= MAP_NONE) return ERR_NOMEM;
    void *chunks = head->chunks;
    TRY(prom_grow(&chunks, &head->chunks_cap, head->chunks_count, sizeof *head->chunks));
    head->chunks = chunks;
    uint32_t index = (uint32_t)head->chunks_count++;
    head->chunks[index] = (struct prom_head_chunk){c->ref, place, c->min_ms, c->max_ms, MAP_NONE};
    if (ref->chunks_last[late] == MAP_NONE)
        ref->chunks[late] = index;
    else
        head->chunks[ref->chunks_last[late]].next = index;
    ref->chunks_last[late] = index;
    return OK;
}

/* Whether a bad chunk can be what a crash left of the last one. */
static bool is_torn(struct prom_file *f, uint64_t at, const struct chunk *c) {
    return c->total == 0 || prom_file_is_zero(f, at + c->total);
}

static enum status scan_file(struct prom_head *head, struct prom_file *f, uint64_t number,
                             bool last, struct err *err) {
    const uint8_t *p;
    if (last && (f->size < FILE_HEADER || prom_file_is_zero(f, 0))) return OK; /* just begun */
    TRY(prom_file_read(f, 0, FILE_HEADER, &p, err));
    if (get_u32be(p) != magic_head_chunks)
        return prom_corrupt(f, 0, err, "not a file of head chunks");
    if (p[4] != 1) return prom_corrupt(f, 4, err, "head chunks of an unknown version");
    for (uint64_t at = FILE_HEADER; at < f->size;) {
        struct chunk c;
        TRY(read_chunk(f, at, &c, err));
        if (c.ends) {
            if (prom_file_is_zero(f, at)) return OK;
            return prom_corrupt(f, at, err, "bytes after the end of the head chunks");
        }
        if (c.why != NULL && last && is_torn(f, at, &c)) {
            head->counts->head_chunks_cut_bytes += f->size - at;
            return OK;
        }
        if (c.why != NULL) return prom_corrupt(f, at, err, c.why);
        if (remember(head, &c, number << 32 | at) != OK)
            return err_set(err, ERR_NOMEM, 0, "%s: no memory", f->file->path);
        at += c.total;
    }
    return OK;
}

static enum status open_files(struct prom_head *head, const char *dir,
                              const struct prom_numbers *numbers, struct err *err) {
    head->chunk_files = calloc(numbers->count + 1, sizeof *head->chunk_files);
    if (head->chunk_files == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", dir);
    head->chunk_files_first = numbers->count == 0 ? 0 : numbers->items[0];
    for (size_t i = 0; i < numbers->count; i++) {
        if (numbers->items[i] != numbers->items[0] + i || numbers->items[i] > UINT32_MAX)
            return err_set(err, ERR_CORRUPT, 0, "%s: at 0: file %06" PRIu64 " is missing", dir,
                           numbers->items[0] + i);
        char *path = prom_path("%s/%06" PRIu64, dir, numbers->items[i]);
        if (path == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", dir);
        struct prom_file *f = &head->chunk_files[i];
        enum status got = prom_file_open(head->options->disk, path, SCAN_AHEAD, f, err);
        free(path);
        if (got != OK) return got;
        head->chunk_files_count = i + 1;
        TRY(scan_file(head, f, numbers->items[i], i + 1 == numbers->count, err));
        f->ahead_bytes = READ_AHEAD;
    }
    return OK;
}

enum status prom_head_read_chunks(struct prom_head *head, struct err *err) {
    char *dir = prom_path("%s/chunks_head", head->options->path);
    if (dir == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", head->options->path);
    struct prom_numbers numbers = {0};
    enum status got = prom_list_numbers(head->options->disk, dir, SV(""), &numbers, err);
    if (got == OK) got = open_files(head, dir, &numbers, err);
    free(numbers.items);
    free(dir);
    return got;
}

static enum status collect_chunks(struct prom_head *head, uint32_t first, struct prom_collect *into,
                                  struct err *err) {
    for (uint32_t i = first; i != MAP_NONE; i = head->chunks[i].next) {
        const struct prom_head_chunk *place = &head->chunks[i];
        if (place->max_ms < into->from_ms || place->min_ms > into->to_ms) continue;
        struct prom_file *f = &head->chunk_files[(place->place >> 32) - head->chunk_files_first];
        uint64_t at = place->place & UINT32_MAX;
        struct chunk c;
        TRY(read_chunk(f, at, &c, err));
        if (c.why != NULL || c.ends)
            return prom_corrupt(f, at, err, "a head chunk is not what it was");
        enum status got = prom_chunk_collect(c.encoding & (uint8_t)~PROM_OUT_OF_ORDER, c.bytes,
                                             c.len, &head->decoded, into, head->counts);
        if (got == ERR_CORRUPT) return prom_corrupt(f, at, err, "a head chunk is malformed");
        if (got != OK) return err_set(err, got, 0, "%s: no memory", f->file->path);
    }
    return OK;
}

enum status prom_head_collect(struct prom_head *head, uint32_t series, struct prom_collect *into,
                              struct err *err) {
    struct prom_head_series *s = &head->series[series];
    into->deleted = s->deleted.items;
    into->deleted_count = s->deleted.count;
    TRY(collect_chunks(head, s->chunks[0], into, err));
    enum status got = prom_collect_add(into, &s->in_order);
    into->deleted = NULL; /* Prometheus deletes nothing that came late */
    into->deleted_count = 0;
    if (got == OK) TRY(collect_chunks(head, s->chunks[1], into, err));
    if (got == OK) got = prom_collect_add(into, &s->late);
    if (got != OK) return err_set(err, got, 0, "%s: no memory", head->options->path);
    return OK;
}
