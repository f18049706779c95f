/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/delete_frame.h: payload of FRAME_DELETE (delete by matcher in shards of the receiver) and
 * of its reply.
 *
 *   request  u8 version (1), varint tenant (0),
 *            varint ranges (>= 1), per range: zigzag first time, zigzag last time (inclusive),
 *                   varint length, matchers (storage/entry.h)
 *            varint shards (>= 1), each as varint: the first, then the difference to the one before
 *   reply    u8 version (1), varint failed shards, as above;
 *            when any: u8 status, varint length, text: why the first was not done
 *
 * A version or tenant that is not known is refused by name. */
#pragma once

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"

enum { DELETE_RANGES_MAX = 64, DELETE_BYTES_MAX = 64 << 10 /* of all matchers */ };
struct delete_range {
    int64_t min_ms, max_ms; /* both inclusive */
    struct sv matchers;     /* by entry_matchers_put */
};
struct delete_frame {
    const struct delete_range *ranges;
    size_t ranges_count;
    const uint32_t *shards; /* ascending, unique */
    size_t shards_count;
};
void delete_frame_put(const struct delete_frame *frame, struct buf *out);
/* Arrays are in the arena, matchers point into payload; all are what the store takes. ERR_CORRUPT,
 * ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM. */
MUST_USE enum status delete_frame_get(struct sv payload, struct arena *arena,
                                      struct delete_frame *out, struct err *err);

struct delete_reply {
    const uint32_t *failed; /* ascending, unique */
    size_t failed_count;
    enum status status; /* not OK when there are any */
    char text[240];
};
void delete_reply_put(const struct delete_reply *reply, struct buf *out);
MUST_USE enum status delete_reply_get(struct sv payload, struct arena *arena,
                                      struct delete_reply *out, struct err *err);
