/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader sends to each follower, made at the end of a step. */
#include <assert.h>

#include "ring/raft/internal.h"

static struct raft_msg *append_new(struct raft *r, struct peer *p, uint64_t prev) {
    struct raft_msg *m = raft_send(r, RAFT_MSG_APPEND, p->id);
    if (m == NULL) return NULL;
    m->index = prev;
    m->index_term = rlog_term(r, prev);
    m->commit = r->commit;
    m->round = r->round;
    m->sent_ms = r->now_ms;
    p->sent_commit = r->commit;
    return m;
}

static void send_snapshot(struct raft *r, struct peer *p) {
    struct raft_msg *m = raft_send(r, RAFT_MSG_SNAPSHOT, p->id);
    if (m == NULL) return;
    m->snapshot = r->snapshot;
    m->round = r->round;
    m->sent_ms = r->now_ms;
    p->state = PEER_SNAPSHOT;
    p->snapshot_index = r->snapshot.index;
    p->snapshot_sent_ms = r->now_ms;
    p->inflight_count = 0;
}

/* How many entries from p->next on make one message. */
static uint32_t entries_that_fit(const struct raft *r, const struct peer *p) {
    uint64_t bytes = 0, last = rlog_last(r);
    uint32_t count = 0;
    while (p->next + count <= last && count < RAFT_ENTRIES_PER_MSG_MAX) {
        bytes += rlog_at(r, p->next + count)->bytes.len + 32;
        if (count > 0 && bytes > r->config.msg_bytes_max) break;
        count++;
    }
    return count;
}

/* One message from p->next on, with what fits and the window allows. */
static void send_append(struct raft *r, struct peer *p) {
    struct raft_msg *m = append_new(r, p, p->next - 1);
    if (m == NULL) return;
    uint32_t count = entries_that_fit(r, p);
    if (p->state == PEER_REPLICATE && p->inflight_count == RAFT_INFLIGHT_MAX) count = 0;
    if (p->state == PEER_PROBE) p->probing = true;
    if (count == 0) return;
    m->entries = rlog_at(r, p->next);
    m->entries_count = count;
    if (p->state != PEER_REPLICATE) return;
    p->next += count;
    p->inflight[p->inflight_count++] = p->next - 1;
}

static void send_to(struct raft *r, struct peer *p) {
    bool due = r->broadcast_due;
    if (p->state == PEER_SNAPSHOT) {
        uint64_t resend_ms = 2 * r->config.election_max_ms;
        if (due && r->now_ms - p->snapshot_sent_ms >= resend_ms)
            send_snapshot(r, p);
        else if (due)
            (void)append_new(r, p, rlog_last(r)); /* a heartbeat; it is refused, which answers it */
        return;
    }
    if (p->next <= r->base_index) {
        send_snapshot(r, p);
        return;
    }
    if (p->state == PEER_PROBE) {
        if (due || !p->probing) send_append(r, p);
        return;
    }
    bool sent = false;
    while (r->role == RAFT_LEADER && p->next <= rlog_last(r) &&
           p->inflight_count < RAFT_INFLIGHT_MAX) {
        send_append(r, p);
        sent = true;
    }
    if (!sent && (due || p->sent_commit < r->commit)) send_append(r, p);
}

void send_appends(struct raft *r) {
    if (r->role != RAFT_LEADER) return;
    for (uint32_t i = 0; i < r->peers_count && r->role == RAFT_LEADER; i++)
        send_to(r, &r->peers[i]);
    r->broadcast_due = false;
    struct peer *p = r->transfer_to == 0 ? NULL : peer_find(r, r->transfer_to);
    if (p != NULL && !r->transfer_sent && p->match == rlog_last(r) && r->role == RAFT_LEADER &&
        raft_send(r, RAFT_MSG_TIMEOUT_NOW, p->id) != NULL)
        r->transfer_sent = true;
}
