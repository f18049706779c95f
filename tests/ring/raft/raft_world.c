/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/raft/raft_world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

const char *const fault_names[FAULT_COUNT] = {
    "drop",       "double",     "delay",     "partition",   "one-way",   "crash",
    "lost batch", "torn batch", "slow save", "save failed", "late tick", "storm"};
const char *const happening_names[DID_COUNT] = {
    "propose",  "commit",  "read",     "read refused", "transfer",    "take-over",
    "add",      "promote", "demote",   "remove",       "rolled back", "told",
    "snapshot", "install", "truncate", "lease"};

enum agenda_kind { AT_MSG, AT_TICK, AT_SAVED, AT_RESTART, AT_CRASH, AT_STORM, AT_CHAOS };
struct event {
    struct heap_node heap; /* key: ms */
    enum agenda_kind kind;
    unsigned node, life;
    size_t len;
    char bytes[];
};

void world_fail(struct world *w, const char *fmt, ...) {
    if (w->failure[0] != '\0') return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->failure, sizeof w->failure, fmt, args);
    va_end(args);
}

struct sim_node *world_node(struct world *w, uint64_t id) {
    assert(id >= 1 && id <= w->nodes_count);
    return &w->nodes[id - 1];
}

static uint64_t between(struct world *w, uint64_t low, uint64_t high) {
    assert(low <= high);
    return low + rng_below(&w->rng, high - low + 1);
}

static bool strikes(struct world *w, enum fault f, double p) {
    if (w->healed || !rng_chance(&w->rng, p)) return false;
    w->faults[f]++;
    return true;
}

static void plan(struct world *w, enum agenda_kind kind, unsigned node, uint64_t at_ms,
                 struct sv bytes) {
    struct event *e = malloc(sizeof *e + bytes.len);
    if (e == NULL) abort();
    *e = (struct event){.kind = kind, .node = node, .life = w->nodes[node].life, .len = bytes.len};
    heap_node_init(&e->heap);
    if (bytes.len > 0) memcpy(e->bytes, bytes.ptr, bytes.len);
    if (heap_push(&w->agenda, &e->heap, at_ms) != OK) abort();
}

static void send_one(struct world *w, const struct raft_msg *m, struct sv bytes) {
    unsigned from = (unsigned)m->from - 1, to = (unsigned)m->to - 1;
    if (w->cut[from][to] > w->now_ms) return;
    if (strikes(w, FAULT_DROP, m->entries_count > 0 ? MAX(w->drop, w->entry_drop) : w->drop))
        return;
    uint64_t delay = between(w, 0, w->storm > 0 ? 15 : 5);
    if (strikes(w, FAULT_DELAY, w->slow)) delay = between(w, 0, w->delay_max_ms);
    if (m->type == RAFT_MSG_VOTE && strikes(w, FAULT_DELAY, w->vote_delay))
        delay = between(w, w->config.election_min_ms, w->config.election_max_ms);
    if (m->type == RAFT_MSG_VOTE_REPLY && m->granted && strikes(w, FAULT_STORM, w->vote_crash))
        plan(w, AT_CRASH, from, w->now_ms + between(w, 0, 3), (struct sv){0});
    plan(w, AT_MSG, to, w->now_ms + delay, bytes);
}

static void send_all(struct world *w, const struct raft_out *out) {
    for (size_t i = 0; i < out->msgs_count; i++) {
        const struct raft_msg *m = &out->msgs[i];
        struct buf bytes = {0};
        raft_msg_put(m, &bytes);
        assert(m->to != m->from && !bytes.failed);
        send_one(w, m, buf_sv(&bytes));
        if (strikes(w, FAULT_DOUBLE, w->dup)) send_one(w, m, buf_sv(&bytes));
        buf_fini(&bytes);
    }
}

static void save_later(struct world *w, struct sim_node *n, const struct raft_batch *b) {
    uint64_t due = w->now_ms + between(w, 0, w->save_max_ms);
    if (strikes(w, FAULT_SLOW_SAVE, w->slow / 4)) due = w->now_ms + between(w, 0, w->slow_max_ms);
    if (n->pending_count > 0 && due < n->pending[n->pending_count - 1].due_ms)
        due = n->pending[n->pending_count - 1].due_ms;
    if (n->pending_count == PENDING_MAX) {
        world_fail(w, "too many batches are not saved");
        return;
    }
    w->did[DID_TRUNCATE] += b->truncate_from > 0;
    struct raft_batch *copy = raft_batch_clone(b);
    if (copy == NULL) abort();
    n->pending[n->pending_count++] = (struct pending_batch){copy, due};
    plan(w, AT_SAVED, (unsigned)n->id - 1, due, (struct sv){0});
}

static void step(struct world *w, struct sim_node *n, const struct raft_event *ev,
                 struct raft_reply *out_reply);

static void make_snapshot(struct world *w, struct sim_node *n) {
    struct raft_info info = raft_info(n->raft);
    uint64_t index = n->applied - rng_below(&w->rng, 3);
    if (index <= info.snapshot_index || index > n->applied || w->committed[index].digest == 0)
        return;
    char bytes[64] = {0};
    put_u64le(bytes, w->committed[index].digest);
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT,
                            .index = index,
                            .bytes = sv_make(bytes, 8 + rng_below(&w->rng, 50))};
    w->did[DID_SNAPSHOT]++;
    step(w, n, &ev, NULL);
}

static void step(struct world *w, struct sim_node *n, const struct raft_event *ev,
                 struct raft_reply *out_reply) {
    struct raft_out out;
    uint64_t led = n->role == RAFT_LEADER ? n->term : 0;
    if (ev->type == RAFT_EV_MSG && ev->msg->type == RAFT_MSG_TIMEOUT_NOW) n->transfer_target = true;
    raft_step(n->raft, w->now_ms + n->skew_ms, ev, &out);
    if (out_reply != NULL) *out_reply = out.reply;
    if (w->options.trace) {
        struct raft_info i = raft_info(n->raft);
        printf("%6" PRIu64 " node %" PRIu64 " ev %d msg %s from %" PRIu64 " | %s term %" PRIu64
               " commit %" PRIu64 " last %" PRIu64 " applied %" PRIu64 " voters %u\n",
               w->now_ms, n->id, (int)ev->type,
               ev->type == RAFT_EV_MSG ? raft_msg_name(ev->msg->type) : "-",
               ev->type == RAFT_EV_MSG ? ev->msg->from : 0, raft_role_name(i.role), i.term,
               i.commit, i.last, i.applied, raft_members_voters(i.members));
    }
    w->did[DID_INSTALL] += out.restore != NULL && n->applied > 0;
    check_step(w, n, &out);
    if (w->failure[0] != '\0') return;
    if (out.batch != NULL) save_later(w, n, out.batch);
    send_all(w, &out);
    n->deadline_ms = out.deadline_ms == UINT64_MAX ? UINT64_MAX : out.deadline_ms - n->skew_ms;
    if (n->deadline_ms < n->tick_due_ms) {
        n->tick_due_ms = n->deadline_ms < w->now_ms ? w->now_ms : n->deadline_ms;
        plan(w, AT_TICK, (unsigned)n->id - 1, n->tick_due_ms, (struct sv){0});
    }
    if (n->role == RAFT_LEADER && n->term != led && strikes(w, FAULT_STORM, w->storm))
        plan(w, AT_STORM, (unsigned)n->id - 1, w->now_ms + between(w, 0, 40), (struct sv){0});
    if (out.snapshot_wanted && rng_chance(&w->rng, 0.3)) make_snapshot(w, n);
}

static void start(struct world *w, struct sim_node *n) {
    struct raft_config config = w->config;
    struct raft_state state = saved_state(&n->disk);
    struct err err = {0};
    config.self = n->id;
    config.seed = rng_u64(&w->rng);
    n->skew_ms = rng_below(&w->rng, 100000);
    n->commit_seen = n->disk.snapshot.index;
    n->applied = n->digest = n->members_seen = 0;
    n->role = RAFT_FOLLOWER;
    n->term = 0;
    n->transfer_target = false;
    n->reads_count = 0;
    n->tick_due_ms = UINT64_MAX;
    if (raft_new(&config, &state, w->now_ms + n->skew_ms, &n->raft, &err) != OK) {
        world_fail(w, "node %" PRIu64 " does not start: %s", n->id, err.msg);
        return;
    }
    struct raft_event tick = {.type = RAFT_EV_TICK};
    step(w, n, &tick, NULL);
}

/* Of the batches under way the first ones are on disk, perhaps part of the next. */
static void crash(struct world *w, struct sim_node *n) {
    bool torn = true;
    for (unsigned i = 0; i < n->pending_count; i++) {
        unsigned part = torn ? (unsigned)rng_below(&w->rng, 5) : 0;
        if (part < 4) torn = false;
        w->faults[part == 0 ? FAULT_LOST_BATCH : FAULT_TORN_BATCH] += part < 4;
        saved_apply(&n->disk, n->pending[i].batch, part);
        raft_batch_free(n->pending[i].batch);
    }
    n->pending_count = 0;
    raft_free(n->raft);
    n->raft = NULL;
    n->role = RAFT_FOLLOWER;
    n->life++;
}

static void crash_and_restart(struct world *w, struct sim_node *n) {
    if (n->raft == NULL) return;
    crash(w, n);
    uint64_t after = rng_chance(&w->rng, 0.5) ? 20 : w->config.election_max_ms * 3;
    plan(w, AT_RESTART, (unsigned)n->id - 1, w->now_ms + between(w, 1, after), (struct sv){0});
}

static void saved_one(struct world *w, struct sim_node *n) {
    struct raft_event ev = {.type = RAFT_EV_PERSISTED};
    if (n->pending_count == 0 || n->role == RAFT_DOWN) return;
    struct raft_batch *b = n->pending[0].batch;
    if (strikes(w, FAULT_SAVE_FAILED, w->save_failed)) {
        ev.type = RAFT_EV_PERSIST_FAILED;
        step(w, n, &ev, NULL);
        plan(w, AT_RESTART, (unsigned)n->id - 1, w->now_ms + between(w, 1, 3000), (struct sv){0});
        return;
    }
    saved_apply(&n->disk, b, 4);
    ev.token = b->token;
    n->pending_count--;
    memmove(n->pending, n->pending + 1, n->pending_count * sizeof n->pending[0]);
    raft_batch_free(b);
    step(w, n, &ev, NULL);
}

static void try_change(struct world *w, struct sim_node *n) {
    static const enum happening did[] = {
        [RAFT_ADD_LEARNER] = DID_ADD,
        [RAFT_PROMOTE] = DID_PROMOTE,
        [RAFT_DEMOTE] = DID_DEMOTE,
        [RAFT_REMOVE] = DID_REMOVE,
    };
    struct raft_reply reply = {0};
    enum raft_change change = (enum raft_change)between(w, RAFT_ADD_LEARNER, RAFT_REMOVE);
    struct raft_event ev = {
        .type = RAFT_EV_CHANGE, .change = change, .id = between(w, 1, w->nodes_count)};
    step(w, n, &ev, &reply);
    if (reply.status == OK) w->did[did[change]]++;
}

static void client(struct world *w, struct sim_node *n) {
    char payload[64] = {0};
    struct raft_reply reply = {0};
    if (rng_chance(&w->rng, w->propose)) {
        put_u64le(payload, ++w->next_payload);
        struct raft_event ev = {.type = RAFT_EV_PROPOSE,
                                .bytes = sv_make(payload, 8 + rng_below(&w->rng, 40))};
        step(w, n, &ev, &reply);
        w->did[DID_PROPOSE] += reply.status == OK;
    }
    if (rng_chance(&w->rng, w->read) && n->reads_count < READS_MAX) {
        struct raft_event ev = {.type = RAFT_EV_READ, .id = ++w->next_read};
        n->reads[n->reads_count++] = (struct asked_read){ev.id, w->commit_max};
        step(w, n, &ev, &reply);
        if (reply.status != OK) n->reads_count--;
    }
    if (rng_chance(&w->rng, w->transfer)) {
        struct raft_event ev = {.type = RAFT_EV_TRANSFER,
                                .id = rng_below(&w->rng, w->nodes_count + 1)};
        step(w, n, &ev, &reply);
        w->did[DID_TRANSFER] += reply.status == OK;
    }
    if (rng_chance(&w->rng, w->change)) try_change(w, n);
}

static void partition(struct world *w) {
    uint64_t until = w->now_ms + between(w, 50, w->config.election_max_ms * 4);
    if (rng_chance(&w->rng, 0.4)) {
        w->cut[rng_below(&w->rng, w->nodes_count)][rng_below(&w->rng, w->nodes_count)] = until;
        w->faults[FAULT_ONE_WAY]++;
        return;
    }
    uint64_t side = rng_u64(&w->rng);
    for (unsigned a = 0; a < w->nodes_count; a++)
        for (unsigned b = 0; b < w->nodes_count; b++)
            if (((side >> a) & 1) != ((side >> b) & 1)) w->cut[a][b] = until;
    w->faults[FAULT_PARTITION]++;
}

/* Elections with few entries spread and few votes left is what the worst cases are made of (figure
 * 8 of the paper): the new leader takes a proposal and is gone, or unheard for a while, or one of
 * those who elected it restarts. */
static void storm(struct world *w, struct sim_node *n) {
    char payload[8];
    put_u64le(payload, ++w->next_payload);
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .bytes = sv_make(payload, sizeof payload)};
    step(w, n, &ev, NULL);
    if (w->failure[0] != '\0') return;
    uint64_t until = w->now_ms + between(w, 20, w->config.election_max_ms * 2);
    switch (rng_below(&w->rng, 4)) {
    case 0: crash_and_restart(w, n); break;
    case 1: crash_and_restart(w, &w->nodes[rng_below(&w->rng, w->nodes_count)]); /* fallthrough */
    default:
        for (unsigned i = 0; i < w->nodes_count; i++)
            if (rng_chance(&w->rng, 0.7)) w->cut[n->id - 1][i] = until;
        break;
    }
}

/* Every few ms: a client somewhere, now and then a fault. */
static void chaos(struct world *w) {
    struct sim_node *n = &w->nodes[rng_below(&w->rng, w->nodes_count)];
    if (rng_chance(&w->rng, 0.8)) /* mostly at whoever leads */
        for (unsigned i = 0; i < w->nodes_count; i++)
            if (w->nodes[i].raft != NULL && w->nodes[i].role == RAFT_LEADER &&
                (n->role != RAFT_LEADER || rng_chance(&w->rng, 0.5)))
                n = &w->nodes[i];
    if (n->raft != NULL) client(w, n);
    if (w->failure[0] != '\0') return;
    if (strikes(w, FAULT_CRASH, w->crash))
        crash_and_restart(
            w, rng_chance(&w->rng, 0.5) ? n : &w->nodes[rng_below(&w->rng, w->nodes_count)]);
    if (rng_chance(&w->rng, w->partition)) partition(w);
    plan(w, AT_CHAOS, 0, w->now_ms + between(w, 5, 60), (struct sv){0});
}

static void deliver(struct world *w, struct sim_node *n, struct sv bytes) {
    struct raft_msg m;
    struct err err = {0};
    if (raft_msg_get(bytes, &m, &err) != OK) {
        world_fail(w, "%s", err.msg);
        return;
    }
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &m};
    step(w, n, &ev, NULL);
    raft_msg_fini(&m);
}

static void tick(struct world *w, struct sim_node *n) {
    struct raft_event ev = {.type = RAFT_EV_TICK};
    n->tick_due_ms = UINT64_MAX;
    if (n->deadline_ms == UINT64_MAX) return;
    if (n->deadline_ms > w->now_ms || strikes(w, FAULT_LATE_TICK, w->slow / 4)) {
        n->tick_due_ms = n->deadline_ms > w->now_ms ? n->deadline_ms
                                                    : w->now_ms + between(w, 1, w->delay_max_ms);
        plan(w, AT_TICK, (unsigned)n->id - 1, n->tick_due_ms, (struct sv){0});
        return;
    }
    step(w, n, &ev, NULL);
}

static void run_until(struct world *w, uint64_t until_ms) {
    while (w->failure[0] == '\0') {
        struct heap_node *top = heap_peek(&w->agenda);
        if (top == NULL || top->key > until_ms) break;
        struct event *e = container_of(heap_pop(&w->agenda), struct event, heap);
        struct sim_node *n = &w->nodes[e->node];
        w->now_ms = e->heap.key;
        bool lives = n->raft != NULL && (n->life == e->life || e->kind == AT_MSG);
        switch (e->kind) {
        case AT_MSG:
            if (lives) deliver(w, n, sv_make(e->bytes, e->len));
            break;
        case AT_TICK:
            if (lives && n->tick_due_ms == w->now_ms) tick(w, n);
            break;
        case AT_SAVED:
            if (lives) saved_one(w, n);
            break;
        case AT_RESTART:
            if (n->raft != NULL && n->role == RAFT_DOWN) crash(w, n);
            if (n->raft == NULL) start(w, n);
            break;
        case AT_CRASH:
            if (!lives || w->healed) break;
            crash(w, n);
            plan(w, AT_RESTART, e->node, w->now_ms + between(w, 0, 3), (struct sv){0});
            break;
        case AT_STORM:
            if (lives && !w->healed) storm(w, n);
            break;
        case AT_CHAOS:
            if (!w->healed) chaos(w);
            break;
        }
        free(e);
    }
    if (w->failure[0] == '\0') w->now_ms = until_ms;
}

static void characterise(struct world *w) {
    struct rng *r = &w->rng;
    static const double some[] = {0, 0.01, 0.05, 0.2};
    static const double few[] = {0, 0, 0.002, 0.02};
    static const double rare[] = {0, 0, 0.01, 0.05};
    w->drop = some[rng_below(r, 4)];
    w->dup = some[rng_below(r, 4)];
    w->slow = some[rng_below(r, 4)];
    w->crash = some[rng_below(r, 4)] / 2;
    w->partition = some[rng_below(r, 4)] / 4;
    w->save_failed = few[rng_below(r, 4)] / 2;
    w->propose = rng_chance(r, 0.1) ? 0 : rng_unit(r);
    w->read = rng_unit(r) * 0.5;
    w->transfer = rare[rng_below(r, 4)];
    w->change = rng_chance(r, 0.4) ? 0 : rng_unit(r) * 0.5;
    w->delay_max_ms = between(w, 10, 1500);
    w->save_max_ms = rng_chance(r, 0.5) ? 3 : between(w, 1, 80);
    w->slow_max_ms = between(w, 10, 800);
    w->config = (struct raft_config){.election_min_ms = between(w, 150, 400),
                                     .heartbeat_ms = between(w, 40, 100),
                                     .snapshot_entries = (uint32_t)between(w, 4, 60),
                                     .trailing_entries = (uint32_t)between(w, 1, 20),
                                     .msg_bytes_max = between(w, 1, 600)};
    w->config.election_max_ms = 2 * w->config.election_min_ms;
    if (rng_chance(r, 0.5)) { /* as many elections as can be, messages of one entry */
        w->config.election_min_ms = between(w, 60, 120);
        w->config.election_max_ms = 2 * w->config.election_min_ms;
        w->config.heartbeat_ms = between(w, 15, 40);
        w->storm = 0.9;
        w->entry_drop = 0.7;
        if (rng_chance(r, 0.6)) {
            w->vote_delay = 0.4;
            w->vote_crash = 0.3;
        }
        w->change = 0;
        w->crash /= 8;
        w->partition /= 8;
        w->slow = 0.2;
        w->propose /= 8;
        w->delay_max_ms = 2 * w->config.election_max_ms;
        w->config.msg_bytes_max = 1;
    }
    static const unsigned sizes[] = {1, 3, 3, 5, 5, 2, 4};
    w->voters_count = sizes[rng_below(r, ARRAY_LEN(sizes))];
    if (w->storm > 0) w->voters_count = rng_chance(r, 0.5) ? 3 : 5;
    w->nodes_count = (unsigned)between(
        w, w->voters_count, NODES_MAX < w->voters_count + 3 ? NODES_MAX : w->voters_count + 3);
}

/* Voters know each other from a founding snapshot; the others wait to be added, and some are
 * learners from the beginning. */
static void found(struct world *w) {
    struct raft_member items[NODES_MAX];
    struct raft_snapshot s = {.index = 1, .term = 1, .members.items = items};
    char bytes[8];
    put_u64le(bytes, 42);
    s.bytes = sv_make(bytes, sizeof bytes);
    w->committed[1].digest = 42;
    w->committed[1].term = 1;
    w->commit_max = w->commit_term_max = 1;
    for (unsigned i = 0; i < w->nodes_count; i++) {
        bool voter = i < w->voters_count;
        w->nodes[i].id = i + 1;
        if (!voter && rng_chance(&w->rng, 0.5)) continue;
        items[s.members.count++] = (struct raft_member){.id = i + 1, .voter = voter};
    }
    for (unsigned i = 0; i < w->voters_count; i++) {
        saved_snapshot(&w->nodes[i].disk, &s);
        w->nodes[i].disk.term = 1;
    }
    for (unsigned i = 0; i < w->nodes_count && w->failure[0] == '\0'; i++)
        start(w, &w->nodes[i]);
}

/* A leader that is elected after the faults has nothing proposed: it must commit all the same. */
static void heal(struct world *w) {
    w->healed = true;
    memset(w->cut, 0, sizeof w->cut);
    for (unsigned i = 0; i < w->nodes_count && w->failure[0] == '\0'; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->raft != NULL && (n->role == RAFT_DOWN || n->role == RAFT_LEADER)) crash(w, n);
        if (n->raft == NULL) start(w, n);
    }
}

bool world_run(struct world *w, const struct world_options *options) {
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->now_ms = 1000;
    rng_init(&w->rng, options->seed);
    heap_init(&w->agenda);
    characterise(w);
    found(w);
    plan(w, AT_CHAOS, 0, w->now_ms, (struct sv){0});
    run_until(w, w->now_ms + w->options.chaos_ms);
    if (w->failure[0] == '\0') heal(w);
    run_until(w, w->now_ms + w->delay_max_ms + w->slow_max_ms + 20 * w->config.election_min_ms);
    if (w->failure[0] == '\0') check_converged(w);
    for (struct heap_node *h = heap_pop(&w->agenda); h != NULL; h = heap_pop(&w->agenda))
        free(container_of(h, struct event, heap));
    heap_fini(&w->agenda);
    for (unsigned i = 0; i < w->nodes_count; i++) {
        struct sim_node *n = &w->nodes[i];
        for (unsigned k = 0; k < n->pending_count; k++)
            raft_batch_free(n->pending[k].batch);
        raft_free(n->raft);
        saved_fini(&n->disk);
    }
    return w->failure[0] == '\0';
}
