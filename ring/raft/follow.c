/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader's messages do to the log of another node. */
#include <assert.h>

#include "ring/raft/internal.h"

static void reply(struct raft *r, const struct raft_msg *m, bool granted, uint64_t index,
                  uint64_t index_term) {
    struct raft_msg answer = {.type = RAFT_MSG_APPEND_REPLY,
                              .from = r->config.self,
                              .to = m->from,
                              .term = r->term,
                              .granted = granted,
                              .index = index,
                              .index_term = index_term,
                              /* of an older term: another clock, perhaps another life */
                              .round = m->term == r->term ? m->round : 0,
                              .sent_ms = m->term == r->term ? m->sent_ms : 0};
    raft_hold(r, &answer);
}

/* False: not of the leader of this term, and answered when that helps. */
static bool accept_leader(struct raft *r, const struct raft_msg *m) {
    if (m->term < r->term) {
        /* a leader that lost its office learns it so; also one that could not win this node's
         * higher term in any other way, since its followers ignore candidates */
        reply(r, m, false, 0, 0);
        return false;
    }
    if (m->term == r->term &&
        (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != m->from))) {
        r->ignored++; /* a second leader of one term: not by any correct peer */
        return false;
    }
    elect_follow(r, m->term, m->from);
    r->heard = true;
    r->heard_ms = r->now_ms;
    return true;
}

/* The largest place up to `index` where this log may agree with one that has `term` at index. */
static uint64_t agree_hint(const struct raft *r, uint64_t index, uint64_t term) {
    index = MIN(index, rlog_last(r));
    while (index > r->base_index && rlog_term(r, index) > term)
        index--;
    return index;
}

/* Appends what is not there yet; false: the message contradicts what is committed. */
static bool take_entries(struct raft *r, const struct raft_msg *m) {
    bool members = false;
    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index <= r->base_index) continue;
        if (e->index <= rlog_last(r)) {
            if (rlog_term(r, e->index) == e->term) continue;
            if (e->index <= r->commit) return false;
            if (e->index <= r->members_index) members = true;
            rlog_truncate(r, e->index);
        }
        if (!rlog_append(r, e)) return true;
        if (e->type == RAFT_ENTRY_CONF) members = true;
    }
    if (members) members_refresh(r);
    return true;
}

static void commit_to(struct raft *r, uint64_t index) {
    uint64_t old = r->commit;
    if (index <= old) return;
    assert(index <= rlog_last(r));
    r->commit = index;
    members_on_commit(r, old);
}

void follow_on_append(struct raft *r, const struct raft_msg *m) {
    if (!accept_leader(r, m)) return;
    if (m->index < r->base_index) { /* compacted, so committed, so the same everywhere */
        reply(r, m, true, r->commit, 0);
        return;
    }
    if (m->index > rlog_last(r) || rlog_term(r, m->index) != m->index_term) {
        if (m->index <= r->commit) {
            r->ignored++;
            return;
        }
        uint64_t hint = agree_hint(r, m->index, m->index_term);
        reply(r, m, false, hint, rlog_term(r, hint));
        return;
    }
    if (!take_entries(r, m)) {
        r->ignored++;
        return;
    }
    if (r->role == RAFT_DOWN) return;
    if (r->self_member) r->removed = false;
    uint64_t last = m->index + m->entries_count;
    commit_to(r, MIN(m->commit, last));
    reply(r, m, true, last, 0);
}

void follow_on_snapshot(struct raft *r, const struct raft_msg *m) {
    const struct raft_snapshot *s = &m->snapshot;
    if (!accept_leader(r, m)) return;
    if (s->index <= r->commit) {
        reply(r, m, true, r->commit, 0);
        return;
    }
    if (s->index <= rlog_last(r) && rlog_term(r, s->index) == s->term) {
        commit_to(r, s->index);
        reply(r, m, true, s->index, 0);
        return;
    }
    if (!snapshot_set(r, s)) return;
    rlog_reset(r, s->index, s->term);
    r->snapshot_dirty = true;
    r->restore_due = true;
    r->applied_bytes = 0;
    r->commit = s->index;
    members_refresh(r);
    if (r->role == RAFT_DOWN) return;
    if (r->self_member) r->removed = false;
    reply(r, m, true, s->index, 0);
}
