/* SPDX-License-Identifier: Apache-2.0 */
/* ring/peers_internal.h: what ring/peers.c (life), peers_table.c (who is known), peers_hello.c
 * (who may talk), peers_call.c (calls), peers_link.c (connections we dial) and peers_serve.c
 * (connections we accept) share. Seen by these only. */
#pragma once

#include "node/base/list.h"
#include "node/base/metrics.h"
#include "node/runtime/net.h"
#include "ring/peers.h"

enum {
    LINK_HELLO_TIMEOUT_MS = 2000,
    LINK_BACKOFF_MIN_MS = 50,
    LINK_BACKOFF_MAX_MS = 2000,
    LINK_IDLE_MS = 5000 /* a connection to who is no member is closed when unused that long */
};
/* Of one connection, under way at once: far above what a node asks, so that only a broken one meets
 * it. */
enum { INBOUND_REQUESTS_MAX = 16384 };
/* Accepted by one core at once: a node dials once from each of its cores; and some that knock. */
enum { INBOUNDS_MAX = 16 * RING_NODES_MAX };
/* Nodes known at once: members and some that knock. */
enum { PEERS_KNOWN_MAX = 4 * RING_NODES_MAX };

/* The connection we dial to one node (or, a probe, to an address), when a call needs it.
 *   IDLE -> DIALING -> HELLO (-> PROVING, with a secret) -> UP;
 *   DIALING, HELLO, PROVING, UP -> BACKOFF (IDLE when stopping);
 *   BACKOFF -> DIALING when calls wait, else IDLE
 * When it fails, all its calls fail with the reason, also those that were not sent: a caller learns
 * at once that a node is dead. Calls that come during BACKOFF wait for the next try and share its
 * fate. A probe ends with its connection. */
enum link_state { LINK_IDLE, LINK_DIALING, LINK_HELLO, LINK_PROVING, LINK_UP, LINK_BACKOFF };
struct link {
    struct peers *peers;
    struct peer *peer;           /* NULL: a probe */
    struct list_node probe_node; /* of peers->probes */
    enum link_state state;
    struct conn *conn;  /* DIALING, HELLO, PROVING, UP */
    struct timer timer; /* DIALING, HELLO, PROVING: deadline; UP: idle; BACKOFF: next try */
    unsigned backoff_ms;
    char addr[RING_ADDR_MAX + 1]; /* dialled last */
    node_id from;                 /* PROVING, UP: who answers */
    uint32_t incarnation;
    uint8_t nonce[HELLO_NONCE_BYTES], nonce_theirs[HELLO_NONCE_BYTES];
    struct list_node calls; /* of struct peer_call: sent (UP) or waiting for UP */
    struct err broken;      /* why we close the connection; OK: the network will tell */
    struct err last;        /* why the last try failed, for the calls that time out */
    struct metric *connected;
};

/* A node that is or was of interest: member, caller or called. */
struct peer {
    node_id id;
    uint32_t incarnation;           /* the newest seen in hellos and maps */
    uint32_t addr_incarnation;      /* of the process that told addr */
    char addr[RING_ADDR_MAX + 1];   /* the address table; "": the map's copy is dialled */
    const struct ring_node *member; /* in peers->map; NULL: it is none */
    unsigned inbounds;
    struct link link;
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

/* A connection that another node dialled.
 *   NEW -> UP without a secret;  NEW -> CHALLENGED -> UP with one;  closed on any refusal */
enum inbound_state { INBOUND_NEW, INBOUND_CHALLENGED, INBOUND_UP };
struct inbound {
    struct list_node node; /* of peers->inbounds */
    struct peers *peers;
    struct conn *conn;
    enum inbound_state state;
    node_id from; /* CHALLENGED, UP */
    uint32_t incarnation;
    struct peer *peer; /* UP */
    uint8_t nonce[HELLO_NONCE_BYTES], nonce_theirs[HELLO_NONCE_BYTES];
    struct timer deadline;     /* for the hellos */
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
    REFUSED_HELLO,    /* foreign cluster, format level, fenced, another node than was dialled */
    REFUSED_SECRET,   /* does not prove the shared secret */
    REFUSED_SENDER,   /* a frame of another node, process or cluster than the hello's */
    REFUSED_MEMBER,   /* a request that its sender may not make: no member, no cluster */
    REFUSED_REQUEST,  /* unknown type, too many, stopping */
    REFUSED_COUNT
};

struct peers {
    struct core *core;
    struct ring_map *map; /* NULL: no cluster yet */
    node_id self;
    uint32_t incarnation;
    char *listen_addr, *addr, *cluster_name;
    struct buf secret;
    void (*learned)(void *ctx, node_id id, uint32_t incarnation, const char *addr);
    void *ctx;
    struct peer **known; /* ascending by id */
    uint32_t known_count, known_cap;
    struct list_node probes;
    struct list_node inbounds;
    uint32_t inbounds_count;
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

/* peers.c */
void peers_conn_closed(struct peers *peers); /* one less; may end peers_stop */
void peers_check_stopped(struct peers *peers);
void peers_refused(struct peers *peers, enum refused reason,
                   const struct err *why);         /* counts, logs */
void peers_got(struct peers *peers, uint8_t type); /* counts */
void peers_send(struct peers *peers, struct conn *conn, const struct frame *f);
struct frame peers_frame(const struct peers *peers, enum frame_type type);

/* peers_table.c */
struct peer *peer_get(const struct peers *peers, node_id id);
/* bounded: others may be the cause, so that there is a limit. NULL: no memory, too many. */
struct peer *peer_find_or_new(struct peers *peers, node_id id, bool bounded);
void peer_free(struct peer *peer);
const char *peer_addr(const struct peer *peer); /* what to dial; "": nothing known */
/* From an accepted hello: newest process and where it listens. May call `learned`. */
void peer_learn(struct peers *peers, struct peer *peer, uint32_t incarnation, const char *addr);

/* peers_hello.c */
/* The two sides of a handshake as seen from one of them. */
struct handshake {
    bool dialled; /* we did */
    node_id theirs;
    uint32_t their_incarnation;
    const uint8_t *nonce, *nonce_theirs;
};
void peers_send_hello(struct peers *peers, struct conn *conn, const uint8_t *nonce,
                      const struct handshake *proof_of); /* NULL: no proof yet */
/* Header and hello of the other side: same cluster, speakable format, not ourselves, not fenced. */
MUST_USE enum status peers_check_hello(const struct peers *peers, const struct frame *f,
                                       struct hello *out, struct err *err);
/* Proved that it knows our secret (OK when there is none). */
MUST_USE enum status peers_check_proof(const struct peers *peers, const struct hello *hello,
                                       const struct handshake *shake, struct err *err);
/* Frames after the hello: still the node, process and cluster that greeted. */
MUST_USE enum status peers_check_sender(const struct peers *peers, const struct frame *f,
                                        node_id from, uint32_t incarnation, struct err *err);
/* May that sender ask for this, of us? */
MUST_USE enum status peers_check_request(const struct peers *peers, const struct frame *f,
                                         const struct peer *from, struct err *err);

/* peers_link.c */
void link_init(struct link *link, struct peers *peers, struct peer *peer);
struct link *link_probe(struct peers *peers, const char *addr);
void link_need(struct link *link,
               struct peer_call *call); /* the call waits: dial, or send it when UP */
/* It has no calls any more: one that nobody may need soon is closed later, a probe that was never
 * dialled is freed at once. */
void link_unused(struct link *link);
void link_free_probe(struct link *link);
void link_moved(
    struct link *link); /* perhaps: dials anew, before UP, when the address is another */
void link_break(struct link *link, const struct err *why);
void link_close(struct link *link);
void link_fail_calls(struct link *link,
                     const struct err *err);    /* all that there are now, not what they start */
const char *link_addr(const struct link *link); /* for error texts */

/* peers_call.c */
struct peer_call *peers_find_call(struct peers *peers, uint64_t id);
void call_free(struct peer_call *call);
void call_end(struct peer_call *call, const struct err *err); /* frees it, tells */
void call_on_reply(struct peer_call *call, const struct frame *f);

/* peers_serve.c */
void inbound_accept(struct core *core, struct conn *conn, void *ctx);
void inbound_free_all(struct peers *peers);
