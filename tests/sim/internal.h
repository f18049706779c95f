/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/internal.h: the simulator's own structures, seen by its files only.
 *
 * Time: sim->now_ns is virtual and only grows. What lies in the future sits in one heap, the
 * agenda; when it is due it makes a slot ready. A slot is one source of events (the mailbox of a
 * core, its timers, its arrived packets, the work of a node, the harness's calls). A step draws one
 * ready slot by seed and runs one event of it. A core that blocked in a disk call, or is stalled,
 * has no ready slot until it wakes; what it posted meanwhile leaves it only then. */
#pragma once

#include "node/base/list.h"
#include "tests/sim/sim.h"

enum {
    SIM_NODES_MAX = 12,
    SIM_DATA_CORES_MAX = 4,
    SIM_CORES_MAX = SIM_DATA_CORES_MAX + 2, /* and the log core, the control core */
    SIM_ADDR_BYTES = 32,
};

/* Also the first byte of an event in the trace hash. */
enum sim_kind { SIM_MAIL, SIM_PACKET, SIM_TIMER, SIM_WORK, SIM_CALL, SIM_DOWN, SIM_UP };

struct sim_slot {
    enum sim_kind kind;
    uint32_t ready_index; /* in sim->ready; UINT32_MAX when not ready */
    struct sim_core *core;
    struct sim_runtime *rt;
};

enum sim_agenda_kind {
    SIM_AGENDA_TIMER,
    SIM_AGENDA_WAKE,
    SIM_AGENDA_RESUME,
    SIM_AGENDA_PACKET,
    SIM_AGENDA_CALL
};
struct sim_agenda {
    struct heap_node heap; /* key: virtual ns */
    enum sim_agenda_kind kind;
};

struct sim_post {
    struct sim_core *to;
    struct msg *msg;
};

struct sim_core {
    struct core core; /* first */
    struct sim_runtime *rt;
    struct sim_slot mail, packets, timers;
    struct msg *mail_first, *mail_last;
    struct sim_packet *packet_first, *packet_last;
    struct sim_agenda timer_due, wake;
    bool timer_is_due;
    bool busy;           /* until wake */
    uint64_t blocked_ns; /* what the running event spent in blocking calls, or standing still */
    uint64_t priority;   /* for biased schedules */
    struct sim_post *outbox;
    size_t outbox_count, outbox_cap;
    net_accept_cb accept; /* NULL: does not listen */
    void *accept_ctx;
    char listen_addr[SIM_ADDR_BYTES];
};

/* One life of a node. Kept until sim_free, so that the harness may still stop timers and close
 * connections of it. */
struct sim_runtime {
    struct runtime rt; /* first */
    struct sim *sim;
    struct sim_node *node;
    struct sim_runtime *next_dead;
    bool dead;       /* nothing of it runs any more */
    bool power_lost; /* cut in the middle of an event: no effect gets out, dead when the event ends
                      */
    uint64_t mono_base_ns;
    int64_t wall_skew_ms, wall_jump_ms;
    unsigned cores_count; /* with the log core and the control core */
    struct sim_core cores[SIM_CORES_MAX];
    struct core *core_ptrs[SIM_CORES_MAX];
    struct sim_slot work_slot;
    struct work **work;
    size_t work_count, work_cap;
    struct sim_agenda resume; /* there while the node is paused: no work runs */
    struct list_node conns;   /* every struct sim_conn of this life */
};

struct sim_node {
    struct sim *sim;
    unsigned index;
    char addr[SIM_ADDR_BYTES];
    unsigned moves;
    bool was_up;
    int64_t drift_ppm;      /* of its monotonic clock */
    struct sim_runtime *rt; /* NULL when down */
    struct sim_disk *disk;
    uint64_t cut_call;      /* power is cut at this call of the disk; 0: not armed */
    uint64_t cut_latest_ns; /* ... or at the first event after that */
    uint64_t disk_stall_until_ns, sync_stall_until_ns, disk_full_until_ns;
};

struct sim_partition {
    uint64_t heal_ns; /* 0: none */
    bool holds;       /* frames wait for the end; otherwise connections are cut and frames lost */
};

/* A call of the harness at a virtual time. */
struct sim_call {
    struct sim_agenda agenda; /* first */
    struct sim_call *next;
    void (*fn)(void *ctx);
    void *ctx;
};

struct sim {
    struct sim_options options;
    struct net net;
    bool faults_on;
    bool biased;
    uint64_t now_ns;
    uint64_t hash;
    uint64_t events;
    struct rng sched, fault, inner,
        user; /* separate streams: a fault more does not change the schedule's draws */
    struct heap agenda;
    struct sim_slot **ready;
    size_t ready_count, ready_cap;
    struct sim_core
        *running; /* the core whose event runs; NULL between events, in work and in calls */
    struct sim_runtime *running_rt;
    bool power_lost; /* some node's, still to be crashed */
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_runtime *dead;
    struct sim_partition partitions[SIM_NODES_MAX][SIM_NODES_MAX];
    uint64_t one_way_heal_ns[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to; over when in the past */
    uint64_t totals[SIM_FAULT_COUNT];
    struct sim_packet *packets_free;
    struct sim_call *calls_free, *call_first, *call_last;
    struct sim_slot call_slot;
};

static inline struct sim_core *sim_core_of(struct core *core) {
    return container_of(core, struct sim_core, core);
}
static inline struct sim_runtime *sim_runtime_of(struct runtime *rt) {
    return container_of(rt, struct sim_runtime, rt);
}
static inline bool sim_runtime_is_live(const struct sim_runtime *rt) {
    return !rt->dead && !rt->power_lost;
}
static inline void sim_fold(struct sim *sim, uint64_t v) {
    sim->hash = rng_rotl((sim->hash ^ v) * 0x9fb21c651e98df25ULL, 29) + 0x165667919e3779f9ULL;
}

/* sim.c */
void *sim_grow(void *ptr, size_t *cap, size_t count,
               size_t size); /* room for one more; aborts without memory */
void *sim_zalloc(size_t size);
void sim_slot_init(struct sim_slot *slot, enum sim_kind kind, struct sim_runtime *rt,
                   struct sim_core *core);
void sim_slot_set(struct sim *sim, struct sim_slot *slot, bool ready);
void sim_agenda_set(struct sim *sim, struct sim_agenda *a,
                    uint64_t due_ns); /* moves it when it is there */
void sim_agenda_drop(struct sim *sim, struct sim_agenda *a);
void sim_core_refresh(
    struct sim_core *core); /* makes its slots ready or not, after any change of its queues */
void sim_core_block(struct sim_core *core, uint64_t until_ns);
/* Seen by a handler: later than now_ns when it blocked. */
uint64_t sim_seen_ns(const struct sim *sim, const struct sim_runtime *rt);

/* sim_runtime.c */
struct sim_runtime *sim_runtime_new(struct sim *sim, struct sim_node *node);
void sim_runtime_kill(struct sim_runtime *rt); /* drops whatever waits; touches no memory of the
                                                  shipped code but timers */
void sim_runtime_free(struct sim_runtime *rt); /* touches no memory of the shipped code */
void sim_timers_changed(struct core *core);
void sim_outbox_flush(struct sim_core *core);
void sim_mail_run(struct sim_core *core);
void sim_work_run(struct sim_runtime *rt);
void sim_work_refresh(struct sim_runtime *rt); /* ready or not, after any change */
/* A node's monotonic clock at a virtual time, and the first virtual time at which it shows a value
 * (UINT64_MAX: never). */
uint64_t sim_mono_at(const struct sim_runtime *rt, uint64_t virtual_ns);
uint64_t sim_mono_when(const struct sim_runtime *rt, uint64_t mono_ns);

/* sim_net.c */
extern const struct net_ops sim_net_ops;
void sim_net_arrive(struct sim *sim, struct sim_packet *p); /* due: to the core's queue */
void sim_net_run(struct sim_core *core);                    /* delivers the core's first packet */
void sim_net_kill(struct sim_runtime *rt);                  /* its connections end at the peers */
void sim_net_cut_between(struct sim_node *a, struct sim_node *b);
void sim_net_blocked(struct sim_core *core); /* it will not run for a while: dials to it time out */
void sim_net_heal(struct sim *sim); /* one-way partitions ended early: what lost frames closes */
void sim_net_free(struct sim *sim);
void sim_conns_free(struct sim_runtime *rt);
struct sim_packet *sim_packet_of(struct sim_agenda *a);
void sim_packets_drop(struct sim *sim, struct sim_packet *first);

/* sim_fault.c */
bool sim_draws(struct sim *sim, enum sim_fault fault);   /* by its rate */
bool sim_strikes(struct sim *sim, enum sim_fault fault); /* the same, and counts */
uint64_t sim_between(struct sim *sim, uint64_t low,
                     uint64_t high); /* [low, high), from the fault stream */
void sim_fault_after_event(struct sim *sim, struct sim_runtime *rt, struct sim_core *core);
uint64_t sim_preempt_ns(struct sim *sim); /* the sender of a message stands still; 0: it does not */
void sim_fault_arm_boot(struct sim_node *node);
void sim_partition_strike(struct sim *sim, unsigned a, unsigned b); /* the caller has counted it */
const struct sim_partition *sim_partition_get(struct sim *sim, unsigned a,
                                              unsigned b);                 /* NULL: they can talk */
uint64_t sim_one_way_heal_ns(struct sim *sim, unsigned from, unsigned to); /* 0: frames pass */
void sim_one_way_strike(struct sim *sim, unsigned a, unsigned b); /* the caller has counted it */
void sim_fault_attach_disk(struct sim_node *node);

/* sim_disk.c, sim_names.c */
enum sim_disk_call {
    SIM_DISK_WRITE,
    SIM_DISK_SYNC,
    SIM_DISK_NAME,
    SIM_DISK_SYNC_DIR,
    SIM_DISK_CREATE,
    SIM_DISK_TRUNCATE
};
struct sim_disk_watch {
    /* Before each counted call; true: power is cut at it. */
    bool (*call)(void *ctx, enum sim_disk_call call, size_t len);
    bool (*is_full)(void *ctx);
    uint64_t (*now_ns)(void *ctx); /* with what the calls of this event took so far */
    void *ctx;
};
void sim_disk_watch(struct sim_disk *d, struct sim_disk_watch watch);
struct sim_disk_rates {
    double torn, dropped, name;
};
void sim_disk_fail_on(struct sim_disk *d, const char *part);
void sim_disk_set_rates(struct sim_disk *d, struct sim_disk_rates rates);
uint64_t sim_disk_total(const struct sim_disk *d, enum sim_fault fault);
void sim_disk_power_off(struct sim_disk *d); /* every call gives ERR_IO until the restart */
void sim_disk_clear(struct sim_disk *d);     /* empty, as new; what is open gives errors */
void sim_disk_exit(
    struct sim_disk *d); /* the process ends, power stays: handles and locks go, bytes stay */
