/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/verifying.h"

#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/replica/serve.h"
#include "ring/replica/sync.h"

static void progress(struct verify *v) {
    v->progress_ns = core_mono_ns(v->r->core);
}

static void verify_settle(struct verify *v, uint32_t shard, enum verify_state state) {
    if (v->shards[shard].state != VERIFY_OPEN) return;
    v->shards[shard].state = (uint8_t)state;
    progress(v);
    if (--v->open_count > 0) return;
    v->phase = VERIFY_OVER;
    log_infof("replicas were compared on demand", "findings", "%u", v->findings_count);
}

/* -- beginning */

static void compare_begin(struct verify *v) {
    struct replicas *r = v->r;
    v->phase = VERIFY_COMPARING;
    for (uint32_t i = 0; i < r->shards_count; i++) {
        const struct shard *s = &r->shards[i];
        bool wanted =
            s->role != ROLE_NONE && !s->own_tail && (v->only == VERIFY_ALL || v->only == i);
        v->shards[i] = (struct verify_shard){.state = wanted ? VERIFY_OPEN : VERIFY_NONE};
        v->open_count += wanted;
    }
    progress(v);
    if (v->open_count == 0) v->phase = VERIFY_OVER;
    verify_look(v);
}

static void scrub_begin(struct verify *v);

static void on_scrubbed(struct store_scrub *scrub) {
    struct verify *v = container_of(scrub, struct verify, scrub);
    v->scrubs = false;
    if (v->again)
        scrub_begin(v);
    else
        compare_begin(v);
}

static void scrub_begin(struct verify *v) {
    v->again = false;
    v->scrubs = true;
    v->scrub = (struct store_scrub){.shard = v->only, .done = on_scrubbed};
    if (v->r->o.store->scrub(v->r->o.store->ctx, &v->scrub) == OK) return;
    v->scrubs = false;
    v->id = 0; /* who asks sees it */
    v->phase = VERIFY_OFF;
}

void verify_begin(struct verify *v, struct replicas *r, uint64_t id, uint32_t only) {
    if (v->id == id || r->map == NULL) return; /* told again */
    struct verify_shard *shards = calloc(r->shards_count, sizeof *shards);
    if (shards == NULL) return; /* who asks sees another id */
    free(v->shards);
    v->r = r;
    v->id = id;
    v->only = only;
    v->shards = shards;
    v->shards_count = r->shards_count;
    v->open_count = v->findings_count = 0;
    v->phase = VERIFY_SCRUBBING;
    if (v->scrubs)
        v->again = true;
    else
        scrub_begin(v);
}

void verify_fini(struct verify *v) {
    free(v->shards);
    v->shards = NULL;
    v->shards_count = 0;
    v->phase = VERIFY_OFF;
}

/* -- what comes of it */

bool verify_wants(const struct verify *v, uint32_t shard) {
    return v->phase == VERIFY_COMPARING && v->shards[shard].state == VERIFY_OPEN;
}

/* One that was told stays one: it is found again until it is repaired. */
static void finding_add(struct verify *v, uint32_t shard, const struct span_found *f) {
    for (uint32_t i = 0; i < v->findings_count; i++) {
        const struct verify_finding *old = &v->findings[i];
        if (old->shard == shard && !old->repaired && old->span.min_ms <= f->span.max_ms &&
            old->span.max_ms >= f->span.min_ms)
            return;
    }
    if (v->findings_count == VERIFY_FINDINGS_MAX) return;
    v->findings[v->findings_count++] = (struct verify_finding){.shard = shard,
                                                               .verdict = (uint8_t)f->verdict,
                                                               .span = f->span,
                                                               .own_samples = f->own_samples,
                                                               .other_samples = f->other_samples};
    progress(v);
}

struct comparing {
    struct verify *v;
    uint32_t shard, equal, apart;
    bool open, lost;
};

static bool compare_span(void *ctx, const struct span_found *f) {
    struct comparing *c = ctx;
    switch (f->verdict) {
    case SPAN_EQUAL: c->equal++; break;
    case SPAN_APART: c->apart++; break;
    case SPAN_BAD:
    case SPAN_DIFFERS:
    case SPAN_LOST:
        finding_add(c->v, c->shard, f);
        c->open = c->open || f->verdict != SPAN_LOST;
        c->lost = c->lost || f->verdict == SPAN_LOST;
        break;
    case SPAN_LATER: c->open = true; break;
    }
    return true;
}

void verify_compared(struct verify *v, uint32_t shard, struct shard_ranges *own,
                     struct shard_ranges *other) {
    struct comparing c = {.v = v, .shard = shard};
    if (!verify_wants(v, shard)) return;
    ranges_each(own, other, compare_span, &c);
    v->shards[shard].equal = c.equal;
    v->shards[shard].apart = c.apart;
    if (!c.open) verify_settle(v, shard, c.lost ? VERIFY_FAILED : VERIFY_DONE);
}

void verify_repaired(struct verify *v, uint32_t shard, const struct shard_span *span) {
    for (uint32_t i = 0; i < v->findings_count && v->phase == VERIFY_COMPARING; i++) {
        struct verify_finding *f = &v->findings[i];
        if (f->shard == shard && f->span.min_ms <= span->max_ms && f->span.max_ms >= span->min_ms)
            f->repaired = true;
    }
    if (v->phase == VERIFY_COMPARING) progress(v);
}

/* What this node leads: its own ranges alone. */
static void lead_look(struct verify *v, uint32_t shard) {
    struct replicas *r = v->r;
    struct shard_ranges own = {0};
    uint32_t good = 0, bad = 0;
    if (r->o.store->ranges(r->o.store->ctx, shard, &own, NULL) != OK) {
        ranges_fini(&own);
        return;
    }
    for (uint32_t i = 0; i < own.count; i++) {
        const struct shard_range *range = &own.at[i];
        good += range->kind == RANGE_GOOD || range->kind == RANGE_UNKNOWN;
        bad += range->kind == RANGE_BAD;
        if (range->kind != RANGE_BAD) continue;
        finding_add(
            v, shard,
            &(struct span_found){.verdict = SPAN_BAD, .span = {range->min_ms, range->max_ms}});
    }
    ranges_fini(&own);
    v->shards[shard].equal = good;
    v->shards[shard].leads = true;
    if (bad == 0) verify_settle(v, shard, VERIFY_DONE);
    if (bad > 0 && r->map->shards[shard].replicas_count == 1)
        verify_settle(v, shard, VERIFY_FAILED);
}

void verify_look(struct verify *v) {
    struct replicas *r = v->r;
    if (v->phase != VERIFY_COMPARING) return;
    bool stalls = core_mono_ns(r->core) - v->progress_ns > VERIFY_STALL_MS * UINT64_C(1000000);
    for (uint32_t i = 0; i < v->shards_count && v->phase == VERIFY_COMPARING; i++) {
        if (v->shards[i].state != VERIFY_OPEN) continue;
        if (stalls || r->shards[i].role == ROLE_NONE)
            verify_settle(v, i, VERIFY_FAILED);
        else if (r->shards[i].complete && r->shards[i].role != ROLE_FOLLOWER)
            lead_look(v, i);
    }
}

/* -- frames */

void verify_ask_put(const struct verify_ask *ask, struct buf *out) {
    wire_begin(out);
    buf_put_varint(out, ask->id);
    buf_put_u8(out, ask->begin);
    buf_put_varint(out, ask->only == VERIFY_ALL ? 0 : (uint64_t)ask->only + 1);
}

enum status verify_ask_get(struct sv items, struct verify_ask *out, struct err *err) {
    struct reader r = reader_init(items.ptr, items.len);
    *out = (struct verify_ask){.id = read_varint(&r)};
    uint8_t bits = read_u8(&r);
    uint64_t only = read_varint(&r);
    if (r.failed || reader_left(&r) > 0 || bits > 1 || only > UINT32_MAX || out->id == 0)
        return err_set(err, ERR_CORRUPT, 0, "replica: a malformed ask to verify");
    out->begin = bits == 1;
    out->only = only == 0 ? VERIFY_ALL : (uint32_t)only - 1;
    return OK;
}

static void shards_put(const struct verify *v, struct buf *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->shards_count; i++)
        count += v->shards[i].state != VERIFY_NONE;
    buf_put_varint(out, count);
    for (uint32_t i = 0; i < v->shards_count; i++) {
        const struct verify_shard *s = &v->shards[i];
        if (s->state == VERIFY_NONE) continue;
        buf_put_varint(out, i);
        buf_put_u8(out, s->state);
        buf_put_u8(out, s->leads);
        buf_put_varint(out, s->equal);
        buf_put_varint(out, s->apart);
    }
}

static void findings_put(const struct verify *v, struct buf *out) {
    buf_put_varint(out, v->findings_count);
    for (uint32_t i = 0; i < v->findings_count; i++) {
        const struct verify_finding *f = &v->findings[i];
        buf_put_varint(out, f->shard);
        buf_put_u8(out, f->verdict);
        buf_put_u8(out, f->repaired);
        buf_put_zigzag(out, f->span.min_ms);
        buf_put_zigzag(out, f->span.max_ms);
        buf_put_varint(out, f->own_samples);
        buf_put_varint(out, f->other_samples);
    }
}

void replicas_verify(struct replicas *r, const struct verify_ask *ask, struct buf *out) {
    struct verify *v = sync_verify(r->sync);
    if (ask->begin && !r->stopping) verify_begin(v, r, ask->id, ask->only);
    buf_put_varint(out, v->id);
    buf_put_u8(out, (uint8_t)v->phase);
    buf_put_varint(out, v->scrub.blocks);
    shards_put(v, out);
    findings_put(v, out);
}

bool verify_shard_next(struct sv *rest, uint32_t *out_shard, struct verify_shard *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    uint64_t shard = read_varint(&r);
    *out = (struct verify_shard){.state = read_u8(&r)};
    out->leads = read_u8(&r) != 0;
    uint64_t equal = read_varint(&r), apart = read_varint(&r);
    if (r.failed || shard > UINT32_MAX || out->state > VERIFY_FAILED) return false;
    *out_shard = (uint32_t)shard;
    out->equal = (uint32_t)MIN(equal, UINT32_MAX);
    out->apart = (uint32_t)MIN(apart, UINT32_MAX);
    *rest = sv_make((const char *)r.cur, reader_left(&r));
    return true;
}

bool verify_finding_next(struct sv *rest, struct verify_finding *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    uint64_t shard = read_varint(&r);
    *out = (struct verify_finding){.verdict = read_u8(&r)};
    out->repaired = read_u8(&r) != 0;
    out->span.min_ms = read_zigzag(&r);
    out->span.max_ms = read_zigzag(&r);
    out->own_samples = read_varint(&r);
    out->other_samples = read_varint(&r);
    if (r.failed || shard > UINT32_MAX || out->verdict > SPAN_LOST) return false;
    out->shard = (uint32_t)shard;
    *rest = sv_make((const char *)r.cur, reader_left(&r));
    return true;
}

enum status verify_part_get(struct sv *rest, struct verify_part *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    struct verify_shard s;
    struct verify_finding f;
    uint32_t shard;
    *out = (struct verify_part){.id = read_varint(&r)};
    out->phase = read_u8(&r);
    out->blocks = read_varint(&r);
    out->shards_count = read_varint(&r);
    bool ok = !r.failed && out->phase <= VERIFY_OVER;
    struct sv at = sv_make((const char *)r.cur, reader_left(&r));
    out->shards = at;
    for (uint64_t i = 0; ok && i < out->shards_count; i++)
        ok = verify_shard_next(&at, &shard, &s);
    r = reader_init(at.ptr, at.len);
    out->findings_count = ok ? read_varint(&r) : 0;
    ok = ok && !r.failed;
    at = out->findings = sv_make((const char *)r.cur, reader_left(&r));
    for (uint64_t i = 0; ok && i < out->findings_count; i++)
        ok = verify_finding_next(&at, &f);
    if (!ok) return err_set(err, ERR_CORRUPT, 0, "replica: a malformed part of a verification");
    *rest = at;
    return OK;
}

static void verify_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct verify_ask ask;
    if (r == NULL || verify_ask_get(buf_sv(&part->served->payload), &ask, NULL) != OK)
        part->answer.failed = true;
    else
        replicas_verify(r, &ask, &part->answer);
    served_part_done(part);
}

void served_verify(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, verify_run);
}
