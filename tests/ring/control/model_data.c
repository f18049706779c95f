/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane of the model: promotion, appends, catching up, reports. Each replica holds a set
 * of entries, and never one more than it must: what a LOG replica got before it was waited for is
 * nothing. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ring/control/model.h"

int entries_missing(const struct entries *a, const struct entries *b) {
    for (size_t i = 0; i < ARRAY_LEN(a->w); i++)
        if ((a->w[i] & ~b->w[i]) != 0) return (int)(64 * i) + __builtin_ctzll(a->w[i] & ~b->w[i]);
    return -1;
}

static int entries_last(const struct entries *e) {
    for (size_t i = ARRAY_LEN(e->w); i-- > 0;)
        if (e->w[i] != 0) return (int)(64 * i) + 63 - __builtin_clzll(e->w[i]);
    return -1;
}

struct model_node *model_node(struct model *m, node_id id) {
    for (unsigned i = 0; i < m->nodes_count; i++)
        if (m->nodes[i].id == id) return &m->nodes[i];
    return NULL;
}

bool model_fail(struct model *m, const char *fmt, ...) {
    va_list args;
    if (m->failure[0] != '\0') return false;
    va_start(args, fmt);
    vsnprintf(m->failure, sizeof m->failure, fmt, args);
    va_end(args);
    return false;
}

/* What the node's own installed map says it is. */
static const struct ring_replica *self_replica(const struct model_node *n, uint32_t s) {
    int at = n->map == NULL ? -1 : ring_map_node_index(n->map, n->id);
    int r = at < 0 ? -1 : ring_shard_replica(&n->map->shards[s], at);
    return r < 0 ? NULL : &n->map->shards[s].replicas[r];
}

static bool is_primary(const struct model_node *n, uint32_t s) {
    return self_replica(n, s) == &n->map->shards[s].replicas[n->map->shards[s].primary];
}

void model_install(struct model *m, struct model_node *n, struct ring_map *map) {
    if (n->map != NULL && n->map->version >= map->version) return;
    ring_map_unref(n->map);
    n->map = ring_map_ref(map);
    for (uint32_t s = 0; s < m->shards; s++) {
        const struct ring_replica *r = self_replica(n, s);
        struct held *h = &n->held[s];
        uint32_t whole = 0, tail = 0;
        if (r != NULL && r->state != REPLICA_LOG) whole = r->copy;
        if (r != NULL && r->state == REPLICA_LOG) tail = r->copy;
        if (r != NULL && r->state == REPLICA_INIT && r->in_sync) tail = r->copy - 1;
        if (h->whole_copy != whole) {
            h->whole = (struct entries){0};
            h->damaged = false;
        }
        if (h->tail_copy != tail) h->tail = (struct entries){0};
        h->whole_copy = whole;
        h->tail_copy = tail;
        struct leading *l = &n->leading[s];
        const struct ring_shard *shard = &map->shards[s];
        if (l->epoch != shard->epoch) *l = (struct leading){.epoch = shard->epoch};
        for (unsigned i = 0; i < l->waited_count; i++) { /* taken in, or away */
            int at = ring_map_node_index(map, l->waited[i]);
            int k = at < 0 ? -1 : ring_shard_replica(shard, at);
            bool waits = k >= 0 && shard->replicas[k].state != REPLICA_LOG &&
                         shard->replicas[k].copy == l->waited_copy[i] &&
                         !(shard->replicas[k].state == REPLICA_FULL && shard->replicas[k].in_sync);
            if (waits) continue;
            l->waited[i] = l->waited[--l->waited_count];
            l->waited_copy[i--] = l->waited_copy[l->waited_count];
        }
    }
}

static bool is_waited(const struct leading *l, node_id id) {
    for (unsigned i = 0; i < l->waited_count; i++)
        if (l->waited[i] == id) return true;
    return false;
}

/* A replica of the primary's map that can talk to it: alive, in the same epoch and copy. */
static struct model_node *peer(struct model *m, const struct model_node *p, uint32_t s,
                               const struct ring_replica *r) {
    struct model_node *n = model_node(m, p->map->nodes[r->node].id);
    const struct ring_replica *own = n == NULL || !n->up ? NULL : self_replica(n, s);
    if (own == NULL || n->map->shards[s].epoch != p->map->shards[s].epoch) return NULL;
    return own->copy == r->copy && own->state == r->state ? n : NULL;
}

/* ---- promotion ---- */

static bool promote(struct model *m, struct model_node *p, uint32_t s) {
    const struct ring_shard *shard = &p->map->shards[s];
    struct leading *l = &p->leading[s];
    const struct ring_replica *self = self_replica(p, s);
    struct entries all = p->held[s].whole;
    if (p->stalled_since_ms != 0 || p->held[s].damaged) return true;
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        struct model_node *n = peer(m, p, s, &shard->replicas[i]);
        if (n == NULL || n->stalled_since_ms != 0 || n->held[s].damaged) {
            if (shard->replicas[i].in_sync) return true; /* waits */
            continue;
        }
        entries_join(&all, &n->held[s].tail);
        if (shard->replicas[i].in_sync) entries_join(&all, &n->held[s].whole);
    }
    if (self->state == REPLICA_FULL) {
        if (m->accepting[s] && self->until == 0) {
            for (size_t i = 0; i < ARRAY_LEN(all.w); i++)
                m->acked[s].w[i] &= all.w[i];
            m->accepting[s] = false;
            m->lost_epoch[s] = shard->epoch;
            m->losses++;
        }
        int gap = entries_missing(&m->acked[s], &all);
        l->incomplete = gap >= 0 && gap < entries_last(&all);
        if (l->incomplete) return true;
        if (gap >= 0)
            return model_fail(m, "shard %u opens in epoch %u at %lx without entry %d", s,
                              shard->epoch, (unsigned long)p->id, gap);
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            struct model_node *n = peer(m, p, s, &shard->replicas[i]);
            if (n != NULL && ring_replica_is_readable(&shard->replicas[i]))
                entries_join(&n->held[s].whole, &all);
        }
    }
    l->open = true;
    return true;
}

/* ---- appends ---- */

static void append(struct model *m, struct model_node *p, uint32_t s, int entry) {
    const struct ring_replica *self = self_replica(p, s);
    (void)m;
    if (self->state == REPLICA_FULL)
        entries_add(&p->held[s].whole, entry);
    else
        entries_add(&p->held[s].tail, entry);
}

static void write_begin(struct model *m, struct model_node *p, uint32_t s) {
    if (m->next_entry[s] == MODEL_ENTRIES || m->now_ms >= p->lease_until_ms) return;
    for (unsigned i = 0; i < MODEL_WRITES; i++) {
        struct model_write *w = &m->writes[s][i];
        if (w->entry >= 0) continue;
        *w = (struct model_write){.entry = m->next_entry[s]++,
                                  .primary = p->id,
                                  .incarnation = p->incarnation,
                                  .epoch = p->map->shards[s].epoch,
                                  .since_ms = m->now_ms};
        append(m, p, s, w->entry);
        return;
    }
}

/* true: the member has it. */
static bool write_reach(struct model *m, struct model_node *p, uint32_t s, struct model_write *w,
                        const struct ring_replica *r) {
    struct model_node *n = peer(m, p, s, r);
    if (n == NULL) return false;
    bool waited = is_waited(&p->leading[s], n->id);
    struct held *h = &n->held[s];
    bool whole = r->state == REPLICA_FULL || r->state == REPLICA_LEAVING || waited;
    bool tail = r->state == REPLICA_LOG || (r->state == REPLICA_INIT && r->in_sync);
    bool has =
        (!whole || entries_has(&h->whole, w->entry)) && (!tail || entries_has(&h->tail, w->entry));
    if (has || n->stalled_since_ms != 0 || h->damaged || rng_below(&m->rng, 3) == 0) return has;
    if (whole) entries_add(&h->whole, w->entry);
    if (tail) entries_add(&h->tail, w->entry);
    return true;
}

static void write_step(struct model *m, uint32_t s, struct model_write *w) {
    struct model_node *p = model_node(m, w->primary);
    if (!p->up || p->incarnation != w->incarnation || p->map->shards[s].epoch != w->epoch ||
        !is_primary(p, s)) {
        w->entry = -1; /* nobody will hear of it */
        return;
    }
    const struct ring_shard *shard = &p->map->shards[s];
    bool all = p->stalled_since_ms == 0 && !p->held[s].damaged;
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        const struct ring_replica *r = &shard->replicas[i];
        if (r->node == ring_map_primary(p->map, s)) continue;
        if (!r->in_sync && !is_waited(&p->leading[s], p->map->nodes[r->node].id)) continue;
        if (!write_reach(m, p, s, w, r)) all = false;
    }
    if (!all || m->now_ms >= p->lease_until_ms) return;
    if (w->epoch >= m->lost_epoch[s]) entries_add(&m->acked[s], w->entry);
    m->acks++;
    w->entry = -1;
}

static bool is_diverged(const struct model_node *p, const struct model_node *n, uint32_t s) {
    return entries_missing(&n->held[s].whole, &p->held[s].whole) >= 0;
}

static void catch_up(struct model *m, struct model_node *p, uint32_t s) {
    const struct ring_shard *shard = &p->map->shards[s];
    struct leading *l = &p->leading[s];
    if (self_replica(p, s)->state != REPLICA_FULL || p->stalled_since_ms != 0) return;
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        const struct ring_replica *r = &shard->replicas[i];
        struct model_node *n = peer(m, p, s, r);
        bool follows = (r->state == REPLICA_FULL && !r->in_sync) || r->state == REPLICA_INIT;
        if (n == NULL || !follows || n->stalled_since_ms != 0 || n->held[s].damaged) continue;
        if (is_waited(l, n->id) || is_diverged(p, n, s) || rng_below(&m->rng, 4) != 0) continue;
        n->held[s].whole = p->held[s].whole;
        l->waited_copy[l->waited_count] = r->copy;
        l->waited[l->waited_count++] = n->id;
    }
}

/* Whoever would answer a read has all that was acknowledged. */
static bool check_readers(struct model *m) {
    for (unsigned i = 0; i < m->nodes_count; i++) {
        const struct model_node *n = &m->nodes[i];
        if (!n->up || n->map == NULL || m->now_ms >= n->lease_until_ms) continue;
        for (uint32_t s = 0; s < m->shards; s++) {
            const struct ring_replica *r = self_replica(n, s);
            if (r == NULL || !ring_replica_is_readable(r) || n->held[s].damaged) continue;
            if (is_primary(n, s) && !n->leading[s].open) continue;
            int gap = entries_missing(&m->acked[s], &n->held[s].whole);
            if (gap >= 0)
                return model_fail(m, "shard %u is read at %lx without entry %d, map %lu", s,
                                  (unsigned long)n->id, gap, (unsigned long)n->map->version);
        }
    }
    return true;
}

bool model_data_tick(struct model *m) {
    for (unsigned i = 0; i < m->nodes_count; i++) {
        struct model_node *p = &m->nodes[i];
        for (uint32_t s = 0; s < m->shards && p->up && p->map != NULL; s++) {
            if (self_replica(p, s) == NULL || !is_primary(p, s) || p->held[s].damaged) continue;
            if (!p->leading[s].open && m->now_ms < p->lease_until_ms &&
                rng_below(&m->rng, 2) == 0 && !promote(m, p, s))
                return false;
            if (!p->leading[s].open) continue;
            if (rng_below(&m->rng, 3) == 0) write_begin(m, p, s);
            catch_up(m, p, s);
        }
    }
    for (uint32_t s = 0; s < m->shards; s++)
        for (unsigned i = 0; i < MODEL_WRITES; i++)
            if (m->writes[s][i].entry >= 0) write_step(m, s, &m->writes[s][i]);
    return check_readers(m);
}

/* ---- what a node says ---- */

static void report(struct heartbeat *h, uint32_t s, uint32_t epoch, int kind, node_id about) {
    h->reports[h->reports_count++] =
        (struct shard_report){.shard = s, .epoch = epoch, .kind = (uint8_t)kind, .about = about};
}

static void report_leading(struct model *m, const struct model_node *n, uint32_t s,
                           struct heartbeat *h) {
    const struct leading *l = &n->leading[s];
    const struct ring_shard *shard = &n->map->shards[s];
    if (l->open) report(h, s, l->epoch, REPORT_OPEN, n->id);
    if (l->incomplete && !l->open) report(h, s, l->epoch, REPORT_INCOMPLETE, n->id);
    for (unsigned i = 0; i < l->waited_count; i++)
        report(h, s, l->epoch, REPORT_CAUGHT_UP, l->waited[i]);
    for (unsigned i = 0; l->open && i < shard->replicas_count; i++) {
        const struct ring_replica *r = &shard->replicas[i];
        struct model_node *f = peer(m, n, s, r);
        bool follows = (r->state == REPLICA_FULL && !r->in_sync) || r->state == REPLICA_INIT;
        if (f != NULL && follows && !is_waited(l, f->id) && is_diverged(n, f, s))
            report(h, s, l->epoch, REPORT_DIVERGED, f->id);
    }
}

static void report_lags(struct model *m, const struct model_node *n, struct heartbeat *h) {
    for (uint32_t s = 0; s < m->shards; s++)
        for (unsigned i = 0; i < MODEL_WRITES; i++) {
            const struct model_write *w = &m->writes[s][i];
            if (w->entry < 0 || w->primary != n->id) continue;
            const struct ring_shard *shard = &n->map->shards[s];
            for (unsigned k = 0; k < shard->replicas_count; k++) {
                const struct ring_replica *r = &shard->replicas[k];
                const struct model_node *f = model_node(m, n->map->nodes[r->node].id);
                bool tail = r->state == REPLICA_LOG;
                const struct entries *e = tail ? &f->held[s].tail : &f->held[s].whole;
                if (!r->in_sync || r->state == REPLICA_INIT || f == n) continue;
                if (entries_has(e, w->entry) || h->lags_count == MODEL_NODES) continue;
                h->lags[h->lags_count++] = (struct append_lag){
                    .follower = f->id, .age_ms = (uint32_t)(m->now_ms - w->since_ms)};
            }
        }
}

void model_beat_fill(struct model *m, struct model_node *n, struct heartbeat *out) {
    *out = (struct heartbeat){.id = n->id,
                              .incarnation = n->incarnation,
                              .sequence = ++n->sequence,
                              .map_version = n->map == NULL ? 0 : n->map->version,
                              .format_level = RING_FORMAT_LEVEL,
                              .addr = "a:1"};
    out->reports = calloc((size_t)m->shards * 4 * RING_REPLICAS_MAX, sizeof *out->reports);
    out->lags = calloc(MODEL_NODES, sizeof *out->lags);
    if (out->reports == NULL || out->lags == NULL) abort();
    if (n->stalled_since_ms != 0)
        out->unsynced_age_ms = (uint32_t)(m->now_ms - n->stalled_since_ms);
    for (uint32_t s = 0; n->map != NULL && s < m->shards; s++) {
        const struct ring_replica *r = self_replica(n, s);
        if (r == NULL) continue;
        if (n->held[s].damaged) report(out, s, n->map->shards[s].epoch, REPORT_DAMAGED, n->id);
        if (is_primary(n, s)) report_leading(m, n, s, out);
    }
    if (n->map != NULL) report_lags(m, n, out);
}
