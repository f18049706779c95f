/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats, both sides. The lease runs from the moment the answered heartbeat was sent, on this
 * node's monotonic clock: the controller counts from when it answered, which is later. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

enum { BEAT_CALL_MS = 1200, BEAT_GAP_MS = 20 };

static void beat_send(struct member *m);

static void beat_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, beat.timer);
    timer_start(t, HEARTBEAT_MS);
    if (m->phase == MEMBER_MEMBER && !m->leaving && !m->lost) beat_send(m);
    member_settle(m);
    metrics_step(m);
}

enum status beat_open(struct member *m, struct err *err) {
    timer_init(&m->beat.timer, m->core, beat_on_timer);
    metrics_open(m);
    m->beat.reports = calloc(m->rt->cores_count, sizeof *m->beat.reports);
    m->beat.pings = calloc(m->rt->cores_count, sizeof *m->beat.pings);
    if (m->beat.reports != NULL && m->beat.pings != NULL) return OK;
    return err_set(err, ERR_NOMEM, 0, "member: out of memory");
}

void beat_start(struct member *m) {
    timer_start(&m->beat.timer, 0);
}

void beat_now(struct member *m) {
    if (!m->started || m->leaving || m->lost) return;
    uint64_t now_ms = member_now_ms(m), due_ms = m->beat.last_ms + BEAT_GAP_MS;
    timer_start(&m->beat.timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

void beat_leader_changed(struct member *m) {
    node_id leader = drive_leader(m);
    if (leader == 0 || leader == m->beat.hint) return;
    m->beat.hint = m->beat.bad = 0;
    beat_now(m);
}

static void report_fini(struct core_report *r) {
    free(r->reports);
    free(r->lags);
    *r = (struct core_report){0};
}

void beat_fini(struct member *m) {
    for (unsigned i = 0; m->beat.reports != NULL && i < m->rt->cores_count; i++)
        report_fini(&m->beat.reports[i]);
    free(m->beat.reports);
    free(m->beat.pings);
    m->beat.reports = NULL;
    m->beat.pings = NULL;
}

void member_report(struct member *m, struct core_report *report) {
    assert(core_is_current(m->core) && report->core < m->rt->cores_count);
    struct core_report *r = &m->beat.reports[report->core];
    bool news = report->reports_count != r->reports_count;
    for (size_t i = 0; i < report->reports_count && !news; i++) {
        const struct shard_report *a = &report->reports[i], *b = &r->reports[i];
        news = a->shard != b->shard || a->epoch != b->epoch || a->kind != b->kind ||
               a->about != b->about;
    }
    report_fini(r);
    *r = *report;
    *report = (struct core_report){0};
    if (news) beat_now(m);
}

/* -- how long the data cores take to read their mail */

static void ping_on_back(struct core *here, struct msg *msg) {
    (void)here;
    container_of(msg, struct ping, msg)->out = false;
}

static void ping_on_core(struct core *here, struct msg *msg) {
    struct ping *ping = container_of(msg, struct ping, msg);
    (void)here;
    msg->run = ping_on_back;
    core_post(ping->m->core, msg);
}

static uint32_t beat_mailbox_age_ms(struct member *m) {
    uint64_t now_ns = core_mono_ns(m->core), oldest_ms = 0;
    for (unsigned i = 0; i < m->rt->cores_count; i++) {
        struct ping *ping = &m->beat.pings[i];
        if (ping->out) {
            oldest_ms = MAX(oldest_ms, (now_ns - ping->sent_ns) / 1000000);
            continue;
        }
        *ping = (struct ping){.msg.run = ping_on_core, .m = m, .out = true, .sent_ns = now_ns};
        core_post(m->rt->cores[i], &ping->msg);
    }
    return (uint32_t)MIN(oldest_ms, (uint64_t)UINT32_MAX);
}

/* -- asking */

/* Who leads: who answered last or was named then, else who Raft says, else the voters in turn. */
static node_id beat_target(struct member *m) {
    if (drive_leads(m)) return m->o.self;
    if (m->beat.hint != 0) return m->beat.hint;
    node_id leader = drive_leader(m);
    if (leader != 0 && leader != m->beat.bad) return leader;
    struct raft_info info = raft_info(m->r.raft);
    for (uint32_t i = 0; i < info.members->count; i++) {
        const struct raft_member *v =
            &info.members->items[(m->beat.next_voter + i) % info.members->count];
        if (!v->voter || v->id == m->o.self) continue;
        m->beat.next_voter = (m->beat.next_voter + i + 1) % info.members->count;
        return v->id;
    }
    const struct ring_map *map = m->map.newest; /* Raft has not told its members yet */
    if (map == NULL || map->nodes_count < 2) return 0;
    m->beat.next_voter = (m->beat.next_voter + 1) % map->nodes_count;
    if (map->nodes[m->beat.next_voter].id == m->o.self)
        m->beat.next_voter = (m->beat.next_voter + 1) % map->nodes_count;
    return map->nodes[m->beat.next_voter].id;
}

/* All cores' reports as one. What a core said by an older map than this node has installed may be
 * about copies that are gone (CAUGHT_UP, DIVERGED): it is left out until the core speaks again. */
static bool beat_gather(struct member *m, struct heartbeat *h) {
    size_t reports = 0, lags = 0;
    for (unsigned i = 0; i < m->rt->cores_count; i++) {
        reports += m->beat.reports[i].reports_count;
        lags += m->beat.reports[i].lags_count;
    }
    h->reports = malloc((reports + 1) * sizeof *h->reports);
    h->lags = malloc((lags + 1) * sizeof *h->lags);
    if (h->reports == NULL || h->lags == NULL) return false;
    for (unsigned i = 0; i < m->rt->cores_count; i++) {
        const struct core_report *r = &m->beat.reports[i];
        bool old = r->map_version < h->map_version;
#ifdef PLANT_SAY_OLD_REPORTS
        old = false;
#endif
        h->unsynced_age_ms = MAX(h->unsynced_age_ms, r->unsynced_age_ms);
        h->log_failed = h->log_failed || r->log_failed;
        for (size_t k = 0; k < r->reports_count && !old && h->reports_count < REPORTS_MAX; k++)
            h->reports[h->reports_count++] = r->reports[k];
        for (size_t k = 0; k < r->lags_count; k++)
            h->lags[h->lags_count++] = r->lags[k];
    }
    return true;
}

static bool beat_put(struct member *m, struct buf *out) {
    struct heartbeat h = {.id = m->o.self,
                          .incarnation = m->o.incarnation,
                          .sequence = m->beat.sequence,
                          .map_version = m->map.installed,
                          .format_level = RING_FORMAT_LEVEL,
                          .draining = m->beat.draining,
                          .mailbox_age_ms = beat_mailbox_age_ms(m)};
    memcpy(h.addr, m->o.addr, strlen(m->o.addr) + 1);
    memcpy(h.zone, m->o.zone, strlen(m->o.zone) + 1);
    bool good = beat_gather(m, &h);
    if (good) heartbeat_put(&h, out);
    heartbeat_fini(&h);
    return good && !out->failed;
}

static void beat_extend(struct member *m, const struct heartbeat_reply *r) {
    uint64_t from_ns = m->beat.sent_ns[r->sequence % BEATS_KEPT];
#ifdef PLANT_LEASE_FROM_REPLY_TIME
    from_ns = core_mono_ns(m->core);
#endif
    uint64_t until_ns = from_ns + (uint64_t)LEASE_MS * 1000000;
    atomic_store_explicit(&m->o.lease->wall_offset_ms, r->wall_ms - core_wall_ms(m->core),
                          memory_order_relaxed);
    atomic_store_explicit(&m->o.lease->until_ns, until_ns, memory_order_release);
}

static void beat_lost(struct member *m, const struct heartbeat_reply *r) {
    struct err err;
    if (r->answer == HEARTBEAT_FENCED) {
        err_set(&err, ERR_CONFLICT, 0, "a newer process with this node's id is alive");
        member_lose(m, &err);
        return;
    }
    /* A leader that knows less than we do is none any more; its word does not count. */
    if (m->map.newest == NULL || r->map_version < m->map.newest->version) return;
    err_set(&err, ERR_CONFLICT, 0, "this node was removed from the cluster");
    member_removed(m, &err);
}

static void beat_on_reply(struct member *m, node_id from, const struct heartbeat_reply *r) {
    if (m->leaving || m->lost || r->sequence <= m->beat.answered ||
        r->sequence > m->beat.sequence || m->beat.sequence - r->sequence >= BEATS_KEPT)
        return;
    m->beat.bad = 0;
    metrics_beat(m, r->answer == HEARTBEAT_OK ? METRICS_BEAT_ANSWERED : METRICS_BEAT_REFUSED);
    switch ((enum heartbeat_answer)r->answer) {
    case HEARTBEAT_OK:
        m->beat.answered = r->sequence;
        m->beat.hint = from;
        beat_extend(m, r);
        break;
    case HEARTBEAT_NOT_LEADER: {
        bool news = r->leader != 0 && r->leader != from && r->leader != m->beat.hint;
        m->beat.hint = r->leader == from ? 0 : r->leader;
        if (news) beat_now(m);
        break;
    }
    case HEARTBEAT_NO_QUORUM: m->beat.hint = 0; break;
    case HEARTBEAT_UNKNOWN:
    case HEARTBEAT_FENCED: beat_lost(m, r); break;
    }
}

static void beat_done(struct member *m, struct call *call, enum status status,
                      const struct err *err) {
    if (status != OK && peers_is_fenced(status, err)) {
        struct heartbeat_reply fenced = {.answer = HEARTBEAT_FENCED};
        beat_lost(m, &fenced);
        return;
    }
    struct heartbeat_reply reply;
    if (status == OK && heartbeat_reply_get(buf_sv(&call->reply), &reply, NULL) == OK &&
        reply.sequence == call->number) {
        beat_on_reply(m, call->to, &reply);
        return;
    }
    metrics_beat(m, METRICS_BEAT_LOST);
    if (call->number <= m->beat.answered) return; /* a later one was answered */
    m->beat.bad = call->to;
    if (m->beat.hint == call->to) m->beat.hint = 0;
}

/* -- answering */

static void beat_answer(struct member *m, const struct heartbeat *h, struct heartbeat_reply *out) {
    uint64_t now_ms = member_now_ms(m);
    *out = (struct heartbeat_reply){.answer = HEARTBEAT_NOT_LEADER,
                                    .leader = drive_leader(m),
                                    .map_version =
                                        m->r.state.map == NULL ? 0 : m->r.state.map->version};
    if (m->lead.controller != NULL && drive_leads(m)) {
        bool fresh = raft_quorum_age_ms(m->r.raft, now_ms) <= QUORUM_AGE_MAX_MS && !m->leaving;
        uint64_t version = out->map_version;
        leader_saw(m, h->id, now_ms);
        controller_heartbeat(m->lead.controller, now_ms, h, fresh, out);
        if (!fresh && out->answer == HEARTBEAT_OK) out->answer = HEARTBEAT_NO_QUORUM;
        out->leader = m->o.self;
        out->map_version = version;
        m->dirty = m->lead.news = true;
    }
    out->sequence = h->sequence;
    out->wall_ms = core_wall_ms(m->core);
}

static bool beat_serve(struct member *m, struct sv payload, node_id from, struct buf *out,
                       struct err *err) {
    struct heartbeat h;
    if (heartbeat_get(payload, &h, err) != OK) return false;
    bool good = h.id == from;
    if (good) {
        struct heartbeat_reply reply;
        address_learn(m, h.id, h.incarnation, h.addr);
        beat_answer(m, &h, &reply);
        heartbeat_reply_put(&reply, out);
    } else {
        err_set(err, ERR_CONFLICT, 0, "heartbeat: of another node than its sender");
    }
    heartbeat_fini(&h);
    return good;
}

void beat_on_frame(struct member *m, struct relay *relay) {
    struct buf out = {0};
    struct err err;
    if (beat_serve(m, sv_make(relay->payload.ptr, relay->payload.len), relay->from, &out, &err))
        relay_reply(relay, &out);
    else
        relay_fail(relay, err.code, err.msg);
}

static void beat_self(struct member *m, struct buf *payload) {
    struct buf out = {0};
    struct heartbeat_reply reply;
    struct err err;
    if (beat_serve(m, buf_sv(payload), m->o.self, &out, &err) && !out.failed &&
        heartbeat_reply_get(buf_sv(&out), &reply, &err) == OK)
        beat_on_reply(m, m->o.self, &reply);
    buf_fini(&out);
    buf_fini(payload);
}

static void beat_send(struct member *m) {
    if (m->r.raft == NULL) return;
    node_id to = beat_target(m);
    if (to == 0) return;
    struct buf payload = {0};
    m->beat.sequence++;
    m->beat.last_ms = member_now_ms(m);
    if (!beat_put(m, &payload)) {
        buf_fini(&payload);
        return;
    }
    m->beat.sent_ns[m->beat.sequence % BEATS_KEPT] = core_mono_ns(m->core);
    if (to == m->o.self) {
        beat_self(m, &payload);
        return;
    }
    struct call_options o = {.to = to,
                             .type = FRAME_HEARTBEAT,
                             .timeout_ms = BEAT_CALL_MS,
                             .number = m->beat.sequence,
                             .done = beat_done};
    member_call(m, &o, &payload);
}
