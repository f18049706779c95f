/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/block_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/refs.h"

static const struct list_block *find(const struct list_block *blocks, uint32_t count,
                                     uint64_t number) {
    for (uint32_t i = 0; i < count; i++)
        if (blocks[i].of.number == number) return &blocks[i];
    return NULL;
}

struct block_list *block_list_new(const struct manifest *m, const struct block_list *before,
                                  const struct list_block *added, uint32_t added_count) {
    struct block_list *list = calloc(1, sizeof *list + m->blocks_count * sizeof *list->blocks);
    if (list == NULL) return NULL;
    list->refs = 1;
    for (uint32_t i = 0; i < m->blocks_count; i++) {
        const struct manifest_block *of = &m->blocks[i];
        struct list_block *to = &list->blocks[list->count++];
        const struct list_block *from =
            before == NULL ? NULL : find(before->blocks, before->count, of->number);
        if (from == NULL) from = find(added, added_count, of->number);
        assert(from != NULL);
        to->of = *of;
        to->of.parts = malloc((of->parts_count + 1) * sizeof *of->parts);
        to->block = from->block == NULL ? NULL : block_ref(from->block);
        to->was = from->was == NULL ? NULL : block_ref(from->was);
        to->why = from->why;
        if (to->of.parts == NULL) {
            block_list_unref(list);
            return NULL;
        }
        if (of->parts_count > 0)
            memcpy(to->of.parts, of->parts, of->parts_count * sizeof *of->parts);
    }
    return list;
}

struct block_list *block_list_ref(struct block_list *list) {
    refs_inc(&list->refs);
    return list;
}

void block_list_unref(struct block_list *list) {
    if (list == NULL || !refs_dec(&list->refs)) return;
    for (uint32_t i = 0; i < list->count; i++) {
        block_unref(list->blocks[i].block);
        block_unref(list->blocks[i].was);
        manifest_block_fini(&list->blocks[i].of);
    }
    free(list);
}

bool list_block_has(const struct list_block *b, uint32_t shard, uint32_t copy) {
    return manifest_block_part(&b->of, shard, copy) != NULL;
}

bool list_block_shard(const struct list_block *b, uint32_t shard, struct block_shard *out) {
    const struct block *block = b->block != NULL ? b->block : b->was;
    return block != NULL && block_get_shard(block, shard, out) && out->series_count > 0;
}
