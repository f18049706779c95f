/* SPDX-License-Identifier: Apache-2.0 */
/* ring/control/heartbeat.h: what every node tells the controller each HEARTBEAT_MS and what it
 * hears back. A node that was answered may serve reads, acknowledge writes, scrape and evaluate
 * until LEASE_MS after it sent the heartbeat that was answered (its own monotonic clock).
 * Level-triggered: each heartbeat says all that is so now, so that a lost one costs nothing.
 * Little-endian, varints; the frame around it has the protocol version. */
#pragma once

#include "node/base/buf.h"
#include "node/base/status.h"
#include "ring/map.h"

enum {
    HEARTBEAT_MS = 300,
    LEASE_MS = 1500,
    MEMBER_TIMEOUT_MS = 2000, /* since the last answered heartbeat: then it may be taken out */
    LEADER_GRACE_MS = 2500,   /* a new controller takes nobody out before */
    QUORUM_AGE_MAX_MS = 1000, /* a controller whose last quorum round is older answers nobody */
    MEMBER_BEHIND_MS = 2000,  /* an append that waits that long: taken out like a dead one */
    REPORTS_MAX = 1 << 17
};

enum report_kind {
    REPORT_OPEN = 1,   /* from the primary: the shard is open in this epoch */
    REPORT_CAUGHT_UP,  /* from the primary: `about` holds all and is waited for from now on, until
                          a map of this or a later epoch takes it in or away, or gives it
                             another copy number (irrevocable: a
                          primary that loses it stays blocked until the controller has decided) */
    REPORT_DIVERGED,   /* from the primary: what `about` holds does not lead to this log: it must
                          begin anew (a higher copy number, INIT) */
    REPORT_INCOMPLETE, /* from a primary that returned: entries are missing that no live replica
                          has; it cannot open the shard as FULL */
    REPORT_DAMAGED     /* from any node about its own replica: its log has a gap */
};
struct shard_report {
    uint32_t shard, epoch;
    uint8_t kind;
    node_id about;
};
struct append_lag { /* from primaries: how long the oldest append to a follower waits for its answer
                     */
    node_id follower;
    uint32_t age_ms;
};
struct heartbeat {
    node_id id;
    uint32_t incarnation;
    uint64_t sequence;    /* echoed in the reply */
    uint64_t map_version; /* installed on all cores (0: none); no report was made by an older one */
    uint32_t format_level;
    char addr[RING_ADDR_MAX + 1], zone[64];
    bool draining, log_failed;
    uint32_t unsynced_age_ms; /* of the oldest append that its own log has not synced */
    uint32_t mailbox_age_ms;  /* of the slowest core */
    struct append_lag *lags;
    size_t lags_count;
    struct shard_report *reports;
    size_t reports_count;
};
enum heartbeat_answer {
    HEARTBEAT_OK = 1,     /* the lease is extended */
    HEARTBEAT_NOT_LEADER, /* leader says who may be */
    HEARTBEAT_NO_QUORUM,  /* no lease: the leader has no fresh quorum round, or this node is too
                             slow, or must install the reply's map version first */
    HEARTBEAT_UNKNOWN,    /* not a member (any more); joins go by FRAME_JOIN */
    HEARTBEAT_FENCED      /* a newer incarnation of this id is alive: stop */
};
struct heartbeat_reply {
    uint8_t answer;
    uint64_t sequence;
    node_id leader; /* 0: not known */
    uint64_t map_version;
    int64_t wall_ms; /* the controller's clock */
};
void heartbeat_put(const struct heartbeat *h, struct buf *out);
/* lags and reports are heap memory of *out: heartbeat_fini. */
MUST_USE enum status heartbeat_get(struct sv payload, struct heartbeat *out, struct err *err);
void heartbeat_fini(struct heartbeat *h);
void heartbeat_reply_put(const struct heartbeat_reply *r, struct buf *out);
MUST_USE enum status heartbeat_reply_get(struct sv payload, struct heartbeat_reply *out,
                                         struct err *err);
