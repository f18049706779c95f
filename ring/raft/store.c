/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/raft/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/log.h"
#include "ring/raft/store_internal.h"

struct raft_store {
    struct disk *disk;
    char *dir, *meta_path, *snapshot_path, *log_path;
    struct file *log;
    uint64_t log_bytes;
    uint64_t next_frame;
    struct buf scratch;
    struct buf meta, snapshot, log_file; /* as read; the state at the start points into them */
    struct raft_state state;
    bool sync_failed;
    struct err failed; /* code OK: open */
};

void store_head_put(const char magic[8], struct buf *out) {
    buf_put(out, magic, 8);
    buf_put_u16(out, STORE_FORMAT);
    buf_put_u16(out, STORE_FORMAT);
    buf_put_u32(out, 0);
}

void store_sum_put(struct buf *out) {
    if (!out->failed) buf_put_u64(out, hash64(out->ptr, out->len, 0));
}

void store_log_head_put(uint64_t index, uint64_t term, struct buf *out) {
    assert(out->len == 0);
    store_head_put(store_log_magic, out);
    buf_put_u64(out, index);
    buf_put_u64(out, term);
    store_sum_put(out);
}

static void record_put(uint64_t term, uint64_t index, uint8_t type, struct sv bytes,
                       struct buf *out) {
    buf_put_u64(out, term);
    buf_put_u64(out, index);
    buf_put_u8(out, type);
    buf_put_u32(out, (uint32_t)bytes.len);
    buf_put_sv(out, bytes);
}

void store_frame_put(uint64_t number, uint64_t truncate_from, const struct raft_entry *entries,
                     size_t entries_count, struct buf *out) {
    size_t start = out->len;
    buf_put_u32(out, STORE_FRAME_MAGIC);
    buf_put_u32(out, 0);
    buf_put_u64(out, number);
    buf_put_u64(out, 0);
    if (truncate_from > 0) record_put(0, truncate_from, STORE_TRUNCATE, (struct sv){0}, out);
    for (size_t i = 0; i < entries_count; i++) {
        const struct raft_entry *e = &entries[i];
        record_put(e->term, e->index, (uint8_t)e->type, e->bytes, out);
    }
    if (out->failed) return;
    char *head = out->ptr + start;
    size_t len = out->len - start - STORE_FRAME_HEAD_BYTES;
    if (len > UINT32_MAX) {
        out->failed = true;
        return;
    }
    put_u32le(head + 4, (uint32_t)len);
    put_u64le(head + 16, hash64(head + STORE_FRAME_HEAD_BYTES, len, hash64(head, 16, 0)));
}

static enum status no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "not enough memory");
}

static enum status meta_write(struct raft_store *s, uint64_t term, uint64_t vote, struct err *err) {
    buf_clear(&s->scratch);
    store_head_put(store_meta_magic, &s->scratch);
    buf_put_u64(&s->scratch, term);
    buf_put_u64(&s->scratch, vote);
    store_sum_put(&s->scratch);
    if (s->scratch.failed) return no_memory(err);
    return disk_write_file(s->disk, s->meta_path, buf_sv(&s->scratch), err);
}

static enum status snapshot_write(struct raft_store *s, const struct raft_snapshot *snapshot,
                                  struct err *err) {
    struct buf *b = &s->scratch;
    buf_clear(b);
    store_head_put(store_snapshot_magic, b);
    buf_put_u64(b, snapshot->index);
    buf_put_u64(b, snapshot->term);
    size_t at = b->len;
    buf_put_u32(b, 0);
    raft_members_put(&snapshot->members, b);
    if (!b->failed) put_u32le(b->ptr + at, (uint32_t)(b->len - at - 4));
    buf_put_u32(b, (uint32_t)snapshot->bytes.len);
    buf_put_sv(b, snapshot->bytes);
    store_sum_put(b);
    if (b->failed) return no_memory(err);
    return disk_write_file(s->disk, s->snapshot_path, buf_sv(b), err);
}

/* A new log that holds just these entries takes the place of the old one. */
static enum status rlog_rewrite(struct raft_store *s, uint64_t index, uint64_t term,
                                const struct raft_entry *entries, size_t entries_count,
                                struct err *err) {
    struct buf *b = &s->scratch;
    buf_clear(b);
    store_log_head_put(index, term, b);
    if (entries_count > 0) store_frame_put(1, 0, entries, entries_count, b);
    if (b->failed) return no_memory(err);
    file_close(s->log);
    s->log = NULL;
    TRY(disk_write_file(s->disk, s->log_path, buf_sv(b), err));
    TRY(disk_open(s->disk, s->log_path, DISK_READ | DISK_WRITE, &s->log, err));
    s->log_bytes = b->len;
    s->next_frame = entries_count > 0 ? 2 : 1;
    return OK;
}

static enum status rlog_append_frame(struct raft_store *s, const struct raft_batch *batch,
                                     struct err *err) {
    struct buf *b = &s->scratch;
    buf_clear(b);
    store_frame_put(s->next_frame, batch->truncate_from, batch->entries, batch->entries_count, b);
    if (b->failed) return no_memory(err);
    TRY(file_pwrite(s->log, b->ptr, b->len, s->log_bytes, err));
    s->sync_failed = true; /* pages that a failed sync has dropped are not written by the next */
    TRY(file_sync(s->log, err));
    s->sync_failed = false;
    s->log_bytes += b->len;
    s->next_frame++;
    return OK;
}

static enum status save(struct raft_store *s, const struct raft_batch *batch, struct err *err) {
    if (batch->hard_changed) TRY(meta_write(s, batch->term, batch->vote, err));
    if (batch->snapshot != NULL) {
        TRY(snapshot_write(s, batch->snapshot, err));
        return rlog_rewrite(s, batch->snapshot->index, batch->snapshot->term, batch->entries,
                            batch->entries_count, err);
    }
    if (batch->truncate_from == 0 && batch->entries_count == 0) return OK;
    return rlog_append_frame(s, batch, err);
}

/* What open read is of no use once something is saved. */
static void read_fini(struct raft_store *s) {
    raft_store_state_fini(&s->state);
    buf_fini(&s->meta);
    buf_fini(&s->snapshot);
    buf_fini(&s->log_file);
}

bool raft_store_is_full(const struct raft_store *s, const struct err *err) {
    return s->failed.code == OK && !s->sync_failed && (err->os == ENOSPC || err->os == EDQUOT);
}

enum status raft_store_save(struct raft_store *s, const struct raft_batch *batch, struct err *err) {
    if (s->failed.code == OK) {
        read_fini(s);
        struct err why = {0};
        if (save(s, batch, &why) == OK) return OK;
        err_prefix(&why, "raft: saving to %s", s->dir);
        assert(why.code != OK);
        if (raft_store_is_full(s, &why)) {
            if (err != NULL) *err = why;
            return why.code;
        }
        s->failed = why;
    }
    if (err != NULL) *err = s->failed;
    return s->failed.code;
}

static enum status read_one(struct raft_store *s, const char *path, struct buf *out,
                            bool *out_there, struct err *err) {
    *out_there = disk_exists(s->disk, path);
    return *out_there ? disk_read_file(s->disk, path, STORE_FILE_BYTES_MAX, out, err) : OK;
}

static enum status store_read(struct raft_store *s, struct err *err) {
    struct raft_state *st = &s->state;
    bool meta = false, snapshot = false, log = false;
    uint64_t torn = 0;
    TRY(read_one(s, s->meta_path, &s->meta, &meta, err));
    TRY(read_one(s, s->snapshot_path, &s->snapshot, &snapshot, err));
    TRY(read_one(s, s->log_path, &s->log_file, &log, err));
    if (meta) TRY(raft_store_meta_get(buf_sv(&s->meta), s->meta_path, st, err));
    if (snapshot) TRY(raft_store_snapshot_get(buf_sv(&s->snapshot), s->snapshot_path, st, err));
    if (log) TRY(raft_store_log_get(buf_sv(&s->log_file), s->log_path, st, &torn, err));
    if (!meta && (snapshot || st->entries_count > 0)) /* it is written before either */
        return err_set(err, ERR_CORRUPT, 0, "%s: offset 0: the file is missing", s->meta_path);
    if (!log && snapshot) /* each open leaves one */
        return err_set(err, ERR_CORRUPT, 0, "%s: offset 0: the file is missing", s->log_path);
    if (torn > 0)
        log_warnf("the end of the consensus log is torn and left out", "file", "%s", s->log_path);
    return rlog_rewrite(s, st->snapshot.index, st->snapshot.term, st->entries, st->entries_count,
                        err);
}

static char *path_join(const char *dir, const char *name) {
    size_t len = strlen(dir) + strlen(name) + 2;
    char *path = malloc(len);
    if (path == NULL) return NULL;
    struct buf b = {.ptr = path, .cap = len};
    buf_put_sv(&b, sv_from(dir));
    buf_put_char(&b, '/');
    buf_put(&b, name, strlen(name) + 1);
    return path;
}

enum status raft_store_open(struct disk *disk, const char *dir, struct raft_store **out,
                            struct raft_state *out_state, struct err *err) {
    struct err unwanted = {0};
    if (err == NULL) err = &unwanted;
    struct raft_store *s = calloc(1, sizeof *s);
    if (s == NULL) return no_memory(err);
    s->disk = disk;
    s->dir = strdup(dir);
    s->meta_path = path_join(dir, "meta");
    s->snapshot_path = path_join(dir, "snapshot");
    s->log_path = path_join(dir, "log");
    enum status status = OK;
    if (s->dir == NULL || s->meta_path == NULL || s->snapshot_path == NULL || s->log_path == NULL)
        status = no_memory(err);
    if (status == OK) status = disk_mkdir(disk, dir, err);
    if (status == OK) status = store_read(s, err);
    if (status != OK) {
        raft_store_close(s);
        return err_prefix(err, "raft: opening %s", dir);
    }
    *out_state = s->state;
    *out = s;
    return OK;
}

uint64_t raft_store_log_bytes(const struct raft_store *s) {
    return s->log_bytes;
}

void raft_store_close(struct raft_store *s) {
    if (s == NULL) return;
    file_close(s->log);
    read_fini(s);
    buf_fini(&s->scratch);
    free(s->dir);
    free(s->meta_path);
    free(s->snapshot_path);
    free(s->log_path);
    free(s);
}
