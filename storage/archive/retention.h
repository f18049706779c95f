/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/retention.h: how long samples are kept: in general, and by rules of which the
 * first that matches a series counts. A shard's FLOOR goes by the longest time; what ends sooner is
 * deleted by matcher: the primary writes a DELETE of everything up to a multiple of the block range
 * when that has risen, so that a shard stays a function of its log, and merges drop the bytes.
 *
 * A series' rule says "these matchers, and none of an earlier rule's that keeps for longer": what
 * is under an earlier rule that keeps for less is gone by then anyhow. "Not all of some matchers"
 * is one DELETE for each of them, negated. Thread: immutable; any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"
#include "storage/matcher.h"

enum { RETENTION_DELETES_MAX = 256 };

struct retention_rule {
    const struct matcher *matchers; /* one at least; their kind, name and value are looked at */
    size_t matchers_count;
    int64_t time_ms; /* 0: for ever */
};
struct retention_delete {
    struct sv matchers; /* as a DELETE has them (entry_matchers_put) */
    int64_t time_ms;    /* older ones than that before the shard's newest */
};
struct retention {
    unsigned refs;
    uint64_t id;        /* another one for each, in this process */
    int64_t longest_ms; /* for the FLOOR; 0: for ever */
    /* Samples, and rows of 5 m, of any series end sooner where raw_ms is not 0 (storage/ended.h);
     * of which resolutions rows are made. */
    int64_t raw_ms, fine_ms;
    bool has_fine, has_coarse;
    struct retention_delete *deletes;
    size_t deletes_count;
};
/* general_ms: of series that no rule matches; 0: for ever. ERR_LIMIT names the rule (from 1) that
 * would need too many DELETEs. */
MUST_USE enum status retention_new(int64_t general_ms, const struct retention_rule *rules,
                                   size_t rules_count, struct retention **out, struct err *err);
/* How long each resolution is kept, of whatever series; 0: as long as the series. Before anybody
 * else has it. */
struct retention_by_resolution {
    int64_t raw_ms, fine_ms, coarse_ms;
    bool has_fine, has_coarse;
};
void retention_set_resolutions(struct retention *r, const struct retention_by_resolution *by);
struct retention *retention_ref(struct retention *r);
void retention_unref(struct retention *r); /* NULL too */
