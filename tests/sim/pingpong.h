/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/pingpong.h: a small application on every interface of the runtime, to test the
 * simulator with. On each node core 1 (on odd nodes the control core) dials the next node and sends
 * numbered frames; whoever
 * listens (core 0) echoes them; each echo goes through the log core, which writes to a file and
 * sometimes syncs, and now and then through a work item. It asserts what the interfaces promise at
 * every event, and so fails when the simulator breaks a promise. */
#pragma once

#include "node/base/list.h"
#include "tests/sim/sim.h"

enum { WORLD_NODES = 3, APP_NOTES = 256, LINK_IDS_MAX = 1 << 16 };

struct app;
struct link {
    struct list_node node; /* app->links */
    struct app *app;
    struct conn *conn;
    bool dialled, opened;
    uint64_t next_id, newest_id;
    uint8_t seen[LINK_IDS_MAX / 8];
};

struct note {
    struct msg msg;
    struct app *app;
    uint64_t number;
};

/* One life of a node. */
struct app {
    struct world *world;
    unsigned node;
    struct runtime *rt;
    struct timer beat, redial;
    uint64_t beat_due_ns;
    struct list_node links;
    struct link *out;
    struct file *file;
    uint64_t file_bytes;
    struct note notes[APP_NOTES];
    uint64_t notes_sent, notes_seen;
    struct work work;
    bool working;
    uint64_t work_input, work_result;
};

struct world {
    struct sim *sim;
    struct app *apps[WORLD_NODES]; /* NULL while down */
    unsigned down_ms;
    uint64_t until_ms;
    /* what happened */
    uint64_t sent, delivered, echoed, overtaken, copies, notes_failed, opened, closed, refused,
        works, boots, boots_failed, boots_full, events;
    uint64_t echoed_by[WORLD_NODES];
};

/* Runs the application for run_ms with the options' faults, then without for as long as it takes
 * that every node gets an echo again; false when that does not come within 20 s. */
bool world_run(const struct sim_options *options, uint64_t run_ms, struct world *out,
               uint64_t *out_hash, uint64_t totals[SIM_FAULT_COUNT]);
