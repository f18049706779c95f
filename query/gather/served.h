/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/served.h: a question of another node that this one is answering: who asked, by which
 * map, for which shards; that the asker goes away; the answer, once; the end. What is asked belongs
 * to remote.c (fragments) and list_remote.c (lists), which embed it.
 *
 *   served_take -> ops->start -> the scatter's done: served_done -> answered and freed
 *   the asker goes -> *canceled is set, done still comes and is told to nobody
 * Thread: the core of the gather. */
#pragma once

#include "query/gather/internal.h"

struct served;
struct served_ops {
    size_t bytes; /* of what begins with a struct served */
    /* Reads the request and starts its scatter; sets canceled. A failure is told to the asker. */
    enum status (*start)(struct served *s, struct sv payload, struct err *err);
    void (*answer)(struct served *s); /* the outcome is OK and the asker is there */
    void (*fini)(struct served *s);   /* also after a start that failed */
};
struct served {
    struct list_node node; /* of gather->served */
    const struct served_ops *ops;
    struct gather *g;
    struct peer_request *req; /* NULL once the asker has gone */
    struct ring_map *map;     /* by which it was asked and is answered; a reference */
    uint64_t *shards;
    bool *canceled; /* of the question; set (relaxed) when the asker goes */
};

void served_take(struct gather *g, const struct served_ops *ops, struct peer_request *req,
                 struct sv payload);
/* For start: the shards asked for, by the map of now. */
MUST_USE enum status served_shards(struct served *s, struct sv list, struct err *err);
/* The scatter's outcome; frees s. */
void served_done(struct served *s, const struct spread *spread, enum status status,
                 const struct err *err);
/* For answer: the body in pieces, then the end. Takes both. */
void served_reply(struct served *s, struct buf *body, struct buf *end);
void gather_free_served(struct gather *g);
