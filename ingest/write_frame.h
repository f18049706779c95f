/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/write_frame.h: payload of FRAME_WRITE (samples for shards of the receiver) and of its
 * reply. Little-endian.
 *
 *   request  u8 version (1), u8 flags (1: labels, 2: exemplars, 4: metadata, 8: starts,
 *            16: histograms follow),
 *            varint tenant (0)
 *            varint groups, per group: varint shard, varint epoch, varint rows (>= 1)
 *            ids, 16 bytes each (hi, lo)
 *            times: zigzag varint differences, the first from 0
 *            values: u64 of the bits
 *            with labels, per row: varint 0: not given; 1: those of the row before;
 *                                  else length + 1, then canonical bytes
 *            with exemplars: varint count (>= 1), per exemplar: varint epoch of its shard,
 *                                  id (hi, lo), zigzag time, u64 of the value's bits,
 *                                  varint length, canonical labels
 *            with metadata: varint count (>= 1), per item: varint epoch of its shard, u8 type,
 *                                  name, help and unit, each with its length as varint
 *            with starts, per row: zigzag time - start, modulo 2^64; start 0: none is known
 *            with histograms: varint count (>= 1), per histogram, whose value above is nothing:
 *                                  varint rows between it and the one before, varint length, bytes
 *                                  (storage/histogram.h)
 *   reply    u8 version (2), u8 outcome, varint verdicts, per verdict: varint count
 *            varint histograms written, varint exemplars kept
 *            varint first refused row + 1 (0: none), varint length, text, varint length of the text
 *            without its series
 *            varint failed shards (at most those of the map), when any: u8 status, varint length,
 *            text, per shard: varint
 *            varint unknown rows, per row: u32
 *
 * A group is a run of rows of one shard; a shard may have several. A flag, tenant or version that
 * is not known is refused by name. What a peer sends is checked as far as it can be: an id belongs
 * to its group's shard, label bytes are canonical and hash to their id, so a peer cannot plant
 * labels under another series' id. The shard of an exemplar or of metadata follows from its id or
 * name.
 * Budget: 25 to 35 bytes a sample without labels; a receiver copies 32 bytes and reads a varint. */
#pragma once

#include "ingest/distributor.h"

struct write_frame_rows {
    size_t count;
    const series_id *ids;
    const uint32_t *shards; /* grouped: rows of a shard stand together */
    const int64_t *times_ms;
    const double *values;
    const struct sv
        *labels; /* canonical; ptr NULL: not given. Read only with_labels, else may be NULL */
    bool with_labels;
    const int64_t *starts_ms;    /* NULL: none */
    const struct sv *histograms; /* as struct write_columns has them */
    const struct write_exemplar *exemplars;
    const struct write_metadata *metadata;
    size_t exemplars_count, metadata_count;
};
/* Appends to out; running out of memory sets out->failed. Epochs are the map's. */
void write_frame_put(const struct ring_map *map, const struct write_frame_rows *rows,
                     struct buf *out);
/* Replaces the content of rows; labels point into payload (ptr NULL: not given).
 * ERR_CORRUPT: malformed; ERR_UNSUPPORTED: another version; ERR_CONFLICT: another epoch than the
 * map's, or a shard that it does not have; ERR_NOMEM. After an error rows is empty. */
MUST_USE enum status write_frame_get(const struct ring_map *map, struct sv payload,
                                     struct write_rows *rows, bool *out_with_labels,
                                     struct err *err);

enum { WRITE_FRAME_NO_ROW = UINT32_MAX };
struct write_frame_reply {
    enum write_outcome outcome;
    uint32_t counts[VERDICT_COUNT];
    uint32_t histograms_written, exemplars_kept;
    uint32_t first_refused; /* row of the request, or WRITE_FRAME_NO_ROW */
    char text[480];
    uint32_t plain_len; /* of the text, without the series that it names at the end */
    uint32_t *unknown;  /* rows of the request whose labels are needed; then nothing was done. From
                           get: heap, the caller's */
    size_t unknown_count;
    /* shards of which nothing was acknowledged: they want to be sent again, elsewhere or later. The
     * rest of the reply is about the others. From get: heap, the caller's */
    uint32_t *failed;
    size_t failed_count;
    enum status failed_status; /* not OK when there are any */
    char failed_text[240];
};
void write_frame_reply_put(const struct write_frame_reply *reply, struct buf *out);
/* Row numbers are the sender's word: the caller checks them against what it asked. */
MUST_USE enum status write_frame_reply_get(struct sv payload, struct write_frame_reply *out,
                                           struct err *err);
