/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/ends.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void end_on_opened(struct conn *c, void *ctx) {
    struct end *e = ctx;
    cr_assert(c == e->conn && e->frames == 0 && e->closed == 0);
    e->opened++;
}

void end_on_frame(struct conn *c, void *ctx, struct sv frame) {
    struct end *e = ctx;
    cr_assert(c == e->conn && e->closed == 0 && frame.len > 0);
    uint64_t bit = 1ULL << (frame.ptr[0] & 63);
    e->copies += (e->seen & bit) != 0;
    e->seen |= bit;
    e->in_order = (e->frames == 0 || e->in_order) && frame.ptr[0] == (char)e->frames;
    e->frames++;
    e->bytes += frame.len;
}

void end_on_closed(struct conn *c, void *ctx, const char *why) {
    struct end *e = ctx;
    cr_assert(c == e->conn && e->closed == 0);
    e->closed++;
    e->closed_ms = sim_now_ms(e->sim);
    snprintf(e->why, sizeof e->why, "%s", why);
}

const struct conn_events end_events = {end_on_opened, end_on_frame, end_on_closed};

static void end_accept(struct core *core, struct conn *c, void *ctx) {
    struct end *e = ctx;
    cr_assert(core_is_current(core) && e->conn == NULL);
    e->conn = c;
    conn_set_events(c, &end_events, e);
}

void end_dial(struct end *e, struct runtime *rt, const char *addr) {
    core_set_current(rt->cores[0]);
    e->conn = net_dial(rt->cores[0], sv_from(addr), &end_events, e);
    core_set_current(NULL);
}

void end_send(struct end *e, char first, size_t len) {
    struct buf b = {0};
    char *p = buf_extend(&b, len);
    cr_assert(p != NULL);
    p[0] = first;
    core_set_current(e->conn->core);
    conn_send(e->conn, &b);
    core_set_current(NULL);
}

void end_listen(struct end *e, struct runtime *rt, unsigned node) {
    core_set_current(rt->cores[0]);
    cr_assert(net_listen(rt->cores[0], sv_from(sim_addr(e->sim, node)), end_accept, e, NULL) == OK);
    core_set_current(NULL);
}

struct sim *sim_quiet(uint64_t seed, unsigned nodes) {
    return sim_new(&(struct sim_options){.seed = seed, .nodes_count = nodes, .cores_per_node = 1});
}

void run_dry(struct sim *sim) {
    while (sim_step(sim)) {
    }
}

void pair_open(struct pair *p, const struct sim_options *options) {
    struct sim_options o = *options;
    o.nodes_count = MAX(o.nodes_count, 2U);
    o.cores_per_node = 1;
    *p = (struct pair){.sim = sim_new(&o)};
    p->a.sim = p->b.sim = p->sim;
    p->from = sim_start(p->sim, 0);
    p->to = sim_start(p->sim, 1);
    sim_set_faults(p->sim, false);
    end_listen(&p->b, p->to, 1);
    end_dial(&p->a, p->from, sim_addr(p->sim, 1));
    while (p->a.opened == 0)
        cr_assert(sim_step(p->sim));
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}
void run_for(struct sim *sim, uint64_t ms) {
    sim_run(sim, never, NULL, sim_now_ms(sim) + ms);
}
