/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/delete_frame.h"

#include <inttypes.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/entry.h"

enum { DELETE_FRAME_VERSION = 1, TENANT = 0 };

static enum status corrupt(struct err *err, const char *what) {
    return err_set(err, ERR_CORRUPT, 0, "delete frame: %s", what);
}

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "delete frame: out of memory");
}

static enum status get_version(struct reader *r, struct err *err) {
    uint8_t version = read_u8(r);
    if (r->failed) return corrupt(err, "empty");
    if (version == DELETE_FRAME_VERSION) return OK;
    return err_set(err, ERR_UNSUPPORTED, 0, "delete frame: version %u, this program speaks %d",
                   version, DELETE_FRAME_VERSION);
}

/* -- shards */

static void put_shards(const uint32_t *shards, size_t count, struct buf *out) {
    buf_put_varint(out, count);
    for (size_t i = 0; i < count; i++)
        buf_put_varint(out, i == 0 ? shards[0] : shards[i] - shards[i - 1]);
}

static enum status get_shards(struct reader *r, struct arena *arena, const uint32_t **out,
                              size_t *out_count, struct err *err) {
    uint64_t count = read_varint(r), shard = 0;
    if (r->failed || count > reader_left(r)) return corrupt(err, "malformed list of shards");
    uint32_t *shards = arena_array(arena, (size_t)count + 1, sizeof *shards);
    if (shards == NULL) return nomem(err);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t step = read_varint(r);
        if (r->failed || step > UINT32_MAX || shard + step > UINT32_MAX || (i > 0 && step == 0))
            return corrupt(err, "malformed list of shards");
        shard += step;
        shards[i] = (uint32_t)shard;
    }
    *out = shards;
    *out_count = (size_t)count;
    return OK;
}

/* -- request */

void delete_frame_put(const struct delete_frame *frame, struct buf *out) {
    buf_put_u8(out, DELETE_FRAME_VERSION);
    buf_put_varint(out, TENANT);
    buf_put_varint(out, frame->ranges_count);
    for (size_t i = 0; i < frame->ranges_count; i++) {
        buf_put_zigzag(out, frame->ranges[i].min_ms);
        buf_put_zigzag(out, frame->ranges[i].max_ms);
        buf_put_lenstr(out, frame->ranges[i].matchers);
    }
    put_shards(frame->shards, frame->shards_count, out);
}

/* What a peer sends goes into the log as it is: so it must be what every replica can read. */
static enum status check_matchers(struct sv bytes, struct arena *arena, struct err *err) {
    struct entry_delete d = {0};
    TRY(entry_matchers_get(bytes, arena, &d.matchers, &d.matchers_count, err));
    entry_delete_fini(&d);
    return OK;
}

static enum status get_ranges(struct reader *r, struct arena *arena, struct delete_frame *out,
                              struct err *err) {
    uint64_t count = read_varint(r);
    size_t bytes = 0;
    if (r->failed || count == 0 || count > reader_left(r))
        return corrupt(err, "malformed list of ranges");
    if (count > DELETE_RANGES_MAX)
        return err_set(err, ERR_LIMIT, 0, "delete frame: %" PRIu64 " ranges, at most %d", count,
                       DELETE_RANGES_MAX);
    struct delete_range *ranges = arena_array(arena, (size_t)count, sizeof *ranges);
    if (ranges == NULL) return nomem(err);
    for (uint64_t i = 0; i < count; i++) {
        ranges[i].min_ms = read_zigzag(r);
        ranges[i].max_ms = read_zigzag(r);
        ranges[i].matchers = read_lenstr(r);
        if (r->failed) return corrupt(err, "cut off in its ranges");
        bytes += ranges[i].matchers.len;
        if (bytes > DELETE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, 0, "delete frame: matchers of more than %d bytes",
                           DELETE_BYTES_MAX);
        TRY(check_matchers(ranges[i].matchers, arena, err));
    }
    out->ranges = ranges;
    out->ranges_count = (size_t)count;
    return OK;
}

enum status delete_frame_get(struct sv payload, struct arena *arena, struct delete_frame *out,
                             struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    struct delete_frame frame = {0};
    TRY(get_version(&r, err));
    uint64_t tenant = read_varint(&r);
    if (!r.failed && tenant != TENANT)
        return err_set(err, ERR_UNSUPPORTED, 0, "delete frame: tenant %" PRIu64, tenant);
    TRY(get_ranges(&r, arena, &frame, err));
    TRY(get_shards(&r, arena, &frame.shards, &frame.shards_count, err));
    if (frame.shards_count == 0) return corrupt(err, "no shards");
    if (reader_left(&r) > 0) return corrupt(err, "bytes behind its end");
    *out = frame;
    return OK;
}

/* -- reply */

void delete_reply_put(const struct delete_reply *reply, struct buf *out) {
    buf_put_u8(out, DELETE_FRAME_VERSION);
    put_shards(reply->failed, reply->failed_count, out);
    if (reply->failed_count == 0) return;
    buf_put_u8(out, (uint8_t)reply->status);
    buf_put_lenstr(out, sv_make(reply->text, strnlen(reply->text, sizeof reply->text - 1)));
}

enum status delete_reply_get(struct sv payload, struct arena *arena, struct delete_reply *out,
                             struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    struct delete_reply reply = {.status = OK};
    TRY(get_version(&r, err));
    TRY(get_shards(&r, arena, &reply.failed, &reply.failed_count, err));
    if (reply.failed_count > 0) {
        uint8_t status = read_u8(&r);
        struct sv text = read_lenstr(&r);
        if (r.failed || status == OK || status >= STATUS_COUNT || text.len >= sizeof reply.text ||
            (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL))
            return corrupt(err, "malformed reason");
        reply.status = (enum status)status;
        if (text.len > 0) memcpy(reply.text, text.ptr, text.len);
    }
    if (reader_left(&r) > 0) return corrupt(err, "bytes behind its end");
    *out = reply;
    return OK;
}
