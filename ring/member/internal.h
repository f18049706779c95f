/* SPDX-License-Identifier: Apache-2.0 */
/* ring/member/internal.h: what the files of a member share. Seen by these only. All of it belongs
 * to the control core, but for struct relay. */
#pragma once

#include "node/base/list.h"
#include "ring/member/member.h"
#include "ring/member/voters.h"
#include "ring/member/wire.h"
#include "ring/raft/store.h"

enum {
    PROBE_MS = 300,          /* discovery addresses, while this node has no leader */
    PROBE_IDLE_MS = 30000,   /* and while it has one; also how often names are looked up again */
    PROBE_TIMEOUT_MS = 1000, /* of probes and promises */
    PROBE_FRESH_MS = 3000,   /* who answered a probe that lately is there */
    RESOLVE_RETRY_MS = 2000, /* after a look-up that failed, or while there is no leader */
    CLOUDMAP_ANSWERS = 5,    /* an address is listed while one of so many answers has it */
    JOIN_RETRY_MIN_MS = 250,
    JOIN_RETRY_MAX_MS = 5000,
    RAFT_CALL_MS = 1000,
    RAFT_CALLS_MAX = 64, /* under way to one node; consensus lives with losses */
    HAND_OVER_MS = 1000, /* a leader that stops waits that long for a successor */
    ADDRESSES_SAVE_MS = 2000,
    BEATS_KEPT = 64,
    ADMIN_CALL_MS = 10000,
    /* a wish after which nothing was proposed for so long is there already */
    ADMIN_SETTLE_MS = 200,
    FULL_RETRY_MS = 500 /* saving again on a disk without room */
};

enum member_phase {
    MEMBER_UNBORN = 1,
    MEMBER_FOUNDING,
    MEMBER_JOINING,
    MEMBER_MEMBER,
    MEMBER_REMOVED
};

/* Work for the log core, which may block: work runs there, done on the control core after. */
struct job {
    struct msg msg;
    struct list_node link; /* of member->jobs */
    struct list_node save; /* of member->r.saves */
    struct member *m;
    void (*work)(struct job *job);
    void (*done)(struct member *m, struct job *job);
    enum status status;
    struct err err;
    struct raft_batch *batch; /* owned */
    bool full;                /* there was no room for it */
    struct ring_map *map;     /* a reference */
    struct buf bytes;
    node_id id;
    uint32_t incarnation;
    struct relay *relay;
};

/* A request to another node. */
struct call {
    struct list_node link; /* of member->calls */
    struct member *m;
    struct peer_call *peer;
    node_id to;
    enum frame_type type;
    struct buf reply;
    void (*done)(struct member *m, struct call *call, enum status status, const struct err *err);
    uint64_t number; /* the asker's */
    void *ctx;       /* the asker's */
    char addr[RING_ADDR_MAX + 1];
};
struct call_options {
    node_id to;
    const char *addr; /* to == 0 */
    enum frame_type type;
    uint64_t timeout_ms, number;
    void *ctx;
    void (*done)(struct member *m, struct call *call, enum status status, const struct err *err);
};

/* What came in on a data core: a frame of another node on its way to the control core and back, or
 * an address learned from a hello (type FRAME_HELLO; no answer). It stays on the list of the data
 * core it came from; the control core owns the rest while it has the message. */
struct relay {
    struct msg msg;
    struct list_node link; /* of member->relays[home->index] */
    struct member *m;
    struct core *home;
    struct peer_request *req; /* home's; NULL when the asker is gone */
    enum frame_type type;
    node_id from;
    uint32_t incarnation;
    struct buf payload, answer;
    enum status status;
    struct err err;
    struct admin_call call; /* FRAME_ADMIN */
    bool sent_back;
};

/* Somebody's address: out of discovery, or of a node that asked us by its own. */
struct target {
    char addr[RING_ADDR_MAX + 1];
    bool listed;     /* in the newest answers of discovery; else learned */
    unsigned missed; /* good answers without it since the last with it */
    bool asking, promising;
    uint64_t asked_at_ms; /* for its promise */
    bool granted;         /* its durable promise is ours */
    uint64_t heard_ms;    /* its last answer; 0: none */
    struct join_answer last;
};

struct ping { /* how long a data core takes to read its mail */
    struct msg msg;
    struct member *m;
    bool out;
    uint64_t sent_ns;
};

struct seen { /* by the leader */
    node_id id;
    uint64_t first_ms, last_ms;
};

enum admin_stage { ADMIN_NEW, ADMIN_ASKED };
struct admin_wait { /* a verb that is answered when the map has it, or an election of HA */
    struct list_node link;
    struct admin_call *call;
    struct relay *relay; /* one of them */
    enum admin_stage stage;
    uint64_t since_ms;
    uint64_t term, index; /* HA: of its proposal, until that is applied; 0: none */
};

enum metrics_beat { METRICS_BEAT_ANSWERED, METRICS_BEAT_REFUSED, METRICS_BEAT_LOST, METRICS_BEATS };

struct member {
    struct runtime *rt;
    struct core *core;
    struct member_options o; /* texts are copies */
    enum member_phase phase;
    struct peers *peers;
    bool started, stopping, stopped_told, lost, removed, dirty, settling;
    bool leaving; /* stopping, or about to: no lease any more */
    struct timer stop_timer;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    uint64_t stop_deadline_ms;
    struct list_node jobs, calls;
    struct list_node *relays; /* one per data core, its own */

    struct { /* drive.c */
        struct raft *raft;
        struct raft_store *store; /* the log core's once started */
        struct raft_state loaded; /* of the store, until the first save */
        struct ring_state state;
        uint64_t applied, ha_version;
        bool snapshot_wanted;
        struct timer timer;
        struct list_node saves; /* jobs, in order; the first is under way or waits for room */
        struct timer retry;
        bool full;
    } r;
    struct {                     /* install.c */
        struct ring_map *newest; /* known to be committed; NULL: none */
        struct ring_map *under_way;
        bool saving;
        uint64_t full_ms;          /* no room: not again before; 0: there is */
        uint64_t saved, installed; /* versions */
    } map;
    struct { /* beat.c */
        struct timer timer;
        uint64_t sequence, answered;
        uint64_t sent_ns[BEATS_KEPT]; /* by sequence */
        node_id hint;                 /* who may lead, by the last answer; 0: unknown */
        node_id bad;                  /* did not answer the last heartbeat */
        uint32_t next_voter;
        uint64_t last_ms;
        bool draining;
        struct core_report *reports; /* by data core */
        struct ping *pings;
    } beat;
    struct { /* birth.c */
        struct timer timer;
        struct target *targets;
        size_t targets_count;
        node_id promised;
        bool promise_writing;
        char join_addr[RING_ADDR_MAX + 1];
        bool join_asking;
        uint64_t join_at_ms, probe_at_ms, log_at_ms;
        unsigned join_backoff_ms;
        struct resolve *resolve;
        bool cloudmap_asking;
        uint64_t resolve_at_ms;
        char cloudmap_said[480]; /* what it failed with; "": it did not */
    } birth;
    struct {                           /* lead.c */
        struct controller *controller; /* while it leads and its no-op is applied */
        uint64_t no_op_term;           /* the newest term of its own whose no-op is applied */
        uint64_t term, since_ms;       /* of the controller */
        bool news;                     /* the controller has heard something since its last step */
        struct ring_map *next;         /* proposed, on its way */
        uint64_t proposed_term, proposed_index;
        struct seen *seen;
        size_t seen_count, seen_cap;
        struct timer timer;
        uint64_t voters_at_ms;
        struct list_node waits; /* of struct admin_wait */
    } lead;
    struct { /* metrics.c */
        struct metric *beats[METRICS_BEATS];
        uint64_t at_ms;
    } metrics;
    struct {                          /* address.c */
        struct member_address *items; /* ascending by id */
        size_t count, cap;
        struct timer timer;
        bool saving;
    } addr;
};

static inline uint64_t member_now_ms(const struct member *m) {
    return core_mono_ns(m->core) / 1000000;
}

/* member.c */
struct job *member_job(struct member *m, void (*work)(struct job *job),
                       void (*done)(struct member *m, struct job *job)); /* NULL: no memory */
void member_job_post(struct job *job);                                   /* to the log core */
void member_job_post_to(struct job *job, struct core *to);
void member_job_free(struct job *job); /* one that was not posted */
void member_call(struct member *m, const struct call_options *options, struct buf *payload);
void member_lose(struct member *m, const struct err *why); /* lost(), once */
void member_removed(struct member *m,
                    const struct err *why); /* the same, as the cluster wants it */
/* What follows from what has happened, until nothing does. Each entry point ends with it. */
void member_settle(struct member *m);
void member_path(const struct member *m, const char *name, char out[600]);

/* drive.c: Raft. */
MUST_USE enum status drive_open(struct member *m, struct err *err); /* blocks */
MUST_USE enum status drive_start(struct member *m, const struct raft_state *state, struct err *err);
void drive_stop(struct member *m); /* saves that wait for room are given up */
void drive_fini(struct member *m);
bool drive_no_room(const struct err *err);
void drive_step(struct member *m, const struct raft_event *event, struct raft_reply *out_reply);
void drive_on_frame(struct member *m, struct relay *relay);
node_id drive_leader(const struct member *m); /* 0: not known */
bool drive_leads(const struct member *m);
void drive_found(struct member *m, const struct ring_map *map);
void drive_snapshot(struct member *m);

/* install.c */
void install_newer(struct member *m, struct ring_map *map); /* borrowed; passed over when older */
void install_step(struct member *m);
void install_fini(struct member *m);

/* beat.c */
MUST_USE enum status beat_open(struct member *m, struct err *err);
void beat_start(struct member *m);
void beat_now(struct member *m);
void beat_leader_changed(struct member *m);
void beat_on_frame(struct member *m, struct relay *relay);
void beat_fini(struct member *m);

/* metrics.c */
void metrics_open(struct member *m);
void metrics_beat(struct member *m, enum metrics_beat what);
void metrics_step(struct member *m);
/* Steps of this process's cores of consensus from one role to another. */
struct metric *metrics_role(enum raft_role from, enum raft_role to);

/* birth.c: discovery, probes, promises, founding; join.c: joining and the answers to those who do
 */
MUST_USE enum status birth_open(struct member *m, struct err *err); /* blocks */
void birth_start(struct member *m);
void birth_step(struct member *m);
void birth_fini(struct member *m);
void promise_on_frame(struct member *m, struct relay *relay);
void promise_step(struct member *m, uint64_t now_ms);
void join_step(struct member *m, uint64_t now_ms);
void join_begin(struct member *m, const char *addr);
void join_on_frame(struct member *m, struct relay *relay);

/* discover.c: the addresses to probe */
MUST_USE enum status discover_open(struct member *m, struct err *err);
void discover_learn(struct member *m, const char *addr);          /* of one who asked */
struct target *discover_find(struct member *m, const char *addr); /* NULL: not any more */
void discover_step(struct member *m, uint64_t now_ms);
void discover_fini(struct member *m);

/* lead.c */
void leader_open(struct member *m);
void leader_step(struct member *m);
void leader_applied(struct member *m, const struct raft_entry *entry, bool changed);
void leader_fini(struct member *m);
void leader_saw(struct member *m, node_id id, uint64_t now_ms);
MUST_USE enum status leader_propose(struct member *m, struct buf *command, uint64_t *out_term,
                                    uint64_t *out_index);
uint64_t leader_age_ms(const struct member *m, node_id id, uint64_t now_ms);

/* address.c */
MUST_USE enum status address_open(struct member *m, struct err *err); /* blocks */
void address_learn(struct member *m, node_id id, uint32_t incarnation, const char *addr);
void address_from_map(struct member *m, const struct ring_map *old, const struct ring_map *map);
void address_publish(struct member *m);                     /* all, to this core's peers */
const char *address_of(const struct member *m, node_id id); /* "": not known */
void address_fini(struct member *m);

/* admin.c, status.c */
void admin_on_frame(struct member *m, struct relay *relay);
void admin_step(struct member *m);
void admin_applied(struct member *m, const struct raft_entry *entry);
/* The controller has heard all wishes, and proposes something or nothing. */
void admin_stepped(struct member *m, bool proposed, uint64_t now_ms);
void admin_committed(struct member *m, bool ours); /* or what was proposed came to nothing */
void admin_fail_all(struct member *m, const char *why);
void admin_forget(struct member *m); /* the callers are dead */
void status_put(struct member *m, struct buf *out);

/* relay.c */
void relay_reply(struct relay *relay, struct buf *answer); /* takes answer */
void relay_fail(struct relay *relay, enum status status, const char *text);
void relay_fini_all(struct member *m);
