/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/distributor.h: brings a batch of samples to the primaries of its shards and waits until
 * all are durable. One per core. The way of a batch (a write_op), one flow:
 *
 *   rows, sorted by (node, core, shard) -> one part per local core (message) and per remote node
 *   local part:  is each shard open for writing -> store_write on the owner's core -> wait for the
 *                in-sync sets -> back
 *   remote part: FRAME_WRITE -> the receiver runs the same flow, local only -> reply; unknown ids
 *                come back and the part is sent again with their labels (asked once more: with all)
 *   all parts back -> done
 *
 * What failed for lack of its node, epoch, lease or opening waits 50 to 200 ms, or until the next
 * map, and is then cut anew by the newest map, until resend_ms have passed (1 s on a node that has
 * no lease). Only the shards that
 * failed are sent again. A part under way to a node that a map calls down is sent again at once.
 *
 * Nothing is rolled back. Outcome: any shard without an answer: 503; else a refused sample: 400
 * with its text; else OK. Thread: the core's; other cores are reached by messages. */
#pragma once

#include "ingest/rows.h"
#include "node/base/arena.h"
#include "node/base/list.h"
#include "node/runtime/core.h"
#include "ring/ack.h"
#include "ring/member/lease.h"
#include "ring/peers.h"
#include "ring/replica/replica.h"
#include "storage/store.h"

/* What replication says about the shards of a core: replicas_may_write and replicas_wait
 * (ring/replica/replica.h), which say what each does. */
struct write_gate {
    void *ctx;
    enum status (*may_write)(void *ctx, uint32_t shard, struct err *err);
    void (*wait)(void *ctx, struct replica_wait *wait, const uint32_t *shards, size_t count,
                 void (*done)(struct replica_wait *wait, enum status status,
                              const struct err *err));
};

struct distributor_options {
    struct ring_map *map;
    node_id self;
    const uint16_t *core_of; /* shard -> local core (ring/placement.h); read during new only */
    struct peers *peers;     /* of this core; NULL for a node without peers */
    struct store *store;     /* of this core */
    /* NULL: a node alone. Every shard whose primary it is may be written, and its own log is all
     * that is waited for. */
    const struct write_gate *gate;
    const struct lease *lease; /* the cluster's clock; NULL: this node's */
    uint64_t resend_ms;        /* 10 s */
    uint64_t timeout_ms;       /* of one attempt at a remote part: 5 s */
    uint64_t memory_bytes_max; /* of this core's head: beyond it every sample is refused with 503;
                                  0: none */
    uint64_t bytes_in_flight_max; /* of all ops on this core; beyond: 503 at once */
};
struct distributor;
MUST_USE enum status distributor_new(struct core *core, const struct distributor_options *options,
                                     struct distributor **out, struct err *err);
void distributor_free(
    struct distributor *d); /* memory only; no op under way, or the simulated node crashed */

/* A newer map (a reference is taken), or the same with other cores, with the local core of each
 * shard (read during the call; 0xffff: damaged here). An older one is passed over.
 * ERR_NOMEM: the old one stays in force; its time is over, so that writes come back with 503. */
MUST_USE enum status distributor_set_map(struct distributor *d, struct ring_map *map,
                                         const uint16_t *core_of, struct err *err);
/* What waits for a shard tries again now: it may be open. set_map does it, too. */
void distributor_wake(struct distributor *d);

/* Why a client's write was not taken, or not wholly: cairn_ingest_refused_total{reason}. Registered
 * by distributor_new. */
enum write_refused_reason {
    WRITE_REFUSED_SAMPLE,      /* 400: a sample was refused */
    WRITE_REFUSED_REQUEST,     /* 400, 413: malformed, or beyond a limit */
    WRITE_REFUSED_BUSY,        /* the rest is 503: too much is under way */
    WRITE_REFUSED_MEMORY,      /* out of memory, or at --node.memory-limit */
    WRITE_REFUSED_MOVED,       /* the primary was not found in time */
    WRITE_REFUSED_TIMEOUT,     /* a node did not answer in time */
    WRITE_REFUSED_UNAVAILABLE, /* a shard is not open, has too few in sync, or lost its lease */
    WRITE_REFUSED_HA,          /* no election of an HA pair */
    WRITE_REFUSED_NO_CLUSTER,
    WRITE_REFUSED_REASONS
};
void write_count_refused(enum write_refused_reason reason);

enum write_outcome { WRITE_OK, WRITE_REFUSED, WRITE_UNAVAILABLE };
struct write_op {
    /* given */
    struct arena arena; /* initialised by the caller; freed by it after done */
    struct buf body;    /* what rows' labels point into */
    struct write_rows rows;
    bool local_only; /* came from another node: every shard must be ours, at the map's epoch */
    void (*done)(struct core *here,
                 struct write_op *op); /* once, on the core of distributor_write, not inside it */
    void *user;
    /* outcome */
    enum write_outcome outcome;
    uint32_t counts[VERDICT_COUNT];
    uint32_t histograms_written; /* of those accepted or held already */
    uint32_t exemplars_kept;
    char text[480];   /* REFUSED: first refused sample; UNAVAILABLE: why and which shard and node */
    size_t plain_len; /* REFUSED: of the text, without the series that it names at the end */
    uint32_t *unknown; /* local_only: rows whose labels are needed; nothing was done */
    size_t unknown_count;
    /* local_only: shards of which nothing was acknowledged, and why the first was not; `outcome`,
     * counts and text are about the others */
    uint32_t *failed;
    size_t failed_count;
    enum status failed_status;
    char failed_text[240];
    /* private */
    struct list_node node; /* of the ops under way */
    struct msg msg;
    struct distributor *d;
    struct write_rows sorted; /* by destination and shard; labels still point into body and arena */
    uint32_t *order;          /* sorted row -> row */
    struct list_node parts;
    size_t parts_open;
    uint64_t began_ns;
    size_t charged_bytes;
    enum write_refused_reason reason; /* UNAVAILABLE */
    size_t first_refused;             /* row, to tell the first of several parts; REFUSED */
};
void distributor_write(struct distributor *d, struct write_op *op);
/* For store_set_log: this node's own log is durable up to position (ctx is the distributor of the
 * store's core). */
void distributor_on_durable(struct store *store, uint64_t position, enum status status,
                            const struct err *err, void *ctx);
/* For peers_handle(FRAME_WRITE): ctx is the distributor. */
void distributor_on_frame(struct peer_request *req, struct sv payload, void *ctx);
/* Fails every op under way with WRITE_UNAVAILABLE (shut-down). */
void distributor_stop(struct distributor *d);
/* cairn_ingest_samples_total{verdict}, cairn_ingest_parts_total{to}, cairn_ingest_resends_total,
 * ... */
