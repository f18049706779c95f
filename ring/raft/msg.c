/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/raft/msg.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/raft/internal.h"

enum { MEMBER_BYTES = 9, MSG_GRANTED = 1, MSG_TRANSFER = 2 };

void raft_members_put(const struct raft_members *members, struct buf *out) {
    buf_put_u32(out, members->count);
    for (uint32_t i = 0; i < members->count; i++) {
        buf_put_u64(out, members->items[i].id);
        buf_put_u8(out, members->items[i].voter);
    }
}

enum status raft_members_get(struct sv bytes, struct raft_members *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint32_t count = read_u32(&r), voters = 0;
    if (r.failed || count > RAFT_MEMBERS_MAX || reader_left(&r) != (size_t)count * MEMBER_BYTES)
        return err_set(err, ERR_PARSE, 0, "raft: %zu bytes are no list of members", bytes.len);
    struct raft_member *items = calloc((size_t)count + 1, sizeof *items);
    if (items == NULL) return err_set(err, ERR_NOMEM, 0, "raft: out of memory");
    for (uint32_t i = 0; i < count; i++) {
        items[i].id = read_u64(&r);
        uint8_t voter = read_u8(&r);
        items[i].voter = voter == 1;
        voters += items[i].voter;
        if (voter > 1 || items[i].id == 0 || (i > 0 && items[i].id <= items[i - 1].id)) {
            free(items);
            return err_set(err, ERR_PARSE, 0, "raft: member %" PRIu32 " is malformed", i);
        }
    }
    if (voters > RAFT_VOTERS_MAX || (count > 0 && voters == 0)) {
        free(items);
        return err_set(err, ERR_PARSE, 0, "raft: %" PRIu32 " voters, 1 to %d are possible", voters,
                       RAFT_VOTERS_MAX);
    }
    *out = (struct raft_members){.items = items, .count = count};
    return OK;
}

enum status raft_members_copy(const struct raft_members *from, struct raft_members *out) {
    struct raft_member *items = calloc((size_t)from->count + 1, sizeof *items);
    if (items == NULL) return ERR_NOMEM;
    if (from->count > 0) memcpy(items, from->items, from->count * sizeof *items);
    *out = (struct raft_members){.items = items, .count = from->count};
    return OK;
}

void raft_members_fini(struct raft_members *members) {
    free(members->items);
    *members = (struct raft_members){0};
}

const struct raft_member *raft_members_find(const struct raft_members *members, uint64_t id) {
    for (uint32_t i = 0; i < members->count; i++)
        if (members->items[i].id == id) return &members->items[i];
    return NULL;
}

uint32_t raft_members_voters(const struct raft_members *members) {
    uint32_t voters = 0;
    for (uint32_t i = 0; i < members->count; i++)
        voters += members->items[i].voter;
    return voters;
}

/* u8 type, u8 flags, u64 from, u64 to, u64 term, then varints by type:
 *   APPEND          index, index_term, commit, round, sent_ms, count, entries: term, u8 type,
 * length and bytes each (indexes follow from the first) APPEND_REPLY    index, index_term, round,
 * sent_ms SNAPSHOT        round, sent_ms, index, term, length and members, length and bytes others
 * index, index_term */
void raft_msg_put(const struct raft_msg *m, struct buf *out) {
    buf_put_u8(out, (uint8_t)m->type);
    buf_put_u8(out, (uint8_t)((m->granted ? MSG_GRANTED : 0) | (m->transfer ? MSG_TRANSFER : 0)));
    buf_put_u64(out, m->from);
    buf_put_u64(out, m->to);
    buf_put_u64(out, m->term);
    if (m->type == RAFT_MSG_SNAPSHOT) {
        struct buf members = {0};
        raft_members_put(&m->snapshot.members, &members);
        buf_put_varint(out, m->round);
        buf_put_varint(out, m->sent_ms);
        buf_put_varint(out, m->snapshot.index);
        buf_put_varint(out, m->snapshot.term);
        buf_put_lenstr(out, buf_sv(&members));
        buf_put_lenstr(out, m->snapshot.bytes);
        out->failed = out->failed || members.failed;
        buf_fini(&members);
        return;
    }
    buf_put_varint(out, m->index);
    buf_put_varint(out, m->index_term);
    if (m->type == RAFT_MSG_APPEND) buf_put_varint(out, m->commit);
    if (m->type != RAFT_MSG_APPEND && m->type != RAFT_MSG_APPEND_REPLY) return;
    buf_put_varint(out, m->round);
    buf_put_varint(out, m->sent_ms);
    if (m->type != RAFT_MSG_APPEND) return;
    buf_put_varint(out, m->entries_count);
    for (uint32_t i = 0; i < m->entries_count; i++) {
        buf_put_varint(out, m->entries[i].term);
        buf_put_u8(out, (uint8_t)m->entries[i].type);
        buf_put_lenstr(out, m->entries[i].bytes);
    }
}

static enum status entries_get(struct reader *r, struct raft_msg *m, struct err *err) {
    uint64_t count = read_varint(r);
    if (count == 0 || r->failed) return OK;
    if (count > RAFT_ENTRIES_PER_MSG_MAX || count > reader_left(r))
        return err_set(err, ERR_PARSE, 0, "raft: a message of %" PRIu64 " entries", count);
    struct raft_entry *entries = calloc((size_t)count, sizeof *entries);
    if (entries == NULL) return err_set(err, ERR_NOMEM, 0, "raft: out of memory");
    for (uint32_t i = 0; i < count; i++) {
        entries[i].index = m->index + 1 + i; /* a wrap is not sound, raft_msg_is_sound */
        entries[i].term = read_varint(r);
        entries[i].type = (enum raft_entry_type)read_u8(r);
        entries[i].bytes = read_lenstr(r);
    }
    m->entries = entries;
    m->entries_count = (uint32_t)count;
    return OK;
}

static enum status body_get(struct reader *r, struct raft_msg *m, struct err *err) {
    if (m->type == RAFT_MSG_SNAPSHOT) {
        m->round = read_varint(r);
        m->sent_ms = read_varint(r);
        m->snapshot.index = read_varint(r);
        m->snapshot.term = read_varint(r);
        struct sv members = read_lenstr(r);
        m->snapshot.bytes = read_lenstr(r);
        return r->failed ? OK : raft_members_get(members, &m->snapshot.members, err);
    }
    m->index = read_varint(r);
    m->index_term = read_varint(r);
    if (m->type == RAFT_MSG_APPEND) m->commit = read_varint(r);
    if (m->type != RAFT_MSG_APPEND && m->type != RAFT_MSG_APPEND_REPLY) return OK;
    m->round = read_varint(r);
    m->sent_ms = read_varint(r);
    return m->type == RAFT_MSG_APPEND ? entries_get(r, m, err) : OK;
}

enum status raft_msg_get(struct sv bytes, struct raft_msg *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    struct raft_msg m = {.type = (enum raft_msg_type)read_u8(&r)};
    uint8_t flags = read_u8(&r);
    m.granted = (flags & MSG_GRANTED) != 0;
    m.transfer = (flags & MSG_TRANSFER) != 0;
    m.from = read_u64(&r);
    m.to = read_u64(&r);
    m.term = read_u64(&r);
    enum status status = body_get(&r, &m, err);
    if (status == OK && (r.failed || reader_left(&r) > 0 || flags > (MSG_GRANTED | MSG_TRANSFER)))
        status = err_set(err, ERR_PARSE, 0, "raft: a message of type %d is malformed at byte %zu",
                         (int)m.type, bytes.len - reader_left(&r));
    if (status == OK && !raft_msg_is_sound(&m))
        status = err_set(err, ERR_PARSE, 0, "raft: a message of type %d says what none can",
                         (int)m.type);
    if (status != OK) {
        raft_msg_fini(&m);
        return status;
    }
    *out = m;
    return OK;
}

void raft_msg_fini(struct raft_msg *m) {
    union {
        const struct raft_entry *in;
        struct raft_entry *out;
    } entries = {.in = m->entries}; /* allocated by entries_get */
    free(entries.out);
    raft_members_fini(&m->snapshot.members);
    *m = (struct raft_msg){0};
}

static bool entries_are_sound(const struct raft_msg *m) {
    uint64_t term = m->index_term;
    if (m->entries_count > RAFT_ENTRIES_PER_MSG_MAX) return false;
    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != m->index + 1 + i || e->term < term || e->term > m->term || e->term == 0)
            return false;
        if (e->bytes.len > RAFT_ENTRY_BYTES_MAX) return false;
        if (e->type == RAFT_ENTRY_CONF) {
            struct raft_members members = {0};
            if (raft_members_get(e->bytes, &members, NULL) != OK) return false;
            bool none = members.count == 0;
            raft_members_fini(&members);
            if (none) return false;
        } else if (e->type != RAFT_ENTRY_DATA && e->type != RAFT_ENTRY_NOOP) {
            return false;
        }
        term = e->term;
    }
    return true;
}

/* What holds of every message of a correct peer, whatever its state. Indexes and terms stay far
 * from the end of their range, so that adding to them is safe. */
bool raft_msg_is_sound(const struct raft_msg *m) {
    const uint64_t max = UINT64_MAX / 4;
    if (m->type < RAFT_MSG_PREVOTE || m->type > RAFT_MSG_REMOVED) return false;
    if (m->from == 0 || m->to == 0 || m->term > max) return false;
    if (m->index > max || m->index_term > max || m->snapshot.index > max || m->round > max)
        return false;
    if (m->type == RAFT_MSG_SNAPSHOT)
        return m->snapshot.index > 0 && m->snapshot.term <= m->term &&
               m->snapshot.members.count > 0 && m->snapshot.bytes.len <= RAFT_SNAPSHOT_BYTES_MAX;
    if (m->type != RAFT_MSG_APPEND) return m->entries_count == 0;
    return m->term > 0 && m->index_term <= m->term && (m->index > 0 || m->index_term == 0) &&
           entries_are_sound(m);
}

const char *raft_msg_name(enum raft_msg_type type) {
    static const char *const names[] = {"none",        "prevote", "prevote-reply", "vote",
                                        "vote-reply",  "append",  "append-reply",  "snapshot",
                                        "timeout-now", "ask",     "removed"};
    return (size_t)type < ARRAY_LEN(names) ? names[type] : "unknown";
}
