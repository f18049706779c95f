/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a log (tsdb/docs/format/wal.md): pages of 32 KiB, each filled with fragments
 *   u8 flags | u16be length | u32be crc of the bytes | bytes
 *   flags: 3 bits kind (0: the rest of the page is zeros; 1 full, 2 first, 3 middle, 4 last),
 *          then a bit for snappy and one for zstd, which hold for the record as a whole
 * No record reaches into another segment; a segment may end within a page. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <snappy-c.h>
#include <zstd.h>

#include "storage/import/internal.h"

enum {
    PAGE_BYTES = 32 << 10,
    FRAGMENT_HEADER = 7,
    SECTOR_BYTES = 512,
    KIND_MASK = 7,
    FLAG_SNAPPY = 8,
    FLAG_ZSTD = 16,
    AHEAD_BYTES = 256 << 10,
    ZSTD_STEP_BYTES = 64 << 10,
};
static const size_t record_bytes_max = 256UL << 20;

enum kind { KIND_REST, KIND_FULL, KIND_FIRST, KIND_MIDDLE, KIND_LAST };

static enum status unpack_snappy(struct sv in, struct buf *out) {
    size_t len;
    /* no form of it gets smaller than 1/32: a length from a bad byte takes no memory */
    if (snappy_uncompressed_length(in.ptr, in.len, &len) != SNAPPY_OK || len > record_bytes_max ||
        len / 32 > in.len)
        return ERR_CORRUPT;
    buf_clear(out);
    if (len == 0) return OK;
    char *to = buf_extend(out, len);
    if (to == NULL) return ERR_NOMEM;
    if (snappy_uncompress(in.ptr, in.len, to, &len) != SNAPPY_OK) return ERR_CORRUPT;
    return OK;
}

static enum status unpack_zstd(struct sv in, struct buf *out) {
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (d == NULL) return ERR_NOMEM;
    buf_clear(out);
    ZSTD_inBuffer from = {in.ptr, in.len, 0};
    size_t left = 1;
    bool full = true; /* the output was: more may be waiting */
    enum status got = OK;
    while (got == OK && (from.pos < from.size || (full && left > 0))) {
        if (out->len > record_bytes_max)
            got = ERR_CORRUPT;
        else if (!buf_reserve(out, ZSTD_STEP_BYTES))
            got = ERR_NOMEM;
        if (got != OK) break;
        ZSTD_outBuffer to = {out->ptr + out->len, out->cap - out->len, 0};
        left = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(left)) got = ERR_CORRUPT;
        out->len += to.pos;
        full = to.pos == to.size;
    }
    ZSTD_freeDCtx(d);
    return got == OK && left != 0 ? ERR_CORRUPT : got;
}

struct segment {
    struct prom_file *f;
    struct buf record, unpacked, padded;
    uint64_t at, record_at;
    unsigned fragments; /* of the record that began */
    /* why it ends here, in a torn way or not */
    const char *why;
    bool torn;
};

/* The page's rest; false: it has bytes that are not 0. */
static enum status skip_page(struct segment *s, struct err *err) {
    size_t n = prom_file_left(s->f, s->at, PAGE_BYTES - s->at % PAGE_BYTES);
    const uint8_t *p;
    TRY(prom_file_read(s->f, s->at, n, &p, err));
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0) return prom_corrupt(s->f, s->at + i, err, "a page has bytes after its end");
    s->at += n;
    return OK;
}

/* A crash may leave the end of a file short, or as zeros from a sector's begin on. */
static bool is_torn(struct segment *s, size_t len) {
    uint64_t end = s->at + FRAGMENT_HEADER + len;
    if (end > s->f->size) return true;
    uint64_t sector = (end - 1) / SECTOR_BYTES * SECTOR_BYTES;
    return sector > s->at && prom_file_is_zero(s->f, sector);
}

/* A fragment whose end is not in the file. Prometheus reads zeros there up to the page's end, and
 * so takes one that lost nothing else. */
static enum status take_padded(struct segment *s, size_t len, uint32_t crc, const uint8_t **out,
                               struct err *err) {
    const uint8_t *p;
    size_t left = prom_file_left(s->f, s->at + FRAGMENT_HEADER, len);
    TRY(prom_file_read(s->f, s->at + FRAGMENT_HEADER, left, &p, err));
    buf_clear(&s->padded);
    char *to = buf_extend(&s->padded, len);
    if (to == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", s->f->file->path);
    memcpy(to, p, left);
    memset(to + left, 0, len - left);
    *out = prom_crc32c(0, to, len) == crc ? (const uint8_t *)to : NULL;
    return OK;
}

/* One fragment with a header that is there; s->why is set when it cannot be taken. */
static enum status take_fragment(struct segment *s, uint8_t *out_flags, struct err *err) {
    const uint8_t *p;
    size_t room = PAGE_BYTES - s->at % PAGE_BYTES;
    if (prom_file_left(s->f, s->at, FRAGMENT_HEADER) < FRAGMENT_HEADER || room < FRAGMENT_HEADER) {
        s->why = "a fragment's header is cut";
        s->torn = room >= FRAGMENT_HEADER;
        return OK;
    }
    TRY(prom_file_read(s->f, s->at, FRAGMENT_HEADER, &p, err));
    uint8_t flags = p[0];
    size_t len = get_u16be(p + 1);
    uint32_t crc = get_u32be(p + 3);
    unsigned kind = flags & KIND_MASK;
    if (len > room - FRAGMENT_HEADER) {
        s->why = "a fragment is longer than its page";
        return OK;
    }
    if (prom_file_left(s->f, s->at, FRAGMENT_HEADER + len) < FRAGMENT_HEADER + len) {
        TRY(take_padded(s, len, crc, &p, err));
        if (p == NULL) {
            s->why = "a fragment is cut";
            s->torn = true;
            return OK;
        }
    } else {
        TRY(prom_file_read(s->f, s->at + FRAGMENT_HEADER, len, &p, err));
    }
    if (prom_crc32c(0, p, len) != crc) {
        s->why = "a fragment fails its checksum";
        s->torn = is_torn(s, len);
        return OK;
    }
    bool begins = kind == KIND_FULL || kind == KIND_FIRST;
    if (kind > KIND_LAST || begins != (s->fragments == 0) ||
        (flags & ~(KIND_MASK | FLAG_SNAPPY | FLAG_ZSTD)) != 0) {
        s->why = "a fragment of another kind than can follow";
        return OK;
    }
    if (s->fragments == 0) s->record_at = s->at;
    buf_put(&s->record, p, len);
    if (s->record.failed) return err_set(err, ERR_NOMEM, 0, "%s: no memory", s->f->file->path);
    s->fragments++;
    s->at += FRAGMENT_HEADER + len;
    *out_flags = flags;
    return OK;
}

static enum status take_record(struct segment *s, uint8_t flags,
                               const struct prom_record_sink *sink, struct err *err) {
    struct sv bytes = buf_sv(&s->record);
    enum status got = OK;
    if (bytes.len > 0 && (flags & (FLAG_SNAPPY | FLAG_ZSTD)) != 0) {
        got = (flags & FLAG_SNAPPY) != 0 ? unpack_snappy(bytes, &s->unpacked)
                                         : unpack_zstd(bytes, &s->unpacked);
        bytes = buf_sv(&s->unpacked);
        if (got == ERR_CORRUPT)
            return prom_corrupt(s->f, s->record_at, err, "a record cannot be decompressed");
    }
    if (got == OK) got = sink->record(sink->ctx, bytes);
    if (got == ERR_CORRUPT) return prom_corrupt(s->f, s->record_at, err, "a record is malformed");
    if (got != OK) return err_set(err, got, 0, "%s: no memory", s->f->file->path);
    buf_clear(&s->record);
    s->fragments = 0;
    return OK;
}

static enum status read_all(struct segment *s, const struct prom_record_sink *sink,
                            struct err *err) {
    while (s->at < s->f->size) {
        const uint8_t *p;
        TRY(prom_file_read(s->f, s->at, 1, &p, err));
        if ((*p & KIND_MASK) == KIND_REST) {
            TRY(skip_page(s, err));
            continue;
        }
        uint8_t flags = 0;
        TRY(take_fragment(s, &flags, err));
        if (s->why != NULL) return OK;
        unsigned kind = flags & KIND_MASK;
        if (kind == KIND_FULL || kind == KIND_LAST) TRY(take_record(s, flags, sink, err));
    }
    if (s->fragments > 0) {
        s->why = "the last record is cut";
        s->torn = true;
    }
    return OK;
}

enum status prom_segment_read(struct prom_file *f, bool may_be_torn,
                              const struct prom_record_sink *sink, uint64_t *out_cut_bytes,
                              struct err *err) {
    struct segment s = {.f = f};
    enum status got = read_all(&s, sink, err);
    if (got == OK && s.why != NULL) {
        if (s.torn && may_be_torn)
            *out_cut_bytes += f->size - (s.fragments > 0 ? s.record_at : s.at);
        else
            got = prom_corrupt(f, s.at, err, s.why);
    }
    buf_fini(&s.record);
    buf_fini(&s.unpacked);
    buf_fini(&s.padded);
    return got;
}

static enum status read_segment(struct disk *disk, const char *path, uint64_t number,
                                bool may_be_torn, const struct prom_record_sink *sink,
                                uint64_t *out_cut_bytes, struct err *err) {
    char *name = prom_path("%s/%08" PRIu64, path, number);
    if (name == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", path);
    struct prom_file f;
    enum status got = prom_file_open(disk, name, AHEAD_BYTES, &f, err);
    free(name);
    if (got != OK) return got;
    got = prom_segment_read(&f, may_be_torn, sink, out_cut_bytes, err);
    prom_file_close(&f);
    return got;
}

static enum status segment_is_empty(struct disk *disk, const char *path, uint64_t number, bool *out,
                                    struct err *err) {
    char *name = prom_path("%s/%08" PRIu64, path, number);
    if (name == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", path);
    struct prom_file f;
    enum status got = prom_file_open(disk, name, 1, &f, err);
    free(name);
    if (got != OK) return got;
    *out = f.size == 0;
    prom_file_close(&f);
    return OK;
}

enum status prom_log_read(struct disk *disk, const char *path, uint64_t from, bool may_be_torn,
                          const struct prom_record_sink *sink, uint64_t *out_segments,
                          uint64_t *out_cut_bytes, struct err *err) {
    struct prom_numbers n;
    TRY(prom_list_numbers(disk, path, SV(""), &n, err));
    enum status got = OK;
    size_t last = n.count; /* one behind the last that has bytes: a start makes an empty one */
    for (bool empty = true; got == OK && last > 0; last--) {
        got = segment_is_empty(disk, path, n.items[last - 1], &empty, err);
        if (!empty) break;
    }
    for (size_t i = 0; got == OK && i < n.count; i++) {
        if (n.items[i] < from) continue;
        if (i > 0 && n.items[i - 1] >= from && n.items[i] != n.items[i - 1] + 1) {
            got = err_set(err, ERR_CORRUPT, 0, "%s: at 0: segment %08" PRIu64 " is missing", path,
                          n.items[i - 1] + 1);
            break;
        }
        got = read_segment(disk, path, n.items[i], may_be_torn && i + 1 == last, sink,
                           out_cut_bytes, err);
        (*out_segments)++;
    }
    free(n.items);
    return got;
}
