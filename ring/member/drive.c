/* SPDX-License-Identifier: Apache-2.0 */
/* Raft on the control core: events in; messages to nodes, batches to the log core, committed
 * commands to the ring state. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "ring/member/internal.h"

/* Whoever led before answers heartbeats for QUORUM_AGE_MAX_MS after its last round, so nobody may
 * lead earlier (Raft's lease). The wider the range the fewer split votes, the longer a failover: at
 * most 5 s with LEADER_GRACE_MS and the promotion behind it; a split vote is soon tried again. */
enum { DRIVE_PATH_BYTES = 600, ELECTION_MAX_MS = 1300 };

static void drive_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, r.timer);
    struct raft_event event = {.type = RAFT_EV_TICK};
    drive_step(m, &event, NULL);
    member_settle(m);
}

static void retry_on_timer(struct timer *t);

enum status drive_open(struct member *m, struct err *err) {
    char dir[DRIVE_PATH_BYTES];
    member_path(m, "raft", dir);
    timer_init(&m->r.timer, m->core, drive_on_timer);
    timer_init(&m->r.retry, m->core, retry_on_timer);
    return raft_store_open(m->rt->disk, dir, &m->r.store, &m->r.loaded, err);
}

enum status drive_start(struct member *m, const struct raft_state *state, struct err *err) {
    assert(m->r.raft == NULL);
    struct raft_config config = {.self = m->o.self,
                                 .election_min_ms = QUORUM_AGE_MAX_MS,
                                 .election_max_ms = ELECTION_MAX_MS};
    m->rt->ops->random(m->rt, &config.seed, sizeof config.seed);
    TRY(raft_new(&config, state, member_now_ms(m), &m->r.raft, err));
    struct raft_event event = {.type = RAFT_EV_TICK};
    drive_step(m, &event, NULL);
    return OK;
}

void drive_fini(struct member *m) {
    raft_free(m->r.raft);
    raft_store_close(m->r.store);
    ring_state_fini(&m->r.state);
    m->r.raft = NULL;
    m->r.store = NULL;
}

node_id drive_leader(const struct member *m) {
    if (m->r.raft == NULL) return 0;
    return raft_info(m->r.raft).leader;
}

bool drive_leads(const struct member *m) {
    return m->r.raft != NULL && raft_info(m->r.raft).role == RAFT_LEADER;
}

/* -- saving */

bool drive_no_room(const struct err *err) {
    return err->os == ENOSPC || err->os == EDQUOT;
}

static void save_work(struct job *job) {
    job->status = raft_store_save(job->m->r.store, job->batch, &job->err);
    job->full = job->status != OK && raft_store_is_full(job->m->r.store, &job->err);
}

static void save_done(struct member *m, struct job *job);

static struct job *first_save(struct member *m) {
    if (list_is_empty(&m->r.saves)) return NULL;
    return container_of(m->r.saves.next, struct job, save);
}

void drive_stop(struct member *m) {
    if (m->r.retry.core == NULL || !timer_is_armed(&m->r.retry)) return;
    timer_stop(&m->r.retry);
    for (struct job *job; (job = first_save(m)) != NULL;) {
        list_remove(&job->save);
        member_job_free(job);
    }
}

static void retry_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, r.retry);
    struct job *job = first_save(m);
    if (job != NULL) member_job_post(job);
}

/* Raft goes on without: what is not durable here counts for nothing. */
static void save_again(struct member *m, struct job *job) {
    struct job *again = member_job(m, save_work, save_done);
    if (again == NULL) {
        member_lose(m, &job->err);
        return;
    }
    if (!m->r.full)
        log_error("no room to save the cluster's log, it is tried again", "err", job->err.msg);
    m->r.full = true;
    again->batch = job->batch;
    job->batch = NULL;
    list_push_front(&m->r.saves, &again->save);
    timer_start(&m->r.retry, FULL_RETRY_MS);
    if (m->stopping) drive_stop(m);
}

static void save_done(struct member *m, struct job *job) {
    list_remove(&job->save);
    if (job->full && !m->lost) {
        save_again(m, job);
        return;
    }
    if (m->r.full && job->status == OK) log_info("the cluster's log is saved again");
    m->r.full = false;
    struct job *next = first_save(m);
    if (next != NULL) member_job_post(next);
    struct raft_event event = {.type =
                                   job->status == OK ? RAFT_EV_PERSISTED : RAFT_EV_PERSIST_FAILED,
                               .token = job->batch->token};
    if (job->status != OK) err_prefix(&job->err, "the cluster's log cannot be saved");
    drive_step(m, &event, NULL);
    if (job->status != OK) member_lose(m, &job->err);
}

static void drive_save(struct member *m, const struct raft_batch *batch) {
    struct job *job = member_job(m, save_work, save_done);
    if (job != NULL) job->batch = raft_batch_clone(batch);
    if (job != NULL && job->batch != NULL) {
        bool first = list_is_empty(&m->r.saves);
        list_push_back(&m->r.saves, &job->save);
        if (first) member_job_post(job);
        return;
    }
    if (job != NULL) member_job_free(job);
    struct err err; /* what is not saved must not be answered: this node ends */
    err_set(&err, ERR_NOMEM, 0, "the cluster's log cannot be saved: out of memory");
    member_lose(m, &err);
}

/* -- sending */

static void sent(struct member *m, struct call *call, enum status status, const struct err *err) {
    (void)m, (void)call, (void)status, (void)err; /* a lost message is Raft's everyday business */
}

static void drive_send(struct member *m, const struct raft_msg *msg) {
    unsigned under_way = 0;
    LIST_FOREACH(n, &m->calls) {
        const struct call *call = container_of(n, struct call, link);
        under_way += call->type == FRAME_RAFT && call->to == msg->to;
    }
    if (under_way >= RAFT_CALLS_MAX) return;
    struct buf payload = {0};
    raft_msg_put(msg, &payload);
    struct call_options o = {
        .to = msg->to, .type = FRAME_RAFT, .timeout_ms = RAFT_CALL_MS, .done = sent};
    if (msg->type == RAFT_MSG_SNAPSHOT) o.timeout_ms = 10 * RAFT_CALL_MS;
    member_call(m, &o, &payload);
}

void drive_on_frame(struct member *m, struct relay *relay) {
    if (m->r.raft == NULL) {
        relay_fail(relay, ERR_UNAVAILABLE, "this node is in no cluster yet");
        return;
    }
    struct raft_msg msg;
    struct err err;
    if (raft_msg_get(sv_make(relay->payload.ptr, relay->payload.len), &msg, &err) != OK) {
        relay_fail(relay, ERR_CORRUPT, err.msg);
        return;
    }
    if (msg.from != relay->from) {
        raft_msg_fini(&msg);
        relay_fail(relay, ERR_CONFLICT, "raft: a message of another node than its sender");
        return;
    }
    struct raft_event event = {.type = RAFT_EV_MSG, .msg = &msg};
    drive_step(m, &event, NULL);
    raft_msg_fini(&msg);
    struct buf none = {0};
    relay_reply(relay, &none);
}

/* -- applying */

static void drive_state_changed(struct member *m) {
    if (m->r.state.map != NULL) install_newer(m, m->r.state.map);
    if (m->r.state.ha_version == m->r.ha_version) return;
    m->r.ha_version = m->r.state.ha_version;
    if (m->o.ha_changed != NULL) m->o.ha_changed(m->o.ctx, &m->r.state);
}

static void drive_restore(struct member *m, const struct raft_snapshot *snapshot) {
    struct ring_state state;
    struct err err;
    ring_state_init(&state);
    if (ring_state_get(snapshot->bytes, &state, &err) != OK) {
        err_prefix(&err, "snapshot of the cluster's state");
        member_lose(m, &err);
        return;
    }
    ring_state_fini(&m->r.state);
    m->r.state = state;
    m->r.applied = snapshot->index;
    drive_state_changed(m);
}

static void drive_apply(struct member *m, const struct raft_entry *entry) {
    bool changed = false;
    struct err err;
    if (entry->type == RAFT_ENTRY_DATA &&
        ring_state_apply(&m->r.state, entry->bytes, &changed, &err) != OK) {
        err_prefix(&err, "a command of the cluster's log");
        member_lose(m, &err);
        return;
    }
    m->r.applied = entry->index;
    if (changed) drive_state_changed(m);
    leader_applied(m, entry, changed);
}

void drive_snapshot(struct member *m) {
    m->r.snapshot_wanted = false;
    struct buf bytes = {0};
    ring_state_put(&m->r.state, &bytes);
    struct raft_event event = {
        .type = RAFT_EV_SNAPSHOT, .index = m->r.applied, .bytes = buf_sv(&bytes)};
    if (!bytes.failed) drive_step(m, &event, NULL);
    buf_fini(&bytes);
}

/* A Raft that is DOWN is silent for good, and so would this node be. */
static void drive_check(struct member *m) {
    struct raft_info info = raft_info(m->r.raft);
    if (info.role != RAFT_DOWN || info.down == ERR_IO) return; /* what was not saved tells itself */
    struct err err;
    err_set(&err, info.down, 0, "the cluster's log has stopped: out of memory");
    member_lose(m, &err);
}

void drive_step(struct member *m, const struct raft_event *event, struct raft_reply *out_reply) {
    if (m->r.raft == NULL || m->lost) {
        if (out_reply != NULL)
            *out_reply = (struct raft_reply){.status = ERR_UNAVAILABLE, .reason = "no member"};
        return;
    }
    struct raft_out out;
    uint64_t now_ms = member_now_ms(m);
    enum raft_role before = raft_info(m->r.raft).role;
    raft_step(m->r.raft, now_ms, event, &out);
    enum raft_role after = raft_info(m->r.raft).role;
    if (after != before) metric_add(metrics_role(before, after), 1);
    if (out_reply != NULL) *out_reply = out.reply;
    if (out.batch != NULL) drive_save(m, out.batch);
    for (size_t i = 0; i < out.msgs_count; i++)
        drive_send(m, &out.msgs[i]);
    if (out.restore != NULL) drive_restore(m, out.restore);
    for (size_t i = 0; i < out.applied_count && !m->lost; i++)
        drive_apply(m, &out.applied[i]);
    m->r.snapshot_wanted = out.snapshot_wanted;
    drive_check(m);
    if (out.leader_changed) beat_leader_changed(m);
    if (out.leader_changed || out.members_changed || out.applied_count > 0) m->dirty = true;
    if (out.deadline_ms == UINT64_MAX || m->stopping)
        timer_stop(&m->r.timer);
    else
        timer_start(&m->r.timer, out.deadline_ms > now_ms ? out.deadline_ms - now_ms : 0);
}

/* -- the first state of all: a snapshot with this node as the only voter */

static void found_work(struct job *job) {
    struct raft_member self = {.id = job->m->o.self, .voter = true};
    struct raft_snapshot snapshot = {.index = 1,
                                     .term = 1,
                                     .members = {.items = &self, .count = 1},
                                     .bytes = buf_sv(&job->bytes)};
    struct raft_batch batch = {.token = 1, .hard_changed = true, .term = 1, .snapshot = &snapshot};
    job->status = raft_store_save(job->m->r.store, &batch, &job->err);
}

static void found_done(struct member *m, struct job *job) {
    struct raft_member self = {.id = m->o.self, .voter = true};
    struct raft_state state = {.term = 1,
                               .snapshot = {.index = 1,
                                            .term = 1,
                                            .members = {.items = &self, .count = 1},
                                            .bytes = buf_sv(&job->bytes)}};
    if (m->stopping) return;
    m->phase = MEMBER_MEMBER;
    enum status status = job->status;
    if (status == OK) status = drive_start(m, &state, &job->err);
    if (status == OK) return;
    err_prefix(&job->err, "founding a cluster");
    member_lose(m, &job->err);
}

void drive_found(struct member *m, const struct ring_map *map) {
    struct job *job = member_job(m, found_work, found_done);
    if (job == NULL) return; /* the next tick tries again */
    struct buf command = {0};
    command_found_put(map, &command);
    struct ring_state state;
    ring_state_init(&state);
    bool changed = false;
    struct err err;
    enum status status = command.failed
                             ? err_set(&err, ERR_NOMEM, 0, "out of memory")
                             : ring_state_apply(&state, buf_sv(&command), &changed, &err);
    if (status == OK) ring_state_put(&state, &job->bytes);
    if (status == OK && job->bytes.failed) status = err_set(&err, ERR_NOMEM, 0, "out of memory");
    ring_state_fini(&state);
    buf_fini(&command);
    if (status != OK) {
        err_prefix(&err, "founding a cluster");
        member_lose(m, &err);
        member_job_free(job);
        return;
    }
    m->phase = MEMBER_FOUNDING;
    member_job_post(job);
}
