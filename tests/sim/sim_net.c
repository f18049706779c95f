/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the simulator. Each end is a struct sim_conn; whatever travels to an end is a
 * struct sim_packet, on the agenda until it is due and then in the queue of the end's core. Packets
 * to one end keep their order by due time, except a reordered one. An end is freed when it was told
 * `closed` and no packet to it travels; ends of a dead node stay until sim_free, so that late calls
 * of the dead objects are harmless. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "tests/sim/internal.h"

#define US 1000ULL
#define MS 1000000ULL

enum { DIAL_MS = 5000 }; /* node/runtime/net.h */

enum conn_state { CONN_DIALLING, CONN_OPEN, CONN_DEAD };

struct sim_conn {
    struct conn conn; /* first */
    struct sim_runtime *rt;
    struct list_node link; /* rt->conns */
    struct sim_conn *peer; /* NULL before it is accepted and after it is dead */
    enum conn_state state;
    unsigned peer_node;
    bool closed_here; /* conn_close was called: nothing but `closed` may come */
    bool cut;         /* nothing travels any more */
    bool mute;        /* a one-way partition took a frame, so the stream cannot go on */
    size_t travelling;
    size_t queued_bytes;
    uint64_t newest_due_ns; /* of what travels to this end, in order */
    uint64_t held_back_ns;  /* due time of a reordered frame that none has overtaken yet */
    struct buf *early;      /* sent while it is dialled: leaves when it is opened */
    size_t early_count, early_cap;
};

enum packet_kind { PACKET_DIAL, PACKET_OPENED, PACKET_FRAME, PACKET_CLOSED };

struct sim_packet {
    struct sim_agenda agenda; /* first */
    struct sim_packet *next;  /* in a core's queue or the free list */
    enum packet_kind kind;
    struct sim_conn *to; /* of a dial: the end that dials */
    struct buf frame;
    const char *why;
    bool is_copy;      /* of a frame that was duplicated */
    bool is_told;      /* of a dial: that it timed out */
    uint64_t limit_ns; /* of a dial: when it times out */
    char addr[SIM_ADDR_BYTES];
};

static struct sim_conn *conn_of(struct conn *c) {
    return container_of(c, struct sim_conn, conn);
}
static struct sim_core *conn_core(struct sim_conn *c) {
    return sim_core_of(c->conn.core);
}

struct sim_packet *sim_packet_of(struct sim_agenda *a) {
    return container_of(a, struct sim_packet, agenda);
}

static uint64_t latency_ns(struct sim *sim) {
    return 200 * US + rng_below(&sim->sched, 1800 * US);
}

static struct sim_packet *packet_new(struct sim *sim, enum packet_kind kind, struct sim_conn *to) {
    struct sim_packet *p = sim->packets_free;
    if (p != NULL)
        sim->packets_free = p->next;
    else
        p = malloc(sizeof *p);
    if (p == NULL) abort();
    p->agenda.kind = SIM_AGENDA_PACKET;
    heap_node_init(&p->agenda.heap);
    p->next = NULL;
    p->kind = kind;
    p->to = to;
    p->frame = (struct buf){0};
    p->why = NULL;
    p->is_copy = p->is_told = false;
    to->travelling++;
    return p;
}

static void conn_early_drop(struct sim_conn *c) {
    for (size_t i = 0; i < c->early_count; i++)
        buf_fini(&c->early[i]);
    free(c->early);
    c->early = NULL;
    c->early_count = c->early_cap = 0;
}

static void conn_free(struct sim_conn *c) {
    list_remove(&c->link);
    conn_early_drop(c);
    free(c);
}

static void packet_free(struct sim *sim, struct sim_packet *p) {
    struct sim_conn *to = p->to;
    to->queued_bytes -= p->frame.len;
    buf_fini(&p->frame);
    p->next = sim->packets_free;
    sim->packets_free = p;
    if (--to->travelling == 0 && to->state == CONN_DEAD && !to->rt->dead) conn_free(to);
}

void sim_packets_drop(struct sim *sim, struct sim_packet *first) {
    for (struct sim_packet *p = first, *next; p != NULL; p = next) {
        next = p->next;
        packet_free(sim, p);
    }
}

static void packet_send(struct sim *sim, struct sim_packet *p, uint64_t due_ns) {
    sim_agenda_set(sim, &p->agenda, due_ns);
}

/* In order behind whatever travels to the same end. */
static void packet_send_behind(struct sim *sim, struct sim_packet *p, uint64_t due_ns) {
    if (due_ns < p->to->newest_due_ns) due_ns = p->to->newest_due_ns;
    p->to->newest_due_ns = due_ns;
    packet_send(sim, p, due_ns);
}

static void conn_tell_closed(struct sim_conn *c, const char *why, uint64_t due_ns) {
    if (c->state == CONN_DEAD) return;
    struct sim_packet *p = packet_new(c->rt->sim, PACKET_CLOSED, c);
    p->why = why;
    packet_send(c->rt->sim, p, due_ns);
}

/* Both ends learn of it, each in its own time: often one goes on writing into the void for a while.
 */
static void conn_cut(struct sim_conn *c, const char *why) {
    struct sim *sim = c->rt->sim;
    struct sim_conn *ends[] = {c, c->peer};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (ends[i] == NULL || ends[i]->cut) continue;
        ends[i]->cut = true;
        bool is_slow = rng_chance(&sim->fault, 0.25);
        conn_tell_closed(ends[i], why,
                         sim->now_ns + sim_between(sim, MS, is_slow ? 2000 * MS : 5 * MS));
    }
}

void sim_net_cut_between(struct sim_node *a, struct sim_node *b) {
    if (a->rt == NULL) return;
    LIST_FOREACH(n, &a->rt->conns) {
        struct sim_conn *c = container_of(n, struct sim_conn, link);
        if (c->state == CONN_OPEN && c->peer_node == b->index) conn_cut(c, "connection timed out");
    }
}

/* When a one-way partition lets something through again, or a connection gives up on it. */
static uint64_t one_way_end_ns(struct sim *sim, uint64_t heal_ns) {
    uint64_t timeout_ns = sim->now_ns + sim_between(sim, 10000, 30000) * MS;
    return MIN(timeout_ns, heal_ns + sim_between(sim, MS, 50 * MS));
}

static void conn_tell_both(struct sim_conn *c, const char *why, uint64_t due_ns) {
    conn_tell_closed(c, why, due_ns);
    if (c->peer != NULL)
        conn_tell_closed(c->peer, why, due_ns + sim_between(c->rt->sim, 0, 2000 * MS));
}

/* The end's first frame into a one-way partition. */
static void conn_mute(struct sim_conn *c, uint64_t heal_ns) {
    if (c->mute) return;
    c->mute = true;
    conn_tell_both(c, "connection timed out", one_way_end_ns(c->rt->sim, heal_ns));
}

void sim_net_heal(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        if (sim->nodes[i].rt == NULL) continue;
        LIST_FOREACH(n, &sim->nodes[i].rt->conns) {
            struct sim_conn *c = container_of(n, struct sim_conn, link);
            if (!c->mute || sim_one_way_heal_ns(sim, i, c->peer_node) != 0) continue;
            conn_tell_both(c, "connection timed out", sim->now_ns + sim_between(sim, MS, 50 * MS));
        }
    }
}

/* The end of a connection, too, travels only when the way is open. */
static uint64_t close_due_ns(struct sim *sim, const struct sim_conn *from, uint64_t due_ns) {
    uint64_t heal_ns = sim_one_way_heal_ns(sim, from->rt->node->index, from->peer_node);
    return heal_ns == 0 ? due_ns : MAX(due_ns, one_way_end_ns(sim, heal_ns));
}

static enum status net_addr_check(struct sim_core *core, struct sv addr, struct err *err) {
    struct sv node = sv_from(core->rt->node->addr), mine;
    size_t colon = 0;
    (void)sv_find_char(node, ':', &colon);
    mine = sv_take(node, colon + 1);
    if (addr.len < SIM_ADDR_BYTES && sv_starts(addr, mine)) return OK;
    return err_set(err, ERR_IO, EADDRNOTAVAIL, "listen on %.*s", SV_ARG(addr));
}

static enum status net_sim_listen(struct net *net, struct core *c, struct sv addr,
                                  net_accept_cb accept, void *ctx, struct err *err) {
    struct sim_core *core = sim_core_of(c);
    (void)net;
    TRY(net_addr_check(core, addr, err));
    if (core->accept != NULL)
        return err_set(err, ERR_CONFLICT, EADDRINUSE, "listen on %.*s", SV_ARG(addr));
    core->accept = accept;
    core->accept_ctx = ctx;
    memcpy(core->listen_addr, addr.ptr, addr.len);
    core->listen_addr[addr.len] = '\0';
    return OK;
}

static void net_sim_unlisten(struct net *net, struct core *core) {
    (void)net;
    sim_core_of(core)->accept = NULL;
}

static struct sim_conn *conn_new(struct sim_core *core, enum conn_state state) {
    struct sim_conn *c = sim_zalloc(sizeof *c);
    c->conn.net = core->rt->rt.net;
    c->conn.core = &core->core;
    c->rt = core->rt;
    c->state = state;
    c->peer_node = UINT32_MAX;
    list_push_back(&core->rt->conns, &c->link);
    return c;
}

static struct conn *net_sim_dial(struct net *net, struct core *core, struct sv addr,
                                 const struct conn_events *ev, void *ctx) {
    (void)net;
    struct sim_conn *c = conn_new(sim_core_of(core), CONN_DIALLING);
    struct sim *sim = c->rt->sim;
    uint64_t now = sim_seen_ns(sim, c->rt);
    c->conn.events = ev;
    c->conn.ctx = ctx;
    if (!sim_runtime_is_live(c->rt)) return &c->conn;
    if (addr.len >= SIM_ADDR_BYTES) {
        conn_tell_closed(c, "address too long", now + latency_ns(sim));
        return &c->conn;
    }
    struct sim_packet *p = packet_new(sim, PACKET_DIAL, c);
    memcpy(p->addr, addr.ptr, addr.len);
    p->addr[addr.len] = '\0';
    p->limit_ns = now + DIAL_MS * MS;
    packet_send(sim, p, now + latency_ns(sim));
    return &c->conn;
}

/* The listening core that gets the connection: any of the node, as SO_REUSEPORT would. */
static struct sim_core *dial_target(struct sim *sim, const char *addr) {
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        struct sim_runtime *rt = sim->nodes[i].rt;
        struct sim_core *found[SIM_CORES_MAX];
        size_t count = 0;
        for (unsigned k = 0; rt != NULL && k < rt->cores_count; k++)
            if (rt->cores[k].accept != NULL && strcmp(rt->cores[k].listen_addr, addr) == 0)
                found[count++] = &rt->cores[k];
        if (count > 0) return found[rng_below(&sim->sched, count)];
    }
    return NULL;
}

static unsigned addr_node(struct sim *sim, const char *addr) {
    size_t host_len = strcspn(addr, ":");
    for (unsigned i = 0; i < sim->options.nodes_count; i++)
        if (strncmp(addr, sim->nodes[i].addr, host_len) == 0 && sim->nodes[i].addr[host_len] == ':')
            return i;
    return UINT32_MAX;
}

/* NULL when nobody answers; the dialling end then hears of it. */
static struct sim_core *dial_arrive(struct sim *sim, struct sim_packet *p) {
    struct sim_conn *c = p->to;
    unsigned node = addr_node(sim, p->addr), from = c->rt->node->index;
    if (node != UINT32_MAX && node != from) {
        bool is_cut = sim_strikes(sim, SIM_CONN_CUT);
        if (is_cut || sim_partition_get(sim, from, node) != NULL ||
            sim_one_way_heal_ns(sim, from, node) != 0 ||
            sim_one_way_heal_ns(sim, node, from) != 0) {
            uint64_t wait = sim_between(sim, 500 * MS, 5000 * MS);
            conn_tell_closed(c, "connection timed out", sim->now_ns + wait);
            return NULL;
        }
    }
    struct sim_core *core = dial_target(sim, p->addr);
    if (core == NULL) conn_tell_closed(c, "connection refused", sim->now_ns + latency_ns(sim));
    return core;
}

void sim_net_arrive(struct sim *sim, struct sim_packet *p) {
    struct sim_conn *to = p->to;
    bool is_lost =
        to->state == CONN_DEAD || (p->kind != PACKET_CLOSED && (to->cut || to->closed_here));
    struct sim_core *core = NULL;
    if (!is_lost) core = p->kind == PACKET_DIAL ? dial_arrive(sim, p) : conn_core(to);
    if (core == NULL) {
        packet_free(sim, p);
        return;
    }
    p->next = NULL;
    if (core->packet_first == NULL)
        core->packet_first = p;
    else
        core->packet_last->next = p;
    core->packet_last = p;
    sim_core_refresh(core);
    if (core->busy) sim_net_blocked(core);
}

void sim_net_blocked(struct sim_core *core) {
    for (struct sim_packet *p = core->packet_first; p != NULL; p = p->next) {
        if (p->kind != PACKET_DIAL || p->is_told || core->wake.heap.key <= p->limit_ns) continue;
        p->is_told = true;
        conn_tell_closed(p->to, "connection timed out", p->limit_ns);
    }
}

/* Lets a fault strike the packet. false: it is gone. */
static bool frame_faults(struct sim *sim, struct sim_conn *from, struct sim_packet *p,
                         uint64_t *due_ns) {
    unsigned a = from->rt->node->index, b = p->to->rt->node->index;
    if (a == b) return true;
    if (sim_strikes(sim, SIM_PARTITION)) sim_partition_strike(sim, a, b);
    if (sim_strikes(sim, SIM_PARTITION_ONE_WAY)) sim_one_way_strike(sim, a, b);
    if (sim_strikes(sim, SIM_CONN_CUT)) conn_cut(from, "connection reset by peer");
    if (sim_strikes(sim, SIM_FRAME_LOST)) {
        /* Those behind it may still arrive until both ends see the cut. */
        uint64_t soon = sim->now_ns + sim_between(sim, MS, 200 * MS);
        conn_tell_closed(from, "connection reset by peer", soon);
        conn_tell_closed(p->to, "connection reset by peer", soon + sim_between(sim, 0, 5 * MS));
        return false;
    }
    const struct sim_partition *part = sim_partition_get(sim, a, b);
    if (from->cut || (part != NULL && !part->holds)) return false;
    uint64_t heal_ns = sim_one_way_heal_ns(sim, a, b);
    if (heal_ns != 0) conn_mute(from, heal_ns);
    if (from->mute) return false;
    if (part != NULL) *due_ns = MAX(*due_ns, part->heal_ns + latency_ns(sim));
    if (sim_strikes(sim, SIM_FRAME_DELAYED)) *due_ns += sim_between(sim, 50 * MS, 3000 * MS);
    return true;
}

/* The second of the two, which nothing waits for. */
static void frame_copy(struct sim *sim, const struct sim_packet *p, uint64_t due_ns) {
    struct sim_packet *copy = packet_new(sim, PACKET_FRAME, p->to);
    copy->is_copy = true;
    buf_put_sv(&copy->frame, buf_sv(&p->frame));
    if (copy->frame.failed) abort();
    copy->to->queued_bytes += copy->frame.len;
    packet_send(sim, copy, due_ns + sim_between(sim, 0, 200 * MS));
}

static void frame_send(struct sim_conn *from, struct sim_conn *to, struct sim_packet *p) {
    struct sim *sim = from->rt->sim;
    uint64_t due_ns = sim_seen_ns(sim, from->rt) + latency_ns(sim);
    if (!frame_faults(sim, from, p, &due_ns)) {
        packet_free(sim, p);
        return;
    }
    if (due_ns < to->newest_due_ns) due_ns = to->newest_due_ns;
    if (to->held_back_ns == 0 && from->rt != to->rt && sim_draws(sim, SIM_FRAME_REORDERED)) {
        /* Counted when another one overtakes it. */
        to->held_back_ns = due_ns + sim_between(sim, MS, 20 * MS);
        packet_send(sim, p, to->held_back_ns);
        if (sim_draws(sim, SIM_FRAME_DUPLICATED)) frame_copy(sim, p, to->held_back_ns);
        return;
    }
    if (to->held_back_ns != 0) {
        if (due_ns < to->held_back_ns) sim->totals[SIM_FRAME_REORDERED]++;
        to->held_back_ns = 0;
    }
    to->newest_due_ns = due_ns;
    packet_send(sim, p, due_ns);
    if (from->rt != to->rt && sim_draws(sim, SIM_FRAME_DUPLICATED)) frame_copy(sim, p, due_ns);
}

static void net_sim_close(struct conn *conn) {
    struct sim_conn *c = conn_of(conn);
    struct sim *sim = c->rt->sim;
    if (c->closed_here || c->state == CONN_DEAD || !sim_runtime_is_live(c->rt)) return;
    c->closed_here = true;
    uint64_t now = sim_seen_ns(sim, c->rt);
    conn_tell_closed(c, "closed here", now + sim_between(sim, US, 100 * US));
    if (c->peer == NULL || c->cut || c->mute) return;
    /* Usually the peer reads what was sent before; a reset overtakes it. */
    uint64_t due_ns = now + latency_ns(sim);
    bool is_reset = sim->faults_on && rng_chance(&sim->fault, 0.125);
    if (!is_reset) due_ns = MAX(due_ns, c->peer->newest_due_ns);
    conn_tell_closed(c->peer, "closed by peer", close_due_ns(sim, c, due_ns));
}

static void conn_transmit(struct sim_conn *from, struct buf *frame) {
    struct sim_conn *to = from->peer;
    if (to == NULL) { /* into the void: `closed` is on its way */
        buf_fini(frame);
        return;
    }
    struct sim_packet *p = packet_new(from->rt->sim, PACKET_FRAME, to);
    p->frame = buf_move(frame);
    to->queued_bytes += p->frame.len;
    frame_send(from, to, p);
}

static bool conn_takes(const struct sim_conn *from, const struct buf *frame) {
    if (frame->len == 0 || frame->len > NET_FRAME_BYTES_MAX || frame->failed) return false;
    uint64_t queued = from->peer == NULL ? 0 : from->peer->queued_bytes;
    for (size_t i = 0; i < from->early_count; i++)
        queued += from->early[i].len;
    return queued + frame->len <= NET_QUEUE_BYTES_MAX;
}

static void net_sim_send(struct conn *conn, struct buf *frame) {
    struct sim_conn *from = conn_of(conn);
    struct buf bytes = buf_move(frame);
    bool takes = conn_takes(from, &bytes);
    if (!takes) net_sim_close(conn);
    if (!takes || from->closed_here || !sim_runtime_is_live(from->rt)) {
        buf_fini(&bytes);
        return;
    }
    if (from->state == CONN_DIALLING) {
        from->early = sim_grow(from->early, &from->early_cap, from->early_count, sizeof bytes);
        from->early[from->early_count++] = bytes;
        return;
    }
    conn_transmit(from, &bytes);
}

static void dial_accept(struct sim_core *core, const struct sim_packet *dial) {
    struct sim *sim = core->rt->sim;
    struct sim_conn *from = dial->to;
    if (dial->is_told || from->state != CONN_DIALLING || from->closed_here || from->cut) return;
    if (core->accept == NULL) {
        conn_tell_closed(from, "connection refused", sim->now_ns + latency_ns(sim));
        return;
    }
    struct sim_conn *c = conn_new(core, CONN_OPEN);
    c->peer = from;
    c->peer_node = from->rt->node->index;
    from->peer = c;
    from->peer_node = core->rt->node->index;
    packet_send_behind(sim, packet_new(sim, PACKET_OPENED, from), sim->now_ns + latency_ns(sim));
    core->accept(&core->core, &c->conn, core->accept_ctx);
    assert(c->conn.events != NULL); /* accept must set them at once */
}

static void conn_end(struct sim_conn *c, const char *why) {
    c->state = CONN_DEAD;
    if (c->peer != NULL) c->peer->peer = NULL;
    c->peer = NULL;
    c->conn.events->closed(&c->conn, c->conn.ctx, why);
}

void sim_net_run(struct sim_core *core) {
    struct sim *sim = core->rt->sim;
    struct sim_packet *p = core->packet_first;
    core->packet_first = p->next;
    if (core->packet_first == NULL) sim_slot_set(sim, &core->packets, false);
    struct sim_conn *c = p->to;
    bool is_lost = c->state == CONN_DEAD || c->cut || c->closed_here;
    sim_fold(sim, (uint64_t)p->kind | p->frame.len << 8);
    switch (p->kind) {
    case PACKET_DIAL: dial_accept(core, p); break;
    case PACKET_OPENED:
        if (is_lost) break;
        c->state = CONN_OPEN;
        for (size_t i = 0; i < c->early_count; i++)
            conn_transmit(c, &c->early[i]);
        conn_early_drop(c);
        c->conn.events->opened(&c->conn, c->conn.ctx);
        break;
    case PACKET_FRAME:
        sim_fold(sim, hash64(p->frame.ptr, p->frame.len, 0));
        if (is_lost) break;
        if (p->is_copy) sim->totals[SIM_FRAME_DUPLICATED]++;
        c->conn.events->frame(&c->conn, c->conn.ctx, buf_sv(&p->frame));
        break;
    case PACKET_CLOSED:
        if (c->state != CONN_DEAD) conn_end(c, p->why);
        break;
    }
    packet_free(sim, p);
}

/* Dials that wait for an accept of the dying node come to nothing. */
static void dials_refuse(struct sim *sim, struct sim_runtime *rt) {
    for (unsigned i = 0; i < rt->cores_count; i++)
        for (struct sim_packet *p = rt->cores[i].packet_first; p != NULL; p = p->next)
            if (p->kind == PACKET_DIAL)
                conn_tell_closed(p->to, "connection refused", sim->now_ns + latency_ns(sim));
}

void sim_net_kill(struct sim_runtime *rt) {
    struct sim *sim = rt->sim;
    dials_refuse(sim, rt);
    LIST_FOREACH(n, &rt->conns) {
        struct sim_conn *c = container_of(n, struct sim_conn, link), *peer = c->peer;
        c->state = CONN_DEAD;
        if (peer == NULL) continue;
        c->peer = peer->peer = NULL;
        if (c->mute) continue;
        /* A kernel that lives on says so at once; a machine without power says nothing. */
        bool is_silent = rng_chance(&sim->fault, 0.5);
        uint64_t due_ns = sim->now_ns + sim_between(sim, MS, is_silent ? 2000 * MS : 5 * MS);
        conn_tell_closed(peer, "connection reset by peer", close_due_ns(sim, c, due_ns));
    }
}

void sim_conns_free(struct sim_runtime *rt) {
    LIST_FOREACH_SAFE(n, &rt->conns) conn_free(container_of(n, struct sim_conn, link));
}

/* Frees every packet, on the agenda or in a queue; the rest of the agenda stays. */
void sim_net_free(struct sim *sim) {
    struct sim_packet *all = NULL;
    for (size_t i = 0; i < sim->agenda.count; i++) {
        struct sim_agenda *a = container_of(sim->agenda.nodes[i], struct sim_agenda, heap);
        if (a->kind != SIM_AGENDA_PACKET) continue;
        struct sim_packet *p = sim_packet_of(a);
        p->next = all;
        all = p;
    }
    for (struct sim_packet *p = all; p != NULL; p = p->next)
        sim_agenda_drop(sim, &p->agenda);
    sim_packets_drop(sim, all);
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        struct sim_runtime *rt = sim->nodes[i].rt;
        for (unsigned k = 0; rt != NULL && k < rt->cores_count; k++)
            sim_packets_drop(sim, rt->cores[k].packet_first);
    }
    for (struct sim_packet *p = sim->packets_free, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    sim->packets_free = NULL;
}

const struct net_ops sim_net_ops = {net_sim_listen, net_sim_unlisten, net_sim_dial, net_sim_send,
                                    net_sim_close};
