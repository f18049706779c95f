/* SPDX-License-Identifier: Apache-2.0 */
/* A write's way to its shards, on one and on three simulated nodes. */
#include <criterion/criterion.h>
#include <errno.h>

#include "cluster.h"
#include "ingest/remote_write.h"
#include "ingest/write_frame.h"

enum { SERIES = 300 };

static void start_cluster(struct cluster *c, unsigned nodes, uint64_t seed) {
    cluster_init(c, &(struct sim_options){.seed = seed, .nodes_count = nodes});
    for (unsigned i = 0; i < nodes; i++)
        cluster_start(c, i);
    cluster_wait(c);
}

/* A sample of each series at the time, its value from series and time. */
static struct client *all_series(struct cluster *c, int64_t time_ms) {
    static struct client_sample samples[SERIES];
    for (unsigned i = 0; i < SERIES; i++)
        samples[i] = (struct client_sample){i, time_ms, (double)i + (double)(time_ms % 1000)};
    return client_new(c, samples, SERIES);
}

static void expect_counts(const struct client *w, uint32_t accept, uint32_t noop,
                          uint32_t refused) {
    uint32_t others = 0;
    for (unsigned v = VERDICT_NOOP + 1; v < VERDICT_COUNT; v++)
        others += w->op.counts[v];
    cr_assert(w->op.counts[VERDICT_ACCEPT] == accept && w->op.counts[VERDICT_NOOP] == noop &&
                  others == refused,
              "accepted %u, no-op %u, refused %u: %s", w->op.counts[VERDICT_ACCEPT],
              w->op.counts[VERDICT_NOOP], others, w->op.text);
}

static void write_all(struct cluster *c, unsigned node, unsigned core, int64_t time_ms,
                      uint32_t accept) {
    struct client *w = all_series(c, time_ms);
    client_write(c, w, node, core);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    expect_counts(w, accept, SERIES - accept, 0);
    client_free(w);
}

static void expect_newest(struct cluster *c, int64_t time_ms) {
    for (unsigned i = 0; i < SERIES; i++) {
        int64_t got_ms = 0;
        double value = 0;
        cr_assert(cluster_newest(c, i, &got_ms, &value), "series %u", i);
        cr_assert(got_ms == time_ms && value == (double)i + (double)(time_ms % 1000), "series %u",
                  i);
    }
}

Test(distributor, acknowledged_series_are_on_the_nodes_of_their_shards) {
    for (unsigned nodes = 1; nodes <= 3; nodes += 2) {
        struct cluster c;
        start_cluster(&c, nodes, 1);
        int64_t now = cluster_now_ms(&c);
        write_all(&c, 0, 0, now, SERIES);
        expect_newest(&c, now);
        size_t total = 0;
        for (unsigned i = 0; i < nodes; i++) {
            size_t here = cluster_series_count(&c, i);
            cr_assert(here > 0 && (nodes == 1 || here < SERIES));
            total += here;
        }
        cr_assert_eq(total, SERIES); /* nowhere twice */
        /* from elsewhere, where the ids are known by now; and once more, which is harmless */
        write_all(&c, nodes - 1, 1, now + 15000, SERIES);
        expect_newest(&c, now + 15000);
        write_all(&c, 0, 1, now + 15000, 0);
        write_all(&c, nodes - 1, 0, now, 0);
        cluster_fini(&c);
    }
}

Test(distributor, an_empty_write_is_acknowledged) {
    struct cluster c;
    start_cluster(&c, 1, 2);
    struct client *w = client_new(&c, NULL, 0);
    client_write(&c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK);
    client_free(w);
    cluster_fini(&c);
}

Test(distributor, acknowledged_samples_survive_the_process) {
    struct cluster c;
    start_cluster(&c, 3, 3);
    int64_t now = cluster_now_ms(&c);
    write_all(&c, 1, 0, now, SERIES);
    for (unsigned i = 0; i < 3; i++)
        cluster_kill(&c, i);
    for (unsigned i = 0; i < 3; i++)
        cluster_start(&c, i);
    cluster_wait(&c);
    expect_newest(&c, now);
    write_all(&c, 2, 1, now, 0);
    cluster_fini(&c);
}

Test(distributor, the_first_refused_sample_names_the_reason_and_the_rest_is_kept) {
    for (unsigned nodes = 1; nodes <= 3; nodes += 2) {
        struct cluster c;
        start_cluster(&c, nodes, 4);
        int64_t now = cluster_now_ms(&c);
        write_all(&c, 0, 0, now, SERIES);
        struct client_sample samples[SERIES];
        for (unsigned i = 0; i < SERIES; i++)
            samples[i] = (struct client_sample){i, now + 1000, 1};
        samples[7].time_ms = samples[9].time_ms = now; /* another value at the newest time */
        samples[7].value = samples[9].value = -1;
        samples[200].time_ms = now + 3600000; /* beyond the ten minutes */
        struct client *w = client_new(&c, samples, SERIES);
        client_write(&c, w, 0, 0);
        cr_assert_eq(w->op.outcome, WRITE_REFUSED);
        expect_counts(w, SERIES - 3, 0, 3);
        cr_assert_eq(w->op.counts[VERDICT_DUPLICATE], 2);
        cr_assert_eq(w->op.counts[VERDICT_FUTURE], 1);
        cr_assert(strstr(w->op.text, "duplicate sample for timestamp") != NULL, "%s", w->op.text);
        cr_assert(strstr(w->op.text, "i=\"7\"") != NULL || strstr(w->op.text, "existing") != NULL,
                  "%s", w->op.text);
        for (unsigned i = 0; i < SERIES; i++) {
            int64_t got_ms;
            double value;
            cr_assert(cluster_newest(&c, i, &got_ms, &value));
            cr_assert_eq(got_ms, i == 7 || i == 9 || i == 200 ? now : now + 1000);
        }
        client_free(w);
        cluster_fini(&c);
    }
}

Test(distributor, others_take_the_writes_of_a_node_that_is_down) {
    struct cluster c;
    start_cluster(&c, 3, 5);
    int64_t now = cluster_now_ms(&c);
    write_all(&c, 0, 0, now, SERIES);
    cluster_kill(&c, 2);
    struct client *w = all_series(&c, now + 15000);
    client_write(&c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    cr_assert(w->took_ms >= 1000 && w->took_ms <= 5000, "after %lu ms", (unsigned long)w->took_ms);
    client_free(w);
    cluster_start(&c, 2);
    cluster_wait(&c);
    expect_newest(&c, now + 15000); /* it has fetched them */
    write_all(&c, 0, 0, now + 15000, 0);
    cluster_fini(&c);
}

static void restart_node(void *ctx) {
    cluster_start(ctx, 2);
}

Test(distributor, a_node_that_comes_back_in_time_is_not_noticed) {
    struct cluster c;
    start_cluster(&c, 3, 6);
    int64_t now = cluster_now_ms(&c);
    write_all(&c, 0, 0, now, SERIES);
    cluster_kill(&c, 2);
    sim_after(c.sim, 1000, restart_node, &c);
    struct client *w = all_series(&c, now + 15000);
    client_write(&c, w, 0, 1);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    cr_assert(w->took_ms >= 1000 && w->took_ms < 10000, "after %lu ms", (unsigned long)w->took_ms);
    client_free(w);
    cluster_wait(&c);
    expect_newest(&c, now + 15000);
    cluster_fini(&c);
}

/* The disk of one node says EIO at its next sync; its log is closed for good. */
Test(distributor, a_log_that_fails_is_replaced) {
    struct cluster c;
    cluster_init(&c, &(struct sim_options){.seed = 7, .nodes_count = 3});
    c.nodes[1].disk = sim_disk_new(7);
    for (unsigned i = 0; i < 3; i++)
        cluster_start(&c, i);
    cluster_wait(&c);
    int64_t now = cluster_now_ms(&c);
    write_all(&c, 0, 0, now, SERIES);
    for (uint64_t k = 1; k <= 2; k++) /* write, sync: whichever comes, the frame is not durable */
        sim_disk_fail_at(c.nodes[1].disk, sim_disk_calls(c.nodes[1].disk) + k, EIO);
    struct client *w = all_series(&c, now + 15000);
    client_write(&c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    client_free(w);
    cr_assert(!node_is_ready(c.nodes[1].node, NULL));
    cluster_kill(&c, 1);
    cluster_start(&c, 1);
    cluster_wait(&c);
    expect_newest(&c, now + 15000);
    write_all(&c, 0, 0, now + 15000, 0);
    cluster_fini(&c);
}

Test(distributor, too_much_under_way_is_refused_at_once) {
    struct cluster c;
    start_cluster(&c, 1, 8);
    int64_t now = cluster_now_ms(&c);
    struct client *a = all_series(&c, now), *b = all_series(&c, now);
    /* 256 MiB are a core's; the body's bytes count */
    MUST(buf_reserve(&a->op.body, 1));
    a->op.body.len = (size_t)200 << 20;
    MUST(buf_reserve(&b->op.body, 1));
    b->op.body.len = (size_t)200 << 20;
    client_start(&c, a, 0, 0);
    client_start(&c, b, 0, 0);
    MUST(sim_run(c.sim, client_is_done, a, sim_now_ms(c.sim) + 1000));
    MUST(sim_run(c.sim, client_is_done, b, sim_now_ms(c.sim) + 1000));
    cr_assert_eq(a->op.outcome, WRITE_OK);
    cr_assert_eq(b->op.outcome, WRITE_UNAVAILABLE);
    cr_assert(b->took_ms <= 1);
    client_free(a);
    client_free(b);
    write_all(&c, 0, 0, now + 15000, SERIES); /* and the room is free again */
    cluster_fini(&c);
}

/* -- frames from a peer that is not as it should be */

struct call {
    unsigned replies;
    enum status status;
    char text[480];
};

static void call_on_reply(void *ctx, enum status status, struct sv part, bool last,
                          const struct err *err) {
    struct call *call = ctx;
    cr_assert(last);
    (void)part;
    call->replies++;
    call->status = status;
    snprintf(call->text, sizeof call->text, "%s", status == OK ? "" : err->msg);
}

struct caller {
    struct msg msg;
    struct call call;
    struct buf payload;
    node_id node;
};

static void caller_on_core(struct core *here, struct msg *m) {
    struct caller *caller = container_of(m, struct caller, msg);
    struct peer_call_options o = {.to = caller->node,
                                  .type = FRAME_WRITE,
                                  .timeout_ms = 5000,
                                  .reply = call_on_reply,
                                  .ctx = &caller->call};
    peers_call(here->locals[CORE_PEERS], &o, &caller->payload);
}

static bool caller_is_done(void *ctx) {
    return ((struct caller *)ctx)->call.replies > 0;
}

static struct call call_with(struct cluster *c, struct sv payload) {
    struct caller caller = {.msg.run = caller_on_core};
    struct ring_map *map = node_map(c->nodes[0].node);
    for (uint16_t i = 0; i < map->nodes_count; i++)
        if (strcmp(map->nodes[i].addr, sim_addr(c->sim, 1)) == 0) caller.node = map->nodes[i].id;
    buf_put_sv(&caller.payload, payload);
    core_post(store_core(node_store(c->nodes[0].node, 0)), &caller.msg);
    MUST(sim_run(c->sim, caller_is_done, &caller, sim_now_ms(c->sim) + 10000));
    cr_assert_eq(caller.call.replies, 1);
    return caller.call;
}

Test(distributor, bad_frames_are_answered_with_their_fault) {
    struct cluster c;
    start_cluster(&c, 2, 9);
    struct call got = call_with(&c, SV("\x02\x00\x00\x00"));
    cr_assert_eq(got.status, ERR_UNSUPPORTED, "%s", got.text);
    cr_assert(strstr(got.text, "version 2") != NULL);
    got = call_with(&c, SV("garbage"));
    cr_assert_neq(got.status, OK);
    got = call_with(&c, SV("\x01\x00\x00\x01\x00\x63\x01"
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    cr_assert_eq(got.status, ERR_CONFLICT, "%s", got.text);
    cr_assert(strstr(got.text, "epoch 99") != NULL, "%s", got.text);
    got = call_with(&c, SV("\x01\x00\x00\x00"));
    cr_assert_eq(got.status, OK);
    cluster_fini(&c);
}

/* -- replies that are not as they should be: never a crash, never an acknowledgement */

static unsigned odd_asked;

static void answer_with(struct peer_request *req, const void *bytes, size_t len, bool last) {
    struct buf b = {0};
    buf_put(&b, bytes, len);
    MUST(peer_reply(req, &b, last));
}

static void answer_oddly(struct peer_request *req, struct sv payload, void *ctx) {
    static const char ok[] = "\x01\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    static const char asks[] =
        "\x01\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00";
    static const char asks_beyond[] =
        "\x01\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\x00\x00";
    cr_assert(payload.len > 0);
    odd_asked++;
    switch (*(unsigned *)ctx) {
    case 0: answer_with(req, ok, sizeof ok - 1, false); break; /* and never the last part */
    case 1: answer_with(req, "garbage", 7, true); break;
    case 2: answer_with(req, ok, 5, true); break;
    case 3: answer_with(req, asks_beyond, sizeof asks_beyond - 1, true); break;
    case 4: answer_with(req, asks, sizeof asks - 1, true); break; /* again and again */
    case 5: peer_reply_error(req, ERR_NOMEM, "out of memory"); break;
    default: break; /* no answer */
    }
}

Test(distributor, odd_replies_make_it_503) {
    for (unsigned kind = 0; kind <= 6; kind++) {
        struct cluster c;
        start_cluster(&c, 2, 10 + kind);
        for (unsigned i = 0; i < CLUSTER_CORES; i++) {
            struct core *core = store_core(node_store(c.nodes[1].node, i));
            core_set_current(core);
            peers_handle(core->locals[CORE_PEERS], FRAME_WRITE, answer_oddly, &kind);
        }
        core_set_current(NULL);
        odd_asked = 0;
        struct client *w = all_series(&c, cluster_now_ms(&c));
        client_write(&c, w, 0, 0);
        cr_assert_eq(w->op.outcome, WRITE_UNAVAILABLE, "kind %u", kind);
        cr_assert(odd_asked >= 2 && w->took_ms <= 16000, "kind %u: asked %u times, %lu ms", kind,
                  odd_asked, (unsigned long)w->took_ms);
        cr_assert(strstr(w->op.text, sim_addr(c.sim, 1)) != NULL, "%s", w->op.text);
        client_free(w);
        cluster_fini(&c);
    }
}

/* -- samples of the process itself */

struct own {
    struct msg msg;
    struct remote_write_sample samples[3];
    size_t count;
    enum status status;
    struct err err;
    unsigned done;
    enum write_outcome outcome;
    char text[480];
};

static void own_on_done(void *ctx, enum write_outcome outcome, const char *text) {
    struct own *own = ctx;
    cr_assert(own->status == OK && own->done == 0);
    own->done++;
    own->outcome = outcome;
    snprintf(own->text, sizeof own->text, "%s", text);
}

static void own_on_core(struct core *here, struct msg *m) {
    struct own *own = container_of(m, struct own, msg);
    own->status = ingest_samples(here, own->samples, own->count, own_on_done, own, &own->err);
    cr_assert_eq(own->done, 0); /* never inside the call */
    if (own->status != OK) own->done = 100;
}

static bool own_is_done(void *ctx) {
    return ((struct own *)ctx)->done > 0;
}

static void own_write(struct cluster *c, struct own *own) {
    own->msg.run = own_on_core;
    own->done = 0;
    own->status = OK;
    core_post(store_core(node_store(c->nodes[0].node, 0)), &own->msg);
    MUST(sim_run(c->sim, own_is_done, own, sim_now_ms(c->sim) + 20000));
}

Test(distributor, own_samples_go_the_same_way) {
    struct cluster c;
    start_cluster(&c, 3, 20);
    int64_t now = cluster_now_ms(&c);
    struct label a[] = {{SV("i"), SV("1")}, {SV("__name__"), SV("name")}, {SV("e"), SV("")}};
    struct label b[] = {{SV("__name__"), SV("name")}, {SV("i"), SV("2")}};
    struct own own = {.samples = {{a, 3, now, 0.5}, {b, 2, now, 1.5}}, .count = 2};
    own_write(&c, &own);
    cr_assert(own.status == OK && own.outcome == WRITE_OK, "%s %s", own.err.msg, own.text);
    int64_t time_ms;
    double value;
    cr_assert(cluster_newest(&c, 1, &time_ms, &value) && time_ms == now && value == 0.5);
    cr_assert(cluster_newest(&c, 2, &time_ms, &value) && time_ms == now && value == 1.5);
    own.samples[1].value = 2.5;
    own_write(&c, &own);
    cr_assert(own.outcome == WRITE_REFUSED &&
                  strstr(own.text, "existing 1.5, new value 2.5") != NULL,
              "%s", own.text);
    static const struct {
        struct label label;
        enum status want;
    } wrong[] = {{{SV_INIT("i"), SV_INIT("x")}, ERR_CONFLICT},
                 {{SV_INIT(""), SV_INIT("x")}, ERR_PARSE},
                 {{SV_INIT("u"), SV_INIT("\xff")}, ERR_PARSE}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct label l[] = {{SV("__name__"), SV("name")}, {SV("i"), SV("9")}, wrong[i].label};
        own.samples[1] = (struct remote_write_sample){l, 3, now, 1};
        own_write(&c, &own);
        cr_assert(own.status == wrong[i].want && own.err.msg[0] != '\0', "%zu: %s", i, own.err.msg);
    }
    struct label unnamed[] = {{SV("i"), SV("9")}};
    own.samples[1] = (struct remote_write_sample){unnamed, 1, now, 1};
    own_write(&c, &own);
    cr_assert_eq(own.status, ERR_PARSE);
    cr_assert_str_eq(own.err.msg, "sample 1: no metric name");
    cluster_fini(&c);
}

/* A receiver that loses power between two asks knows less than it said: the second time every row's
 * labels go with it. */

static const struct ring_map *forgetful_map;

static void answer_forgetfully(struct peer_request *req, struct sv payload, void *ctx) {
    unsigned *asked = ctx;
    struct write_rows rows = {0};
    bool with_labels;
    MUST(write_frame_get(forgetful_map, payload, &rows, &with_labels, NULL) == OK &&
         rows.count > 2);
    size_t given = 0;
    for (size_t i = 0; i < rows.count; i++)
        given += rows.labels[i].ptr != NULL;
    cr_assert_eq(given, *asked == 0 ? 0 : *asked == 1 ? 1 : rows.count);
    struct write_frame_reply reply = {.first_refused = WRITE_FRAME_NO_ROW};
    uint32_t unknown = *asked; /* row 0, then row 1 */
    if (*asked < 2) {
        reply.unknown = &unknown;
        reply.unknown_count = 1;
    } else {
        reply.counts[VERDICT_ACCEPT] = (uint32_t)rows.count;
    }
    ++*asked;
    struct buf out = {0};
    write_frame_reply_put(&reply, &out);
    MUST(peer_reply(req, &out, true));
    write_rows_fini(&rows);
}

Test(distributor, a_second_ask_for_labels_gets_all_of_them) {
    struct cluster c;
    start_cluster(&c, 2, 30);
    unsigned asked = 0;
    forgetful_map = node_map(c.nodes[1].node);
    for (unsigned i = 0; i < CLUSTER_CORES; i++) {
        struct core *core = store_core(node_store(c.nodes[1].node, i));
        core_set_current(core);
        peers_handle(core->locals[CORE_PEERS], FRAME_WRITE, answer_forgetfully, &asked);
    }
    core_set_current(NULL);
    struct client *w = all_series(&c, cluster_now_ms(&c));
    client_write(&c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    expect_counts(w, SERIES, 0, 0);
    cr_assert(asked == 3 && w->took_ms < 1000);
    client_free(w);
    cluster_fini(&c);
}

Test(distributor, a_series_may_have_several_samples_in_a_write) {
    struct cluster c;
    start_cluster(&c, 3, 31);
    int64_t now = cluster_now_ms(&c);
    struct client_sample samples[SERIES];
    for (unsigned i = 0; i < SERIES; i++)
        samples[i] = (struct client_sample){i % 100, now + (int64_t)(i / 100) * 1000, (double)i};
    struct client *w = client_new(&c, samples, SERIES);
    client_write(&c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    expect_counts(w, SERIES, 0, 0);
    for (unsigned i = 0; i < 100; i++) {
        int64_t time_ms;
        double value;
        cr_assert(cluster_newest(&c, i, &time_ms, &value) && time_ms == now + 2000 &&
                  value == 200 + i);
    }
    client_free(w);
    cluster_fini(&c);
}

/* What a batch is charged is near what it takes: 100 large ones at once find room in a core's 256
 * MiB. */
Test(distributor, many_large_batches_find_room) {
    enum { BATCHES = 100, ROWS = 10000 };
    struct cluster c;
    start_cluster(&c, 1, 32);
    int64_t now = cluster_now_ms(&c);
    struct client_sample *samples = calloc(ROWS, sizeof *samples);
    struct client *clients[BATCHES];
    for (unsigned k = 0; k < BATCHES; k++) {
        for (unsigned i = 0; i < ROWS; i++)
            samples[i] = (struct client_sample){i, now + k, (double)k};
        clients[k] = client_new(&c, samples, ROWS);
        client_start(&c, clients[k], 0, 0);
    }
    for (unsigned k = 0; k < BATCHES; k++) {
        MUST(sim_run(c.sim, client_is_done, clients[k], sim_now_ms(c.sim) + 60000));
        cr_assert_eq(clients[k]->op.outcome, WRITE_OK, "batch %u: %s", k, clients[k]->op.text);
        client_free(clients[k]);
    }
    free(samples);
    cluster_fini(&c);
}
