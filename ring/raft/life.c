/* SPDX-License-Identifier: Apache-2.0 */
/* The core's birth from what is on disk, its end, and what others may see of it. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/raft/internal.h"

static enum status state_check(const struct raft_state *s, struct err *err) {
    uint64_t index = s->snapshot.index, term = s->snapshot.term;
    if ((index == 0) != (s->snapshot.members.count == 0))
        return err_set(err, ERR_CORRUPT, 0,
                       "raft: a snapshot of index %" PRIu64 " has %" PRIu32 " members", index,
                       s->snapshot.members.count);
    for (size_t i = 0; i < s->entries_count; i++) {
        const struct raft_entry *e = &s->entries[i];
        if (e->index != index + 1 || e->term < term)
            return err_set(err, ERR_CORRUPT, 0,
                           "raft: entry %" PRIu64 " of term %" PRIu64 " follows %" PRIu64
                           " of term %" PRIu64,
                           e->index, e->term, index, term);
        index = e->index;
        term = e->term;
    }
    if (term > s->term)
        return err_set(err, ERR_CORRUPT, 0,
                       "raft: an entry has term %" PRIu64 ", this node only knows of term %" PRIu64,
                       term, s->term);
    return OK;
}

static void config_default(struct raft_config *c) {
    if (c->election_min_ms == 0) c->election_min_ms = 1000;
    if (c->election_max_ms == 0) c->election_max_ms = 2 * c->election_min_ms;
    if (c->heartbeat_ms == 0) c->heartbeat_ms = 150;
    if (c->snapshot_entries == 0) c->snapshot_entries = 1024;
    if (c->snapshot_log_bytes == 0) c->snapshot_log_bytes = 4 << 20;
    if (c->trailing_entries == 0) c->trailing_entries = 128;
    if (c->msg_bytes_max == 0) c->msg_bytes_max = 1 << 20;
    assert(c->self != 0 && c->election_min_ms <= c->election_max_ms);
    assert(c->heartbeat_ms < c->election_min_ms);
}

static void state_take(struct raft *r, const struct raft_state *s) {
    r->term = s->term;
    r->vote = s->vote;
    if (!snapshot_set(r, &s->snapshot)) return;
    r->base_index = s->snapshot.index;
    r->base_term = s->snapshot.term;
    r->commit = s->snapshot.index; /* the commit index is not on disk: a leader has to tell it */
    r->restore_due = s->snapshot.index > 0;
    for (size_t i = 0; i < s->entries_count; i++)
        if (!rlog_append(r, &s->entries[i])) return;
    r->durable = r->handed = rlog_last(r);
    members_refresh(r);
}

enum status raft_new(const struct raft_config *config, const struct raft_state *state,
                     uint64_t now_ms, struct raft **out, struct err *err) {
    TRY(state_check(state, err));
    struct raft *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "raft: out of memory");
    r->config = *config;
    config_default(&r->config);
    rng_init(&r->rng, r->config.seed ^ r->config.self);
    r->now_ms = now_ms;
    state_take(r, state);
    if (r->role == RAFT_DOWN) {
        enum status status = r->down;
        raft_free(r);
        return err_set(err, status, 0, "raft: out of memory");
    }
    elect_reset_deadline(r);
    /* Before it stopped it may have answered a leader, who counts on this node's not voting for
     * another while its lease lasts. */
    r->heard = true;
    r->heard_ms = now_ms;
    /* A sole voter by a configuration that it knows to be committed needs nobody and has no rival:
     * who led when it was committed had stepped down by the time this node learnt of it. */
    if (r->self_voter && members_quorum(r) == 1 && raft_members_voters(&r->members) == 1 &&
        r->members_index <= r->snapshot.index)
        r->election_deadline_ms = now_ms;
    *out = r;
    return OK;
}

void raft_free(struct raft *r) {
    if (r == NULL) return;
    union {
        const char *in;
        char *out;
    } bytes;
    for (size_t i = 0; i < r->items_count; i++) {
        bytes.in = r->items[i].bytes.ptr;
        free(bytes.out);
    }
    bytes.in = r->snapshot.bytes.ptr;
    free(bytes.out);
    raft_members_fini(&r->snapshot.members);
    raft_members_fini(&r->members);
    free(r->items);
    free(r->peers);
    free(r->tokens);
    free(r->reads);
    free(r->held);
    free(r->msgs);
    free(r->reads_out);
    free(r);
}

struct raft_info raft_info(const struct raft *r) {
    return (struct raft_info){.role = r->role,
                              .term = r->term,
                              .vote = r->vote,
                              .leader = r->leader,
                              .commit = r->commit,
                              .applied = r->applied,
                              .durable = r->durable,
                              .first = r->base_index + 1,
                              .last = rlog_last(r),
                              .snapshot_index = r->snapshot.index,
                              .members_index = r->members_index,
                              .members = &r->members,
                              .removed = r->removed,
                              .down = r->down,
                              .ignored = r->ignored};
}

const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index) {
    return index > r->base_index && index <= rlog_last(r) ? rlog_at(r, index) : NULL;
}

bool raft_peer(const struct raft *r, uint64_t id, uint64_t *out_match, uint64_t *out_answered_ms) {
    if (r->role != RAFT_LEADER) return false;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].id != id) continue;
        *out_match = r->peers[i].match;
        *out_answered_ms = r->peers[i].answered_ms;
        return true;
    }
    return false;
}

const char *raft_role_name(enum raft_role role) {
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader", "down"};
    assert((size_t)role < ARRAY_LEN(names));
    return names[role];
}

/* One allocation: the batch, its snapshot, members, entries, then all bytes. */
struct raft_batch *raft_batch_clone(const struct raft_batch *b) {
    const struct raft_snapshot *s = b->snapshot;
    size_t members = s == NULL ? 0 : s->members.count;
    size_t size = sizeof *b + sizeof *s + members * sizeof *s->members.items +
                  b->entries_count * sizeof *b->entries;
    size_t bytes = s == NULL ? 0 : s->bytes.len;
    for (size_t i = 0; i < b->entries_count; i++)
        bytes += b->entries[i].bytes.len;
    struct raft_batch *copy = malloc(size + bytes);
    if (copy == NULL) return NULL;
    *copy = *b;
    struct raft_snapshot *snapshot = (struct raft_snapshot *)(copy + 1);
    struct raft_entry *entries = (struct raft_entry *)(snapshot + 1);
    struct raft_member *items = (struct raft_member *)(entries + b->entries_count);
    char *at = (char *)(items + members);
    if (s != NULL) {
        *snapshot = *s;
        if (members > 0) memcpy(items, s->members.items, members * sizeof *items);
        snapshot->members.items = items;
        if (s->bytes.len > 0) memcpy(at, s->bytes.ptr, s->bytes.len);
        snapshot->bytes = sv_make(at, s->bytes.len);
        at += s->bytes.len;
        copy->snapshot = snapshot;
    }
    for (size_t i = 0; i < b->entries_count; i++) {
        struct sv from = b->entries[i].bytes;
        entries[i] = b->entries[i];
        if (from.len > 0) memcpy(at, from.ptr, from.len);
        entries[i].bytes = sv_make(at, from.len);
        at += from.len;
    }
    copy->entries = entries;
    return copy;
}

void raft_batch_free(struct raft_batch *batch) {
    free(batch);
}
