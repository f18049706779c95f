/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/serve.h: a request of another node, of which every core does the part for its
 * shards: listening core -> cores -> listening core, which answers when all have. An APPEND is read
 * once, by the listening core, and goes to those cores that have some of its shards. Only follow.c
 * and answer.c include it. */
#pragma once

#include "ring/replica/internal.h"

struct served;
enum { ITEM_NONE = UINT32_MAX };
struct served_item {
    struct append_item item;
    uint32_t next; /* of the same core */
};
struct served_part {
    struct msg msg;
    struct served *served;
    struct core *core;
    struct position_wait wait;
    bool waiting;
    struct buf answer;    /* items of the reply */
    uint32_t first, last; /* APPEND: of served->items; the others follow */
    /* FETCH */
    struct store_read read;
    struct store_read_from *from;
    size_t from_count;
    struct loss_call *loss; /* LOSS; owned */
    uint32_t epoch;
    bool failed, is_piece;
    enum status status;
};
struct served {
    struct list_node node;
    struct replicas *replicas; /* of the listening core */
    struct peer_request *req;  /* NULL: the asker is gone */
    node_id from;
    struct buf payload;
    struct served_part *parts; /* one a core; only some may be under way */
    size_t parts_count, parts_open;
    struct served_item *items; /* APPEND */
    uint32_t items_count, items_cap;
    struct buf answer;
};
static inline struct replicas *replicas_of(struct core *core) {
    return core->locals[CORE_REPLICA];
}
/* On the part's core; its answer is complete. */
void served_part_done(struct served_part *part);
/* All cores do their parts. */
void served_by_all(struct replicas *r, struct peer_request *req, struct sv payload,
                   void (*run)(struct core *here, struct msg *m));
