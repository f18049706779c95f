/* SPDX-License-Identifier: Apache-2.0 */
/* storage/entry.h: an entry of a shard's log: its place (shard, replica incarnation, epoch, seq),
 * its type and its body. The same bytes go to the node's log, to followers (replication) and into
 * recovery. Bodies say what changes:
 *
 *   entry := u8 type, varint shard, varint incarnation, varint epoch, varint seq,
 *            varint body_len, body
 *   WRITE := varint sections (bit set), then the sections in bit order:
 *     bit 0 series     varint count { varint len, canonical label bytes }
 *                      numbered on from the shard's next number
 *     bit 1 floats     varint count, zigzag first time, { varint series number },
 *                      { zigzag time - previous time } from the second float on,
 *                      { u64le value bits }
 *     bit 2 starts     { zigzag sample time - start time }, one per float; start 0: none known
 *     bit 3 exemplars  varint count, varint len, { varint series number, zigzag time,
 *                      u64le value bits, varint len, label bytes }
 *                      label bytes are canonical (storage/labels.h) and may be empty; names and
 *                      values together have at most 128 characters
 *     bit 4 metadata   varint count, varint len, { varint len, metric family name, u8 type,
 *                      varint len, help, varint len, unit }; the entry's shard is the name's
 *                      (storage/metadata.h)
 *     bit 5 histograms varint count, varint len, { varint series number, zigzag time, varint len,
 *                      histogram bytes (storage/histogram.h) }; each keeps all rules of one
 *     A section that is there is not empty. Differences of times are modulo 2^64.
 *   CUT    := zigzag range start, zigzag range end
 *   DELETE := zigzag first time, zigzag last time (both inclusive), matchers
 *     matchers := varint count { u8 kind (enum match_kind), varint len, name, varint len, value }
 *   FLOOR  := zigzag time
 *   EPOCH  := varint previous epoch, varint its last seq
 *             (opens an epoch: its own seq is 0, the next entry's is 1; every epoch begins with
 * one, that of a shard without a log names 0/0. Who held more than the end it names keeps that: it
 * was never acknowledged) OFFER  := as WRITE, by a primary without a head: not judged. Who applies
 * it judges each float, then each histogram, against the shard's state before the entry, and passes
 * over what is not accepted.
 *
 * Series are numbered from 0 within an epoch, from one CUT to the next. An unknown type or section
 * is ERR_UNSUPPORTED: never guessed. Versioned by the log file's header and the frame protocol. */
#pragma once

#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "storage/ended.h"
#include "storage/matcher.h"

enum entry_type {
    ENTRY_WRITE = 1,
    ENTRY_CUT = 2,
    ENTRY_DELETE = 3,
    ENTRY_FLOOR = 4,
    ENTRY_EPOCH = 5,
    ENTRY_OFFER = 6
};
enum entry_section {
    SECTION_SERIES = 1,
    SECTION_FLOATS = 2,
    SECTION_STARTS = 4,
    SECTION_EXEMPLARS = 8,
    SECTION_METADATA = 16,
    SECTION_HISTOGRAMS = 32
};

struct entry {
    enum entry_type type;
    uint32_t shard;
    uint32_t incarnation; /* copy number of the replica in whose node's log it is (ring/map.h) */
    uint32_t epoch;
    uint64_t seq; /* 1.. within the epoch, no gaps; 0 for EPOCH */
    struct sv body;
};

void entry_put(const struct entry *e, struct buf *out);
/* Reads one entry from the front of *rest, which moves behind it; the body is borrowed from there.
 * ERR_CORRUPT names the offset from the front of *rest; ERR_UNSUPPORTED an unknown type. */
enum status entry_next(struct sv *rest, struct entry *out, struct err *err) MUST_USE;

/* Bodies of EPOCH and CUT. Reading asks for exactly these bytes: ERR_CORRUPT. */
void entry_epoch_put(uint32_t previous_epoch, uint64_t last_seq, struct buf *out_body);
enum status entry_epoch_get(struct sv body, uint32_t *out_previous_epoch, uint64_t *out_last_seq,
                            struct err *err) MUST_USE;
void entry_cut_put(int64_t from_ms, int64_t to_ms, struct buf *out_body);
enum status entry_cut_get(struct sv body, int64_t *out_from_ms, int64_t *out_to_ms,
                          struct err *err) MUST_USE;

/* What is older than time_ms is gone; what has ended by resolution, where anything has. */
void entry_floor_put(int64_t time_ms, const struct ended *ended, struct buf *out_body);
enum status entry_floor_get(struct sv body, int64_t *out_time_ms, struct ended *out_ended,
                            struct err *err) MUST_USE;
/* As formats have it: varint hours, varint hours. */
void ended_put(const struct ended *e, struct buf *out);
struct reader;
void ended_read(struct reader *r, struct ended *out); /* fails the reader */

enum { ENTRY_DELETE_MATCHERS_MAX = 64 };
struct entry_delete {
    int64_t min_ms, max_ms;
    struct sv matchers_bytes; /* as above */
    struct matcher *matchers; /* compiled; borrowing the bytes; by entry_delete_get */
    size_t matchers_count;
};
/* The matchers' bytes: what put takes and get gives. At least one, at most
 * ENTRY_DELETE_MATCHERS_MAX. */
void entry_matchers_put(const struct matcher *matchers, size_t count, struct buf *out);
/* Compiled, from the arena and borrowing the bytes; matcher_fini each. ERR_CORRUPT, ERR_NOMEM. */
enum status entry_matchers_get(struct sv bytes, struct arena *arena, struct matcher **out,
                               size_t *out_count, struct err *err) MUST_USE;
void entry_delete_put(const struct entry_delete *d, struct buf *out_body);
enum status entry_delete_get(struct sv body, struct arena *arena, struct entry_delete *out,
                             struct err *err) MUST_USE;
void entry_delete_fini(struct entry_delete *d);

enum {
    ENTRY_EXEMPLAR_RUNES_MAX = 128,         /* as in OpenMetrics */
    ENTRY_EXEMPLAR_LABELS_BYTES_MAX = 1024, /* more than that many characters can take */
    ENTRY_METADATA_BYTES_MAX = 64 << 10,    /* name, help and unit */
    ENTRY_METADATA_TYPES = 8                /* of prometheus.MetricMetadata, 0: unknown */
};
struct entry_exemplar {
    uint32_t number; /* of the series */
    int64_t time_ms;
    double value;
    struct sv labels;
};
struct entry_metadata {
    struct sv name; /* not empty */
    uint8_t type;
    struct sv help, unit;
};
struct entry_histogram {
    uint32_t number; /* of the series */
    int64_t time_ms;
    struct sv bytes; /* storage/histogram.h */
};
/* Whether an entry may carry it: the bounds above, UTF-8, labels canonical. */
bool entry_exemplar_labels_valid(struct sv labels);
bool entry_metadata_valid(const struct entry_metadata *m);

/* A WRITE body in the making, reused; sections are written when entry_write_finish runs. Budget: 10
 * ns a float. */
struct entry_write {
    struct buf series;
    uint32_t series_count;
    uint32_t *numbers;
    int64_t *times_ms;
    double *values;
    int64_t *starts_ms; /* one per float where has_starts; 0: none known */
    bool has_starts;
    size_t floats_count, floats_cap;
    struct buf exemplars, metadata, histograms; /* encoded items */
    uint32_t exemplars_count, metadata_count, histograms_count;
};
void entry_write_clear(struct entry_write *w); /* keeps the memory */
void entry_write_fini(struct entry_write *w);
/* Room for that many more floats, so that adding them cannot fail. */
enum status entry_write_reserve(struct entry_write *w, size_t floats_count) MUST_USE;
void entry_write_series(struct entry_write *w, struct sv canonical); /* not empty */
enum status entry_write_float(struct entry_write *w, uint32_t number, int64_t time_ms,
                              double value) MUST_USE;
/* The start timestamp of the float added last. */
enum status entry_write_start(struct entry_write *w, int64_t start_ms) MUST_USE;
/* Valid ones only. */
void entry_write_exemplar(struct entry_write *w, const struct entry_exemplar *e);
void entry_write_metadata(struct entry_write *w, const struct entry_metadata *m);
void entry_write_histogram(struct entry_write *w, const struct entry_histogram *h);
/* No less than one takes in its section. */
size_t entry_exemplar_bound(const struct entry_exemplar *e);
size_t entry_metadata_bound(const struct entry_metadata *m);
size_t entry_histogram_bound(const struct entry_histogram *h);
bool entry_write_is_empty(const struct entry_write *w);
/* Appends the body. A buffer of w that ran out of memory makes out_body failed. */
void entry_write_finish(const struct entry_write *w, struct buf *out_body);
/* No less than what finish will append, with as many more floats and a series of that many bytes.
 */
size_t entry_write_bound(const struct entry_write *w, size_t floats_more, size_t series_len);
enum { ENTRY_HEADER_BYTES_MAX = 1 + 3 * 5 + 10 + 10 };

/* Decoding: columns point into scratch, which the caller reuses. Counts are checked against the
 * bytes there are, exemplars and metadata for being valid. */
struct entry_write_view {
    struct sv *series;
    size_t series_count;
    uint32_t *numbers;
    int64_t *times_ms;
    double *values;
    int64_t *starts_ms; /* NULL when the section is absent */
    size_t floats_count;
    struct sv exemplars, metadata, histograms; /* encoded items, empty when absent */
    uint32_t exemplars_count, metadata_count, histograms_count;
};
struct arena;
enum status entry_write_decode(struct sv body, struct arena *scratch, struct entry_write_view *out,
                               struct err *err) MUST_USE;
/* How many series a WRITE or OFFER body numbers, without reading the rest. */
enum status entry_write_series_count(struct sv body, uint32_t *out, struct err *err) MUST_USE;
/* The first numbers of its floats, at most max, unchecked; 0: it brings series, has no floats, or
 * cannot be read. */
size_t entry_write_peek_numbers(struct sv body, uint32_t *out, size_t max);
/* Reads the next of a decoded view's items, which cannot fail; false at the end. */
bool entry_exemplar_next(struct sv *rest, struct entry_exemplar *out);
bool entry_metadata_next(struct sv *rest, struct entry_metadata *out);
bool entry_histogram_next(struct sv *rest, struct entry_histogram *out);
/* The same for items from anywhere: how many valid ones there are, or ERR_CORRUPT. */
enum status entry_exemplars_check(struct sv items, uint64_t *out_count, struct err *err) MUST_USE;
enum status entry_metadata_check(struct sv items, uint64_t *out_count, struct err *err) MUST_USE;
enum status entry_histograms_check(struct sv items, struct arena *scratch, uint64_t *out_count,
                                   struct err *err) MUST_USE;
