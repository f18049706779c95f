/* SPDX-License-Identifier: Apache-2.0 */
/* storage/exemplar_items.h: a shard's exemplars beside its samples in a block (its items), so that
 * they live as long as it does and not as the log: how they get there, and back at a start.
 *
 *   items := { varint len, canonical label bytes of a series (storage/labels.h);
 *              varint len, { exemplar as in a log entry (storage/entry.h), series number 0 } }
 * A series may come several times, for a merge puts the items of its inputs one behind the other.
 */
#pragma once

#include "node/base/buf.h"
#include "node/base/status.h"
#include "storage/entry.h"

/* The next series with exemplars of what was checked; false at the end. */
bool exemplar_items_next(struct sv *rest, struct sv *out_labels, struct sv *out_exemplars);
/* How many exemplars there are, or ERR_CORRUPT. */
MUST_USE enum status exemplar_items_check(struct sv items, uint64_t *out_count, struct err *err);
/* Leaves out those before from_ms. Items that are none stay as they are, as do all when there is no
 * memory. */
void exemplar_items_trim(struct buf *items, int64_t from_ms);

/* -- of a store's ring, on its core, in slices */

struct store;
struct exemplar_pick { /* of a shard, from_ms <= t < to_ms */
    uint32_t shard;
    int64_t from_ms, to_ms;
    struct buf items; /* filled; owned by the caller */
};
struct exemplar_walk {
    struct exemplar_pick *picks; /* given: ascending by shard */
    uint32_t picks_count;
    /* private, zero at first */
    uint32_t place;
    struct buf labels;
    struct entry_write exemplars;
};
/* Works until core_mono_ns reaches until_ns. What comes in between slices may be missed. */
MUST_USE enum status exemplar_walk_step(struct exemplar_walk *w, const struct store *store,
                                        uint64_t until_ns, bool *out_done);
void exemplar_walk_fini(struct exemplar_walk *w); /* not the picks */

/* -- into a store's ring, at start-up, before the log: it has the newer ones */

struct exemplar_fill {
    /* private, zero at first */
    struct buf bytes;
    struct exemplar_found *found;
    size_t count, cap;
};
/* Copies those from from_ms on. ERR_CORRUPT: none of them are. */
MUST_USE enum status exemplar_fill_add(struct exemplar_fill *f, uint32_t shard, int64_t from_ms,
                                       struct sv items, struct err *err);
/* The store's own are added, and go from there: fill_store brings them back among the others. On
 * the store's core. ERR_NOMEM: they stay. */
MUST_USE enum status exemplar_fill_take(struct exemplar_fill *f, struct store *store,
                                        struct err *err);
/* The newest, as many as the store keeps, in order of time. Series are made where the head has none
 * (it forgets again what gets no sample by the log); those of another shard are passed over. */
MUST_USE enum status exemplar_fill_store(struct exemplar_fill *f, struct store *store,
                                         struct err *err);
void exemplar_fill_fini(struct exemplar_fill *f);
