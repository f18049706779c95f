/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/raft/raft.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/raft/internal.h"

void raft_fail(struct raft *r, enum status why) {
    assert(why != OK);
    if (r->role == RAFT_DOWN) return;
    r->role = RAFT_DOWN;
    r->down = why;
    r->leader = 0;
}

bool raft_grow(struct raft *r, void *items, size_t *cap, size_t count, size_t size) {
    if (count < *cap) return true;
    size_t wanted = *cap == 0 ? 16 : *cap * 2;
    void *old, *grown;
    memcpy(&old, items, sizeof old); /* items: address of a pointer to any type */
    grown = realloc(old, wanted * size);
    if (grown == NULL) {
        raft_fail(r, ERR_NOMEM);
        return false;
    }
    memcpy(items, &grown, sizeof grown);
    *cap = wanted;
    return true;
}

struct raft_msg *raft_send(struct raft *r, enum raft_msg_type type, uint64_t to) {
    if (!raft_grow(r, &r->msgs, &r->msgs_cap, r->msgs_count, sizeof *r->msgs)) return NULL;
    struct raft_msg *m = &r->msgs[r->msgs_count++];
    *m = (struct raft_msg){.type = type, .from = r->config.self, .to = to, .term = r->term};
    return m;
}

void raft_hold(struct raft *r, const struct raft_msg *msg) {
#ifdef PLANT_RAFT_ACK_BEFORE_PERSIST
    if (msg->to != r->config.self) {
        struct raft_msg *m = raft_send(r, msg->type, msg->to);
        if (m != NULL) *m = *msg;
        return;
    }
#endif
    if (!raft_grow(r, &r->held, &r->held_cap, r->held_count, sizeof *r->held)) return;
    r->held[r->held_count++] = (struct held_msg){.term = r->term, .msg = *msg};
}

/* What was held in this step waits for the newest token, which speaks for all it depends on. */
void raft_release(struct raft *r) {
    size_t kept = 0, count = r->held_count;
    for (size_t i = 0; i < count; i++) {
        struct held_msg *h = &r->held[i];
        if (h->token == 0) h->token = r->last_token;
        if (h->term != r->term) continue; /* overtaken: whoever waits has a newer term to hear of */
        if (h->token > r->durable_token) {
            r->held[kept++] = *h;
            continue;
        }
        struct raft_msg *m = raft_send(r, h->msg.type, h->msg.to);
        if (m == NULL) return;
        *m = h->msg;
    }
    r->held_count = kept;
}

void raft_refuse(struct raft *r, enum status status, const char *reason) {
    r->reply = (struct raft_reply){
        .status = status, .term = r->term, .leader = r->leader, .reason = reason};
}

static void on_persisted(struct raft *r, uint64_t token) {
    if (token > r->last_token || token <= r->durable_token) return;
    r->durable_token = token;
    size_t done = 0;
    for (; done < r->tokens_count && r->tokens[done].token <= token; done++)
        r->durable = MAX(r->durable, r->tokens[done].last);
    r->tokens_count -= done;
    memmove(r->tokens, r->tokens + done, r->tokens_count * sizeof *r->tokens);
    raft_release(r);
    /* its own vote comes out among the others and is counted here */
    for (size_t i = 0; i < r->msgs_count; i++) {
        if (r->msgs[i].to != r->config.self) continue;
        struct raft_msg own = r->msgs[i];
        r->msgs[i] = r->msgs[--r->msgs_count];
        elect_on_reply(r, &own);
        break; /* one term, one vote of its own */
    }
}

static void on_timeout_now(struct raft *r, const struct raft_msg *m) {
    if (m->term != r->term || r->role != RAFT_FOLLOWER || !r->self_voter || r->removed) return;
    if (r->leader != 0 && r->leader != m->from) return;
    elect_campaign(r, true);
}

static void on_msg(struct raft *r, const struct raft_msg *m) {
    if (m->to != r->config.self || m->from == r->config.self || !raft_msg_is_sound(m)) {
        r->ignored++;
        return;
    }
    switch (m->type) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE: elect_on_request(r, m); break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY: elect_on_reply(r, m); break;
    case RAFT_MSG_APPEND: follow_on_append(r, m); break;
    case RAFT_MSG_APPEND_REPLY: lead_on_reply(r, m); break;
    case RAFT_MSG_SNAPSHOT: follow_on_snapshot(r, m); break;
    case RAFT_MSG_TIMEOUT_NOW: on_timeout_now(r, m); break;
    case RAFT_MSG_ASK: members_tell_removed(r, m->from); break;
    case RAFT_MSG_REMOVED: members_on_removed(r, m); break;
    }
}

static void on_snapshot_made(struct raft *r, uint64_t index, struct sv bytes) {
    if (index <= r->snapshot.index || index > r->applied || bytes.len > RAFT_SNAPSHOT_BYTES_MAX) {
        raft_refuse(r, ERR_CONFLICT, "not a snapshot of what was applied since the last one");
        return;
    }
    struct raft_snapshot s = {.index = index, .term = rlog_term(r, index), .bytes = bytes};
    uint64_t at = 0;
    /* the members of that place, not those in force now: they may not be committed */
    if (rlog_members_at(r, index, &s.members, &at) != OK) {
        raft_fail(r, ERR_NOMEM);
        return;
    }
    if (snapshot_set(r, &s)) {
        r->snapshot_dirty = true;
        r->members_index = MAX(r->members_index, index);
        r->applied_bytes = 0;
        for (uint64_t i = index + 1; i <= r->applied; i++)
            r->applied_bytes += rlog_at(r, i)->bytes.len;
        if (index > r->config.trailing_entries) rlog_compact(r, index - r->config.trailing_entries);
    }
    raft_members_fini(&s.members);
}

static void dispatch(struct raft *r, const struct raft_event *ev) {
    switch (ev->type) {
    case RAFT_EV_TICK: break;
    case RAFT_EV_MSG: on_msg(r, ev->msg); break;
    case RAFT_EV_PERSISTED: on_persisted(r, ev->token); break;
    case RAFT_EV_PERSIST_FAILED: raft_fail(r, ERR_IO); break;
    case RAFT_EV_PROPOSE: lead_propose(r, RAFT_ENTRY_DATA, ev->bytes); break;
    case RAFT_EV_CHANGE: members_change(r, ev->change, ev->id); break;
    case RAFT_EV_TRANSFER: lead_transfer(r, ev->id); break;
    case RAFT_EV_READ: lead_read(r, ev->id); break;
    case RAFT_EV_SNAPSHOT: on_snapshot_made(r, ev->index, ev->bytes); break;
    }
}

static void on_time(struct raft *r) {
    if (r->role == RAFT_LEADER)
        lead_tick(r);
    else if (r->role != RAFT_DOWN && r->now_ms >= r->election_deadline_ms)
        elect_timeout(r);
}

/* Everything not yet handed out for saving, as one batch with a token. */
static void flush_batch(struct raft *r, struct raft_out *out) {
    uint64_t last = rlog_last(r);
    if (!r->hard_dirty && !r->snapshot_dirty && r->truncate_from == 0 && r->handed == last) return;
    if (!raft_grow(r, &r->tokens, &r->tokens_cap, r->tokens_count, sizeof *r->tokens)) return;
    uint64_t after = r->snapshot_dirty ? r->snapshot.index : r->handed;
    r->batch = (struct raft_batch){.token = ++r->last_token,
                                   .hard_changed = r->hard_dirty,
                                   .term = r->term,
                                   .vote = r->vote,
                                   .snapshot = r->snapshot_dirty ? &r->snapshot : NULL,
                                   .truncate_from = r->snapshot_dirty ? 0 : r->truncate_from,
                                   .entries = last > after ? rlog_at(r, after + 1) : NULL,
                                   .entries_count = (size_t)(last - after)};
#ifdef PLANT_RAFT_FORGET_VOTE
    r->batch.vote = 0;
#endif
    out->batch = &r->batch;
    r->tokens[r->tokens_count++] = (struct pending_token){.token = r->last_token, .last = last};
    r->handed = last;
    r->hard_dirty = r->snapshot_dirty = false;
    r->truncate_from = 0;
}

/* What is committed and durable goes to the state machine; a restore needs its snapshot durable. */
static void flush_applied(struct raft *r, struct raft_out *out) {
    uint64_t upto = MIN(r->commit, r->durable);
    if (r->restore_due) {
        if (r->durable < r->snapshot.index) return;
        r->restore_due = false;
        r->applied = r->snapshot.index;
        out->restore = &r->snapshot;
    }
    if (upto > r->applied) {
        out->applied = rlog_at(r, r->applied + 1);
        out->applied_count = (size_t)(upto - r->applied);
        for (size_t i = 0; i < out->applied_count; i++)
            r->applied_bytes += out->applied[i].bytes.len;
        r->applied = upto;
    }
    out->snapshot_wanted =
        r->applied - MIN(r->snapshot.index, r->applied) >= r->config.snapshot_entries ||
        r->applied_bytes >= r->config.snapshot_log_bytes;
}

static void flush(struct raft *r, struct raft_out *out) {
    lead_commit(r);
    send_appends(r);
    flush_batch(r, out);
    raft_release(r);
    flush_applied(r, out);
    lead_reads_confirm(r);
}

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_event *ev, struct raft_out *out) {
    enum raft_role role = r->role;
    uint64_t term = r->term, leader = r->leader;
    bool removed = r->removed;
    *out = (struct raft_out){.deadline_ms = UINT64_MAX};
    r->now_ms = MAX(r->now_ms, now_ms);
    r->msgs_count = r->reads_out_count = 0;
    r->members_changed = false;
    r->reply = (struct raft_reply){.status = OK};
    if (r->role != RAFT_DOWN) {
        dispatch(r, ev);
        on_time(r);
    }
    if (r->role != RAFT_DOWN) flush(r, out);
    if (r->role == RAFT_DOWN) { /* silent from the moment of the failure: nothing of this step */
        *out = (struct raft_out){.deadline_ms = UINT64_MAX};
        r->msgs_count = r->held_count = 0;
        lead_reads_fail(r);
        for (size_t i = 0; i < r->reads_out_count; i++) /* their entries are not given out */
            r->reads_out[i].ok = false;
        raft_refuse(r, ERR_UNAVAILABLE, "consensus is down on this node");
    } else {
        out->deadline_ms = r->role == RAFT_LEADER ? lead_deadline(r) : r->election_deadline_ms;
    }
    out->msgs = r->msgs;
    out->msgs_count = r->msgs_count;
    out->reads = r->reads_out;
    out->reads_count = r->reads_out_count;
    out->reply = r->reply;
    out->members_changed = r->members_changed;
    out->removed = r->removed && !removed;
    out->leader_changed = role != r->role || term != r->term || leader != r->leader;
}
