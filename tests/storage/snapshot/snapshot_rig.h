/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/snapshot/snapshot_rig.h: stores of a node's cores over the shipped log, under
 * random operations of all kinds, which can be stopped with and without a head snapshot and started
 * from copies of a disk; and all that a store answers of its shards as text, so that two can be
 * compared. Shards 0 to 3 are FULL, 4 keeps a tail only, 5 is INIT and keeps a tail beside. */
#pragma once

#include "node/base/rng.h"
#include "storage/snapshot/snapshot.h"
#include "storage/store.h"
#include "tests/storage/log_rig.h"

enum { SR_SHARDS = 6, SR_FULL = 4, SR_LOG = 4, SR_INIT = 5, SR_SERIES = 40, SR_CORES = 3 };
#define SR_START_MS 1767225600000
#define SR_SLOT_MS 15000

struct sr_world { /* what all processes of a run share */
    struct sim *sim;
    char labels[SR_SERIES][96];
    size_t labels_len[SR_SERIES];
    series_id ids[SR_SERIES];
    uint32_t shards[SR_SERIES];
    char names[SR_SERIES][16]; /* of metric families */
    bool with_archive;         /* ranges go to blocks: the logs get bases */
    bool with_drops;           /* shards begin anew */
    uint32_t exemplars_max;
};
struct sr_node {
    struct sr_world *world;
    unsigned index; /* of the simulator */
    struct sim_disk *disk;
    struct disk *real;  /* in its place; NULL: not */
    struct runtime *rt; /* NULL: down */
    struct log *log;
    struct store *stores[SR_CORES];
    unsigned cores_count; /* a shard is of core shard % cores_count */
    uint64_t durable[SR_CORES];
    /* what the map and the manifest say: they outlive the process */
    uint32_t copies[SR_SHARDS], epochs[SR_SHARDS];
    struct manifest_shard manifest[SR_SHARDS]; /* copy 0: nothing */
    struct rng rng;
    int64_t now_ms;
    struct buf *told;           /* entries and verdicts; NULL: not wanted */
    bool (*goes_on)(void *ctx); /* asked while saving; NULL */
    void *goes_on_ctx;
    uint64_t entries; /* applied at the start */
    bool loaded;      /* from a snapshot */
    struct snapshot_told snapshot;
    struct err why; /* not */
};

void sr_world_init(struct sr_world *w, uint64_t seed);
void sr_world_fini(struct sr_world *w);
void sr_node_init(struct sr_node *n, struct sr_world *w, unsigned index, uint64_t seed);
void sr_node_fini(struct sr_node *n);
/* With what is there; false: the disk said no. */
bool sr_start(struct sr_node *n, unsigned cores_count);
/* For a start on the files of another, which is down, and by its map and manifest. */
void sr_copy(struct sr_node *to, const struct sr_node *from, bool with_snapshot);
void sr_kill(struct sr_node *n);
void sr_power_cut(struct sr_node *n);
/* Only what loading says; the node is down but for its stores, until sr_kill. */
enum status sr_probe(struct sr_node *n, struct err *err);
/* In two steps: fresh stores, and loading into them. */
void sr_probe_stores(struct sr_node *n);
enum status sr_probe_load(struct sr_node *n, struct err *err);
/* One random operation, or several. */
void sr_work(struct sr_node *n, unsigned steps);
void sr_settle(struct sr_node *n);
/* The heads, as a clean stop leaves them; the node goes on. */
enum status sr_save(struct sr_node *n, struct err *err);
struct snapshot_place sr_place(const struct sr_node *n);
struct store *sr_store(const struct sr_node *n, uint32_t shard);
/* Everything, by shard and series. */
void sr_dump(struct sr_node *n, struct buf *out);
void sr_must_equal(const struct buf *a, const struct buf *b, const char *what, uint64_t seed);
