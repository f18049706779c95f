/* SPDX-License-Identifier: Apache-2.0 */
/* Members that find each other by a Cloud Map whose answers are the test's. Times are virtual. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ring/member/world.h"

enum { ANSWER_MS = 50, STALE = 6 };

/* One question of a node, and what it is answered. */
struct asked {
    struct timer timer;
    cloudmap_done done;
    void *arg;
    unsigned count; /* questions so far */
    bool busy;
};
static struct asked asked[WORLD_NODES_MAX];
/* The test's: fills the body for the count-th question of a node (1, 2, ...); HTTP's code, or 0 for
 * an error of the network. */
static int (*script)(unsigned count, struct buf *body);

static void answer_fire(struct timer *t) {
    struct asked *a = container_of(t, struct asked, timer);
    struct cloudmap_answer answer = {0};
    struct buf body = {0};
    a->busy = false;
    answer.code = script(a->count, &body);
    answer.body = buf_sv(&body);
    if (answer.code == 0)
        answer.status = err_set(&answer.err, ERR_TIMEOUT, 0, "http://a:80: no answer within 1 ms");
    a->done(a->arg, &answer);
    buf_fini(&body);
}

static void ask(void *ctx, struct sv body, cloudmap_done done, void *arg) {
    struct seat *seat = ctx;
    struct asked *a = &asked[seat->node];
    size_t at;
    cr_assert(core_is_current(seat->rt->control_core) && !a->busy);
    cr_assert(sv_find(body, SV("\"ServiceName\":\"service\""), &at));
    a->busy = true;
    a->count++;
    a->done = done;
    a->arg = arg;
    timer_init(&a->timer, seat->rt->control_core, answer_fire);
    timer_start(&a->timer, ANSWER_MS);
}

static void cancel(void *ctx) {
    struct asked *a = &asked[((struct seat *)ctx)->node];
    cr_assert(a->busy);
    timer_stop(&a->timer);
    a->busy = false;
}

static const struct cloudmap_ops ops = {.ask = ask, .cancel = cancel};

static void put_instances(struct buf *body, unsigned from, unsigned to) {
    buf_put_sv(body, SV("{\"Instances\":["));
    for (unsigned i = from; i < to; i++)
        buf_printf(body, "%s{\"Attributes\":{\"AWS_INSTANCE_IPV4\":\"10.0.0.%u\"}}",
                   i == from ? "" : ",", i);
    buf_put_sv(body, SV("]}"));
}

static struct world *world_asking(unsigned nodes, unsigned expect,
                                  int (*answers)(unsigned count, struct buf *body)) {
    struct world *w = calloc(1, sizeof *w);
    cr_assert_not_null(w);
    script = answers;
    world_open(w, &(struct world_options){.nodes = nodes,
                                          .expect = expect,
                                          .rf = 2,
                                          .cloudmap = &ops,
                                          .sim = {.seed = 7, .ip_addrs = true}});
    return w;
}

static void end(struct world *w) {
    cr_expect_str_eq(w->failure, "");
    world_close(w);
    free(w);
}

/* Who is listed is alone in its answer, and between two good ones all goes wrong: three nodes are
 * together only for who keeps what one of the newest answers had. */
static int one_by_one(unsigned count, struct buf *body) {
    unsigned turn = count % 7;
    if (turn == 1) return 0;
    if (turn == 2) {
        buf_put_sv(body, SV("{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}"));
        return 400;
    }
    if (turn >= 3) put_instances(body, 0, 0);
    if (turn == 0) put_instances(body, count / 7 % 3, count / 7 % 3 + 1);
    return 200;
}

Test(member_cloudmap, answers_add_up_and_bad_ones_take_nothing) {
    struct world *w = world_asking(3, 3, one_by_one);
    cr_assert(world_converge(w, 60000), "%s", w->failure);
    cr_expect_eq(w->newest->nodes_count, 3);
    cr_expect_geq(asked[0].count, 13, "nobody can know the third earlier");
    for (int i = 0; i < 10; i++) /* and they stay together */
        cr_assert(world_run(w, 10000) && world_converge(w, 1), "%s", w->failure);
    end(w);
}

/* The first answer has six instances that are gone: a node waits for more than half of nine. */
static int stale_once(unsigned count, struct buf *body) {
    put_instances(body, 0, count == 1 ? 3 + STALE : 3);
    return 200;
}

Test(member_cloudmap, who_is_gone_is_forgotten_after_five_answers) {
    struct world *w = world_asking(3, 3, stale_once);
    unsigned at_birth = 0;
    while (!w->founded && at_birth < 20) {
        at_birth = asked[0].count;
        cr_assert(world_run(w, 100), "%s", w->failure);
    }
    cr_expect(at_birth == 6 || at_birth == 7, "founded after %u answers", at_birth);
    cr_assert(world_converge(w, 30000), "%s", w->failure);
    cr_expect_eq(w->newest->nodes_count, 3);
    end(w);
}

static int never(unsigned count, struct buf *body) {
    (void)body;
    return count % 2 == 0 ? 0 : 500;
}

Test(member_cloudmap, without_an_answer_nothing_is_founded_and_it_is_asked_on) {
    struct world *w = world_asking(3, 3, never);
    cr_assert(world_run(w, 60000), "%s", w->failure);
    cr_expect_null(w->newest);
    for (unsigned i = 0; i < 3; i++)
        cr_expect(asked[i].count >= 20 && asked[i].count <= 31, "%u questions", asked[i].count);
    world_stop(w, 0); /* in the middle of a question or not */
    end(w);
}

/* Once it has a leader a node asks every half minute. */
static int all(unsigned count, struct buf *body) {
    (void)count;
    put_instances(body, 0, 3);
    return 200;
}

Test(member_cloudmap, a_settled_cluster_asks_twice_a_minute) {
    struct world *w = world_asking(3, 3, all);
    cr_assert(world_converge(w, 30000), "%s", w->failure);
    cr_assert(world_run(w, 30000), "%s", w->failure);
    unsigned before = asked[1].count;
    cr_assert(world_run(w, 300000), "%s", w->failure);
    cr_expect(asked[1].count - before >= 9 && asked[1].count - before <= 11, "%u questions",
              asked[1].count - before);
    end(w);
}
