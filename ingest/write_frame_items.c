/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "ingest/write_frame_internal.h"
#include "storage/histogram.h"

enum { TENANT = 0 };
enum {
    EXEMPLAR_BYTES_MIN = 1 + 16 + 1 + 8 + 1, /* epoch, id, time, value, labels */
    METADATA_BYTES_MIN = 1 + 1 + 2 + 1 + 1   /* epoch, type, name, help, unit */
};

void write_frame_put_exemplars(const struct ring_map *map, const struct write_frame_rows *rows,
                               struct buf *out) {
    buf_put_varint(out, rows->exemplars_count);
    for (size_t i = 0; i < rows->exemplars_count; i++) {
        const struct write_exemplar *e = &rows->exemplars[i];
        buf_put_varint(out, map->shards[e->shard].epoch);
        buf_put_u64(out, e->id.hi);
        buf_put_u64(out, e->id.lo);
        buf_put_zigzag(out, e->time_ms);
        buf_put_f64(out, e->value);
        buf_put_lenstr(out, e->labels);
    }
}

void write_frame_put_metadata(const struct ring_map *map, const struct write_frame_rows *rows,
                              struct buf *out) {
    buf_put_varint(out, rows->metadata_count);
    for (size_t i = 0; i < rows->metadata_count; i++) {
        const struct write_metadata *m = &rows->metadata[i];
        buf_put_varint(out, map->shards[m->shard].epoch);
        buf_put_u8(out, m->item.type);
        buf_put_lenstr(out, m->item.name);
        buf_put_lenstr(out, m->item.help);
        buf_put_lenstr(out, m->item.unit);
    }
}

static enum status get_count(struct reader *r, const char *what, size_t item_bytes_min,
                             uint64_t *out, struct err *err) {
    uint64_t count = read_varint(r);
    if (r->failed || count == 0 || count > reader_left(r) / item_bytes_min)
        return err_set(err, ERR_CORRUPT, 0, "write frame: malformed count of %s", what);
    *out = count;
    return OK;
}

static enum status check_epoch(const struct ring_map *map, uint32_t shard, uint64_t epoch,
                               struct err *err) {
    if (epoch == map->shards[shard].epoch) return OK;
    return err_set(err, ERR_CONFLICT, 0,
                   "write frame: shard %" PRIu32 " at epoch %" PRIu64
                   ", here it is at epoch %" PRIu32,
                   shard, epoch, map->shards[shard].epoch);
}

static enum status items_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "write frame: out of memory");
}

enum status write_frame_get_exemplars(const struct ring_map *map, struct reader *r,
                                      struct write_rows *rows, struct err *err) {
    uint64_t count = 0;
    TRY(get_count(r, "exemplars", EXEMPLAR_BYTES_MIN, &count, err));
    for (uint64_t i = 0; i < count; i++) {
        struct write_exemplar e = {0};
        uint64_t epoch = read_varint(r);
        e.id.hi = read_u64(r);
        e.id.lo = read_u64(r);
        e.time_ms = read_zigzag(r);
        e.value = read_f64(r);
        e.labels = read_lenstr(r);
        if (r->failed || !entry_exemplar_labels_valid(e.labels))
            return err_set(err, ERR_CORRUPT, 0, "write frame: malformed exemplar %" PRIu64, i);
        e.shard = series_shard(e.id, map->settings.shards_count);
        TRY(check_epoch(map, e.shard, epoch, err));
        if (write_rows_add_exemplar(rows, &e) != OK) return items_nomem(err);
    }
    return OK;
}

enum status write_frame_get_metadata(const struct ring_map *map, struct reader *r,
                                     struct write_rows *rows, struct err *err) {
    const struct ring_settings *set = &map->settings;
    uint64_t count = 0;
    TRY(get_count(r, "metadata", METADATA_BYTES_MIN, &count, err));
    for (uint64_t i = 0; i < count; i++) {
        struct write_metadata m = {0};
        uint64_t epoch = read_varint(r);
        m.item.type = read_u8(r);
        m.item.name = read_lenstr(r);
        m.item.help = read_lenstr(r);
        m.item.unit = read_lenstr(r);
        if (r->failed || !entry_metadata_valid(&m.item))
            return err_set(err, ERR_CORRUPT, 0, "write frame: malformed metadata %" PRIu64, i);
        if (metadata_shard(set->secret, TENANT, set->shards_count, m.item.name, &m.shard) != OK)
            return items_nomem(err);
        TRY(check_epoch(map, m.shard, epoch, err));
        if (write_rows_add_metadata(rows, &m) != OK) return items_nomem(err);
    }
    return OK;
}

/* -- what few rows have */

static uint64_t time_diff(int64_t a, int64_t b) {
    return (uint64_t)a - (uint64_t)b;
}

bool write_frame_has_starts(const struct write_frame_rows *rows) {
    for (size_t i = 0; rows->starts_ms != NULL && i < rows->count; i++)
        if (rows->starts_ms[i] != 0) return true;
    return false;
}

void write_frame_put_starts(const struct write_frame_rows *rows, struct buf *out) {
    for (size_t i = 0; i < rows->count; i++)
        buf_put_zigzag(out, (int64_t)time_diff(rows->times_ms[i], rows->starts_ms[i]));
}

enum status write_frame_get_starts(struct reader *r, struct write_rows *rows, struct err *err) {
    if (write_rows_want_starts(rows) != OK) return items_nomem(err);
    for (size_t i = 0; i < rows->count; i++)
        rows->starts_ms[i] = (int64_t)time_diff(rows->times_ms[i], read_zigzag(r));
    if (!r->failed) return OK;
    return err_set(err, ERR_CORRUPT, 0, "write frame: cut off in its start times");
}

size_t write_frame_histograms_count(const struct write_frame_rows *rows) {
    size_t count = 0;
    for (size_t i = 0; rows->histograms != NULL && i < rows->count; i++)
        count += rows->histograms[i].ptr != NULL;
    return count;
}

void write_frame_put_histograms(const struct write_frame_rows *rows, struct buf *out) {
    size_t next = 0;
    buf_put_varint(out, write_frame_histograms_count(rows));
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->histograms[i].ptr == NULL) continue;
        buf_put_varint(out, i - next);
        buf_put_lenstr(out, rows->histograms[i]);
        next = i + 1;
    }
}

static enum status get_histogram(struct reader *r, struct write_rows *rows, size_t *next,
                                 struct arena *scratch, struct err *err) {
    uint64_t skip = read_varint(r);
    struct sv bytes = read_lenstr(r);
    struct err why = {.msg = "no such row"};
    if (r->failed || *next >= rows->count || skip >= rows->count - *next)
        return err_set(err, ERR_CORRUPT, 0, "write frame: malformed histogram: %s", why.msg);
    size_t row = *next + (size_t)skip;
    arena_reset(scratch);
    enum status status = histogram_check(bytes, scratch, &why);
    if (status != OK)
        return err_set(err, status, 0, "write frame: histogram of row %zu: %s", row, why.msg);
    rows->histograms[row] = bytes;
    *next = row + 1;
    return OK;
}

enum status write_frame_get_histograms(struct reader *r, struct write_rows *rows, struct err *err) {
    enum { HISTOGRAM_ITEM_BYTES_MIN = 2 + 12 };
    uint64_t count = 0;
    size_t next = 0;
    TRY(get_count(r, "histograms", HISTOGRAM_ITEM_BYTES_MIN, &count, err));
    if (write_rows_want_histograms(rows) != OK) return items_nomem(err);
    struct arena scratch;
    arena_init(&scratch, 0);
    enum status status = OK;
    for (uint64_t i = 0; i < count && status == OK; i++)
        status = get_histogram(r, rows, &next, &scratch, err);
    arena_fini(&scratch);
    return status;
}
