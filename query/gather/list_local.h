/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/list_local.h: a list's part on one core; list_part.c and list_kept.c only. */
#pragma once

#include "query/gather/list.h"
#include "query/gather/selected.h"

struct list_scratch {
    struct buf labels, item;
    struct entry_write items;
};

/* One list on one core, set by set.
 *   SELECT (slices on the core) -> COLLECT (worker) -> RELEASE (on the core) -> SELECT of the next
 * set ... -> told at home
 * Label names and values of everything are asked for as such (selected_names), in one step;
 * metadata and exemplars in slices from the store's tables. */
struct list_local {
    struct msg msg;
    struct work work;
    struct list_part *part; /* touched at home only, but for its items */
    struct core *home, *core;
    const struct list_query *query;
    void (*run)(struct core *here, struct msg *m); /* after claiming */
    const struct ring_map *map;                    /* the asker's */
    uint64_t *shard_bits; /* the part's: this side's until it is told at home */
    struct shard_set shards;
    size_t set_at;
    uint32_t place; /* the next of the store's table */
    struct list_scratch scratch;
    struct selected selected; /* of the set */
    struct selected_names names;
    struct arena names_arena;
    enum status status;
    struct err err;
    struct list_items items;
};

void list_local_end(struct list_local *lp); /* on its core */
void list_local_kept(struct core *here, struct msg *m);
