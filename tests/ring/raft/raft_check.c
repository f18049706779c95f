/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "tests/ring/raft/raft_world.h"

uint64_t entry_digest(uint64_t before, const struct raft_entry *e) {
    uint8_t head[25];
    put_u64le(head, before);
    put_u64le(head + 8, e->index);
    put_u64le(head + 16, e->term);
    head[24] = (uint8_t)e->type;
    return hash64(e->bytes.ptr, e->bytes.len, hash64(head, sizeof head, 0));
}

/* By induction over the predecessor's term: logs that have the same (index, term) are the same up
 * to there. */
static void check_slot(struct world *w, const struct raft_entry *e, uint64_t before_term) {
    uint64_t content = entry_digest(0, e);
    uint64_t at = hash64(&(uint64_t[2]){e->index, e->term}, 16, 0) % SLOTS_MAX;
    for (;; at = (at + 1) % SLOTS_MAX) {
        struct slot *s = &w->slots[at];
        if (s->index == 0) {
            if (++w->slots_count > SLOTS_MAX / 2) world_fail(w, "the table of entries is full");
            *s = (struct slot){e->index, e->term, before_term, content};
            return;
        }
        if (s->index != e->index || s->term != e->term) continue;
        if (s->content != content || s->before_term != before_term)
            world_fail(w, "log matching: index %" PRIu64 " term %" PRIu64 " is two entries",
                       e->index, e->term);
        return;
    }
}

static void check_batch(struct world *w, struct sim_node *n, const struct raft_batch *b) {
    for (size_t i = 0; i < b->entries_count; i++) {
        const struct raft_entry *e = &b->entries[i];
        const struct raft_entry *before = raft_entry_at(n->raft, e->index - 1);
        uint64_t term = before != NULL ? before->term : 0;
        if (before == NULL) {
            if (b->snapshot != NULL && b->snapshot->index == e->index - 1)
                term = b->snapshot->term;
            else if (n->disk.snapshot.index == e->index - 1)
                term = n->disk.snapshot.term;
            else
                continue; /* its place was compacted meanwhile */
        }
        check_slot(w, e, term);
    }
}

static void check_elected(struct world *w, struct sim_node *n, const struct raft_info *info) {
    if (info->term >= TERMS_MAX) {
        world_fail(w, "terms climb without end");
        return;
    }
    uint64_t *leader = &w->leader_of[info->term];
    if (*leader != 0 && *leader != n->id)
        world_fail(w, "election safety: %" PRIu64 " and %" PRIu64 " lead term %" PRIu64, *leader,
                   n->id, info->term);
    *leader = n->id;
    for (uint64_t i = 1; i <= w->commit_max; i++) {
        const struct raft_entry *e = raft_entry_at(n->raft, i);
        if (w->committed[i].term == 0 || i <= info->snapshot_index) continue;
        /* one that is elected late, into a term that is over, need not have it */
        if (w->committed[i].seen_term >= info->term) continue;
        if (i <= info->last && (e == NULL || e->term == w->committed[i].term)) continue;
        world_fail(w,
                   "leader completeness: node %" PRIu64 " leads term %" PRIu64
                   " without index %" PRIu64 " of term %" PRIu64,
                   n->id, info->term, i, w->committed[i].term);
        return;
    }
}

/* What a leader says is committed is durable on a quorum of its configuration. */
static void check_quorum(struct world *w, struct sim_node *n, const struct raft_info *info,
                         uint64_t index, uint64_t term) {
    unsigned voters = 0, holds = 0;
    for (uint32_t i = 0; i < info->members->count; i++) {
        if (!info->members->items[i].voter) continue;
        voters++;
        holds += saved_holds(&world_node(w, info->members->items[i].id)->disk, index, term);
    }
    if (holds < voters / 2 + 1)
        world_fail(
            w, "node %" PRIu64 " committed index %" PRIu64 ", which is durable on %u of %u voters",
            n->id, index, holds, voters);
}

static void check_commit(struct world *w, struct sim_node *n, const struct raft_info *info) {
    if (info->commit < n->commit_seen)
        world_fail(w, "commit of node %" PRIu64 " went from %" PRIu64 " to %" PRIu64, n->id,
                   n->commit_seen, info->commit);
    for (uint64_t i = n->commit_seen + 1; i <= info->commit && i < INDEX_MAX; i++) {
        const struct raft_entry *e = raft_entry_at(n->raft, i);
        if (e == NULL) continue; /* by a snapshot: the digest is compared */
        if (w->committed[i].term == 0) {
            w->committed[i].term = e->term;
            w->committed[i].seen_term = info->term;
            w->did[DID_COMMIT]++;
        }
        if (w->committed[i].term != e->term)
            world_fail(w, "index %" PRIu64 " is committed with terms %" PRIu64 " and %" PRIu64, i,
                       w->committed[i].term, e->term);
        if (n->role == RAFT_LEADER && info->role == RAFT_LEADER)
            check_quorum(w, n, info, i, e->term);
        if (e->term > w->commit_term_max) w->commit_term_max = e->term;
    }
    n->commit_seen = info->commit;
    if (info->commit >= INDEX_MAX) world_fail(w, "the log is longer than the test expects");
    if (info->commit > w->commit_max) w->commit_max = info->commit;
    if (info->applied > info->commit)
        world_fail(w, "node %" PRIu64 " applied what is not committed", n->id);
}

static void check_digest(struct world *w, struct sim_node *n) {
    uint64_t *digest = &w->committed[n->applied].digest;
    if (*digest == 0) *digest = n->digest;
    if (*digest != n->digest)
        world_fail(w, "the machine of node %" PRIu64 " differs at index %" PRIu64, n->id,
                   n->applied);
}

static void check_machine(struct world *w, struct sim_node *n, const struct raft_out *out) {
    if (out->restore != NULL) {
        if (out->restore->index <= n->applied || out->restore->bytes.len < 8)
            world_fail(w, "node %" PRIu64 " is set back to index %" PRIu64, n->id,
                       out->restore->index);
        if (w->failure[0] != '\0') return;
        n->digest = get_u64le(out->restore->bytes.ptr);
        n->applied = out->restore->index;
        check_digest(w, n);
    }
    for (size_t i = 0; i < out->applied_count && w->failure[0] == '\0'; i++) {
        const struct raft_entry *e = &out->applied[i];
        if (e->index != n->applied + 1)
            world_fail(w, "node %" PRIu64 " applies index %" PRIu64 " after %" PRIu64, n->id,
                       e->index, n->applied);
        if (!saved_holds(&n->disk, e->index, e->term))
            world_fail(w, "node %" PRIu64 " applies index %" PRIu64 " before it is durable", n->id,
                       e->index);
        n->digest = entry_digest(n->digest, e);
        n->applied = e->index;
        check_digest(w, n);
    }
}

static void check_leases(struct world *w) {
    uint64_t newest = 0;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (w->nodes[i].raft != NULL && w->nodes[i].role == RAFT_LEADER &&
            w->nodes[i].term > newest)
            newest = w->nodes[i].term;
    for (unsigned i = 0; i < w->nodes_count; i++) {
        struct sim_node *n = &w->nodes[i];
        if (n->raft == NULL || n->role != RAFT_LEADER) continue;
        if (raft_quorum_age_ms(n->raft, w->now_ms + n->skew_ms) >= w->config.election_min_ms)
            continue;
        w->did[DID_LEASE]++;
        if (newest > n->term)
            world_fail(w,
                       "lease: node %" PRIu64 " holds it in term %" PRIu64 " while term %" PRIu64
                       " has a leader",
                       n->id, n->term, newest);
        if (w->commit_term_max > n->term)
            world_fail(w,
                       "lease: node %" PRIu64 " holds it in term %" PRIu64 " while term %" PRIu64
                       " commits",
                       n->id, n->term, w->commit_term_max);
    }
}

static void check_reads(struct world *w, struct sim_node *n, const struct raft_out *out) {
    for (size_t i = 0; i < out->reads_count; i++) {
        const struct raft_read *read = &out->reads[i];
        unsigned at = 0;
        while (at < n->reads_count && n->reads[at].id != read->id)
            at++;
        if (at == n->reads_count) {
            world_fail(w, "a read that was not asked");
            return;
        }
        if (read->ok && (read->index < n->reads[at].floor || read->index > n->applied))
            world_fail(w,
                       "a read at index %" PRIu64 " (applied %" PRIu64 ") was asked when %" PRIu64
                       " was committed",
                       read->index, n->applied, n->reads[at].floor);
        w->did[read->ok ? DID_READ : DID_READ_FAIL]++;
        n->reads[at] = n->reads[--n->reads_count];
    }
}

void check_step(struct world *w, struct sim_node *n, const struct raft_out *out) {
    struct raft_info info = raft_info(n->raft);
    w->steps++;
    if (info.ignored != 0) world_fail(w, "node %" PRIu64 " calls a message unsound", n->id);
    if (info.role == RAFT_DOWN && (out->msgs_count > 0 || out->batch != NULL))
        world_fail(w, "node %" PRIu64 " is down and speaks", n->id);
    if (info.term < n->term) world_fail(w, "the term of node %" PRIu64 " fell", n->id);
    if (out->batch != NULL) check_batch(w, n, out->batch);
    if (info.role == RAFT_LEADER && (n->role != RAFT_LEADER || n->term != info.term)) {
        check_elected(w, n, &info);
        w->did[DID_TAKE_OVER] += n->transfer_target;
    }
    if (info.role == RAFT_LEADER || info.term != n->term) n->transfer_target = false;
    check_commit(w, n, &info);
    if (w->failure[0] == '\0') check_machine(w, n, out);
    check_reads(w, n, out);
    if (n->role != info.role) w->roles[n->role][info.role]++;
    w->did[DID_ROLL_BACK] += info.members_index < n->members_seen;
    w->did[DID_TELL] += out->removed;
    n->members_seen = info.members_index;
    n->role = info.role;
    n->term = info.term;
    check_leases(w);
}

/* Whom it asks are the voters of its own configuration; when they are all out too nobody of the
 * cluster hears it. */
static bool can_be_told(const struct raft_info *info, const struct raft_info *leader) {
    for (uint32_t i = 0; i < info->members->count; i++)
        if (info->members->items[i].voter &&
            raft_members_find(leader->members, info->members->items[i].id) != NULL)
            return true;
    return false;
}

/* After all faults are gone for long enough. */
void check_converged(struct world *w) {
    struct sim_node *leader = NULL;
    for (unsigned i = 0; i < w->nodes_count; i++) {
        if (w->nodes[i].role != RAFT_LEADER) continue;
        if (leader != NULL) world_fail(w, "two leaders in the end");
        leader = &w->nodes[i];
    }
    if (leader == NULL) {
        world_fail(w, "no leader in the end");
        return;
    }
    struct raft_info li = raft_info(leader->raft);
    if (li.commit != li.last)
        world_fail(w, "index %" PRIu64 " to %" PRIu64 " of the leader never commit", li.commit + 1,
                   li.last);
    for (unsigned i = 0; i < w->nodes_count; i++) {
        struct sim_node *n = &w->nodes[i];
        struct raft_info info = raft_info(n->raft);
        if (raft_members_find(li.members, n->id) == NULL) {
            /* once a member and out now: it knows, and so keeps quiet */
            if (raft_members_find(info.members, n->id) != NULL && !info.removed &&
                can_be_told(&info, &li))
                world_fail(w, "node %" PRIu64 " was removed and not told", n->id);
            continue;
        }
        if (n->applied != li.last || info.term != li.term || info.leader != leader->id)
            world_fail(w,
                       "node %" PRIu64 " is at index %" PRIu64 " of term %" PRIu64
                       ", the leader at %" PRIu64 " of %" PRIu64,
                       n->id, n->applied, info.term, li.last, li.term);
    }
}
