/* SPDX-License-Identifier: Apache-2.0 */
/* A leader: its office, what commits, reads, proposals, transfer. */
#include <assert.h>
#include <string.h>

#include "ring/raft/internal.h"

void lead_begin(struct raft *r) {
    assert(r->role == RAFT_CANDIDATE);
    r->role = RAFT_LEADER;
    r->tries = 0;
    r->leader = r->config.self;
    r->lead_since_ms = r->now_ms;
    r->heartbeat_due_ms = r->now_ms + r->config.heartbeat_ms;
    r->transfer_to = 0;
    r->transfer_sent = false;
    r->transfer_campaign = false;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct peer *p = &r->peers[i];
        *p = (struct peer){.id = p->id, .voter = p->voter, .next = rlog_last(r) + 1};
    }
    r->round++;
    r->broadcast_due = true;
    r->term_start = rlog_last(r) + 1;
#ifdef PLANT_RAFT_NO_NOOP
    r->term_start = 0;
    return;
#endif
    struct raft_entry noop = {.term = r->term, .index = r->term_start, .type = RAFT_ENTRY_NOOP};
    (void)rlog_append(r, &noop);
}

/* The largest value that a quorum of voters reaches; `own` is this node's. */
static uint64_t quorum_value(const struct raft *r, uint64_t (*value)(const struct peer *p),
                             uint64_t own) {
    uint64_t top[RAFT_VOTERS_MAX + 1]; /* descending */
    uint32_t count = 0, quorum = members_quorum(r);
    for (uint32_t i = 0; i <= r->peers_count; i++) {
        bool is_self = i == r->peers_count;
        if (is_self ? !r->self_voter : !r->peers[i].voter) continue;
        uint64_t v = is_self ? own : value(&r->peers[i]);
        uint32_t at = count;
        while (at > 0 && top[at - 1] < v)
            at--;
        memmove(top + at + 1, top + at, (count - at) * sizeof *top);
        top[at] = v;
        count++;
        assert(count <= RAFT_VOTERS_MAX);
    }
    return quorum == 0 || quorum > count ? 0 : top[quorum - 1];
}

static uint64_t peer_match(const struct peer *p) {
    return p->match;
}
static uint64_t peer_round(const struct peer *p) {
    return p->answered_round;
}
static uint64_t peer_answered(const struct peer *p) {
    return p->answered_ms;
}

uint64_t lead_quorum_ms(const struct raft *r) {
    return quorum_value(r, peer_answered, r->now_ms);
}

uint64_t raft_quorum_age_ms(const struct raft *r, uint64_t now_ms) {
    if (r->role != RAFT_LEADER || r->transfer_sent) return UINT64_MAX;
    uint64_t at = quorum_value(r, peer_answered, MAX(now_ms, (uint64_t)1));
    if (at == 0) return UINT64_MAX;
    return now_ms > at ? now_ms - at : 0;
}

void lead_commit(struct raft *r) {
    if (r->role != RAFT_LEADER) return;
    uint64_t index = quorum_value(r, peer_match, r->durable);
    if (index <= r->commit) return;
#ifndef PLANT_RAFT_COUNT_OLDER_TERM
    if (rlog_term(r, index) != r->term) return;
#endif
    uint64_t old = r->commit;
    r->commit = index;
    members_on_commit(r, old);
}

static void abdicate(struct raft *r) {
    elect_follow(r, r->term, 0);
}

void lead_tick(struct raft *r) {
    const struct raft_config *c = &r->config;
    uint64_t answered = lead_quorum_ms(r), seen = MAX(answered, r->lead_since_ms);
    if (r->now_ms - seen >= c->election_max_ms) {
        abdicate(r);
        return;
    }
    if (r->transfer_to != 0 && r->now_ms >= r->transfer_deadline_ms) {
        /* Once the target was told it may campaign at any later time, and others will not wait for
         * this leader's lease: it cannot resume. */
        if (r->transfer_sent) {
            abdicate(r);
            return;
        }
        r->transfer_to = 0;
    }
    if (r->now_ms >= r->heartbeat_due_ms) {
        r->heartbeat_due_ms = r->now_ms + c->heartbeat_ms;
        r->round++;
        r->broadcast_due = true;
    }
}

uint64_t lead_deadline(const struct raft *r) {
    uint64_t due = r->heartbeat_due_ms;
    if (r->transfer_to != 0) due = MIN(due, r->transfer_deadline_ms);
    return due;
}

static void inflight_pop(struct peer *p) {
    unsigned done = 0;
    while (done < p->inflight_count && p->inflight[done] <= p->match)
        done++;
    p->inflight_count -= done;
    memmove(p->inflight, p->inflight + done, p->inflight_count * sizeof p->inflight[0]);
}

static void on_refused(struct raft *r, struct peer *p, const struct raft_msg *m) {
    p->probing = false;
    if (p->state == PEER_SNAPSHOT) return; /* its heartbeats are refused until it is installed */
    uint64_t i = MIN(m->index, rlog_last(r));
    while (i > r->base_index && i > p->match && rlog_term(r, i) > m->index_term)
        i--;
    /* not even the oldest place in memory agrees: the next is before it, which takes a snapshot */
    if (i == r->base_index && i > p->match && rlog_term(r, i) > m->index_term) i--;
    p->next = MAX(i, p->match) + 1;
    p->state = PEER_PROBE;
    p->inflight_count = 0;
}

static void on_granted(struct peer *p, uint64_t index) {
    p->match = MAX(p->match, index);
    inflight_pop(p);
    p->probing = false;
    if (p->state == PEER_SNAPSHOT && p->match < p->snapshot_index) return;
    if (p->state != PEER_REPLICATE) {
        p->state = PEER_REPLICATE;
        p->next = p->match + 1;
        p->inflight_count = 0;
    }
    p->next = MAX(p->next, p->match + 1);
}

void lead_on_reply(struct raft *r, const struct raft_msg *m) {
    struct peer *p = peer_find(r, m->from);
    if (p == NULL) return;
    if (m->term > r->term) {
        elect_follow(r, m->term, 0);
        return;
    }
    if (r->role != RAFT_LEADER || m->term < r->term) return;
    if (m->round == 0) return; /* answers a message of an older term, maybe of this very node */
    if ((m->granted && m->index > rlog_last(r)) || m->round > r->round || m->sent_ms > r->now_ms) {
        r->ignored++;
        return;
    }
    p->answered_round = MAX(p->answered_round, m->round);
    p->answered_ms = MAX(p->answered_ms, m->sent_ms);
    if (m->granted)
        on_granted(p, m->index);
    else
        on_refused(r, p, m);
}

void lead_propose(struct raft *r, enum raft_entry_type type, struct sv bytes) {
    if (r->role != RAFT_LEADER) {
        raft_refuse(r, ERR_UNAVAILABLE, "this node does not lead");
    } else if (bytes.len > RAFT_ENTRY_BYTES_MAX) {
        raft_refuse(r, ERR_LIMIT, "the entry is too large");
    } else if (r->transfer_to != 0) {
        raft_refuse(r, ERR_UNAVAILABLE, "leadership is being handed over");
    } else if (rlog_last(r) - r->commit >= RAFT_PENDING_MAX ||
               r->log_bytes + bytes.len > RAFT_LOG_BYTES_MAX) {
        raft_refuse(r, ERR_UNAVAILABLE, "too many entries are not committed yet");
    } else {
        struct raft_entry e = {
            .term = r->term, .index = rlog_last(r) + 1, .type = type, .bytes = bytes};
        if (!rlog_append(r, &e)) return;
        r->reply = (struct raft_reply){
            .status = OK, .term = e.term, .index = e.index, .leader = r->config.self};
    }
}

void lead_transfer(struct raft *r, uint64_t id) {
    if (r->role != RAFT_LEADER) {
        raft_refuse(r, ERR_UNAVAILABLE, "this node does not lead");
        return;
    }
    struct peer *best = NULL;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct peer *p = &r->peers[i];
        if (!p->voter || (id != 0 && p->id != id)) continue;
        if (best == NULL || p->match > best->match ||
            (p->match == best->match && p->answered_ms > best->answered_ms))
            best = p;
    }
    if (best == NULL || r->transfer_to != 0) {
        raft_refuse(r, ERR_CONFLICT,
                    best == NULL ? "no such other voter" : "a transfer is under way");
        return;
    }
    r->transfer_to = best->id;
    r->transfer_deadline_ms = r->now_ms + r->config.election_min_ms;
    r->reply = (struct raft_reply){.status = OK, .term = r->term, .leader = r->config.self};
}

void lead_read(struct raft *r, uint64_t id) {
    if (r->role != RAFT_LEADER || r->reads_count >= RAFT_READS_MAX) {
        raft_refuse(r, ERR_UNAVAILABLE,
                    r->role != RAFT_LEADER ? "this node does not lead" : "too many reads wait");
        return;
    }
    if (!raft_grow(r, &r->reads, &r->reads_cap, r->reads_count, sizeof *r->reads)) return;
    /* The round begins after the request came. What earlier leaders committed lies below the
     * no-op, so its index is one that is safe to wait for. */
    r->round++;
    r->broadcast_due = true;
    struct pending_read read = {
        .id = id, .round = r->round, .index = MAX(r->commit, r->term_start)};
    r->reads[r->reads_count++] = read;
    r->reply = (struct raft_reply){
        .status = OK, .term = r->term, .index = read.index, .leader = r->config.self};
}

static void reads_give(struct raft *r, size_t count, bool ok) {
    if (count == 0) return;
    for (size_t i = 0; i < count; i++) {
        if (!raft_grow(r, &r->reads_out, &r->reads_out_cap, r->reads_out_count,
                       sizeof *r->reads_out))
            return;
        r->reads_out[r->reads_out_count++] =
            (struct raft_read){.id = r->reads[i].id, .ok = ok, .index = r->reads[i].index};
    }
    r->reads_count -= count;
    memmove(r->reads, r->reads + count, r->reads_count * sizeof *r->reads);
}

void lead_reads_fail(struct raft *r) {
    reads_give(r, r->reads_count, false);
}

void lead_reads_confirm(struct raft *r) {
    if (r->role != RAFT_LEADER || r->reads_count == 0) return;
    uint64_t round = quorum_value(r, peer_round, r->round);
    size_t count = 0; /* rounds and indexes ascend */
    while (count < r->reads_count && r->reads[count].round <= round &&
           r->reads[count].index <= r->applied)
        count++;
    if (count > 0) reads_give(r, count, true);
}
