/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot: a directory that a node can be started on, or on a copy of it.
 *
 *   <data>/snapshots/<name>/blocks   the blocks of now, as hard links, and a MANIFEST of now
 *                           log      files of the log: links, but for the newest one's bytes up to
 *                                    now; not without the head
 *                           ring, seat   copies: a shard's copy numbers and series' ids are as the
 *                                    map says
 *
 *   cores: tombstones into the manifest (TELL) -> log core: no round of the archive (HOLD) -> a
 * worker: blocks, log -> log core, which alone writes to ring/: copies that, so that the map is no
 * older than the log -> its name What a file has that is linked never changes. It is made under
 * <name>.tmp, which is what a process leaves behind that ends meanwhile. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/log.h"
#include "node/daemon/node_internal.h"

enum { COPY_BYTES = 1 << 20 };

/* -- files */

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
}

static enum status copy_bytes(struct file *from, struct file *to, uint64_t size, struct err *err) {
    char *bytes = malloc(COPY_BYTES);
    enum status status = bytes == NULL ? nomem(err) : OK;
    for (uint64_t at = 0; at < size && status == OK;) {
        size_t got, want = (size_t)MIN(size - at, (uint64_t)COPY_BYTES);
        status = file_pread(from, bytes, want, at, &got, err);
        if (status == OK && got < want)
            status = err_set(err, ERR_IO, 0, "snapshot: %s became shorter", from->path);
        if (status == OK) status = file_pwrite(to, bytes, got, at, err);
        at += got;
    }
    free(bytes);
    return status == OK ? file_sync(to, err) : status;
}

/* What it has when it is opened. */
static enum status copy_file(struct disk *disk, const char *from_path, const char *to_path,
                             struct err *err) {
    struct file *from = NULL, *to = NULL;
    uint64_t size;
    TRY(disk_open(disk, from_path, DISK_READ, &from, err));
    enum status status = file_size(from, &size, err);
    if (status == OK)
        status = disk_open(disk, to_path, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &to, err);
    if (status == OK) status = copy_bytes(from, to, size, err);
    file_close(from);
    file_close(to);
    return status;
}

struct names {
    char **items;
    size_t count, cap;
    bool failed;
};

static bool names_add(void *ctx, const char *name) {
    struct names *n = ctx;
    if (n->count == n->cap) {
        size_t cap = n->cap == 0 ? 16 : n->cap * 2;
        char **items = realloc(n->items, cap * sizeof *items);
        n->failed = items == NULL;
        if (n->failed) return false;
        n->items = items;
        n->cap = cap;
    }
    n->items[n->count] = strdup(name);
    n->failed = n->items[n->count] == NULL;
    n->count += !n->failed;
    return !n->failed;
}

static void names_fini(struct names *n) {
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i]);
    free(n->items);
}

static enum status names_list(struct disk *disk, const char *dir, struct names *out,
                              struct err *err) {
    TRY(disk_list(disk, dir, names_add, out, err));
    return out->failed ? nomem(err) : OK;
}

static bool ends_with(const char *s, const char *end) {
    size_t len = strlen(s), end_len = strlen(end);
    return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

/* -- what of the node goes into it */

struct place_pair { /* a directory here and there */
    char from[4300], to[4300];
};

static void places(const struct node_snapshot *s, const char *dir, struct place_pair *out) {
    snprintf(out->from, sizeof out->from, "%s/%s", s->node->options.data_dir, dir);
    snprintf(out->to, sizeof out->to, "%s.tmp/%s", s->path, dir);
}

static enum status file_take(const struct node_snapshot *s, const struct place_pair *dir,
                             const char *name, bool link, struct err *err) {
    char from[4600], to[4600];
    snprintf(from, sizeof from, "%s/%s", dir->from, name);
    snprintf(to, sizeof to, "%s/%s", dir->to, name);
    if (link) return disk_link(s->node->rt->disk, from, to, err);
    return copy_file(s->node->rt->disk, from, to, err);
}

/* Its files, not what is in a directory of it. */
static enum status ring_take(struct node_snapshot *s, const char *dir, struct err *err) {
    struct disk *disk = s->node->rt->disk;
    struct place_pair p;
    struct names names = {0};
    places(s, dir, &p);
    enum status status = disk_mkdir(disk, p.to, err);
    if (status == OK) status = names_list(disk, p.from, &names, err);
    for (size_t i = 0; i < names.count && status == OK; i++)
        if (!ends_with(names.items[i], ".tmp") && strcmp(names.items[i], "raft") != 0)
            status = file_take(s, &p, names.items[i], false, err);
    names_fini(&names);
    return status == OK ? disk_sync_dir(disk, p.to, err) : status;
}

static enum status blocks_take(struct node_snapshot *s, struct err *err) {
    struct disk *disk = s->node->rt->disk;
    const struct manifest *m = archive_manifest(s->node->archive); /* held */
    struct place_pair p;
    places(s, "blocks", &p);
    TRY(disk_mkdir(disk, p.to, err));
    for (uint32_t i = 0; i < m->blocks_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%016" PRIx64 ".block", m->blocks[i].number);
        enum status status = file_take(s, &p, name, true, err);
        if (status != OK && status != ERR_UNAVAILABLE) return status; /* missing is missing there */
    }
    return manifest_save(disk, p.to, m, err);
}

/* What else is there (storage/log_ends.c) may be newer than what was listed. */
static bool is_log_file(const char *name) {
    return strncmp(name, "log-", 4) == 0;
}

/* The newest is written to: what comes behind is not for the snapshot, and what the started node
 * writes is not for this one. */
static enum status log_take(struct node_snapshot *s, struct err *err) {
    struct disk *disk = s->node->rt->disk;
    struct place_pair p;
    struct names names = {0};
    places(s, "log", &p);
    enum status status = disk_mkdir(disk, p.to, err);
    if (status == OK) status = names_list(disk, p.from, &names, err);
    size_t last = 0; /* names are sorted, and so are the files by them */
    for (size_t i = 0; i < names.count; i++)
        if (is_log_file(names.items[i])) last = i;
    for (size_t i = 0; i < names.count && status == OK; i++)
        if (is_log_file(names.items[i])) status = file_take(s, &p, names.items[i], i != last, err);
    names_fini(&names);
    return status == OK ? disk_sync_dir(disk, p.to, err) : status;
}

static enum status data_take(struct node_snapshot *s, struct err *err) {
    char parent[4300], tmp[4400];
    struct disk *disk = s->node->rt->disk;
    snprintf(parent, sizeof parent, "%s/snapshots", s->node->options.data_dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", s->path);
    TRY(disk_mkdir(disk, parent, err));
    TRY(disk_sync_dir(disk, s->node->options.data_dir, err));
    TRY(disk_mkdir(disk, tmp, err));
    TRY(blocks_take(s, err));
    return s->skip_head ? OK : log_take(s, err);
}

/* The map is no older than the log: entries under a copy number that it does not know would void
 * what is there. */
static enum status identity_take(struct node_snapshot *s, struct err *err) {
    char parent[4300], tmp[4400];
    struct disk *disk = s->node->rt->disk;
    struct place_pair p;
    places(s, "", &p);
    TRY(ring_take(s, "ring", err));
    TRY(ring_take(s, "ring/raft", err));
    TRY(file_take(s, &p, "seat", false, err));
    snprintf(parent, sizeof parent, "%s/snapshots", s->node->options.data_dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", s->path);
    TRY(disk_sync_dir(disk, tmp, err));
    TRY(disk_rename(disk, tmp, s->path, err));
    return disk_sync_dir(disk, parent, err);
}

/* What was taken goes, so that a full disk is not kept full. */
static void half_remove(struct node_snapshot *s) {
    static const char *const dirs[] = {"blocks", "log", "ring/raft", "ring", ""};
    struct disk *disk = s->node->rt->disk;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct place_pair p;
        struct names names = {0};
        places(s, dirs[i], &p);
        status_ignore(names_list(disk, p.to, &names, NULL));
        for (size_t k = 0; k < names.count; k++) {
            char path[4600];
            snprintf(path, sizeof path, "%s/%s", p.to, names.items[k]);
            status_ignore(disk_unlink(disk, path, NULL));
        }
        names_fini(&names);
    }
}

/* -- the flow */

static void snapshot_at_home(struct core *here, struct msg *m) {
    struct node_snapshot *s = container_of(m, struct node_snapshot, msg);
    s->done(here, s);
}

static void snapshot_end(struct node_snapshot *s) {
    s->msg.run = snapshot_at_home;
    core_post(s->home, &s->msg);
}

static void snapshot_run(struct work *w) {
    struct node_snapshot *s = container_of(w, struct node_snapshot, work);
    s->status = data_take(s, &s->err);
    if (s->status != OK) half_remove(s);
}

static void snapshot_ran(struct core *here, struct work *w) {
    (void)here;
    struct node_snapshot *s = container_of(w, struct node_snapshot, work);
    if (s->status == OK) {
        s->status = identity_take(s, &s->err);
        if (s->status != OK) half_remove(s);
    }
    archive_release(s->node->archive);
    snapshot_end(s);
}

static void snapshot_held(struct archive_hold *hold, bool held) {
    struct node_snapshot *s = container_of(hold, struct node_snapshot, hold);
    if (!held) {
        s->status = err_set(&s->err, ERR_UNAVAILABLE, 0, "this node is stopping");
        snapshot_end(s);
        return;
    }
    s->work = (struct work){.run = snapshot_run, .done = snapshot_ran};
    work_submit(s->node->rt->log_core, &s->work);
}

static void snapshot_told(struct archive_tell *tell, enum status status) {
    struct node_snapshot *s = container_of(tell, struct node_snapshot, tell);
    s->status = status;
    if (status == OK) {
        s->hold.held = snapshot_held;
        archive_hold(s->node->archive, &s->hold);
    } else {
        status_ignore(nomem(&s->err));
        snapshot_end(s);
    }
}

/* Without the log only the manifest says what was deleted. */
static void snapshot_on_log_core(struct core *here, struct msg *m) {
    (void)here;
    struct node_snapshot *s = container_of(m, struct node_snapshot, msg);
    s->tell.done = snapshot_told;
    if (!archive_tell(s->node->archive, &s->tell)) snapshot_told(&s->tell, ERR_NOMEM);
}

void node_snapshot_start(struct node *node, struct core *home, struct node_snapshot *s) {
    uint64_t random;
    struct tm tm;
    char stamp[32];
    time_t now = (time_t)(core_wall_ms(home) / 1000);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    node->rt->ops->random(node->rt, &random, sizeof random);
    snprintf(s->name, sizeof s->name, "%s-%" PRIx64, stamp, random >> 1); /* as Prometheus does */
    snprintf(s->path, sizeof s->path, "%s/snapshots/%s", node->options.data_dir, s->name);
    s->node = node;
    s->home = home;
    s->msg.run = snapshot_on_log_core;
    core_post(node->rt->log_core, &s->msg);
}
