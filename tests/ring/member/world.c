/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/member/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"

enum { REPORTS_EVERY_MS = 100 };

bool world_fail(struct world *w, const char *fmt, ...) {
    if (w->failure[0] != '\0') return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->failure, sizeof w->failure, fmt, args);
    va_end(args);
    return false;
}

static struct seat *world_seat_of(struct world *w, node_id id) {
    struct seat *newest = NULL; /* of two processes with one id */
    for (unsigned i = 0; i < w->seats_count; i++) {
        struct seat *s = &w->seats[i];
        if (s->id == id && s->member != NULL &&
            (newest == NULL || s->incarnation > newest->incarnation))
            newest = s;
    }
    return newest;
}

/* -- the data plane: perfect, and knows everything */

static bool has_caught_up(struct world *w, const struct ring_map *map, uint32_t shard, node_id id) {
    const struct seat *other = world_seat_of(w, id);
    if (other == NULL || other->lost || other->map == NULL) return false;
    int i = ring_map_node_index(map, id);
    return i >= 0 && map->nodes[i].incarnation == other->incarnation &&
           other->map->shards[shard].epoch == map->shards[shard].epoch &&
           ring_shard_replica(&other->map->shards[shard], ring_map_node_index(other->map, id)) >= 0;
}

static size_t reports_fill(struct seat *seat, struct shard_report *out) {
    const struct ring_map *map = seat->map;
    int self = ring_map_node_index(map, seat->id);
    size_t n = 0;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        if (shard->replicas[shard->primary].node != self) continue;
        out[n++] = (struct shard_report){s, shard->epoch, REPORT_OPEN, seat->id};
        for (unsigned r = 0; r < shard->replicas_count; r++) {
            const struct ring_replica *rep = &shard->replicas[r];
            node_id id = map->nodes[rep->node].id;
            bool waits =
                rep->state == REPLICA_INIT || (rep->state == REPLICA_FULL && !rep->in_sync);
            if (waits && has_caught_up(seat->world, map, s, id))
                out[n++] = (struct shard_report){s, shard->epoch, REPORT_CAUGHT_UP, id};
        }
    }
    return n;
}

static void seat_report(struct timer *t) {
    struct seat *seat = container_of(t, struct seat, reports);
    timer_start(t, REPORTS_EVERY_MS);
    if (seat->map == NULL || seat->lost) return;
    struct core_report report = {.core = 0, .map_version = seat->map->version};
    report.reports = calloc(WORLD_SHARDS * (RING_REPLICAS_MAX + 1), sizeof *report.reports);
    if (report.reports == NULL) abort();
    report.reports_count = reports_fill(seat, report.reports);
    member_report(seat->member, &report);
}

/* -- what a map may say */

static void check_map(struct world *w, struct ring_map *map) {
    struct err err;
    if (ring_map_check(map, &err) != OK) world_fail(w, "a broken map: %s", err.msg);
    if (!w->founded) {
        w->founded = true;
        memcpy(w->cluster_id, map->settings.cluster_id, sizeof w->cluster_id);
    }
    if (memcmp(w->cluster_id, map->settings.cluster_id, sizeof w->cluster_id) != 0)
        world_fail(w, "two clusters were founded");
    struct buf bytes = {0};
    ring_map_put(map, &bytes);
    uint64_t hash = hash64(bytes.ptr, bytes.len, 0) | 1;
    buf_fini(&bytes);
    if (map->version >= WORLD_VERSIONS) {
        world_fail(w, "map version %" PRIu64 ": the controller does not come to rest",
                   map->version);
        return;
    }
    uint64_t *known = &w->version_hash[map->version];
    if (*known != 0 && *known != hash) world_fail(w, "two maps of version %" PRIu64, map->version);
    *known = hash;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        node_id id = map->nodes[shard->replicas[shard->primary].node].id;
        node_id *primary = &w->primaries[s][shard->epoch % WORLD_EPOCHS];
        if (*primary != 0 && *primary != id)
            world_fail(w, "shard %u has two primaries in epoch %u", s, shard->epoch);
        *primary = id;
    }
}

static void map_print(struct world *w, const struct ring_map *map) {
    printf("%" PRIu64 " ms map %" PRIu64 ":", sim_now_ms(w->sim), map->version);
    for (uint32_t i = 0; i < map->nodes_count; i++)
        printf(" %u=%" PRIx64 " inc %u flags %u %s", i, map->nodes[i].id >> 48,
               map->nodes[i].incarnation, map->nodes[i].flags, map->nodes[i].addr);
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        printf("\n   shard %u epoch %u primary %u:", s, shard->epoch, shard->primary);
        for (unsigned r = 0; r < shard->replicas_count; r++)
            printf(" %u%s%s", shard->replicas[r].node,
                   (const char *[]){"", "full", "init", "log", "leaving"}[shard->replicas[r].state],
                   shard->replicas[r].in_sync ? "*" : "");
    }
    printf("\n");
}

static void world_see(struct world *w, struct ring_map *map) {
    if (map == NULL || (w->newest != NULL && map->version <= w->newest->version)) return;
    if (w->o.print) map_print(w, map);
    check_map(w, map);
    ring_map_unref(w->newest);
    w->newest = ring_map_ref(map);
    w->maps++;
}

static uint64_t seat_now_ns(const struct seat *seat) {
    return seat->rt->ops->mono_ns(seat->rt);
}

/* Whoever may be read by its own map and lease must be waited for by the newest map. A process
 * reads nothing before the map knows its incarnation. */
static void check_lease(struct world *w, const struct seat *seat) {
    const struct ring_map *own = seat->map, *newest = w->newest;
    if (own == NULL || own->version == newest->version) return;
    if (!lease_is_held(&seat->lease, seat_now_ns(seat))) return;
    int here = ring_map_node_index(own, seat->id), there = ring_map_node_index(newest, seat->id);
    if (own->nodes[here].incarnation != seat->incarnation) return;
    /* A later process of its id is only started when this one cannot be alive (locks of the data
     * directory or seat): the controller does not wait for its lease to end. */
    if (there >= 0 && newest->nodes[there].incarnation > seat->incarnation) return;
    for (uint32_t s = 0; s < own->settings.shards_count; s++) {
        int r = ring_shard_replica(&own->shards[s], here);
        if (r < 0 || !ring_replica_is_readable(&own->shards[s].replicas[r])) continue;
        int q = there < 0 ? -1 : ring_shard_replica(&newest->shards[s], there);
        if (q >= 0 && newest->shards[s].replicas[q].in_sync) continue;
        world_fail(w,
                   "node %u is under lease with map %" PRIu64 ", reads shard %u, and map %" PRIu64
                   " does not wait for it",
                   seat->node, own->version, s, newest->version);
    }
}

static void world_check(struct world *w) {
    for (unsigned i = 0; i < w->seats_count; i++)
        if (w->seats[i].member != NULL) world_see(w, member_map(w->seats[i].member));
    for (unsigned i = 0; i < w->seats_count && w->newest != NULL; i++)
        if (w->seats[i].member != NULL) check_lease(w, &w->seats[i]);
}

/* -- lives */

static void seat_install(void *ctx, struct ring_map *map) {
    struct seat *seat = ctx;
    check_map(seat->world, map);
    if (seat->map != NULL && map->version <= seat->map->version)
        world_fail(seat->world, "node %u installs map %" PRIu64 " after %" PRIu64, seat->node,
                   map->version, seat->map->version);
    ring_map_unref(seat->map);
    seat->map = ring_map_ref(map);
    struct core *here = core_current();
    for (unsigned i = 0; i < WORLD_CORES; i++) { /* the messages of a real data plane */
        core_set_current(seat->rt->cores[i]);
        peers_set_map(seat->peers[i], map);
    }
    core_set_current(here);
    member_installed(seat->member, map->version);
}

static void world_restart_lost(void *ctx) {
    struct seat *seat = ctx;
    seat->restart_planned = false;
    if (!seat->lost || seat->member == NULL || seat->stays_down) return;
    world_kill(seat->world, seat->node);
    world_start(seat->world, seat->node);
}

static void seat_lost(void *ctx, const struct err *why) {
    struct seat *seat = ctx;
    seat->lost = true;
    seat->lost_why = *why;
    seat->world->losses++;
    if (seat->restart_planned) return;
    seat->restart_planned = true;
    sim_after(seat->world->sim, 500, world_restart_lost, seat);
}

static void seat_learned(void *ctx, node_id id, uint32_t incarnation, const char *addr) {
    struct seat *seat = ctx;
    if (seat->member != NULL) member_learned(seat->member, id, incarnation, addr);
}

static void seat_bury(struct seat *seat) {
    if (seat->rt == NULL) return;
    core_set_current(seat->rt->control_core);
    if (seat->reports.core != NULL) timer_stop(&seat->reports);
    member_free(seat->member);
    for (unsigned i = 0; i <= WORLD_CORES; i++) {
        core_set_current(i < WORLD_CORES ? seat->rt->cores[i] : seat->rt->control_core);
        peers_free(seat->peers[i]);
        seat->peers[i] = NULL;
    }
    core_set_current(NULL);
    ring_map_unref(seat->map);
    arena_fini(&seat->arena);
    seat->map = NULL;
    seat->member = NULL;
    seat->rt = NULL;
    seat->reports = (struct timer){0};
}

static void seat_discovery(struct seat *seat) {
    struct world *w = seat->world;
    struct err err;
    size_t n = (size_t)snprintf(seat->list, sizeof seat->list, "static:");
    for (unsigned i = 0; i < w->seats_count; i++)
        n += (size_t)snprintf(seat->list + n, sizeof seat->list - n, "%s%s", i == 0 ? "" : ",",
                              sim_addr(w->sim, i));
    if (w->o.alone) seat->list[0] = '\0';
    if (w->o.cloudmap != NULL) snprintf(seat->list, sizeof seat->list, "cloudmap://space/service");
    arena_init(&seat->arena, 1 << 20);
    if (discovery_parse(sv_from(seat->list), &seat->arena, &seat->discovery, &err) != OK) abort();
}

static bool seat_open_peers(struct seat *seat, unsigned i) {
    static const enum frame_type types[] = {FRAME_RAFT, FRAME_HEARTBEAT, FRAME_JOIN, FRAME_PROMISE,
                                            FRAME_ADMIN};
    struct core *core = i < WORLD_CORES ? seat->rt->cores[i] : seat->rt->control_core;
    struct peers_options o = {.map = seat->map,
                              .self = seat->id,
                              .incarnation = seat->incarnation,
                              .listen_addr = i < WORLD_CORES ? seat->addr : "",
                              .addr = seat->addr,
                              .cluster_name = "sim",
                              .learned = seat_learned,
                              .ctx = seat};
    struct err err;
    core_set_current(core);
    if (peers_new(core, &o, &seat->peers[i], &err) != OK) abort();
    core->locals[CORE_PEERS] = seat->peers[i];
    for (size_t t = 0; i < WORLD_CORES && t < ARRAY_LEN(types); t++)
        peers_handle(seat->peers[i], types[t], member_on_frame, seat->member);
    return peers_start(seat->peers[i], &err) == OK;
}

static enum status seat_open(struct seat *seat, struct err *err) {
    struct world *w = seat->world;
    snprintf(seat->addr, sizeof seat->addr, "%s", sim_addr(w->sim, seat->node));
    seat_discovery(seat);
    if (w->prepare != NULL) w->prepare(seat);
    struct member_options o = {.dir = "ring",
                               .self = seat->id,
                               .incarnation = seat->incarnation,
                               .cluster_name = "sim",
                               .addr = seat->addr,
                               .zone = seat->zone,
                               .discovery = &seat->discovery,
                               .cloudmap = w->o.cloudmap,
                               .cloudmap_ctx = seat,
                               .bootstrap_expect = seat->expect,
                               .shards_count = WORLD_SHARDS,
                               .replication_factor = w->o.rf,
                               .replace_after_ms = 20000,
                               .lease = &seat->lease,
                               .install = seat_install,
                               .lost = seat_lost,
                               .ctx = seat};
    TRY(member_open(seat->rt, &o, &seat->member, &seat->map, err));
    if (seat->map != NULL) check_map(w, seat->map);
    for (unsigned i = 0; i <= WORLD_CORES; i++)
        if (!seat_open_peers(seat, i)) return err_set(err, ERR_IO, 0, "cannot listen");
    core_set_current(seat->rt->control_core);
    TRY(member_start(seat->member, seat->peers[WORLD_CORES], err));
    timer_init(&seat->reports, seat->rt->control_core, seat_report);
    timer_start(&seat->reports, REPORTS_EVERY_MS);
    return OK;
}

static void world_restart(void *ctx) {
    struct seat *seat = ctx;
    if (seat->rt == NULL && !seat->stays_down) world_start(seat->world, seat->node);
}

void world_start(struct world *w, unsigned node) {
    struct seat *seat = &w->seats[node];
    assert(seat->rt == NULL);
    seat->stays_down = seat->lost = seat->stopped = false;
    seat->incarnation++;
    seat->lease = (struct lease){0};
    seat->rt = sim_start(w->sim, node);
    w->boots++;
    struct err err = {0};
    enum status status = seat_open(seat, &err);
    core_set_current(NULL);
    if (status == OK) return;
    if (sim_is_up(w->sim, node) && status != ERR_IO) /* only a broken disk stops a start */
        world_fail(w, "node %u does not start: %s", node, err.msg);
    if (sim_is_up(w->sim, node)) sim_kill(w->sim, node);
    seat_bury(seat);
    sim_after(w->sim, 1000, world_restart, seat);
}

static void world_on_crashed(void *ctx, unsigned node) {
    struct world *w = ctx;
    struct seat *seat = &w->seats[node];
    seat_bury(seat);
    if (!seat->stays_down)
        sim_after(w->sim, 1 + rng_below(sim_rng(w->sim), w->o.restart_ms_max + 1), world_restart,
                  seat);
}

void world_kill(struct world *w, unsigned node) {
    if (w->seats[node].rt == NULL) return;
    sim_kill(w->sim, node);
    seat_bury(&w->seats[node]);
}

static void seat_stopped(void *ctx) {
    struct seat *seat = ctx;
    seat->stopped = true;
}

static bool is_stopped(void *ctx) {
    struct seat *seat = ctx;
    world_check(seat->world);
    return seat->stopped || seat->rt == NULL;
}

void world_stop(struct world *w, unsigned node) {
    struct seat *seat = &w->seats[node];
    if (seat->rt == NULL) return;
    seat->stays_down = true;
    core_set_current(seat->rt->control_core);
    member_stop(seat->member, seat_stopped, seat);
    if (lease_is_held(&seat->lease, seat_now_ns(seat)))
        world_fail(w, "node %u stops and keeps its lease", node);
    core_set_current(NULL);
    if (!sim_run(w->sim, is_stopped, seat, sim_now_ms(w->sim) + 15000))
        world_fail(w, "node %u does not stop", node);
    world_kill(w, node);
}

static void world_start_first(void *ctx) {
    world_restart(ctx);
}

void world_open(struct world *w, const struct world_options *options) {
    *w = (struct world){.o = *options, .seats_count = options->nodes};
    static const char *const zones[] = {"a", "b", "c"};
    if (w->o.expect == 0 && !w->o.alone) w->o.expect = w->o.nodes;
    w->o.sim.nodes_count = WORLD_NODES_MAX;
    w->o.sim.cores_per_node = WORLD_CORES;
    w->o.sim.crashed = world_on_crashed;
    w->o.sim.ctx = w;
    w->sim = sim_new(&w->o.sim);
    for (unsigned i = 0; i < WORLD_NODES_MAX; i++) {
        struct seat *seat = &w->seats[i];
        *seat = (struct seat){.world = w, .node = i, .zone = zones[i % 3], .expect = w->o.expect};
        seat->id = rng_u64(sim_rng(w->sim)) | 1;
        if (i < options->nodes)
            sim_after(w->sim, rng_below(sim_rng(w->sim), w->o.start_ms_max + 1), world_start_first,
                      seat);
    }
}

void world_close(struct world *w) {
    for (unsigned i = 0; i < WORLD_NODES_MAX; i++)
        world_kill(w, i);
    ring_map_unref(w->newest);
    sim_free(w->sim);
}

/* -- running */

static bool run_over(void *ctx) {
    struct world *w = ctx;
    world_check(w);
    return w->failure[0] != '\0';
}

bool world_run(struct world *w, uint64_t ms) {
    sim_run(w->sim, run_over, w, sim_now_ms(w->sim) + ms);
    return w->failure[0] == '\0';
}

struct seat *world_controller(struct world *w) {
    struct seat *one = NULL;
    for (unsigned i = 0; i < w->seats_count; i++) {
        struct seat *seat = &w->seats[i];
        if (seat->member == NULL || !member_is_controller(seat->member)) continue;
        if (one != NULL) return NULL;
        one = seat;
    }
    return one;
}

static bool shards_are_whole(const struct ring_map *map) {
    unsigned staying = 0;
    for (uint32_t i = 0; i < map->nodes_count; i++)
        staying += (map->nodes[i].flags & RING_NODE_DRAINING) == 0;
    unsigned want = MIN(map->settings.replication_factor, staying);
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        unsigned readable = 0;
        for (unsigned r = 0; r < map->shards[s].replicas_count; r++)
            readable += ring_replica_is_readable(&map->shards[s].replicas[r]);
        if (readable != want || map->shards[s].replicas_count != want) return false;
    }
    return true;
}

static bool world_is_calm(struct world *w) {
    if (w->newest == NULL || world_controller(w) == NULL || !shards_are_whole(w->newest))
        return false;
    for (unsigned i = 0; i < w->seats_count; i++) {
        const struct seat *seat = &w->seats[i];
        if (seat->stays_down) continue;
        if (seat->member == NULL || seat->lost || seat->map == NULL ||
            seat->map->version != w->newest->version ||
            !lease_is_held(&seat->lease, seat_now_ns(seat)))
            return false;
        int n = ring_map_node_index(seat->map, seat->id);
        if (seat->map->nodes[n].incarnation != seat->incarnation ||
            seat->map->nodes[n].flags != 0 || strcmp(seat->map->nodes[n].addr, seat->addr) != 0)
            return false;
    }
    return true;
}

static bool converge_over(void *ctx) {
    struct world *w = ctx;
    return run_over(w) || world_is_calm(w);
}

bool world_converge(struct world *w, uint64_t ms) {
    if (!sim_run(w->sim, converge_over, w, sim_now_ms(w->sim) + ms)) {
        char text[320] = "";
        size_t n = 0;
        for (unsigned i = 0; i < w->seats_count && n < sizeof text - 80; i++) {
            const struct seat *s = &w->seats[i];
            n += (size_t)snprintf(
                text + n, sizeof text - n, " [%u%s%s%s map %" PRIu64 "]", i,
                s->member == NULL ? " down" : "", s->lost ? " lost" : "",
                s->member != NULL && lease_is_held(&s->lease, seat_now_ns(s)) ? " lease" : "",
                s->map == NULL ? 0 : s->map->version);
        }
        world_fail(
            w, "no calm after %" PRIu64 " ms: newest map %" PRIu64 ", whole %d, controller %d,%s",
            ms, w->newest == NULL ? 0 : w->newest->version,
            w->newest != NULL && shards_are_whole(w->newest), world_controller(w) != NULL, text);
    }
    return w->failure[0] == '\0';
}

/* -- verbs */

struct asking {
    struct world *world;
    struct seat *seat;
    struct admin_call *call;
    struct msg msg;
    bool done;
};
static struct asking *asking_now; /* one at a time */

static void admin_done(struct core *here, struct admin_call *call) {
    assert(here == call->home && asking_now->call == call);
    asking_now->done = true;
}

static void admin_begin(struct core *here, struct msg *msg) {
    struct asking *a = container_of(msg, struct asking, msg);
    member_admin(a->seat->member, here, a->call);
}

static bool admin_over(void *ctx) {
    struct asking *a = ctx;
    return run_over(a->world) || a->done || a->seat->rt == NULL;
}

bool world_admin(struct world *w, unsigned node, struct admin_call *call) {
    struct asking a = {.world = w, .seat = &w->seats[node], .call = call, .msg.run = admin_begin};
    if (a.seat->rt == NULL) return false;
    call->done = admin_done;
    asking_now = &a;
    core_set_current(a.seat->rt->cores[1]);
    core_post(a.seat->rt->cores[0], &a.msg);
    core_set_current(NULL);
    sim_run(w->sim, admin_over, &a, sim_now_ms(w->sim) + 30000);
    asking_now = NULL;
    if (!a.done) return world_fail(w, "a verb was not answered in 30 s");
    return call->status == OK;
}
