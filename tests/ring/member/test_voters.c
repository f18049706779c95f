/* SPDX-License-Identifier: Apache-2.0 */
/* Expected steps are worked out by hand from the rules in ring/member/voters.h. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/base/rng.h"
#include "ring/member/voters.h"

/* One letter pair a node, ids 1, 2...: V voter, L learner, N new in the map, X member that left the
 * map, x voter that did; then a alive, q quiet for 1 s, r silent for 5 s, d dead for 11 s, g
 * draining (alive). The zone is the third. */
static size_t parse(const char *text, struct voter_view *out) {
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p += p[3] == ' ' ? 4 : 3) {
        out[n] = (struct voter_view){.id = n + 1,
                                     .zone = sv_make(p + 2, 1),
                                     .in_map = p[0] != 'X' && p[0] != 'x',
                                     .member = p[0] != 'N',
                                     .voter = p[0] == 'V' || p[0] == 'x',
                                     .draining = p[1] == 'g',
                                     .age_ms = p[1] == 'd'   ? 11000
                                               : p[1] == 'r' ? 5000
                                               : p[1] == 'q' ? 1000
                                                             : 100,
                                     .alive_ms = p[1] == 'd' ? 0 : 100000 - 10 * n};
        n++;
    }
    return n;
}

static const struct {
    const char *name, *nodes;
    uint64_t self;
    enum voters_do what;
    uint64_t id;
} cases[] = {
    {"a node alone", "Va.", 1, VOTERS_NOTHING, 0},
    {"who is new in the map is added first", "Va. Na. La.", 1, VOTERS_ADD, 2},
    {"who left the map goes", "Va. Xa.", 1, VOTERS_REMOVE, 2},
    {"two nodes have one voter", "Va. La.", 1, VOTERS_NOTHING, 0},
    {"three have three: the longest alive first", "Va. La. La.", 1, VOTERS_PROMOTE, 2},
    {"on the way from one to three", "Va. Va. La.", 1, VOTERS_PROMOTE, 3},
    {"not to two of which both must live", "Va. La. Ld.", 1, VOTERS_NOTHING, 0},
    {"back when the third died on the way", "Va. Va. Ld.", 1, VOTERS_DEMOTE, 2},
    {"a restart changes nothing", "Va. Va. Vr. La.", 1, VOTERS_NOTHING, 0},
    {"a dead voter: the new one first", "Va. Va. Vd. La.", 1, VOTERS_PROMOTE, 4},
    {"then the dead one goes", "Va. Va. Vd. Va.", 1, VOTERS_DEMOTE, 3},
    {"dead, and nobody to replace it", "Va. Va. Vd.", 1, VOTERS_NOTHING, 0},
    {"a draining learner is no replacement", "Va. Va. Vd. Lg.", 1, VOTERS_NOTHING, 0},
    {"a draining voter is replaced", "Va. Vg. Va. La.", 1, VOTERS_PROMOTE, 4},
    {"a draining leader hands over when it is replaced", "Vg. Va. Va. Va.", 1, VOTERS_HAND_OVER, 0},
    {"three less one: the draining first", "Va. Va. Vg.", 1, VOTERS_DEMOTE, 3},
    {"not while another is in doubt", "Va. Vq. Vg.", 1, VOTERS_NOTHING, 0},
    {"who is silent goes before who drains", "Va. Vr. Vg.", 1, VOTERS_DEMOTE, 2},
    {"who is in doubt himself may go", "Va. Va. xq.", 1, VOTERS_REMOVE, 3},
    {"then down to one, the leader stays", "Va. Va. Lg.", 2, VOTERS_DEMOTE, 1},
    {"three less a dead one that drains not: stays", "Va. Vd. Va.", 1, VOTERS_NOTHING, 0},
    {"the sole voter drains: the other comes in", "Vg. La.", 1, VOTERS_PROMOTE, 2},
    {"and takes over", "Vg. Va.", 1, VOTERS_HAND_OVER, 0},
    {"and lets it go", "Vg. Va.", 2, VOTERS_DEMOTE, 1},
    {"a voter that left the map goes", "Va. Va. xa.", 1, VOTERS_REMOVE, 3},
    {"five nodes: from three to five", "Va. Va. Va. La. La.", 1, VOTERS_PROMOTE, 4},
    {"not to four", "Va. Va. Va. La. Ld.", 1, VOTERS_NOTHING, 0},
    {"zones first", "Vaa Laa Lab", 1, VOTERS_PROMOTE, 3},
    {"a better spread comes in", "Vaa Vaa Vab Lac", 1, VOTERS_PROMOTE, 4},
    {"and the crowded zone gives one up", "Vaa Vaa Vab Vac", 1, VOTERS_DEMOTE, 2},
    {"two zones cannot do better than two and one", "Vaa Vaa Vab Lab", 1, VOTERS_NOTHING, 0},
};

Test(voters, steps) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct voter_view nodes[8];
        size_t n = parse(cases[i].nodes, nodes);
        struct voters_step s = voters_next(nodes, n, cases[i].self);
        cr_expect(s.what == cases[i].what && s.id == cases[i].id,
                  "%s: got %d of %" PRIu64 ", not %d of %" PRIu64, cases[i].name, (int)s.what, s.id,
                  (int)cases[i].what, cases[i].id);
    }
}

static unsigned apply(struct voter_view *nodes, size_t n, struct voters_step s, uint64_t *self) {
    for (size_t i = 0; i < n; i++) {
        struct voter_view *v = &nodes[i];
        if (s.what == VOTERS_HAND_OVER && v->voter && v->id != *self && v->age_ms < 2000) {
            *self = v->id;
            return 1;
        }
        if (v->id != s.id) continue;
        v->member = s.what != VOTERS_REMOVE;
        v->voter = s.what == VOTERS_PROMOTE;
    }
    return 0;
}

/* From any state that can be, the steps end, at the right number, and a majority of voters lives
 * whenever one did before. */
Test(voters, as_many_as_there_should_be) {
    static const struct {
        const char *nodes;
        bool enough;
    } counts[] = {
        {"Va.", true},
        {"Va. La.", true},
        {"Va. Va.", true},
        {"Va. La. Lr.", false},
        {"Va. Va. La.", false},
        {"Va. La. Ld.", true},
        {"Va. Va. Vd.", true},
        {"Va. La. Lg.", true},
        {"Va. Va. Va. La.", true},
        {"Va. Va. Va. La. La.", false},
        {"Va. Va. Va. La. Ld.", true},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct voter_view nodes[8];
        size_t count = parse(counts[i].nodes, nodes);
        cr_expect(voters_are_enough(nodes, count) == counts[i].enough, "%s", counts[i].nodes);
    }
}

Test(voters, steps_end_where_they_should) {
    struct rng rng;
    rng_init(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        struct voter_view v[9];
        size_t n = 1 + rng_below(&rng, 8);
        uint64_t self = 0;
        for (size_t i = 0; i < n; i++) {
            static const char *const zones[] = {"a", "b", "c"};
            bool dead = rng_below(&rng, 5) == 0, member = rng_below(&rng, 5) != 0;
            v[i] = (struct voter_view){.id = i + 1,
                                       .zone = sv_from(zones[rng_below(&rng, 3)]),
                                       .in_map = !member || rng_below(&rng, 8) != 0,
                                       .member = member,
                                       .voter = member && rng_below(&rng, 2) == 0,
                                       .draining = rng_below(&rng, 6) == 0,
                                       .age_ms = dead ? 20000 : 50,
                                       .alive_ms = rng_below(&rng, 100000)};
            if (v[i].voter && !dead && self == 0) self = v[i].id;
        }
        if (self == 0) continue;
        unsigned steps = 0;
        struct voters_step s;
        while ((s = voters_next(v, n, self)).what != VOTERS_NOTHING) {
            unsigned voters = 0, live = 0, after = 0, live_after = 0;
            for (size_t i = 0; i < n; i++) {
                voters += v[i].voter;
                live += v[i].voter && v[i].age_ms < 2000;
            }
            if (s.what == VOTERS_HAND_OVER && live < 2) break; /* nobody to hand over to */
            cr_assert(s.id != self || s.what == VOTERS_ADD, "the leader is never taken out");
            apply(v, n, s, &self);
            for (size_t i = 0; i < n; i++) {
                after += v[i].voter;
                live_after += v[i].voter && v[i].age_ms < 2000;
            }
            if (2 * live > voters) cr_assert_gt(2 * live_after, after, "round %d", round);
            cr_assert_lt(++steps, 40, "round %d does not end", round);
        }
        unsigned staying = 0, voters = 0;
        for (size_t i = 0; i < n; i++) {
            staying += v[i].in_map && !v[i].draining;
            voters += v[i].voter;
        }
        if (s.what == VOTERS_NOTHING)
            cr_assert_leq(voters, staying >= 5 ? 5u : staying >= 3 ? 3u : 1u, "round %d", round);
    }
}
