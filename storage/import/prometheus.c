/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/import/prometheus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/dir.h"
#include "storage/import/internal.h"

struct ulids {
    struct prom_dir *dir;
    struct err *err;
    enum status got;
};

static bool is_ulid(const char *name) {
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford's */
    return strlen(name) == PROM_ULID_LEN && strspn(name, alphabet) == PROM_ULID_LEN;
}

static bool on_block(void *ctx, const char *name) {
    struct ulids *u = ctx;
    struct prom_dir *dir = u->dir;
    if (!is_ulid(name)) return true; /* also what is being made or deleted */
    char *meta = prom_path("%s/%s/meta.json", dir->options.path, name);
    bool finished = meta == NULL || disk_exists(dir->options.disk, meta);
    free(meta);
    if (!finished) {
        dir->counts.blocks_unfinished++;
        return true;
    }
    void *blocks = dir->blocks;
    u->got = prom_grow(&blocks, &dir->blocks_cap, dir->blocks_count, sizeof *dir->blocks);
    if (u->got != OK) {
        err_set(u->err, u->got, 0, "%s: no memory", dir->options.path);
        return false;
    }
    dir->blocks = blocks;
    u->got = prom_block_meta(dir->options.disk, dir->options.path, name,
                             &dir->blocks[dir->blocks_count], u->err);
    if (u->got != OK) return false;
    dir->blocks_count++;
    return true;
}

static int cmp_block(const void *a, const void *b) {
    const struct prom_block *x = a, *y = b;
    if (x->min_ms != y->min_ms) return x->min_ms < y->min_ms ? -1 : 1;
    return strcmp(x->ulid, y->ulid);
}

static bool is_replaced(const struct prom_dir *dir, const struct prom_block *block) {
    if (block->deletable) return true;
    for (size_t i = 0; i < dir->blocks_count; i++)
        for (size_t j = 0; j < dir->blocks[i].parents_count; j++)
            if (strcmp(dir->blocks[i].parents[j], block->ulid) == 0) return true;
    return false;
}

/* A compaction writes the new block first and deletes its parents after. */
static enum status drop_replaced(struct prom_dir *dir) {
    bool *gone = calloc(dir->blocks_count + 1, sizeof *gone);
    if (gone == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < dir->blocks_count; i++)
        gone[i] = is_replaced(dir, &dir->blocks[i]);
    size_t kept = 0;
    for (size_t i = 0; i < dir->blocks_count; i++) {
        if (gone[i]) {
            prom_block_fini(&dir->blocks[i]);
            dir->counts.blocks_replaced++;
        } else {
            dir->blocks[kept++] = dir->blocks[i];
        }
    }
    dir->blocks_count = kept;
    dir->counts.blocks = kept;
    free(gone);
    return OK;
}

static enum status read_blocks(struct prom_dir *dir, struct err *err) {
    struct ulids u = {.dir = dir, .err = err};
    TRY(disk_list(dir->options.disk, dir->options.path, on_block, &u, err));
    if (u.got != OK) return u.got;
    if (drop_replaced(dir) != OK)
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", dir->options.path);
    if (dir->blocks_count > 0)
        qsort(dir->blocks, dir->blocks_count, sizeof *dir->blocks, cmp_block);
    return OK;
}

static bool has_logs(const struct prom_dir *dir) {
    char *wal = prom_path("%s/wal", dir->options.path);
    bool has = wal != NULL && disk_exists(dir->options.disk, wal);
    free(wal);
    return has;
}

enum status prom_dir_open(const struct prom_options *options, struct prom_dir **out,
                          struct err *err) {
    assert(options->shards_count > 0);
    struct prom_dir *dir = calloc(1, sizeof *dir);
    char *path = dir == NULL ? NULL : strdup(options->path);
    if (path == NULL) {
        free(dir);
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", options->path);
    }
    dir->options = *options;
    dir->options.path = path;
    enum status got = read_blocks(dir, err);
    int64_t min_valid = INT64_MIN;
    for (size_t i = 0; got == OK && i < dir->blocks_count; i++)
        if (dir->blocks[i].in_order) min_valid = MAX(min_valid, dir->blocks[i].max_ms);
    prom_head_init(&dir->head, &dir->options, &dir->counts, min_valid);
    if (got == OK && dir->blocks_count == 0 && !has_logs(dir))
        got = err_set(err, ERR_PARSE, 0, "%s: has neither blocks nor a log of Prometheus", path);
    if (got == OK) got = prom_head_read_chunks(&dir->head, err);
    if (got == OK) got = prom_head_read_logs(&dir->head, err);
    if (got != OK) {
        prom_dir_close(dir);
        return got;
    }
    for (size_t i = 0; i < dir->head.refs_count; i++)
        for (int late = 0; late < 2; late++)
            for (uint32_t c = dir->head.refs[i].chunks[late]; c != MAP_NONE;
                 c = dir->head.chunks[c].next)
                dir->counts.unknown_head_chunks++;
    *out = dir;
    return OK;
}

void prom_dir_close(struct prom_dir *dir) {
    if (dir == NULL) return;
    assert(!dir->scanned);
    for (size_t i = 0; i < dir->blocks_count; i++)
        prom_block_fini(&dir->blocks[i]);
    free(dir->blocks);
    prom_head_fini(&dir->head);
    free((char *)(uintptr_t)dir->options.path);
    free(dir);
}

void prom_dir_counts(const struct prom_dir *dir, struct prom_counts *out) {
    *out = dir->counts;
}

bool prom_dir_range(const struct prom_dir *dir, int64_t *out_min_ms, int64_t *out_max_ms) {
    int64_t min = dir->head.min_ms, max = dir->head.max_ms;
    for (size_t i = 0; i < dir->blocks_count; i++) {
        if (dir->blocks[i].max_ms <= dir->blocks[i].min_ms) continue;
        min = MIN(min, dir->blocks[i].min_ms);
        max = MAX(max, dir->blocks[i].max_ms - 1);
    }
    if (min > max) return false;
    *out_min_ms = min;
    *out_max_ms = max;
    return true;
}

static void nearer(int64_t from_ms, int64_t min_ms, int64_t max_ms, int64_t *next_ms) {
    if (max_ms >= from_ms) *next_ms = MIN(*next_ms, MAX(min_ms, from_ms));
}

bool prom_dir_next(const struct prom_dir *dir, int64_t from_ms, int64_t *out_ms) {
    int64_t next = INT64_MAX, min_ms, max_ms;
    if (!prom_dir_range(dir, &min_ms, &max_ms) || from_ms > max_ms) return false;
    for (size_t i = 0; i < dir->blocks_count; i++) {
        const struct prom_block *b = &dir->blocks[i];
        if (b->max_ms > b->min_ms) nearer(from_ms, b->min_ms, b->max_ms - 1, &next);
    }
    const struct prom_head *head = &dir->head;
    for (size_t i = 0; i < head->chunks_count; i++)
        nearer(from_ms, head->chunks[i].min_ms, head->chunks[i].max_ms, &next);
    for (size_t i = 0; i < head->series_count; i++) {
        const struct samples *p[] = {&head->series[i].in_order, &head->series[i].late};
        for (int k = 0; k < 2; k++)
            for (size_t j = 0; j < p[k]->count; j++)
                nearer(from_ms, p[k]->times_ms[j], p[k]->times_ms[j], &next);
    }
    *out_ms = next;
    return true;
}
