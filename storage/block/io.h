/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/io.h: one reader's view of a block: the frames it looked at last, unpacked. What is
 * given out of a part is valid until the next call for the same part. */
#pragma once

#include "storage/block/internal.h"
#include "storage/page/page.h"

enum { IO_SLOTS = 4, IO_COLUMNS = 16 };

struct io_slots {
    struct {
        uint64_t ref; /* 0: none */
        struct buf raw;
    } at[IO_SLOTS];
    unsigned next;
    struct buf joined; /* bytes that stand across two frames */
};

struct io_column { /* times of a page, or other integers */
    uint64_t id, rows;
    int64_t first, last;
    const int64_t *ints;
};

struct block_io {
    const struct block *block;
    struct frames_in in;
    struct io_slots parts[PART_COUNT];
    struct page_scratch *scratch;
    struct io_column columns[IO_COLUMNS];
    int64_t *columns_ints[IO_COLUMNS];
    unsigned columns_next, columns_last;
};
void block_io_init(struct block_io *io, const struct block *b);
void block_io_fini(struct block_io *io);
/* Gives back frames and columns; what is needed again is read again. */
void block_io_trim(struct block_io *io);
size_t block_io_memory_bytes(const struct block_io *io);

enum status io_frame(struct block_io *io, enum block_part part, uint64_t ref, struct sv *out,
                     struct err *err) MUST_USE;
enum status io_corrupt(const struct block_io *io, enum block_part part, uint64_t at,
                       struct err *err);
/* len bytes of a stream. */
enum status io_bytes(struct block_io *io, enum block_part part, uint64_t pos, size_t len,
                     struct sv *out, struct err *err) MUST_USE;
enum status io_u64(struct block_io *io, enum block_part part, uint64_t index, uint64_t *out,
                   struct err *err) MUST_USE;

/* Reads on from a position of a stream. An error sticks: status, and zeros are read. */
struct stream {
    struct block_io *io;
    enum block_part part;
    uint64_t pos; /* of end */
    const uint8_t *cur, *end;
    enum status status;
    struct err *err;
};
struct stream stream_at(struct block_io *io, enum block_part part, uint64_t pos, struct err *err);
uint64_t stream_slow_varint(struct stream *s);
static inline uint64_t stream_varint(struct stream *s) {
    if (s->cur < s->end && *s->cur < 0x80) return *s->cur++;
    return stream_slow_varint(s);
}
/* Appended to out. */
void stream_copy(struct stream *s, size_t len, struct buf *out);
uint64_t stream_pos(const struct stream *s);

/* What the catalogue says of a column, and its integers. */
struct column_entry {
    uint64_t pos;
    uint32_t bytes, rows;
    int64_t first, last;
};
enum status io_column_entry(struct block_io *io, uint64_t id, struct column_entry *out,
                            struct err *err) MUST_USE;
/* Its first and last integer. */
enum status io_column_ends(struct block_io *io, uint64_t id, int64_t out[2],
                           struct err *err) MUST_USE;
/* Valid until another two were asked for: the times and the start times of a page. */
enum status io_column(struct block_io *io, uint64_t id, const struct io_column **out,
                      struct err *err) MUST_USE;
enum status io_scratch(struct block_io *io, struct err *err) MUST_USE;
/* Sets of one side of the series of a frame of PART_LABELS; out has room for GROUP_SERIES +
 * PAGE_PAD. False: malformed. */
bool group_get(struct page_scratch *s, struct sv raw, size_t count, enum block_side side,
               int64_t *out);
