/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/sim.h: a whole cluster in one thread: fake clock, seeded scheduler, network and disks.
 * It implements struct runtime_ops, struct net_ops and struct disk_ops, so the code under test is
 * the shipped code.
 *
 * One event at a time: a message, a due timer, a work item, a frame, a close. The next event is
 * drawn by seed among those that may happen; each event is folded into the trace hash (kind, node,
 * core, virtual time), so that the same seed gives the same hash. Faults strike by probability per
 * event and are counted; a run that expects a fault to strike asserts its count.
 *
 * Clocks: each boot has a monotonic clock of its own origin, which goes wrong by up to 0.5 % by
 * seed of the node (timers with it), and a wall clock that is up to 100 ms off.
 *
 * Blocking: a counted call of the disk (see below) takes virtual time. The log core runs nothing
 * else meanwhile, sees the later clock, and what it posts or sends then leaves it when it wakes. An
 * event of a data core or of the control core that writes to the disk is an assertion failure
 * (node/runtime/disk.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/rng.h"
#include "node/runtime/core.h"
#include "node/runtime/disk.h"
#include "node/runtime/net.h"

/* What every node's wall clock shows at virtual time 0, but for skew and jumps. */
#define SIM_WALL_START_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

enum sim_fault {
    SIM_FRAME_LOST,      /* the frame vanishes and the connection is cut soon after */
    SIM_FRAME_DELAYED,   /* 50 ms to 3 s */
    SIM_FRAME_REORDERED, /* overtaken by a later one of the same connection */
    SIM_CONN_CUT,        /* closed at both ends, frames in flight lost */
    SIM_PARTITION,       /* two nodes cannot reach each other for a while */
    SIM_CRASH, /* a node loses power: memory gone, disk keeps what was synced and a part of the rest
                */
    SIM_WRITE_TORN,    /* at a crash: an unsynced write survives in part */
    SIM_WRITE_DROPPED, /* at a crash: an unsynced write is gone */
    SIM_NAME_DROPPED,  /* at a crash: an unsynced create, rename or unlink is undone */
    SIM_STALL,         /* a core, or every core of a node, does not run for 1 ms to 3 s */
    /* Frames from one node to another vanish, those back still pass. The sender's connection looks
     * alive until it times out 10 to 30 s after the first lost frame, or is found dead when the
     * partition heals. Nobody can dial meanwhile, in neither direction: TCP needs both. */
    SIM_PARTITION_ONE_WAY,
    SIM_FRAME_DUPLICATED, /* a frame is delivered a second time, up to 200 ms later */
    /* Per disk call of the log core: it, and what the log core calls meanwhile, takes 1 to 8 s.
     * The node's other cores and its works run on. */
    SIM_DISK_STALL,
    /* Per disk call of a node: for 0.5 to 20 s every write, create and mkdir fails with ENOSPC (a
     * write possibly after a part of it); unlink, truncate, rename and sync still work. */
    SIM_DISK_FULL,
    SIM_PAUSE,      /* SIGSTOP: all threads of a node stop for 1 to 10 s, its clocks run on */
    SIM_CLOCK_JUMP, /* the wall clock of a node jumps, by at most 10 min and to at most 10 min off
                     */
    /* Per message that a core posts: its thread stands still right after it for up to 5 ms. Whom it
     * has told goes on meanwhile, what it posts and sends behind that leaves it later. */
    SIM_PREEMPT,
    SIM_FAULT_COUNT
};
extern const char *const sim_fault_names[SIM_FAULT_COUNT];

struct sim_options {
    uint64_t seed;
    unsigned nodes_count;               /* at most 12; a node exists from its first sim_start on */
    unsigned cores_per_node;            /* at most 4 */
    bool ip_addrs;                      /* "10.0.0.1:1" instead of "n1:1", until sim_move */
    double fault_rate[SIM_FAULT_COUNT]; /* probability per frame, event or crash-time write; 0 turns
                                           it off */
    unsigned down_max; /* SIM_CRASH strikes only while fewer nodes are down (a node that never
                          started is not); 0: no bound */
    /* After any power cut, by fault or by sim_crash, outside of all shipped code; may be NULL. The
     * usual place to free the node's shipped objects and to plan the restart with sim_after. */
    void (*crashed)(void *ctx, unsigned node);
    void *ctx;
};

struct sim;
struct sim_node; /* its disk survives crashes, its runtime does not */

struct sim *sim_new(const struct sim_options *options);
/* Touches no memory of the shipped objects. To end a run: sim_kill each node, free its objects,
 * then this; or leave the nodes up, and free the objects without closing anything. */
void sim_free(struct sim *sim);
struct rng *sim_rng(struct sim *sim); /* for the workload: same seed, same run */

/* Address of a node as net_dial takes it: "n0:1". The text changes in place at sim_move. */
const char *sim_addr(struct sim *sim, unsigned node);
/* A fresh runtime on the node's surviving disk; the node must be down. The harness then opens the
 * shipped parts, with core_set_current where they ask for a core. SIM_CRASH may strike in the
 * middle: their disk calls then fail with ERR_IO, and the next step crashes the node. */
struct runtime *sim_start(struct sim *sim, unsigned node);
/* Power cut: every pending event of the node is dropped, its connections close at the peers, the
 * disk settles. Not from an event of the node itself; no-op when it is down. The harness frees the
 * memory of the shipped objects afterwards. They may still stop timers, close files and connections
 * while they go (with core_set_current on the dead core, which stays valid until sim_free), none of
 * which has any effect. */
void sim_crash(struct sim *sim, unsigned node);
/* The same, and nothing that was not synced survives. */
void sim_crash_bare(struct sim *sim, unsigned node);
/* The process ends (exit or kill -9) and the power stays on: like sim_crash, but nothing is lost
 * from the disk and `crashed` is not called. */
void sim_kill(struct sim *sim, unsigned node);
bool sim_is_up(struct sim *sim, unsigned node);
struct disk *sim_disk(struct sim *sim, unsigned node); /* usable while the node is up */
/* The node must be down: it comes back with an empty disk, or at a new address (the old one then
 * refuses dials). */
void sim_disk_wipe(struct sim *sim, unsigned node);
/* As sim_disk_rot_file of the node's disk, up or down. */
bool sim_disk_rot(struct sim *sim, unsigned node, const char *dir, const char *suffix);
void sim_move(struct sim *sim, unsigned node);

/* Calls fn once, delay_ms of virtual time from now, as an event on no core: clients, restarts,
 * checks. */
void sim_after(struct sim *sim, uint64_t delay_ms, void (*fn)(void *ctx), void *ctx);
/* Runs one event, after a jump of the clock when nothing may happen now; false when nothing is
 * pending at all. */
bool sim_step(struct sim *sim);
/* Runs until done(ctx), asked after each event, or until virtual time (as sim_now_ms tells it)
 * reaches limit_ms; false at the limit. */
bool sim_run(struct sim *sim, bool (*done)(void *ctx), void *ctx, uint64_t limit_ms);
uint64_t sim_now_ms(struct sim *sim);
uint64_t sim_events(struct sim *sim);
uint64_t sim_trace_hash(struct sim *sim);
uint64_t sim_fault_total(struct sim *sim, enum sim_fault fault);
/* off: heals everything, also what was planned, e.g. before the final check: partitions end, disks
 * have space and speed, clocks are right again. What stands still goes on in its time. */
void sim_set_faults(struct sim *sim, bool on);
/* By plan instead of by seed; counted too, and also while faults are off. A second call replaces
 * what is left of the first; a duration of 0 ends it. */
void sim_partition(struct sim *sim, unsigned a, unsigned b, uint64_t duration_ms);
/* As a partition whose frames arrive when it ends. */
void sim_hold(struct sim *sim, unsigned a, unsigned b, uint64_t duration_ms);
void sim_partition_one_way(struct sim *sim, unsigned from, unsigned to, uint64_t duration_ms);
/* The log core's disk calls in the next duration_ms end no earlier than these. */
void sim_disk_stall(struct sim *sim, unsigned node, uint64_t duration_ms);
/* The same for syncs alone: what is written is taken at once. */
void sim_sync_stall(struct sim *sim, unsigned node, uint64_t duration_ms);
/* The node's next call that changes a file or directory whose path has this text (static) fails
 * with EIO; NULL: none any more. */
void sim_disk_error(struct sim *sim, unsigned node, const char *part);
void sim_disk_full(struct sim *sim, unsigned node, bool on);
/* The node must be up. A pause cannot be shortened. */
void sim_pause(struct sim *sim, unsigned node, uint64_t duration_ms);
void sim_clock_jump(struct sim *sim, unsigned node, int64_t delta_ms);

/* The same disk alone, for crash tests of one module: power is cut at the n-th write, truncate,
 * sync, rename, unlink, create, mkdir or sync_dir. The call that is cut fails, and yet may have
 * happened in part, as any unsynced one. mkdir is durable at once; a rename is durable when the
 * directory of the new name was synced. A failed sync (sim_disk_fail_at) settles the file's
 * unsynced writes there and then, and later syncs do not bring them back, as on Linux. */
struct sim_disk;
struct sim_disk *sim_disk_new(uint64_t seed);
void sim_disk_free(struct sim_disk *d);
struct disk *sim_disk_as_disk(struct sim_disk *d);
/* 0: never; from that call on every call gives ERR_IO */
void sim_disk_cut_at(struct sim_disk *d, uint64_t call);
uint64_t sim_disk_calls(const struct sim_disk *d);
/* A bit of a file in that directory, whose name ends so and which is synced, is another from now
 * on, for who has it open, too; by seed. false: there is none. */
bool sim_disk_rot_file(struct sim_disk *d, const char *dir, const char *suffix);
/* Settles what was unsynced by seed: kept, torn or dropped; clears the cut. Files open before it
 * give ERR_IO, but must still be closed before sim_disk_free, or never. */
void sim_disk_restart(struct sim_disk *d);
/* That one call fails with EIO, ENOSPC...; a write that fails may have happened in part. */
void sim_disk_fail_at(struct sim_disk *d, uint64_t call, int os_errno);
