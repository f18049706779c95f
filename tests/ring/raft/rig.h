/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ring/raft/rig.h: up to six cores driven by hand: nothing is delivered, saved or due unless
 * the test says so. Nodes are 1 to 6. */
#pragma once

#include "tests/ring/raft/raft_world.h"

enum { RIG_NODES = 6, RIG_MSGS_MAX = 512, RIG_APPLIED_MAX = 256 };

struct rig_msg {
    unsigned from, to;
    struct buf bytes;
};
struct rig_node {
    struct raft *raft;
    struct saved disk;
    struct pending_batch pending[PENDING_MAX];
    unsigned pending_count;
    bool hold_saves;
    bool told_removed;
    uint64_t restored; /* index */
    struct raft_read read;
    struct {
        uint64_t index, term;
        enum raft_entry_type type;
        char bytes[32];
        size_t len;
    } applied[RIG_APPLIED_MAX];
    unsigned applied_count;
};
struct rig {
    uint64_t now_ms;
    struct raft_config config;
    struct rig_node nodes[RIG_NODES + 1];
    unsigned count;
    bool cut[RIG_NODES + 1][RIG_NODES + 1];
    struct rig_msg msgs[RIG_MSGS_MAX];
    unsigned msgs_count;
};

/* Voters 1..voters and learners behind them know each other; nodes up to count wait. */
void rig_init(struct rig *g, unsigned count, unsigned voters, unsigned learners);
void rig_fini(struct rig *g);
struct raft_reply rig_step(struct rig *g, unsigned node, const struct raft_event *ev);
struct raft_reply rig_propose(struct rig *g, unsigned node, const char *text);
struct raft_reply rig_change(struct rig *g, unsigned node, enum raft_change change, uint64_t id);
void rig_save(struct rig *g, unsigned node); /* all that waits */
void rig_save_fails(struct rig *g, unsigned node);
/* Delivers what waits from, to (0: any) and what that causes; what is cut is lost. */
void rig_flow(struct rig *g, unsigned from, unsigned to);
unsigned rig_waiting(struct rig *g, enum raft_msg_type type, unsigned from, unsigned to);
void rig_drop(struct rig *g); /* whatever waits */
void rig_tick(struct rig *g, unsigned node, uint64_t after_ms);
/* Time passes, node campaigns; the messages between it and the others of the mask flow (bit i: node
 * i). True: it leads. Nothing of its appends is delivered. */
bool rig_elect(struct rig *g, unsigned node, unsigned mask);
void rig_restart(struct rig *g, unsigned node); /* unsaved batches are lost */
void rig_settle(struct rig *g);                 /* a heartbeat round or three among all */
struct raft_info rig_info(struct rig *g, unsigned node);
/* Text of the last DATA entry applied there; "" for none. */
const char *rig_last(struct rig *g, unsigned node);
