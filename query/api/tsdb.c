/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "node/base/map.h"
#include "node/base/num.h"
#include "query/api/internal.h"
#include "storage/archive/block_list.h"

/* /status/tsdb: cardinality of this node's heads, of the shards whose primary it is: so that over
 * the nodes of a cluster each series counts once. The flow goes from core to core as a message:
 *   SPAN (times, shard by shard in slices on the core) -> SELECT everything (in slices)
 *   -> COUNT (worker) -> RELEASE (on the core) -> next core ... -> answered at home
 * Memory grows with distinct label pairs, up to COUNT_BYTES_MAX. */
enum { TSDB_LIMIT = 10, TSDB_LIMIT_MAX = 10000, SLICE_NS = 1000000, COUNT_BYTES_MAX = 512 << 20 };

struct counted {
    struct sv name;  /* a label name, or a pair as name=value */
    struct sv value; /* of a pair, inside name */
    uint64_t count, bytes;
};
struct counter { /* names or pairs by text */
    struct arena *arena;
    struct map map;
    struct counted *at;
    size_t count, cap;
};
struct tsdb_flow {
    struct http_request *req;
    struct msg msg;
    struct work work;
    struct core *home, *core;
    struct selection *selection;
    const struct series_view *views;
    size_t views_count;
    size_t limit;
    struct shard_set shards; /* in the arena */
    uint32_t shards_done;    /* of this core's SPAN */
    struct head_stats stats;
    struct arena arena;
    struct counter names, pairs;
    enum status status;
    struct err err;
};

/* -- counting */

static bool counted_eq(const void *owner, uint32_t ref, const void *key) {
    return sv_eq(((const struct counter *)owner)->at[ref].name, *(const struct sv *)key);
}

static uint64_t counted_hash(const void *owner, uint32_t ref) {
    struct sv s = ((const struct counter *)owner)->at[ref].name;
    return hash64(s.ptr, s.len, 0);
}

/* NULL without memory. */
static struct counted *counter_get(struct counter *c, struct sv text, bool *out_is_new) {
    uint64_t hash = hash64(text.ptr, text.len, 0);
    uint32_t ref = map_find(&c->map, hash, counted_eq, c, &text);
    *out_is_new = ref == MAP_NONE;
    if (ref != MAP_NONE) return &c->at[ref];
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 256 : c->cap * 2;
        struct counted *at = arena_grow(c->arena, c->at, c->cap * sizeof *at, cap * sizeof *at);
        if (at == NULL) return NULL;
        c->at = at;
        c->cap = cap;
    }
    struct sv copy = arena_sv(c->arena, text);
    if (copy.ptr == NULL) return NULL;
    c->at[c->count] = (struct counted){.name = copy};
    if (map_insert(&c->map, hash, (uint32_t)c->count, counted_hash, c) != OK) return NULL;
    return &c->at[c->count++];
}

/* What Prometheus (since 3.0, label sets as one string) says a series keeps for a name or value:
 * memoryInBytesByLabelName means the same here, though names are shared. */
static uint64_t encoded_bytes(size_t len) {
    return len + (len < 255 ? 1 : 4);
}

static enum status count_label(struct tsdb_flow *f, const struct label *l, struct buf *text) {
    bool is_new, name_is_new;
    buf_clear(text);
    buf_put_sv(text, l->name);
    buf_put_char(text, '=');
    buf_put_sv(text, l->value);
    struct counted *pair = text->failed ? NULL : counter_get(&f->pairs, buf_sv(text), &is_new);
    if (pair == NULL) return err_set(&f->err, ERR_LIMIT, 0, "too many label pairs to count");
    if (is_new) pair->value = sv_skip(pair->name, l->name.len + 1);
    pair->count++;
    struct counted *name = counter_get(&f->names, l->name, &name_is_new);
    if (name == NULL) return err_set(&f->err, ERR_LIMIT, 0, "too many label names to count");
    name->count += is_new;
    name->bytes += encoded_bytes(l->name.len) + encoded_bytes(l->value.len);
    return OK;
}

static void count_run(struct work *w) {
    struct tsdb_flow *f = container_of(w, struct tsdb_flow, work);
    enum { LABELS_MAX = 1024 }; /* the write path takes fewer */
    struct label *labels = malloc(LABELS_MAX * sizeof *labels);
    struct buf text = {0};
    if (labels == NULL) f->status = err_set(&f->err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < f->views_count && f->status == OK; i++) {
        size_t n = series_view_labels(&f->views[i], labels, LABELS_MAX);
        for (size_t k = 0; k < MIN(n, (size_t)LABELS_MAX) && f->status == OK; k++)
            f->status = count_label(f, &labels[k], &text);
    }
    buf_fini(&text);
    free(labels);
}

/* -- the answer */

static int by_count(const void *a, const void *b) {
    const struct counted *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return sv_cmp(x->name, y->name);
}

static int by_bytes(const void *a, const void *b) {
    const struct counted *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return sv_cmp(x->name, y->name);
}

static void put_stat(struct buf *out, size_t i, struct sv name, uint64_t value) {
    buf_put_sv(out, i == 0 ? SV("{\"name\":") : SV(",{\"name\":"));
    api_put_text(out, name);
    buf_put_sv(out, SV(",\"value\":"));
    num_put_u64(out, value);
    buf_put_char(out, '}');
}

static void put_stats(struct tsdb_flow *f, struct buf *out) {
    const struct head_stats *s = &f->stats;
    buf_printf(out,
               "{\"headStats\":{\"numSeries\":%" PRIu64
               ",\"numLabelPairs\":%zu,\"chunkCount\":%" PRIu64 ",\"minTime\":%" PRId64
               ",\"maxTime\":%" PRId64 "},\"seriesCountByMetricName\":[",
               s->series, f->pairs.count, s->chunks, s->min_time_ms, s->max_time_ms);
    if (f->pairs.count > 0) qsort(f->pairs.at, f->pairs.count, sizeof *f->pairs.at, by_count);
    size_t n = 0;
    for (size_t i = 0; i < f->pairs.count && n < f->limit; i++)
        if (sv_starts(f->pairs.at[i].name, SV("__name__=")))
            put_stat(out, n++, f->pairs.at[i].value, f->pairs.at[i].count);
    buf_put_sv(out, SV("],\"labelValueCountByLabelName\":["));
    if (f->names.count > 0) qsort(f->names.at, f->names.count, sizeof *f->names.at, by_count);
    for (size_t i = 0; i < MIN(f->names.count, f->limit); i++)
        put_stat(out, i, f->names.at[i].name, f->names.at[i].count);
    buf_put_sv(out, SV("],\"memoryInBytesByLabelName\":["));
    if (f->names.count > 0) qsort(f->names.at, f->names.count, sizeof *f->names.at, by_bytes);
    for (size_t i = 0; i < MIN(f->names.count, f->limit); i++)
        put_stat(out, i, f->names.at[i].name, f->names.at[i].bytes);
    buf_put_sv(out, SV("],\"seriesCountByLabelValuePair\":["));
    for (size_t i = 0; i < MIN(f->pairs.count, f->limit); i++)
        put_stat(out, i, f->pairs.at[i].name, f->pairs.at[i].count);
    buf_put_sv(out, SV("]}"));
}

static void flow_answer(struct core *here, struct msg *m) {
    (void)here;
    struct tsdb_flow *f = container_of(m, struct tsdb_flow, msg);
    if (f->status == OK) {
        struct buf data = {0};
        put_stats(f, &data);
        api_answer(f->req, &data);
    } else {
        api_fail_status(f->req, f->status, &f->err);
    }
    map_fini(&f->names.map);
    map_fini(&f->pairs.map);
    arena_fini(&f->arena);
    free(f);
}

/* -- from core to core */

static void flow_select(struct core *here, struct msg *m);

static void flow_next(struct tsdb_flow *f) {
    if (f->selection != NULL) selection_release(f->selection);
    f->selection = NULL;
    const struct runtime *rt = f->home->rt;
    unsigned next = f->core->index + 1;
    if (f->status != OK || next >= rt->cores_count) {
        f->msg.run = flow_answer;
        core_post(f->home, &f->msg);
        return;
    }
    f->core = rt->cores[next];
    f->shards_done = 0;
    f->msg.run = flow_select;
    core_post(f->core, &f->msg);
}

static void count_ran(struct core *here, struct work *w) {
    (void)here;
    flow_next(container_of(w, struct tsdb_flow, work));
}

/* false: there is more. */
static bool span_step(struct tsdb_flow *f, const struct head *head, uint64_t until_ns) {
    while (f->shards_done < f->shards.shards_count) {
        uint32_t shard = f->shards_done++;
        if (!shard_set_has(&f->shards, shard)) continue;
        struct head_shard_stats s;
        head_shard_stats(head, shard, &s);
        f->stats.min_time_ms = MIN(f->stats.min_time_ms, s.min_time_ms);
        f->stats.max_time_ms = MAX(f->stats.max_time_ms, s.max_time_ms);
        if (core_mono_ns(f->core) >= until_ns) return f->shards_done == f->shards.shards_count;
    }
    return true;
}

/* The head counts chunks of all shards together: here they are taken to be alike. */
static void add_counts(struct tsdb_flow *f, const struct head *head) {
    struct head_stats all;
    head_stats(head, &all);
    f->stats.series += f->views_count;
    if (all.series > 0)
        f->stats.chunks +=
            (uint64_t)((double)all.chunks * (double)f->views_count / (double)all.series + 0.5);
}

static void flow_select(struct core *here, struct msg *m) {
    struct tsdb_flow *f = container_of(m, struct tsdb_flow, msg);
    struct head *head = store_head(here->locals[CORE_STORE]);
    bool done = false;
    uint64_t until_ns = core_mono_ns(here) + SLICE_NS;
    if (!span_step(f, head, until_ns)) {
        core_post(here, &f->msg);
        return;
    }
    if (f->selection == NULL) {
        struct select_query q = {.shards = &f->shards,
                                 .from_ms = INT64_MIN,
                                 .to_ms = INT64_MAX,
                                 .memory_bytes_max = COUNT_BYTES_MAX};
        f->status = select_new(head, &q, &f->selection, &f->err);
    }
    if (f->status == OK) f->status = select_step(f->selection, until_ns, &done, &f->err);
    if (f->status != OK) {
        flow_next(f);
    } else if (!done) {
        core_post(here, &f->msg);
    } else {
        f->views = selection_series(f->selection, &f->views_count);
        add_counts(f, head);
        f->work = (struct work){.run = count_run, .done = count_ran};
        work_submit(here, &f->work);
    }
}

static bool get_limit(struct http_request *req, size_t *out) {
    struct sv s = api_form(req, "limit");
    int64_t v = TSDB_LIMIT;
    if (s.len > 0 && (!num_parse_i64(s, &v) || v < 1)) {
        api_fail(req, API_BAD_DATA, "limit must be a positive number");
        return false;
    }
    if (v > TSDB_LIMIT_MAX) {
        api_fail(req, API_BAD_DATA, "limit must not exceed %d", TSDB_LIMIT_MAX);
        return false;
    }
    *out = (size_t)v;
    return true;
}

static bool find_primaries(struct tsdb_flow *f) {
    const struct ring_map *map = peers_map(f->home->locals[CORE_PEERS]);
    uint32_t count = map->settings.shards_count;
    int self = ring_map_node_index(map, api_options_of(f->req)->self);
    uint64_t *bits = arena_zalloc(&f->arena, (count + 63) / 64 * sizeof *bits);
    for (uint32_t s = 0; bits != NULL && s < count; s++)
        if (ring_map_primary(map, s) == self) bits[s / 64] |= (uint64_t)1 << (s % 64);
    f->shards = (struct shard_set){bits, count};
    return bits != NULL;
}

void api_status_tsdb(struct http_request *req) {
    size_t limit;
    if (!get_limit(req, &limit)) return;
    struct tsdb_flow *f = calloc(1, sizeof *f);
    if (f == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return;
    }
    *f = (struct tsdb_flow){.req = req,
                            .home = req->core,
                            .core = req->core->rt->cores[0],
                            .limit = limit,
                            .stats = {.min_time_ms = INT64_MAX, .max_time_ms = INT64_MIN}};
    arena_init(&f->arena, COUNT_BYTES_MAX);
    f->names.arena = f->pairs.arena = &f->arena;
    map_init(&f->names.map);
    map_init(&f->pairs.map);
    if (!find_primaries(f)) f->status = err_set(&f->err, ERR_NOMEM, 0, "out of memory");
    f->msg.run = f->status == OK ? flow_select : flow_answer;
    core_post(f->status == OK ? f->core : f->home, &f->msg);
}

/* -- /status/tsdb/blocks */

static void put_block(struct buf *out, const struct list_block *b) {
    struct block_info info = {0};
    if (b->block != NULL) block_get_info(b->block, &info); /* else it cannot be read */
    buf_put_sv(out, SV("{\"ulid\":\""));
    manifest_put_ulid(&b->of, out);
    buf_printf(out, "\",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 ",\"stats\":{", b->of.min_ms,
               b->of.max_ms == INT64_MAX ? INT64_MAX : b->of.max_ms + 1);
    buf_printf(out, "\"numSamples\":%" PRIu64 ",\"numSeries\":%" PRIu64, info.samples_count,
               info.series_count); /* chunks are not counted: left out, as it leaves out a zero */
    buf_printf(out, "},\"compaction\":{\"level\":%u,\"sources\":[\"", b->of.level + 1u);
    manifest_put_ulid(&b->of, out);
    buf_put_sv(out, SV("\"]},\"version\":1}"));
}

/* Those that count on this node now. maxTime is exclusive, as Prometheus has it. */
void api_status_tsdb_blocks(struct http_request *req) {
    const struct block_list *list = store_blocks(req->core->locals[CORE_STORE]);
    struct buf data = {0};
    buf_put_sv(&data, SV("{\"blocks\":["));
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        if (i > 0) buf_put_char(&data, ',');
        put_block(&data, &list->blocks[i]);
    }
    buf_put_sv(&data, SV("]}"));
    api_answer(req, &data);
}
