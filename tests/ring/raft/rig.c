/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/raft/rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void start(struct rig *g, unsigned node) {
    struct rig_node *n = &g->nodes[node];
    struct raft_config config = g->config;
    struct raft_state state = saved_state(&n->disk);
    struct raft_event tick = {.type = RAFT_EV_TICK};
    struct err err = {0};
    config.self = node;
    config.seed = node;
    n->applied_count = 0;
    n->restored = 0;
    n->told_removed = false;
    cr_assert(raft_new(&config, &state, g->now_ms, &n->raft, &err) == OK, "%s", err.msg);
    rig_step(g, node, &tick);
}

void rig_init(struct rig *g, unsigned count, unsigned voters, unsigned learners) {
    struct raft_member items[RIG_NODES];
    struct raft_snapshot s = {
        .index = 1, .term = 1, .members = {items, voters + learners}, .bytes = SV("birth")};
    uint32_t msg_bytes_max = g->config.msg_bytes_max > 0 ? 1 : 0;
    memset(g, 0, sizeof *g);
    g->config.msg_bytes_max = msg_bytes_max;
    g->now_ms = 10000;
    g->count = count;
    for (unsigned i = 0; i < voters + learners; i++)
        items[i] = (struct raft_member){.id = i + 1, .voter = i < voters};
    for (unsigned i = 1; i <= voters + learners; i++) {
        saved_snapshot(&g->nodes[i].disk, &s);
        g->nodes[i].disk.term = 1;
    }
    for (unsigned i = 1; i <= count; i++)
        start(g, i);
}

static void pending_drop(struct rig_node *n) {
    for (unsigned i = 0; i < n->pending_count; i++)
        raft_batch_free(n->pending[i].batch);
    n->pending_count = 0;
}

void rig_fini(struct rig *g) {
    rig_drop(g);
    for (unsigned i = 1; i <= g->count; i++) {
        pending_drop(&g->nodes[i]);
        raft_free(g->nodes[i].raft);
        saved_fini(&g->nodes[i].disk);
    }
}

static void take_out(struct rig *g, unsigned node, const struct raft_out *out) {
    struct rig_node *n = &g->nodes[node];
    if (out->batch != NULL) {
        cr_assert(n->pending_count < PENDING_MAX);
        n->pending[n->pending_count++].batch = raft_batch_clone(out->batch);
    }
    for (size_t i = 0; i < out->msgs_count; i++) {
        const struct raft_msg *m = &out->msgs[i];
        cr_assert(g->msgs_count < RIG_MSGS_MAX && m->from == node && m->to != node);
        struct rig_msg *slot = &g->msgs[g->msgs_count++];
        *slot = (struct rig_msg){.from = node, .to = (unsigned)m->to};
        raft_msg_put(m, &slot->bytes);
    }
    if (out->restore != NULL) n->restored = out->restore->index;
    for (size_t i = 0; i < out->applied_count; i++) {
        const struct raft_entry *e = &out->applied[i];
        cr_assert(n->applied_count < RIG_APPLIED_MAX && e->bytes.len < 32 * 17);
        n->applied[n->applied_count].index = e->index;
        n->applied[n->applied_count].term = e->term;
        n->applied[n->applied_count].type = e->type;
        n->applied[n->applied_count].len = e->bytes.len;
        memset(n->applied[n->applied_count].bytes, 0, 32);
        if (e->bytes.len > 0)
            memcpy(n->applied[n->applied_count].bytes, e->bytes.ptr, MIN(e->bytes.len, (size_t)31));
        n->applied_count++;
    }
    if (out->reads_count > 0) n->read = out->reads[out->reads_count - 1];
    n->told_removed = n->told_removed || out->removed;
}

struct raft_reply rig_step(struct rig *g, unsigned node, const struct raft_event *ev) {
    struct raft_out out;
    raft_step(g->nodes[node].raft, g->now_ms, ev, &out);
    take_out(g, node, &out);
    struct raft_reply reply = out.reply;
    if (!g->nodes[node].hold_saves) rig_save(g, node);
    return reply;
}

void rig_save(struct rig *g, unsigned node) {
    struct rig_node *n = &g->nodes[node];
    while (n->pending_count > 0) {
        struct raft_batch *b = n->pending[0].batch;
        struct raft_event ev = {.type = RAFT_EV_PERSISTED, .token = b->token};
        struct raft_out out;
        saved_apply(&n->disk, b, 4);
        n->pending_count--;
        memmove(n->pending, n->pending + 1, n->pending_count * sizeof n->pending[0]);
        raft_batch_free(b);
        raft_step(n->raft, g->now_ms, &ev, &out);
        take_out(g, node, &out);
    }
}

void rig_save_fails(struct rig *g, unsigned node) {
    struct raft_event ev = {.type = RAFT_EV_PERSIST_FAILED};
    pending_drop(&g->nodes[node]);
    rig_step(g, node, &ev);
}

struct raft_reply rig_propose(struct rig *g, unsigned node, const char *text) {
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .bytes = sv_from(text)};
    return rig_step(g, node, &ev);
}

struct raft_reply rig_change(struct rig *g, unsigned node, enum raft_change change, uint64_t id) {
    struct raft_event ev = {.type = RAFT_EV_CHANGE, .change = change, .id = id};
    return rig_step(g, node, &ev);
}

static struct rig_msg take_msg(struct rig *g, unsigned at) {
    struct rig_msg m = g->msgs[at];
    g->msgs_count--;
    memmove(g->msgs + at, g->msgs + at + 1, (g->msgs_count - at) * sizeof g->msgs[0]);
    return m;
}

void rig_flow(struct rig *g, unsigned from, unsigned to) {
    for (unsigned i = 0, done = 0; i < g->msgs_count; done++) {
        cr_assert(done < 100000, "messages without end");
        if ((from != 0 && g->msgs[i].from != from) || (to != 0 && g->msgs[i].to != to)) {
            i++;
            continue;
        }
        struct rig_msg m = take_msg(g, i);
        if (!g->cut[m.from][m.to] && m.to <= g->count) {
            struct raft_msg msg;
            struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &msg};
            cr_assert(raft_msg_get(buf_sv(&m.bytes), &msg, NULL) == OK);
            rig_step(g, m.to, &ev);
            raft_msg_fini(&msg);
        }
        buf_fini(&m.bytes);
        if (from == 0 && to == 0) i = 0;
    }
}

unsigned rig_waiting(struct rig *g, enum raft_msg_type type, unsigned from, unsigned to) {
    unsigned count = 0;
    for (unsigned i = 0; i < g->msgs_count; i++)
        count += (uint8_t)g->msgs[i].bytes.ptr[0] == (uint8_t)type &&
                 (from == 0 || g->msgs[i].from == from) && (to == 0 || g->msgs[i].to == to);
    return count;
}

void rig_drop(struct rig *g) {
    while (g->msgs_count > 0) {
        struct rig_msg m = take_msg(g, g->msgs_count - 1);
        buf_fini(&m.bytes);
    }
}

void rig_tick(struct rig *g, unsigned node, uint64_t after_ms) {
    struct raft_event tick = {.type = RAFT_EV_TICK};
    g->now_ms += after_ms;
    rig_step(g, node, &tick);
}

bool rig_elect(struct rig *g, unsigned node, unsigned mask) {
    bool cut[RIG_NODES + 1][RIG_NODES + 1];
    rig_drop(g);
    memcpy(cut, g->cut, sizeof cut);
    for (unsigned i = 1; i <= g->count; i++)
        for (unsigned k = 1; k <= g->count; k++)
            if ((i != node && k != node) || !((mask >> i) & 1 || i == node) ||
                !((mask >> k) & 1 || k == node))
                g->cut[i][k] = true;
    for (unsigned round = 0; round < 12 && rig_info(g, node).role != RAFT_LEADER; round++) {
        if (round % 4 == 0) rig_tick(g, node, 2000); /* the first may only teach it the term */
        rig_flow(g, node, 0);
        if (rig_info(g, node).role != RAFT_LEADER) rig_flow(g, 0, node);
    }
    memcpy(g->cut, cut, sizeof cut);
    return rig_info(g, node).role == RAFT_LEADER;
}

void rig_restart(struct rig *g, unsigned node) {
    pending_drop(&g->nodes[node]);
    raft_free(g->nodes[node].raft);
    start(g, node);
}

void rig_settle(struct rig *g) {
    rig_flow(g, 0, 0);
    for (unsigned round = 0; round < 3; round++) {
        g->now_ms += 150;
        for (unsigned i = 1; i <= g->count; i++)
            if (rig_info(g, i).role == RAFT_LEADER) rig_tick(g, i, 0);
        rig_flow(g, 0, 0);
    }
}

struct raft_info rig_info(struct rig *g, unsigned node) {
    return raft_info(g->nodes[node].raft);
}

const char *rig_last(struct rig *g, unsigned node) {
    const struct rig_node *n = &g->nodes[node];
    for (unsigned i = n->applied_count; i > 0; i--)
        if (n->applied[i - 1].type == RAFT_ENTRY_DATA) return n->applied[i - 1].bytes;
    return "";
}
