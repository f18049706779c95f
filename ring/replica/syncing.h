/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/syncing.h: of sync.h, what sync.c (who is asked about what, comparing) and
 * sync_take.c (taking) share. Thread: the core. */
#pragma once

#include "ring/replica/sync.h"
#include "ring/replica/verifying.h"

enum sync_state { SYNC_IDLE, SYNC_ASKING, SYNC_TAKING };

struct sync {
    struct replicas *r;
    enum sync_state state;
    struct timer timer;
    struct peer_call *call;
    bool began, stopping;
    bool urgent;         /* it is about bad ranges */
    bool aside;          /* and a replica that is to be given up is asked (sound.h) */
    unsigned attempts;   /* that did not help: another replica is asked next */
    uint64_t compare_ns; /* when the next shards are compared */
    uint32_t turn;       /* whose, after a failure */
    uint32_t aside_turn; /* whose of those that are held back */
    uint32_t round;      /* each shard is compared once in it */
    node_id from;
    uint32_t asked[SYNC_SHARDS_MAX];
    size_t asked_count;
    /* TAKING */
    struct store_import import;
    struct import_shard shards[SYNC_SHARDS_MAX];
    struct shard_span spans[SYNC_SHARDS_MAX];
    bool differs[SYNC_SHARDS_MAX]; /* else bad */
    size_t count;
    uint16_t core; /* of the giver */
    uint64_t stream, number;
    struct verify verify;
    struct {
        struct metric *compared, *differences, *repaired_bad, *repaired_differs, *failures;
    } metrics;
};

/* IDLE: looks again after that time. */
void sync_pause(struct sync *s, uint64_t ms);
/* Tried again: soon where it is about a replica that is held back, else later and later. */
void sync_fail(struct sync *s);
/* The spans of s->shards, of s->from; then sync_pause or sync_fail. */
void sync_take_begin(struct sync *s);
