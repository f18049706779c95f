/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/ends.h: one end of a connection that takes notes, for tests of single connections. */
#pragma once

#include "tests/sim/sim.h"

struct end {
    struct sim *sim;
    struct conn *conn;
    unsigned opened, closed;
    uint64_t frames, bytes, closed_ms;
    uint64_t copies; /* frames that came a second time; only frames below 64 are known again */
    uint64_t seen;
    bool in_order;
    char why[64];
};
extern const struct conn_events end_events;
void end_on_frame(struct conn *c, void *ctx, struct sv frame);
void end_on_closed(struct conn *c, void *ctx, const char *why);

void end_dial(struct end *e, struct runtime *rt, const char *addr); /* all on core 0 */
void end_send(struct end *e, char first, size_t len);
void end_listen(struct end *e, struct runtime *rt, unsigned node);

struct sim *sim_quiet(uint64_t seed, unsigned nodes); /* no faults, one data core */
void run_dry(struct sim *sim);                        /* until nothing is pending */

/* Two nodes, up, with one open connection: a on node 0, b on node 1. Faults are off. */
struct pair {
    struct sim *sim;
    struct runtime *from, *to;
    struct end a, b;
};
void pair_open(struct pair *p, const struct sim_options *options);
void run_for(struct sim *sim, uint64_t ms);
