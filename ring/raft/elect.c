/* SPDX-License-Identifier: Apache-2.0 */
/* Elections: pre-vote, vote, and whom to follow. */
#include <assert.h>

#include "ring/raft/internal.h"

void elect_reset_deadline(struct raft *r) {
    const struct raft_config *c = &r->config;
    r->election_deadline_ms =
        r->now_ms + c->election_min_ms +
        rng_below(&r->rng, MAX(c->election_max_ms - c->election_min_ms, (uint64_t)1));
}

/* Who has waited for a leader in vain once need not wait as long again at first: others still
 * refuse while they hear one. Votes that were split, or a question that came just too early, would
 * else cost a whole timeout more. Later tries have all the time again: the network may be slow. */
static void elect_retry_deadline(struct raft *r) {
    enum { QUICK_TRIES = 3 };
    uint64_t min_ms = r->config.election_min_ms;
    elect_reset_deadline(r);
    if (r->tries++ >= QUICK_TRIES) return;
    r->election_deadline_ms =
        r->now_ms + min_ms / 4 + rng_below(&r->rng, MAX(min_ms / 2, (uint64_t)1));
}

void elect_follow(struct raft *r, uint64_t term, uint64_t leader) {
    assert(term >= r->term && r->role != RAFT_DOWN);
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        r->hard_dirty = true;
    }
    if (r->role == RAFT_LEADER) lead_reads_fail(r);
    if (r->role != RAFT_FOLLOWER || leader != 0) elect_reset_deadline(r);
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    if (leader != 0) r->tries = 0;
    r->transfer_to = 0;
    r->transfer_sent = false;
    r->transfer_campaign = false;
    r->broadcast_due = false;
}

static void votes_clear(struct raft *r) {
    for (uint32_t i = 0; i < r->peers_count; i++)
        r->peers[i].vote = VOTE_NONE;
}

static void request(struct raft *r, enum raft_msg_type type) {
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (!r->peers[i].voter) continue;
        struct raft_msg m = {.type = type,
                             .from = r->config.self,
                             .to = r->peers[i].id,
                             .term = r->term + (type == RAFT_MSG_PREVOTE),
                             .transfer = type == RAFT_MSG_VOTE && r->transfer_campaign,
                             .index = rlog_last(r),
                             .index_term = rlog_term(r, rlog_last(r))};
        raft_hold(r, &m);
    }
}

void elect_campaign(struct raft *r, bool transfer) {
    assert((r->self_voter || r->prior_voter) && r->role != RAFT_LEADER);
    r->role = RAFT_CANDIDATE;
    r->leader = 0;
    r->term++; /* also for a sole voter: (term, index) must never be used twice */
    r->vote = r->config.self;
    r->hard_dirty = true;
    r->transfer_campaign = transfer;
    votes_clear(r);
    elect_retry_deadline(r);
    request(r, RAFT_MSG_VOTE);
    /* its own vote is a message like the others and counts when it is durable */
    struct raft_msg own = {.type = RAFT_MSG_VOTE_REPLY,
                           .from = r->config.self,
                           .to = r->config.self,
                           .term = r->term,
                           .granted = true};
    raft_hold(r, &own);
}

void elect_timeout(struct raft *r) {
    assert(r->role != RAFT_LEADER && r->role != RAFT_DOWN);
    elect_retry_deadline(r);
    r->leader = 0;
    if (r->removed) return;
    if (!r->self_voter && !r->prior_voter) {
        r->role = RAFT_FOLLOWER;
        if (!r->self_member && !r->prior_member) return;
        for (uint32_t i = 0; i < r->peers_count; i++)
            if (r->peers[i].voter) (void)raft_send(r, RAFT_MSG_ASK, r->peers[i].id);
        return;
    }
    r->role = RAFT_PRE_CANDIDATE;
    votes_clear(r);
    if (r->self_voter && members_quorum(r) == 1)
        elect_campaign(r, false);
    else
        request(r, RAFT_MSG_PREVOTE);
}

/* A live leader is in office, as far as this node can tell. */
static bool leader_is_near(const struct raft *r) {
    if (r->role == RAFT_LEADER) {
        uint64_t answered = lead_quorum_ms(r), since = MAX(answered, r->lead_since_ms);
        return !r->transfer_sent && r->now_ms - since < r->config.election_min_ms;
    }
    return r->heard && r->now_ms - r->heard_ms < r->config.election_min_ms;
}

static bool is_up_to_date(const struct raft *r, const struct raft_msg *m) {
    uint64_t last = rlog_last(r), term = rlog_term(r, last);
    return m->index_term != term ? m->index_term > term : m->index >= last;
}

void elect_on_request(struct raft *r, const struct raft_msg *m) {
    bool pre = m->type == RAFT_MSG_PREVOTE;
    if (peer_find(r, m->from) == NULL) members_tell_removed(r, m->from);
    if (m->term >= r->term && !m->transfer && leader_is_near(r)) return;
    bool granted = false;
    if (pre) {
        granted = m->term > r->term && is_up_to_date(r, m);
    } else if (m->term >= r->term) {
        if (m->term > r->term) elect_follow(r, m->term, 0);
        granted = (r->vote == 0 || r->vote == m->from) && is_up_to_date(r, m);
        if (granted && r->vote == 0) {
            r->vote = m->from;
            r->hard_dirty = true;
        }
        if (granted) elect_reset_deadline(r);
    }
    struct raft_msg reply = {.type = pre ? RAFT_MSG_PREVOTE_REPLY : RAFT_MSG_VOTE_REPLY,
                             .from = r->config.self,
                             .to = m->from,
                             .term = pre && granted ? m->term : r->term,
                             .granted = granted};
    raft_hold(r, &reply);
}

/* Counts what came from `from`, this node among them, and draws the consequence. */
void elect_count(struct raft *r, uint64_t from, bool granted) {
    assert(r->role == RAFT_PRE_CANDIDATE || r->role == RAFT_CANDIDATE);
    struct peer *p = peer_find(r, from);
    if (p != NULL && p->vote == VOTE_NONE) p->vote = granted ? VOTE_GRANTED : VOTE_REFUSED;
    /* when another's reply comes the requests are out, so its own vote is durable */
    uint32_t yes = r->self_voter ? 1 : 0, no = 0;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (!r->peers[i].voter) continue;
        yes += r->peers[i].vote == VOTE_GRANTED;
        no += r->peers[i].vote == VOTE_REFUSED;
    }
    if (yes >= members_quorum(r)) {
        if (r->role == RAFT_CANDIDATE)
            lead_begin(r);
        else
            elect_campaign(r, false);
    } else if (no >= members_quorum(r)) {
        elect_follow(r, r->term, 0);
    }
}

void elect_on_reply(struct raft *r, const struct raft_msg *m) {
    bool pre = m->type == RAFT_MSG_PREVOTE_REPLY;
    bool counts = r->role == (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE);
    if (m->from != r->config.self && peer_find(r, m->from) == NULL) return;
    if (m->term > r->term && !(pre && m->granted)) {
        elect_follow(r, m->term, 0);
        return;
    }
    if (!counts) return;
    if (pre && m->granted && m->term != r->term + 1) return;
    if (!(pre && m->granted) && m->term != r->term) return;
    elect_count(r, m->from, m->granted);
}
