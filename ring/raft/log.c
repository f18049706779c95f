/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/raft/internal.h"

uint64_t rlog_term(const struct raft *r, uint64_t index) {
    assert(index >= r->base_index && index <= rlog_last(r));
    return index == r->base_index ? r->base_term : rlog_at(r, index)->term;
}

bool rlog_append(struct raft *r, const struct raft_entry *e) {
    assert(e->index == rlog_last(r) + 1 && e->term >= rlog_term(r, rlog_last(r)));
    if (!raft_grow(r, &r->items, &r->items_cap, r->items_count, sizeof *r->items)) return false;
    char *bytes = NULL;
    if (e->bytes.len > 0) {
        bytes = malloc(e->bytes.len);
        if (bytes == NULL) {
            raft_fail(r, ERR_NOMEM);
            return false;
        }
        memcpy(bytes, e->bytes.ptr, e->bytes.len);
    }
    r->items[r->items_count] = *e;
    r->items[r->items_count++].bytes = sv_make(bytes, e->bytes.len);
    r->log_bytes += e->bytes.len;
    return true;
}

static void rlog_free_items(struct raft *r, size_t first, size_t count) {
    for (size_t i = first; i < first + count; i++) {
        r->log_bytes -= r->items[i].bytes.len;
        union {
            const char *in;
            char *out;
        } bytes = {.in = r->items[i].bytes.ptr}; /* ours since log_append */
        free(bytes.out);
    }
}

void rlog_truncate(struct raft *r, uint64_t from) {
    assert(from > r->commit && from > r->base_index && from <= rlog_last(r));
    size_t keep = (size_t)(from - r->base_index - 1);
    rlog_free_items(r, keep, r->items_count - keep);
    r->items_count = keep;
    if (from <= r->handed) {
        r->truncate_from = r->truncate_from == 0 ? from : MIN(r->truncate_from, from);
        r->handed = from - 1;
    }
    r->durable = MIN(r->durable, from - 1);
    for (size_t i = 0; i < r->tokens_count; i++)
        r->tokens[i].last = MIN(r->tokens[i].last, from - 1);
}

void rlog_compact(struct raft *r, uint64_t to) {
    if (to <= r->base_index) return;
    assert(to <= r->applied && to <= r->snapshot.index);
    uint64_t term = rlog_term(r, to);
    size_t count = (size_t)(to - r->base_index);
    rlog_free_items(r, 0, count);
    memmove(r->items, r->items + count, (r->items_count - count) * sizeof *r->items);
    r->items_count -= count;
    r->base_index = to;
    r->base_term = term;
}

void rlog_reset(struct raft *r, uint64_t base_index, uint64_t base_term) {
    rlog_free_items(r, 0, r->items_count);
    r->items_count = 0;
    r->base_index = base_index;
    r->base_term = base_term;
    r->truncate_from = 0; /* the snapshot that is to be saved replaces the whole log */
    r->handed = base_index;
    r->durable = 0;
    for (size_t i = 0; i < r->tokens_count; i++)
        r->tokens[i].last = 0;
}

enum status rlog_members_at(const struct raft *r, uint64_t index, struct raft_members *out,
                            uint64_t *out_index) {
    assert(index >= r->snapshot.index && index <= rlog_last(r));
    for (uint64_t i = index; i > r->snapshot.index; i--) {
        const struct raft_entry *e = rlog_at(r, i);
        if (e->type != RAFT_ENTRY_CONF) continue;
        *out_index = i;
        return raft_members_get(e->bytes, out, NULL);
    }
    *out_index = r->snapshot.index;
    return raft_members_copy(&r->snapshot.members, out);
}

bool snapshot_set(struct raft *r, const struct raft_snapshot *s) {
    struct raft_members members = {0};
    char *bytes = s->bytes.len == 0 ? NULL : malloc(s->bytes.len);
    if ((s->bytes.len > 0 && bytes == NULL) || raft_members_copy(&s->members, &members) != OK) {
        free(bytes);
        raft_fail(r, ERR_NOMEM);
        return false;
    }
    if (bytes != NULL) memcpy(bytes, s->bytes.ptr, s->bytes.len);
    union {
        const char *in;
        char *out;
    } old = {.in = r->snapshot.bytes.ptr}; /* ours since an earlier call */
    free(old.out);
    raft_members_fini(&r->snapshot.members);
    r->snapshot = (struct raft_snapshot){.index = s->index,
                                         .term = s->term,
                                         .members = members,
                                         .bytes = sv_make(bytes, s->bytes.len)};
    return true;
}
