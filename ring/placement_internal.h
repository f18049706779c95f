/* SPDX-License-Identifier: Apache-2.0 */
/* ring/placement_internal.h: one run of ring/placement.c, shared with placement_balance.c. */
#pragma once

#include "ring/placement.h"

enum { MEMBER_NONE = 0xffff };

/* Members are numbered in the order of their ids, so that every node computes the same. While it is
 * being chosen, who shall hold a shard stands in map->shards[].replicas[].node. */
struct placer {
    const struct placement_member **members;
    uint32_t members_count;
    uint16_t *zone;   /* per member: its zone's number */
    uint32_t *load;   /* per member: replicas, later primaries */
    uint64_t *score;  /* per member: scratch */
    uint16_t *queue;  /* per member: scratch of a search */
    uint16_t *before; /* per member: where the search came from */
    uint32_t *via;    /* per member: by which shard */
    bool *stuck;      /* per member: no search from it finds anything */
    uint32_t *next;   /* per shard: the next one of the same primary */
    uint32_t *first;  /* per member: its first shard as primary */
    uint32_t zones_count, factor, load_max;
    struct ring_map *map;
    bool plan;                       /* who shall hold what, not the way there */
    const struct ring_map *previous; /* may be NULL */
    uint16_t *member_of;             /* previous' node index -> member, or MEMBER_NONE */
};

/* Highest random weight (Thaler, Ravishankar 1998). */
uint64_t placer_score(const struct placer *p, uint32_t shard, uint32_t member);
/* The previous map gives the shard to the member, to stay. */
bool placer_held(const struct placer *p, uint32_t shard, uint32_t member);
bool placer_has(const struct ring_shard *s, uint32_t member);
/* How many of the shard's replicas but `except` (an index, or -1) are in the zone. */
unsigned placer_in_zone(const struct placer *p, const struct ring_shard *s, uint16_t zone,
                        int except);
/* Moves replicas until the members' loads differ by one at most, as far as zones allow. */
void placer_balance(struct placer *p);
/* Elects among full in-sync replicas, until primaries differ by one at most where that can be. A
 * shard whose primary is MEMBER_NONE gets one; the others keep theirs if they can. */
void placer_elect(struct placer *p, int32_t *primary);
