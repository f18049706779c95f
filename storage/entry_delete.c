/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of DELETE and FLOOR. */
#include "node/base/bytes.h"
#include "storage/entry.h"

void entry_floor_put(int64_t time_ms, struct buf *out_body) {
    buf_put_zigzag(out_body, time_ms);
}

enum status entry_floor_get(struct sv body, int64_t *out_time_ms, struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    *out_time_ms = read_zigzag(&r);
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
