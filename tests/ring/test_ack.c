/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/ack.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/rng.h"

static struct ack_board board;

struct waiter {
    struct ack_wait wait;
    unsigned called;
    enum status status;
    void (*then)(struct waiter *w);
};

static unsigned ended;

static void on_done(struct ack_wait *wait, enum status status, const struct err *err) {
    struct waiter *w = container_of(wait, struct waiter, wait);
    cr_assert_eq(w->called, 0, "done twice");
    cr_assert((status == OK) == (err == NULL));
    w->called++;
    w->status = status;
    ended++;
    if (w->then != NULL) w->then(w);
}

static void wait_on(struct waiter *w, unsigned member, uint64_t position) {
    ack_wait_begin(&w->wait, on_done);
    ack_wait_need(&board, &w->wait, member, position);
    ack_wait_commit(&w->wait);
}

Test(ack, waits_end_in_order_and_never_early) {
    static struct waiter w[4];
    ack_board_init(&board);
    unsigned a = ack_member_add(&board, 7), b = ack_member_add(&board, 9);
    cr_assert_eq(ack_member_add(&board, 7), a);
    ack_wait_begin(&w[0].wait, on_done);
    ack_wait_need(&board, &w[0].wait, a, 10);
    ack_wait_need(&board, &w[0].wait, b, 5);
    ack_wait_commit(&w[0].wait);
    wait_on(&w[1], a, 4);
    ack_progress(&board, a, 3);
    cr_assert_eq(ended, 0);
    ack_progress(&board, a, 10);
    cr_assert(w[1].called == 1 && w[0].called == 0);
    ack_progress(&board, b, 4);
    cr_assert_eq(w[0].called, 0);
    ack_progress(&board, b, 5);
    cr_assert(w[0].called == 1 && w[0].status == OK);
    wait_on(&w[2], a, 10); /* durable already: inside commit */
    cr_assert_eq(w[2].called, 1);
    ack_wait_begin(&w[3].wait, on_done); /* nothing to wait for */
    ack_wait_commit(&w[3].wait);
    cr_assert_eq(w[3].called, 1);
}

static struct waiter chain[3];
static void then_fail(struct waiter *w) {
    (void)w;
    struct err err;
    err_set(&err, ERR_IO, 0, "log closed");
    ack_wait_cancel(&chain[2].wait);
    ack_fail(&board, 0, ERR_IO, &err);
}

Test(ack, callbacks_may_cancel_fail_and_begin) {
    ack_board_init(&board);
    unsigned a = ack_member_add(&board, 1);
    chain[0].then = then_fail;
    wait_on(&chain[0], a, 1);
    wait_on(&chain[1], a, 2);
    wait_on(&chain[2], a, 2);
    ack_progress(&board, a, 2);
    cr_assert(chain[0].called == 1 && chain[0].status == OK);
    cr_assert(chain[1].called == 1 && chain[1].status == ERR_IO);
    cr_assert_eq(chain[2].called, 0);
    cr_assert_eq(ack_member_failed(&board, a), ERR_IO);
    static struct waiter late;
    wait_on(&late, a, 1);
    cr_assert_eq(late.called, 0, "stays open until it is cancelled");
    ack_wait_cancel(&late.wait);
    cr_assert(list_is_empty(&board.members[a].waits));
}

/* ---- against a model: positions per wait, durable per member ---- */

enum { MEMBERS = 5, WAITS = 40 };
struct model {
    bool open;
    bool needs[MEMBERS];
    uint64_t position[MEMBERS];
};
static struct waiter waits[WAITS];
static struct model models[WAITS];
static uint64_t durable[MEMBERS], sent[MEMBERS];
static bool failed[MEMBERS];

static bool model_done(const struct model *m) {
    for (unsigned i = 0; i < MEMBERS; i++)
        if (m->needs[i] && m->position[i] > durable[i]) return false;
    return true;
}

static void model_begin(struct rng *rng, unsigned i) {
    struct model *m = &models[i];
    waits[i] = (struct waiter){0};
    *m = (struct model){.open = true};
    ack_wait_begin(&waits[i].wait, on_done);
    for (unsigned k = 0; k < MEMBERS; k++) {
        if (failed[k] || rng_below(rng, 2) == 0) continue;
        m->needs[k] = true;
        m->position[k] = sent[k] - rng_below(rng, MIN(sent[k], (uint64_t)5) + 1);
        if (rng_below(rng, 2) == 0) m->position[k] = ++sent[k];
        ack_wait_need(&board, &waits[i].wait, k, m->position[k]);
    }
    cr_assert_eq(waits[i].called, 0, "before commit");
    ack_wait_commit(&waits[i].wait);
}

static void model_check(uint64_t seed, int failed_now) {
    for (unsigned i = 0; i < WAITS; i++) {
        struct model *m = &models[i];
        if (!m->open) continue;
        bool broken = failed_now >= 0 && m->needs[failed_now] && waits[i].status != OK;
        if (failed_now >= 0 && m->needs[failed_now] &&
            m->position[failed_now] > durable[failed_now])
            cr_assert_eq(waits[i].status, ERR_UNAVAILABLE, "seed %d", (int)seed);
        cr_assert_eq(waits[i].called, model_done(m) || broken, "seed %d wait %u", (int)seed, i);
        if (waits[i].called) m->open = false;
    }
}

Test(ack, random_runs_agree_with_the_model) {
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        ack_board_init(&board);
        memset(models, 0, sizeof models);
        for (unsigned k = 0; k < MEMBERS; k++) {
            cr_assert_eq(ack_member_add(&board, k + 1), k);
            durable[k] = sent[k] = 0;
            failed[k] = false;
        }
        for (int step = 0; step < 400; step++) {
            unsigned i = (unsigned)rng_below(&rng, WAITS), k = (unsigned)rng_below(&rng, MEMBERS);
            int failed_now = -1;
            if (rng_below(&rng, 100) < 40) {
                if (!models[i].open) model_begin(&rng, i);
            } else if (rng_below(&rng, 100) < 10) {
                if (models[i].open) ack_wait_cancel(&waits[i].wait);
                models[i].open = false;
            } else if (rng_below(&rng, 400) == 0 && !failed[k]) {
                struct err err;
                failed[k] = true;
                failed_now = (int)k;
                ack_fail(&board, k, err_set(&err, ERR_UNAVAILABLE, 0, "follower lost"), &err);
            } else if (!failed[k]) {
                uint64_t to = durable[k] + rng_below(&rng, sent[k] - durable[k] + 1);
                durable[k] = MAX(durable[k], to);
                ack_progress(&board, k, to);
                if (rng_below(&rng, 4) == 0) ack_progress(&board, k, to / 2); /* stale */
            }
            model_check(seed, failed_now);
            for (unsigned m = 0; m < MEMBERS; m++)
                cr_assert_leq(board.members[m].durable, board.members[m].sent);
        }
    }
    cr_assert_gt(ended, 10000);
}
