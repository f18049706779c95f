/* SPDX-License-Identifier: Apache-2.0 */
/* What peers promise, one by one, in the simulator without faults by chance. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/placement.h"
#include "tests/ring/peers_rig.h"

static struct rig rig;

static void open_all(void) {
    struct sim_options o = {.seed = 1};
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    rig_open(&rig, &o);
    sim_set_faults(rig.sim, false);
}

static void start_all(void) {
    for (unsigned i = 0; i < RIG_NODES; i++)
        rig_start(&rig, i);
}

static uint64_t now_ms(void) {
    return sim_now_ms(rig.sim);
}

/* ---- a call and what came of it ---- */

struct asked {
    struct peer_call *handle;
    struct rig_seat *seat;
    unsigned parts, ends;
    struct buf got;
    enum status status;
    struct err err;
    uint64_t ended_ms;
    void (*then)(struct asked *a, bool last);
};

static void asked_on_reply(void *ctx, enum status status, struct sv part, bool last,
                           const struct err *err) {
    struct asked *a = ctx;
    cr_assert_eq(a->ends, 0, "called after the end");
    if (status == OK) {
        a->parts++;
        buf_put_sv(&a->got, part);
    } else {
        cr_assert(last && err->code == status);
        a->err = *err;
    }
    if (last) {
        a->ends++;
        a->status = status;
        a->ended_ms = now_ms();
    }
    if (a->then != NULL) a->then(a, last);
}

static void ask_bytes(struct asked *a, unsigned from, unsigned to, uint64_t timeout_ms,
                      struct buf *payload) {
    struct rig_seat *seat = &rig.seats[from][0];
    struct core *before = core_current();
    struct peer_call_options o = {.to = rig_id(to),
                                  .type = FRAME_FRAGMENT,
                                  .timeout_ms = timeout_ms,
                                  .reply = asked_on_reply,
                                  .ctx = a};
    core_set_current(seat->core);
    a->seat = seat;
    a->handle = peers_call(seat->peers, &o, payload);
    cr_assert(payload->len == 0 && a->ends == 0, "never called inside");
    core_set_current(before);
}

static void ask(struct asked *a, unsigned from, unsigned to, uint64_t timeout_ms) {
    struct buf payload = {0};
    buf_put_sv(&payload, SV("question"));
    ask_bytes(a, from, to, timeout_ms, &payload);
}

static void expect_error(const struct asked *a, enum status status, const char *text) {
    cr_assert_eq(a->ends, 1, "no end yet");
    cr_assert_eq(a->status, status, "%s", a->err.msg);
    cr_assert(strstr(a->err.msg, text) != NULL, "\"%s\" is not in \"%s\"", text, a->err.msg);
}

/* ---- handlers ---- */

static unsigned served_count, gone_count;
static uint64_t gone_ms;
static struct peer_request *held;

static void on_answer(struct peer_request *req, struct sv payload, void *ctx) {
    (void)ctx;
    cr_assert(sv_eq(payload, SV("question")));
    served_count++;
    struct buf b = {0};
    buf_put_sv(&b, SV("an"));
    cr_assert(peer_reply(req, &b, false));
    buf_put_sv(&b, SV("swer"));
    cr_assert(peer_reply(req, &b, true));
}

static void on_gone(struct peer_request *req) {
    cr_assert(req->user == &gone_count);
    if (req == held) held = NULL;
    gone_count++;
    gone_ms = now_ms();
}

static void on_hold(struct peer_request *req, struct sv payload, void *ctx) {
    (void)payload;
    (void)ctx;
    served_count++;
    held = req;
    req->user = &gone_count;
    req->gone = on_gone;
}

static void up_answer(struct rig_seat *seat) {
    peers_handle(seat->peers, FRAME_FRAGMENT, on_answer, seat);
}
static void up_hold(struct rig_seat *seat) {
    peers_handle(seat->peers, FRAME_FRAGMENT, on_hold, seat);
}

Test(peers, an_answer_in_parts) {
    static struct asked a[4];
    rig = (struct rig){.up = up_answer};
    open_all();
    start_all();
    for (unsigned i = 0; i < 4; i++)
        ask(&a[i], i % 3, (i + 1) % 3, 1000);
    rig_run(&rig, 100);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(a[i].ends == 1 && a[i].status == OK && a[i].parts == 2);
        cr_assert(sv_eq(buf_sv(&a[i].got), SV("answer")));
        buf_fini(&a[i].got);
    }
    cr_assert(peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    cr_assert(!peers_is_connected(rig.seats[0][0].peers, rig_id(2)));
    cr_assert_eq(peers_map(rig.seats[0][0].peers), rig.maps[0]);
    rig_stop(&rig);
    rig_close(&rig);
}

Test(peers, cancel_and_deadline_reach_the_handler) {
    static struct asked a, b;
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    ask(&a, 0, 1, 10000);
    rig_run(&rig, 100);
    cr_assert(served_count == 1 && gone_count == 0);
    core_set_current(a.seat->core);
    peer_call_cancel(a.handle);
    core_set_current(NULL);
    uint64_t start = now_ms();
    rig_run(&rig, 50);
    cr_assert(gone_count == 1 && gone_ms - start <= 10 && a.ends == 0);
    start = now_ms();
    ask(&b, 0, 1, 300);
    rig_run(&rig, 1000);
    expect_error(&b, ERR_TIMEOUT, "node n1:1 did not answer within 300 ms");
    cr_assert(b.ended_ms - start <= 302 && gone_count == 2 && gone_ms - start <= 310);
    rig_close(&rig);
}

Test(peers, gone_comes_once_when_the_asker_dies) {
    static struct asked a;
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    ask(&a, 0, 1, 60000);
    rig_run(&rig, 100);
    cr_assert_eq(served_count, 1);
    rig_kill(&rig, 0);
    rig_run(&rig, 5000);
    cr_assert_eq(gone_count, 1);
    rig_close(&rig);
}

Test(peers, a_dead_node_fails_all_its_calls_at_once) {
    static struct asked first[3], late, again, other;
    rig = (struct rig){.up = up_answer};
    open_all();
    rig_start(&rig, 0);
    rig_start(&rig, 2);
    uint64_t start = now_ms();
    for (unsigned i = 0; i < 3; i++)
        ask(&first[i], 0, 1, 60000);
    ask(&other, 0, 2, 60000);
    rig_run(&rig, 30);
    for (unsigned i = 0; i < 3; i++) {
        expect_error(&first[i], ERR_UNAVAILABLE, "node n1:1: cannot connect: connection refused");
        cr_assert_leq(first[i].ended_ms - start, 20);
    }
    cr_assert(other.ends == 1 && other.status == OK);
    ask(&late, 0, 1, 60000); /* during the back-off: waits for the next try and shares its fate */
    rig_run(&rig, 10);
    cr_assert_eq(late.ends, 0);
    rig_run(&rig, 90);
    expect_error(&late, ERR_UNAVAILABLE, "connection refused");
    rig_start(&rig, 1);
    ask(&again, 0, 1, 60000); /* and when the node is back, it succeeds within the back-off */
    rig_run(&rig, 2100);
    cr_assert(again.ends == 1 && again.status == OK, "%s", again.err.msg);
    buf_fini(&again.got);
    buf_fini(&other.got);
    rig_close(&rig);
}

Test(peers, a_silent_node_fails_within_two_seconds) {
    static struct asked a, b;
    rig = (struct rig){.up = up_answer};
    open_all();
    start_all();
    sim_partition(rig.sim, 0, 1, 30000);
    uint64_t start = now_ms();
    ask(&a, 0, 1, 60000);
    ask(&b, 0, 1, 100); /* has less patience */
    rig_run(&rig, 5000);
    cr_assert(a.ends == 1 && a.status == ERR_UNAVAILABLE && a.ended_ms - start <= 2010, "%s",
              a.err.msg);
    expect_error(&b, ERR_TIMEOUT, "did not answer within 100 ms");
    rig_close(&rig);
}

Test(peers, a_connection_that_dies_fails_what_was_sent) {
    static struct asked a, b;
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    ask(&a, 0, 1, 60000);
    ask(&b, 0, 1, 60000);
    rig_run(&rig, 100);
    cr_assert_eq(served_count, 2);
    rig_kill(&rig, 1);
    rig_run(&rig, 3000);
    expect_error(&a, ERR_UNAVAILABLE, "node n1:1: connection lost: ");
    expect_error(&b, ERR_UNAVAILABLE, "node n1:1: connection lost: ");
    rig_close(&rig);
}

/* ---- refusals, by peers of other maps ---- */

static void expect_refusal(unsigned from, unsigned to, enum status status, const char *text) {
    struct asked a = {0};
    ask(&a, from, to, 60000);
    rig_run(&rig, 500);
    expect_error(&a, status, text);
    cr_assert_eq(served_count, 0);
}

static void replace_map(unsigned node, struct ring_map *map) {
    ring_map_unref(rig.maps[node]);
    rig.maps[node] = map;
}

Test(peers, another_cluster_is_refused_by_name) {
    rig = (struct rig){.up = up_answer};
    open_all();
    replace_map(1, rig_map(&rig, "two", 1));
    start_all();
    expect_refusal(0, 1, ERR_UNAVAILABLE,
                   "node n1:1: refused by the other node: node at n0:1 belongs to another cluster "
                   "(\"one\")");
    expect_refusal(1, 0, ERR_UNAVAILABLE, "node at n1:1 belongs to another cluster (\"two\")");
    rig_close(&rig);
}

Test(peers, another_node_at_the_address_is_refused) {
    rig = (struct rig){.up = up_answer};
    open_all();
    struct ring_map *map = rig_map(&rig, "one", 1);
    memcpy(map->nodes[1].addr, "n2:1", 5);
    replace_map(0, map);
    start_all();
    expect_refusal(0, 1, ERR_UNAVAILABLE,
                   "node n2:1: another node (0000000000000066) answers at this address");
    rig_close(&rig);
}

Test(peers, unknown_requests_and_large_ones_are_refused) {
    static struct asked a, b, c;
    rig = (struct rig){0}; /* no handlers at all */
    open_all();
    start_all();
    ask(&a, 0, 1, 1000);
    struct buf large = {0};
    cr_assert_not_null(buf_extend(&large, NET_FRAME_BYTES_MAX));
    ask_bytes(&b, 0, 1, 1000, &large);
    struct buf broken = {.failed = true};
    ask_bytes(&c, 0, 1, 1000, &broken);
    rig_run(&rig, 100);
    expect_error(&a, ERR_UNSUPPORTED, "request type 4 is unknown here");
    expect_error(&b, ERR_LIMIT, "more than a frame may have");
    expect_error(&c, ERR_NOMEM, "no memory");
    rig_close(&rig);
}

static void on_large(struct peer_request *req, struct sv payload, void *ctx) {
    (void)payload;
    (void)ctx;
    struct buf b = {0};
    cr_assert_not_null(buf_extend(&b, NET_FRAME_BYTES_MAX));
    cr_assert(!peer_reply(req, &b, true));
}
static void up_large(struct rig_seat *seat) {
    peers_handle(seat->peers, FRAME_FRAGMENT, on_large, seat);
}

Test(peers, a_reply_too_large_is_an_error_to_the_asker) {
    static struct asked a;
    rig = (struct rig){.up = up_large};
    open_all();
    start_all();
    ask(&a, 0, 1, 1000);
    rig_run(&rig, 100);
    expect_error(&a, ERR_LIMIT, "larger than a frame may be");
    rig_close(&rig);
}

Test(peers, requests_under_way_are_bounded) {
    enum { LIMIT = 16384 };
    static struct asked all[LIMIT + 1];
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    for (unsigned i = 0; i <= LIMIT; i++)
        ask(&all[i], 0, 1, 60000);
    rig_run(&rig, 3000);
    cr_assert_eq(served_count, LIMIT);
    expect_error(&all[LIMIT], ERR_UNAVAILABLE, "16384 requests of this connection are under way");
    rig_stop(&rig);
    cr_assert_eq(gone_count, LIMIT);
    for (unsigned i = 0; i < LIMIT; i++)
        cr_assert_eq(all[i].ends, 1);
    rig_close(&rig);
}

/* ---- re-entrancy ---- */

static struct asked chain[6];
static unsigned chain_next;

static void then_ask_again(struct asked *a, bool last) {
    (void)a;
    if (!last || chain_next == ARRAY_LEN(chain)) return;
    struct asked *next = &chain[chain_next++];
    next->then = then_ask_again;
    ask(next, 0, 1, 60000);
}

Test(peers, what_callbacks_start_while_stopping_ends_too) {
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    chain_next = 1;
    chain[0].then = then_ask_again;
    ask(&chain[0], 0, 1, 60000);
    rig_run(&rig, 100);
    rig_stop(&rig);
    cr_assert_eq(chain_next, ARRAY_LEN(chain));
    for (unsigned i = 0; i < ARRAY_LEN(chain); i++)
        expect_error(&chain[i], ERR_UNAVAILABLE, "this node is stopping");
    for (unsigned i = 0; i < RIG_CORES; i++)
        cr_assert_eq(rig.seats[0][i].core->timers.count, 0);
    rig_close(&rig);
}

static void then_cancel_the_others(struct asked *a, bool last) {
    cr_assert(last);
    for (unsigned i = 0; i < ARRAY_LEN(chain); i++) {
        if (&chain[i] == a || chain[i].handle == NULL) continue;
        peer_call_cancel(chain[i].handle);
        chain[i].handle = NULL;
    }
}

Test(peers, a_callback_may_cancel_those_that_fail_with_it) {
    rig = (struct rig){.up = up_hold};
    open_all();
    start_all();
    for (unsigned i = 0; i < ARRAY_LEN(chain); i++) {
        chain[i].then = then_cancel_the_others;
        ask(&chain[i], 0, 1, 60000);
    }
    rig_run(&rig, 100);
    rig_kill(&rig, 1);
    rig_run(&rig, 3000);
    unsigned ends = 0;
    for (unsigned i = 0; i < ARRAY_LEN(chain); i++)
        ends += chain[i].ends;
    cr_assert_eq(ends, 1);
    rig_close(&rig);
}

static unsigned stops_closed;
static void on_stopped(struct peers *peers, void *ctx) {
    struct rig_seat *seat = ctx;
    cr_assert(seat->peers == peers);
    stops_closed++;
    peers_free(peers); /* as a daemon may */
    seat->peers = NULL;
}

static void then_stop(struct asked *a, bool last) {
    if (last) return; /* called from inside of the stop */
    peers_stop(a->seat->peers, on_stopped, a->seat);
}

Test(peers, a_callback_may_stop_and_closed_may_free) {
    static struct asked a, b;
    rig = (struct rig){.up = up_answer};
    open_all();
    start_all();
    a.then = then_stop;
    ask(&b, 0, 2, 60000);
    ask(&a, 0, 1, 60000);
    rig_run(&rig, 100);
    cr_assert_eq(stops_closed, 1);
    expect_error(&a, ERR_UNAVAILABLE, "this node is stopping");
    cr_assert_eq(b.ends, 1);
    buf_fini(&a.got);
    buf_fini(&b.got);
    rig_close(&rig);
}

static void on_stop_inside(struct peer_request *req, struct sv payload, void *ctx) {
    (void)payload;
    peers_stop(req->peers, on_stopped, ctx);
    struct buf b = {0};
    peer_reply(req, &b, true); /* nobody hears it */
}
static void up_stop_inside(struct rig_seat *seat) {
    peers_handle(seat->peers, FRAME_FRAGMENT, on_stop_inside, seat);
}

Test(peers, a_handler_may_stop) {
    static struct asked a;
    rig = (struct rig){.up = up_stop_inside};
    open_all();
    start_all();
    ask(&a, 0, 1, 60000);
    rig_run(&rig, 100);
    cr_assert(stops_closed == 1 && a.ends == 1 && a.status == ERR_UNAVAILABLE);
    rig_close(&rig);
}

/* ---- frames by hand ---- */

static struct {
    struct conn *conn;
    bool opened, closed;
    struct buf got; /* the newest frame */
    unsigned frames;
} raw;

static void raw_on_opened(struct conn *c, void *ctx) {
    (void)ctx;
    raw.opened = raw.conn == c;
}
static void raw_on_frame(struct conn *c, void *ctx, struct sv frame) {
    (void)c;
    (void)ctx;
    raw.frames++;
    buf_clear(&raw.got);
    buf_put_sv(&raw.got, frame);
}
static void raw_on_closed(struct conn *c, void *ctx, const char *why) {
    (void)c;
    (void)ctx;
    (void)why;
    raw.closed = true;
}
static const struct conn_events raw_events = {raw_on_opened, raw_on_frame, raw_on_closed};

static void raw_dial(void) {
    buf_fini(&raw.got);
    memset(&raw, 0, sizeof raw);
    core_set_current(rig.seats[0][0].core);
    raw.conn = net_dial(rig.seats[0][0].core, SV("n1:1"), &raw_events, NULL);
    core_set_current(NULL);
    rig_run(&rig, 50);
    cr_assert(raw.opened && !raw.closed);
}

static void raw_send(struct buf *frame) {
    core_set_current(rig.seats[0][0].core);
    conn_send(raw.conn, frame);
    core_set_current(NULL);
    rig_run(&rig, 50);
}

static struct frame raw_frame(enum frame_type type, struct sv payload) {
    struct frame f = {.type = (uint8_t)type,
                      .request_id = 77,
                      .map_version = 1,
                      .sender = 100,
                      .incarnation = 1,
                      .payload = payload};
    memcpy(f.cluster_id, rig.maps[0]->settings.cluster_id, sizeof f.cluster_id);
    return f;
}

static void raw_put(const struct frame *f) {
    struct buf b = {0};
    frame_put(f, &b);
    raw_send(&b);
}

static void raw_greet(void) {
    struct hello h = {.cluster_name = "one", .format_level = 1, .addr = "n0:1"};
    struct buf payload = {0};
    raw_dial();
    hello_put(&h, &payload);
    struct frame f = raw_frame(FRAME_HELLO, buf_sv(&payload)), answer;
    raw_put(&f);
    buf_fini(&payload);
    cr_assert_eq(frame_get(buf_sv(&raw.got), &answer, NULL), OK);
    cr_assert(answer.type == FRAME_HELLO && answer.flags == 0 && answer.sender == 101);
}

static void raw_expect(enum frame_type type, enum status status, const char *text, bool closed) {
    struct frame f;
    struct err err;
    cr_assert_eq(frame_get(buf_sv(&raw.got), &f, NULL), OK);
    cr_assert(f.type == type && f.flags == (FRAME_ERROR | FRAME_LAST));
    cr_assert_eq(frame_error_get(f.payload, &err), status);
    cr_assert(strstr(err.msg, text) != NULL, "%s", err.msg);
    cr_assert_eq(raw.closed, closed);
}

Test(peers, frames_by_hand_are_refused_by_name) {
    rig = (struct rig){.up = up_answer};
    open_all();
    start_all();
    struct frame f = raw_frame(FRAME_FRAGMENT, SV("question")),
                 hello = raw_frame(FRAME_HELLO, SV("x"));
    struct buf b = {0};

    raw_dial(); /* protocol version 2: byte 4 of the header (ring/frame.h) */
    frame_put(&hello, &b);
    b.ptr[4] = 2;
    raw_send(&b);
    raw_expect(FRAME_HELLO, ERR_UNSUPPORTED, "protocol version 2, this program speaks 1", true);

    raw_dial(); /* no frame at all */
    buf_put_sv(&b, SV("GET / HTTP/1.1\r\n\r\n"));
    raw_send(&b);
    cr_assert(raw.closed && raw.frames == 0);

    raw_dial();
    raw_put(&hello);
    raw_expect(FRAME_HELLO, ERR_CORRUPT, "hello: malformed", true);

    raw_dial(); /* a request before the hello */
    raw_put(&f);
    raw_expect(FRAME_HELLO, ERR_CONFLICT, "the first frame is not a hello", true);

    raw_dial(); /* no hello */
    rig_run(&rig, 1900);
    cr_assert(!raw.closed);
    rig_run(&rig, 100);
    cr_assert(raw.closed);
    cr_assert_eq(served_count, 0);

    raw_greet();
    raw_put(&f);
    cr_assert(served_count == 1 && raw.frames == 3 && !raw.closed);
    f.sender = 102;
    raw_put(&f);
    raw_expect(FRAME_REPLY, ERR_CONFLICT,
               "frame of node 0000000000000066 (process 1) on the connection of node "
               "0000000000000064 (process 1)",
               true);

    raw_greet();
    f.sender = 100;
    f.cluster_id[3] ^= 1;
    raw_put(&f);
    raw_expect(FRAME_REPLY, ERR_CONFLICT, "frame of another cluster", true);

    raw_greet();
    f.cluster_id[3] ^= 1;
    f.map_version = 2; /* the handler's matter */
    raw_put(&f);
    cr_assert(served_count == 2 && raw.frames == 3 && !raw.closed);
    f.type = 200;
    raw_put(&f);
    raw_expect(FRAME_REPLY, ERR_UNSUPPORTED, "request type 200 is unknown here", false);
    f.type = FRAME_CANCEL; /* of nothing */
    raw_put(&f);
    cr_assert(!raw.closed && served_count == 2);
    buf_fini(&raw.got);
    rig_close(&rig);
}
