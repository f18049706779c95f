/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to another node: entries for its members of many shards at once, some frames in flight.
 * One that was not answered makes all members there UNKNOWN: what they hold is asked first
 * (catchup.c), then what they lack is sent. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/internal.h"

enum { DIRTY_BYTES = 128 }; /* what goes out for a shard, about: one entry of some samples */

static void far_on_retry(struct timer *t) {
    struct far *far = container_of(t, struct far, retry);
    far->broken = false;
    far_ask(far);
    catchup_start(far);
    transfer_start(far);
    far_flush(far);
}

static void far_init(struct far *far, struct replicas *r, node_id id) {
    *far = (struct far){.id = id, .replicas = r};
    list_init(&far->frames);
    timer_init(&far->retry, r->core, far_on_retry);
}

int far_get(struct replicas *r, node_id id) {
    size_t at = r->fars_count;
    for (size_t i = 0; i < r->fars_count; i++) {
        if (r->fars[i]->id == id) {
            r->fars[i]->users++;
            return (int)i;
        }
        if (r->fars[i]->id == 0) at = i;
    }
    if (at == r->fars_count) {
        struct far **fars = realloc(r->fars, (r->fars_count + 1) * sizeof(struct far *));
        if (fars == NULL) return -1;
        r->fars = fars;
        fars[at] = malloc(sizeof *fars[at]);
        if (fars[at] == NULL) return -1;
        r->fars_count++;
    }
    far_init(r->fars[at], r, id);
    r->fars[at]->users = 1;
    return (int)at;
}

static void frame_free(struct append_frame *f) {
    list_remove(&f->node);
    free(f->parts);
    free(f);
}

void far_stop(struct far *far) {
    timer_stop(&far->retry);
    if (far->places_call != NULL) peer_call_cancel(far->places_call);
    far->places_call = NULL;
    catchup_stop(far);
    transfer_stop(far);
    while (!list_is_empty(&far->frames)) {
        struct append_frame *f = container_of(far->frames.next, struct append_frame, node);
        if (f->call != NULL) peer_call_cancel(f->call);
        frame_free(f);
    }
    far->frames_count = 0;
    far->asking = far->broken = false;
    free(far->dirty);
    far->dirty = NULL;
    far->dirty_count = far->dirty_cap = 0;
}

/* The peers that the calls belong to go with them. */
void far_free(struct far *far) {
    timer_stop(&far->retry);
    while (!list_is_empty(&far->frames))
        frame_free(container_of(far->frames.next, struct append_frame, node));
    free(far->dirty);
    free(far);
}

void far_put(struct replicas *r, uint16_t i) {
    struct far *far = r->fars[i];
    assert(far->users > 0);
    far->users--; /* freed at the end of a map's installation, when it has none */
}

void member_dirty(struct replicas *r, uint32_t shard, struct member *m) {
    struct far *far = r->fars[m->far];
    if (m->state != MEMBER_LIVE || m->dirty) return;
    if (far->dirty_count == far->dirty_cap) {
        size_t cap = far->dirty_cap == 0 ? 64 : far->dirty_cap * 2;
        uint32_t *dirty = realloc(far->dirty, cap * sizeof *dirty);
        if (dirty == NULL) { /* it is asked anew later */
            far_broke(far);
            return;
        }
        far->dirty = dirty;
        far->dirty_cap = cap;
    }
    m->dirty = true;
    far->dirty[far->dirty_count++] = shard;
    replicas_soon(r); /* unless somebody flushes before */
}

void far_broke(struct far *far) {
    struct replicas *r = far->replicas;
    uint16_t index = 0;
    while (r->fars[index] != far)
        index++;
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        for (unsigned k = 0; k < s->members_count; k++)
            if (s->members[k].far == index) member_lost(r, i, &s->members[k]);
    }
    far->dirty_count = 0;
    if (far->broken || r->stopping) return;
    far->broken = true;
    timer_start(&far->retry, RETRY_MS);
}

/* -- answers */

static void part_taken(struct far *far, const struct frame_part *part, uint16_t index) {
    struct replicas *r = far->replicas;
    struct shard *s = shard_at(r, part->shard);
    if (s->epoch != part->epoch || s->role == ROLE_NONE || s->role == ROLE_FOLLOWER) return;
    struct member *m = shard_member(s, index, part->tail);
    if (m == NULL || m->state == MEMBER_UNKNOWN || m->copy != part->copy) return;
    if (!part->has_entries) return;
    if (!m->has_log) member_dirty(r, part->shard, m);
    m->has_log = true;
    if (place_cmp(part->upto, m->acked) > 0) m->acked = part->upto;
    if (place_cmp(m->sent, m->acked) < 0) m->sent = m->acked;
    shard_settle(r, part->shard);
}

static void part_refused(struct far *far, const struct append_answer *a, uint16_t index) {
    struct replicas *r = far->replicas;
    if (a->shard >= r->shards_count) return;
    struct shard *s = shard_at(r, a->shard);
    for (unsigned i = 0; i < s->members_count; i++)
        if (s->members[i].far == index) member_lost(r, a->shard, &s->members[i]);
}

static bool answers_name(struct sv answers, uint32_t shard) {
    struct append_answer a;
    while (answers.len > 0 && append_answer_get(&answers, &a, NULL) == OK)
        if (a.shard == shard) return true;
    return false;
}

static void frame_answered(struct append_frame *f, struct sv answers) {
    struct far *far = f->far;
    uint16_t index = far_index(far);
    bool any = answers.len > 0;
    for (size_t i = 0; i < f->parts_count; i++)
        if (!any || !answers_name(answers, f->parts[i].shard)) part_taken(far, &f->parts[i], index);
    struct append_answer a;
    while (answers.len > 0 && append_answer_get(&answers, &a, NULL) == OK)
        part_refused(far, &a, index);
    if (any && !far->broken) {
        far->broken = true;
        timer_start(&far->retry, RETRY_MS);
    }
}

static void frame_on_reply(void *ctx, enum status status, struct sv part, bool last,
                           const struct err *err) {
    (void)err;
    struct append_frame *f = ctx;
    struct far *far = f->far;
    struct replicas *r = far->replicas;
    struct peer_call *call = f->call;
    struct catchup *job = f->job;
    if (status == OK && !last) {
        peer_call_cancel(call);
        status = ERR_CORRUPT;
    }
    f->call = NULL;
    far->frames_count--;
    bool ok = status == OK && wire_open(&part, NULL) == OK;
    metric_add(ok ? r->metrics.appends : r->metrics.failed, 1);
    if (ok)
        far->silent_since_ns = 0;
    else if (far->silent_since_ns == 0)
        far->silent_since_ns = f->sent_ns;
    if (ok)
        frame_answered(f, part);
    else
        far_broke(far);
    frame_free(f);
    if (job != NULL) catchup_answered(job, ok);
    far_flush(far);
}

/* -- sending */

bool far_send(struct far *far, struct buf *payload, struct frame_part *parts, size_t count,
              struct catchup *job) {
    struct replicas *r = far->replicas;
    struct append_frame *f = calloc(1, sizeof *f);
    if (f == NULL || payload->failed) {
        free(f);
        free(parts);
        buf_fini(payload);
        return false;
    }
    *f = (struct append_frame){.far = far, .parts = parts, .parts_count = count, .job = job};
    f->sent_ns = core_mono_ns(r->core);
    list_push_back(&far->frames, &f->node);
    far->frames_count++;
    metric_add(r->metrics.bytes, (double)payload->len);
    struct peer_call_options o = {.to = far->id,
                                  .type = FRAME_APPEND,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .reply = frame_on_reply,
                                  .ctx = f};
    f->call = peers_call(r->o.peers, &o, payload);
    return true;
}

static struct block_item *item_next(const struct shard *s, const struct block_item *item) {
    struct list_node *next = item->node.next;
    return next == &s->retained ? NULL : container_of(next, struct block_item, node);
}

/* What the member lacks of the retained entries, as far as there is room; true when something goes
 * out for it. *out_more: it lacks more. */
static bool member_put(struct replicas *r, uint32_t shard, struct member *m, struct buf *payload,
                       struct frame_part *out, bool *out_more) {
    struct shard *s = shard_at(r, shard);
    *out_more = false;
    /* A tail that holds nothing takes anything for its beginning: were the first frame refused, the
     * one behind it would begin it, and what lies between would be missing. So there is none. */
    if (m->begins && !m->has_log && place_cmp(m->sent, m->acked) > 0) return false;
    struct place from = m->has_log || m->begins ? m->sent : (struct place){0};
    struct block_item *first = shard_retained_after(s, from), *end = first;
    size_t bytes = 0;
    bool is_open = s->role == ROLE_OPEN;
    while (end != NULL && (bytes == 0 || bytes + payload->len <= r->o.append_bytes_max)) {
        bytes += end->bytes_len;
        end = item_next(s, end);
    }
    if (first == NULL && (!is_open || m->told_open)) return false;
    struct append_item item = {
        .shard = shard,
        .epoch = s->epoch,
        .copy = m->copy,
        .flags = (uint8_t)((m->tail ? APPEND_TAIL : APPEND_WHOLE) | (is_open ? APPEND_OPEN : 0)),
        .settled = s->settled};
    append_head_put(&item, bytes, payload);
    for (const struct block_item *i = first; i != end; i = item_next(s, i)) {
        buf_put(payload, i->bytes, i->bytes_len);
        m->sent = i->place;
    }
    *out = (struct frame_part){.shard = shard,
                               .epoch = s->epoch,
                               .copy = m->copy,
                               .tail = m->tail,
                               .open = is_open,
                               .upto = m->sent,
                               .has_entries = first != NULL};
    m->told_open = m->told_open || is_open;
    *out_more = end != NULL;
    return true;
}

static void far_send_dirty(struct far *far, uint16_t index) {
    struct replicas *r = far->replicas;
    struct buf payload = {0};
    struct frame_part *parts = calloc(far->dirty_count * 2, sizeof *parts);
    size_t count = 0, at = 0, kept = 0, dirty_count = far->dirty_count;
    if (parts == NULL) {
        far_broke(far);
        return;
    }
    buf_reserve(&payload, MIN(far->dirty_count * DIRTY_BYTES, r->o.append_bytes_max));
    wire_begin(&payload);
    for (; at < dirty_count && payload.len < r->o.append_bytes_max; at++) {
        uint32_t shard = far->dirty[at];
        struct shard *s = shard_at(r, shard);
        bool again = false;
        for (unsigned k = 0; k < s->members_count; k++) {
            struct member *m = &s->members[k];
            bool more = false;
            if (m->far != index || !m->dirty) continue;
            m->dirty = false;
            if (m->state != MEMBER_LIVE) continue;
            if (member_put(r, shard, m, &payload, &parts[count], &more)) count++;
            m->dirty = more; /* what did not fit is sent next */
            again = again || more;
        }
        if (again) far->dirty[kept++] = shard;
    }
    size_t left = dirty_count - at;
    memmove(far->dirty + kept, far->dirty + at, left * sizeof *far->dirty);
    far->dirty_count = kept + left;
    if (count == 0) {
        free(parts);
        buf_fini(&payload);
        return;
    }
    if (!far_send(far, &payload, parts, count, NULL)) far_broke(far);
}

void far_flush(struct far *far) {
    struct replicas *r = far->replicas;
    if (r->stopping || far->users == 0) return;
    uint16_t index = far_index(far);
    while (far->dirty_count > 0 && !far->broken && far->frames_count < r->o.appends_in_flight)
        far_send_dirty(far, index);
}
