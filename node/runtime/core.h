/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/core.h: a core is one thread with one event loop, a mailbox and timers. Whatever is
 * below node/daemon is written against this page only and so runs unchanged in the simulator, where
 * all cores of all nodes share one thread, one fake clock and one seeded scheduler (struct
 * runtime_ops decides).
 *
 * Thread: core_post works from anywhere; everything else only on the core itself (asserted).
 * Order: messages from one sender to one core arrive in the order they were posted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/heap.h"
#include "node/base/status.h"

struct core;
struct disk; /* node/runtime/disk.h */
struct net;  /* node/runtime/net.h */

/* Embedded in the request that moves: whoever holds the message owns the object around it. */
struct msg {
    struct msg *next; /* private */
    void (*run)(struct core *here, struct msg *m);
};

struct timer {
    /* private */
    struct heap_node node;
    struct core *core;
    void (*fire)(struct timer *t);
};

/* Long work outside the loops (query evaluation, compression). run happens on a pool thread and may
 * touch only what it owns; done comes back to the core that submitted it. In the simulator run
 * happens as an event of its own. */
struct work {
    struct msg msg; /* private */
    struct core *home;
    void (*run)(struct work *w);
    void (*done)(struct core *here, struct work *w);
};

/* One process (or one simulated node). */
struct runtime {
    const struct runtime_ops *ops;
    struct core **cores; /* data cores 0..cores_count-1 */
    unsigned cores_count;
    struct core *log_core; /* the log thread: may block on the disk */
    /* Consensus, heartbeats and leases: what must answer while data cores and disk are busy. Never
     * touches the disk and does not listen: a data core that accepted a connection hands on what is
     * meant for it as messages. */
    struct core *control_core;
    struct disk *disk;
    struct net *net;
};

struct runtime_ops {
    void (*post)(struct core *to, struct msg *m);
    int64_t (*wall_ms)(struct runtime *rt);   /* Unix time, milliseconds; may jump */
    uint64_t (*mono_ns)(struct runtime *rt);  /* monotonic, never jumps */
    void (*timer_changed)(struct core *core); /* the earliest timer of the core changed */
    void (*submit)(struct runtime *rt, struct work *w);
    void (*random)(struct runtime *rt, void *out,
                   size_t len); /* unpredictable (real) or seeded (simulator) */
    /* See core_nap. */
    void (*nap)(struct core *core, unsigned us);
    /* run(ctx, i) for each i < count, and waits for all of them: for the start and the end of a
     * process, while no loop runs. Each on a thread of its own; one after the other in the
     * simulator. */
    void (*each)(struct runtime *rt, unsigned count, void (*run)(void *ctx, unsigned i), void *ctx);
};

/* public part; the real loop (node/runtime/loop.h) and the simulator embed this at offset 0 of
 * theirs */
struct core {
    struct runtime *rt;
    /* cores[index] == this; cores_count: the log core; cores_count + 1: the control core */
    unsigned index;
    struct heap timers;
    void *locals[8]; /* per-core objects of the layers above, by enum core_local */
};
enum core_local {
    CORE_HTTP,
    CORE_PEERS,
    CORE_STORE,
    CORE_INGEST,
    CORE_QUERY,
    CORE_NODE,
    CORE_REPLICA,
    CORE_HA
};

void core_init(struct core *core, struct runtime *rt, unsigned index);
void core_fini(struct core *core); /* no timer may be armed */

struct core *core_current(void); /* NULL on a thread that is no core */
bool core_is_current(const struct core *core);
void core_set_current(struct core *core); /* for the loop and the simulator */

static inline void core_post(struct core *to, struct msg *m) {
    to->rt->ops->post(to, m);
}
static inline int64_t core_wall_ms(const struct core *core) {
    return core->rt->ops->wall_ms(core->rt);
}
static inline uint64_t core_mono_ns(const struct core *core) {
    return core->rt->ops->mono_ns(core->rt);
}
/* On the core: it does nothing for so long. What is posted meanwhile waits, and wakes nobody, which
 * is what this is for: who gathers messages pays once for all of them. Only where nothing else
 * waits: the log core. In the simulator no time passes. */
static inline void core_nap(struct core *core, unsigned us) {
    core->rt->ops->nap(core, us);
}

void timer_init(struct timer *t, struct core *core, void (*fire)(struct timer *t));
/* Re-arms when armed. fire runs once, no earlier than delay_ms from now, on the core. */
void timer_start(struct timer *t, uint64_t delay_ms);
void timer_stop(struct timer *t); /* no-op when not armed; after it fire does not run */
bool timer_is_armed(const struct timer *t);
/* For the loop and the simulator: fires everything due; returns the earliest next due time in mono
 * ns, 0 for none. */
uint64_t core_timers_run(struct core *core, uint64_t now_ns);

/* run and done must be set; works of one core start in the order they were submitted. Never
 * refused: the caller's own limit on requests bounds how many wait. */
void work_submit(struct core *home, struct work *w);
