/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies in parts among three nodes while frames are lost, late and overtaken,
 * connections are cut, nodes cannot reach each other, lose power and come back, maps come that lack
 * one of them, and address tables say the wrong things. Every call ends
 * exactly once and in time, an OK reply is whole and right, no request outlives its asker. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/list.h"
#include "node/base/log.h"
#include "tests/ring/peers_rig.h"

enum { CALLS_MAX = 60, TIMEOUT_MS_MAX = 3000, HOLD_MS = 8000 };
/* How the other side behaves; named in the request. */
enum mode { MODE_AT_ONCE, MODE_SLOW, MODE_SILENT, MODE_ERROR, MODE_PARTS_THEN_ERROR, MODE_COUNT };

struct app { /* of one seat */
    struct rig_seat *seat;
    struct timer beat;
    struct list_node calls;  /* open ones */
    struct list_node served; /* open ones */
    unsigned open;
    bool quiet; /* starts nothing new */
};
struct call {
    struct list_node link;
    struct call *all; /* every call of the run, freed at its end: late callbacks are seen */
    struct app *app;
    struct peer_call *handle;
    uint64_t number, start_ns, timeout_ms;
    enum mode mode;
    uint32_t parts, got;
    bool over;
};
struct served {
    struct list_node link;
    struct app *app;
    struct peer_request *req;
    struct timer timer;
    uint64_t number;
    enum mode mode;
    uint32_t parts, sent;
};

static struct rig rig;
static struct call *all_calls;
static uint64_t next_number, seed_now;
static bool stalls, shakes;
static uint64_t map_version;
static struct {
    uint64_t ok, failed, timeouts, unavailable, canceled, died, gone, executed, strangers, shaken;
} totals;

static struct rng *rng(void) {
    return sim_rng(rig.sim);
}

/* ---- what a part holds ---- */

static void part_put(struct buf *b, uint64_t number, uint32_t index) {
    buf_put_u64(b, number);
    buf_put_u32(b, index);
    for (uint64_t i = (number * 31 + index) % 700; i > 0; i--)
        buf_put_char(b, (char)(number + index + i));
}

static void part_check(struct sv part, uint64_t number, uint32_t index) {
    struct buf b = {0};
    part_put(&b, number, index);
    cr_assert(sv_eq(part, buf_sv(&b)), "seed %" PRIu64 ": part %u is wrong", seed_now, index);
    buf_fini(&b);
}

/* ---- serving ---- */

static void served_drop(struct served *s) {
    timer_stop(&s->timer);
    list_remove(&s->link);
    free(s);
}

static void served_on_gone(struct peer_request *req) {
    struct served *s = req->user;
    cr_assert(s->req == req && core_is_current(s->app->seat->core));
    totals.gone++;
    served_drop(s);
}

/* false: it is over */
static bool served_send(struct served *s) {
    if (s->mode == MODE_ERROR || (s->mode == MODE_PARTS_THEN_ERROR && s->sent == s->parts)) {
        char text[40];
        snprintf(text, sizeof text, "boom %" PRIu64, s->number);
        peer_reply_error(s->req, ERR_EXEC, text);
        return false;
    }
    struct buf b = {0};
    part_put(&b, s->number, s->sent++);
    bool last = s->mode != MODE_PARTS_THEN_ERROR && s->sent == s->parts;
    return peer_reply(s->req, &b, last) && !last;
}

static void served_on_timer(struct timer *t) {
    struct served *s = container_of(t, struct served, timer);
    if (s->mode == MODE_SILENT) s->mode = MODE_ERROR; /* whoever asked is long gone */
    if (served_send(s))
        timer_start(t, rng_below(rng(), 30));
    else
        served_drop(s);
}

static void app_on_request(struct peer_request *req, struct sv payload, void *ctx) {
    struct app *app = ctx;
    struct reader r = reader_init(payload.ptr, payload.len);
    struct served *s = calloc(1, sizeof *s);
    cr_assert(s != NULL && req->from >= rig_id(0) && req->from < rig_id(RIG_NODES) &&
              req->map_version >= 1);
    cr_assert(req->core == app->seat->core && req->peers == app->seat->peers);
    *s = (struct served){.app = app, .req = req, .number = read_u64(&r)};
    s->mode = read_u8(&r);
    s->parts = read_u32(&r);
    cr_assert(!r.failed && reader_left(&r) == 0 && s->mode < MODE_COUNT);
    req->user = s;
    req->gone = served_on_gone;
    list_push_back(&app->served, &s->link);
    timer_init(&s->timer, app->seat->core, served_on_timer);
    if (s->mode == MODE_SILENT) {
        timer_start(&s->timer, HOLD_MS);
    } else if (s->mode == MODE_SLOW) {
        timer_start(&s->timer, rng_below(rng(), 50));
    } else {
        while (served_send(s))
            ;
        served_drop(s);
    }
}

/* ---- asking ---- */

static void app_call(struct app *app, enum mode mode, uint64_t timeout_ms);

static void call_over(struct call *c) {
    cr_assert(!c->over, "seed %" PRIu64 ": call %" PRIu64 " ends twice", seed_now, c->number);
    c->over = true;
    list_remove(&c->link);
    c->app->open--;
}

static void app_cancel_any(struct app *app) {
    if (list_is_empty(&app->calls)) return;
    struct call *c = container_of(app->calls.next, struct call, link);
    call_over(c);
    totals.canceled++;
    peer_call_cancel(c->handle);
}

static void call_check_end(struct call *c, enum status status, const struct err *err) {
    uint64_t took_ns = core_mono_ns(c->app->seat->core) - c->start_ns;
    if (!stalls) /* a core that does not run is late */
        cr_assert_leq(took_ns, (c->timeout_ms + 2) * 1000000, "seed %" PRIu64 ": late", seed_now);
    if (status == OK) {
        cr_assert(c->mode == MODE_AT_ONCE || c->mode == MODE_SLOW);
        cr_assert_eq(c->got, c->parts, "seed %" PRIu64 ": half an answer", seed_now);
        totals.ok++;
        return;
    }
    totals.failed++;
    cr_assert(err != NULL && err->code == status && err->msg[0] != '\0');
    if (status == ERR_EXEC) {
        char text[40];
        snprintf(text, sizeof text, "boom %" PRIu64, c->number);
        cr_assert(c->mode == MODE_ERROR || c->mode == MODE_PARTS_THEN_ERROR);
        cr_assert_str_eq(err->msg, text);
        totals.executed++;
        return;
    }
    if (shakes && status == ERR_CONFLICT) { /* by a map that does not have the asker */
        cr_assert(strstr(err->msg, "is no member of map version") != NULL, "%s", err->msg);
        totals.strangers++;
        return;
    }
    cr_assert(status == ERR_UNAVAILABLE || status == ERR_TIMEOUT, "%s", err->msg);
    totals.timeouts += status == ERR_TIMEOUT;
    totals.unavailable += status == ERR_UNAVAILABLE;
}

static void call_on_reply(void *ctx, enum status status, struct sv part, bool last,
                          const struct err *err) {
    struct call *c = ctx;
    struct app *app = c->app;
    cr_assert(!c->over && core_is_current(app->seat->core));
    cr_assert(status == OK || last);
    if (status == OK) part_check(part, c->number, c->got++);
    if (last) {
        call_over(c);
        call_check_end(c, status, err);
    }
    switch (rng_below(rng(), 12)) {
    case 0:
        app_call(app, (enum mode)rng_below(rng(), MODE_COUNT), 1 + rng_below(rng(), 900));
        break;
    case 1: app_cancel_any(app); break; /* perhaps itself */
    default: break;
    }
}

static void app_call(struct app *app, enum mode mode, uint64_t timeout_ms) {
    if (app->quiet || app->open >= CALLS_MAX) return;
    struct call *c = calloc(1, sizeof *c);
    cr_assert_not_null(c);
    *c = (struct call){.app = app,
                       .all = all_calls,
                       .number = ++next_number,
                       .start_ns = core_mono_ns(app->seat->core),
                       .timeout_ms = timeout_ms,
                       .mode = mode,
                       .parts = 1 + (uint32_t)rng_below(rng(), 5)};
    all_calls = c;
    app->open++;
    list_push_back(&app->calls, &c->link);
    unsigned to = (app->seat->node + 1 + (unsigned)rng_below(rng(), RIG_NODES - 1)) % RIG_NODES;
    struct peer_call_options o = {.to = rig_id(to),
                                  .type = FRAME_SERIES,
                                  .timeout_ms = timeout_ms,
                                  .reply = call_on_reply,
                                  .ctx = c};
    struct buf payload = {0};
    buf_put_u64(&payload, c->number);
    buf_put_u8(&payload, (uint8_t)mode);
    buf_put_u32(&payload, c->parts);
    c->handle = peers_call(app->seat->peers, &o, &payload);
    cr_assert(payload.len == 0 && c->handle != NULL && !c->over);
}

/* ---- maps and addresses that change ---- */

/* Without one of the nodes, or (none: RIG_NODES) all of them. */
static void app_set_map(struct app *app, unsigned without) {
    struct ring_map *all = rig_map(&rig, "one", ++map_version), *map;
    cr_assert_eq(ring_map_new(RIG_NODES - (without < RIG_NODES), 8, &map, NULL), OK);
    map->version = all->version;
    map->settings = all->settings;
    for (uint32_t i = 0, to = 0; i < all->nodes_count; i++)
        if (all->nodes[i].id != rig_id(without)) map->nodes[to++] = all->nodes[i];
    ring_map_unref(all);
    peers_set_map(app->seat->peers, map);
    ring_map_unref(map);
}

static void app_shake(struct app *app) {
    static const char *const addrs[] = {"n0:1", "n1:1", "n2:1", "n9:1", NULL};
    totals.shaken++;
    if (rng_below(rng(), 3) == 0)
        app_set_map(app, (unsigned)rng_below(rng(), RIG_NODES + 3));
    else
        peers_set_addr(app->seat->peers, rig_id((unsigned)rng_below(rng(), RIG_NODES)),
                       addrs[rng_below(rng(), ARRAY_LEN(addrs))]);
}

static void app_settle(struct app *app) {
    app_set_map(app, RIG_NODES);
    for (unsigned i = 0; i < RIG_NODES; i++)
        peers_set_addr(app->seat->peers, rig_id(i), NULL);
}

static void app_on_beat(struct timer *t) {
    struct app *app = container_of(t, struct app, beat);
    if (shakes && !app->quiet && rng_below(rng(), 10) == 0) app_shake(app);
    app_call(app, (enum mode)rng_below(rng(), MODE_COUNT), 1 + rng_below(rng(), TIMEOUT_MS_MAX));
    if (rng_below(rng(), 20) == 0) app_cancel_any(app);
    if (!app->quiet) timer_start(t, 1 + rng_below(rng(), 40));
}

/* ---- lives ---- */

static void app_up(struct rig_seat *seat) {
    struct app *app = calloc(1, sizeof *app);
    cr_assert_not_null(app);
    app->seat = seat;
    list_init(&app->calls);
    list_init(&app->served);
    seat->app = app;
    peers_handle(seat->peers, FRAME_SERIES, app_on_request, app);
    timer_init(&app->beat, seat->core, app_on_beat);
    timer_start(&app->beat, 1);
}

static void app_down(struct rig_seat *seat) {
    struct app *app = seat->app;
    timer_stop(&app->beat);
    while (!list_is_empty(&app->calls)) {
        call_over(container_of(app->calls.next, struct call, link));
        totals.died++;
    }
    while (!list_is_empty(&app->served))
        served_drop(container_of(app->served.next, struct served, link));
    free(app);
}

static void each_app(void (*fn)(struct app *app)) {
    for (unsigned n = 0; n < RIG_NODES; n++)
        for (unsigned i = 0; i < RIG_CORES; i++) {
            struct rig_seat *seat = &rig.seats[n][i];
            if (seat->peers == NULL) continue;
            core_set_current(seat->core);
            fn(seat->app);
            core_set_current(NULL);
        }
}

static void app_quiet(struct app *app) {
    app->quiet = true;
}
static void app_expect_idle(struct app *app) {
    cr_assert_eq(app->open, 0, "seed %" PRIu64 ": calls outlive their deadline", seed_now);
    cr_assert(list_is_empty(&app->served), "seed %" PRIu64 ": requests outlive askers", seed_now);
}
static void app_call_easy(struct app *app) {
    app->quiet = false;
    for (int i = 0; i < 6; i++)
        app_call(app, MODE_AT_ONCE, 5000);
    app->quiet = true;
}
static void app_call_more(struct app *app) {
    app->quiet = false; /* callbacks of calls that fail while stopping start others */
    for (int i = 0; i < 6; i++)
        app_call(app, MODE_SILENT, 5000);
}
static void app_expect_stopped(struct app *app) {
    app->quiet = true;
    app_expect_idle(app);
    cr_assert_eq(app->seat->core->timers.count, 0, "seed %" PRIu64 ": timers are left", seed_now);
}

static void chaos(uint64_t seed) {
    struct sim_options o = {
        .seed = seed,
        .down_max = 2,
        .fault_rate = {[SIM_FRAME_LOST] = 0.002,
                       [SIM_FRAME_DELAYED] = 0.01,
                       [SIM_FRAME_REORDERED] = 0.01,
                       [SIM_CONN_CUT] = 0.003,
                       [SIM_PARTITION] = 0.0005,
                       [SIM_CRASH] = 0.0002,
                       [SIM_STALL] = seed % 4 == 0 ? 0.0005 : 0},
    };
    seed_now = seed;
    stalls = seed % 4 == 0;
    shakes = seed % 2 == 1;
    map_version = 1;
    rig = (struct rig){.restart_ms_max = 800, .up = app_up, .down = app_down};
    for (unsigned i = 0; i < RIG_NODES && seed % 3 == 0; i++)
        rig.secrets[i] = "known to all of them";
    rig_open(&rig, &o);
    for (unsigned i = 0; i < RIG_NODES; i++)
        rig_start(&rig, i);
    rig_run(&rig, 3000);
    sim_set_faults(rig.sim, false);
    rig_run(&rig, 2000); /* all are up again */
    each_app(app_quiet);
    each_app(app_settle);
    rig_run(&rig, HOLD_MS + 20000); /* a partition holds frames back for long */
    each_app(app_expect_idle);
    uint64_t ok = totals.ok, canceled = totals.canceled;
    each_app(app_call_easy);
    rig_run(&rig, 6000);
    each_app(app_expect_idle);
    cr_assert_eq(totals.ok - ok + totals.canceled - canceled, 6 * RIG_NODES * RIG_CORES,
                 "seed %" PRIu64 ": no recovery", seed);
    each_app(app_call_more);
    rig_stop(&rig);
    each_app(app_expect_stopped);
    rig_close(&rig);
    while (all_calls != NULL) {
        struct call *next = all_calls->all;
        cr_assert(all_calls->over, "seed %" PRIu64 ": a call never ended", seed);
        free(all_calls);
        all_calls = next;
    }
}

Test(peers_chaos, every_call_ends_once_and_an_answer_is_whole, .timeout = 280) {
    enum { SEEDS = 400 };
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        chaos(seed);
    fprintf(stderr,
            "%d seeds: %" PRIu64 " ok, %" PRIu64 " errors of the handler, %" PRIu64
            " timeouts, %" PRIu64 " unavailable, %" PRIu64 " cancelled, %" PRIu64
            " died with their node; %" PRIu64 " requests gone; %" PRIu64 " changes, %" PRIu64
            " refused as strangers\n",
            SEEDS, totals.ok, totals.executed, totals.timeouts, totals.unavailable, totals.canceled,
            totals.died, totals.gone, totals.shaken, totals.strangers);
    cr_assert(totals.ok > 10000 && totals.executed > 1000 && totals.timeouts > 1000);
    cr_assert(totals.unavailable > 1000 && totals.canceled > 1000 && totals.died > 100);
    cr_assert(totals.gone > 1000 && totals.shaken > 1000 && totals.strangers > 1000);
}
