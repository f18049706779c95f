/* SPDX-License-Identifier: Apache-2.0 */
/* read_log FILE...: what the files of a node's log say, front to back, as applied to a head and
 * read through views: a line of JSON a series. Tests compare it with what a sender had. The node
 * has ended; copies that a shard had before are read like the last one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/json.h"
#include "storage/entry.h"
#include "storage/head.h"
#include "storage/head_histograms.h"
#include "storage/histogram.h"
#include "storage/log_pack.h"

enum { SHARDS_MAX = 4096, FILE_HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24 };

#define MUST(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr);                             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct {
    uint32_t *refs;
    size_t count, cap;
    uint32_t epoch;
} shards[SHARDS_MAX];
static struct head *head;
static struct arena scratch;
static uint64_t next_frame;

static void apply_series(uint32_t shard, struct sv canonical) {
    series_id id = series_id_of(0, 0, canonical);
    uint32_t ref = head_find(head, id);
    if (ref == HEAD_NONE) MUST(head_series_new(head, id, shard, canonical, &ref, NULL) == OK);
    if (shards[shard].count == shards[shard].cap) {
        shards[shard].cap = shards[shard].cap * 2 + 16;
        shards[shard].refs = realloc(shards[shard].refs, shards[shard].cap * sizeof(uint32_t));
        MUST(shards[shard].refs != NULL);
    }
    shards[shard].refs[shards[shard].count++] = ref;
}

static void apply_write(const struct entry *e) {
    struct entry_write_view v;
    struct err err;
    arena_reset(&scratch);
    if (entry_write_decode(e->body, &scratch, &v, &err) != OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < v.series_count; i++)
        apply_series(e->shard, v.series[i]);
    for (size_t i = 0; i < v.floats_count; i++) {
        MUST(v.numbers[i] < shards[e->shard].count);
        uint32_t ref = shards[e->shard].refs[v.numbers[i]];
        int64_t start_ms = v.starts_ms == NULL ? 0 : v.starts_ms[i];
        MUST(head_append_start(head, ref, v.times_ms[i], v.values[i], start_ms) == OK);
    }
    struct entry_histogram h;
    while (entry_histogram_next(&v.histograms, &h)) {
        MUST(h.number < shards[e->shard].count);
        uint32_t ref = shards[e->shard].refs[h.number];
        MUST(head_append_histogram(head, ref, h.time_ms, h.bytes) == OK);
    }
}

static void apply(const struct entry *e) {
    MUST(e->shard < SHARDS_MAX);
    if (e->epoch != shards[e->shard].epoch || e->type == ENTRY_CUT) shards[e->shard].count = 0;
    shards[e->shard].epoch = e->epoch;
    if (e->type == ENTRY_WRITE || e->type == ENTRY_OFFER) apply_write(e);
}

static void read_entries(uint64_t number, struct sv entries) {
    struct entry e;
    if (number < next_frame) return;
    next_frame = number + 1;
    while (entries.len > 0) {
        MUST(entry_next(&entries, &e, NULL) == OK);
        apply(&e);
    }
}

static void read_packs(struct sv bytes) {
    struct log_pack *side = log_pack_new();
    MUST(side != NULL);
    while (bytes.len >= FRAME_HEADER_BYTES && memcmp(bytes.ptr, "PACK", 4) == 0) {
        uint32_t len = get_u32le(bytes.ptr + 4), frames;
        uint64_t number = get_u64le(bytes.ptr + 8);
        struct sv payloads;
        bytes = sv_skip(bytes, FRAME_HEADER_BYTES);
        MUST(len <= bytes.len &&
             log_unpack(side, sv_take(bytes, len), &payloads, &frames, NULL) == OK);
        for (; payloads.len > 0; number++) {
            struct sv rest = sv_skip(payloads, 4);
            read_entries(number, sv_take(rest, get_u32le(payloads.ptr)));
            payloads = sv_skip(rest, get_u32le(payloads.ptr));
        }
        bytes = sv_skip(bytes, len);
    }
    log_pack_free(side);
}

/* At a start the last frame is written once more: it has its old number. */
static void read_frames(struct sv bytes) {
    MUST(bytes.len >= FILE_HEADER_BYTES && memcmp(bytes.ptr, "CAIRNLOG", 8) == 0);
    bool packed = (get_u32le(bytes.ptr + 12) & 2) != 0;
    bytes = sv_skip(bytes, FILE_HEADER_BYTES);
    if (packed) read_packs(bytes);
    while (bytes.len >= FRAME_HEADER_BYTES && memcmp(bytes.ptr, "FRAM", 4) == 0) {
        uint32_t len = get_u32le(bytes.ptr + 4);
        uint64_t number = get_u64le(bytes.ptr + 8);
        bytes = sv_skip(bytes, FRAME_HEADER_BYTES);
        if (len > bytes.len) return; /* torn */
        struct sv entries = sv_take(bytes, len);
        bytes = sv_skip(bytes, len);
        read_entries(number, entries);
    }
}

static void read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    struct buf bytes = {0};
    MUST(f != NULL);
    for (char part[1 << 16];;) {
        size_t n = fread(part, 1, sizeof part, f);
        if (n == 0) break;
        buf_put(&bytes, part, n);
    }
    fclose(f);
    MUST(!bytes.failed);
    read_frames(buf_sv(&bytes));
    buf_fini(&bytes);
}

/* -- printing; floats as hexadecimal bits, so that nothing is rounded */

static void put_bits(double v) {
    printf("\"%016" PRIx64 "\"", f64_bits(v));
}

static void put_side(const char *name, const struct histogram_side *side) {
    printf(",\"%s_spans\":[", name);
    for (uint32_t i = 0; i < side->spans_count; i++)
        printf("%s[%d,%u]", i > 0 ? "," : "", side->spans[i].offset, side->spans[i].length);
    printf("],\"%s\":[", name);
    for (uint32_t i = 0; i < side->buckets_count; i++) {
        if (i > 0) putchar(',');
        if (side->counts != NULL)
            put_bits(side->counts[i]);
        else
            printf("%" PRId64, side->deltas[i]);
    }
    putchar(']');
}

static void put_histogram(const struct histogram *h) {
    printf("{\"float\":%s,\"schema\":%d,\"hint\":%d,\"sum\":", h->is_float ? "true" : "false",
           h->schema, (int)h->hint);
    put_bits(h->sum);
    printf(",\"count\":");
    if (h->is_float)
        put_bits(h->count_float);
    else
        printf("%" PRIu64, h->count);
    printf(",\"zero_count\":");
    if (h->is_float)
        put_bits(h->zero_count_float);
    else
        printf("%" PRIu64, h->zero_count);
    printf(",\"zero_threshold\":");
    put_bits(h->zero_threshold);
    put_side("negative", &h->negative);
    put_side("positive", &h->positive);
    printf(",\"bounds\":[");
    for (uint32_t i = 0; i < h->bounds_count; i++) {
        if (i > 0) putchar(',');
        put_bits(h->bounds[i]);
    }
    printf("]}");
}

static void put_series(const struct series_view *v) {
    struct label labels[64];
    struct samples s = {0};
    struct buf out = {0};
    size_t count = series_view_labels(v, labels, 64);
    MUST(count <= 64 && series_view_read(v, INT64_MIN, INT64_MAX, &s, NULL) == OK);
    for (size_t i = 0; i < count; i++) {
        buf_put_u8(&out, i == 0 ? '{' : ',');
        json_put_string(&out, labels[i].name);
        buf_put_u8(&out, ':');
        json_put_string(&out, labels[i].value);
    }
    printf("{\"labels\":%.*s},\"samples\":[", SV_ARG(buf_sv(&out)));
    for (size_t i = 0; i < s.count; i++) {
        printf("%s[%" PRId64 ",%" PRId64 ",", i > 0 ? "," : "", s.times_ms[i],
               s.starts_ms == NULL ? 0 : s.starts_ms[i]);
        if (s.histograms != NULL && s.histograms[i] != NULL)
            put_histogram(s.histograms[i]);
        else
            put_bits(s.values[i]);
        putchar(']');
    }
    printf("]}\n");
    samples_fini(&s);
    buf_fini(&out);
}

int main(int argc, char **argv) {
    struct head_options options = {.out_of_order_window_ms = 1800000};
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    bool done;
    size_t count;
    arena_init(&scratch, 0);
    MUST(head_new(&options, &head) == OK);
    for (int i = 1; i < argc; i++)
        read_file(argv[i]);
    MUST(select_new(head, &query, &sel, NULL) == OK);
    MUST(select_step(sel, 0, &done, NULL) == OK && done);
    const struct series_view *views = selection_series(sel, &count);
    for (size_t i = 0; i < count; i++)
        put_series(&views[i]);
    selection_release(sel);
    head_free(head);
    arena_fini(&scratch);
    for (size_t i = 0; i < SHARDS_MAX; i++)
        free(shards[i].refs);
    return 0;
}
