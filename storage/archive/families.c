/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/families.h"

#include <stdlib.h>

enum { FAMILIES_BYTES_MAX = 1 << 30 };

static enum status families_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "metric families: not enough memory");
}

static enum status items_put(const struct metadata *m, uint32_t number, struct manifest_shard *s) {
    struct buf body = {0};
    enum status status = metadata_put_shard(m, number, &body);
    if (status != OK) {
        buf_fini(&body);
        return status;
    }
    free(s->items);
    s->items = body.ptr;
    s->items_len = body.len;
    return OK;
}

static enum status shards_put(const struct metadata *m, uint32_t shards_count,
                              struct manifest *out) {
    for (uint32_t i = 0; i < shards_count; i++) {
        struct manifest_shard s = {.shard = i};
        TRY(items_put(m, i, &s));
        if (s.items_len == 0) continue;
        if (manifest_shard_set(out, &s) == OK) continue;
        manifest_shard_fini(&s);
        return ERR_NOMEM;
    }
    return OK;
}

enum status families_write(struct disk *disk, const char *path, const struct metadata *m,
                           uint32_t shards_count, struct err *err) {
    struct manifest all = {.next_number = 1};
    struct buf bytes = {0};
    enum status status = shards_put(m, shards_count, &all);
    if (status == OK) manifest_put(&all, &bytes);
    if (status != OK || bytes.failed)
        status = families_nomem(err);
    else
        status = disk_write_file(disk, path, buf_sv(&bytes), err);
    buf_fini(&bytes);
    manifest_fini(&all);
    return status;
}

static enum status shard_check(const struct manifest_shard *s, const struct families_place *place,
                               struct arena *scratch, struct err *err) {
    struct entry_write_view v;
    struct entry_metadata m;
    uint32_t of = place->shards_count;
    arena_reset(scratch);
    TRY(entry_write_decode(sv_make(s->items, s->items_len), scratch, &v, err));
    while (entry_metadata_next(&v.metadata, &m)) {
        if (metadata_shard(place->secret, place->tenant, place->shards_count, m.name, &of) != OK)
            return families_nomem(err);
        if (of != s->shard)
            return err_set(err, ERR_CORRUPT, 0, "%.*s is not of shard %u, as it says",
                           (int)MIN(m.name.len, 80), m.name.ptr, s->shard);
    }
    return OK;
}

enum status families_read(struct disk *disk, const char *path, const struct families_place *place,
                          struct manifest *out, struct err *err) {
    struct buf bytes = {0};
    struct arena scratch;
    arena_init(&scratch, 0);
    enum status status = disk_read_file(disk, path, FAMILIES_BYTES_MAX, &bytes, err);
    if (status == OK) status = manifest_get(buf_sv(&bytes), out, err);
    buf_fini(&bytes);
    if (status != OK) return status;
    for (uint32_t i = 0; i < out->shards_count && status == OK; i++)
        status = shard_check(&out->shards[i], place, &scratch, err);
    arena_fini(&scratch);
    if (status != OK) manifest_fini(out);
    return status;
}

enum status families_merge(struct manifest_shard *shard, const struct manifest_shard *other,
                           struct err *err) {
    const struct manifest_shard *const both[] = {shard, other};
    struct metadata m;
    struct arena scratch;
    enum status status = OK;
    metadata_init(&m);
    arena_init(&scratch, 0);
    for (int i = 0; i < 2 && status == OK; i++)
        status = metadata_get_shard(&m, shard->shard, sv_make(both[i]->items, both[i]->items_len),
                                    &scratch, err);
    if (status == OK && items_put(&m, shard->shard, shard) != OK) status = families_nomem(err);
    arena_fini(&scratch);
    metadata_fini(&m);
    return status;
}
