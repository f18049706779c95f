/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "node/base/bytes.h"
#include "query/gather/list.h"

/* Request: u8 version, u8 kind, label, varint count of selectors, selectors, zigzag from and to,
 * varint most items, varint timeout in ms, shard list. Strings carry their length as a varint. */
enum { LIST_VERSION = 2, LIST_SELECTORS_MAX = 10000 }; /* 2: lists of shards are bits */

void list_request_put(const struct list_request *r, struct buf *out) {
    const struct list_ask *a = &r->ask;
    buf_put_u8(out, LIST_VERSION);
    buf_put_u8(out, (uint8_t)a->kind);
    buf_put_lenstr(out, a->label);
    buf_put_varint(out, a->selectors_count);
    for (size_t i = 0; i < a->selectors_count; i++)
        buf_put_lenstr(out, a->selectors[i]);
    buf_put_zigzag(out, a->from_ms);
    buf_put_zigzag(out, a->to_ms);
    buf_put_varint(out, a->keep_max);
    buf_put_varint(out, a->timeout_ms);
    buf_put_lenstr(out, r->shards);
}

enum status list_request_get(struct sv bytes, struct arena *arena, struct list_request *out,
                             struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint8_t version = read_u8(&r);
    if (!r.failed && version != LIST_VERSION)
        return err_set(err, ERR_UNSUPPORTED, 0, "list: request version %u, this program reads %d",
                       version, LIST_VERSION);
    uint8_t kind = read_u8(&r);
    struct list_request q = {
        .ask = {.kind = (enum gather_list_kind)kind, .label = read_lenstr(&r)}};
    uint64_t count = read_varint(&r);
    if (r.failed || kind > GATHER_EXEMPLARS || count > LIST_SELECTORS_MAX ||
        count > reader_left(&r))
        return err_set(err, ERR_CORRUPT, 0, "list: malformed request");
    struct sv *selectors = arena_array(arena, (size_t)count + 1, sizeof *selectors);
    if (selectors == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    for (uint64_t i = 0; i < count; i++)
        selectors[i] = read_lenstr(&r);
    q.ask.selectors = selectors;
    q.ask.selectors_count = (size_t)count;
    q.ask.from_ms = read_zigzag(&r);
    q.ask.to_ms = read_zigzag(&r);
    q.ask.keep_max = read_varint(&r);
    q.ask.timeout_ms = read_varint(&r);
    q.shards = read_lenstr(&r);
    if (r.failed || reader_left(&r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "list: malformed request");
    *out = q;
    return OK;
}

void list_reply_put(const struct list_items *items, struct buf *out) {
    buf_put_varint(out, items->count);
    for (size_t i = 0; i < items->count; i++)
        buf_put_lenstr(out, items->at[i]);
}

enum status list_reply_get(struct sv bytes, struct list_items *into, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint64_t count = read_varint(&r);
    for (uint64_t i = 0; i < count && !r.failed; i++) {
        struct sv item = read_lenstr(&r);
        if (!r.failed) TRY(list_items_add(into, item, err));
    }
    if (r.failed || reader_left(&r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "list: malformed reply");
    return OK;
}
