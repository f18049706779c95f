/* SPDX-License-Identifier: Apache-2.0 */
/* Peers while nodes join, leave, move and are replaced: who may ask what, which address is dialled,
 * which process is believed. */
#include <assert.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "tests/ring/peers_rig.h"

static struct rig rig;
static unsigned served_count;
static uint64_t served_version;
static struct peer_request *held;
static struct {
    unsigned count;
    node_id id;
    uint32_t incarnation;
    char addr[64];
} learned[RIG_NODES];

static void on_learned(void *ctx, node_id id, uint32_t incarnation, const char *addr) {
    struct rig_seat *seat = ctx;
    cr_assert(core_is_current(seat->core));
    learned[seat->node].count++;
    learned[seat->node].id = id;
    learned[seat->node].incarnation = incarnation;
    snprintf(learned[seat->node].addr, sizeof learned->addr, "%s", addr);
}

static void on_request(struct peer_request *req, struct sv payload, void *ctx) {
    (void)ctx;
    cr_assert(req->from >= rig_id(0) && req->from < rig_id(RIG_NODES) && req->incarnation > 0);
    served_count++;
    served_version = req->map_version;
    if (sv_eq(payload, SV("hold"))) {
        held = req;
        return;
    }
    struct buf b = {0};
    peer_reply(req, &b, true);
}

static void up(struct rig_seat *seat) {
    for (int type = FRAME_WRITE; type < FRAME_TYPE_COUNT; type++)
        if (type != FRAME_CANCEL)
            peers_handle(seat->peers, (enum frame_type)type, on_request, seat);
}

static void open_all(void) {
    struct sim_options o = {.seed = 1};
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    rig = (struct rig){.up = up, .learned = on_learned};
    rig_open(&rig, &o);
    sim_set_faults(rig.sim, false);
}

static void start_all(void) {
    for (unsigned i = 0; i < RIG_NODES; i++)
        rig_start(&rig, i);
}

static void set_rig_map(unsigned node, struct ring_map *map) {
    ring_map_unref(rig.maps[node]);
    rig.maps[node] = map;
}

/* The usual map without one of its nodes. */
static struct ring_map *map_without(unsigned node, uint64_t version) {
    struct ring_map *all = rig_map(&rig, "one", version), *map;
    cr_assert_eq(ring_map_new(RIG_NODES - 1, 8, &map, NULL), OK);
    map->version = version;
    map->settings = all->settings;
    for (uint32_t i = 0, to = 0; i < all->nodes_count; i++)
        if (all->nodes[i].id != rig_id(node)) map->nodes[to++] = all->nodes[i];
    ring_map_unref(all);
    return map;
}

static struct peers *peers_at(unsigned node) {
    core_set_current(rig.seats[node][0].core);
    return rig.seats[node][0].peers;
}
/* All cores of a node; takes the map. */
static void set_map(unsigned node, struct ring_map *map) {
    for (unsigned i = 0; i < RIG_CORES; i++) {
        core_set_current(rig.seats[node][i].core);
        peers_set_map(rig.seats[node][i].peers, map);
    }
    core_set_current(NULL);
    ring_map_unref(map);
}
static void set_addr(unsigned node, unsigned of, const char *addr) {
    peers_set_addr(peers_at(node), rig_id(of), addr);
    core_set_current(NULL);
}

/* ---- a call and what came of it ---- */

struct asked {
    bool ended;
    enum status status;
    struct err err;
};

static void asked_on_reply(void *ctx, enum status status, struct sv part, bool last,
                           const struct err *err) {
    struct asked *a = ctx;
    (void)part;
    cr_assert(last && !a->ended);
    a->ended = true;
    a->status = status;
    if (status != OK) a->err = *err;
}

static void ask(struct asked *a, unsigned from, struct peer_call_options o, const char *text) {
    struct buf payload = {0};
    buf_put_sv(&payload, sv_from(text));
    *a = (struct asked){0};
    o.reply = asked_on_reply;
    o.ctx = a;
    o.timeout_ms = 60000;
    (void)peers_call(peers_at(from), &o, &payload);
    core_set_current(NULL);
}

/* text: of the expected error; NULL: an answer. */
static struct err expected_err; /* of the last call that failed as expected */

static void expect(unsigned from, struct peer_call_options o, enum status status,
                   const char *text) {
    static struct asked a;
    unsigned served = served_count;
    ask(&a, from, o, "");
    rig_run(&rig, 300);
    cr_assert(a.ended);
    cr_assert_eq(a.status, status, "%u, type %d: %s", from, o.type, a.err.msg);
    if (text != NULL) cr_assert(strstr(a.err.msg, text) != NULL, "%s", a.err.msg);
    cr_assert_eq(served_count, served + (status == OK));
    if (status != OK) expected_err = a.err;
}
static void expect_to(unsigned from, unsigned to, enum frame_type type, enum status status,
                      const char *text) {
    expect(from, (struct peer_call_options){.to = rig_id(to), .type = type}, status, text);
}

/* ---- who may ask what ---- */

Test(peers_members, who_may_ask_what) {
    /* DESIGN 7: a node without a cluster may be asked to join one and to promise a founding; who is
     * not in the map besides takes part in what makes it a member */
    static const struct {
        enum frame_type type;
        bool without_cluster, without_seat;
    } rules[] = {
        {FRAME_WRITE, false, false},  {FRAME_FRAGMENT, false, false},
        {FRAME_SERIES, false, false}, {FRAME_APPEND, false, false},
        {FRAME_PLACES, false, false}, {FRAME_FETCH, false, false},
        {FRAME_RAFT, false, true},    {FRAME_HEARTBEAT, false, true},
        {FRAME_JOIN, true, true},     {FRAME_PROMISE, true, true},
        {FRAME_ADMIN, false, true},   {FRAME_TRANSFER, false, false},
        {FRAME_DELETE, false, false}, {FRAME_RANGES, false, false},
        {FRAME_REPAIR, false, false}, {FRAME_VERIFY, false, false},
        {FRAME_LOSS, false, false},
    };
    static_assert(ARRAY_LEN(rules) == FRAME_TYPE_COUNT - 4, "all but hello, reply and cancel");
    open_all();
    set_rig_map(0, NULL);
    set_rig_map(2, map_without(1, 4)); /* it does not know of node 1 */
    start_all();
    set_addr(0, 1, "n1:1");
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        enum frame_type type = rules[i].type;
        bool bare = rules[i].without_cluster;
        expect_to(0, 1, type, bare ? OK : ERR_CONFLICT,
                  bare ? NULL : "node 0000000000000064 is of no cluster yet");
        expect_to(1, 0, type, bare ? OK : ERR_UNAVAILABLE,
                  bare ? NULL : "this node is of no cluster yet");
        bool stranger = rules[i].without_seat;
        expect_to(1, 2, type, stranger ? OK : ERR_CONFLICT,
                  stranger ? NULL : "node 0000000000000065 is no member of map version 4");
    }
    rig_close(&rig);
}

Test(peers_members, a_map_comes_at_any_time_and_connections_stay) {
    open_all();
    set_rig_map(0, NULL);
    set_rig_map(1, NULL);
    start_all();
    set_addr(0, 1, "n1:1");
    expect_to(0, 1, FRAME_JOIN, OK, NULL);
    cr_assert_eq(served_version, 0);
    expect_to(0, 1, FRAME_WRITE, ERR_UNAVAILABLE, "this node is of no cluster yet");
    set_map(1, rig_map(&rig, "one", 3));
    expect_to(0, 1, FRAME_WRITE, ERR_CONFLICT, "is of no cluster yet");
    set_map(0, rig_map(&rig, "one", 2));
    expect_to(0, 1, FRAME_WRITE, OK, NULL); /* of an older map: the handler's matter */
    cr_assert_eq(served_version, 2);
    set_map(0, rig_map(&rig, "one", 5));
    set_map(0, rig_map(&rig, "one", 4)); /* older: passed over */
    expect_to(0, 1, FRAME_WRITE, OK, NULL);
    cr_assert_eq(served_version, 5);
    expect_to(1, 0, FRAME_WRITE, OK, NULL);
    cr_assert_eq(learned[1].count, 1, "one connection, one hello");
    cr_assert_eq(learned[1].id, rig_id(0));
    rig_stop(&rig);
    rig_close(&rig);
}

Test(peers_members, a_cluster_of_another_name_is_refused_before_there_is_a_map) {
    open_all();
    set_rig_map(0, NULL);
    set_rig_map(1, rig_map(&rig, "two", 1));
    start_all();
    set_addr(0, 1, "n1:1");
    expect_to(0, 1, FRAME_JOIN, ERR_UNAVAILABLE,
              "node at n0:1 belongs to another cluster (\"one\")");
    expect_to(1, 0, FRAME_JOIN, ERR_UNAVAILABLE,
              "node at n1:1 belongs to another cluster (\"two\")");
    rig_close(&rig);
}

/* ---- leaving ---- */

Test(peers_members, who_left_is_let_go_when_nothing_is_under_way) {
    static struct asked a;
    open_all();
    start_all();
    ask(&a, 0, (struct peer_call_options){.to = rig_id(1), .type = FRAME_RAFT}, "hold");
    rig_run(&rig, 100);
    cr_assert(held != NULL && peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    set_map(0, map_without(1, 2));
    rig_run(&rig, 20000);
    cr_assert(!a.ended && peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    struct buf b = {0};
    core_set_current(held->core);
    peer_reply(held, &b, true);
    core_set_current(NULL);
    rig_run(&rig, 4000);
    cr_assert(a.ended && a.status == OK && peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    rig_run(&rig, 2000);
    cr_assert(!peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    expect_to(0, 1, FRAME_ADMIN, OK, NULL); /* the hello's address is still known */
    rig_run(&rig, 3000);
    set_map(0, rig_map(&rig, "one", 3)); /* it is back before it was let go */
    rig_run(&rig, 20000);
    cr_assert(peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    rig_stop(&rig);
    rig_close(&rig);
}

/* ---- addresses ---- */

Test(peers_members, a_probe_reaches_whoever_is_there) {
    open_all();
    for (unsigned i = 0; i < RIG_NODES; i++)
        set_rig_map(i, NULL);
    start_all();
    rig_kill(&rig, 2);
    struct peer_call_options o = {.addr = "n1:1", .type = FRAME_JOIN};
    expect_to(0, 1, FRAME_JOIN, ERR_UNAVAILABLE, "no address of node 0000000000000065 is known");
    expect(0, o, OK, NULL);
    cr_assert(learned[0].count == 1 && learned[0].id == rig_id(1) && learned[0].incarnation == 1);
    cr_assert_str_eq(learned[0].addr, "n1:1");
    cr_assert_eq(learned[1].id, rig_id(0), "and the other way round");
    expect(0, o, OK, NULL);
    expect_to(0, 1, FRAME_JOIN, OK, NULL); /* by the address that the hello told */
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(1)), "n1:1");
    o.addr = "n2:1";
    expect(0, o, ERR_UNAVAILABLE, "node n2:1: cannot connect: connection refused");
    o.addr = "n0:1";
    expect(0, o, ERR_UNAVAILABLE, "node 0000000000000064 at n0:1 is no other node");
    o.addr = "";
    expect(0, o, ERR_UNAVAILABLE, "no address to ask");
    rig_run(&rig, 6000); /* unused connections go */
    cr_assert(!peers_is_connected(rig.seats[0][0].peers, rig_id(1)));
    o.addr = "n1:1";
    expect(0, o, OK, NULL);
    static struct asked a[3]; /* some under way, when everything ends */
    for (unsigned i = 0; i < 3; i++) {
        o.addr = i == 2 ? "n2:1" : "n1:1";
        ask(&a[i], 0, o, "hold");
    }
    rig_stop(&rig);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(a[i].ended && a[i].status == ERR_UNAVAILABLE);
    for (unsigned i = 0; i < RIG_CORES; i++)
        cr_assert_eq(rig.seats[0][i].core->timers.count, 0);
    rig_close(&rig);
}

Test(peers_members, the_table_beats_the_map_and_a_wrong_entry_is_dropped) {
    open_all();
    struct ring_map *map = rig_map(&rig, "one", 1);
    memcpy(map->nodes[1].addr, "n2:1", 5); /* addresses have changed since it was published */
    set_rig_map(0, map);
    start_all();
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(1)), "n2:1");
    expect_to(0, 1, FRAME_WRITE, ERR_UNAVAILABLE, "another node (0000000000000066)");
    set_addr(0, 1, "n1:1");
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(1)), "n1:1");
    expect_to(0, 1, FRAME_WRITE, OK, NULL);
    set_addr(0, 2, "n1:1"); /* wrong: the map's is tried after it */
    expect_to(0, 2, FRAME_WRITE, OK, NULL);
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(2)), "n2:1");
    expect_to(0, 2, FRAME_WRITE, OK, NULL);
    set_addr(0, 2, "n1:1");
    set_addr(0, 2, NULL);
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(2)), "n2:1");
    rig_close(&rig);
}

Test(peers_members, an_address_in_a_newer_map_beats_the_table) {
    open_all();
    start_all();
    set_addr(0, 1, "n2:1");
    struct ring_map *map = rig_map(&rig, "one", 2);
    set_map(0, map);
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(1)), "n2:1", "nothing new in it");
    map = rig_map(&rig, "one", 3);
    memcpy(map->nodes[1].addr, "n9:1", 5);
    set_map(0, map);
    cr_assert_str_eq(peers_addr(rig.seats[0][0].peers, rig_id(1)), "n9:1");
    expect_to(1, 0, FRAME_WRITE, OK, NULL); /* its hello to core 0 or 1 tells better */
    const struct rig_seat *seats = rig.seats[0];
    cr_assert(strcmp(peers_addr(seats[0].peers, rig_id(1)), "n1:1") == 0 ||
              strcmp(peers_addr(seats[1].peers, rig_id(1)), "n1:1") == 0);
    cr_assert(learned[0].count == 1 && strcmp(learned[0].addr, "n1:1") == 0);
    rig_close(&rig);
}

Test(peers_members, a_new_address_is_tried_at_once) {
    static struct asked a;
    open_all();
    struct ring_map *map = rig_map(&rig, "one", 1);
    memcpy(map->nodes[1].addr, "n9:1", 5); /* nobody is there */
    set_rig_map(0, map);
    start_all();
    for (int i = 0; i < 6; i++) /* drives the back-off up to 2 s */
        ask(&a, 0, (struct peer_call_options){.to = rig_id(1), .type = FRAME_WRITE}, ""),
            rig_run(&rig, 2000);
    ask(&a, 0, (struct peer_call_options){.to = rig_id(1), .type = FRAME_WRITE}, "");
    set_addr(0, 1, "n1:1");
    rig_run(&rig, 50);
    cr_assert(a.ended && a.status == OK, "%s", a.err.msg);
    rig_close(&rig);
}

/* ---- processes ---- */

Test(peers_members, an_older_process_is_fenced) {
    open_all();
    start_all();
    expect_to(0, 1, FRAME_WRITE, OK, NULL);
    struct ring_map *map = rig_map(&rig, "one", 2);
    map->nodes[1].incarnation = 2; /* the cluster has met its successor */
    set_map(0, map);
    expect_to(0, 1, FRAME_WRITE, ERR_UNAVAILABLE, "replaced by a newer one");
    expect_to(0, 1, FRAME_WRITE, ERR_UNAVAILABLE,
              "node 0000000000000065 is fenced: process 1 of it, a later one (2) has been seen");
    cr_assert(!peers_is_fenced(ERR_UNAVAILABLE, &expected_err), "it is the other one");
    expect_to(1, 0, FRAME_WRITE, ERR_UNAVAILABLE, "is fenced: process 1");
    cr_assert(peers_is_fenced(ERR_UNAVAILABLE, &expected_err), "it must learn it");
    rig_kill(&rig, 1);
    rig_start(&rig, 1); /* process 2 */
    rig_run(&rig, 3000);
    expect_to(1, 0, FRAME_WRITE, OK, NULL);
    expect_to(0, 1, FRAME_WRITE, OK, NULL);
    rig_kill(&rig, 1);
    rig_start(&rig, 1); /* process 3, of which no map tells */
    rig_run(&rig, 3000);
    expect_to(1, 0, FRAME_WRITE, OK, NULL);
    cr_assert(learned[0].id == rig_id(1) && learned[0].incarnation == 3);
    rig_close(&rig);
}

/* ---- the shared secret ---- */

Test(peers_members, who_does_not_know_the_secret_is_refused) {
    static const struct {
        const char *dialler, *listener, *text; /* NULL: it works */
    } cases[] = {
        {"0123456789abcdef", "0123456789abcdef", NULL},
        {"0123456789abcdef", "0123456789abcdeX", "node at n0:1 does not know the cluster's secret"},
        {"0123456789abcdef", "0123456789abcdef0",
         "node at n0:1 does not know the cluster's secret"},
        {NULL, "0123456789abcdef", "node at n0:1 has no secret, this node asks for one"},
        {"0123456789abcdef", NULL, "it has no secret, this node has one"},
        {NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        open_all();
        rig.secrets[0] = cases[i].dialler;
        rig.secrets[1] = cases[i].listener;
        start_all();
        expect_to(0, 1, FRAME_WRITE, cases[i].text == NULL ? OK : ERR_UNAVAILABLE, cases[i].text);
        struct peer_call_options probe = {.addr = "n1:1", .type = FRAME_JOIN};
        expect(0, probe, cases[i].text == NULL ? OK : ERR_UNAVAILABLE, cases[i].text);
        rig_close(&rig);
    }
}

/* ---- hellos by hand ---- */

static struct {
    struct conn *conn;
    bool closed;
    unsigned frames;
    struct buf got;
} raw;

static void raw_on_opened(struct conn *c, void *ctx) {
    (void)c;
    (void)ctx;
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

static void raw_dial(void) {
    static const struct conn_events events = {raw_on_opened, raw_on_frame, raw_on_closed};
    buf_fini(&raw.got);
    memset(&raw, 0, sizeof raw);
    core_set_current(rig.seats[0][0].core);
    raw.conn = net_dial(rig.seats[0][0].core, SV("n1:1"), &events, NULL);
    core_set_current(NULL);
    rig_run(&rig, 50);
}

static void raw_send(enum frame_type type, struct sv payload) {
    struct frame f = {.type = (uint8_t)type,
                      .request_id = type == FRAME_HELLO ? 0 : 9,
                      .map_version = 1,
                      .sender = rig_id(0),
                      .incarnation = 5,
                      .payload = payload};
    struct buf b = {0};
    memcpy(f.cluster_id, rig.maps[1]->settings.cluster_id, sizeof f.cluster_id);
    frame_put(&f, &b);
    core_set_current(rig.seats[0][0].core);
    conn_send(raw.conn, &b);
    core_set_current(NULL);
    rig_run(&rig, 50);
}

static void raw_send_hello(const struct hello *h) {
    struct buf payload = {0};
    hello_put(h, &payload);
    raw_send(FRAME_HELLO, buf_sv(&payload));
    buf_fini(&payload);
}

/* The last frame: a hello, its content in *out; or an error, which is told. */
static enum status raw_hello(struct hello *out, struct err *err) {
    struct frame f;
    cr_assert_eq(frame_get(buf_sv(&raw.got), &f, NULL), OK);
    cr_assert_eq(f.type, FRAME_HELLO);
    if (f.flags & FRAME_ERROR) return frame_error_get(f.payload, err);
    return hello_get(f.payload, out, err);
}

/* After ring/peers_hello.c, word for word. */
static void prove(const char *secret, char role, const uint8_t *nonce_d, const uint8_t *nonce_l,
                  const char *addr, uint8_t *out) {
    struct buf b = {0};
    unsigned len = 0;
    buf_put(&b, "cairn hello 1", 14); /* with its NUL */
    buf_put_char(&b, role);
    buf_put(&b, nonce_d, 32);
    buf_put(&b, nonce_l, 32);
    buf_put(&b, "\x64\0\0\0\0\0\0\0\5\0\0\0", 12); /* node 100, process 5 dials */
    buf_put(&b, "\x65\0\0\0\0\0\0\0\1\0\0\0", 12); /* node 101, process 1 */
    buf_put(&b, "\3\0\0\0one\4\0\0\0", 11);
    buf_put_sv(&b, sv_from(addr));
    cr_assert_not_null(
        HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)b.ptr, b.len, out, &len));
    cr_assert_eq(len, 32);
    buf_fini(&b);
}

static const char *const secret = "0123456789abcdef";

/* Two hellos; the nonce of the other side goes to *out. */
static struct hello raw_challenge(struct hello *out) {
    struct hello h = {.cluster_name = "one", .format_level = 1, .addr = "n0:1", .has_nonce = true};
    memset(h.nonce, 'd', sizeof h.nonce);
    raw_dial();
    raw_send_hello(&h);
    cr_assert_eq(raw_hello(out, NULL), OK);
    cr_assert(out->has_nonce && !out->has_proof, "who does not know the secret is proved nothing");
    h.has_proof = true;
    return h;
}

Test(peers_members, both_sides_prove_the_secret) {
    open_all();
    rig.secrets[1] = secret;
    rig_start(&rig, 1);
    rig_start(&rig, 0); /* its core dials by hand */
    struct hello theirs, proved, h = raw_challenge(&theirs);
    struct err err;
    prove(secret, 'D', h.nonce, theirs.nonce, "n0:1", h.proof);
    raw_send_hello(&h);
    cr_assert_eq(raw_hello(&proved, &err), OK, "%s", err.msg);
    uint8_t want[32];
    prove(secret, 'L', h.nonce, theirs.nonce, "n1:1", want);
    cr_assert(proved.has_proof && memcmp(proved.proof, want, 32) == 0);
    raw_send(FRAME_WRITE, SV("x"));
    cr_assert(served_count == 1 && !raw.closed);
    buf_fini(&raw.got);
    rig_close(&rig);
}

Test(peers_members, what_proves_nothing_is_refused) {
    open_all();
    rig.secrets[1] = secret;
    rig_start(&rig, 1);
    rig_start(&rig, 0);
    struct hello first, theirs, unused, h = raw_challenge(&first);
    struct err err;
    prove(secret, 'D', h.nonce, first.nonce, "n0:1", h.proof); /* heard, and used again later */
    for (int kind = 0; kind < 7; kind++) {
        struct hello mine = raw_challenge(&theirs);
        cr_assert(memcmp(theirs.nonce, first.nonce, 32) != 0);
        prove(kind == 1 ? "another secret, 16" : secret, kind == 2 ? 'L' : 'D', mine.nonce,
              theirs.nonce, kind == 3 ? "n2:1" : "n0:1", mine.proof);
        if (kind == 0) memcpy(mine.proof, h.proof, 32); /* of another challenge */
        if (kind == 4) mine.has_proof = false;
        if (kind == 5) mine.nonce[0] = 'x'; /* another one than it began with */
        if (kind == 6) {                    /* a request instead of a proof */
            raw_send(FRAME_WRITE, SV("x"));
            cr_assert(raw_hello(&unused, &err) == ERR_CONFLICT &&
                      strstr(err.msg, "not a hello") != NULL);
        } else {
            raw_send_hello(&mine);
            cr_assert_eq(raw_hello(&unused, &err), ERR_CONFLICT, "kind %d", kind);
            cr_assert(strstr(err.msg, "does not know the cluster's secret") != NULL, "%s", err.msg);
        }
        cr_assert(raw.closed && served_count == 0, "kind %d", kind);
    }
    raw_dial(); /* silence after the challenge */
    h.has_proof = false;
    raw_send_hello(&h);
    rig_run(&rig, 2000);
    cr_assert(raw.closed);
    buf_fini(&raw.got);
    rig_close(&rig);
}
