/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/member/wire.h"

#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

enum { WIRE_VERSION = 1, FILE_FORMAT = 1, FILE_HEADER_BYTES = 12, FILE_SUM_BYTES = 8 };
static const char promise_magic[8] = "CAIRNPRM", addresses_magic[8] = "CAIRNADR";

static void read_text(struct reader *r, char *out, size_t size) {
    struct sv s = read_lenstr(r);
    if (s.len >= size) r->failed = true;
    for (size_t i = 0; i < s.len && !r->failed; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f) r->failed = true;
    if (r->failed) return;
    if (s.len > 0) memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

static uint32_t read_u32_varint(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) r->failed = true;
    return (uint32_t)v;
}

static struct reader wire_begin(struct sv payload) {
    struct reader r = reader_init(payload.ptr, payload.len);
    if (read_varint(&r) == 0) r.failed = true;
    return r;
}

void join_ask_put(const struct join_ask *a, struct buf *out) {
    buf_put_varint(out, WIRE_VERSION);
    buf_put_u8(out, a->verb);
    buf_put_u64(out, a->id);
    buf_put_varint(out, a->incarnation);
    buf_put_varint(out, a->format_level);
    buf_put_varint(out, a->bootstrap_expect);
    buf_put_lenstr(out, sv_from(a->addr));
    buf_put_lenstr(out, sv_from(a->zone));
    buf_put_lenstr(out, sv_from(a->cluster_name));
}

enum status join_ask_get(struct sv payload, struct join_ask *out, struct err *err) {
    struct reader r = wire_begin(payload);
    struct join_ask a = {.verb = read_u8(&r), .id = read_u64(&r)};
    a.incarnation = read_u32_varint(&r);
    a.format_level = read_u32_varint(&r);
    a.bootstrap_expect = read_u32_varint(&r);
    read_text(&r, a.addr, sizeof a.addr);
    read_text(&r, a.zone, sizeof a.zone);
    read_text(&r, a.cluster_name, sizeof a.cluster_name);
    if (r.failed || a.id == 0 || (a.verb != JOIN_PROBE && a.verb != JOIN_ASK))
        return err_set(err, ERR_CORRUPT, 0, "join: malformed request");
    *out = a;
    return OK;
}

void join_answer_put(const struct join_answer *a, struct buf *out) {
    buf_put_varint(out, WIRE_VERSION);
    buf_put_u8(out, a->outcome);
    buf_put_u8(out, a->phase);
    buf_put_u64(out, a->id);
    buf_put_varint(out, a->incarnation);
    buf_put_varint(out, a->bootstrap_expect);
    buf_put_lenstr(out, sv_from(a->addr));
    buf_put_lenstr(out, sv_from(a->zone));
    buf_put_lenstr(out, sv_from(a->cluster_name));
    buf_put_u64(out, a->promised);
    buf_put_u64(out, a->leader);
    buf_put_lenstr(out, sv_from(a->leader_addr));
    buf_put_lenstr(out, a->map);
}

enum status join_answer_get(struct sv payload, struct join_answer *out, struct err *err) {
    struct reader r = wire_begin(payload);
    struct join_answer a = {.outcome = read_u8(&r), .phase = read_u8(&r)};
    a.id = read_u64(&r);
    a.incarnation = read_u32_varint(&r);
    a.bootstrap_expect = read_u32_varint(&r);
    read_text(&r, a.addr, sizeof a.addr);
    read_text(&r, a.zone, sizeof a.zone);
    read_text(&r, a.cluster_name, sizeof a.cluster_name);
    a.promised = read_u64(&r);
    a.leader = read_u64(&r);
    read_text(&r, a.leader_addr, sizeof a.leader_addr);
    a.map = read_lenstr(&r);
    if (r.failed || a.id == 0 || a.outcome < JOIN_TOLD || a.outcome > JOIN_TAKEN)
        return err_set(err, ERR_CORRUPT, 0, "join: malformed answer");
    *out = a;
    return OK;
}

void promise_ask_put(const struct promise_ask *a, struct buf *out) {
    buf_put_varint(out, WIRE_VERSION);
    buf_put_u64(out, a->candidate);
    buf_put_lenstr(out, sv_from(a->cluster_name));
}

enum status promise_ask_get(struct sv payload, struct promise_ask *out, struct err *err) {
    struct reader r = wire_begin(payload);
    struct promise_ask a = {.candidate = read_u64(&r)};
    read_text(&r, a.cluster_name, sizeof a.cluster_name);
    if (r.failed || a.candidate == 0)
        return err_set(err, ERR_CORRUPT, 0, "promise: malformed request");
    *out = a;
    return OK;
}

void promise_answer_put(const struct promise_answer *a, struct buf *out) {
    buf_put_varint(out, WIRE_VERSION);
    buf_put_u8(out, a->granted);
    buf_put_u64(out, a->promised);
}

enum status promise_answer_get(struct sv payload, struct promise_answer *out, struct err *err) {
    struct reader r = wire_begin(payload);
    uint8_t granted = read_u8(&r);
    node_id promised = read_u64(&r);
    if (r.failed || granted > 1) return err_set(err, ERR_CORRUPT, 0, "promise: malformed answer");
    *out = (struct promise_answer){granted == 1, promised};
    return OK;
}

void admin_ask_put(const struct admin_call *call, struct buf *out) {
    buf_put_varint(out, WIRE_VERSION);
    buf_put_u8(out, (uint8_t)call->verb);
    buf_put_varint(out, call->shard);
    buf_put_u64(out, call->node);
    buf_put_u64(out, call->to);
    buf_put_lenstr(out, sv_from(call->cluster));
    buf_put_lenstr(out, sv_from(call->replica));
}

/* HA names are label values: any bytes but NUL, which the struct cannot hold. */
static void read_name(struct reader *r, char *out, size_t size) {
    struct sv s = read_lenstr(r);
    if (s.len >= size || (s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL)) r->failed = true;
    if (r->failed) return;
    if (s.len > 0) memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

enum status admin_ask_get(struct sv payload, struct admin_call *out, struct err *err) {
    struct reader r = wire_begin(payload);
    uint8_t verb = read_u8(&r);
    out->shard = read_u32_varint(&r);
    out->node = read_u64(&r);
    out->to = read_u64(&r);
    read_name(&r, out->cluster, sizeof out->cluster);
    read_name(&r, out->replica, sizeof out->replica);
    if (r.failed) return err_set(err, ERR_CORRUPT, 0, "admin: malformed request");
    if (verb < ADMIN_STATUS || verb > ADMIN_HA)
        return err_set(err, ERR_UNSUPPORTED, 0, "admin: verb %u is not known here", verb);
    out->verb = (enum admin_verb)verb;
    return OK;
}

/* -- files */

static void file_begin(struct buf *out, const char magic[8]) {
    buf_put(out, magic, 8);
    buf_put_u16(out, FILE_FORMAT);
    buf_put_u16(out, FILE_FORMAT);
}

static void file_end(struct buf *out, size_t start) {
    if (!out->failed) buf_put_u64(out, hash64(out->ptr + start, out->len - start, 0));
}

static enum status file_open(struct sv bytes, const char magic[8], struct reader *out,
                             struct err *err) {
    if (bytes.len < FILE_HEADER_BYTES + FILE_SUM_BYTES || memcmp(bytes.ptr, magic, 8) != 0)
        return err_set(err, ERR_CORRUPT, 0, "not a file of this kind");
    if (get_u16le(bytes.ptr + 10) > FILE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0, "format %u, this program reads %d",
                       get_u16le(bytes.ptr + 8), FILE_FORMAT);
    size_t end = bytes.len - FILE_SUM_BYTES;
    if (get_u64le(bytes.ptr + end) != hash64(bytes.ptr, end, 0))
        return err_set(err, ERR_CORRUPT, 0, "bad checksum");
    *out = reader_init(bytes.ptr + FILE_HEADER_BYTES, end - FILE_HEADER_BYTES);
    return OK;
}

void promise_file_put(node_id id, struct buf *out) {
    size_t start = out->len;
    file_begin(out, promise_magic);
    buf_put_u64(out, id);
    file_end(out, start);
}

enum status promise_file_get(struct sv bytes, node_id *out, struct err *err) {
    struct reader r = {0};
    TRY(file_open(bytes, promise_magic, &r, err));
    node_id id = read_u64(&r);
    if (r.failed || id == 0 || reader_left(&r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "malformed");
    *out = id;
    return OK;
}

void addresses_file_put(const struct member_address *items, size_t count, struct buf *out) {
    size_t start = out->len;
    file_begin(out, addresses_magic);
    buf_put_varint(out, count);
    for (size_t i = 0; i < count; i++) {
        buf_put_u64(out, items[i].id);
        buf_put_varint(out, items[i].incarnation);
        buf_put_lenstr(out, sv_from(items[i].addr));
    }
    file_end(out, start);
}

enum status addresses_file_get(struct sv bytes, struct member_address **out_items,
                               size_t *out_count, struct err *err) {
    struct reader r = {0};
    TRY(file_open(bytes, addresses_magic, &r, err));
    uint64_t count = read_varint(&r);
    if (r.failed || count > reader_left(&r) / 10) /* id, incarnation, length: 10 bytes at least */
        return err_set(err, ERR_CORRUPT, 0, "malformed");
    struct member_address *items = calloc(count == 0 ? 1 : count, sizeof *items);
    if (items == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < count && !r.failed; i++) {
        items[i].id = read_u64(&r);
        items[i].incarnation = read_u32_varint(&r);
        read_text(&r, items[i].addr, sizeof items[i].addr);
        if (items[i].id == 0 || (i > 0 && items[i].id <= items[i - 1].id)) r.failed = true;
    }
    if (r.failed || reader_left(&r) != 0) {
        free(items);
        return err_set(err, ERR_CORRUPT, 0, "malformed");
    }
    *out_items = items;
    *out_count = count;
    return OK;
}
