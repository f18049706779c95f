/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/snapshot/snapshot.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/snapshot/internal.h"

enum { ROOT_BYTES_MAX = 2 << 20 };

void snapshot_core_path(const struct snapshot_place *at, unsigned core,
                        char out[SNAPSHOT_PATH_MAX]) {
    int n = snprintf(out, SNAPSHOT_PATH_MAX, "%s/core-%u", at->dir, core);
    assert(n > 0 && n < SNAPSHOT_PATH_MAX);
}

static void root_path(const struct snapshot_place *at, char out[SNAPSHOT_PATH_MAX]) {
    int n = snprintf(out, SNAPSHOT_PATH_MAX, "%s/" SNAPSHOT_ROOT, at->dir);
    assert(n > 0 && n < SNAPSHOT_PATH_MAX);
}

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
}

/* -- removing */

struct stray {
    char name[64];
    bool found;
};

static bool stray_take(void *ctx, const char *name) {
    struct stray *s = ctx;
    bool ours = strncmp(name, "core-", 5) == 0 || strcmp(name, SNAPSHOT_ROOT ".tmp") == 0;
    if (!ours || strlen(name) >= sizeof s->name) return true;
    snprintf(s->name, sizeof s->name, "%s", name);
    s->found = true;
    return false;
}

/* The root first, durably: what it names is there as long as it is. */
enum status snapshot_remove(const struct snapshot_place *at, struct err *err) {
    struct disk *disk = at->rt->disk;
    char path[SNAPSHOT_PATH_MAX];
    root_path(at, path);
    if (!disk_exists(disk, at->dir)) return OK;
    bool synced = disk_exists(disk, path);
    if (synced) {
        TRY(disk_unlink(disk, path, err));
        TRY(disk_sync_dir(disk, at->dir, err));
    }
    for (;;) {
        struct stray s = {.found = false};
        TRY(disk_list(disk, at->dir, stray_take, &s, err));
        if (!s.found) return OK;
        /* also when it was gone before: who removed it may have failed to sync that */
        if (!synced) TRY(disk_sync_dir(disk, at->dir, err));
        synced = true;
        int n = snprintf(path, sizeof path, "%s/%s", at->dir, s.name);
        assert(n > 0 && n < (int)sizeof path);
        TRY(disk_unlink(disk, path, err));
    }
}

/* -- saving */

static enum status is_savable(const struct snapshot_save *s, struct err *err) {
    if (s->end.frame == 0)
        return err_set(err, ERR_CONFLICT, 0, "snapshot: the log has no end that is known");
    for (unsigned i = 0; i < s->stores_count; i++) {
        const struct store *store = s->stores[i];
        if (store->durable_position != store->position || store->followed != NULL)
            return err_set(err, ERR_CONFLICT, 0,
                           "snapshot: core %u has entries that are not in "
                           "the log",
                           i);
        if (store_damaged_shards(store, NULL, 0) > 0)
            return err_set(err, ERR_CONFLICT, 0, "snapshot: core %u has damaged shards", i);
    }
    return OK;
}

struct core_result {
    enum status status;
    struct err err;
    struct snapshot_told told;
    struct snapshot_file file;
};

static enum status results_fold(const struct core_result *results, unsigned count,
                                struct snapshot_told *out, struct err *err) {
    *out = (struct snapshot_told){0};
    for (unsigned i = 0; i < count; i++) {
        if (results[i].status != OK) {
            if (err != NULL) *err = results[i].err;
            return results[i].status;
        }
        out->shards += results[i].told.shards;
        out->series += results[i].told.series;
        out->samples += results[i].told.samples;
        out->bytes += results[i].told.bytes;
    }
    return OK;
}

struct saving {
    const struct snapshot_place *at;
    const struct snapshot_save *s;
    struct core_result *results;
};

static void save_core(void *ctx, unsigned i) {
    const struct saving *saving = ctx;
    struct core_result *r = &saving->results[i];
    r->status = snapshot_core_save(saving->at, saving->s, i, &r->file, &r->told, &r->err);
}

static enum status root_save(const struct snapshot_place *at, const struct snapshot_save *s,
                             const struct core_result *results, struct err *err) {
    struct snapshot_root root = {
        .shards_count = at->shards_count, .end = s->end, .files_count = s->stores_count};
    memcpy(root.cluster, at->cluster, sizeof root.cluster);
    root.files = calloc(s->stores_count, sizeof *root.files);
    if (root.files == NULL) return nomem(err);
    for (unsigned i = 0; i < s->stores_count; i++)
        root.files[i] = results[i].file;
    struct buf bytes = {0};
    char path[SNAPSHOT_PATH_MAX];
    snapshot_root_put(&root, &bytes);
    root_path(at, path);
    /* the names of what it names */
    enum status status = bytes.failed ? nomem(err) : disk_sync_dir(at->rt->disk, at->dir, err);
    if (status == OK) status = disk_write_file(at->rt->disk, path, buf_sv(&bytes), err);
    buf_fini(&bytes);
    snapshot_root_fini(&root);
    return status;
}

enum status snapshot_save(const struct snapshot_place *at, const struct snapshot_save *s,
                          struct snapshot_told *out, struct err *err) {
    TRY(disk_mkdir(at->rt->disk, at->dir, err));
    TRY(snapshot_remove(at, err));
    TRY(is_savable(s, err));
    struct core_result *results = calloc(s->stores_count, sizeof *results);
    if (results == NULL) return nomem(err);
    struct saving saving = {at, s, results};
    at->rt->ops->each(at->rt, s->stores_count, save_core, &saving);
    enum status status = results_fold(results, s->stores_count, out, err);
    if (status == OK) status = root_save(at, s, results, err);
    free(results);
    if (status != OK) status_ignore(snapshot_remove(at, NULL));
    return status;
}

/* -- loading */

static enum status root_load(const struct snapshot_place *at, const struct snapshot_load *l,
                             struct snapshot_root *out, struct err *err) {
    struct buf bytes = {0};
    char path[SNAPSHOT_PATH_MAX];
    root_path(at, path);
    enum status status = disk_read_file(at->rt->disk, path, ROOT_BYTES_MAX, &bytes, err);
    if (status == OK) status = snapshot_root_get(buf_sv(&bytes), out, err);
    buf_fini(&bytes);
    if (status != OK) return status;
    if (memcmp(out->cluster, at->cluster, sizeof out->cluster) != 0 ||
        out->shards_count != at->shards_count)
        status = err_set(err, ERR_CORRUPT, 0, "snapshot: it is of another cluster");
    if (status == OK && log_find(at->rt, l->log_dir, &out->end, err) != OK)
        status = err_prefix(err, "snapshot: it is of another log");
    if (status != OK) snapshot_root_fini(out);
    return status;
}

struct loading {
    const struct snapshot_place *at;
    const struct snapshot_load *l;
    const struct snapshot_root *root;
    struct core_result *results;
};

static void load_core(void *ctx, unsigned i) {
    const struct loading *loading = ctx;
    struct core_result *r = &loading->results[i];
    struct core *before = core_current();
    core_set_current(store_core(loading->l->stores[i]));
    for (unsigned file = 0; file < loading->root->files_count && r->status == OK; file++)
        r->status = snapshot_core_load(loading->at, loading->root, file, loading->l->stores[i],
                                       &r->told, &r->err);
    core_set_current(before);
}

enum status snapshot_load(const struct snapshot_place *at, const struct snapshot_load *l,
                          struct log_end *out_end, struct snapshot_told *out, bool *out_spoiled,
                          struct err *err) {
    struct snapshot_root root;
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    *out_spoiled = false;
    TRY(root_load(at, l, &root, err));
    struct core_result *results = calloc(l->stores_count, sizeof *results);
    struct loading loading = {at, l, &root, results};
    enum status status = results == NULL ? nomem(err) : OK;
    if (status == OK) {
        *out_spoiled = true;
        at->rt->ops->each(at->rt, l->stores_count, load_core, &loading);
        status = results_fold(results, l->stores_count, out, err);
        if (status == ERR_UNAVAILABLE) status = err->code = ERR_CORRUPT; /* the root names it */
    }
    if (status == OK) *out_end = root.end;
    *out_spoiled = *out_spoiled && status != OK;
    snapshot_root_fini(&root);
    free(results);
    return status;
}
