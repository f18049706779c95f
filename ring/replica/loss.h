/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/loss.h: what is bad here of shards that this node leads: told, and given up where a
 * person accepts its loss. Only where nobody else has a complete replica of the shard: what another
 * may have is fetched from there (sync.h). Until it is fetched or given up such a shard is not
 * given to another node as a whole (transfer.c), so that it neither moves nor leaves a node that
 * drains.
 *
 * FRAME_LOSS, an ask: a version byte (1), u8 bits (1: accept), v shard + 1, 0: all, which is not to
 * be accepted. A reply: a version byte, and of all cores { v shard, u8 what, z min, z max, v
 * length, text }: one for each bad range.
 *
 * Thread: the core. */
#pragma once

#include "ring/replica/replica.h"
#include "ring/replica/store_ops.h"

#define LOSS_ALL UINT32_MAX
enum loss_what {                    /* numbers of the wire */
                 LOSS_BAD = 1,      /* nobody else has it */
                 LOSS_ASKED = 2,    /* another replica is asked for it */
                 LOSS_ACCEPTED = 3, /* given up; text: where the bad file is, "" for nowhere */
                 LOSS_FAILED = 4    /* it could not be given up; text: why */
};
struct loss_ask {
    bool accept;
    uint32_t only;
};
struct loss_item {
    uint32_t shard;
    enum loss_what what;
    struct shard_span span; /* FAILED: none */
    struct sv text;
};
void loss_ask_put(const struct loss_ask *ask, struct buf *out);
/* Behind the version. ERR_CORRUPT. */
MUST_USE enum status loss_ask_get(struct sv items, struct loss_ask *out, struct err *err);
void loss_item_put(const struct loss_item *item, struct buf *out);
/* From the front of *rest; text points into it. ERR_CORRUPT. */
MUST_USE enum status loss_item_get(struct sv *rest, struct loss_item *out, struct err *err);

struct loss_call {
    /* given; the call lives until done, or until the node is gone */
    struct loss_ask ask;
    void (*done)(struct loss_call *call); /* once, on the core, maybe inside replicas_loss */
    void *user;
    struct buf out; /* outcome: items of this core; the caller's to free */
    /* private */
    struct replicas *replicas;
    struct store_loss job;
};
void replicas_loss(struct replicas *r, struct loss_call *call);
void served_loss(struct replicas *r, struct peer_request *req, struct sv payload);
