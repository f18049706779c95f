/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/sound.h"

#include <inttypes.h>

#include "node/base/log.h"
#include "ring/replica/ranges.h"
#include "ring/replica/sync.h"

bool sound_holds(const struct member *m) {
#ifdef PLANT_GIVE_UP_UNVERIFIED
    return false;
#endif
    return m->sound != SOUND_NONE && m->sound != SOUND_OVER;
}

bool sound_holds_any(const struct replicas *r) {
    return r->sound.any;
}

static void sound_end(struct replicas *r, struct member *m) {
    m->sound = SOUND_OVER;
    replicas_want_report(r);
}

/* -- beginning */

static bool is_full(const struct replicas *r, uint32_t shard, const struct member *m) {
    int node = ring_map_node_index(r->map, r->fars[m->far]->id);
    const struct ring_shard *sh = &r->map->shards[shard];
    int at = node < 0 ? -1 : ring_shard_replica(sh, node);
    return at >= 0 && sh->replicas[at].state == REPLICA_FULL;
}

void sound_begin(struct replicas *r, uint32_t shard, struct member *m) {
    uint32_t process = r->fars[m->far]->incarnation;
    const struct shard_held *held = &m->whole_held;
    if (m->sound != SOUND_NONE && m->sound_process == process)
        return; /* its node had not answered */
    m->sound = SOUND_OVER;
    m->sound_process = process;
    m->sound_refusals = 0;
    m->sound_told = false;
    m->sound_again_ns = 0;
    if (m->in_sync || m->tail || !held->is_whole || held->damaged || !is_full(r, shard, m)) return;
    m->sound = SOUND_ASKED;
    m->sound_since_ns = core_mono_ns(r->core);
    r->sound.any = true;
}

/* -- reading */

static void sound_read(struct replicas *r, uint32_t shard, struct member *m) {
    struct shard_ranges own = {0};
    enum status status = r->o.store->ranges(r->o.store->ctx, shard, &own, NULL);
    bool good = status == OK && !ranges_have_bad(&own);
    ranges_fini(&own);
    if (good || status == ERR_UNAVAILABLE) {
        sound_end(r, m);
        return;
    }
    m->sound = SOUND_BAD;
    log_warnf("a replica that diverged is kept until what is bad here was fetched", "shard",
              "%" PRIu32, shard);
    sync_hurry(r->sync);
}

static void each_in(struct replicas *r, enum sound_state state,
                    void (*fn)(struct replicas *r, uint32_t shard, struct member *m)) {
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        for (unsigned k = 0; k < s->members_count; k++)
            if (s->members[k].sound == state) fn(r, i, &s->members[k]);
    }
}

static void on_scrubbed(struct store_scrub *scrub) {
    struct replicas *r = container_of(scrub, struct replicas, sound.scrub);
    r->sound.reads = false;
    if (!r->stopping) each_in(r, SOUND_READING, sound_read);
}

static void set_reading(struct replicas *r, uint32_t shard, struct member *m) {
    (void)r, (void)shard;
    m->sound = SOUND_READING;
}

static void unread_end(struct replicas *r, uint32_t shard, struct member *m) {
    (void)shard;
    sound_end(r, m);
}

/* shard: UINT32_MAX: of many. */
static void scrub_begin(struct replicas *r, uint32_t shard) {
    r->sound.scrub = (struct store_scrub){.shard = shard, .done = on_scrubbed};
    r->sound.reads = true;
    enum status status = r->o.store->scrub(r->o.store->ctx, &r->sound.scrub);
    if (status == OK) {
        each_in(r, SOUND_ASKED, set_reading);
        return;
    }
    r->sound.reads = false;
    if (status == ERR_UNAVAILABLE) each_in(r, SOUND_ASKED, unread_end); /* nothing can be bad */
}

static bool is_up(const struct replicas *r, const struct member *m) {
    int node = ring_map_node_index(r->map, r->fars[m->far]->id);
    return m->state == MEMBER_BEHIND && node >= 0 &&
           (r->map->nodes[node].flags & RING_NODE_DOWN) == 0;
}

void sound_look(struct replicas *r) {
    uint64_t now_ns = core_mono_ns(r->core);
    uint32_t asked = UINT32_MAX, shards = 0;
    if (!r->sound.any) return;
    r->sound.any = false;
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        for (unsigned k = 0; k < s->members_count; k++) {
            struct member *m = &s->members[k];
            if (m->sound == SOUND_NONE || m->sound == SOUND_OVER) continue;
            if (m->sound != SOUND_BAD && is_up(r, m) &&
                now_ns - m->sound_since_ns > SOUND_MS_MAX * UINT64_C(1000000))
                sound_end(r, m);
            r->sound.any = r->sound.any || m->sound != SOUND_OVER;
            if (m->sound != SOUND_ASKED || asked == i) continue;
            asked = i;
            shards++;
        }
    }
    if (shards > 0 && !r->sound.reads) scrub_begin(r, shards == 1 ? asked : UINT32_MAX);
}

/* -- fetching what is bad */

static bool is_bad_still(struct replicas *r, uint32_t shard) {
    struct shard_ranges own = {0};
    bool bad =
        r->o.store->ranges(r->o.store->ctx, shard, &own, NULL) != OK || ranges_have_bad(&own);
    ranges_fini(&own);
    return bad;
}

node_id sound_source(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    const struct member *best = NULL;
    bool known = false;
    if (s->role != ROLE_OPEN) return 0;
    for (unsigned k = 0; k < s->members_count; k++) {
        struct member *m = &s->members[k];
        if (m->sound != SOUND_BAD) continue;
        known = known || is_bad_still(r, shard);
        if (!known)
            sound_end(r, m);
        else if (is_up(r, m) && m->sound_again_ns <= core_mono_ns(r->core) &&
                 (best == NULL || m->sound_refusals < best->sound_refusals))
            best = m;
    }
    return best == NULL ? 0 : r->fars[best->far]->id;
}

static struct member *held_of(struct replicas *r, uint32_t shard, node_id from) {
    struct shard *s = shard_at(r, shard);
    for (unsigned k = 0; k < s->members_count; k++)
        if (!s->members[k].tail && r->fars[s->members[k].far]->id == from) return &s->members[k];
    return NULL;
}

void sound_refused(struct replicas *r, uint32_t shard, node_id from) {
    struct member *m = held_of(r, shard, from);
    if (m == NULL || m->sound != SOUND_BAD) return;
    uint64_t again_ms = MIN((uint64_t)SOUND_AGAIN_MS << m->sound_refusals, SOUND_AGAIN_MS_MAX);
    m->sound_again_ns = core_mono_ns(r->core) + again_ms * 1000000;
    if (again_ms < SOUND_AGAIN_MS_MAX) m->sound_refusals++;
}

void sound_cannot(struct replicas *r, uint32_t shard, node_id from) {
    struct member *m = held_of(r, shard, from);
    if (m == NULL || m->sound != SOUND_BAD) return;
    if (!m->sound_told)
        log_errorf("a replica that diverged cannot give what is bad here, and is kept until that "
                   "block is gone",
                   "shard", "%" PRIu32, shard);
    m->sound_told = true;
    sound_refused(r, shard, from);
}
