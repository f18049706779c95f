/* SPDX-License-Identifier: Apache-2.0 */
/* The three files of a store as values. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/raft/store_internal.h"

static enum status corrupt(struct err *err, const char *name, uint64_t offset, const char *what) {
    return err_set(err, ERR_CORRUPT, 0, "%s: offset %" PRIu64 ": %s", name, offset, what);
}

static enum status head_check(struct sv file, const char magic[8], const char *name,
                              struct err *err) {
    if (file.len < STORE_HEAD_BYTES || memcmp(file.ptr, magic, 8) != 0)
        return corrupt(err, name, 0, "not a file of this kind");
    if (get_u16le(file.ptr + 10) > STORE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0, "%s: needs a reader of version %u, this is %d",
                       name, (unsigned)get_u16le(file.ptr + 10), STORE_FORMAT);
    return OK;
}

static bool sum_is_good(struct sv file, size_t len) {
    return file.len >= len + 8 && get_u64le(file.ptr + len) == hash64(file.ptr, len, 0);
}

enum status raft_store_meta_get(struct sv file, const char *name, struct raft_state *state,
                                struct err *err) {
    TRY(head_check(file, store_meta_magic, name, err));
    if (file.len != STORE_META_BYTES || !sum_is_good(file, STORE_META_BYTES - 8))
        return corrupt(err, name, STORE_HEAD_BYTES, "term and vote fail their checksum");
    state->term = get_u64le(file.ptr + STORE_HEAD_BYTES);
    state->vote = get_u64le(file.ptr + STORE_HEAD_BYTES + 8);
    return OK;
}

enum status raft_store_snapshot_get(struct sv file, const char *name, struct raft_state *state,
                                    struct err *err) {
    TRY(head_check(file, store_snapshot_magic, name, err));
    if (file.len < STORE_HEAD_BYTES + 8 || !sum_is_good(file, file.len - 8))
        return corrupt(err, name, STORE_HEAD_BYTES, "the snapshot fails its checksum");
    struct reader r = reader_init(file.ptr + STORE_HEAD_BYTES, file.len - 8 - STORE_HEAD_BYTES);
    struct raft_snapshot s = {.index = read_u64(&r)};
    s.term = read_u64(&r);
    uint32_t len = read_u32(&r);
    const uint8_t *members = read_bytes(&r, len);
    uint32_t bytes_len = read_u32(&r);
    const uint8_t *bytes = read_bytes(&r, bytes_len);
    if (r.failed || reader_left(&r) > 0 || s.index == 0)
        return corrupt(err, name, STORE_HEAD_BYTES, "the snapshot is malformed");
    if (raft_members_get(sv_make(members, len), &s.members, err) != OK)
        return err_set(err, ERR_CORRUPT, 0, "%s: offset %d: the members are malformed", name,
                       STORE_HEAD_BYTES + 20);
    s.bytes = sv_make(bytes, bytes_len);
    state->snapshot = s;
    return OK;
}

/* The log as it is read: items[0] has index first. */
struct scan {
    const char *name;
    struct sv file;
    uint64_t frame;                 /* number of the next */
    uint64_t base_index, base_term; /* of the snapshot the log follows */
    struct raft_entry *items;
    size_t count, cap;
};

static enum status record_apply(struct scan *s, const struct raft_entry *e, uint64_t offset,
                                struct err *err) {
    uint64_t last = s->base_index + s->count;
    uint64_t last_term = s->count == 0 ? s->base_term : s->items[s->count - 1].term;
    if ((unsigned)e->type == STORE_TRUNCATE) {
        if (e->index <= s->base_index || e->index > last || e->bytes.len > 0)
            return corrupt(err, s->name, offset, "truncates what is not there");
        s->count = (size_t)(e->index - s->base_index - 1);
        return OK;
    }
    if (e->type != RAFT_ENTRY_DATA && e->type != RAFT_ENTRY_NOOP && e->type != RAFT_ENTRY_CONF)
        return corrupt(err, s->name, offset, "an entry of unknown type");
    if (e->index != last + 1 || e->term < last_term)
        return corrupt(err, s->name, offset, "an entry out of order");
    if (e->type == RAFT_ENTRY_CONF) {
        struct raft_members members = {0};
        if (raft_members_get(e->bytes, &members, NULL) != OK)
            return corrupt(err, s->name, offset, "a malformed configuration");
        raft_members_fini(&members);
    }
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        struct raft_entry *items = realloc(s->items, cap * sizeof *items);
        if (items == NULL) return err_set(err, ERR_NOMEM, 0, "not enough memory");
        s->items = items;
        s->cap = cap;
    }
    s->items[s->count++] = *e;
    return OK;
}

static enum status frame_apply(struct scan *s, uint64_t offset, uint64_t len, struct err *err) {
    const char *payload = s->file.ptr + offset + STORE_FRAME_HEAD_BYTES;
    struct reader r = reader_init(payload, (size_t)len);
    while (reader_left(&r) > 0) {
        uint64_t at = offset + STORE_FRAME_HEAD_BYTES + (len - reader_left(&r));
        struct raft_entry e = {.term = read_u64(&r)};
        e.index = read_u64(&r);
        e.type = (enum raft_entry_type)read_u8(&r);
        uint32_t bytes_len = read_u32(&r);
        e.bytes = sv_make(read_bytes(&r, bytes_len), bytes_len);
        if (r.failed) return corrupt(err, s->name, at, "a record goes beyond its frame");
        TRY(record_apply(s, &e, at, err));
    }
    return OK;
}

/* The length of a good frame at the offset, with its number; 0: none. */
static uint64_t frame_at(const struct scan *s, uint64_t offset, uint64_t *out_number) {
    uint64_t left = s->file.len - offset;
    const char *p = s->file.ptr + offset;
    if (left < STORE_FRAME_HEAD_BYTES || get_u32le(p) != STORE_FRAME_MAGIC) return 0;
    uint64_t len = get_u32le(p + 4), number = get_u64le(p + 8);
    /* a frame further ahead than frames could have been lost is none */
    if (len > left - STORE_FRAME_HEAD_BYTES || number < s->frame || number - s->frame > offset)
        return 0;
    uint64_t sum = hash64(p + STORE_FRAME_HEAD_BYTES, (size_t)len, hash64(p, 16, 0));
    if (sum != get_u64le(p + 16)) return 0;
    *out_number = number;
    return STORE_FRAME_HEAD_BYTES + len;
}

/* A bad place at the offset: torn if nothing good follows. */
static enum status tail_check(const struct scan *s, uint64_t offset, struct err *err) {
    static const uint8_t magic[4] = {'R', 'A', 'F', 'R'};
    uint64_t at = offset + 1, number = 0;
    while (at < s->file.len) {
        const char *hit = memmem(s->file.ptr + at, (size_t)(s->file.len - at), magic, sizeof magic);
        if (hit == NULL) return OK;
        at = (uint64_t)(hit - s->file.ptr);
        if (frame_at(s, at, &number) > 0)
            return err_set(err, ERR_CORRUPT, 0,
                           "%s: offset %" PRIu64 ": a bad frame, while frame %" PRIu64
                           " at offset %" PRIu64 " is good",
                           s->name, offset, number, at);
        at++;
    }
    return OK;
}

static enum status scan_frames(struct scan *s, uint64_t *out_torn_bytes, struct err *err) {
    uint64_t offset = STORE_LOG_HEAD_BYTES;
    s->frame = 1;
    while (offset < s->file.len) {
        uint64_t number = 0, len = frame_at(s, offset, &number);
        if (len == 0 || number != s->frame) {
            if (len > 0) return corrupt(err, s->name, offset, "frames are missing before this one");
            *out_torn_bytes = s->file.len - offset;
            return tail_check(s, offset, err);
        }
        TRY(frame_apply(s, offset, len - STORE_FRAME_HEAD_BYTES, err));
        offset += len;
        s->frame++;
    }
    *out_torn_bytes = 0;
    return OK;
}

/* Drops what the snapshot covers, or everything when the log does not lead to it. */
static enum status scan_fit(struct scan *s, const struct raft_snapshot *snapshot, struct err *err) {
    if (s->base_index > snapshot->index)
        return corrupt(err, s->name, STORE_HEAD_BYTES,
                       "the log follows a snapshot that is not there");
    if (s->base_index == snapshot->index) {
        if (s->base_term == snapshot->term) return OK;
        return corrupt(err, s->name, STORE_HEAD_BYTES, "the log follows another snapshot");
    }
    uint64_t covered = snapshot->index - s->base_index;
    if (covered > s->count || s->items[covered - 1].term != snapshot->term) covered = s->count;
    s->count -= (size_t)covered;
    if (s->count > 0) memmove(s->items, s->items + covered, s->count * sizeof *s->items);
    return OK;
}

enum status raft_store_log_get(struct sv file, const char *name, struct raft_state *state,
                               uint64_t *out_torn_bytes, struct err *err) {
    TRY(head_check(file, store_log_magic, name, err));
    if (!sum_is_good(file, STORE_LOG_HEAD_BYTES - 8))
        return corrupt(err, name, 0, "the header fails its checksum");
    struct scan s = {.name = name,
                     .file = file,
                     .base_index = get_u64le(file.ptr + STORE_HEAD_BYTES),
                     .base_term = get_u64le(file.ptr + STORE_HEAD_BYTES + 8)};
    enum status status = s.base_index > UINT64_MAX / 2
                             ? corrupt(err, name, STORE_HEAD_BYTES, "an impossible index")
                             : scan_frames(&s, out_torn_bytes, err);
    if (status == OK) status = scan_fit(&s, &state->snapshot, err);
    if (status != OK) {
        free(s.items);
        return status;
    }
    state->entries = s.items;
    state->entries_count = s.count;
    return OK;
}

void raft_store_state_fini(struct raft_state *state) {
    union {
        const struct raft_entry *in;
        struct raft_entry *out;
    } entries = {.in = state->entries}; /* allocated by raft_store_log_get */
    free(entries.out);
    raft_members_fini(&state->snapshot.members);
    *state = (struct raft_state){0};
}
