/* SPDX-License-Identifier: Apache-2.0 */
/* A core's file, little-endian:
 *   header, 24 bytes
 *     00-07 magic "CAIRNHSC"     08-09 format version (2)     10-11 oldest reader's version (2)
 *     12-15 number of the core   16-23 XXH3-64 of bytes 00-15
 *   part
 *     00-03 kind                 04-07 payload length
 *     08-15 XXH3-64 of the payload, seeded with XXH3-64 of bytes 00-07, seeded with the checksum
 *           before it: the header's, then of each part
 *     16-   payload: records of that kind, whole ones, none longer than 4 GiB
 * Kinds come in their order, as many parts of each as it takes; the last one is END. */
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/snapshot/internal.h"

enum { CORE_FORMAT = 2 }; /* 1: shards without what has ended by resolution */
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
    uint8_t *p = (uint8_t *)w->part.ptr;
    put_u32le(p, w->kind);
    put_u32le(p + 4, (uint32_t)(w->part.len - PART_HEADER_BYTES));
    w->at.check = part_check(w->at.check, p, w->part.len);
    put_u64le(p + 8, w->at.check);
    TRY(file_pwrite(w->file, p, w->part.len, w->at.bytes, err));
    w->at.bytes += w->part.len;
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
    r->at = (struct snapshot_file){sizeof header, check};
    return OK;
}

enum status part_next(struct part_reader *r, struct sv *out, struct err *err) {
    uint8_t header[PART_HEADER_BYTES];
    TRY(bytes_read(r, header, sizeof header, err));
    uint64_t offset = r->at.bytes, len = (uint64_t)PART_HEADER_BYTES + get_u32le(header + 4);
    uint32_t kind = get_u32le(header);
    if (kind == 0 || kind >= PART_KINDS || kind < r->kind || len > r->file_bytes - offset)
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
    return OK;
}

void part_reader_fini(struct part_reader *r) {
    file_close(r->file);
    free(r->ptr);
}
