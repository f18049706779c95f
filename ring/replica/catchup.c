/* SPDX-License-Identifier: Apache-2.0 */
/* Members that are behind, or whose state is not known: what do they hold (PLACES)? From there on
 * entries come from what is retained, or, where that does not reach back so far, from the log: one
 * reading for all shards of a node at a time. */
#include <assert.h>
#include <stdlib.h>

#include "ring/replica/internal.h"
#include "ring/replica/sound.h"

struct catchup_member {
    uint32_t shard, copy;
    bool tail;
};
struct catchup {
    struct list_node node; /* of replicas->jobs */
    struct store_read read;
    struct far *far; /* NULL: nobody cares any more */
    struct replicas *replicas;
    struct store_read_from *from;
    struct catchup_member *members;
    size_t count;
    bool failed, waiting; /* for the answer to a frame */
};

/* -- what is held leads to where? */

bool held_is_on_our_log(const struct replicas *r, uint32_t shard, const struct shard_held *held) {
    const struct shard *s = &r->shards[shard];
    struct place end = held->end;
    uint64_t last;
    if (held->is_whole && !s->own_tail &&
        held->history != r->o.store->history(r->o.store->ctx, shard, end.epoch))
        return false;
    if (end.epoch == s->end.epoch) return end.seq <= s->end.seq;
    if (end.epoch > s->end.epoch) return false;
    if (s->own_tail) return true; /* without a table of epochs; a FULL copy will tell */
    return r->o.store->epoch_end(r->o.store->ctx, shard, end.epoch, &last) && end.seq <= last;
}

/* What comes next is in blocks only: it begins anew. */
static bool is_before_base(const struct replicas *r, uint32_t shard, const struct shard *s,
                           const struct shard_held *held) {
    struct shard_held own = {0};
    if (!held->has_log || s->own_tail) return false;
    r->o.store->held(r->o.store->ctx, shard, false, &own);
    return own.based && place_cmp(held->end, own.first) < 0;
}

static void member_live(struct replicas *r, uint32_t shard, struct member *m) {
    struct shard *s = shard_at(r, shard);
    m->state = MEMBER_LIVE;
    if (!m->waited && !s->own_tail) {
        m->waited = true;
        m->goal = s->end;
    }
    member_dirty(r, shard, m);
    shard_settle(r, shard);
}

/* The primary's log is whole up to s->end, and the member's state is known. */
void member_place(struct replicas *r, uint32_t shard, struct member *m) {
    struct shard *s = shard_at(r, shard);
    const struct shard_held *held = m->tail ? &m->tail_held : &m->whole_held;
    if (s->own_tail && !m->tail) {
        m->state = MEMBER_BEHIND; /* for good */
        m->diverged = true;
        return;
    }
    m->diverged = held->damaged || is_before_base(r, shard, s, held) ||
                  (held->has_log && !held_is_on_our_log(r, shard, held));
    if (m->diverged && !s->own_tail) {
        m->state = MEMBER_BEHIND;
        sound_begin(r, shard, m);
        replicas_want_report(r);
        return;
    }
    m->sound = SOUND_NONE;
    m->has_log = held->has_log;
    /* A tail begins behind what is settled, which is retained from there on. A process that was
     * started anew does not know how far its predecessor's followers were: then it gets all. */
    m->begins = m->tail && !held->has_log && place_cmp(s->settled, s->released) >= 0;
    m->acked = m->sent = held->has_log ? held->end : (struct place){0};
    if (m->begins) m->acked = m->sent = s->settled; /* what is not settled is retained */
    bool reaches = m->has_log || m->begins ? place_cmp(m->acked, s->released) >= 0
                                           : place_is_zero(s->released);
    if (reaches) {
        member_live(r, shard, m);
        return;
    }
    m->state = MEMBER_BEHIND;
    catchup_start(r->fars[m->far]);
    transfer_start(r->fars[m->far]);
}

/* -- PLACES */

static void places_take(struct replicas *r, uint16_t index, const struct places_answer *a) {
    if (a->shard >= r->shards_count) return;
    struct shard *s = shard_at(r, a->shard);
    if (s->role != ROLE_PROMOTING && s->role != ROLE_OPEN) return;
    for (unsigned i = 0; i < s->members_count; i++) {
        struct member *m = &s->members[i];
        if (m->far != index || m->state != MEMBER_UNKNOWN || m->answered) continue;
        if (m->asked_epoch != s->epoch) continue; /* it may have led on since then */
        const struct shard_held *held = m->tail ? &a->tail : &a->whole;
        if (held->has_log && held->copy != m->copy) continue; /* asked again: not there yet */
        m->answered = true;
        m->whole_held = a->whole;
        m->tail_held = a->tail;
    }
}

static void places_place(struct replicas *r, uint16_t index) {
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        for (unsigned k = 0; k < s->members_count; k++) {
            struct member *m = &s->members[k];
            if (m->far != index || m->state != MEMBER_UNKNOWN || !m->answered) continue;
            if (s->role == ROLE_OPEN || (s->role == ROLE_PROMOTING && s->opening))
                member_place(r, i, m);
        }
        if (s->role == ROLE_PROMOTING) promote_step(r, i);
    }
}

static void far_again(struct far *far) {
    if (far->replicas->stopping || far->broken) return;
    far->broken = true;
    timer_start(&far->retry, RETRY_MS);
}

static bool far_wants(const struct replicas *r, uint16_t index, uint32_t shard) {
    const struct shard *s = &r->shards[shard];
    if (s->role != ROLE_PROMOTING && s->role != ROLE_OPEN) return false;
    for (unsigned k = 0; k < s->members_count; k++)
        if (s->members[k].far == index && s->members[k].state == MEMBER_UNKNOWN &&
            !s->members[k].answered)
            return true;
    return false;
}

static void places_ask_put(struct shard *s, uint32_t shard, uint16_t index, struct buf *payload) {
    places_item_put(&(struct places_item){shard, s->epoch}, payload);
    for (unsigned k = 0; k < s->members_count; k++)
        if (s->members[k].far == index) s->members[k].asked_epoch = s->epoch;
}

static void places_on_reply(void *ctx, enum status status, struct sv part, bool last,
                            const struct err *err) {
    (void)err;
    struct far *far = ctx;
    struct replicas *r = far->replicas;
    uint16_t index = far_index(far);
    if (status == OK && !last) peer_call_cancel(far->places_call);
    far->places_call = NULL;
    far->asking = false;
    bool ok = status == OK && last && wire_open(&part, NULL) == OK;
    bool again = !ok;
    while (ok && part.len > 0) {
        struct places_answer a;
        if (places_answer_get(&part, &a, NULL) != OK) break;
        if (a.result == RESULT_OK)
            places_take(r, index, &a);
        else
            again = true;
    }
    if (ok) places_place(r, index);
    for (uint32_t i = 0; i < r->shards_count && !again; i++)
        again = far_wants(r, index, i);
    if (again) far_again(far);
    far_flush(far);
}

void far_ask(struct far *far) {
    struct replicas *r = far->replicas;
    if (far->asking || far->broken || r->stopping || r->o.peers == NULL) return;
    uint16_t index = far_index(far);
    struct buf payload = {0};
    size_t count = 0;
    wire_begin(&payload);
    for (uint32_t i = 0; i < r->shards_count; i++) {
        if (!far_wants(r, index, i)) continue;
        places_ask_put(&r->shards[i], i, index, &payload);
        count++;
    }
    if (count == 0) {
        buf_fini(&payload);
        return;
    }
    far->asking = true;
    struct peer_call_options o = {.to = far->id,
                                  .type = FRAME_PLACES,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .reply = places_on_reply,
                                  .ctx = far};
    far->places_call = peers_call(r->o.peers, &o, &payload);
}

/* -- entries from the log */

static void catchup_free(struct catchup *job) {
    list_remove(&job->node);
    free(job->from);
    free(job->members);
    free(job);
}

static struct member *catchup_member(struct catchup *job, size_t i) {
    struct replicas *r = job->replicas;
    if (job->far == NULL) return NULL;
    struct shard *s = shard_at(r, job->members[i].shard);
    if (s->role != ROLE_OPEN && s->role != ROLE_PROMOTING) return NULL;
    struct member *m = shard_member(s, far_index(job->far), job->members[i].tail);
    return m != NULL && m->reading && m->copy == job->members[i].copy ? m : NULL;
}

static bool catchup_put(struct catchup *job, uint32_t shard, struct sv entries, struct place upto,
                        struct buf *payload, struct frame_part *out) {
    struct replicas *r = job->replicas;
    struct shard *s = shard_at(r, shard);
    for (size_t i = 0; i < job->count; i++) {
        if (job->members[i].shard != shard) continue;
        const struct member *m = catchup_member(job, i);
        if (m == NULL || m->state != MEMBER_BEHIND) continue;
        struct append_item item = {.shard = shard,
                                   .epoch = s->epoch,
                                   .copy = m->copy,
                                   .flags = m->tail ? APPEND_TAIL : APPEND_WHOLE,
                                   .settled = s->settled,
                                   .entries = entries};
        append_item_put(&item, payload);
        *out = (struct frame_part){.shard = shard,
                                   .epoch = s->epoch,
                                   .copy = m->copy,
                                   .tail = m->tail,
                                   .upto = upto,
                                   .has_entries = true};
        return true;
    }
    return false;
}

/* Runs of entries of one shard become items, in their order. */
static bool catchup_piece(struct store_read *read, struct sv entries) {
    struct catchup *job = container_of(read, struct catchup, read);
    struct replicas *r = job->replicas;
    if (job->failed || job->far == NULL || r->stopping) return false;
    struct buf payload = {0};
    struct frame_part *parts = NULL;
    size_t count = 0, cap = 0;
    wire_begin(&payload);
    while (entries.len > 0) {
        struct entry_place e, next;
        struct sv run = entries, rest = entries;
        if (r->o.store->entry_next(&rest, &e, NULL) != OK) break;
        struct place upto = e.place;
        for (struct sv look = rest; look.len > 0; rest = look, upto = next.place)
            if (r->o.store->entry_next(&look, &next, NULL) != OK || next.shard != e.shard) break;
        run = sv_take(run, entries.len - rest.len);
        entries = rest;
        if (count == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            struct frame_part *grown = realloc(parts, cap * sizeof *parts);
            if (grown == NULL) payload.failed = true;
            if (grown == NULL) break;
            parts = grown;
        }
        if (catchup_put(job, e.shard, run, upto, &payload, &parts[count])) count++;
    }
    if (count == 0 && !payload.failed) { /* nobody wants any of it: on */
        free(parts);
        buf_fini(&payload);
        r->o.store->read_resume(r->o.store->ctx, read);
        return true;
    }
    job->waiting = far_send(job->far, &payload, parts, count, job);
    if (!job->waiting) job->failed = true;
    return job->waiting;
}

void catchup_answered(struct catchup *job, bool ok) {
    job->waiting = false;
    if (!ok) job->failed = true;
    job->replicas->o.store->read_resume(job->replicas->o.store->ctx, &job->read);
}

static void catchup_done(struct store_read *read, enum status status, const struct err *err) {
    (void)err;
    struct catchup *job = container_of(read, struct catchup, read);
    struct replicas *r = job->replicas;
    struct far *far = job->far;
    if (far != NULL) far->job = NULL;
    for (size_t i = 0; i < job->count; i++) {
        uint32_t shard = job->members[i].shard;
        struct shard *s = shard_at(r, shard);
        struct member *m = catchup_member(job, i);
        if (m != NULL) {
            m->reading = false;
            if (status != OK || job->failed)
                member_lost(r, shard, m);
            else if (m->state == MEMBER_BEHIND && m->has_log &&
                     place_cmp(m->acked, s->released) >= 0)
                member_live(r, shard, m);
        }
        assert(s->pins > 0);
        s->pins--;
        if (s->role == ROLE_OPEN) shard_release(r, shard, s->settled);
    }
    catchup_free(job);
    if (far == NULL || r->stopping) return;
    if (status != OK) far_again(far);
    far_ask(far);
    catchup_start(far);
    transfer_start(far);
    far_flush(far);
}

static int from_cmp(const void *a, const void *b) {
    const struct store_read_from *x = a, *y = b;
    return (x->shard > y->shard) - (x->shard < y->shard);
}

/* A tail may begin anywhere: what is before the base is in blocks of all who have a head. */
static void member_from_base(struct replicas *r, uint32_t shard, const struct member *m,
                             struct store_read_from *from) {
    struct shard_held held = {0};
    if (!from->from_start || !m->tail || from->tail) return;
    r->o.store->held(r->o.store->ctx, shard, false, &held);
    if (!held.based) return;
    from->from_start = false;
    from->after = held.first;
}

void catchup_start(struct far *far) {
    struct replicas *r = far->replicas;
    if (far->job != NULL || r->stopping || far->broken) return;
    uint16_t index = far_index(far);
    struct catchup *job = calloc(1, sizeof *job);
    if (job == NULL) return;
    *job = (struct catchup){.far = far, .replicas = r};
    list_push_back(&r->jobs, &job->node);
    job->from = calloc(r->shards_count, sizeof *job->from);
    job->members = calloc(r->shards_count, sizeof *job->members);
    for (uint32_t i = 0; i < r->shards_count && job->from != NULL && job->members != NULL; i++) {
        struct shard *s = shard_at(r, i);
        if (s->role != ROLE_OPEN && !(s->role == ROLE_PROMOTING && s->opening)) continue;
        for (unsigned k = 0; k < s->members_count; k++) {
            struct member *m = &s->members[k];
            if (m->far != index || m->state != MEMBER_BEHIND || m->diverged || m->reading ||
                transfer_is_needed(r, i, m))
                continue;
            m->reading = true;
            s->pins++;
            job->members[job->count] =
                (struct catchup_member){.shard = i, .copy = m->copy, .tail = m->tail};
            job->from[job->count++] = (struct store_read_from){
                .shard = i, .tail = s->own_tail, .from_start = !m->has_log, .after = m->acked};
            member_from_base(r, i, m, &job->from[job->count - 1]);
            break;
        }
    }
    if (job->count == 0) {
        catchup_free(job);
        return;
    }
    qsort(job->from, job->count, sizeof *job->from, from_cmp);
    metric_add(r->metrics.fills, 1);
    far->job = job;
    job->read = (struct store_read){.from = job->from,
                                    .from_count = job->count,
                                    .piece_bytes_max = PIECE_BYTES,
                                    .piece = catchup_piece,
                                    .done = catchup_done};
    struct err err;
    if (r->o.store->read(r->o.store->ctx, &job->read, &err) != OK)
        catchup_done(&job->read, err.code, &err);
}

/* The job goes on reading until it sees that nobody cares. */
void catchup_stop(struct far *far) {
    struct catchup *job = far->job;
    if (job == NULL) return;
    far->job = NULL;
    job->far = NULL;
    job->failed = true;
    if (job->waiting) catchup_answered(job, false);
}

void catchup_free_all(struct replicas *r) {
    while (!list_is_empty(&r->jobs))
        catchup_free(container_of(r->jobs.next, struct catchup, node));
}
