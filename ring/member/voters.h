/* SPDX-License-Identifier: Apache-2.0 */
/* ring/member/voters.h: who of the nodes votes: a pure function of what the leader sees, one change
 * at a time. All members of the map are members of the Raft configuration; voters are
 *   5 of five and more nodes, 3 of three and four, 1 of one and two
 * where draining nodes do not count. A node that is dead for less than it takes to replace it still
 * votes, so that a restart changes nothing.
 *
 *   1 -> 2 nodes: the second is a learner; the cluster lives as long as the voter does (DESIGN P5).
 *   2 -> 3: both learners are made voters, one after the other, only when both are alive: between
 *   the two changes a quorum is both of two. If the third dies in between, the second is demoted.
 *   3 -> 2 (one is drained): the dead or draining voter goes first, then one more; the leader
 *   stays. Replacing: the new voter comes in first, so that the quorum never shrinks to those who
 *   must all live. A leader that has to go hands over first.
 *   Nobody who is heard is taken out while another voter is not: it may be the one that is gone,
 * and the two that stay would be no quorum, for good. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/sv.h"

enum { VOTER_REPLACE_MS = 10000, VOTER_ALIVE_MS = 2000, VOTER_HEARD_MS = 900 };

struct voter_view { /* a node of the map, or a member of the configuration that is none */
    uint64_t id;
    struct sv zone;
    bool in_map, member, voter; /* member: of the Raft configuration */
    bool draining;
    uint64_t age_ms;   /* since its last heartbeat; of who was never heard since the leader leads,
                          and VOTER_ALIVE_MS at least */
    uint64_t alive_ms; /* without a pause for that long */
};
enum voters_do {
    VOTERS_NOTHING,
    VOTERS_ADD,
    VOTERS_PROMOTE,
    VOTERS_DEMOTE,
    VOTERS_REMOVE,
    VOTERS_HAND_OVER
};
struct voters_step {
    enum voters_do what;
    uint64_t id; /* HAND_OVER: 0, to whoever is furthest */
};
/* self leads. nodes ascending by id. */
struct voters_step voters_next(const struct voter_view *nodes, size_t count, uint64_t self);
/* As many vote, at least, as should where the nodes that are not dead stay. */
bool voters_are_enough(const struct voter_view *nodes, size_t count);
