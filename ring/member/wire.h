/* SPDX-License-Identifier: Apache-2.0 */
/* ring/member/wire.h: the payloads of FRAME_JOIN, FRAME_PROMISE and FRAME_ADMIN, and the two small
 * files of a member. Little-endian, varints; each payload begins with its own version (1); what a
 * later version adds stands behind and is ignored. Texts are bounded and free of control bytes, as
 * they go to logs. Decoders refuse everything else with ERR_CORRUPT.
 *
 * Files, each ended by the XXH3-64 of all before it:
 *   promise    "CAIRNPRM", u16 format, u16 oldest reader's format, u64 node id
 *   addresses  "CAIRNADR", u16 format, u16 oldest reader's format, varint count, then ascending by
 *              id: u64 id, varint incarnation, address with its length */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "ring/map.h"
#include "ring/member/member.h"

enum { WIRE_FILE_BYTES_MAX = 1 << 20 };

enum join_verb {
    JOIN_PROBE = 1, /* who are you, do you have a map? */
    JOIN_ASK        /* take me in */
};
struct join_ask {
    uint8_t verb;
    node_id id;
    uint32_t incarnation, format_level, bootstrap_expect;
    char addr[RING_ADDR_MAX + 1], zone[64], cluster_name[64];
};
enum join_outcome {
    JOIN_TOLD = 1, /* an answer to a probe */
    JOIN_LATER,    /* ask the leader named here, or again */
    JOIN_TAKEN     /* the map that names the asker follows */
};
struct join_answer {
    uint8_t outcome, phase; /* enum member_phase */
    node_id id;
    uint32_t incarnation, bootstrap_expect;
    char addr[RING_ADDR_MAX + 1], zone[64], cluster_name[64];
    node_id promised; /* 0: to nobody */
    node_id leader;   /* 0: not known */
    char leader_addr[RING_ADDR_MAX + 1];
    struct sv map; /* JOIN_TAKEN; points into the payload */
};
void join_ask_put(const struct join_ask *a, struct buf *out);
MUST_USE enum status join_ask_get(struct sv payload, struct join_ask *out, struct err *err);
void join_answer_put(const struct join_answer *a, struct buf *out);
MUST_USE enum status join_answer_get(struct sv payload, struct join_answer *out, struct err *err);

struct promise_ask {
    node_id candidate;
    char cluster_name[64];
};
struct promise_answer {
    bool granted;
    node_id promised; /* after this answer; 0: to nobody */
};
void promise_ask_put(const struct promise_ask *a, struct buf *out);
MUST_USE enum status promise_ask_get(struct sv payload, struct promise_ask *out, struct err *err);
void promise_answer_put(const struct promise_answer *a, struct buf *out);
MUST_USE enum status promise_answer_get(struct sv payload, struct promise_answer *out,
                                        struct err *err);

/* Only what is asked: verb, shard, node, to, cluster, replica. */
void admin_ask_put(const struct admin_call *call, struct buf *out);
MUST_USE enum status admin_ask_get(struct sv payload, struct admin_call *out, struct err *err);

void promise_file_put(node_id id, struct buf *out);
MUST_USE enum status promise_file_get(struct sv bytes, node_id *out, struct err *err);

struct member_address {
    node_id id;
    uint32_t incarnation;
    char addr[RING_ADDR_MAX + 1];
};
void addresses_file_put(const struct member_address *items, size_t count, struct buf *out);
/* *out_items is heap memory of the caller. */
MUST_USE enum status addresses_file_get(struct sv bytes, struct member_address **out_items,
                                        size_t *out_count, struct err *err);
