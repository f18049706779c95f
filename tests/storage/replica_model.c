/* SPDX-License-Identifier: Apache-2.0 */
/* The storage of three nodes as replication uses it, by seed: two hold the shards with heads, one
 * keeps log-only tails. Writes on the primary, parts of its history sent in any portions, new
 * epochs with another primary, power cuts, drops and refills from a log, and times without a head
 * during which offers are taken. The model is the history of each shard, entry by entry: what a
 * node says it holds must be a part of that, what its own log had told as durable must be there
 * after a power cut, what is read back must be the same bytes, and both heads answer the same. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "node/base/log.h"
#include "storage/histogram.h"
#include "storage/store.h"
#include "tests/sim/sim.h"
#include "tests/storage/log_rig.h"

enum { NODES = 3, HEADS = 2, TAIL_NODE = 2, SHARDS = 4, SERIES = 24, BATCH_MAX = 16 };
enum { HISTOGRAM_BYTES = 32 };
#define START_MS 1767225600000

struct history { /* of a shard: whole entries, and where each begins */
    struct buf bytes;
    size_t *at;
    struct place *places;
    size_t count;
};

struct mnode {
    struct runtime *rt; /* NULL: down */
    struct log *log;
    struct store *store;
    struct store_ops ops;
    uint64_t durable;
    uint32_t copy[SHARDS];
    enum store_role role;
    struct { /* what the log has not told as durable yet */
        uint64_t position;
        size_t count;
    } sent[SHARDS];
    size_t durable_count[SHARDS]; /* entries of the history that are */
};

static struct sim *sim;
static struct rng rng;
static struct mnode nodes[NODES];
static struct history histories[SHARDS];
static uint32_t epoch;
static unsigned primary;
static char series[SERIES][48];
static struct sv labels[SERIES];
static series_id ids[SERIES];
static uint32_t shards[SERIES];
static unsigned slot_now;
static uint64_t refills, crashes, promotions, offered;
static uint64_t histograms, with_starts; /* compared */

static const struct store_options options = {
    .head = {.secret = 5, .out_of_order_window_ms = 1800000},
    .shards_count = SHARDS,
    .exemplars_max = 64,
};

/* -- history */

static void history_add(struct history *h, struct sv bytes, struct place place) {
    h->at = realloc(h->at, (h->count + 2) * sizeof *h->at);
    h->places = realloc(h->places, (h->count + 1) * sizeof *h->places);
    RIG_CHECK(h->at != NULL && h->places != NULL, "memory");
    h->at[h->count] = h->bytes.len;
    h->places[h->count++] = place;
    buf_put_sv(&h->bytes, bytes);
    h->at[h->count] = h->bytes.len;
}

/* How many entries are up to the place. */
static size_t history_count(const struct history *h, struct place place) {
    size_t n = 0;
    while (n < h->count && place_cmp(h->places[n], place) <= 0)
        n++;
    return n;
}

static struct sv history_part(const struct history *h, size_t from, size_t to) {
    return sv_make(h->bytes.ptr + h->at[from], h->at[to] - h->at[from]);
}

/* The list of a block's entries says what reading them does. */
static void check_places(const struct mnode *n, const struct store_block *block) {
    struct sv rest = block->entries;
    size_t i = 0;
    for (; rest.len > 0; i++) {
        const struct entry_at *at = &block->places[i];
        size_t begins = block->entries.len - rest.len;
        struct entry_place e;
        RIG_CHECK(i < block->places_count, "an entry that is not listed");
        RIG_CHECK(n->ops.entry_next(&rest, &e, NULL) == OK, "!");
        RIG_CHECK(at->shard == e.shard && place_cmp(at->place, e.place) == 0, "another entry");
        RIG_CHECK(at->at == begins && at->len == e.len, "bytes");
        RIG_CHECK(at->tail == (n->role == STORE_LOG), "another run");
    }
    RIG_CHECK(i == block->places_count, "%zu entries, and %zu listed", i, block->places_count);
}

static void on_block(struct store *store, uint64_t position, const struct store_block *block,
                     void *ctx) {
    struct mnode *n = ctx;
    RIG_CHECK(n->store == store && block->followed == (n != &nodes[primary]), "whose block?");
    check_places(n, block);
    for (size_t i = 0; i < block->places_count && !block->followed; i++) {
        const struct entry_at *e = &block->places[i];
        history_add(&histories[e->shard], sv_make(block->entries.ptr + e->at, e->len), e->place);
        n->sent[e->shard].position = position;
        n->sent[e->shard].count = histories[e->shard].count;
    }
}

/* -- nodes */

static bool node_tails(const struct mnode *n) {
    return n->role == STORE_LOG;
}

static struct shard_held node_held(struct mnode *n, uint32_t shard) {
    struct shard_held held;
    bool any = n->ops.held(n->ops.ctx, shard, node_tails(n), &held);
    RIG_CHECK(any == held.has_log && !held.damaged, "damaged");
    return held;
}

static size_t node_count(struct mnode *n, uint32_t shard) {
    struct shard_held held = node_held(n, shard);
    return held.has_log ? history_count(&histories[shard], held.end) : 0;
}

static void on_durable(struct store *store, uint64_t position, enum status status,
                       const struct err *err, void *ctx) {
    struct mnode *n = ctx;
    RIG_CHECK(status == OK && n->store == store, "%s", err->msg);
    n->durable = position;
    for (uint32_t s = 0; s < SHARDS; s++)
        if (n->sent[s].position <= position) n->durable_count[s] = n->sent[s].count;
}

static enum status node_apply(void *ctx, const struct entry *e, struct err *err) {
    struct mnode *n = ctx;
    return store_recover(n->store, e, err);
}

static void node_on_file(void *ctx, uint64_t first_frame) {
    struct mnode *n = ctx;
    store_recover_file(n->store, first_frame);
}

static void node_start(struct mnode *n) {
    struct err err = {0};
    bool damaged = false;
    n->rt = sim_start(sim, (unsigned)(n - nodes));
    n->durable = 0;
    RIG_CHECK(store_new(n->rt->cores[0], &options, &n->store, &err) == OK, "%s", err.msg);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {s, n->role, false, n->copy[s], epoch};
        RIG_CHECK(store_shard_open(n->store, &o, &err) == OK, "%s", err.msg);
    }
    struct log_options lo = {.dir = "log",
                             .file_bytes_max = 6000,
                             .frame_bytes_max = 1 << 20,
                             .sync_every_frame = true,
                             .on_file = node_on_file};
    enum status status = log_open(n->rt, &lo, node_apply, n, &n->log, &damaged, &err);
    RIG_CHECK(status == OK && !damaged, "%s", err.msg);
    store_set_log(n->store, n->log, on_durable, n);
    store_set_block_hook(n->store, on_block, n);
    store_ops_init(&n->ops, n->store);
    for (uint32_t s = 0; s < SHARDS; s++) {
        size_t count = node_count(n, s);
        RIG_CHECK(count >= n->durable_count[s], "node %d shard %u: %zu of %zu entries are left",
                  (int)(n - nodes), s, count, n->durable_count[s]);
        n->durable_count[s] = n->sent[s].count = count;
        n->sent[s].position = 0;
    }
}

static void node_stop(struct mnode *n, bool power_cut) {
    if (n->rt == NULL) return;
    if (power_cut)
        sim_crash(sim, (unsigned)(n - nodes));
    else
        sim_kill(sim, (unsigned)(n - nodes));
    store_free(n->store);
    log_free(n->log);
    n->store = NULL;
    n->log = NULL;
    n->rt = NULL;
}

static bool is_durable(void *ctx) {
    struct mnode *n = ctx;
    return n->durable >= n->ops.position(n->ops.ctx);
}

static void node_sync(struct mnode *n) {
    RIG_CHECK(sim_run(sim, is_durable, n, sim_now_ms(sim) + 3600000), "the log does not end");
}

static enum status node_follow(struct mnode *n, uint32_t shard, struct sv entries,
                               struct err *err) {
    uint64_t position;
    core_set_current(n->rt->cores[0]);
    enum status status =
        n->ops.follow(n->ops.ctx, shard, n->copy[shard], node_tails(n), entries, &position, err);
    core_set_current(NULL);
    if (status != OK) return status;
    n->sent[shard].position = position;
    n->sent[shard].count = node_count(n, shard);
    return OK;
}

/* -- steps */

static struct sv histogram_of(double sum, struct buf *out) {
    struct histogram h = {.sum = sum, .start_ms = (int64_t)rng_below(&rng, 2) * 9};
    size_t before = out->len;
    histogram_put(&h, out);
    RIG_CHECK(!out->failed && out->len - before <= HISTOGRAM_BYTES, "memory");
    return sv_make(out->ptr + before, out->len - before);
}

static void columns_fill(struct write_columns *c, series_id *c_ids, uint32_t *c_shards,
                         int64_t *times_ms, double *values) {
    static struct sv c_labels[BATCH_MAX], c_histograms[BATCH_MAX];
    static int64_t starts_ms[BATCH_MAX];
    static struct buf bytes;
    size_t n = 0;
    buf_clear(&bytes);
    RIG_CHECK(buf_reserve(&bytes, BATCH_MAX * HISTOGRAM_BYTES), "memory");
    slot_now += (unsigned)rng_below(&rng, 3);
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        for (size_t s = 0; s < SERIES && n < BATCH_MAX; s++) {
            if (shards[s] != shard || !rng_chance(&rng, 0.3)) continue;
            /* late, doubled, contradicting and too old ones among them */
            uint64_t back = rng_chance(&rng, 0.7) ? 0 : rng_below(&rng, 300);
            c_ids[n] = ids[s];
            c_shards[n] = shard;
            times_ms[n] = START_MS + ((int64_t)slot_now - (int64_t)back) * 15000;
            values[n] = (double)rng_below(&rng, 4);
            /* series of floats, of histograms, of both, with and without starts */
            bool is_histogram = s % 4 == 1 || (s % 4 == 2 && rng_chance(&rng, 0.5));
            c_histograms[n] = is_histogram ? histogram_of(values[n], &bytes) : (struct sv){0};
            starts_ms[n] = s % 4 != 0 && rng_chance(&rng, 0.7)
                               ? START_MS - 1 - (int64_t)rng_below(&rng, 3)
                               : 0;
            c_labels[n++] = labels[s];
        }
    }
    *c = (struct write_columns){.count = n,
                                .ids = c_ids,
                                .shards = c_shards,
                                .times_ms = times_ms,
                                .values = values,
                                .labels = c_labels,
                                .starts_ms = starts_ms,
                                .histograms = c_histograms};
}

static void step_write(void) {
    struct mnode *n = &nodes[primary];
    series_id c_ids[BATCH_MAX];
    uint32_t c_shards[BATCH_MAX], *unknown;
    int64_t times_ms[BATCH_MAX];
    double values[BATCH_MAX];
    struct write_columns c;
    struct write_result r;
    struct err err;
    size_t unknown_count;
    columns_fill(&c, c_ids, c_shards, times_ms, values);
    if (c.count == 0) return;
    struct arena scratch;
    arena_init(&scratch, 0);
    int64_t now_ms = START_MS + (int64_t)slot_now * 15000;
    core_set_current(n->rt->cores[0]);
    enum status status =
        n->role == STORE_LOG
            ? store_offer(n->store, &c, now_ms, &scratch, &r, &unknown, &unknown_count, &err)
            : store_write(n->store, &c, now_ms, &scratch, &r, &unknown, &unknown_count, &err);
    core_set_current(NULL);
    RIG_CHECK(status == OK, "%s", err.msg);
    if (n->role == STORE_LOG) offered += r.counts[VERDICT_ACCEPT];
    arena_fini(&scratch);
}

/* Some of what the node lacks, with some of what it has in front; or with a hole. */
static void step_follow(struct mnode *n) {
    uint32_t shard = (uint32_t)rng_below(&rng, SHARDS);
    const struct history *h = &histories[shard];
    size_t has = node_count(n, shard);
    if (h->count == 0 || n->rt == NULL) return;
    struct err err;
    if (!node_tails(n) && has + 1 < h->count && rng_chance(&rng, 0.1)) {
        struct shard_held before = node_held(n, shard), after;
        uint64_t position = n->ops.position(n->ops.ctx);
        enum status status = node_follow(n, shard, history_part(h, has + 1, h->count), &err);
        RIG_CHECK(status == ERR_CONFLICT, "a gap: %s", status_name(status));
        after = node_held(n, shard);
        RIG_CHECK(place_cmp(before.end, after.end) == 0 && position == n->ops.position(n->ops.ctx),
                  "a gap changed something");
        return;
    }
    size_t from = has - (size_t)rng_below(&rng, MIN(has, 3) + 1);
    size_t to = has + (size_t)rng_below(&rng, h->count - has + 1);
    if (from == to) return;
    if (node_tails(n) && !node_held(n, shard).has_log) from = (size_t)rng_below(&rng, to);
    RIG_CHECK(node_follow(n, shard, history_part(h, from, to), &err) == OK, "%s", err.msg);
    RIG_CHECK(node_count(n, shard) == MAX(to, has), "followed to another place");
}

static void catch_up(struct mnode *n) {
    for (uint32_t s = 0; s < SHARDS; s++) {
        size_t has = node_count(n, s);
        struct err err;
        if (has == histories[s].count) continue;
        struct sv part = history_part(&histories[s], has, histories[s].count);
        RIG_CHECK(node_follow(n, s, part, &err) == OK, "%s", err.msg);
    }
}

static void open_epochs(unsigned by) {
    struct mnode *n = &nodes[by];
    primary = by;
    epoch += 1 + (uint32_t)rng_below(&rng, 2);
    promotions++;
    for (uint32_t s = 0; s < SHARDS; s++) {
        uint64_t position;
        struct err err;
        core_set_current(n->rt->cores[0]);
        enum status status = n->ops.open_epoch(n->ops.ctx, s, epoch, &position, &err);
        core_set_current(NULL);
        RIG_CHECK(status == OK, "%s", err.msg);
    }
}

static void node_crash(struct mnode *n) {
    node_stop(n, rng_chance(&rng, 0.7));
    node_start(n);
    crashes++;
}

/* -- reading back */

struct reading {
    struct store_read job;
    struct mnode *to; /* NULL: compared with the history only */
    bool tail, done, cancel;
    enum status status;
    size_t next[SHARDS]; /* of the history */
    unsigned pieces;
};

static bool on_piece(struct store_read *job, struct sv entries) {
    struct reading *r = container_of(job, struct reading, job);
    struct mnode *from = job->user;
    RIG_CHECK(entries.len > 0, "an empty piece");
    r->pieces++;
    while (entries.len > 0) {
        struct sv at = entries;
        struct entry e, want;
        RIG_CHECK(entry_next(&entries, &e, NULL) == OK, "!");
        const struct history *h = &histories[e.shard];
        RIG_CHECK(r->next[e.shard] < h->count, "more than there was");
        struct sv model = history_part(h, r->next[e.shard], h->count);
        RIG_CHECK(entry_next(&model, &want, NULL) == OK, "!");
        RIG_CHECK(e.type == want.type && e.epoch == want.epoch && e.seq == want.seq &&
                      sv_eq(e.body, want.body) && e.incarnation == from->copy[e.shard],
                  "shard %u: %u/%" PRIu64 " instead of %u/%" PRIu64, e.shard, e.epoch, e.seq,
                  want.epoch, want.seq);
        r->next[e.shard]++;
        struct err err;
        struct sv bytes = sv_make(at.ptr, at.len - entries.len);
        if (r->to == NULL) continue;
        core_set_current(r->to->rt->cores[0]);
        uint64_t position;
        enum status status = r->to->ops.follow(r->to->ops.ctx, e.shard, r->to->copy[e.shard], false,
                                               bytes, &position, &err);
        core_set_current(from->rt->cores[0]);
        RIG_CHECK(status == OK, "%s", err.msg);
    }
    if (r->cancel) return false;
    from->ops.read_resume(from->ops.ctx, job);
    return true;
}

static void on_done(struct store_read *job, enum status status, const struct err *err) {
    struct reading *r = container_of(job, struct reading, job);
    RIG_CHECK(status == OK || status == ERR_CANCELED, "%s", err->msg);
    r->status = status;
    r->done = true;
}

static bool read_is_done(void *ctx) {
    return ((struct reading *)ctx)->done;
}

/* The whole of what the node holds, or what is behind some place of it. */
static void read_back(struct mnode *n, struct mnode *to, bool beside_writes) {
    struct reading r = {.to = to, .tail = node_tails(n)};
    struct store_read_from from[SHARDS];
    size_t end[SHARDS];
    node_sync(n);
    r.cancel = to == NULL && rng_chance(&rng, 0.2);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct shard_held held = node_held(n, s);
        const struct history *h = &histories[s];
        end[s] = node_count(n, s);
        from[s] = (struct store_read_from){.shard = s, .tail = r.tail, .from_start = true};
        size_t first = held.has_log ? history_count(h, held.first) - 1 : 0;
        if (to == NULL && end[s] > first && rng_chance(&rng, 0.7)) {
            first += (size_t)rng_below(&rng, end[s] - first);
            from[s].from_start = false;
            from[s].after = h->places[first++];
        }
        r.next[s] = first;
    }
    r.job = (struct store_read){.from = from,
                                .from_count = SHARDS,
                                .piece_bytes_max = 1 + rng_below(&rng, 3000),
                                .piece = on_piece,
                                .done = on_done,
                                .user = n};
    core_set_current(n->rt->cores[0]);
    RIG_CHECK(n->ops.read(n->ops.ctx, &r.job, NULL) == OK, "!");
    core_set_current(NULL);
    for (unsigned i = 0; beside_writes && i < 20; i++)
        step_write();
    RIG_CHECK(sim_run(sim, read_is_done, &r, sim_now_ms(sim) + 3600000), "reading does not end");
    for (uint32_t s = 0; s < SHARDS && r.status == OK; s++)
        RIG_CHECK(r.next[s] >= end[s], "shard %u: read to %zu of %zu", s, r.next[s], end[s]);
}

/* -- both heads answer the same */

struct row {
    series_id id;
    struct samples samples;
};

static size_t rows_read(struct store *store, struct row *rows) {
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    bool done = false;
    size_t count;
    RIG_CHECK(select_new(store_head(store), &query, &sel, NULL) == OK, "!");
    while (!done)
        RIG_CHECK(select_step(sel, 0, &done, NULL) == OK, "!");
    const struct series_view *views = selection_series(sel, &count);
    RIG_CHECK(count <= SERIES, "a series twice");
    for (size_t i = 0; i < count; i++) {
        size_t s = 0;
        while (!series_id_eq(ids[s], views[i].id))
            RIG_CHECK(++s < SERIES, "a series that is none");
        rows[s].id = views[i].id;
        RIG_CHECK(series_view_read(&views[i], INT64_MIN, INT64_MAX, &rows[s].samples, NULL) == OK,
                  "!");
    }
    selection_release(sel);
    return count;
}

/* How many are histograms. */
static uint64_t kinds_compare(const struct samples *a, const struct samples *b) {
    uint64_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct histogram *h = a->histograms == NULL ? NULL : a->histograms[i];
        const struct histogram *g = b->histograms == NULL ? NULL : b->histograms[i];
        RIG_CHECK((h == NULL) == (g == NULL), "a float and a histogram");
        RIG_CHECK(h == NULL || histogram_equal(h, g), "histograms differ");
        RIG_CHECK((a->starts_ms == NULL ? 0 : a->starts_ms[i]) ==
                      (b->starts_ms == NULL ? 0 : b->starts_ms[i]),
                  "starts differ");
        count += h != NULL;
        with_starts += a->starts_ms != NULL && a->starts_ms[i] != 0;
    }
    return count;
}

static void verify(void) {
    struct row a[SERIES] = {0}, b[SERIES] = {0};
    catch_up(&nodes[0]);
    catch_up(&nodes[1]);
    size_t count = rows_read(nodes[0].store, a);
    RIG_CHECK(rows_read(nodes[1].store, b) == count, "another number of series");
    for (size_t s = 0; s < SERIES; s++) {
        size_t n = a[s].samples.count;
        RIG_CHECK(b[s].samples.count == n, "series %zu: %zu and %zu samples", s, n,
                  b[s].samples.count);
        bool same =
            n == 0 ||
            (memcmp(a[s].samples.times_ms, b[s].samples.times_ms, n * sizeof(int64_t)) == 0 &&
             memcmp(a[s].samples.values, b[s].samples.values, n * sizeof(double)) == 0);
        RIG_CHECK(same, "series %zu differs", s);
        histograms += kinds_compare(&a[s].samples, &b[s].samples);
        samples_fini(&a[s].samples);
        samples_fini(&b[s].samples);
    }
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct shard_place pa, pb;
        RIG_CHECK(store_shard_place(nodes[0].store, s, &pa) &&
                      store_shard_place(nodes[1].store, s, &pb),
                  "!");
        RIG_CHECK(pa.seq == pb.seq && pa.newest_ms == pb.newest_ms &&
                      pa.series_count == pb.series_count,
                  "places differ");
    }
    /* ends of epochs are those of the history */
    for (uint32_t s = 0; s < SHARDS; s++) {
        const struct history *h = &histories[s];
        for (size_t i = 1; i < h->count; i++) {
            uint64_t end_a, end_b;
            if (h->places[i].epoch == h->places[i - 1].epoch) continue;
            uint32_t closed = h->places[i - 1].epoch;
            RIG_CHECK(store_epoch_end(nodes[0].store, s, closed, &end_a) &&
                          store_epoch_end(nodes[1].store, s, closed, &end_b) && end_a == end_b &&
                          end_a == h->places[i - 1].seq,
                      "shard %u: end of epoch %u", s, closed);
        }
    }
}

/* -- longer steps */

static void step_refill(struct mnode *n) {
    for (uint32_t s = 0; s < SHARDS; s++) {
        n->copy[s] += 1 + (uint32_t)rng_below(&rng, 2);
        n->ops.drop(n->ops.ctx, s, n->copy[s]);
        struct shard_held held;
        RIG_CHECK(!n->ops.held(n->ops.ctx, s, false, &held) && held.copy == n->copy[s], "dropped");
        n->durable_count[s] = n->sent[s].count = 0;
    }
    refills++;
    if (rng_chance(&rng, 0.3)) node_crash(n);
    read_back(&nodes[primary], n, rng_chance(&rng, 0.5));
}

/* Both heads are gone for a while. */
static void step_offers(void) {
    for (unsigned i = 0; i < HEADS; i++) {
        node_sync(&nodes[i]);
        node_stop(&nodes[i], true);
    }
    catch_up(&nodes[TAIL_NODE]);
    open_epochs(TAIL_NODE);
    for (unsigned i = 0; i < 10; i++)
        step_write();
    node_sync(&nodes[TAIL_NODE]);
    if (rng_chance(&rng, 0.5)) node_crash(&nodes[TAIL_NODE]);
    read_back(&nodes[TAIL_NODE], NULL, false);
    for (unsigned i = 0; i < HEADS; i++) {
        node_start(&nodes[i]);
        catch_up(&nodes[i]);
    }
    open_epochs((unsigned)rng_below(&rng, HEADS));
}

static void step(void) {
    unsigned follower = 1 - primary;
    for (uint64_t i = rng_chance(&rng, 0.5) ? 0 : rng_below(&rng, 40); i > 0; i--)
        if (!sim_step(sim)) break;
    switch (rng_below(&rng, 16)) {
    case 0:
        node_sync(&nodes[primary]);
        catch_up(&nodes[follower]);
        open_epochs(follower);
        break;
    case 1: node_crash(&nodes[follower]); break;
    case 2: node_crash(&nodes[TAIL_NODE]); break;
    case 3:
        if (rng_chance(&rng, 0.4)) step_refill(&nodes[follower]);
        break;
    case 4:
        if (rng_chance(&rng, 0.3)) step_offers();
        break;
    case 5: read_back(&nodes[rng_below(&rng, NODES)], NULL, rng_chance(&rng, 0.5)); break;
    case 6: verify(); break;
    case 7: /* the primary's process: what it had is durable, so it may go on */
        node_sync(&nodes[primary]);
        node_crash(&nodes[primary]);
        open_epochs(primary);
        break;
    case 8:
    case 9:
    case 10: step_follow(&nodes[follower]); break;
    case 11: step_follow(&nodes[TAIL_NODE]); break;
    default: step_write(); break;
    }
}

static void world_init(uint64_t seed) {
    rng_init(&rng, seed);
    sim = sim_new(&(struct sim_options){.seed = seed, .nodes_count = NODES, .cores_per_node = 1});
    epoch = 1;
    primary = 0;
    slot_now = 300;
    for (size_t i = 0; i < SERIES; i++) {
        char job[16];
        snprintf(job, sizeof job, "job-%zu", i);
        struct label list[] = {{SV("__name__"), SV("up")}, {SV("job"), sv_from(job)}};
        struct buf b = {0};
        RIG_CHECK(labels_encode(list, 2, &b, NULL) == OK && b.len <= sizeof series[i], "!");
        memcpy(series[i], b.ptr, b.len);
        labels[i] = sv_make(series[i], b.len);
        ids[i] = series_id_of(options.head.secret, 0, labels[i]);
        shards[i] = series_shard(ids[i], SHARDS);
        buf_fini(&b);
    }
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct mnode){.role = i == TAIL_NODE ? STORE_LOG : STORE_FULL};
        for (uint32_t s = 0; s < SHARDS; s++)
            nodes[i].copy[s] = 1;
        node_start(&nodes[i]);
    }
    open_epochs(0);
}

static void run(uint64_t seed) {
    world_init(seed);
    for (unsigned i = 0; i < 200; i++)
        step();
    verify();
    for (unsigned i = 0; i < NODES; i++)
        node_stop(&nodes[i], false);
    sim_free(sim);
    for (uint32_t s = 0; s < SHARDS; s++) {
        buf_fini(&histories[s].bytes);
        free(histories[s].at);
        free(histories[s].places);
        histories[s] = (struct history){0};
    }
}

int main(int argc, char **argv) {
    uint64_t from = 1, to = 40;
    if (argc > 1) from = to = strtoull(argv[1], NULL, 10);
    if (argc > 2) to = strtoull(argv[2], NULL, 10);
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    for (uint64_t seed = from; seed <= to; seed++) {
        if (argc > 1) printf("seed %" PRIu64 "\n", seed);
        fflush(stdout);
        run(seed);
    }
    RIG_CHECK(argc > 1 || (refills > 20 && crashes > 100 && promotions > 100 && offered > 200 &&
                           histograms > 1000 && with_starts > 1000),
              "%" PRIu64 " refills, %" PRIu64 " crashes, %" PRIu64 " promotions, %" PRIu64
              " offers",
              refills, crashes, promotions, offered);
    printf("%" PRIu64 " refills, %" PRIu64 " crashes, %" PRIu64 " promotions, %" PRIu64
           " offers; %" PRIu64 " histograms and %" PRIu64 " starts compared\n",
           refills, crashes, promotions, offered, histograms, with_starts);
    return 0;
}
