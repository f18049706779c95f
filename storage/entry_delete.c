/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of DELETE and FLOOR. */
#include <assert.h>

#include "node/base/bytes.h"
#include "storage/entry.h"

/* FLOOR := zigzag time, and where something has ended by resolution: u8 form (1), ended
 * ended := varint hours since the epoch up to which samples have, varint those of rows of 5 m */
enum { FLOOR_ENDED = 1 };

void ended_put(const struct ended *e, struct buf *out) {
    assert(ended_is_valid(e));
    buf_put_varint(out, (uint64_t)(e->raw_ms / ENDED_HOUR_MS));
    buf_put_varint(out, (uint64_t)(e->fine_ms / ENDED_HOUR_MS));
}

void ended_read(struct reader *r, struct ended *out) {
    uint64_t raw = read_varint(r), fine = read_varint(r);
    *out = (struct ended){0};
    if (fine > raw || raw > INT64_MAX / ENDED_HOUR_MS) r->failed = true;
    if (!r->failed)
        *out = (struct ended){(int64_t)raw * ENDED_HOUR_MS, (int64_t)fine * ENDED_HOUR_MS};
}

void entry_floor_put(int64_t time_ms, const struct ended *ended, struct buf *out_body) {
    buf_put_zigzag(out_body, time_ms);
    if (!ended_any(ended)) return;
    buf_put_u8(out_body, FLOOR_ENDED);
    ended_put(ended, out_body);
}

enum status entry_floor_get(struct sv body, int64_t *out_time_ms, struct ended *out_ended,
                            struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    *out_time_ms = read_zigzag(&r);
    *out_ended = (struct ended){0};
    if (!r.failed && reader_left(&r) > 0) {
        if (read_u8(&r) != FLOOR_ENDED) r.failed = true;
        ended_read(&r, out_ended);
    }
    if (!r.failed && reader_left(&r) == 0) return OK;
    return err_set(err, ERR_CORRUPT, 0, "entry: malformed FLOOR body of %zu bytes", body.len);
}

void entry_matchers_put(const struct matcher *matchers, size_t count, struct buf *out) {
    buf_put_varint(out, count);
    for (size_t i = 0; i < count; i++) {
        buf_put_u8(out, (uint8_t)matchers[i].kind);
        buf_put_lenstr(out, matchers[i].name);
        buf_put_lenstr(out, matchers[i].value);
    }
}

static enum status matcher_get(struct reader *r, struct arena *arena, struct matcher *out,
                               struct err *err) {
    uint8_t kind = read_u8(r);
    *out = (struct matcher){.kind = (enum match_kind)kind, .name = read_lenstr(r)};
    out->value = read_lenstr(r);
    if (r->failed || kind > MATCH_NRE || out->name.len == 0)
        return err_set(err, ERR_CORRUPT, 0, "entry: malformed matchers");
    enum status status = matcher_compile(out, arena, err);
    return status == ERR_PARSE
               ? err_set(err, ERR_CORRUPT, 0, "entry: a matcher that cannot be read")
               : status;
}

enum status entry_matchers_get(struct sv bytes, struct arena *arena, struct matcher **out,
                               size_t *out_count, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint64_t count = read_varint(&r);
    *out_count = 0;
    if (r.failed || count == 0 || count > ENTRY_DELETE_MATCHERS_MAX)
        return err_set(err, ERR_CORRUPT, 0, "entry: malformed matchers");
    *out = arena_alloc(arena, (size_t)count * sizeof **out);
    if (*out == NULL) return err_set(err, ERR_NOMEM, 0, "entry: not enough memory");
    enum status status = OK;
    while (*out_count < count && status == OK) {
        status = matcher_get(&r, arena, &(*out)[*out_count], err);
        if (status == OK) (*out_count)++;
    }
    if (status == OK && reader_left(&r) != 0)
        status = err_set(err, ERR_CORRUPT, 0, "entry: malformed matchers");
    for (size_t i = 0; i < *out_count && status != OK; i++)
        matcher_fini(&(*out)[i]);
    return status;
}

void entry_delete_put(const struct entry_delete *d, struct buf *out_body) {
    buf_put_zigzag(out_body, d->min_ms);
    buf_put_zigzag(out_body, d->max_ms);
    buf_put_sv(out_body, d->matchers_bytes);
}

enum status entry_delete_get(struct sv body, struct arena *arena, struct entry_delete *out,
                             struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    *out = (struct entry_delete){.min_ms = read_zigzag(&r)};
    out->max_ms = read_zigzag(&r);
    if (r.failed || out->min_ms > out->max_ms)
        return err_set(err, ERR_CORRUPT, 0, "entry: malformed DELETE body of %zu bytes", body.len);
    out->matchers_bytes = sv_make(r.cur, reader_left(&r));
    return entry_matchers_get(out->matchers_bytes, arena, &out->matchers, &out->matchers_count,
                              err);
}

void entry_delete_fini(struct entry_delete *d) {
    for (size_t i = 0; i < d->matchers_count; i++)
        matcher_fini(&d->matchers[i]);
    d->matchers_count = 0;
}
