/* SPDX-License-Identifier: Apache-2.0 */
/* Entries on their way: retained, shard by shard, until all that must have them do. One block is
 * what one call of the store handed to the log; its number is the store's log position. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/internal.h"

enum { SHRINK_BYTES_MIN = 4096, SHRINK_PART = 8 };

static void block_free(struct replicas *r, struct block *b) {
    r->retained_bytes -= b->bytes_len;
    list_remove(&b->node);
    free(b);
}

/* Without items; NULL: no memory. */
static struct block *block_new(struct replicas *r, uint64_t position, size_t items, size_t bytes) {
    struct block *b = malloc(sizeof *b + items * sizeof *b->items + bytes);
    if (b == NULL) return NULL;
    *b = (struct block){.position = position, .bytes_len = bytes};
    list_init(&b->node);
    b->bytes = (char *)(b->items + items);
    r->retained_bytes += bytes;
    return b;
}

static struct block_item *block_item_add(struct block *b, uint32_t shard, struct place place) {
    struct block_item *item = &b->items[b->items_count++];
    *item = (struct block_item){.block = b, .shard = shard, .place = place};
    list_init(&item->node);
    return item;
}

static bool item_is_held(const struct block_item *item) {
    return !list_is_empty(&item->node);
}

enum status block_add(struct replicas *r, uint64_t position, const struct store_block *of) {
    struct block *b = block_new(r, position, of->places_count, of->entries.len);
    if (b == NULL) return ERR_NOMEM;
    memcpy(b->bytes, of->entries.ptr, of->entries.len);
    list_push_back(&r->blocks, &b->node);
    for (size_t i = 0; i < of->places_count; i++) {
        const struct entry_at *e = &of->places[i];
        assert(e->shard < r->shards_count && e->at + e->len <= of->entries.len);
        struct shard *s = shard_at(r, e->shard);
        if (e->tail != s->own_tail || s->role == ROLE_NONE) continue;
        struct block_item *item = block_item_add(b, e->shard, e->place);
        item->bytes = b->bytes + e->at;
        item->bytes_len = (uint32_t)e->len;
        list_push_back(&s->retained, &item->node);
        s->end = e->place;
        b->items_held++;
        b->bytes_held += e->len;
    }
    return OK;
}

void block_not_added(struct replicas *r, const struct store_block *of) {
    for (size_t i = 0; i < of->places_count; i++) {
        const struct entry_at *e = &of->places[i];
        struct shard *s = shard_at(r, e->shard);
        if (e->tail != s->own_tail || s->role == ROLE_NONE) continue;
        shard_release_all(r, e->shard); /* what is retained has no gap */
        s->end = s->released = e->place;
    }
}

/* Most of it has gone: one shard at rest does not keep what came with its entries. */
static void block_shrink(struct replicas *r, struct block *b) {
    struct block *small = block_new(r, b->position, b->items_held, b->bytes_held);
    if (small == NULL) return;
    small->told = true;
    for (uint32_t i = 0; i < b->items_count; i++) {
        struct block_item *old = &b->items[i];
        if (!item_is_held(old)) continue;
        struct block_item *item = block_item_add(small, old->shard, old->place);
        item->bytes = small->bytes + small->bytes_held;
        item->bytes_len = old->bytes_len;
        memcpy(item->bytes, old->bytes, old->bytes_len);
        list_push_back(&old->node, &item->node);
        list_remove(&old->node);
        small->items_held++;
        small->bytes_held += old->bytes_len;
    }
    assert(small->items_held == b->items_held && small->bytes_held == b->bytes_held);
    block_free(r, b);
}

/* Of a block that is durable here, and told its shards so. */
static void block_released(struct replicas *r, struct block *b) {
    if (b->items_held == 0)
        block_free(r, b);
    else if (b->bytes_len >= SHRINK_BYTES_MIN && b->bytes_held <= b->bytes_len / SHRINK_PART)
        block_shrink(r, b);
}

static void item_release(struct replicas *r, struct block_item *item) {
    struct block *b = item->block;
    list_remove(&item->node);
    r->shards[item->shard].released = item->place;
    b->items_held--;
    b->bytes_held -= item->bytes_len;
    if (b->told) block_released(r, b);
}

void shard_release(struct replicas *r, uint32_t shard, struct place upto) {
    struct shard *s = shard_at(r, shard);
    if (s->pins > 0) return;
    for (unsigned i = 0; i < s->members_count; i++) { /* who came in late gets the rest from here */
        const struct member *m = &s->members[i];
        if (m->state == MEMBER_LIVE && place_cmp(m->acked, upto) < 0) upto = m->acked;
    }
    while (!list_is_empty(&s->retained)) {
        struct block_item *item = container_of(s->retained.next, struct block_item, node);
        if (place_cmp(item->place, upto) > 0) return;
        item_release(r, item);
    }
}

void shard_release_all(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    while (!list_is_empty(&s->retained))
        item_release(r, container_of(s->retained.next, struct block_item, node));
}

/* From the end: what is behind is what nobody was sent yet, or little. */
struct block_item *shard_retained_after(struct shard *s, struct place after) {
    struct block_item *found = NULL;
    for (struct list_node *n = s->retained.prev; n != &s->retained; n = n->prev) {
        struct block_item *item = container_of(n, struct block_item, node);
        if (place_cmp(item->place, after) <= 0) break;
        found = item;
    }
    return found;
}

void blocks_durable(struct replicas *r, uint64_t position) {
    r->durable = position;
    while (!list_is_empty(&r->blocks)) {
        struct block *b = container_of(r->blocks.next, struct block, node);
        if (b->position > position) return;
        list_remove(&b->node);
        for (uint32_t i = 0; i < b->items_count; i++)
            shard_own_durable(r, b->items[i].shard, b->items[i].place);
        b->told = true; /* not before: settling releases its items */
        block_released(r, b);
    }
}

enum status blocks_begin(struct replicas *r) {
    struct block *b = block_new(r, r->o.store->position(r->o.store->ctx), r->shards_count, 0);
    if (b == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        struct shard_held held = {0};
        if (s->role == ROLE_NONE) continue;
        r->o.store->held(r->o.store->ctx, i, s->own_tail, &held);
        s->end = s->released = held.has_log ? held.end : (struct place){0};
        block_item_add(b, i, s->end);
    }
    list_push_back(&r->blocks, &b->node);
    blocks_durable(r, r->durable);
    return OK;
}

void blocks_free_all(struct replicas *r) {
    while (!list_is_empty(&r->blocks))
        block_free(r, container_of(r->blocks.next, struct block, node));
}
