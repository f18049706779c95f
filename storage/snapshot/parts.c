/* SPDX-License-Identifier: Apache-2.0 */
/* A core's file, little-endian:
 *   header, 24 bytes
 *     00-07 magic "CAIRNHSC"     08-09 format version (4)     10-11 oldest reader's version (4)
 *     12-15 number of the core   16-23 XXH3-64 of bytes 00-15
 *   part
 *     00-01 kind                 02-03 how it is stored: 0 as it is, 1 packed
 *     04-07 payload length
 *     08-15 XXH3-64 of the payload, seeded with XXH3-64 of bytes 00-07, seeded with the checksum
 *           before it: the header's, then of each part
 *     16-   payload. As it is: records of that kind, whole ones, none longer than 4 GiB.
 *           Packed: u32 length of the records, then one zstd frame of them
 * Kinds come in their order, as many parts of each as it takes; the last one is END.
 * Format 3: series are as series_save.c says. Format 2: besides, no part is packed. Format 1: nor
 * do shards say what has ended by resolution. */
#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "node/base/hash.h"
#include "storage/snapshot/internal.h"

enum {
    CORE_FORMAT = 4,
    CORE_FORMAT_PLAIN = 2,
    PART_PLAIN = 0,
    PART_PACKED = 1,
    PACKED_HEADER_BYTES = 4,
    PACKED_RECORDS_MIN = 1024, /* for fewer bytes it is not tried */
    ZSTD_LEVEL = 3,            /* a third less than as it is, where 1 takes a quarter off */
    ZSTD_RATIO_MAX = 1 << 15,  /* no block of zstd is shorter than 4 bytes, or for over 128 KiB */
};
static const char core_magic[8] = {'C', 'A', 'I', 'R', 'N', 'H', 'S', 'C'};

static uint64_t part_check(uint64_t before, const uint8_t *part, size_t len) {
    uint64_t seed = hash64(part, 8, before);
    return hash64(part + PART_HEADER_BYTES, len - PART_HEADER_BYTES, seed);
}

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
}

/* -- writing */

enum status part_writer_open(struct part_writer *w, struct disk *disk, const char *path,
                             uint32_t core, struct err *err) {
    uint8_t header[CORE_HEADER_BYTES];
    memcpy(header, core_magic, sizeof core_magic);
    put_u16le(header + 8, CORE_FORMAT);
    put_u16le(header + 10, CORE_FORMAT);
    put_u32le(header + 12, core);
    w->at = (struct snapshot_file){sizeof header, hash64(header, 16, 0)};
    put_u64le(header + 16, w->at.check);
    TRY(disk_open(disk, path, DISK_WRITE | DISK_CREATE, &w->file, err));
    TRY(file_truncate(w->file, 0, err));
    return file_pwrite(w->file, header, sizeof header, 0, err);
}

/* w->packed takes what is to be written in place of w->part; left empty where it is no shorter. */
static enum status part_pack(struct part_writer *w, struct err *err) {
    static const uint8_t header[PART_HEADER_BYTES];
    size_t records = w->part.len - PART_HEADER_BYTES, bound = ZSTD_compressBound(records);
    buf_clear(&w->packed);
    if (records < PACKED_RECORDS_MIN) return OK;
    if (w->zstd == NULL && (w->zstd = ZSTD_createCCtx()) == NULL) return nomem(err);
    buf_put(&w->packed, header, sizeof header);
    buf_put_u32(&w->packed, (uint32_t)records);
    char *to = buf_extend(&w->packed, bound);
    if (to == NULL) return nomem(err);
    size_t len =
        ZSTD_compressCCtx(w->zstd, to, bound, w->part.ptr + PART_HEADER_BYTES, records, ZSTD_LEVEL);
    if (ZSTD_isError(len) && ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation)
        return nomem(err);
    bool shorter = !ZSTD_isError(len) && len + PACKED_HEADER_BYTES < records;
    w->packed.len = shorter ? PART_HEADER_BYTES + PACKED_HEADER_BYTES + len : 0;
    return OK;
}

static void part_reset(struct part_writer *w) {
    static const uint8_t header[PART_HEADER_BYTES];
    buf_clear(&w->part);
    buf_put(&w->part, header, sizeof header);
}

enum status part_flush(struct part_writer *w, bool anyway, struct err *err) {
    if (w->part.failed || w->part.len > UINT32_MAX) return nomem(err);
    if (!anyway && w->part.len < PART_BYTES) return OK;
    if (w->part.len <= PART_HEADER_BYTES) return OK;
    if (w->goes_on != NULL && !w->goes_on(w->ctx))
        return err_set(err, ERR_CANCELED, 0, "snapshot: there was no time to write it");
    TRY(part_pack(w, err));
    bool packed = w->packed.len > 0;
    struct sv stored = buf_sv(packed ? &w->packed : &w->part);
    uint8_t *p = (uint8_t *)(packed ? w->packed.ptr : w->part.ptr);
    put_u16le(p, (uint16_t)w->kind);
    put_u16le(p + 2, packed ? PART_PACKED : PART_PLAIN);
    put_u32le(p + 4, (uint32_t)(stored.len - PART_HEADER_BYTES));
    w->at.check = part_check(w->at.check, p, stored.len);
    put_u64le(p + 8, w->at.check);
    TRY(file_pwrite(w->file, p, stored.len, w->at.bytes, err));
    w->at.bytes += stored.len;
    part_reset(w);
    return OK;
}

enum status part_begin(struct part_writer *w, enum part_kind kind, struct err *err) {
    TRY(part_flush(w, true, err));
    w->kind = kind;
    part_reset(w);
    return w->part.failed ? nomem(err) : OK;
}

enum status part_writer_finish(struct part_writer *w, struct err *err) {
    TRY(part_flush(w, true, err));
    return file_sync(w->file, err);
}

void part_writer_fini(struct part_writer *w) {
    file_close(w->file);
    buf_fini(&w->part);
    buf_fini(&w->packed);
    ZSTD_freeCCtx(w->zstd);
}

/* -- reading */

static enum status bytes_read(struct part_reader *r, uint8_t *to, size_t len, struct err *err) {
    size_t got;
    TRY(file_pread(r->file, to, len, r->at.bytes, &got, err));
    if (got == len) return OK;
    return err_set(err, ERR_CORRUPT, 0, "snapshot: %s ends at %" PRIu64, r->file->path,
                   r->at.bytes + got);
}

enum status part_reader_open(struct part_reader *r, struct disk *disk, const char *path,
                             uint32_t core, struct err *err) {
    uint8_t header[CORE_HEADER_BYTES];
    TRY(disk_open(disk, path, DISK_READ, &r->file, err));
    TRY(file_size(r->file, &r->file_bytes, err));
    TRY(bytes_read(r, header, sizeof header, err));
    uint64_t check = hash64(header, 16, 0);
    if (memcmp(header, core_magic, sizeof core_magic) != 0 || get_u64le(header + 16) != check)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: %s: bad file header", path);
    if (get_u16le(header + 10) > CORE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "snapshot: %s is of format %u, which asks for a reader of format %u; this "
                       "build has %u",
                       path, get_u16le(header + 8), get_u16le(header + 10), CORE_FORMAT);
    if (get_u32le(header + 12) != core)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: %s is of core %u", path,
                       get_u32le(header + 12));
    r->format = get_u16le(header + 8);
    r->at = (struct snapshot_file){sizeof header, check};
    return OK;
}

static enum status part_unpack(struct part_reader *r, struct sv *part, struct err *err) {
    if (part->len < PACKED_HEADER_BYTES) return ERR_CORRUPT;
    struct sv from = sv_skip(*part, PACKED_HEADER_BYTES);
    size_t len = get_u32le(part->ptr);
    if (len / ZSTD_RATIO_MAX > from.len) return ERR_CORRUPT;
    if (r->zstd == NULL && (r->zstd = ZSTD_createDCtx()) == NULL) return nomem(err);
    buf_clear(&r->records);
    if (!buf_reserve(&r->records, len + 1)) return nomem(err);
    size_t got = ZSTD_decompressDCtx(r->zstd, r->records.ptr, len, from.ptr, from.len);
    if (ZSTD_isError(got) || got != len) return ERR_CORRUPT;
    *part = sv_make(r->records.ptr, len);
    return OK;
}

enum status part_next(struct part_reader *r, struct sv *out, struct err *err) {
    uint8_t header[PART_HEADER_BYTES];
    TRY(bytes_read(r, header, sizeof header, err));
    uint64_t offset = r->at.bytes, len = (uint64_t)PART_HEADER_BYTES + get_u32le(header + 4);
    uint16_t kind = get_u16le(header), stored = get_u16le(header + 2);
    uint16_t stored_max = r->format > CORE_FORMAT_PLAIN ? PART_PACKED : PART_PLAIN;
    if (kind == 0 || kind >= PART_KINDS || kind < r->kind || stored > stored_max ||
        len > r->file_bytes - offset)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: %s: offset %" PRIu64 ": no part is there",
                       r->file->path, offset);
    if (len > r->cap) {
        uint8_t *p = realloc(r->ptr, (size_t)len);
        if (p == NULL) return nomem(err);
        r->ptr = p;
        r->cap = (size_t)len;
    }
    TRY(bytes_read(r, r->ptr, (size_t)len, err));
    uint64_t check = part_check(r->at.check, r->ptr, (size_t)len);
    if (memcmp(r->ptr, header, 8) != 0 || get_u64le(r->ptr + 8) != check)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: %s: offset %" PRIu64 ": bad checksum",
                       r->file->path, offset);
    r->kind = (enum part_kind)kind;
    r->at = (struct snapshot_file){offset + len, check};
    *out = sv_make(r->ptr + PART_HEADER_BYTES, (size_t)len - PART_HEADER_BYTES);
    if (stored == PART_PLAIN) return OK;
    enum status status = part_unpack(r, out, err);
    if (status != ERR_CORRUPT) return status;
    return err_set(err, ERR_CORRUPT, 0,
                   "snapshot: %s: offset %" PRIu64 ": what is packed makes no sense", r->file->path,
                   offset);
}

void part_reader_fini(struct part_reader *r) {
    file_close(r->file);
    free(r->ptr);
    buf_fini(&r->records);
    ZSTD_freeDCtx(r->zstd);
}
