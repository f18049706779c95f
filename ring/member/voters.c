/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/member/voters.h"

static bool is_fit(const struct voter_view *v) { /* to vote from now on */
    return v->in_map && !v->draining && v->age_ms < VOTER_ALIVE_MS;
}
static bool must_go(const struct voter_view *v) {
    return v->draining || !v->in_map || v->age_ms >= VOTER_REPLACE_MS;
}

static unsigned zone_voters(const struct voter_view *nodes, size_t count,
                            const struct voter_view *of) {
    unsigned n = 0;
    for (size_t i = 0; i < count; i++)
        n += nodes[i].voter && &nodes[i] != of && !must_go(&nodes[i]) &&
             sv_eq(nodes[i].zone, of->zone);
    return n;
}

/* The learner to make a voter: a zone with few voters first, then who is alive longest. */
static const struct voter_view *best_learner(const struct voter_view *nodes, size_t count) {
    const struct voter_view *best = NULL;
    unsigned best_zone = 0;
    for (size_t i = 0; i < count; i++) {
        const struct voter_view *v = &nodes[i];
        if (!v->member || v->voter || !is_fit(v)) continue;
        unsigned zone = zone_voters(nodes, count, v);
        if (best == NULL || zone < best_zone ||
            (zone == best_zone && v->alive_ms > best->alive_ms)) {
            best = v;
            best_zone = zone;
        }
    }
    return best;
}

/* The voter to make a learner: the dead, then the silent, as long as they vote a majority is harder
 * to have; then who must go; then of the fullest zone; then who is alive shortest. The leader last
 * of equals. */
static const struct voter_view *worst_voter(const struct voter_view *nodes, size_t count,
                                            uint64_t self) {
    const struct voter_view *worst = NULL;
    unsigned worst_rank = 0;
    for (size_t i = 0; i < count; i++) {
        const struct voter_view *v = &nodes[i];
        if (!v->voter) continue;
        bool leads = v->id == self, silent = v->age_ms >= VOTER_ALIVE_MS;
        unsigned rank = 0, zone = 0;
        if (silent)
            rank = v->age_ms >= VOTER_REPLACE_MS ? 4 : 3;
        else if (must_go(v))
            rank = 2;
        else if (!leads)
            rank = 1;
        if (rank == 1) zone = zone_voters(nodes, count, v);
        rank = rank * 16 + (rank == 1 ? zone : !leads);
        if (worst == NULL || rank > worst_rank ||
            (rank == worst_rank && v->alive_ms < worst->alive_ms)) {
            worst = v;
            worst_rank = rank;
        }
    }
    return worst;
}

/* Not long enough unheard to be the first to go, and too long to rely on. */
static bool is_in_doubt(const struct voter_view *v) {
    return v->age_ms >= VOTER_HEARD_MS && v->age_ms < VOTER_ALIVE_MS;
}

static struct voters_step demote_worst(const struct voter_view *nodes, size_t count,
                                       uint64_t self) {
    const struct voter_view *v = worst_voter(nodes, count, self);
    for (size_t i = 0; i < count; i++)
        if (nodes[i].voter && &nodes[i] != v && is_in_doubt(&nodes[i]))
            return (struct voters_step){VOTERS_NOTHING, 0};
    if (v->id == self) return (struct voters_step){VOTERS_HAND_OVER, 0};
    return (struct voters_step){v->in_map ? VOTERS_DEMOTE : VOTERS_REMOVE, v->id};
}

/* A learner in a zone without a voter, while two voters share one. */
static const struct voter_view *better_zone(const struct voter_view *nodes, size_t count) {
    const struct voter_view *best = best_learner(nodes, count);
    if (best == NULL || zone_voters(nodes, count, best) > 0) return NULL;
    for (size_t i = 0; i < count; i++)
        if (nodes[i].voter && zone_voters(nodes, count, &nodes[i]) > 0) return best;
    return NULL;
}

static unsigned voters_wanted(unsigned staying) {
    return staying >= 5 ? 5 : staying >= 3 ? 3 : 1;
}

bool voters_are_enough(const struct voter_view *nodes, size_t count) {
    unsigned staying = 0, voters = 0;
    for (size_t i = 0; i < count; i++) {
        staying += nodes[i].in_map && !must_go(&nodes[i]);
        voters += nodes[i].voter;
    }
    return voters >= voters_wanted(staying);
}

struct voters_step voters_next(const struct voter_view *nodes, size_t count, uint64_t self) {
    unsigned staying = 0, voters = 0, going = 0, fit = 0;
    for (size_t i = 0; i < count; i++) {
        const struct voter_view *v = &nodes[i];
        if (v->in_map && !v->member) return (struct voters_step){VOTERS_ADD, v->id};
        if (!v->in_map && v->member && !v->voter) return (struct voters_step){VOTERS_REMOVE, v->id};
        staying += v->in_map && !v->draining;
        voters += v->voter;
        going += v->voter && must_go(v);
        fit += v->member && !v->voter && is_fit(v);
    }
    unsigned want = voters_wanted(staying);
    const struct voter_view *learner = best_learner(nodes, count);
    if (voters > want) {
        /* An odd number of those who live is better than their going down to two of two. */
        return demote_worst(nodes, count, self);
    }
    if (voters < want) {
        /* Even numbers are passed through only: all the way up, or back. */
        bool even = voters % 2 == 0;
        if (learner != NULL && (even || fit >= 2))
            return (struct voters_step){VOTERS_PROMOTE, learner->id};
        if (even) return demote_worst(nodes, count, self);
        if (learner == NULL || going == 0) return (struct voters_step){VOTERS_NOTHING, 0};
        return (struct voters_step){VOTERS_PROMOTE, learner->id};
    }
    if (going > 0 && learner != NULL) return (struct voters_step){VOTERS_PROMOTE, learner->id};
    const struct voter_view *better = voters > 1 ? better_zone(nodes, count) : NULL;
    if (better != NULL) return (struct voters_step){VOTERS_PROMOTE, better->id};
    return (struct voters_step){VOTERS_NOTHING, 0};
}
