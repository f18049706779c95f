/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/block/io.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

static enum status io_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "block: out of memory");
}

void block_io_init(struct block_io *io, const struct block *b) {
    *io = (struct block_io){.block = b, .in = {.file = b->file, .path = b->path}};
}

void block_io_trim(struct block_io *io) {
    for (int part = 0; part < PART_COUNT; part++) {
        struct io_slots *slots = &io->parts[part];
        for (int i = 0; i < IO_SLOTS; i++)
            buf_fini(&slots->at[i].raw);
        buf_fini(&slots->joined);
        *slots = (struct io_slots){0};
    }
    for (int i = 0; i < IO_COLUMNS; i++) {
        free(io->columns_ints[i]);
        io->columns_ints[i] = NULL;
        io->columns[i] = (struct io_column){0};
    }
    buf_fini(&io->in.packed);
}

void block_io_fini(struct block_io *io) {
    block_io_trim(io);
    frames_in_fini(&io->in);
    free(io->scratch);
}

size_t block_io_memory_bytes(const struct block_io *io) {
    size_t bytes = io->in.packed.cap;
    for (int part = 0; part < PART_COUNT; part++) {
        bytes += io->parts[part].joined.cap;
        for (int i = 0; i < IO_SLOTS; i++)
            bytes += io->parts[part].at[i].raw.cap;
    }
    for (int i = 0; i < IO_COLUMNS; i++)
        if (io->columns_ints[i] != NULL)
            bytes += (PAGE_SAMPLES_MAX + PAGE_PAD) * sizeof *io->columns_ints[i];
    return bytes + (io->scratch == NULL ? 0 : sizeof *io->scratch);
}

enum status io_corrupt(const struct block_io *io, enum block_part part, uint64_t at,
                       struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "block %s: bad %s at %" PRIu64, io->block->path,
                   block_part_names[part], at);
}

enum status io_frame(struct block_io *io, enum block_part part, uint64_t ref, struct sv *out,
                     struct err *err) {
    struct io_slots *slots = &io->parts[part];
    for (int i = 0; i < IO_SLOTS; i++) {
        if (slots->at[i].ref != ref) continue;
        *out = buf_sv(&slots->at[i].raw);
        return OK;
    }
    unsigned slot = slots->next++ % IO_SLOTS;
    slots->at[slot].ref = 0;
    TRY(frames_get(&io->in, ref, &slots->at[slot].raw, err));
    slots->at[slot].ref = ref;
    *out = buf_sv(&slots->at[slot].raw);
    return OK;
}

/* The rest of the stream's frame from pos on. */
static enum status io_rest(struct block_io *io, enum block_part part, uint64_t pos, struct sv *out,
                           struct err *err) {
    const struct part *p = &io->block->parts[part];
    if (pos >= p->raw_bytes) return io_corrupt(io, part, pos, err);
    uint64_t frame = pos / STREAM_FRAME_BYTES, start = frame * STREAM_FRAME_BYTES;
    TRY(io_frame(io, part, p->frames[frame], out, err));
    if (out->len != MIN(p->raw_bytes - start, STREAM_FRAME_BYTES))
        return io_corrupt(io, part, pos, err);
    *out = sv_skip(*out, pos - start);
    return OK;
}

enum status io_bytes(struct block_io *io, enum block_part part, uint64_t pos, size_t len,
                     struct sv *out, struct err *err) {
    const struct part *p = &io->block->parts[part];
    if (pos > p->raw_bytes || len > p->raw_bytes - pos) return io_corrupt(io, part, pos, err);
    if (len == 0) {
        *out = (struct sv){0};
        return OK;
    }
    TRY(io_rest(io, part, pos, out, err));
    if (out->len >= len) {
        *out = sv_take(*out, len);
        return OK;
    }
    struct buf *joined = &io->parts[part].joined;
    buf_clear(joined);
    buf_put_sv(joined, *out);
    while (joined->len < len) {
        TRY(io_rest(io, part, pos + joined->len, out, err));
        buf_put_sv(joined, sv_take(*out, len - joined->len));
        if (joined->failed) return io_nomem(err);
    }
    *out = buf_sv(joined);
    return OK;
}

enum status io_u64(struct block_io *io, enum block_part part, uint64_t index, uint64_t *out,
                   struct err *err) {
    struct sv bytes;
    TRY(io_bytes(io, part, index * sizeof *out, sizeof *out, &bytes, err));
    *out = get_u64le(bytes.ptr);
    return OK;
}

struct stream stream_at(struct block_io *io, enum block_part part, uint64_t pos, struct err *err) {
    return (struct stream){.io = io, .part = part, .pos = pos, .err = err};
}

uint64_t stream_pos(const struct stream *s) {
    return s->pos - (uint64_t)(s->end - s->cur);
}

/* At least one byte more. */
static bool stream_fill(struct stream *s) {
    struct sv rest;
    if (s->cur < s->end) return true;
    if (s->status == OK) s->status = io_rest(s->io, s->part, s->pos, &rest, s->err);
    if (s->status != OK) return false;
    s->cur = (const uint8_t *)rest.ptr;
    s->end = s->cur + rest.len;
    s->pos += rest.len;
    return true;
}

uint64_t stream_slow_varint(struct stream *s) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (!stream_fill(s)) return 0;
        uint8_t byte = *s->cur++;
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    s->status = io_corrupt(s->io, s->part, stream_pos(s), s->err);
    s->cur = s->end;
    return 0;
}

void stream_copy(struct stream *s, size_t len, struct buf *out) {
    while (len > 0 && stream_fill(s)) {
        size_t n = MIN(len, (size_t)(s->end - s->cur));
        buf_put(out, s->cur, n);
        s->cur += n;
        len -= n;
    }
    if (out->failed && s->status == OK) s->status = io_nomem(s->err);
}

enum status io_column_entry(struct block_io *io, uint64_t id, struct column_entry *out,
                            struct err *err) {
    struct sv bytes;
    if (id >= io->block->totals.columns_count) return io_corrupt(io, PART_COLUMNS_AT, id, err);
    TRY(io_bytes(io, PART_COLUMNS_AT, id * COLUMN_ENTRY_BYTES, COLUMN_ENTRY_BYTES, &bytes, err));
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    *out = (struct column_entry){.pos = get_u64le(p),
                                 .bytes = get_u32le(p + 8),
                                 .rows = get_u32le(p + 12),
                                 .first = (int64_t)get_u64le(p + 16),
                                 .last = (int64_t)get_u64le(p + 24)};
    bool good = out->rows >= 1 && out->rows <= PAGE_SAMPLES_MAX && out->bytes <= COLUMN_BYTES_MAX;
    return good ? OK : io_corrupt(io, PART_COLUMNS_AT, id, err);
}

enum status io_scratch(struct block_io *io, struct err *err) {
    if (io->scratch != NULL) return OK;
    io->scratch = malloc(sizeof *io->scratch);
    if (io->scratch == NULL) return io_nomem(err);
    page_scratch_init(io->scratch);
    return OK;
}

/* NULL: it would have to be read. */
static const struct io_column *column_known(const struct block_io *io, uint64_t id) {
    for (int i = 0; i < IO_COLUMNS; i++)
        if (io->columns[i].id == id && io->columns[i].rows != 0) return &io->columns[i];
    return NULL;
}

enum status io_column_ends(struct block_io *io, uint64_t id, int64_t out[2], struct err *err) {
    const struct io_column *known = column_known(io, id);
    struct column_entry entry = {0};
    if (known == NULL) TRY(io_column_entry(io, id, &entry, err));
    out[0] = known == NULL ? entry.first : known->first;
    out[1] = known == NULL ? entry.last : known->last;
    return OK;
}

enum status io_column(struct block_io *io, uint64_t id, const struct io_column **out,
                      struct err *err) {
    *out = column_known(io, id);
    if (*out != NULL) {
        io->columns_last = (unsigned)(*out - io->columns);
        return OK;
    }
    struct column_entry entry;
    struct sv bytes;
    TRY(io_scratch(io, err));
    TRY(io_column_entry(io, id, &entry, err));
    TRY(io_bytes(io, PART_COLUMNS, entry.pos, entry.bytes, &bytes, err));
    unsigned slot = io->columns_next++ % IO_COLUMNS;
    if (slot == io->columns_last) slot = io->columns_next++ % IO_COLUMNS; /* still looked at */
    io->columns[slot].rows = 0;
    if (io->columns_ints[slot] == NULL)
        io->columns_ints[slot] = malloc((PAGE_SAMPLES_MAX + PAGE_PAD) * sizeof(int64_t));
    int64_t *ints = io->columns_ints[slot];
    if (ints == NULL) return io_nomem(err);
    struct page page = {(const uint8_t *)bytes.ptr, bytes.len, entry.rows};
    if (column_decode(io->scratch, &page, ints) != OK || ints[0] != entry.first ||
        ints[entry.rows - 1] != entry.last)
        return io_corrupt(io, PART_COLUMNS, entry.pos, err);
    io->columns[slot] = (struct io_column){id, entry.rows, entry.first, entry.last, ints};
    io->columns_last = slot;
    *out = &io->columns[slot];
    return OK;
}

bool group_get(struct page_scratch *s, struct sv raw, size_t count, enum block_side side,
               int64_t *out) {
    struct reader r = reader_init(raw.ptr, raw.len);
    struct sv metric = read_lenstr(&r);
    if (r.failed) return false;
    struct page page = {(const uint8_t *)metric.ptr, metric.len, count};
    if (side == SIDE_TARGET) page = (struct page){r.cur, reader_left(&r), count};
    return column_decode(s, &page, out) == OK;
}
