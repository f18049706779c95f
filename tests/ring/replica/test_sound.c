/* SPDX-License-Identifier: Apache-2.0 */
/* A primary and a complete replica that is not in sync (and, where it asks, another such), each
 * with a store of its own in memory, in the simulator: what the primary does before it says of the
 * other that it diverged, and which ranges it takes from it. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/replica/replica.h"
#include "ring/replica/sound.h"
#include "tests/sim/sim.h"

enum { LEADS, OTHER, ASKS, SEATS };
enum { ENTRY_BYTES = 16, COPY = 3, CLOSED_MS = 1000, HISTORY = 77 };
static const node_id ids[SEATS] = {100, 200, 300};

/* An entry is its shard, epoch and seq. */
struct seat {
    struct core *core;
    struct peers *peers;
    struct replicas *replicas;
    struct lease lease;
    struct store_ops ops;
    /* the store's */
    struct shard_held held;
    uint64_t position;
    struct shard_ranges ranges; /* at: those below */
    struct shard_range at[4];
    bool hides; /* what is bad, until it is read */
    struct store_scrub *scrub;
    unsigned scrubs, exports, imports;
    bool gives_nothing;
    struct store_export *export_;
    struct timer give;
    struct shard_span span; /* given or taken last */
};
static struct {
    struct sim *sim;
    struct seat seats[SEATS];
    uint64_t version;
    uint32_t epoch;
    unsigned diverged;      /* so often it was said */
    uint32_t other_process; /* later than the first */
    bool asks;              /* the third node has a replica, too */
} rig;
static const uint16_t core_of[1];

/* -- stores */

static bool store_held(void *ctx, uint32_t shard, bool tail, struct shard_held *out) {
    const struct seat *seat = ctx;
    (void)shard;
    *out = (struct shard_held){.copy = COPY};
    if (!tail) *out = seat->held;
    return out->has_log;
}
/* Epoch 1 ended at 10, on the log of the primary. */
static bool store_epoch_end(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out) {
    (void)ctx, (void)shard;
    *out = 10;
    return epoch == 1;
}
static uint64_t store_history(void *ctx, uint32_t shard, uint32_t epoch) {
    (void)ctx, (void)shard, (void)epoch;
    return HISTORY;
}
static enum status store_entry_next(struct sv *rest, struct entry_place *out, struct err *err) {
    if (rest->len < ENTRY_BYTES) return err_set(err, ERR_CORRUPT, 0, "a short entry");
    out->shard = get_u32le(rest->ptr);
    out->place = (struct place){get_u32le(rest->ptr + 4), get_u64le(rest->ptr + 8)};
    out->len = ENTRY_BYTES;
    *rest = sv_skip(*rest, ENTRY_BYTES);
    return OK;
}
static enum status store_follow(void *ctx, uint32_t shard, uint32_t copy, bool tail,
                                struct sv entries, uint64_t *out_position, struct err *err) {
    (void)ctx, (void)shard, (void)copy, (void)tail, (void)entries, (void)out_position;
    return err_set(err, ERR_CONFLICT, 0, "nothing follows");
}
static enum status store_open_epoch(void *ctx, uint32_t shard, uint32_t epoch,
                                    uint64_t *out_position, struct err *err) {
    struct seat *seat = ctx;
    char entry[ENTRY_BYTES] = {0};
    (void)shard, (void)err;
    if (seat->held.end.epoch != epoch) {
        seat->held.end = (struct place){epoch, 0};
        put_u32le(entry + 4, epoch);
        struct entry_at at = {.place = seat->held.end, .len = sizeof entry};
        struct store_block block = {sv_make(entry, sizeof entry), &at, 1, false};
        replicas_block(seat->replicas, ++seat->position, &block);
    }
    *out_position = seat->position;
    return OK;
}
static void store_drop(void *ctx, uint32_t shard, uint32_t copy) {
    struct seat *seat = ctx;
    (void)shard;
    seat->held = (struct shard_held){.copy = copy};
}
static uint64_t store_position(void *ctx) {
    const struct seat *seat = ctx;
    return seat->position;
}
static enum status store_read(void *ctx, struct store_read *job, struct err *err) {
    (void)ctx, (void)job;
    return err_set(err, ERR_IO, 0, "nothing is read here");
}
static void store_read_resume(void *ctx, struct store_read *job) {
    (void)ctx, (void)job;
}
static enum status store_scrub(void *ctx, struct store_scrub *job) {
    struct seat *seat = ctx;
    cr_assert_null(seat->scrub, "one at a time");
    seat->scrub = job;
    seat->scrubs++;
    return OK;
}
static bool store_has_bad(void *ctx) {
    const struct seat *seat = ctx;
    for (uint32_t i = 0; i < seat->ranges.count && !seat->hides; i++)
        if (seat->at[i].kind == RANGE_BAD) return true;
    return false;
}
static enum status store_ranges(void *ctx, uint32_t shard, struct shard_ranges *out,
                                struct err *err) {
    struct seat *seat = ctx;
    (void)shard, (void)err;
    *out = seat->ranges;
    out->at = malloc(sizeof seat->at);
    cr_assert_not_null(out->at);
    memcpy(out->at, seat->at, sizeof seat->at);
    for (uint32_t i = 0; i < out->count; i++)
        if (seat->hides && out->at[i].kind == RANGE_BAD) out->at[i].kind = RANGE_GOOD;
    return OK;
}

/* One piece, then the end; neither within the call that asks for it. */
static void give_on_timer(struct timer *t) {
    struct seat *seat = container_of(t, struct seat, give);
    struct store_export *job = seat->export_;
    bool first = job->private_ == NULL;
    job->private_ = seat;
    if (first && job->piece(job, SV("a piece"))) return;
    seat->export_ = NULL;
    job->done(job, OK, NULL);
}
static enum status store_export_start(void *ctx, struct store_export *job, struct err *err) {
    struct seat *seat = ctx;
    cr_assert(seat->export_ == NULL && job->shards_count == 1 && job->spans != NULL);
    seat->exports++;
    if (seat->gives_nothing) return err_set(err, ERR_UNAVAILABLE, 0, "nothing is given");
    seat->span = job->spans[0];
    seat->export_ = job;
    timer_start(&seat->give, 1);
    return OK;
}
static void store_export_resume(void *ctx, struct store_export *job) {
    struct seat *seat = ctx;
    (void)job;
    timer_start(&seat->give, 1);
}
static enum status store_import_start(void *ctx, struct store_import *job, struct err *err) {
    struct seat *seat = ctx;
    (void)err;
    cr_assert(job->shards_count == 1 && job->shards[0].copy == COPY);
    seat->imports++;
    seat->span = job->spans[0];
    return OK;
}
static void store_import_piece(void *ctx, struct store_import *job, struct sv bytes) {
    struct seat *seat = ctx;
    cr_assert(sv_eq(bytes, SV("a piece")));
    for (uint32_t i = 0; i < seat->ranges.count; i++)
        if (seat->at[i].min_ms >= seat->span.min_ms && seat->at[i].max_ms <= seat->span.max_ms)
            seat->at[i].kind = RANGE_GOOD;
    job->taken(job, OK, true, NULL);
}
static void store_import_stop(void *ctx, struct store_import *job) {
    (void)ctx, (void)job;
}

static void on_report(void *ctx, const struct shard_report *reports, size_t reports_count,
                      const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms) {
    (void)lags, (void)lags_count, (void)unsynced_age_ms;
    for (size_t i = 0; i < reports_count; i++)
        if (ctx == &rig.seats[LEADS] && reports[i].kind == REPORT_DIVERGED) {
            rig.diverged += reports[i].about == ids[OTHER];
        }
}

/* -- both nodes */

static void seat_open(unsigned i) {
    struct seat *seat = &rig.seats[i];
    seat->ops = (struct store_ops){.ctx = seat,
                                   .held = store_held,
                                   .epoch_end = store_epoch_end,
                                   .history = store_history,
                                   .entry_next = store_entry_next,
                                   .follow = store_follow,
                                   .open_epoch = store_open_epoch,
                                   .drop = store_drop,
                                   .position = store_position,
                                   .read = store_read,
                                   .read_resume = store_read_resume,
                                   .scrub = store_scrub,
                                   .has_bad = store_has_bad,
                                   .ranges = store_ranges,
                                   .export_start = store_export_start,
                                   .export_resume = store_export_resume,
                                   .import_start = store_import_start,
                                   .import_piece = store_import_piece,
                                   .import_stop = store_import_stop};
    seat->core = sim_start(rig.sim, i)->cores[0];
    seat->lease.until_ns = UINT64_MAX;
    seat->ranges = (struct shard_ranges){
        .closed_ms = CLOSED_MS, .floor_ms = INT64_MIN, .closed_history = HISTORY, .count = 1};
    seat->ranges.closed_at = (struct place){1, 8};
    seat->at[0] = (struct shard_range){100, 199, RANGE_GOOD, 1, {1, 1}};
    core_set_current(seat->core);
    timer_init(&seat->give, seat->core, give_on_timer);
    struct peers_options po = {.self = ids[i],
                               .incarnation = 5,
                               .listen_addr = sim_addr(rig.sim, i),
                               .addr = sim_addr(rig.sim, i)};
    cr_assert_eq(peers_new(seat->core, &po, &seat->peers, NULL), OK);
    struct replica_options o = {.self = ids[i],
                                .incarnation = 5,
                                .store = &seat->ops,
                                .peers = seat->peers,
                                .lease = &seat->lease,
                                .retained_bytes_max = 1 << 20,
                                .append_bytes_max = 1 << 20,
                                .appends_in_flight = 8,
                                .report = on_report,
                                .ctx = seat};
    cr_assert_eq(replicas_new(seat->core, &o, &seat->replicas, NULL), OK);
    static const enum frame_type frames[] = {FRAME_APPEND,   FRAME_PLACES, FRAME_FETCH,
                                             FRAME_TRANSFER, FRAME_RANGES, FRAME_REPAIR};
    for (size_t f = 0; f < ARRAY_LEN(frames); f++)
        peers_handle(seat->peers, frames[f], replicas_on_frame, seat->replicas);
    cr_assert_eq(peers_start(seat->peers, NULL), OK);
    core_set_current(NULL);
}

/* The primary's log is 1/0 to 1/10 and the new epoch, the other's goes to 1/15. */
static void setup(void) {
    struct sim_options so = {.seed = 1, .nodes_count = SEATS, .cores_per_node = 1};
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    memset(&rig, 0, sizeof rig);
    rig.sim = sim_new(&so);
    rig.epoch = 2;
    for (unsigned i = 0; i < SEATS; i++) {
        seat_open(i);
        rig.seats[i].held = (struct shard_held){.copy = COPY,
                                                .has_log = true,
                                                .is_whole = true,
                                                .based = true,
                                                .first = {1, 4},
                                                .end = {1, i == LEADS ? 10 : 15},
                                                .history = HISTORY};
    }
}

static void teardown(void) {
    for (unsigned i = 0; i < SEATS; i++) {
        struct seat *seat = &rig.seats[i];
        sim_kill(rig.sim, i);
        core_set_current(seat->core);
        replicas_free(seat->replicas);
        peers_free(seat->peers);
        core_set_current(NULL);
    }
    sim_free(rig.sim);
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}
static void pass_ms(uint64_t ms) {
    sim_run(rig.sim, never, NULL, sim_now_ms(rig.sim) + ms);
}

static void install(enum replica_state state) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(SEATS, 1, &map, NULL), OK);
    map->version = ++rig.version;
    map->settings.cluster_id[0] = 1;
    map->settings.shards_count = 1;
    map->settings.replication_factor = 2;
    map->settings.min_insync = 1;
    map->settings.format_level = RING_FORMAT_LEVEL;
    struct ring_shard *s = &map->shards[0];
    s->epoch = rig.epoch;
    s->replicas_count = rig.asks ? SEATS : ASKS;
    for (unsigned i = 0; i < SEATS; i++) {
        map->nodes[i].id = ids[i];
        map->nodes[i].incarnation = 5 + (i == OTHER ? rig.other_process : 0);
        snprintf(map->nodes[i].addr, sizeof map->nodes[i].addr, "%s", sim_addr(rig.sim, i));
        if (i >= s->replicas_count) continue;
        s->replicas[i] = (struct ring_replica){
            .node = (uint16_t)i, .state = (uint8_t)state, .copy = COPY, .until = 1};
    }
    s->replicas[LEADS] =
        (struct ring_replica){.state = REPLICA_FULL, .in_sync = true, .copy = COPY};
    for (unsigned i = 0; i < SEATS; i++) {
        struct seat *seat = &rig.seats[i];
        core_set_current(seat->core);
        if (rig.other_process == 0) peers_set_map(seat->peers, map); /* else it were fenced */
        replicas_install(seat->replicas, map, core_of);
        replicas_durable(seat->replicas, seat->position, OK, NULL);
        core_set_current(NULL);
    }
    ring_map_unref(map);
}

/* All blocks of the primary have been read. */
static void scrubbed(void) {
    struct seat *seat = &rig.seats[LEADS];
    struct store_scrub *job = seat->scrub;
    cr_assert_not_null(job);
    seat->scrub = NULL;
    seat->hides = false;
    core_set_current(seat->core);
    job->done(job);
    core_set_current(NULL);
}

static struct seat *rotten(void) {
    struct seat *seat = &rig.seats[LEADS];
    seat->at[0].kind = RANGE_BAD;
    seat->hides = true;
    return seat;
}

static void other_was_silent(void) {
    struct replicas *r = rig.seats[LEADS].replicas;
    core_set_current(rig.seats[LEADS].core);
    for (size_t i = 0; i < r->fars_count; i++)
        if (r->fars[i]->id == ids[OTHER]) far_broke(r->fars[i]);
    core_set_current(NULL);
}

TestSuite(replica_sound, .init = setup, .fini = teardown);

Test(replica_sound, what_is_good_is_read_once_and_then_it_is_said) {
    struct seat *seat = &rig.seats[LEADS];
    install(REPLICA_FULL);
    pass_ms(5000);
    cr_assert_eq(seat->scrubs, 1);
    cr_assert_eq(seat->scrub->shard, 0);
    cr_assert_eq(rig.diverged, 0, "said before its blocks were read");
    scrubbed();
    pass_ms(250);
    cr_assert_gt(rig.diverged, 0);
    install(REPLICA_FULL); /* the same again */
    pass_ms(5000);
    cr_assert_eq(seat->scrubs, 1);
    other_was_silent(); /* and is asked anew what it holds */
    pass_ms(5000);
    cr_assert_eq(seat->scrubs, 1);
    rig.other_process++;
    install(REPLICA_FULL);
    pass_ms(5000);
    cr_assert_eq(seat->scrubs, 2, "another process");
    cr_assert_eq(seat->imports, 0);
}

Test(replica_sound, what_is_bad_is_fetched_from_it_before_it_is_said) {
    struct seat *seat = rotten(), *other = &rig.seats[OTHER];
    install(REPLICA_FULL);
    pass_ms(5000);
    cr_assert_eq(other->exports, 0, "nobody knows that it is bad");
    scrubbed();
    pass_ms(1);
    cr_assert_eq(rig.diverged, 0);
    while (rig.diverged == 0 && sim_now_ms(rig.sim) < 20000)
        pass_ms(10);
    cr_assert_gt(rig.diverged, 0);
    cr_assert_eq(seat->at[0].kind, RANGE_GOOD, "said while it was bad");
    cr_assert_eq(seat->imports, 1);
    cr_assert_eq(seat->span.min_ms, 100);
    cr_assert_eq(seat->span.max_ms, 199);
    cr_assert_eq(other->exports, 1);
    cr_assert_eq(other->span.min_ms, 100);
    cr_assert_eq(seat->scrubs, 1);
}

Test(replica_sound, a_new_epoch_is_a_new_beginning) {
    install(REPLICA_FULL);
    pass_ms(1000);
    scrubbed();
    pass_ms(250);
    unsigned before = rig.diverged;
    cr_assert_gt(before, 0);
    rig.epoch++;
    install(REPLICA_FULL);
    pass_ms(1000);
    cr_assert_eq(rig.seats[LEADS].scrubs, 2);
    cr_assert_eq(rig.diverged, before);
}

struct helpless {
    const char *why;
    struct place closed_at; /* of the other, as what follows */
    uint64_t history;
    int64_t closed_ms;
    enum range_kind kind;
    bool deleted_more;
};
static const struct helpless helpless[] = {
    {"closed behind the end of what is common", {1, 11}, HISTORY, CLOSED_MS, RANGE_GOOD, false},
    {"closed in an epoch that never was", {2, 1}, HISTORY, CLOSED_MS, RANGE_GOOD, false},
    {"of another history", {1, 8}, HISTORY + 1, CLOSED_MS, RANGE_GOOD, false},
    {"it does not know where it was closed", {0, 0}, HISTORY, CLOSED_MS, RANGE_GOOD, false},
    {"it is not closed so far", {1, 8}, HISTORY, 199, RANGE_GOOD, false},
    {"it is bad there, too", {1, 8}, HISTORY, CLOSED_MS, RANGE_BAD, false},
    {"it has deleted more", {1, 8}, HISTORY, CLOSED_MS, RANGE_GOOD, true},
};

Test(replica_sound, who_cannot_help_gives_nothing_and_is_kept) {
    for (size_t i = 0; i < ARRAY_LEN(helpless); i++) {
        const struct helpless *h = &helpless[i];
        if (i > 0) {
            teardown();
            setup();
        }
        struct seat *seat = rotten(), *other = &rig.seats[OTHER];
        other->ranges.closed_at = h->closed_at;
        other->ranges.closed_history = h->history;
        other->ranges.closed_ms = h->closed_ms;
        other->at[0].kind = h->kind;
        if (h->deleted_more)
            other->at[other->ranges.count++] =
                (struct shard_range){150, 160, RANGE_DELETED, 0, {1, 2}};
        install(REPLICA_FULL);
        pass_ms(1000);
        cr_assert_eq(rig.diverged, 0, "%s", h->why);
        scrubbed();
        pass_ms(SOUND_MS_MAX + 5000);
        cr_assert_eq(rig.diverged, 0, "%s: it cannot be filled, and is given up", h->why);
        cr_assert_eq(seat->imports + other->exports, 0, "%s", h->why);
        cr_assert_eq(seat->at[0].kind, RANGE_BAD);
        seat->at[0].kind = RANGE_GOOD; /* what was bad is gone */
        pass_ms(SOUND_AGAIN_MS_MAX + 5000);
        cr_assert_gt(rig.diverged, 0, "%s: held back for ever", h->why);
    }
}

Test(replica_sound, who_does_not_answer_for_it_is_asked_again) {
    rotten();
    rig.seats[OTHER].held.copy = COPY - 1; /* as told before: of another life of it */
    rig.seats[OTHER].held.damaged = false;
    install(REPLICA_FULL);
    pass_ms(1000);
    cr_assert_eq(rig.seats[LEADS].scrubs, 0, "asked until it is there");
    rig.seats[OTHER].held.copy = COPY;
    pass_ms(1000);
    cr_assert_eq(rig.seats[LEADS].scrubs, 1);
    rig.seats[OTHER].held.damaged = true;
    scrubbed();
    pass_ms(SOUND_MS_MAX);
    cr_assert_eq(rig.diverged, 0);
    cr_assert_eq(rig.seats[OTHER].exports, 0);
    rig.seats[OTHER].held.damaged = false;
    pass_ms(SOUND_AGAIN_MS_MAX + 5000);
    cr_assert_gt(rig.diverged, 0);
    cr_assert_eq(rig.seats[LEADS].at[0].kind, RANGE_GOOD);
}

Test(replica_sound, who_gives_nothing_of_what_it_tells_is_asked_ever_more_seldom) {
    struct seat *seat = rotten(), *other = &rig.seats[OTHER];
    other->gives_nothing = true;
    install(REPLICA_FULL);
    pass_ms(1000);
    scrubbed();
    pass_ms(3 * SOUND_AGAIN_MS_MAX);
    unsigned exports = other->exports;
    cr_assert_gt(exports, 4);
    pass_ms(10 * SOUND_AGAIN_MS_MAX);
    cr_assert_leq(other->exports, exports + 11);
    cr_assert_gt(other->exports, exports + 5);
    cr_assert_eq(rig.diverged, 0);
    cr_assert_eq(seat->at[0].kind, RANGE_BAD);
    other->gives_nothing = false;
    pass_ms(SOUND_AGAIN_MS_MAX + 5000);
    cr_assert_gt(rig.diverged, 0);
    cr_assert_eq(seat->at[0].kind, RANGE_GOOD);
}

Test(replica_sound, who_is_away_is_waited_for) {
    struct seat *seat = rotten();
    install(REPLICA_FULL);
    pass_ms(1000);
    sim_partition(rig.sim, LEADS, OTHER, 600000);
    scrubbed();
    pass_ms(590000);
    cr_assert_eq(rig.diverged, 0, "its copy may be the last one");
    pass_ms(60000);
    cr_assert_gt(rig.diverged, 0);
    cr_assert_eq(seat->at[0].kind, RANGE_GOOD);
}

Test(replica_sound, reading_that_does_not_end_is_not_waited_for) {
    rotten();
    install(REPLICA_FULL);
    pass_ms(SOUND_MS_MAX - 60000);
    cr_assert_eq(rig.diverged, 0);
    pass_ms(120000);
    cr_assert_gt(rig.diverged, 0);
}

/* Before it is filled from that log, the log may be dropped, as blocks have it all. */
Test(replica_sound, that_all_is_in_the_log_still_does_not_help) {
    rotten()->held.based = false;
    install(REPLICA_FULL);
    pass_ms(500);
    cr_assert_eq(rig.diverged, 0);
    cr_assert_gt(rig.seats[LEADS].scrubs, 0);
}

Test(replica_sound, what_was_never_complete_is_not_held_back) {
    rotten();
    install(REPLICA_INIT);
    pass_ms(500);
    cr_assert_gt(rig.diverged, 0);
    cr_assert_eq(rig.seats[LEADS].scrubs, 0);
}

/* -- who is given what may not be read */

static struct {
    unsigned ends;
    enum status status;
    size_t at; /* of the result in the answer */
    uint8_t result;
} told;

static void on_told(void *ctx, enum status status, struct sv part, bool last,
                    const struct err *err) {
    (void)ctx, (void)err;
    told.ends += last;
    told.status = status;
    if (status == OK && part.len > told.at) told.result = (uint8_t)part.ptr[told.at];
}

static uint8_t answer_to(unsigned seat, enum frame_type type, struct buf *payload) {
    struct peer_call_options o = {
        .to = ids[OTHER], .type = type, .timeout_ms = 1000, .reply = on_told};
    memset(&told, 0, sizeof told);
    told.result = RESULT_COUNT + 1;
    told.at = type == FRAME_RANGES ? 2 : 1; /* behind the version, and the shard */
    core_set_current(rig.seats[seat].core);
    peers_call(rig.seats[seat].peers, &o, payload);
    core_set_current(NULL);
    pass_ms(1000);
    cr_assert_eq(told.ends, 1);
    cr_assert_eq(told.status, OK);
    return told.result;
}
static uint8_t ranges_told_to(unsigned seat, uint32_t epoch) {
    struct buf payload = {0};
    wire_begin(&payload);
    places_item_put(&(struct places_item){0, epoch}, &payload);
    return answer_to(seat, FRAME_RANGES, &payload);
}
/* OK: a piece comes. */
static uint8_t ranges_given_to(unsigned seat) {
    struct buf payload = {0};
    wire_begin(&payload);
    repair_ask_put(&(struct repair_ask){.stream = (uint64_t)(seat + 1) << 32}, &payload);
    repair_item_put(&(struct repair_item){0, rig.epoch, {.min_ms = 100, .max_ms = 199}}, &payload);
    return answer_to(seat, FRAME_REPAIR, &payload);
}

Test(replica_sound, only_the_primary_gets_what_may_not_be_read) {
    rig.asks = true;
    install(REPLICA_FULL);
    pass_ms(1000);
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch), RESULT_ASIDE);
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch - 1), RESULT_STALE);
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch + 1), RESULT_LATER);
    cr_assert_eq(ranges_told_to(ASKS, rig.epoch), RESULT_GAP, "it does not lead");
    cr_assert_eq(ranges_given_to(ASKS), RESULT_FAILED);
    cr_assert_eq(rig.seats[OTHER].exports, 0);
    cr_assert_eq(ranges_given_to(LEADS), RESULT_OK);
    cr_assert_eq(rig.seats[OTHER].exports, 1);
}

Test(replica_sound, what_is_not_all_there_is_not_given) {
    install(REPLICA_INIT);
    pass_ms(1000);
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch), RESULT_GAP, "it is being filled");
    install(REPLICA_FULL);
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch), RESULT_ASIDE);
    rig.seats[OTHER].held.copy++;
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch), RESULT_GAP, "another life of it");
    rig.seats[OTHER].held.copy--;
    rig.seats[OTHER].held.damaged = true;
    cr_assert_eq(ranges_told_to(LEADS, rig.epoch), RESULT_GAP, "its log has a hole");
    cr_assert_eq(ranges_given_to(LEADS), RESULT_FAILED);
}
