/* SPDX-License-Identifier: Apache-2.0 */
/* ring/peers_internal.h: what ring/peers.c (calls), peers_link.c (connections we dial) and peers_serve.c (connections we
 * accept) share. Seen by these only. */
#pragma once

#include "node/base/list.h"
#include "node/base/metrics.h"
#include "node/runtime/net.h"
#include "ring/peers.h"

enum { LINK_HELLO_TIMEOUT_MS = 2000, LINK_BACKOFF_MIN_MS = 50, LINK_BACKOFF_MAX_MS = 2000 };

/* The connection we dial to one node. Dialled when a call needs it and again, with back-off, while calls wait.
 *   IDLE -> DIALING -> HELLO -> UP -> IDLE;  DIALING, HELLO -> BACKOFF -> DIALING */
enum link_state { LINK_IDLE, LINK_DIALING, LINK_HELLO, LINK_UP, LINK_BACKOFF };
struct link {
    struct peers *peers;
    uint16_t node;
    enum link_state state;
    struct conn *conn;       /* DIALING, HELLO, UP */
    struct timer timer;      /* HELLO: deadline; BACKOFF: next try */
    unsigned backoff_ms;
    struct list_node calls;  /* of struct peer_call: sent (UP) or waiting for UP */
    struct err last;         /* why the last try failed, for the calls that time out */
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
    bool greeted;          /* hello accepted */
    uint16_t from;
    struct list_node requests; /* of struct served */
};
struct served {
    struct peer_request req;
    struct list_node node;
    struct inbound *in;
    uint32_t next_part;
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
    unsigned conns_open;
    void (*closed)(struct peers *peers, void *ctx);
    void *closed_ctx;
    struct metric *frames_in, *frames_out, *refused;
};

void link_init(struct link *link, struct peers *peers, uint16_t node);
void link_need(struct link *link); /* a call waits: dial, or send it when UP */
void link_send_call(struct link *link, struct peer_call *call);
void link_close(struct link *link);
struct peer_call *peers_find_call(struct peers *peers, uint64_t id);
void peers_conn_closed(struct peers *peers); /* one less; may end peers_stop */
void peers_send(struct peers *peers, struct conn *conn, const struct frame *f);
struct frame peers_frame(const struct peers *peers, enum frame_type type);
void peers_put_hello(const struct peers *peers, struct buf *out);
/* Header and hello of the other side: same cluster, speakable format, a member (its index goes to *out_from). */
MUST_USE enum status peers_check_hello(const struct peers *peers, const struct frame *f, uint16_t *out_from, struct err *err);
void call_end(struct peer_call *call, enum status status, const struct err *err); /* frees it after telling */
void call_on_reply(struct peer_call *call, const struct frame *f);
void inbound_accept(struct core *core, struct conn *conn, void *ctx);
void inbound_free_all(struct peers *peers);
