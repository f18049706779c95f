/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/sync.h: replicas made equal again, and bad ranges fetched from another replica. One
 * per core, of the whole replicas of this node that may be read.
 *
 *   IDLE -> ASKING (FRAME_RANGES: what does another replica have of some shards?) -> COMPARING
 *   (ranges.h) -> TAKING (FRAME_REPAIR: its pieces, one by one, for one span of each shard; the
 *   store puts them in the place of what is there) -> IDLE
 *
 * Who is asked, and who is right:
 *   - Where a range here is bad (a checksum says so), its primary, or who is a whole in-sync
 * replica next; by the primary itself one of these. A checksum failure tells who is bad: no
 * majority is asked. What it cannot read either stays as it is.
 *   - Every sync_ms some shards of which this node is a follower are compared with what their
 *     primary has. A difference is named in the log, with both digests. Both can be read, so no
 *     checksum tells who is wrong: the primary's counts, as for everything else of the shard. What
 *     the primary cannot read it does not give, but takes from a follower.
 *   - A replica that holds all of the shard and may not be read, since it is not in sync, gives bad
 *     ranges to the primary, too, when the primary is about to give it up (sound.h). It may have
 *     what was never acknowledged; so it tells the place in its log where its closed ranges end
 *     (RESULT_ASIDE), and only if that lies on the primary's own log is anything taken, and only
 *     where it has not deleted more.
 * Until all of a span has come, durably, nothing changes here: what is bad is not answered (the
 * store refuses, and who asks goes elsewhere), and nothing is lost when the other's is bad, too.
 *
 * Thread: the core. */
#pragma once

#include "ring/replica/internal.h"

enum { SYNC_SHARDS_MAX = 64 }; /* of one frame */
struct sync;
MUST_USE enum status sync_new(struct replicas *r, struct sync **out, struct err *err);
void sync_on_map(struct sync *s);
void sync_hurry(struct sync *s); /* there is something to be asked for: at once, where it is idle */
void sync_stop(struct sync *s);
void sync_free(struct sync *s); /* memory only; NULL too */

/* Something of it is bad here; and somebody else has a complete replica, whom to ask. */
bool sync_is_bad(struct replicas *r, uint32_t shard);
bool sync_has_source(const struct replicas *r, uint32_t shard);

struct verify;
struct verify *sync_verify(struct sync *s); /* verifying.h */

/* The other side: FRAME_RANGES, FRAME_REPAIR. */
void served_ranges(struct replicas *r, struct peer_request *req, struct sv payload);
void served_repair(struct replicas *r, struct peer_request *req, struct sv payload);
void givings_stop(struct replicas *r);
void givings_free_all(struct replicas *r);
/* Metrics: cairn_sync_compared_shards_total, cairn_sync_differences_total,
 * cairn_sync_repaired_total{reason}, cairn_sync_failures_total. */
