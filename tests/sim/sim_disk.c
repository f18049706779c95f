/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/inode.h"

static const struct file_ops sim_file_ops;

static struct sim_disk *disk_of(struct disk *d) {
    return container_of(d, struct sim_disk, disk);
}
static struct sim_file *file_of(struct file *f) {
    return container_of(f, struct sim_file, file);
}

static bool disk_is_full(const struct sim_disk *d) {
    return d->watch.is_full != NULL && d->watch.is_full(d->watch.ctx);
}

/* A call that changes something. OK: go on; *out_cut: take effect as unsynced, and then fail. */
static enum status disk_count(struct sim_disk *d, enum sim_disk_call call, size_t len,
                              const char *path, struct err *err) {
    if (d->off) return err_set(err, ERR_IO, EIO, "%s: no power", path);
    d->calls++;
    if (d->fail_at != 0 && d->calls == d->fail_at)
        return err_set(err, ERR_IO, d->fail_errno, "%s", path);
    if (d->fail_part != NULL && strstr(path, d->fail_part) != NULL) {
        d->fail_part = NULL;
        return err_set(err, ERR_IO, EIO, "%s", path);
    }
    bool cut = d->cut_at != 0 && d->calls >= d->cut_at;
    if (d->watch.call != NULL && d->watch.call(d->watch.ctx, call, len)) cut = true;
    d->off = cut;
    bool grows = call == SIM_DISK_CREATE || (call == SIM_DISK_WRITE && len > 0);
    if (grows && !cut && disk_is_full(d)) return err_set(err, ERR_IO, ENOSPC, "%s", path);
    return OK;
}

static enum status disk_end(struct sim_disk *d, const char *path, struct err *err) {
    return d->off ? err_set(err, ERR_IO, EIO, "%s: no power", path) : OK;
}

static struct sim_place place_new(struct sim_inode *dir, struct sv name) {
    char *copy = strndup(name.ptr, name.len);
    if (copy == NULL) abort();
    return (struct sim_place){dir, copy};
}

static enum status missing(const char *path, struct err *err) {
    return err_set(err, ERR_UNAVAILABLE, ENOENT, "%s", path);
}

static struct sim_file *handle_new(struct sim_disk *d, struct sim_inode *inode, const char *path,
                                   int flags) {
    struct sim_file *f = sim_zalloc(sizeof *f);
    *f = (struct sim_file){
        .file = {&sim_file_ops, strdup(path)}, .disk = d, .inode = inode, .flags = flags};
    list_push_back(&d->handles, &f->link);
    return f;
}

static enum status sim_open(struct disk *disk, const char *path, int flags, struct file **out,
                            struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, path, err));
    struct sv name;
    struct sim_inode *dir = sim_path_parent(d, path, &name);
    if (dir == NULL) return missing(path, err);
    struct sim_inode *inode = sim_names_find(&dir->names, name);
    if (inode != NULL && (flags & DISK_CREATE) != 0 && (flags & DISK_EXCLUSIVE) != 0)
        return err_set(err, ERR_CONFLICT, EEXIST, "%s", path);
    if (inode != NULL && inode->is_dir) return err_set(err, ERR_IO, EISDIR, "%s", path);
    if (inode == NULL) {
        if ((flags & DISK_CREATE) == 0) return missing(path, err);
        TRY(disk_count(d, SIM_DISK_CREATE, 0, path, err));
        inode = sim_inode_new(d, false);
        sim_change_add(d, place_new(dir, name), (struct sim_place){0}, inode);
        TRY(disk_end(d, path, err));
    }
    *out = &handle_new(d, inode, path, flags)->file;
    return OK;
}

static enum status sim_mkdir(struct disk *disk, const char *path, struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, path, err));
    struct sim_inode *at = sim_path_find(d, path);
    if (at != NULL) return at->is_dir ? OK : err_set(err, ERR_IO, ENOTDIR, "%s", path);
    TRY(disk_count(d, SIM_DISK_CREATE, 0, path, err));
    char *part = strdup(path);
    if (part == NULL) abort();
    for (size_t i = 1, len = strlen(path); i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        part[i] = '\0';
        struct sv name;
        at = sim_path_find(d, part);
        if (at == NULL) {
            struct sim_inode *dir = sim_path_parent(d, part, &name);
            if (dir == NULL || !dir->is_dir) break;
            sim_change_add(d, place_new(dir, name), (struct sim_place){0}, sim_inode_new(d, true));
            sim_changes_sync_last(d);
        }
        part[i] = path[i];
    }
    free(part);
    at = sim_path_find(d, path);
    if (at == NULL || !at->is_dir) return err_set(err, ERR_IO, ENOTDIR, "%s", path);
    return disk_end(d, path, err);
}

static enum status sim_rename(struct disk *disk, const char *from, const char *to,
                              struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, from, err));
    struct sv from_name, to_name;
    struct sim_inode *from_dir = sim_path_parent(d, from, &from_name);
    struct sim_inode *inode = from_dir == NULL ? NULL : sim_names_find(&from_dir->names, from_name);
    struct sim_inode *to_dir = sim_path_parent(d, to, &to_name);
    if (inode == NULL || to_dir == NULL)
        return err_set(err, ERR_UNAVAILABLE, ENOENT, "%s to %s", from, to);
    struct sim_inode *old = sim_names_find(&to_dir->names, to_name);
    if (old == inode) return OK;
    if (old != NULL && old->is_dir != inode->is_dir)
        return err_set(err, ERR_IO, inode->is_dir ? ENOTDIR : EISDIR, "%s to %s", from, to);
    if (old != NULL && old->names.count > 0)
        return err_set(err, ERR_IO, ENOTEMPTY, "%s to %s", from, to);
    TRY(disk_count(d, SIM_DISK_NAME, 0, from, err));
    sim_change_add(d, place_new(to_dir, to_name), place_new(from_dir, from_name), inode);
    return disk_end(d, from, err);
}

static enum status sim_unlink(struct disk *disk, const char *path, struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, path, err));
    struct sv name;
    struct sim_inode *dir = sim_path_parent(d, path, &name);
    struct sim_inode *inode = dir == NULL ? NULL : sim_names_find(&dir->names, name);
    if (inode == NULL) return OK;
    if (inode->is_dir) return err_set(err, ERR_IO, EISDIR, "%s", path);
    TRY(disk_count(d, SIM_DISK_NAME, 0, path, err));
    sim_change_add(d, place_new(dir, name), (struct sim_place){0}, NULL);
    return disk_end(d, path, err);
}

static enum status sim_link(struct disk *disk, const char *from, const char *to, struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, from, err));
    struct sv name;
    struct sim_inode *inode = sim_path_find(d, from), *dir = sim_path_parent(d, to, &name);
    if (inode == NULL || dir == NULL)
        return err_set(err, ERR_UNAVAILABLE, ENOENT, "%s to %s", from, to);
    if (inode->is_dir) return err_set(err, ERR_IO, EPERM, "%s to %s", from, to);
    if (sim_names_find(&dir->names, name) != NULL)
        return err_set(err, ERR_CONFLICT, EEXIST, "%s to %s", from, to);
    TRY(disk_count(d, SIM_DISK_NAME, 0, from, err));
    sim_change_add(d, place_new(dir, name), (struct sim_place){0}, inode);
    return disk_end(d, from, err);
}

static enum status sim_sync_dir(struct disk *disk, const char *path, struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, path, err));
    struct sim_inode *dir = sim_path_find(d, path);
    if (dir == NULL || !dir->is_dir) return missing(path, err);
    TRY(disk_count(d, SIM_DISK_SYNC_DIR, 0, path, err));
    TRY(disk_end(d, path, err)); /* cut: its changes stay unsynced and settle by seed */
    sim_changes_sync(d, dir);
    return OK;
}

static enum status sim_list(struct disk *disk, const char *path,
                            bool (*fn)(void *ctx, const char *name), void *ctx, struct err *err) {
    struct sim_disk *d = disk_of(disk);
    TRY(disk_end(d, path, err));
    struct sim_inode *dir = sim_path_find(d, path);
    if (dir == NULL || !dir->is_dir) return missing(path, err);
    size_t count = dir->names.count; /* a copy: fn may rename and unlink */
    char **names = sim_zalloc((count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = strdup(dir->names.items[i].name);
    for (size_t i = 0; i < count && fn(ctx, names[i]); i++) {
    }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return OK;
}

static bool sim_exists(struct disk *disk, const char *path) {
    struct sim_disk *d = disk_of(disk);
    return !d->off && sim_path_find(d, path) != NULL;
}

static enum status sim_space(struct disk *disk, const char *path, uint64_t *out_free_bytes,
                             struct err *err) {
    TRY(disk_end(disk_of(disk), path, err));
    *out_free_bytes = disk_is_full(disk_of(disk)) ? 0 : 1ULL << 40;
    return OK;
}

static enum status sim_lock(struct disk *disk, const char *path, struct file **out,
                            struct err *err) {
    struct file *file = NULL;
    TRY(sim_open(disk, path, DISK_READ | DISK_WRITE | DISK_CREATE, &file, err));
    struct sim_file *f = file_of(file);
    if (f->inode->locked) {
        sim_file_ops.close(file);
        return err_set(err, ERR_CONFLICT, 0, "%s: locked by another process", path);
    }
    f->inode->locked = f->holds_lock = true;
    *out = file;
    return OK;
}

static enum status file_check(const struct sim_file *f, int need, struct err *err) {
    if (f->inode == NULL || f->disk->off)
        return err_set(err, ERR_IO, EIO, "%s: no power", f->file.path);
    if ((f->flags & need) != need) return err_set(err, ERR_IO, EBADF, "%s", f->file.path);
    return OK;
}

static enum status sim_pwrite(struct file *file, const void *p, size_t len, uint64_t offset,
                              struct err *err) {
    struct sim_file *f = file_of(file);
    TRY(file_check(f, DISK_WRITE, err));
    enum status rc = disk_count(f->disk, SIM_DISK_WRITE, len, file->path, err);
    if (rc != OK) { /* a full disk or a bad sector lets a part through */
        if (!f->disk->off && len > 0)
            sim_write_add(f->inode, p, (size_t)rng_below(&f->disk->rng, len), offset);
        return rc;
    }
    sim_write_add(f->inode, p, len, offset);
    return disk_end(f->disk, file->path, err);
}

static enum status sim_pread(struct file *file, void *p, size_t len, uint64_t offset,
                             size_t *out_len, struct err *err) {
    struct sim_file *f = file_of(file);
    TRY(file_check(f, DISK_READ, err));
    const struct sim_bytes *b = &f->inode->now;
    size_t got = offset >= b->len ? 0 : MIN(len, b->len - (size_t)offset);
    if (got > 0) memcpy(p, b->ptr + offset, got);
    *out_len = got;
    return OK;
}

static uint64_t disk_now_ns(const struct sim_disk *d) {
    return d->watch.now_ns == NULL ? 0 : d->watch.now_ns(d->watch.ctx);
}

static enum status sim_sync(struct file *file, struct err *err) {
    struct sim_file *f = file_of(file);
    TRY(file_check(f, 0, err));
    uint64_t from_ns = disk_now_ns(f->disk);
    enum status rc = disk_count(f->disk, SIM_DISK_SYNC, 0, file->path, err);
    if (rc != OK) {
        if (!f->disk->off) sim_writes_settle(f->disk, f->inode, UINT64_MAX);
        return rc;
    }
    TRY(disk_end(f->disk, file->path, err)); /* cut: they stay unsynced and settle by seed */
    sim_writes_sync(f->disk, f->inode, from_ns, disk_now_ns(f->disk));
    return OK;
}

static enum status sim_truncate(struct file *file, uint64_t size, struct err *err) {
    struct sim_file *f = file_of(file);
    TRY(file_check(f, DISK_WRITE, err));
    TRY(disk_count(f->disk, SIM_DISK_TRUNCATE, 0, file->path, err));
    sim_truncate_add(f->inode, size);
    return disk_end(f->disk, file->path, err);
}

static enum status sim_size(struct file *file, uint64_t *out_size, struct err *err) {
    struct sim_file *f = file_of(file);
    TRY(file_check(f, 0, err));
    *out_size = f->inode->now.len;
    return OK;
}

static void sim_close(struct file *file) {
    struct sim_file *f = file_of(file);
    if (f->holds_lock && f->inode != NULL) f->inode->locked = false;
    list_remove(&f->link);
    free(f->file.path);
    free(f);
}

static const struct disk_ops sim_disk_ops = {sim_open,  sim_mkdir,    sim_rename, sim_unlink,
                                             sim_link,  sim_sync_dir, sim_list,   sim_exists,
                                             sim_space, sim_lock};
static const struct file_ops sim_file_ops = {sim_pwrite,   sim_pread, sim_sync,
                                             sim_truncate, sim_size,  sim_close};

struct sim_disk *sim_disk_new(uint64_t seed) {
    struct sim_disk *d = sim_zalloc(sizeof *d);
    d->disk.ops = &sim_disk_ops;
    d->rates = (struct sim_disk_rates){.torn = 0.35, .dropped = 0.35, .name = 0.5};
    rng_init(&d->rng, seed);
    list_init(&d->handles);
    d->root = sim_inode_new(d, true);
    return d;
}

/* The process is gone: what it had open stays a valid pointer, and gives errors. */
static void handles_orphan(struct sim_disk *d) {
    LIST_FOREACH(n, &d->handles) {
        struct sim_file *f = container_of(n, struct sim_file, link);
        if (f->holds_lock && f->inode != NULL) f->inode->locked = false;
        f->inode = NULL;
        f->holds_lock = false;
    }
}

void sim_disk_free(struct sim_disk *d) {
    if (d == NULL) return;
    for (struct list_node *n; (n = list_pop_front(&d->handles)) != NULL;) {
        struct sim_file *f = container_of(n, struct sim_file, link);
        free(f->file.path);
        free(f);
    }
    sim_changes_free(d);
    sim_inodes_free(d);
    free(d);
}

void sim_disk_restart(struct sim_disk *d) {
    handles_orphan(d);
    sim_inodes_settle(d);
    d->off = false;
    d->cut_at = 0;
}

void sim_disk_clear(struct sim_disk *d) {
    handles_orphan(d);
    sim_changes_free(d);
    sim_inodes_free(d);
    d->sweep_due = false;
    d->root = sim_inode_new(d, true);
}

/* What may rot of a name: a synced file. */
static bool may_rot(const struct sim_name *n, const char *suffix) {
    size_t len = strlen(n->name), tail = strlen(suffix);
    return !n->inode->is_dir && n->inode->writes == NULL && n->inode->stable.len > 0 &&
           n->inode->stable.len == n->inode->now.len && len >= tail &&
           strcmp(n->name + len - tail, suffix) == 0;
}

bool sim_disk_rot_file(struct sim_disk *d, const char *dir, const char *suffix) {
    const struct sim_inode *in = sim_path_find(d, dir);
    size_t count = 0;
    for (size_t i = 0; in != NULL && i < in->names.count; i++)
        count += may_rot(&in->names.items[i], suffix);
    if (count == 0) return false;
    size_t which = rng_below(&d->rng, count), i = 0;
    while (!may_rot(&in->names.items[i], suffix) || which-- > 0)
        i++;
    struct sim_inode *file = in->names.items[i].inode;
    size_t at = rng_below(&d->rng, file->now.len);
    uint8_t bit = (uint8_t)(1 << rng_below(&d->rng, 8));
    file->now.ptr[at] ^= bit;
    file->stable.ptr[at] ^= bit;
    return true;
}

void sim_disk_exit(struct sim_disk *d) {
    assert(!d->off);
    handles_orphan(d);
}

struct disk *sim_disk_as_disk(struct sim_disk *d) {
    return &d->disk;
}
void sim_disk_cut_at(struct sim_disk *d, uint64_t call) {
    d->cut_at = call;
}
uint64_t sim_disk_calls(const struct sim_disk *d) {
    return d->calls;
}
void sim_disk_watch(struct sim_disk *d, struct sim_disk_watch watch) {
    d->watch = watch;
}
void sim_disk_set_rates(struct sim_disk *d, struct sim_disk_rates rates) {
    d->rates = rates;
}
void sim_disk_power_off(struct sim_disk *d) {
    if (!d->off) d->off_ns = disk_now_ns(d);
    d->off = true;
}

uint64_t sim_disk_total(const struct sim_disk *d, enum sim_fault fault) {
    return d->totals[fault];
}

void sim_disk_fail_on(struct sim_disk *d, const char *part) {
    d->fail_part = part;
}

void sim_disk_fail_at(struct sim_disk *d, uint64_t call, int os_errno) {
    d->fail_at = call;
    d->fail_errno = os_errno;
}
