/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/control/heartbeat.h"

#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "ring/map_internal.h"

/* Heartbeat: u64 id, varints incarnation, sequence, map version, format level, address, zone, u8
 * flags, varints unsynced age, mailbox age; count, (u64 follower, varint age); count of shards with
 * their reports: (u8 kind, varint shard minus the one before (zigzag), varint epoch, u64 about).
 * Reply: u8 answer, varint sequence, u64 leader, varint map version, zigzag wall clock. */
enum { FLAG_DRAINING = 1, FLAG_LOG_FAILED = 2 };
enum { LAG_BYTES_MIN = 9, REPORT_BYTES_MIN = 11 };

void heartbeat_put(const struct heartbeat *h, struct buf *out) {
    buf_put_u64(out, h->id);
    buf_put_varint(out, h->incarnation);
    buf_put_varint(out, h->sequence);
    buf_put_varint(out, h->map_version);
    buf_put_varint(out, h->format_level);
    buf_put_lenstr(out, sv_from(h->addr));
    buf_put_lenstr(out, sv_from(h->zone));
    buf_put_u8(
        out, (uint8_t)((h->draining ? FLAG_DRAINING : 0) | (h->log_failed ? FLAG_LOG_FAILED : 0)));
    buf_put_varint(out, h->unsynced_age_ms);
    buf_put_varint(out, h->mailbox_age_ms);
    buf_put_varint(out, h->lags_count);
    for (size_t i = 0; i < h->lags_count; i++) {
        buf_put_u64(out, h->lags[i].follower);
        buf_put_varint(out, h->lags[i].age_ms);
    }
    buf_put_varint(out, h->reports_count);
    uint32_t before = 0;
    for (size_t i = 0; i < h->reports_count; i++) {
        const struct shard_report *r = &h->reports[i];
        buf_put_u8(out, r->kind);
        buf_put_zigzag(out, (int64_t)r->shard - (int64_t)before);
        buf_put_varint(out, r->epoch);
        buf_put_u64(out, r->about);
        before = r->shard;
    }
}

static void get_text(struct reader *r, char *out, size_t size) {
    struct sv s = read_lenstr(r);
    if (s.len >= size || (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)) r->failed = true;
    if (r->failed) return;
    if (s.len > 0) memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

static void heartbeat_get_head(struct reader *r, struct heartbeat *h) {
    h->id = read_u64(r);
    h->incarnation = map_get_u32(r);
    h->sequence = read_varint(r);
    h->map_version = read_varint(r);
    h->format_level = map_get_u32(r);
    get_text(r, h->addr, sizeof h->addr);
    get_text(r, h->zone, sizeof h->zone);
    uint8_t flags = read_u8(r);
    if ((flags & ~(FLAG_DRAINING | FLAG_LOG_FAILED)) != 0) r->failed = true;
    h->draining = (flags & FLAG_DRAINING) != 0;
    h->log_failed = (flags & FLAG_LOG_FAILED) != 0;
    h->unsynced_age_ms = map_get_u32(r);
    h->mailbox_age_ms = map_get_u32(r);
    if (h->id == 0) r->failed = true;
}

static enum status heartbeat_get_lags(struct reader *r, struct heartbeat *h, struct err *err) {
    uint64_t count = read_varint(r);
    if (r->failed || count > RING_NODES_MAX || count > reader_left(r) / LAG_BYTES_MIN)
        return err_set(err, ERR_CORRUPT, 0, "heartbeat: %" PRIu64 " lags claimed", count);
    if (count == 0) return OK;
    h->lags = calloc((size_t)count, sizeof *h->lags);
    if (h->lags == NULL) return err_set(err, ERR_NOMEM, 0, "heartbeat: out of memory");
    for (; h->lags_count < count; h->lags_count++)
        h->lags[h->lags_count] =
            (struct append_lag){.follower = read_u64(r), .age_ms = map_get_u32(r)};
    return OK;
}

static enum status heartbeat_get_reports(struct reader *r, struct heartbeat *h, struct err *err) {
    uint64_t count = read_varint(r);
    if (r->failed || count > REPORTS_MAX || count > reader_left(r) / REPORT_BYTES_MIN)
        return err_set(err, ERR_CORRUPT, 0, "heartbeat: %" PRIu64 " reports claimed", count);
    if (count == 0) return OK;
    h->reports = calloc((size_t)count, sizeof *h->reports);
    if (h->reports == NULL) return err_set(err, ERR_NOMEM, 0, "heartbeat: out of memory");
    int64_t shard = 0;
    for (; h->reports_count < count && !r->failed; h->reports_count++) {
        uint8_t kind = read_u8(r);
        int64_t step = read_zigzag(r);
        if (step > RING_SHARDS_MAX || step < -RING_SHARDS_MAX) r->failed = true;
        shard = r->failed ? 0 : shard + step;
        if (kind < REPORT_OPEN || kind > REPORT_DAMAGED || shard < 0 || shard >= RING_SHARDS_MAX)
            r->failed = true;
        h->reports[h->reports_count] =
            (struct shard_report){.shard = (uint32_t)shard, .kind = kind, .epoch = map_get_u32(r)};
        h->reports[h->reports_count].about = read_u64(r);
    }
    return OK;
}

enum status heartbeat_get(struct sv payload, struct heartbeat *out, struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    struct heartbeat h = {0};
    heartbeat_get_head(&r, &h);
    if (r.failed) return err_set(err, ERR_CORRUPT, 0, "heartbeat: head is cut off or malformed");
    enum status st = heartbeat_get_lags(&r, &h, err);
    if (st == OK) st = heartbeat_get_reports(&r, &h, err);
    if (st == OK && (r.failed || reader_left(&r) != 0))
        st = err_set(err, ERR_CORRUPT, 0, "heartbeat: lags or reports are cut off or malformed");
    if (st == OK)
        *out = h;
    else
        heartbeat_fini(&h);
    return st;
}

void heartbeat_fini(struct heartbeat *h) {
    free(h->lags);
    free(h->reports);
    h->lags = NULL;
    h->reports = NULL;
    h->lags_count = h->reports_count = 0;
}

void heartbeat_reply_put(const struct heartbeat_reply *r, struct buf *out) {
    buf_put_u8(out, r->answer);
    buf_put_varint(out, r->sequence);
    buf_put_u64(out, r->leader);
    buf_put_varint(out, r->map_version);
    buf_put_zigzag(out, r->wall_ms);
}

enum status heartbeat_reply_get(struct sv payload, struct heartbeat_reply *out, struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    struct heartbeat_reply reply = {.answer = read_u8(&r)};
    reply.sequence = read_varint(&r);
    reply.leader = read_u64(&r);
    reply.map_version = read_varint(&r);
    reply.wall_ms = read_zigzag(&r);
    if (r.failed || reader_left(&r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "heartbeat reply: cut off or malformed");
    if (reply.answer < HEARTBEAT_OK || reply.answer > HEARTBEAT_FENCED)
        return err_set(err, ERR_CORRUPT, 0, "heartbeat reply: answer %u", reply.answer);
    *out = reply;
    return OK;
}
