/* SPDX-License-Identifier: Apache-2.0 */
/* What a file has of a store's shards. A file of another core's shards, when they were dealt anew,
 * is read no further than its list of them. */
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/arena.h"
#include "storage/internal.h"
#include "storage/snapshot/internal.h"

/* What a series takes at least, or how many at most share a byte: up to format 3 its id takes 15,
 * which as good as random does not pack; what there is now hardly comes to less than one. */
enum { SERIES_BYTES_MIN = 15, SERIES_A_BYTE_MAX = 16 };

struct core_loading {
    struct store *store;
    struct part_reader in;
    struct load_tables tables;
    bool *ours; /* by shard: as a whole */
    uint32_t ours_count, shards_count;
    uint64_t series_count; /* in the file */
    struct snapshot_told *told;
};

static enum status shards_load(struct core_loading *l, struct reader *r) {
    uint64_t numbers_max = l->in.format <= CORE_FORMAT_WORDS ? l->in.file_bytes / SERIES_BYTES_MIN
                                                             : l->in.file_bytes * SERIES_A_BYTE_MAX;
    while (reader_left(r) > 0) {
        uint32_t shard;
        TRY(snapshot_shard_get(l->store, r, numbers_max, l->ours, &shard));
        bool taken = l->ours[shard];
        l->ours_count += store_has_shard(l->store, shard);
        l->shards_count +=
            taken || (store_has_shard(l->store, shard) && l->store->shards[shard].tail != NULL);
    }
    return OK;
}

static enum status all_series_load(struct core_loading *l, struct reader *r) {
    while (reader_left(r) > 0) {
        TRY(snapshot_series_get(l->store, &l->tables, l->ours, r, l->told));
        l->series_count++;
    }
    return OK;
}

static enum status exemplars_load(struct core_loading *l, struct reader *r) {
    struct store *store = l->store;
    while (reader_left(r) > 0) {
        uint64_t shard = read_varint(r);
        series_id id = {.hi = read_u64(r)};
        id.lo = read_u64(r);
        struct entry_exemplar item = {.time_ms = (int64_t)read_u64(r)};
        item.value = read_f64(r);
        item.labels = read_lenstr(r);
        if (r->failed || shard >= store->options.shards_count ||
            !entry_exemplar_labels_valid(item.labels))
            return ERR_CORRUPT;
        if (!l->ours[shard]) continue;
        uint32_t ref = head_find(store->head, id);
        if (ref == HEAD_NONE) return ERR_CORRUPT;
        TRY(exemplars_add(&store->exemplars, ref, &item));
    }
    return OK;
}

static enum status family_load(struct store *store, uint32_t shard, struct sv items) {
    const struct head_options *o = &store->options.head;
    struct entry_metadata item;
    uint64_t count;
    TRY(entry_metadata_check(items, &count, NULL));
    if (count > METADATA_PER_NAME_MAX) return ERR_CORRUPT;
    while (entry_metadata_next(&items, &item)) {
        uint32_t of;
        TRY(metadata_shard(o->secret, o->tenant, store->options.shards_count, item.name, &of));
        if (of != shard) return ERR_CORRUPT;
        TRY(metadata_add_behind(&store->meta, shard, &item));
    }
    return OK;
}

static enum status metadata_load(struct core_loading *l, struct reader *r) {
    while (reader_left(r) > 0) {
        uint64_t shard = read_varint(r);
        struct sv items = read_lenstr(r);
        if (r->failed || shard >= l->store->options.shards_count) return ERR_CORRUPT;
        if (l->ours[shard]) TRY(family_load(l->store, (uint32_t)shard, items));
    }
    return OK;
}

static enum status part_load(struct core_loading *l, struct sv part, struct err *err) {
    struct reader r = reader_init(part.ptr, part.len);
    switch (l->in.kind) {
    case PART_SHARDS: return shards_load(l, &r);
    case PART_PAIRS: return snapshot_load_pairs(&l->tables, &r, err);
    case PART_TIMES: return snapshot_load_times(&l->tables, &r, err);
    case PART_SERIES: return all_series_load(l, &r);
    case PART_EXEMPLARS: return exemplars_load(l, &r);
    case PART_METADATA: return metadata_load(l, &r);
    case PART_END:
        return reader_left(&r) == 8 && read_u64(&r) == l->series_count ? OK : ERR_CORRUPT;
    case PART_KINDS: break;
    }
    return ERR_CORRUPT;
}

static enum status parts_load(struct core_loading *l, struct err *err) {
    for (;;) {
        struct sv part;
        uint64_t offset = l->in.at.bytes;
        TRY(part_next(&l->in, &part, err));
        if (l->in.kind > PART_SHARDS && l->ours_count == 0) return OK;
        if (err != NULL) *err = (struct err){0};
        enum status status = part_load(l, part, err);
        if (status != OK && (err == NULL || err->msg[0] == '\0'))
            return err_set(
                err, status, 0, "snapshot: %s: offset %" PRIu64 ": %s", l->in.file->path, offset,
                status == ERR_NOMEM ? "not enough memory" : "records that make no sense");
        if (status != OK) return status;
        if (l->in.kind == PART_END) return OK;
    }
}

static enum status whole_check(const struct core_loading *l, const struct snapshot_file *file,
                               struct err *err) {
    if (l->ours_count > 0 && l->in.kind == PART_END && l->in.at.check != file->check)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: %s is another file", l->in.file->path);
    for (uint32_t i = 0; i < l->store->options.shards_count; i++)
        if (l->ours[i] && !snapshot_shard_is_complete(l->store, i))
            return err_set(err, ERR_CORRUPT, 0, "snapshot: %s: shard %" PRIu32 " lacks series",
                           l->in.file->path, i);
    return OK;
}

enum status snapshot_core_load(const struct snapshot_place *at, const struct snapshot_root *root,
                               unsigned file, struct store *store, struct snapshot_told *told,
                               struct err *err) {
    struct core_loading l = {.store = store, .told = told};
    char path[SNAPSHOT_PATH_MAX];
    snapshot_core_path(at, file, path);
    l.ours = calloc(store->options.shards_count, sizeof *l.ours);
    if (l.ours == NULL) return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
    enum status status = part_reader_open(&l.in, at->rt->disk, path, file, err);
    l.tables.format = l.in.format;
    if (status == OK && l.in.file_bytes != root->files[file].bytes)
        status = err_set(err, ERR_CORRUPT, 0,
                         "snapshot: %s has %" PRIu64 " bytes, and should have %" PRIu64, path,
                         l.in.file_bytes, root->files[file].bytes);
    if (status == OK) status = parts_load(&l, err);
    if (status == OK) status = whole_check(&l, &root->files[file], err);
    told->shards += l.shards_count;
    told->bytes += l.in.at.bytes;
    snapshot_load_tables_fini(&l.tables, store);
    part_reader_fini(&l.in);
    free(l.ours);
    return status;
}
