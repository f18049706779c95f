/* SPDX-License-Identifier: Apache-2.0 */
/* storage/entry.h: an entry of a shard's log: its place (shard, replica incarnation, epoch, seq), its type and its body.
 * The same bytes go to the node's log, to followers (replication) and into recovery. Bodies say what changes:
 *
 *   entry   := u8 type, varint shard, varint incarnation, varint epoch, varint seq, varint body_len, body
 *   WRITE   := varint sections (bit set), then the sections in bit order:
 *     bit 0 series     varint count { varint len, canonical label bytes }   numbered on from the shard's next number
 *     bit 1 floats     varint count, zigzag first time, { varint series number }, { zigzag time - previous time },
 *                      { u64le value bits }
 *     bit 2 starts     one zigzag (sample time - start time) per float
 *     bit 3 exemplars, bit 4 metadata, bit 5 histograms: see entry.c
 *   CUT     := zigzag range start, zigzag range end      DELETE := matchers, ranges      FLOOR := zigzag time
 *   EPOCH   := varint previous epoch, varint its last seq   (opens an epoch: seq starts at 1 after it)
 * Series are numbered within an epoch, from one CUT to the next. An unknown type or section is ERR_UNSUPPORTED: never
 * guessed. Versioned by the log file's header and the frame protocol's. */
#pragma once

#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum entry_type { ENTRY_WRITE = 1, ENTRY_CUT = 2, ENTRY_DELETE = 3, ENTRY_FLOOR = 4, ENTRY_EPOCH = 5 };
enum entry_section { SECTION_SERIES = 1, SECTION_FLOATS = 2, SECTION_STARTS = 4, SECTION_EXEMPLARS = 8,
                     SECTION_METADATA = 16, SECTION_HISTOGRAMS = 32 };

struct entry {
    enum entry_type type;
    uint32_t shard;
    uint32_t incarnation; /* of the replica that wrote it to its own log */
    uint32_t epoch;
    uint64_t seq; /* 1.. within the epoch, no gaps */
    struct sv body;
};

void entry_put(const struct entry *e, struct buf *out);
/* Reads one entry from the front of *rest. ERR_CORRUPT names the offset; ERR_UNSUPPORTED an unknown type. */
enum status entry_next(struct sv *rest, struct entry *out, struct err *err) MUST_USE;

/* A WRITE body in the making, reused; sections are written when entry_write_finish runs. */
struct entry_write {
    struct buf series;
    uint32_t series_count;
    uint32_t *numbers;
    int64_t *times_ms;
    double *values;
    int64_t *starts_ms; /* NULL: none has one */
    size_t floats_count, floats_cap;
    struct buf exemplars, metadata; /* encoded items */
    uint32_t exemplars_count, metadata_count;
};
void entry_write_clear(struct entry_write *w);
void entry_write_fini(struct entry_write *w);
void entry_write_series(struct entry_write *w, struct sv canonical);
enum status entry_write_float(struct entry_write *w, uint32_t number, int64_t time_ms, double value) MUST_USE;
bool entry_write_is_empty(const struct entry_write *w);
void entry_write_finish(struct entry_write *w, struct buf *out_body);

/* Decoding: columns point into scratch, which the caller reuses. Counts are checked against the bytes there are. */
struct entry_write_view {
    struct sv *series;
    size_t series_count;
    uint32_t *numbers;
    int64_t *times_ms;
    double *values;
    int64_t *starts_ms; /* NULL when the section is absent */
    size_t floats_count;
    struct sv exemplars, metadata; /* encoded sections, empty when absent */
};
struct arena;
enum status entry_write_decode(struct sv body, struct arena *scratch, struct entry_write_view *out, struct err *err) MUST_USE;
