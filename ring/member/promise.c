/* SPDX-License-Identifier: Apache-2.0 */
/* The durable, single promise. Why two clusters cannot be founded: a founder holds the promises of
 * a majority of what discovery lists, its own among them, and two majorities share a node, whose
 * promise is single. It is durable before it is told.
 *
 * A promise moves on only when it is void. Its holder P cannot found any more once P has durably
 * promised itself to a lower id (P asks for its own promise, and never takes it back), so
 *   - a candidate that has not begun to found yields to a lower candidate that asks it;
 *   - who promised to P, and hears from P that it has yielded, may promise to that lower candidate.
 * Promises only move to lower ids, which ends. One to a node that is gone for good stays: an
 * operator who knows that it founded nothing removes the file. */
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

enum { PROMISE_PATH_BYTES = 600 };

static void promise_answer(struct member *m, struct relay *relay, bool granted) {
    struct promise_answer answer = {.granted = granted, .promised = m->birth.promised};
    struct buf out = {0};
    promise_answer_put(&answer, &out);
    relay_reply(relay, &out);
}

static void write_work(struct job *job) {
    char path[PROMISE_PATH_BYTES];
    member_path(job->m, "promise", path);
#ifdef PLANT_FORGET_PROMISE
    job->status = OK;
#else
    job->status = disk_write_file(job->m->rt->disk, path, buf_sv(&job->bytes), &job->err);
#endif
}

static void write_done(struct member *m, struct job *job) {
    m->birth.promise_writing = false;
    if (job->status != OK) {
        log_error("a promise cannot be saved", "err", job->err.msg);
        if (job->relay != NULL) relay_fail(job->relay, ERR_IO, job->err.msg);
        /* It may be on the disk all the same, or not: only a restart can tell. */
        err_prefix(&job->err, "the promise of a founding cannot be saved");
        member_lose(m, &job->err);
        return;
    }
    m->birth.promised = job->id;
#ifdef PLANT_FORGET_PROMISE
    if (job->id != m->o.self) m->birth.promised = 0;
#endif
    if (job->relay != NULL) promise_answer(m, job->relay, true);
    m->dirty = true;
}

static bool promise_write(struct member *m, node_id id, struct relay *relay) {
    struct job *job = member_job(m, write_work, write_done);
    if (job == NULL) return false;
    job->id = id;
    job->relay = relay;
    promise_file_put(id, &job->bytes);
    if (job->bytes.failed) {
        member_job_free(job);
        return false;
    }
    m->birth.promise_writing = true;
    member_job_post(job);
    return true;
}

/* May the promise, which is another's, move to the candidate? */
static bool promise_is_void(const struct member *m, node_id candidate) {
    node_id held = m->birth.promised;
    if (candidate >= held) return false;
    if (held == m->o.self) return true; /* we have not founded: the phase says so */
    for (size_t i = 0; i < m->birth.targets_count; i++) {
        const struct join_answer *last = &m->birth.targets[i].last;
        if (last->id == held && last->promised != 0 && last->promised != held) return true;
    }
    return false;
}

void promise_on_frame(struct member *m, struct relay *relay) {
    struct promise_ask ask;
    struct err err;
    if (promise_ask_get(sv_make(relay->payload.ptr, relay->payload.len), &ask, &err) != OK) {
        relay_fail(relay, ERR_CORRUPT, err.msg);
        return;
    }
    if (strcmp(ask.cluster_name, m->o.cluster_name) != 0 || ask.candidate != relay->from) {
        relay_fail(relay, ERR_CONFLICT, "promise: another cluster, or not for oneself");
        return;
    }
    node_id held = m->birth.promised;
    if (m->phase != MEMBER_UNBORN || m->birth.promise_writing) {
        promise_answer(m, relay, false);
        return;
    }
    if (held == ask.candidate) {
        promise_answer(m, relay, true);
        return;
    }
    if (held == 0 && m->o.bootstrap_expect > 0 && m->o.self < ask.candidate) {
        promise_answer(m, relay, false); /* ours to ask */
        return;
    }
    if (held != 0 && !promise_is_void(m, ask.candidate)) {
        promise_answer(m, relay, false);
        return;
    }
    for (size_t i = 0; i < m->birth.targets_count; i++)
        m->birth.targets[i].granted = false; /* given to one that yields now */
    if (!promise_write(m, ask.candidate, relay)) relay_fail(relay, ERR_NOMEM, "out of memory");
}

/* -- asking */

static void ask_done(struct member *m, struct call *call, enum status status,
                     const struct err *err) {
    (void)err;
    struct target *t = discover_find(m, call->addr);
    struct promise_answer answer;
    if (t != NULL) t->promising = false;
    if (status != OK || promise_answer_get(buf_sv(&call->reply), &answer, NULL) != OK) return;
    if (t == NULL || t->last.id != call->number || m->birth.promised != m->o.self) return;
    t->granted = answer.granted;
    m->dirty = true;
}

void promise_step(struct member *m, uint64_t now_ms) {
    if (m->birth.promised == 0) {
        status_ignore(promise_write(m, m->o.self, NULL) ? OK : ERR_NOMEM);
        return;
    }
    for (size_t i = 0; i < m->birth.targets_count; i++) {
        struct target *t = &m->birth.targets[i];
        /* Also who is not listed, whose promise does not count: it may be a candidate that has
         * to yield. */
        if (t->granted || t->promising || t->heard_ms == 0 || t->last.phase != MEMBER_UNBORN ||
            now_ms - t->heard_ms > PROBE_FRESH_MS)
            continue;
        if (t->asked_at_ms != 0 && now_ms - t->asked_at_ms < PROBE_MS) continue;
        struct promise_ask ask = {.candidate = m->o.self};
        strncpy(ask.cluster_name, m->o.cluster_name, sizeof ask.cluster_name - 1);
        struct buf payload = {0};
        promise_ask_put(&ask, &payload);
        struct call_options o = {.addr = t->addr,
                                 .type = FRAME_PROMISE,
                                 .timeout_ms = PROBE_TIMEOUT_MS,
                                 .number = t->last.id,
                                 .done = ask_done};
        t->promising = true;
        t->asked_at_ms = now_ms;
        member_call(m, &o, &payload);
    }
}
