/* SPDX-License-Identifier: Apache-2.0 */
/* storage/metadata.h: what is known of metric families on one core: by name the distinct (type,
 * help, unit), the one that was first seen last in front, METADATA_PER_NAME_MAX at most. The one
 * that falls behind is forgotten, and new again when it comes again.
 *
 * A name belongs to the shard of the series {__name__="name"}. What is new is written to that
 * shard's log; applying the log gives the same table, whatever its bound is. Thread: the owning
 * core. */
#pragma once

#include <stdint.h>

#include "node/base/map.h"
#include "storage/entry.h"

enum { METADATA_PER_NAME_MAX = 16 };

struct metadata {
    /* private */
    struct metadata_name *names;
    uint32_t names_count, names_cap;
    struct map by_name;
    uint64_t bytes;
};
void metadata_init(struct metadata *m);
void metadata_fini(struct metadata *m);
bool metadata_holds(const struct metadata *m, const struct entry_metadata *item);
bool metadata_has_name(const struct metadata *m, struct sv name);
/* One that is held is left alone. ERR_NOMEM. */
enum status metadata_add(struct metadata *m, uint32_t shard,
                         const struct entry_metadata *item) MUST_USE;
/* The same behind all there are, where there is room: for what was read newest first. */
enum status metadata_add_behind(struct metadata *m, uint32_t shard,
                                const struct entry_metadata *item) MUST_USE;
/* Forgets what is known of the shard's families; their places stay. */
void metadata_drop(struct metadata *m, uint32_t shard);
static inline uint64_t metadata_bytes(const struct metadata *m) {
    return m->bytes;
}

/* Reading, in parts: names have the places 0 to metadata_names, for ever. */
uint32_t metadata_names(const struct metadata *m);
uint32_t metadata_place(const struct metadata *m, struct sv name); /* MAP_NONE: unknown */
uint32_t metadata_shard_at(const struct metadata *m, uint32_t place);
/* As the items of an entry, newest first. */
void metadata_read(const struct metadata *m, uint32_t place, struct entry_write *out);

/* A shard's families as the body of a WRITE entry; nothing where there are none. ERR_NOMEM. */
enum status metadata_put_shard(const struct metadata *m, uint32_t shard, struct buf *out) MUST_USE;
/* Those of such a body, or of none, each behind what is known of its name. ERR_CORRUPT, ERR_NOMEM.
 */
enum status metadata_get_shard(struct metadata *m, uint32_t shard, struct sv body,
                               struct arena *scratch, struct err *err) MUST_USE;

/* The shard of a metric family; ERR_NOMEM. */
enum status metadata_shard(uint64_t secret, uint32_t tenant, uint32_t shards_count, struct sv name,
                           uint32_t *out) MUST_USE;
