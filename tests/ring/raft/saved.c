/* SPDX-License-Identifier: Apache-2.0 */
/* A node's disk as a value; of a batch a power cut keeps any of its parts in order. */
#include <stdlib.h>
#include <string.h>

#include "tests/ring/raft/raft_world.h"

static struct sv bytes_copy(struct sv from) {
    char *p = from.len == 0 ? NULL : malloc(from.len);
    if (p != NULL) memcpy(p, from.ptr, from.len);
    return sv_make(p, from.len);
}

static void bytes_free(struct sv bytes) {
    union {
        const char *in;
        char *out;
    } p = {.in = bytes.ptr};
    free(p.out);
}

static void cut_from(struct saved *s, uint64_t index) {
    while (s->count > 0 && s->entries[s->count - 1].index >= index)
        bytes_free(s->entries[--s->count].bytes);
}

static void append(struct saved *s, const struct raft_entry *e) {
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->entries = realloc(s->entries, s->cap * sizeof *s->entries);
        if (s->entries == NULL) abort();
    }
    s->entries[s->count] = *e;
    s->entries[s->count++].bytes = bytes_copy(e->bytes);
}

void saved_snapshot(struct saved *s, const struct raft_snapshot *from) {
    struct raft_members members = {0};
    struct sv bytes = bytes_copy(from->bytes);
    if (raft_members_copy(&from->members, &members) != OK) abort();
    bytes_free(s->snapshot.bytes);
    raft_members_fini(&s->snapshot.members);
    /* the log behind it stays if it has the entry that the snapshot ends with */
    bool holds = saved_holds(s, from->index, from->term);
    size_t skip = 0;
    while (skip < s->count && (!holds || s->entries[skip].index <= from->index))
        bytes_free(s->entries[skip++].bytes);
    s->count -= skip;
    if (s->count > 0) memmove(s->entries, s->entries + skip, s->count * sizeof *s->entries);
    s->snapshot = (struct raft_snapshot){
        .index = from->index, .term = from->term, .members = members, .bytes = bytes};
}

/* part: 0 nothing, 1 term and vote, 2 also the snapshot or the truncation, 3 also half of the
 * entries, 4 all. */
void saved_apply(struct saved *s, const struct raft_batch *b, unsigned part) {
    if (part >= 1) {
        s->term = b->term;
        s->vote = b->vote;
    }
    if (part >= 2 && b->snapshot != NULL) saved_snapshot(s, b->snapshot);
    if (part == 3 && b->snapshot != NULL) return; /* the log is replaced as one */
    if (part == 4 && b->snapshot != NULL) cut_from(s, 0);
    if (part >= 2 && b->truncate_from > 0) cut_from(s, b->truncate_from);
    size_t count = part < 3 ? 0 : part == 3 ? b->entries_count / 2 : b->entries_count;
    for (size_t i = 0; i < count; i++)
        append(s, &b->entries[i]);
}

struct raft_state saved_state(const struct saved *s) {
    return (struct raft_state){.term = s->term,
                               .vote = s->vote,
                               .snapshot = s->snapshot,
                               .entries = s->entries,
                               .entries_count = s->count};
}

uint64_t saved_last(const struct saved *s) {
    return s->count == 0 ? s->snapshot.index : s->entries[s->count - 1].index;
}

bool saved_holds(const struct saved *s, uint64_t index, uint64_t term) {
    if (index < s->snapshot.index) return true; /* of a committed prefix */
    if (index == s->snapshot.index) return s->snapshot.term == term;
    uint64_t at = index - s->snapshot.index - 1;
    return at < s->count && s->entries[at].term == term;
}

void saved_fini(struct saved *s) {
    cut_from(s, 0);
    free(s->entries);
    bytes_free(s->snapshot.bytes);
    raft_members_fini(&s->snapshot.members);
    *s = (struct saved){0};
}

void saved_clone(const struct saved *s, struct saved *out) {
    *out = (struct saved){.term = s->term, .vote = s->vote};
    saved_snapshot(out, &s->snapshot);
    for (size_t i = 0; i < s->count; i++)
        append(out, &s->entries[i]);
}
