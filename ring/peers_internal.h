/* SPDX-License-Identifier: Apache-2.0 */
/* ring/peers_internal.h: what ring/peers.c (calls), peers_link.c (connections we dial) and
 * peers_serve.c (connections we accept) share. Seen by these only. */
#pragma once

#include "node/base/list.h"
#include "node/base/metrics.h"
#include "node/runtime/net.h"
#include "ring/peers.h"

enum { LINK_HELLO_TIMEOUT_MS = 2000, LINK_BACKOFF_MIN_MS = 50, LINK_BACKOFF_MAX_MS = 2000 };
/* Of one connection, under way at once: far above what a node asks, so that only a broken one meets
 * it. */
enum { INBOUND_REQUESTS_MAX = 16384 };

/* The connection we dial to one node, when a call needs it.
 *   IDLE -> DIALING -> HELLO -> UP;  DIALING, HELLO, UP -> BACKOFF (IDLE when stopping);
 *   BACKOFF -> DIALING when calls wait, else IDLE
 * When it fails, all its calls fail with the reason, also those that were not sent: a caller learns
 * at once that a node is dead. Calls that come during BACKOFF wait for the next try and share its
 * fate. */
enum link_state { LINK_IDLE, LINK_DIALING, LINK_HELLO, LINK_UP, LINK_BACKOFF };
struct link {
    struct peers *peers;
    uint16_t node;
    enum link_state state;
    struct conn *conn;  /* DIALING, HELLO, UP */
    struct timer timer; /* HELLO: deadline; BACKOFF: next try */
    unsigned backoff_ms;
    struct list_node calls; /* of struct peer_call: sent (UP) or waiting for UP */
    struct err broken;      /* why we close the connection; OK: the network will tell */
    struct err last;        /* why the last try failed, for the calls that time out */
    struct metric *connected;
};

struct peer_call {
    struct list_node link_node;
    struct link *link;
    struct peer_call_options options;
    struct buf payload; /* until sent */
    uint64_t id;
    uint32_t next_part;
    bool sent, ended;
    struct timer deadline;
    struct err err; /* why it ended */
};

/* A connection that another node dialled. */
struct inbound {
    struct list_node node; /* of peers->inbounds */
    struct peers *peers;
    struct conn *conn;
    bool greeted; /* hello accepted */
    uint16_t from;
    struct timer deadline;     /* for the hello */
    struct list_node requests; /* of struct served */
    uint32_t requests_count;
};
struct served {
    struct peer_request req;
    struct list_node node;
    struct inbound *in;
    uint32_t next_part;
};

enum refused {
    REFUSED_CORRUPT,  /* no frame of ours at all */
    REFUSED_PROTOCOL, /* another protocol version */
    REFUSED_HELLO,    /* foreign cluster, no member, format level */
    REFUSED_SENDER,   /* a frame of another node or cluster than the hello's */
    REFUSED_MAP,      /* another map version */
    REFUSED_REQUEST,  /* unknown type, too many, stopping */
    REFUSED_COUNT
};

struct peers {
    struct core *core;
    struct ring_map *map;
    uint16_t self;
    uint32_t incarnation;
    char *listen_addr;
    struct link *links; /* one per node of the map */
    struct list_node inbounds;
    struct peer_call **slots; /* by low 32 bits of a call's id */
    uint32_t *free_slots;
    uint32_t slots_count, free_count, generation;
    struct {
        peer_handler fn;
        void *ctx;
    } handlers[FRAME_TYPE_COUNT];
    bool stopping;
    unsigned conns_open, calls_open;
    void (*closed)(struct peers *peers, void *ctx);
    void *closed_ctx;
    struct timer closed_timer; /* `closed` comes from here, never from inside another call */
    uint64_t refusal_logged_ns;
    struct metric *frames_in[FRAME_TYPE_COUNT],
        *frames_out[FRAME_TYPE_COUNT]; /* [0]: types unknown here */
    struct metric *refused[REFUSED_COUNT];
};

void link_init(struct link *link, struct peers *peers, uint16_t node);
void link_need(struct link *link,
               struct peer_call *call); /* the call waits: dial, or send it when UP */
void link_close(struct link *link);
void link_fail_calls(struct link *link,
                     const struct err *err); /* all that there are now, not what they start */
struct peer_call *peers_find_call(struct peers *peers, uint64_t id);
void peers_conn_closed(struct peers *peers); /* one less; may end peers_stop */
void peers_refused(struct peers *peers, enum refused reason,
                   const struct err *why);         /* counts, logs */
void peers_got(struct peers *peers, uint8_t type); /* counts */
void peers_send(struct peers *peers, struct conn *conn, const struct frame *f);
struct frame peers_frame(const struct peers *peers, enum frame_type type);
void peers_put_hello(const struct peers *peers, struct buf *out);
/* Frames after the hello: still the node and the cluster that greeted. */
MUST_USE enum status peers_check_sender(const struct peers *peers, const struct frame *f,
                                        uint16_t from, struct err *err);
/* Header and hello of the other side: same cluster, speakable format, a member (its index goes to
 * *out_from). */
MUST_USE enum status peers_check_hello(const struct peers *peers, const struct frame *f,
                                       uint16_t *out_from, struct err *err);
void call_end(struct peer_call *call, const struct err *err); /* frees it, tells */
void call_on_reply(struct peer_call *call, const struct frame *f);
void inbound_accept(struct core *core, struct conn *conn, void *ctx);
void inbound_free_all(struct peers *peers);
