/* SPDX-License-Identifier: Apache-2.0 */
/* How the parts of a member work together:
 *
 *   data cores' listeners -> relay.c -> control core        control core's peers -> other nodes
 *        FRAME_JOIN, PROMISE -> birth.c, promise.c, join.c    (member_call, replies come back)
 *        FRAME_RAFT ---------> drive.c --(commands applied)--> lead.c, install.c, admin.c
 *        FRAME_HEARTBEAT ----> beat.c ----> lead.c's controller
 *        FRAME_ADMIN --------> admin.c ---> the same
 *
 *   birth.c founds or join.c joins: both end with a first map and Raft running (drive.c).
 *   drive.c steps Raft, sends its messages, has the log core save, applies to the ring state.
 *   lead.c, while this node leads: the controller's maps and changes of voters go to drive.c.
 *   install.c: a newer map is saved by the log core, then given to the data cores.
 *   beat.c tells the leader each 300 ms how this node is and gets the lease for it.
 *   address.c keeps who listens where. discover.c says which addresses to ask.
 *
 * All decisions follow an event (a frame, a reply, a timer, a finished job); each ends in
 * member_settle, which lets every part do what has become possible. Nothing is re-entered: a part
 * that wants another to move sets `dirty`. What blocks is a job for the log core, in order. */
#include "ring/member/member.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

void member_path(const struct member *m, const char *name, char out[600]) {
    snprintf(out, 600, "%s/%s", m->o.dir, name);
}

/* -- jobs */

void member_job_free(struct job *job) {
    list_remove(&job->link);
    raft_batch_free(job->batch);
    ring_map_unref(job->map);
    buf_fini(&job->bytes);
    free(job);
}

static void member_stop_step(struct member *m);
static void stop_on_timer(struct timer *t);

static void job_on_back(struct core *here, struct msg *msg) {
    struct job *job = container_of(msg, struct job, msg);
    struct member *m = job->m;
    assert(here == m->core);
    job->done(m, job);
    member_job_free(job);
    member_settle(m);
    if (m->stopping) member_stop_step(m);
}

static void job_on_there(struct core *here, struct msg *msg) {
    struct job *job = container_of(msg, struct job, msg);
    (void)here;
    job->work(job);
    job->msg.run = job_on_back;
    core_post(job->m->core, &job->msg);
}

struct job *member_job(struct member *m, void (*work)(struct job *job),
                       void (*done)(struct member *m, struct job *job)) {
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    *job = (struct job){.msg.run = job_on_there, .m = m, .work = work, .done = done};
    list_init(&job->save);
    list_push_back(&m->jobs, &job->link);
    return job;
}

void member_job_post_to(struct job *job, struct core *to) {
    core_post(to, &job->msg);
}

void member_job_post(struct job *job) {
    member_job_post_to(job, job->m->rt->log_core);
}

/* -- calls */

static void call_free(struct call *call) {
    list_remove(&call->link);
    buf_fini(&call->reply);
    free(call);
}

static void call_on_reply(void *ctx, enum status status, struct sv part, bool last,
                          const struct err *err) {
    struct call *call = ctx;
    struct member *m = call->m;
    if (status == OK) buf_put_sv(&call->reply, part);
    if (!last) return;
    call->peer = NULL;
    if (status == OK && call->reply.failed) {
        struct err full;
        call->done(m, call, err_set(&full, ERR_NOMEM, 0, "the answer does not fit"), &full);
    } else {
        call->done(m, call, status, err);
    }
    call_free(call);
    member_settle(m);
}

void member_call(struct member *m, const struct call_options *options, struct buf *payload) {
    struct call *call = calloc(1, sizeof *call);
    struct err err;
    if (call == NULL) {
        buf_fini(payload);
        struct call none = {.m = m,
                            .to = options->to,
                            .number = options->number,
                            .ctx = options->ctx,
                            .type = options->type};
        err_set(&err, ERR_NOMEM, 0, "out of memory");
        options->done(m, &none, ERR_NOMEM, &err);
        return;
    }
    *call = (struct call){.m = m,
                          .to = options->to,
                          .type = options->type,
                          .done = options->done,
                          .number = options->number,
                          .ctx = options->ctx};
    if (options->addr != NULL) snprintf(call->addr, sizeof call->addr, "%s", options->addr);
    call->reply.limit_bytes = 64 << 20;
    list_push_back(&m->calls, &call->link);
    struct peer_call_options o = {.to = options->to,
                                  .addr = options->addr,
                                  .type = options->type,
                                  .timeout_ms = options->timeout_ms,
                                  .reply = call_on_reply,
                                  .ctx = call};
    call->peer = peers_call(m->peers, &o, payload);
}

/* -- life */

static enum status options_copy(struct member *m, const struct member_options *o, struct err *err) {
    m->o = *o;
    m->o.dir = strdup(o->dir);
    m->o.cluster_name = strdup(o->cluster_name);
    m->o.addr = strdup(o->addr == NULL ? "" : o->addr);
    m->o.zone = strdup(o->zone == NULL ? "" : o->zone);
    if (m->o.dir == NULL || m->o.cluster_name == NULL || m->o.addr == NULL || m->o.zone == NULL)
        return err_set(err, ERR_NOMEM, 0, "member: out of memory");
    if (strlen(o->dir) > 500) return err_set(err, ERR_LIMIT, 0, "member: path is too long");
    if (strlen(m->o.addr) > RING_ADDR_MAX)
        return err_set(err, ERR_LIMIT, 0, "--ring.advertise-address: at most %d bytes",
                       RING_ADDR_MAX);
    if (strlen(m->o.zone) > 63) return err_set(err, ERR_LIMIT, 0, "--ring.zone: at most 63 bytes");
    size_t name = strlen(m->o.cluster_name);
    if (name == 0 || name > 63)
        return err_set(err, ERR_LIMIT, 0, "--ring.cluster-name must have 1 to 63 bytes");
    return OK;
}

static enum status member_load(struct member *m, struct ring_map **out_map, struct err *err) {
    struct disk *disk = m->rt->disk;
    TRY(disk_mkdir(disk, m->o.dir, err));
    struct err missing;
    struct ring_map *map = NULL;
    enum status status = ring_map_load(disk, m->o.dir, &map, &missing);
    if (status != OK && status != ERR_UNAVAILABLE) {
        if (err != NULL) *err = missing;
        return status;
    }
    m->map.newest = map;
    if (map != NULL) m->map.saved = m->map.installed = map->version;
    TRY(address_open(m, err));
    TRY(birth_open(m, err));
    TRY(drive_open(m, err));
    TRY(beat_open(m, err));
    leader_open(m);
    timer_init(&m->stop_timer, m->core, stop_on_timer);
    if (map != NULL && ring_map_node_index(map, m->o.self) < 0)
        return err_set(err, ERR_CONFLICT, 0,
                       "member: %s/map does not name this node: it was removed from the cluster",
                       m->o.dir);
    if (map != NULL) address_from_map(m, NULL, map);
    *out_map = map == NULL ? NULL : ring_map_ref(map);
    return OK;
}

enum status member_open(struct runtime *rt, const struct member_options *options,
                        struct member **out, struct ring_map **out_map, struct err *err) {
    assert(options->self != 0 && options->lease != NULL && options->install != NULL);
    assert(options->lost != NULL && rt->control_core != NULL);
    assert(options->discovery == NULL || options->discovery->kind != DISCOVERY_CLOUDMAP ||
           options->cloudmap != NULL);
    struct member *m = calloc(1, sizeof *m);
    if (m == NULL) return err_set(err, ERR_NOMEM, 0, "member: out of memory");
    m->rt = rt;
    m->core = rt->control_core;
    m->phase = MEMBER_UNBORN;
    list_init(&m->jobs);
    list_init(&m->calls);
    list_init(&m->r.saves);
    list_init(&m->lead.waits);
    ring_state_init(&m->r.state);
    m->relays = calloc(rt->cores_count, sizeof *m->relays);
    for (unsigned i = 0; m->relays != NULL && i < rt->cores_count; i++)
        list_init(&m->relays[i]);
    enum status status = m->relays == NULL ? err_set(err, ERR_NOMEM, 0, "member: out of memory")
                                           : options_copy(m, options, err);
    if (status == OK) status = member_load(m, out_map, err);
    if (status != OK) {
        member_free(m);
        return status;
    }
    *out = m;
    return OK;
}

enum status member_start(struct member *m, struct peers *peers, struct err *err) {
    assert(!m->started && core_is_current(m->core));
    m->peers = peers;
    m->started = true;
    address_publish(m);
    beat_start(m);
    birth_start(m);
    if (m->map.newest != NULL) peers_set_map(peers, m->map.newest);
    if (m->map.newest != NULL || m->r.loaded.snapshot.index > 0) {
        m->phase = MEMBER_MEMBER;
        TRY(drive_start(m, &m->r.loaded, err));
    }
    member_settle(m);
    return OK;
}

void member_settle(struct member *m) {
    if (m->settling || !m->started) return;
    m->settling = true;
    do {
        m->dirty = false;
        if (m->stopping || m->lost) break;
        if (m->r.snapshot_wanted) drive_snapshot(m);
        install_step(m);
        birth_step(m);
        leader_step(m);
        admin_step(m);
    } while (m->dirty);
    m->settling = false;
}

static void lease_give_up(struct member *m) {
    atomic_store_explicit(&m->o.lease->until_ns, 0, memory_order_release);
}

void member_lose(struct member *m, const struct err *why) {
    if (m->lost) return;
    m->lost = true;
    m->phase = MEMBER_REMOVED;
    lease_give_up(m);
    admin_fail_all(m, why->msg);
    log_error("this node is no member of its cluster any more", "err", why->msg);
    m->o.lost(m->o.ctx, why);
}

void member_removed(struct member *m, const struct err *why) {
    if (!m->lost) m->removed = true;
    member_lose(m, why);
}

bool member_was_removed(const struct member *m) {
    return m->removed;
}

/* -- the end */

static void close_work(struct job *job) {
    raft_store_close(job->m->r.store);
    job->m->r.store = NULL;
}

static void close_done(struct member *m, struct job *job) {
    (void)job;
    m->stopped_told = true;
    m->stopped(m->stopped_ctx);
}

static void member_stop_timers(struct member *m) {
    struct timer *all[] = {&m->r.timer,    &m->r.retry,    &m->beat.timer, &m->birth.timer,
                           &m->lead.timer, &m->addr.timer, &m->stop_timer};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i]->core != NULL) timer_stop(all[i]);
}

static void member_stop_step(struct member *m) {
    if (!list_is_empty(&m->jobs) || m->stopped_told) return;
    struct job *job = member_job(m, close_work, close_done);
    if (job != NULL) {
        member_job_post(job);
        return;
    }
    m->stopped_told = true; /* no memory: member_free closes the store */
    m->stopped(m->stopped_ctx);
}

static void member_stop_now(struct member *m) {
    m->stopping = true;
    drive_stop(m);
    member_stop_timers(m);
    discover_fini(m);
    leader_fini(m);
    while (!list_is_empty(&m->calls)) {
        struct call *call = container_of(m->calls.next, struct call, link);
        if (call->peer != NULL) peer_call_cancel(call->peer);
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
        if (call->type == FRAME_ADMIN) call->done(m, call, ERR_UNAVAILABLE, &err);
        call_free(call);
    }
    member_stop_step(m);
}

/* A leader hands over first, so that the others need not wait for an election timeout. */
static void stop_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, stop_timer);
    if (drive_leads(m) && member_now_ms(m) < m->stop_deadline_ms) {
        timer_start(t, 20);
        return;
    }
    member_stop_now(m);
}

void member_stop(struct member *m, void (*stopped)(void *ctx), void *ctx) {
    assert(core_is_current(m->core) && m->started && m->stopped == NULL);
    m->stopped = stopped;
    m->stopped_ctx = ctx;
    m->stop_deadline_ms = member_now_ms(m) + HAND_OVER_MS;
    lease_give_up(m);
    admin_fail_all(m, "this node is stopping");
    m->leaving = true;
    timer_start(&m->stop_timer, 0);
    if (!drive_leads(m) || m->lost) return;
    struct raft_event event = {.type = RAFT_EV_TRANSFER};
    struct raft_reply reply;
    drive_step(m, &event, &reply);
    if (reply.status != OK) m->stop_deadline_ms = 0; /* nobody to hand over to */
}

static void text_free(const char *text) { /* of options_copy */
    union {
        const char *in;
        char *out;
    } p = {.in = text};
    free(p.out);
}

void member_free(struct member *m) {
    if (m == NULL) return;
    struct core *before = core_current();
    core_set_current(m->core);
    member_stop_timers(m);
    discover_fini(m);
    admin_forget(m);
    leader_fini(m);
    while (!list_is_empty(&m->jobs))
        member_job_free(container_of(m->jobs.next, struct job, link));
    while (!list_is_empty(&m->calls))
        call_free(container_of(m->calls.next, struct call, link));
    relay_fini_all(m);
    drive_fini(m);
    install_fini(m);
    beat_fini(m);
    birth_fini(m);
    address_fini(m);
    text_free(m->o.dir);
    text_free(m->o.cluster_name);
    text_free(m->o.addr);
    text_free(m->o.zone);
    core_set_current(before);
    free(m);
}

bool member_is_controller(const struct member *m) {
    return m->lead.controller != NULL;
}

node_id member_leader(const struct member *m) {
    return drive_leader(m);
}

struct ring_map *member_map(const struct member *m) {
    return m->map.newest;
}

void member_set_draining(struct member *m, bool on) {
    assert(core_is_current(m->core));
    m->beat.draining = on;
    beat_now(m);
}
