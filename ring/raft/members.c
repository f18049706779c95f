/* SPDX-License-Identifier: Apache-2.0 */
/* Who belongs: the configuration in force, changes of it, and telling those who are out. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/raft/internal.h"

struct peer *peer_find(struct raft *r, uint64_t id) {
    uint32_t lo = 0, hi = r->peers_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->peers[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->peers_count && r->peers[lo].id == id ? &r->peers[lo] : NULL;
}

uint32_t members_quorum(const struct raft *r) {
    uint32_t voters = r->self_voter;
    for (uint32_t i = 0; i < r->peers_count; i++)
        voters += r->peers[i].voter;
    return voters == 0 ? 0 : voters / 2 + 1;
}

static void prior_refresh(struct raft *r) {
    struct raft_members before = {0};
    uint64_t at = 0;
    r->prior_member = r->prior_voter = false;
    if (r->members_index <= r->commit) return;
    if (rlog_members_at(r, r->members_index - 1, &before, &at) != OK) {
        raft_fail(r, ERR_NOMEM);
        return;
    }
    const struct raft_member *self = raft_members_find(&before, r->config.self);
    r->prior_member = self != NULL;
    r->prior_voter = self != NULL && self->voter;
    raft_members_fini(&before);
}

void members_refresh(struct raft *r) {
    struct raft_members members = {0};
    uint64_t index = 0;
    if (rlog_members_at(r, rlog_last(r), &members, &index) != OK) {
        raft_fail(r, ERR_NOMEM);
        return;
    }
    struct peer *peers = calloc((size_t)members.count + 1, sizeof *peers);
    if (peers == NULL) {
        raft_members_fini(&members);
        raft_fail(r, ERR_NOMEM);
        return;
    }
    uint32_t count = 0;
    r->self_member = r->self_voter = false;
    for (uint32_t i = 0; i < members.count; i++) {
        const struct raft_member *m = &members.items[i];
        if (m->id == r->config.self) {
            r->self_member = true;
            r->self_voter = m->voter;
            continue;
        }
        const struct peer *old = peer_find(r, m->id);
        peers[count] = old != NULL ? *old : (struct peer){.id = m->id, .next = rlog_last(r) + 1};
        peers[count++].voter = m->voter;
    }
    free(r->peers);
    raft_members_fini(&r->members);
    r->peers = peers;
    r->peers_count = count;
    r->members = members;
    r->members_index = index;
    r->members_changed = true;
    prior_refresh(r);
}

/* To a node that asks for something only members get, or was one until now. */
void members_tell_removed(struct raft *r, uint64_t id) {
    struct raft_members members = {0};
    uint64_t index = 0;
    if (r->commit == 0) return;
    if (rlog_members_at(r, r->commit, &members, &index) != OK) {
        raft_fail(r, ERR_NOMEM);
        return;
    }
    if (members.count > 0 && raft_members_find(&members, id) == NULL) {
        struct raft_msg *m = raft_send(r, RAFT_MSG_REMOVED, id);
        if (m != NULL) m->index = r->commit;
        if (m != NULL) m->index_term = rlog_term(r, r->commit);
    }
    raft_members_fini(&members);
}

/* The place up to which the teller's configuration is settled must not lie before the one this
 * node knows itself to be in: else it was added since. With a newer term there, the latter is in
 * it or never commits. */
void members_on_removed(struct raft *r, const struct raft_msg *m) {
    if (!r->self_member && !r->prior_member) return;
    if (r->role == RAFT_LEADER) return;
    if (m->index < r->members_index && m->index_term <= rlog_term(r, r->members_index)) return;
    elect_follow(r, r->term, 0);
    r->removed = true;
}

/* A leader that is out, or votes no more, hands over to the voter that is furthest. */
static void lead_end(struct raft *r) {
    const struct peer *best = NULL;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct peer *p = &r->peers[i];
        if (p->voter && (best == NULL || p->match > best->match)) best = p;
    }
    uint64_t to = best == NULL ? 0 : best->id;
    elect_follow(r, r->term, 0);
    if (to != 0) (void)raft_send(r, RAFT_MSG_TIMEOUT_NOW, to);
}

static void on_conf_committed(struct raft *r, uint64_t index) {
    struct raft_members before = {0}, after = {0};
    uint64_t at = 0;
    if (rlog_members_at(r, index - 1, &before, &at) != OK ||
        rlog_members_at(r, index, &after, &at) != OK) {
        raft_fail(r, ERR_NOMEM);
    } else {
        for (uint32_t i = 0; i < before.count && r->role != RAFT_DOWN; i++) {
            uint64_t id = before.items[i].id;
            if (raft_members_find(&after, id) != NULL) continue;
            if (id == r->config.self)
                r->removed = !r->self_member;
            else if (r->role == RAFT_LEADER)
                members_tell_removed(r, id); /* unless a later entry has it back */
        }
    }
    raft_members_fini(&before);
    raft_members_fini(&after);
}

void members_on_commit(struct raft *r, uint64_t old_commit) {
    for (uint64_t i = MAX(old_commit, r->snapshot.index) + 1; i <= r->commit; i++) {
        if (rlog_at(r, i)->type == RAFT_ENTRY_CONF) on_conf_committed(r, i);
        if (r->role == RAFT_DOWN) return;
    }
    if (r->members_index > r->commit) return;
    r->prior_member = r->prior_voter = false;
    if (r->role == RAFT_LEADER && !r->self_voter) lead_end(r);
}

static const char *change_refusal(struct raft *r, enum raft_change change, uint64_t id,
                                  enum status *status) {
    *status = ERR_UNAVAILABLE;
    if (r->role != RAFT_LEADER) return "this node does not lead";
    if (r->transfer_to != 0) return "leadership is being handed over";
    if (rlog_term(r, MAX(r->commit, r->base_index)) != r->term)
        return "nothing is committed in this term yet";
    if (r->members_index > r->commit) return "another change is not committed yet";
    const struct raft_member *m = raft_members_find(&r->members, id);
    const struct peer *p = peer_find(r, id);
    uint32_t voters = raft_members_voters(&r->members);
    *status = ERR_CONFLICT;
    switch (change) {
    case RAFT_ADD_LEARNER:
        if (id == 0 || m != NULL) return "already a member";
        *status = ERR_LIMIT;
        return r->members.count >= RAFT_MEMBERS_MAX ? "too many members" : NULL;
    case RAFT_PROMOTE:
        if (m == NULL || m->voter) return m == NULL ? "not a member" : "already a voter";
        *status = ERR_LIMIT;
        if (voters >= RAFT_VOTERS_MAX) return "too many voters";
        *status = ERR_UNAVAILABLE;
        if (p == NULL || p->match + RAFT_PROMOTE_LAG_MAX < rlog_last(r) ||
            p->match < r->snapshot.index || p->answered_ms + r->config.election_min_ms < r->now_ms)
            return "the learner is too far behind";
        return NULL;
    case RAFT_DEMOTE:
    case RAFT_REMOVE:
        if (m == NULL) return "not a member";
        if (change == RAFT_DEMOTE && !m->voter) return "not a voter";
        return m->voter && voters == 1 ? "the last voter" : NULL;
    }
    return "no such change";
}

static void changed_put(const struct raft *r, enum raft_change change, uint64_t id,
                        struct buf *out) {
    struct raft_members next = {.items = calloc((size_t)r->members.count + 1, sizeof *next.items)};
    if (next.items == NULL) {
        out->failed = true;
        return;
    }
    bool added = change != RAFT_ADD_LEARNER;
    for (uint32_t i = 0; i < r->members.count; i++) {
        struct raft_member m = r->members.items[i];
        if (!added && m.id > id) {
            next.items[next.count++] = (struct raft_member){.id = id};
            added = true;
        }
        if (m.id == id && change == RAFT_REMOVE) continue;
        if (m.id == id) m.voter = change == RAFT_PROMOTE;
        next.items[next.count++] = m;
    }
    if (!added) next.items[next.count++] = (struct raft_member){.id = id};
    raft_members_put(&next, out);
    raft_members_fini(&next);
}

void members_change(struct raft *r, enum raft_change change, uint64_t id) {
    enum status status = OK;
    const char *why = change_refusal(r, change, id, &status);
    if (why != NULL) {
        raft_refuse(r, status, why);
        return;
    }
    struct buf bytes = {0};
    changed_put(r, change, id, &bytes);
    if (bytes.failed)
        raft_fail(r, ERR_NOMEM);
    else
        lead_propose(r, RAFT_ENTRY_CONF, buf_sv(&bytes));
    if (r->role == RAFT_LEADER && r->reply.status == OK) members_refresh(r);
    buf_fini(&bytes);
}
