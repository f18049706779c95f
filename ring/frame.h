/* SPDX-License-Identifier: Apache-2.0 */
/* ring/frame.h: frames between nodes. Every frame says protocol version, cluster and map version;
 * what concerns a shard says shard and epoch in its payload. Little-endian, 64 bytes of header:
 *   00-03 magic 0x464e5243 "CRNF"   04-05 protocol version (1)   06 type   07 flags (1: last part,
 * 2: error reply) 08-15 request id   16-31 cluster id   32-39 map version   40-47 sender's node id
 *   48-51 sender's incarnation   52-55 payload length   56-63 checksum: XXH3-64 of the payload,
 * seeded with the XXH3-64 of bytes 00-55 A header of another protocol version keeps bytes 00-07. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "ring/map.h"

enum { FRAME_HEADER_BYTES = 64, FRAME_PROTOCOL = 1, FRAME_LAST = 1, FRAME_ERROR = 2 };
enum { HELLO_NONCE_BYTES = 32, HELLO_PROOF_BYTES = 32 };
enum frame_type {
    FRAME_HELLO = 1, /* first on every connection, both ways; no request id */
    FRAME_REPLY = 2, /* answers the request id; several parts, the last with FRAME_LAST */
    FRAME_WRITE =
        3, /* ingest: columns for shards of the receiver, with labels where it asked for them */
    FRAME_FRAGMENT = 4, /* query: evaluate on these shards */
    FRAME_SERIES = 5,   /* query: series, label names, label values, metadata */
    FRAME_CANCEL = 6,   /* the request id is no longer waited for */
    FRAME_APPEND = 7,   /* ring/replica: entries for followers */
    FRAME_PLACES = 8,   /* ring/replica: what do you hold of these shards? */
    FRAME_FETCH = 9,    /* ring/replica: entries of these shards from there to there */
    FRAME_RAFT = 10,    /* ring/raft */
    FRAME_HEARTBEAT = 11,
    FRAME_JOIN = 12,     /* ring/member: take me in; or: who are you, do you have a map? */
    FRAME_PROMISE = 13,  /* ring/member: promise of a founding */
    FRAME_ADMIN = 14,    /* ring/member: verbs for the controller */
    FRAME_TRANSFER = 15, /* ring/replica: shards as a whole */
    FRAME_DELETE = 16,   /* ingest: delete by matcher in shards of the receiver */
    FRAME_RANGES = 17,   /* ring/replica: ranges and digests that you have of these shards? */
    FRAME_REPAIR = 18,   /* ring/replica: give me these ranges of these shards */
    FRAME_VERIFY = 19,   /* ring/replica: look at your replicas now; or: what came of it? */
    FRAME_LOSS = 20,     /* ring/replica: what is bad and nowhere else? or: its loss is accepted */
    FRAME_TYPE_COUNT
};
struct frame {
    uint8_t type, flags;
    uint64_t request_id;
    uint8_t cluster_id[16];
    uint64_t map_version;
    node_id sender;
    uint32_t incarnation;
    struct sv payload;
};
void frame_put(const struct frame *f, struct buf *out);
/* ERR_CORRUPT: magic, length or checksum; ERR_UNSUPPORTED: another protocol version, named. payload
 * points into bytes. */
MUST_USE enum status frame_get(struct sv bytes, struct frame *out, struct err *err);

/* Node and incarnation stand in the frame's header. Without a shared secret one goes each way. With
 * one, two: the first have a nonce, the second besides the proof that their sender knows the secret
 * (ring/peers_hello.c); the side that dialled proves first. */
struct hello {
    char cluster_name[64];
    uint32_t format_level;
    char addr[RING_ADDR_MAX + 1]; /* where the sender listens; "": nowhere */
    bool has_nonce, has_proof;
    uint8_t nonce[HELLO_NONCE_BYTES], proof[HELLO_PROOF_BYTES];
};
void hello_put(const struct hello *h, struct buf *out);
MUST_USE enum status hello_get(struct sv payload, struct hello *out, struct err *err);

/* Error replies: status code, text. */
void frame_error_put(enum status status, const char *text, struct buf *out);
enum status
frame_error_get(struct sv payload,
                struct err *err); /* returns the carried status (ERR_CORRUPT when malformed) */
