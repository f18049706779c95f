/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/write_frame.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "ingest/wire.h"
#include "ingest/write_frame_internal.h"
#include "node/base/bytes.h"
#include "node/base/utf8.h"

enum { WRITE_FRAME_VERSION = 1, REPLY_VERSION = 2, TENANT = 0 };
enum {
    FLAG_LABELS = 1,
    FLAG_EXEMPLARS = 2,
    FLAG_METADATA = 4,
    FLAG_STARTS = 8,
    FLAG_HISTOGRAMS = 16,
    FLAGS_KNOWN = 31
};
enum { LABELS_NONE = 0, LABELS_AS_BEFORE = 1 };
enum { ROW_BYTES_MIN = 16 + 1 + 8 };        /* id, time, value */
enum { ROW_BYTES = ROW_BYTES_MIN + 4 + 3 }; /* about: its shard and epoch, a longer time */
static_assert(sizeof(series_id) == 16 && offsetof(series_id, hi) == 0 &&
                  offsetof(series_id, lo) == 8,
              "ids are copied as columns");
static_assert(sizeof(double) == 8, "values are copied as columns");

/* -- request */

static size_t group_end(const uint32_t *shards, size_t first, size_t count) {
    size_t end = first + 1;
    while (end < count && shards[end] == shards[first])
        end++;
    return end;
}

static uint32_t epoch_of(const struct ring_map *map, const uint32_t *epochs, uint64_t shard) {
    return epochs != NULL ? epochs[shard] : map->shards[shard].epoch;
}

static void put_groups(const struct ring_map *map, const struct write_frame_rows *rows,
                       struct buf *out) {
    size_t groups = 0;
    for (size_t i = 0; i < rows->count; i = group_end(rows->shards, i, rows->count))
        groups++;
    buf_put_varint(out, groups);
    for (size_t i = 0, end; i < rows->count; i = end) {
        end = group_end(rows->shards, i, rows->count);
        assert(rows->shards[i] < map->settings.shards_count);
        buf_put_varint(out, rows->shards[i]);
        buf_put_varint(out, epoch_of(map, rows->epochs, rows->shards[i]));
        buf_put_varint(out, end - i);
    }
}

static void put_labels(const struct write_frame_rows *rows, struct buf *out) {
    for (size_t i = 0; i < rows->count; i++) {
        const struct sv l = rows->labels[i];
        if (l.ptr == NULL) {
            buf_put_varint(out, LABELS_NONE);
        } else if (i > 0 && rows->labels[i - 1].ptr != NULL &&
                   series_id_eq(rows->ids[i], rows->ids[i - 1])) {
            buf_put_varint(out, LABELS_AS_BEFORE);
        } else {
            assert(l.len > 0); /* a series has a name */
            buf_put_varint(out, (uint64_t)l.len + 1);
            buf_put_sv(out, l);
        }
    }
}

void write_frame_put(const struct ring_map *map, const struct write_frame_rows *rows,
                     struct buf *out) {
    bool starts = write_frame_has_starts(rows);
    size_t histograms = write_frame_histograms_count(rows);
    buf_reserve(out, rows->count * ROW_BYTES); /* else the puts grow it step by step */
    buf_put_u8(out, WRITE_FRAME_VERSION);
    buf_put_u8(out, (uint8_t)((rows->with_labels ? FLAG_LABELS : 0) |
                              (rows->exemplars_count > 0 ? FLAG_EXEMPLARS : 0) |
                              (rows->metadata_count > 0 ? FLAG_METADATA : 0) |
                              (starts ? FLAG_STARTS : 0) | (histograms > 0 ? FLAG_HISTOGRAMS : 0)));
    buf_put_varint(out, TENANT);
    put_groups(map, rows, out);
    buf_put(out, rows->ids, rows->count * sizeof *rows->ids);
    uint64_t before = 0; /* differences modulo 2^64: any two times have one */
    for (size_t i = 0; i < rows->count; i++) {
        buf_put_zigzag(out, (int64_t)((uint64_t)rows->times_ms[i] - before));
        before = (uint64_t)rows->times_ms[i];
    }
    buf_put(out, rows->values, rows->count * sizeof *rows->values);
    if (rows->with_labels) put_labels(rows, out);
    if (rows->exemplars_count > 0) write_frame_put_exemplars(map, rows, out);
    if (rows->metadata_count > 0) write_frame_put_metadata(map, rows, out);
    if (starts) write_frame_put_starts(rows, out);
    if (histograms > 0) write_frame_put_histograms(rows, out);
}

static enum status corrupt(struct err *err, const char *what) {
    return err_set(err, ERR_CORRUPT, 0, "write frame: %s", what);
}

static enum status get_head(struct reader *r, uint8_t *out_flags, struct err *err) {
    uint8_t version = read_u8(r);
    if (!r->failed && version != WRITE_FRAME_VERSION)
        return err_set(err, ERR_UNSUPPORTED, 0, "write frame: version %u, this program speaks %d",
                       version, WRITE_FRAME_VERSION);
    uint8_t flags = read_u8(r);
    if (!r->failed && (flags & ~FLAGS_KNOWN) != 0)
        return err_set(err, ERR_UNSUPPORTED, 0, "write frame: unknown flags 0x%02x", flags);
    uint64_t tenant = read_varint(r);
    if (r->failed) return corrupt(err, "cut off in its head");
    if (tenant != TENANT)
        return err_set(err, ERR_UNSUPPORTED, 0, "write frame: tenant %" PRIu64, tenant);
    *out_flags = flags;
    return OK;
}

/* Reads the group table into rows->shards. */
static enum status get_groups(const struct ring_map *map, const uint32_t *epochs, struct reader *r,
                              struct write_rows *rows, struct err *err) {
    uint64_t groups = read_varint(r);
    for (uint64_t g = 0; g < groups && !r->failed; g++) {
        uint64_t shard = read_varint(r), epoch = read_varint(r), count = read_varint(r);
        if (r->failed) break;
        if (shard >= map->settings.shards_count)
            return err_set(err, ERR_CONFLICT, 0,
                           "write frame: shard %" PRIu64 ", but there are %" PRIu32, shard,
                           map->settings.shards_count);
        if (epoch != epoch_of(map, epochs, shard))
            return err_set(err, ERR_CONFLICT, 0,
                           "write frame: shard %" PRIu64 " at epoch %" PRIu64
                           ", here it is at epoch %" PRIu32,
                           shard, epoch, map->shards[shard].epoch);
        /* bounds the table too: what is reserved is never more than the payload can fill */
        if (count == 0 || count > reader_left(r) / ROW_BYTES_MIN ||
            rows->count + count > reader_left(r) / ROW_BYTES_MIN)
            return corrupt(err, "more rows than bytes");
        if (write_rows_reserve(rows, rows->count + (size_t)count) != OK)
            return err_set(err, ERR_NOMEM, 0, "write frame: out of memory");
        for (uint64_t i = 0; i < count; i++)
            rows->shards[rows->count++] = (uint32_t)shard;
    }
    return r->failed ? corrupt(err, "cut off in its shards") : OK;
}

static enum status get_columns(const struct ring_map *map, struct reader *r,
                               struct write_rows *rows, struct err *err) {
    const uint8_t *ids = read_bytes(r, rows->count * sizeof *rows->ids);
    if (ids == NULL) return corrupt(err, "cut off in its ids");
    if (rows->count > 0) memcpy(rows->ids, ids, rows->count * sizeof *rows->ids);
    for (size_t i = 0; i < rows->count; i++)
        if (series_shard(rows->ids[i], map->settings.shards_count) != rows->shards[i])
            return err_set(err, ERR_CORRUPT, 0, "write frame: row %zu is not of shard %" PRIu32, i,
                           rows->shards[i]);
    uint64_t time_ms = 0;
    for (size_t i = 0; i < rows->count; i++) {
        time_ms += (uint64_t)read_zigzag(r);
        rows->times_ms[i] = (int64_t)time_ms;
    }
    const uint8_t *values = read_bytes(r, rows->count * sizeof *rows->values);
    if (values == NULL) return corrupt(err, "cut off in its times or values");
    if (rows->count > 0) memcpy(rows->values, values, rows->count * sizeof *rows->values);
    return OK;
}

/* One label of canonical bytes: minimal varints, name then value, none empty. */
static bool canonical_label(struct wire *w, struct sv *out_name) {
    struct wire label, name, value;
    if (w->end - w->cur < 2 || *w->cur++ != 0x0a || !wire_bytes_minimal(w, &label)) return false;
    if (label.cur == label.end || *label.cur++ != 0x0a || !wire_bytes_minimal(&label, &name))
        return false;
    if (label.cur == label.end || *label.cur++ != 0x12 || !wire_bytes_minimal(&label, &value))
        return false;
    if (label.cur != label.end || name.cur == name.end || value.cur == value.end) return false;
    *out_name = wire_sv(name);
    return utf8_valid(wire_sv(name)) && utf8_valid(wire_sv(value));
}

static bool canonical_series(struct sv labels) {
    struct wire w = {(const uint8_t *)labels.ptr, (const uint8_t *)labels.ptr + labels.len};
    struct sv name, before = {"", 0};
    bool has_metric_name = false;
    while (w.cur < w.end) {
        if (!canonical_label(&w, &name) || sv_cmp(before, name) >= 0) return false;
        has_metric_name |= sv_eq(name, SV("__name__"));
        before = name;
    }
    return has_metric_name;
}

static enum status get_labels(const struct ring_map *map, struct reader *r, struct write_rows *rows,
                              struct err *err) {
    for (size_t i = 0; i < rows->count; i++) {
        uint64_t code = read_varint(r);
        if (r->failed) break;
        if (code == LABELS_NONE) {
            rows->labels[i] = (struct sv){0};
        } else if (code == LABELS_AS_BEFORE) {
            if (i == 0 || rows->labels[i - 1].ptr == NULL ||
                !series_id_eq(rows->ids[i], rows->ids[i - 1]))
                return err_set(err, ERR_CORRUPT, 0,
                               "write frame: row %zu repeats labels that are not its own", i);
            rows->labels[i] = rows->labels[i - 1];
        } else {
            if (code - 1 > reader_left(r)) break;
            struct sv l = sv_make(read_bytes(r, (size_t)(code - 1)), (size_t)(code - 1));
            if (!series_id_eq(series_id_of(map->settings.secret, TENANT, l), rows->ids[i]))
                return err_set(err, ERR_CORRUPT, 0,
                               "write frame: labels of row %zu do not hash to its id", i);
            if (!canonical_series(l))
                return err_set(err, ERR_CORRUPT, 0,
                               "write frame: labels of row %zu are not canonical", i);
            rows->labels[i] = l;
        }
        if (i + 1 == rows->count) return OK;
    }
    return rows->count == 0 ? OK : corrupt(err, "cut off in its labels");
}

static enum status get_rest(const struct ring_map *map, uint8_t flags, struct reader *r,
                            struct write_rows *rows, struct err *err) {
    TRY(get_columns(map, r, rows, err));
    if (flags & FLAG_LABELS) {
        TRY(get_labels(map, r, rows, err));
    } else {
        for (size_t i = 0; i < rows->count; i++)
            rows->labels[i] = (struct sv){0};
    }
    if (flags & FLAG_EXEMPLARS) TRY(write_frame_get_exemplars(map, r, rows, err));
    if (flags & FLAG_METADATA) TRY(write_frame_get_metadata(map, r, rows, err));
    if (flags & FLAG_STARTS) TRY(write_frame_get_starts(r, rows, err));
    if (flags & FLAG_HISTOGRAMS) TRY(write_frame_get_histograms(r, rows, err));
    if (reader_left(r) > 0) return corrupt(err, "bytes behind its end");
    return OK;
}

enum status write_frame_get_by(const struct ring_map *map, const uint32_t *epochs,
                               struct sv payload, struct write_rows *rows, bool *out_with_labels,
                               struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    uint8_t flags = 0;
    write_rows_clear(rows);
    enum status st = get_head(&r, &flags, err);
    if (st == OK) st = get_groups(map, epochs, &r, rows, err);
    if (st == OK) st = get_rest(map, flags, &r, rows, err);
    if (st == OK)
        *out_with_labels = (flags & FLAG_LABELS) != 0;
    else
        write_rows_clear(rows);
    return st;
}

enum status write_frame_get(const struct ring_map *map, struct sv payload, struct write_rows *rows,
                            bool *out_with_labels, struct err *err) {
    return write_frame_get_by(map, NULL, payload, rows, out_with_labels, err);
}

/* -- reply */

void write_frame_reply_put(const struct write_frame_reply *reply, struct buf *out) {
    buf_put_u8(out, REPLY_VERSION);
    buf_put_u8(out, (uint8_t)reply->outcome);
    buf_put_varint(out, VERDICT_COUNT);
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        buf_put_varint(out, reply->counts[v]);
    buf_put_varint(out, reply->histograms_written);
    buf_put_varint(out, reply->exemplars_kept);
    buf_put_varint(
        out, reply->first_refused == WRITE_FRAME_NO_ROW ? 0 : (uint64_t)reply->first_refused + 1);
    buf_put_lenstr(out, sv_make(reply->text, strnlen(reply->text, sizeof reply->text - 1)));
    buf_put_varint(out, reply->plain_len);
    buf_put_varint(out, reply->failed_count);
    if (reply->failed_count > 0) {
        buf_put_u8(out, (uint8_t)reply->failed_status);
        buf_put_lenstr(out, sv_make(reply->failed_text,
                                    strnlen(reply->failed_text, sizeof reply->failed_text - 1)));
    }
    for (size_t i = 0; i < reply->failed_count; i++)
        buf_put_varint(out, reply->failed[i]);
    buf_put_varint(out, reply->unknown_count);
    buf_put(out, reply->unknown, reply->unknown_count * sizeof *reply->unknown);
}

static bool get_text(struct reader *r, char *out, size_t size) {
    struct sv text = read_lenstr(r);
    if (r->failed || text.len >= size || (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL))
        return false;
    if (text.len > 0) memcpy(out, text.ptr, text.len);
    return true;
}

static enum status get_reply_head(struct reader *r, struct write_frame_reply *out,
                                  struct err *err) {
    uint8_t version = read_u8(r);
    if (!r->failed && version != REPLY_VERSION)
        return err_set(err, ERR_UNSUPPORTED, 0, "write reply: version %u, this program speaks %d",
                       version, REPLY_VERSION);
    uint8_t outcome = read_u8(r);
    uint64_t verdicts = read_varint(r);
    if (r->failed || outcome > WRITE_UNAVAILABLE || verdicts != VERDICT_COUNT)
        return err_set(err, ERR_CORRUPT, 0, "write reply: malformed outcome");
    out->outcome = (enum write_outcome)outcome;
    uint64_t large = 0;
    for (unsigned v = 0; v < VERDICT_COUNT; v++) {
        uint64_t count = read_varint(r);
        large |= count >> 32;
        out->counts[v] = (uint32_t)count;
    }
    uint64_t histograms = read_varint(r), exemplars = read_varint(r);
    large |= histograms >> 32 | exemplars >> 32;
    out->histograms_written = (uint32_t)histograms;
    out->exemplars_kept = (uint32_t)exemplars;
    uint64_t first = read_varint(r);
    out->first_refused = first == 0 ? WRITE_FRAME_NO_ROW : (uint32_t)(first - 1);
    if (r->failed || large != 0 || first > UINT32_MAX)
        return err_set(err, ERR_CORRUPT, 0, "write reply: malformed counts");
    bool text = get_text(r, out->text, sizeof out->text);
    uint64_t plain_len = read_varint(r);
    if (!text || r->failed || plain_len > strlen(out->text))
        return err_set(err, ERR_CORRUPT, 0, "write reply: malformed text");
    out->plain_len = (uint32_t)plain_len;
    return OK;
}

static enum status get_failed(struct reader *r, struct write_frame_reply *out, struct err *err) {
    uint64_t count = read_varint(r);
    if (!r->failed && count == 0) return OK;
    uint8_t status = read_u8(r);
    bool text = get_text(r, out->failed_text, sizeof out->failed_text);
    if (r->failed || !text || status == OK || status >= STATUS_COUNT || count > reader_left(r))
        return err_set(err, ERR_CORRUPT, 0, "write reply: malformed list of failed shards");
    out->failed = malloc((size_t)count * sizeof *out->failed);
    if (out->failed == NULL) return err_set(err, ERR_NOMEM, 0, "write reply: out of memory");
    uint64_t large = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t shard = read_varint(r);
        large |= shard >> 32;
        out->failed[i] = (uint32_t)shard;
    }
    out->failed_count = (size_t)count;
    out->failed_status = (enum status)status;
    if (!r->failed && large == 0) return OK;
    return err_set(err, ERR_CORRUPT, 0, "write reply: malformed list of failed shards");
}

static enum status get_unknown(struct reader *r, struct write_frame_reply *out, struct err *err) {
    uint64_t unknown = read_varint(r);
    if (r->failed || unknown > reader_left(r) || unknown * sizeof(uint32_t) != reader_left(r))
        return err_set(err, ERR_CORRUPT, 0, "write reply: malformed list of unknown rows");
    if (unknown == 0) return OK;
    out->unknown = malloc((size_t)unknown * sizeof *out->unknown);
    if (out->unknown == NULL) return err_set(err, ERR_NOMEM, 0, "write reply: out of memory");
    out->unknown_count = (size_t)unknown;
    memcpy(out->unknown, r->cur, out->unknown_count * sizeof *out->unknown);
    return OK;
}

enum status write_frame_reply_get(struct sv payload, struct write_frame_reply *out,
                                  struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    struct write_frame_reply reply = {0};
    enum status st = get_reply_head(&r, &reply, err);
    if (st == OK) st = get_failed(&r, &reply, err);
    if (st == OK) st = get_unknown(&r, &reply, err);
    if (st == OK)
        *out = reply;
    else
        free(reply.failed);
    return st;
}
