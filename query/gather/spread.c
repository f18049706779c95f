/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/spread.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"
#include "query/gather/internal.h"

static const struct metric_def again_def = {
    .name = "cairn_query_attempts_total",
    .help = "Attempts to reach shards beyond the first of a query's part.",
    .kind = METRIC_COUNTER};
static const struct metric_def hedged_def = {
    .name = "cairn_query_hedged_total",
    .help = "Parts of queries asked of a second node because the first was slow.",
    .kind = METRIC_COUNTER};

enum {
    RETRY_MS = 6000, /* a failover takes 5 s at most */
    PAUSE_MIN_MS = 20,
    PAUSE_MAX_MS = 200,
    HEDGE_MIN_MS = 50, /* and never before this many times what parts take usually */
    HEDGE_TIMES = 4,
};

/* -- what may be read here */

/* Without replication what is here is all there is, and its owner's. */
static void keep_own(const struct gather *g, const struct ring_map *asked, uint64_t *shards) {
    for (uint32_t i = 0; i < asked->settings.shards_count; i++)
        if (g->options.core_of[i] != g->core->index ||
            g->options.map->shards[i].epoch != asked->shards[i].epoch)
            shards[i / 64] &= ~((uint64_t)1 << (i % 64));
}

void spread_claim(struct core *here, const struct ring_map *asked, uint64_t *shards) {
    const struct gather *g = gather_of(here);
    if (g->options.replicas != NULL)
        replicas_keep_readable(g->options.replicas, asked, shards);
    else
        keep_own(g, asked, shards);
}

enum status spread_confirm(struct core *here, const struct ring_map *asked, const uint64_t *shards,
                           struct err *err) {
    const struct gather *g = gather_of(here);
    memcpy(g->scratch, shards, g->words * sizeof *g->scratch);
    spread_claim(here, asked, g->scratch);
    for (uint32_t i = 0; i < g->words; i++) {
        uint64_t lost = shards[i] & ~g->scratch[i];
        if (lost != 0)
            return err_set(err, ERR_UNAVAILABLE, 0, "shard %u changed hands meanwhile",
                           i * 64 + (uint32_t)__builtin_ctzll(lost));
    }
    return OK;
}

/* -- whom to ask */

static bool spread_has_failed(const struct spread *s, node_id node) {
    for (unsigned i = 0; i < s->failed_count; i++)
        if (s->failed[i] == node) return true;
    return false;
}

static void spread_set_failed(struct spread *s, node_id node) {
    if (node == 0 || spread_has_failed(s, node) || s->failed_count == SPREAD_FAILED_MAX) return;
    s->failed[s->failed_count++] = node;
}

/* The node (index in the map) to ask for a shard, or -1: nobody who may be read is there. */
static int shard_target(const struct spread *s, uint32_t shard, int self, int except) {
    const struct ring_map *map = s->o.g->options.map;
    const struct ring_shard *sh = &map->shards[shard];
    int best = -1, best_rank = 0;
    for (unsigned i = 0; i < sh->replicas_count; i++) {
        const struct ring_replica *r = &sh->replicas[(i + shard) % sh->replicas_count];
        const struct ring_node *node = &map->nodes[r->node];
        if (!ring_replica_is_readable(r) || r->node == except) continue;
        int rank = 1;
        if (r->node != self && (node->flags & RING_NODE_DOWN) == 0) rank = 2;
        if (r->node == self) rank = bit_get(s->refused, shard) ? 0 : 3;
        if (spread_has_failed(s, node->id)) rank -= 3;
        if (best >= 0 && rank <= best_rank) continue;
        best = r->node;
        best_rank = rank;
    }
    return best;
}

/* There is hope when somebody who is not known to be down may have the shard. */
static bool shard_is_hopeful(const struct ring_map *map, uint32_t shard) {
    const struct ring_shard *sh = &map->shards[shard];
    for (unsigned i = 0; i < sh->replicas_count; i++)
        if (ring_replica_is_readable(&sh->replicas[i]) &&
            (map->nodes[sh->replicas[i].node].flags & RING_NODE_DOWN) == 0)
            return true;
    return false;
}

/* -- parts */

static struct spread_part *part_new(struct spread *s) {
    struct spread_part *part = calloc(1, s->o.ops->part_bytes);
    if (part == NULL) return NULL;
    part->spread = s;
    part->shards = calloc((size_t)s->o.g->words * 2, sizeof *part->shards);
    if (part->shards == NULL) {
        free(part);
        return NULL;
    }
    part->asked = part->shards + s->o.g->words;
    part->map = ring_map_ref(s->o.g->options.map);
    part->began_ns = core_mono_ns(s->o.g->core);
    return part;
}

static void part_free(struct spread *s, struct spread_part *part) {
    s->o.ops->part_fini(part);
    part_call_fini(&part->call);
    ring_map_unref(part->map);
    free(part->shards);
    free(part);
}

static void part_begin(struct spread *s, struct spread_part *part) {
    list_push_back(&s->parts, &part->node);
    s->parts_open++;
}

static void spread_fail(struct spread *s, enum status status, const struct err *err) {
    if (s->status != OK) return; /* the first error is told */
    s->status = status;
    s->err = *err;
}

static void spread_nomem(struct spread *s) {
    struct err err;
    spread_fail(s, err_set(&err, ERR_NOMEM, 0, "query: out of memory"), &err);
}

/* A target is a node of the map, or behind them a core of this node; its number + 1, 0: none. */
static void part_start(struct spread *s, struct spread_part *part, uint16_t target, bool is_hedge) {
    struct gather *g = s->o.g;
    const struct ring_map *map = g->options.map;
    memcpy(part->asked, part->shards, g->words * sizeof *part->asked);
    part->is_hedge = is_hedge;
    part_begin(s, part);
    if (target <= map->nodes_count) {
        part->to = map->nodes[target - 1].id;
        s->o.ops->start_remote(part);
        return;
    }
    part->core = target - map->nodes_count - 1;
    struct err err;
    enum status st = s->o.ops->start_local(part, g->core->rt->cores[part->core], &err);
    if (st == OK) return;
    part->state = PART_UNUSED;
    s->parts_open--;
    spread_fail(s, st, &err);
}

/* By the targets of the shards. */
static void spread_ask(struct spread *s, uint16_t *targets, bool is_hedge) {
    uint32_t shards = s->o.g->options.map->settings.shards_count;
    for (uint32_t first = 0; first < shards && s->status == OK; first++) {
        uint16_t target = targets[first];
        if (target == 0) continue;
        struct spread_part *part = part_new(s);
        if (part == NULL) {
            spread_nomem(s);
            return;
        }
        for (uint32_t i = first; i < shards; i++) {
            if (targets[i] != target) continue;
            bit_set(part->shards, i);
            targets[i] = 0;
        }
        part_start(s, part, target, is_hedge);
    }
}

/* Fills targets for the shards that `wanted` names (NULL: all) and are not claimed; true when there
 * is one. */
static bool spread_aim(const struct spread *s, const uint64_t *wanted, int except,
                       uint16_t *targets) {
    const struct gather *g = s->o.g;
    const struct ring_map *map = g->options.map;
    int self = ring_map_node_index(map, g->options.self);
    bool any = false;
    for (uint32_t i = 0; i < map->settings.shards_count; i++) {
        if (wanted != NULL && (!bit_get(wanted, i) || bit_get(s->claimed, i))) continue;
        int target = self;
        if (!s->o.local_only) target = shard_target(s, i, self, except);
        if (target < 0) continue;
        if (target == self) {
            if (g->options.core_of[i] == 0xffff) continue;
            targets[i] = (uint16_t)(map->nodes_count + g->options.core_of[i] + 1);
        } else {
            if (g->options.peers == NULL) continue;
            targets[i] = (uint16_t)(target + 1);
        }
        any = true;
    }
    return any;
}

/* -- plans: whom to ask while nobody has failed or refused. One for all queries until a map comes,
 * since looking at the replicas of each shard costs more than a small query. */

struct spread_plan {
    uint32_t targets_count;
    struct plan_target {
        uint16_t target;
        uint64_t *shards; /* behind the targets */
    } targets[];
};

/* Targets in the order of their first shards, as spread_ask has it. */
static struct spread_plan *plan_make(uint16_t *targets, uint32_t shards, uint32_t words) {
    uint32_t count = 0;
    uint16_t *order = calloc(shards, sizeof *order);
    if (order == NULL) return NULL;
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t k = 0;
        while (k < count && order[k] != targets[i])
            k++;
        if (targets[i] != 0 && k == count) order[count++] = targets[i];
    }
    size_t bytes = (size_t)count * words * sizeof(uint64_t);
    struct spread_plan *plan = calloc(1, sizeof *plan + count * sizeof *plan->targets + bytes);
    for (uint32_t k = 0; plan != NULL && k < count; k++) {
        struct plan_target *t = &plan->targets[k];
        t->target = order[k];
        t->shards = (uint64_t *)(void *)&plan->targets[count] + (size_t)k * words;
        for (uint32_t i = 0; i < shards; i++)
            if (targets[i] == t->target) bit_set(t->shards, i);
    }
    if (plan != NULL) plan->targets_count = count;
    free(order);
    return plan;
}

static const struct spread_plan *spread_plan(struct spread *s) {
    struct gather *g = s->o.g;
    struct spread_plan **plan = &g->plans[s->o.local_only ? PLAN_OWN : PLAN_CLUSTER];
    if (*plan != NULL) return *plan;
    uint32_t shards = g->options.map->settings.shards_count;
    uint16_t *targets = calloc(shards, sizeof *targets);
    if (targets == NULL) return NULL;
    spread_aim(s, NULL, -1, targets);
    *plan = plan_make(targets, shards, g->words);
    free(targets);
    return *plan;
}

void spread_forget_plans(struct gather *g) {
    for (unsigned i = 0; i < SPREAD_PLANS; i++) {
        free(g->plans[i]);
        g->plans[i] = NULL;
    }
}

static void spread_follow_plan(struct spread *s) {
    const struct gather *g = s->o.g;
    const struct spread_plan *plan = spread_plan(s);
    if (plan == NULL) spread_nomem(s);
    for (uint32_t k = 0; plan != NULL && k < plan->targets_count && s->status == OK; k++) {
        const struct plan_target *t = &plan->targets[k];
        uint64_t any = 0;
        for (uint32_t i = 0; i < g->words; i++)
            any |= g->scratch[i] = t->shards[i] & s->wanted[i] & ~s->claimed[i];
        if (any == 0) continue;
        struct spread_part *part = part_new(s);
        if (part == NULL) {
            spread_nomem(s);
            return;
        }
        memcpy(part->shards, g->scratch, g->words * sizeof *part->shards);
        part_start(s, part, t->target, false);
    }
}

/* -- attempts */

static void spread_on_timer(struct timer *t);

static void spread_hedge_arm(struct spread *s) {
    const struct gather *g = s->o.g;
    uint64_t usual_ms = g->remote_usual_ns / 1000000;
    timer_start(&s->hedge, MAX((uint64_t)HEDGE_MIN_MS, usual_ms * HEDGE_TIMES));
}

static bool spread_has_remote(const struct spread *s) {
    LIST_FOREACH(n, &s->parts) {
        const struct spread_part *part = container_of(n, struct spread_part, node);
        if (part->state == PART_OPEN && part->to != 0) return true;
    }
    return false;
}

static void spread_attempt(struct spread *s) {
    struct gather *g = s->o.g;
    s->state = SPREAD_ASKING;
    if (s->map_version != g->options.map->version) { /* who failed by an older one may not now */
        s->map_version = g->options.map->version;
        s->failed_count = 0;
        memset(s->refused, 0, g->words * sizeof *s->refused);
    }
    if (s->attempts++ > 0) metric_add(metric_get(&again_def, NULL), 1);
    s->parts_open++; /* until the timer: done never runs inside this function */
    timer_start(&s->timer, 0);
    if (s->failed_count == 0 && !bits_any(s->refused, g->words)) {
        spread_follow_plan(s);
    } else {
        uint16_t *targets = calloc(g->options.map->settings.shards_count, sizeof *targets);
        if (targets == NULL)
            spread_nomem(s);
        else if (spread_aim(s, s->wanted, -1, targets))
            spread_ask(s, targets, false);
        free(targets);
    }
    if (!s->o.local_only && spread_has_remote(s)) spread_hedge_arm(s);
}

/* -- hedging */

static void part_hedge(struct spread *s, struct spread_part *part) {
    const struct ring_map *map = s->o.g->options.map;
    int except = ring_map_node_index(map, part->to);
    uint16_t *targets = calloc(map->settings.shards_count, sizeof *targets);
    if (targets == NULL) return; /* it is only slower */
    bool whole = spread_aim(s, part->asked, except, targets);
    for (uint32_t i = 0; i < map->settings.shards_count && whole; i++)
        if (bit_get(part->asked, i) && targets[i] == 0) whole = false;
    if (whole) {
        metric_add(metric_get(&hedged_def, NULL), 1);
        spread_ask(s, targets, true);
    }
    free(targets);
}

static void spread_on_hedge(struct timer *t) {
    struct spread *s = container_of(t, struct spread, hedge);
    if (s->state != SPREAD_ASKING || s->canceled || s->status != OK) return;
    LIST_FOREACH_SAFE(n, &s->parts) {
        struct spread_part *part = container_of(n, struct spread_part, node);
        if (part->state != PART_OPEN || part->to == 0 || part->hedged || part->is_hedge) continue;
        part->hedged = true;
        part_hedge(s, part);
    }
}

/* -- the end of an attempt */

static bool spread_may_go_on(const struct spread *s) {
    const struct gather *g = s->o.g;
    if (s->o.local_only || s->canceled || s->status != OK || g->stopping) return false;
    uint64_t spent_ms = (core_mono_ns(g->core) - s->began_ns) / 1000000;
    if (spent_ms + PAUSE_MIN_MS >= MIN(s->o.timeout_ms, (uint64_t)RETRY_MS)) return false;
    for (uint32_t i = 0; i < g->options.map->settings.shards_count; i++)
        if (bit_get(s->wanted, i) && !bit_get(s->claimed, i) && shard_is_hopeful(g->options.map, i))
            return true;
    return false;
}

static void spread_over(struct spread *s) {
    s->state = SPREAD_OVER;
    timer_stop(&s->timer);
    timer_stop(&s->hedge);
    list_remove(&s->node);
    s->o.ops->done(s);
}

static void spread_closed_one(struct spread *s) {
    assert(s->parts_open > 0);
    if (--s->parts_open > 0) return;
    timer_stop(&s->hedge);
    if (bits_within(s->wanted, s->claimed, s->o.g->words) || !spread_may_go_on(s)) {
        spread_over(s);
        return;
    }
    s->state = SPREAD_PAUSED;
    uint64_t pause_ms = MIN((uint64_t)PAUSE_MAX_MS, (uint64_t)PAUSE_MIN_MS << MIN(s->attempts, 6U));
    bool newer = s->o.g->options.map->version != s->map_version;
    timer_start(&s->timer, newer ? 0 : pause_ms);
}

static void spread_on_timer(struct timer *t) {
    struct spread *s = container_of(t, struct spread, timer);
    if (s->state == SPREAD_PAUSED && !s->canceled)
        spread_attempt(s);
    else if (s->state == SPREAD_PAUSED)
        spread_over(s);
    else
        spread_closed_one(s);
}

static void part_cancel(struct spread_part *part) {
    struct spread *s = part->spread;
    part_call_cancel(part);
    part->state = PART_UNUSED;
    part->status = err_set(&part->err, ERR_CANCELED, 0, "query was canceled in query execution");
    part->total_ns = core_mono_ns(s->o.g->core) - part->began_ns;
    s->parts_open--;
}

/* So that the attempt ends by the timer, and not inside what the caller is in. */
static void spread_hold_open(struct spread *s) {
    if (timer_is_armed(&s->timer)) return;
    s->parts_open++;
    timer_start(&s->timer, 0);
}

void spread_on_map(struct spread *s) {
    const struct ring_map *map = s->o.g->options.map;
    if (s->state == SPREAD_PAUSED) timer_start(&s->timer, 0);
    if (s->state != SPREAD_ASKING) return;
    LIST_FOREACH(n, &s->parts) {
        struct spread_part *part = container_of(n, struct spread_part, node);
        if (part->state != PART_OPEN || part->to == 0) continue;
        int node = ring_map_node_index(map, part->to);
        if (node >= 0 && (map->nodes[node].flags & RING_NODE_DOWN) == 0) continue;
        spread_hold_open(s);
        part_cancel(part);
    }
}

static bool bits_overlap(const uint64_t *a, const uint64_t *b, uint32_t words) {
    for (uint32_t i = 0; i < words; i++)
        if (a[i] & b[i]) return true;
    return false;
}

/* What overlaps what is claimed now could only be dropped. Never the last open part, which the
 * caller closes. */
static void spread_cancel_useless(struct spread *s) {
#ifdef PLANT_FOLD_TWICE
    return;
#endif
    LIST_FOREACH(n, &s->parts) {
        struct spread_part *part = container_of(n, struct spread_part, node);
        if (part->state == PART_OPEN && part->to != 0 &&
            bits_overlap(part->asked, s->claimed, s->o.g->words))
            part_cancel(part);
    }
}

static bool status_is_missing(const struct spread_part *part) {
    return part->status == ERR_UNAVAILABLE || part->status == ERR_CONFLICT ||
           part->status == ERR_CORRUPT || (part->status == ERR_TIMEOUT && part->to != 0);
}

void spread_part_done(struct spread_part *part) {
    struct spread *s = part->spread;
    struct gather *g = s->o.g;
    assert(part->state == PART_OPEN);
    part->total_ns = core_mono_ns(g->core) - part->began_ns;
    part->state = PART_UNUSED;
    if (part->to == 0) /* what this core did not claim is asked elsewhere */
        for (uint32_t i = 0; i < g->words; i++)
            s->refused[i] |= part->asked[i] & (part->status == OK ? ~part->shards[i] : UINT64_MAX);
    bool folded = bits_overlap(part->shards, s->claimed, g->words);
#ifdef PLANT_FOLD_TWICE
    folded = false;
#endif
    if (part->status == OK && !folded) {
        part->state = PART_USED;
        bits_or(s->claimed, part->shards, g->words);
        if (!bits_within(part->asked, part->shards, g->words)) spread_set_failed(s, part->to);
        if (part->to != 0) /* an eighth of the way to the new one */
            g->remote_usual_ns += (part->total_ns >> 3) - (g->remote_usual_ns >> 3);
        spread_cancel_useless(s);
    } else if (part->status != OK && status_is_missing(part)) {
        if (part->status == ERR_CORRUPT && s->damage.code == OK) s->damage = part->err;
        spread_set_failed(s, part->to);
    } else if (part->status != OK) {
        spread_fail(s, part->status, &part->err);
    }
    spread_closed_one(s);
}

/* -- life */

enum status spread_start(struct spread *s, const struct spread_options *options, struct err *err) {
    struct gather *g = options->g;
    *s = (struct spread){.o = *options, .began_ns = core_mono_ns(g->core)};
    list_init(&s->node);
    list_init(&s->parts);
    timer_init(&s->timer, g->core, spread_on_timer);
    timer_init(&s->hedge, g->core, spread_on_hedge);
    s->wanted = calloc((size_t)g->words * 3, sizeof *s->wanted);
    if (s->wanted == NULL) {
        spread_fini(s);
        return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    }
    s->claimed = s->wanted + g->words;
    s->refused = s->claimed + g->words;
    uint32_t shards = g->options.map->settings.shards_count;
    for (uint32_t i = 0; i < g->words; i++)
        s->wanted[i] = options->shards == NULL ? UINT64_MAX : options->shards[i];
    if (shards % 64 != 0) s->wanted[g->words - 1] &= ((uint64_t)1 << (shards % 64)) - 1;
    s->o.shards = NULL;
    list_push_back(&g->spreads, &s->node);
    spread_attempt(s);
    return OK;
}

void spread_cancel(struct spread *s) {
    if (s->state == SPREAD_OVER || s->canceled) return;
    s->canceled = true;
    if (s->state == SPREAD_PAUSED) {
        timer_start(&s->timer, 0);
        return;
    }
    spread_hold_open(s);
    LIST_FOREACH(n, &s->parts) {
        struct spread_part *part = container_of(n, struct spread_part, node);
        if (part->state == PART_OPEN && part->to != 0) part_cancel(part);
    }
}

void spread_fini(struct spread *s) {
    if (s->o.g == NULL) return; /* never started */
    timer_stop(&s->timer);
    timer_stop(&s->hedge);
    list_remove(&s->node);
    while (!list_is_empty(&s->parts))
        part_free(s, container_of(list_pop_front(&s->parts), struct spread_part, node));
    free(s->wanted);
    s->wanted = s->claimed = s->refused = NULL;
    s->o.g = NULL;
}
