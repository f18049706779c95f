/* SPDX-License-Identifier: Apache-2.0 */
/* Entries on their way: retained, shard by shard, until all that must have them do. One block is
 * what one call of the store handed to the log; its number is the store's log position. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/internal.h"

static void block_free(struct replicas *r, struct block *b) {
    r->retained_bytes -= b->bytes_len;
    list_remove(&b->node);
    free(b->items);
    free(b->bytes);
    free(b);
}

static enum status block_count(struct replicas *r, struct sv entries, uint32_t *out) {
    struct entry_place e;
    *out = 0;
    while (entries.len > 0) {
        if (r->o.store->entry_next(&entries, &e, NULL) != OK) return ERR_CORRUPT;
        ++*out;
    }
    return OK;
}

static void block_fill(struct replicas *r, struct block *b) {
    struct sv rest = sv_make(b->bytes, b->bytes_len);
    while (rest.len > 0) {
        struct entry_place e;
        const char *at = rest.ptr;
        enum status st = r->o.store->entry_next(&rest, &e, NULL);
        assert(st == OK && e.shard < r->shards_count);
        struct block_item *item = &b->items[b->items_count++];
        *item = (struct block_item){
            .block = b, .shard = e.shard, .place = e.place, .bytes = sv_make(at, e.len)};
        struct shard *s = shard_at(r, e.shard);
        list_push_back(&s->retained, &item->node);
        s->end = e.place;
        b->items_held++;
    }
}

enum status block_add(struct replicas *r, uint64_t position, struct sv entries) {
    uint32_t count;
    TRY(block_count(r, entries, &count));
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL) return ERR_NOMEM;
    list_init(&b->node);
    b->position = position;
    b->items = calloc(count + 1, sizeof *b->items);
    b->bytes = malloc(entries.len + 1);
    if (b->items == NULL || b->bytes == NULL) {
        free(b->items);
        free(b->bytes);
        free(b);
        return ERR_NOMEM;
    }
    memcpy(b->bytes, entries.ptr, entries.len);
    b->bytes_len = entries.len;
    r->retained_bytes += entries.len;
    list_push_back(&r->blocks, &b->node);
    block_fill(r, b);
    return OK;
}

enum status block_add_new(struct replicas *r, uint32_t shard, uint64_t position,
                          struct sv entries) {
    struct sv rest = entries;
    while (rest.len > 0) {
        struct entry_place e;
        struct sv from = rest;
        if (r->o.store->entry_next(&rest, &e, NULL) != OK) return ERR_CORRUPT;
        if (place_cmp(e.place, r->shards[shard].end) > 0) return block_add(r, position, from);
    }
    return OK;
}

static void item_release(struct replicas *r, struct block_item *item) {
    struct block *b = item->block;
    list_remove(&item->node);
    r->shards[item->shard].released = item->place;
    /* a block that is not durable here stays on the list, to tell its shards when it is */
    if (--b->items_held == 0 && b->position <= r->durable) block_free(r, b);
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

struct block_item *shard_retained_after(struct shard *s, struct place after) {
    LIST_FOREACH(n, &s->retained) {
        struct block_item *item = container_of(n, struct block_item, node);
        if (place_cmp(item->place, after) > 0) return item;
    }
    return NULL;
}

void blocks_durable(struct replicas *r, uint64_t position) {
    r->durable = position;
    while (!list_is_empty(&r->blocks)) {
        struct block *b = container_of(r->blocks.next, struct block, node);
        if (b->position > position) return;
        list_remove(&b->node);
        /* settling releases items, maybe the last of the block: hold it meanwhile */
        b->items_held++;
        for (uint32_t i = 0; i < b->items_count; i++) {
            struct shard *s = shard_at(r, b->items[i].shard);
            if (s->role == ROLE_NONE) continue;
            if (place_cmp(b->items[i].place, s->own) > 0) s->own = b->items[i].place;
            shard_settle(r, b->items[i].shard);
        }
        if (--b->items_held == 0) block_free(r, b);
    }
}

enum status blocks_begin(struct replicas *r) {
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL) return ERR_NOMEM;
    list_init(&b->node);
    b->position = r->o.store->position(r->o.store->ctx);
    b->items = calloc((size_t)r->shards_count + 1, sizeof *b->items);
    if (b->items == NULL) {
        free(b);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        struct shard_held held = {0};
        if (s->role == ROLE_NONE) continue;
        r->o.store->held(r->o.store->ctx, i, s->own_tail, &held);
        s->end = s->released = held.has_log ? held.end : (struct place){0};
        struct block_item *item = &b->items[b->items_count++];
        *item = (struct block_item){.block = b, .shard = i, .place = s->end};
        list_init(&item->node);
    }
    list_push_back(&r->blocks, &b->node);
    blocks_durable(r, r->durable);
    return OK;
}

void blocks_free_all(struct replicas *r) {
    while (!list_is_empty(&r->blocks))
        block_free(r, container_of(r->blocks.next, struct block, node));
}
