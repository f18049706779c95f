/* SPDX-License-Identifier: Apache-2.0 */
/* bench/block.c: bytes and time of a block (storage/block) of a fleet that replays a capture
 * written by bench/data.py.
 *
 *   block [--instances=87] [--rows=480] [--every=15] [--shards=1024] [--level=0] CAPTURE FILE
 *
 * Instance i has every series of the capture with its own instance and region; row k of it is the
 * k-th of every EVERY-th row, from a row and phase of its own on; at the capture's end the next
 * phase begins, which looks like a restart of the exporter. Rows are 15 s apart, 1.5 % of them a
 * millisecond late or early; absent rows (NaN) are left out. FILE is written, read and removed.
 * Times are CPU times of the one thread; files are in the page cache. Instructions, where the
 * machine counts them, are of user space. */
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/block/block.h"
#include "storage/page/page.h"

enum { SECRET = 7 };

struct options {
    uint64_t instances, rows, every, shards, level;
};

struct capture {
    size_t series, rows;
    struct sv *names; /* name \t value \t ... */
    double *values;   /* by series */
    struct arena texts;
};

struct fleet_series {
    struct sv canonical;
    uint32_t shard, instance, series;
};

struct fleet {
    struct options options;
    struct capture capture;
    struct fleet_series *series;
    size_t count;
    int64_t *times_ms; /* by instance */
};

static void fail(const char *what) {
    fprintf(stderr, "block: %s\n", what);
    exit(1);
}

static void must(enum status status, const struct err *err) {
    if (status != OK) fail(err->msg);
}

static void *alloc(size_t count, size_t size) {
    void *p = calloc(count + 1, size);
    if (p == NULL) fail("out of memory");
    return p;
}

static uint32_t read_word(FILE *f) {
    uint8_t p[4];
    if (fread(p, 1, sizeof p, f) != sizeof p) fail("capture is cut short");
    return get_u32le(p);
}

static struct capture capture_read(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail("cannot open the capture");
    struct capture c = {.series = read_word(f)};
    arena_init(&c.texts, 0);
    c.rows = read_word(f);
    c.names = alloc(c.series, sizeof *c.names);
    for (size_t i = 0; i < c.series; i++) {
        size_t len = read_word(f);
        char *text = arena_alloc(&c.texts, len + 1);
        if (text == NULL) fail("out of memory");
        if (fread(text, 1, len, f) != len) fail("capture is cut short");
        c.names[i] = (struct sv){text, len};
    }
    c.values = alloc(c.series * c.rows, sizeof(double));
    double *row = alloc(c.series, sizeof *row);
    for (size_t k = 0; k < c.rows; k++) {
        if (fread(row, sizeof *row, c.series, f) != c.series) fail("capture is cut short");
        for (size_t i = 0; i < c.series; i++)
            c.values[i * c.rows + k] = row[i];
    }
    free(row);
    fclose(f);
    return c;
}

static struct sv fleet_labels(struct arena *arena, struct sv names, uint32_t instance) {
    static struct label labels[64];
    static char texts[64][64];
    size_t count = 0;
    struct buf out = {0};
    while (names.len > 0 && count < ARRAY_LEN(labels)) {
        struct label *l = &labels[count];
        names = sv_cut(names, '\t', &l->name);
        names = sv_cut(names, '\t', &l->value);
        char *text = texts[count++];
        if (sv_eq(l->value, SV("@instance")))
            snprintf(text, sizeof texts[0], "host-%04u.example.org:9100", instance);
        else if (sv_eq(l->value, SV("@cluster")) || sv_eq(l->value, SV("@region")))
            snprintf(text, sizeof texts[0], "%.*s-%u", SV_ARG(l->name), instance % 3);
        else
            continue;
        l->value = sv_from(text);
    }
    struct err err;
    must(labels_encode(labels, count, &out, &err), &err);
    struct sv canonical = arena_sv(arena, buf_sv(&out));
    if (canonical.ptr == NULL) fail("out of memory");
    buf_fini(&out);
    return canonical;
}

static int series_order(const void *a, const void *b) {
    const struct fleet_series *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return sv_cmp(x->canonical, y->canonical);
}

static struct fleet fleet_make(const struct options *o, const char *path) {
    struct fleet f = {.options = *o, .capture = capture_read(path)};
    struct rng rng;
    rng_init(&rng, 1);
    f.count = o->instances * f.capture.series;
    f.series = alloc(f.count, sizeof *f.series);
    f.times_ms = alloc(o->instances * o->rows, sizeof *f.times_ms);
    for (uint32_t i = 0; i < o->instances; i++) {
        int64_t offset = 1767225600000 + (int64_t)rng_below(&rng, 15000);
        for (uint64_t k = 0; k < o->rows; k++) {
            int64_t late = rng_chance(&rng, 0.015) ? (rng_chance(&rng, 0.5) ? 1 : -1) : 0;
            f.times_ms[i * o->rows + k] = offset + (int64_t)k * 15000 + late;
        }
        for (uint32_t s = 0; s < f.capture.series; s++) {
            struct sv canonical = fleet_labels(&f.capture.texts, f.capture.names[s], i);
            series_id id = series_id_of(SECRET, 0, canonical);
            uint32_t shard = series_shard(id, (uint32_t)o->shards);
            f.series[i * f.capture.series + s] = (struct fleet_series){canonical, shard, i, s};
        }
    }
    qsort(f.series, f.count, sizeof *f.series, series_order);
    return f;
}

static void fleet_fini(struct fleet *f) {
    arena_fini(&f->capture.texts);
    free(f->capture.names);
    free(f->capture.values);
    free(f->series);
    free(f->times_ms);
}

static void fleet_samples(const struct fleet *f, const struct fleet_series *s,
                          struct samples *out) {
    const struct options *o = &f->options;
    const double *values = f->capture.values + s->series * f->capture.rows;
    size_t phase = s->instance % o->every;
    size_t row = (s->instance * 37 * o->every) % (f->capture.rows / o->every * o->every) + phase;
    samples_clear(out);
    if (samples_reserve(out, o->rows) != OK) fail("out of memory");
    for (uint64_t k = 0; k < o->rows; k++, row += o->every) {
        if (row >= f->capture.rows) row = phase = (phase + 1) % o->every;
        if (f64_bits(values[row]) == 0x7ff8000000000000) continue;
        out->times_ms[out->count] = f->times_ms[s->instance * o->rows + k];
        out->values[out->count++] = values[row];
    }
}

/* -- clock and counter */

static int counter = -1;

static void counter_open(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

struct span {
    double ns;
    uint64_t instructions;
};

static struct span span_now(void) {
    struct timespec t;
    struct span s = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    s.ns = (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
    if (counter >= 0 && read(counter, &s.instructions, 8) != 8) s.instructions = 0;
    return s;
}

static struct span span_since(struct span start) {
    struct span now = span_now();
    return (struct span){now.ns - start.ns, now.instructions - start.instructions};
}

static void report(const char *what, const char *unit, struct span s, double count) {
    printf("%-28s %10.2f ns a %s", what, s.ns / count, unit);
    if (s.instructions > 0) printf(", %.1f instructions", (double)s.instructions / count);
    printf("\n");
}

/* -- runs */

static struct block *block_write(const struct fleet *f, const char *path) {
    struct err err;
    struct block_writer *w;
    struct samples samples = {0};
    struct block_writer_options options = {.disk = disk_real(),
                                           .path = path,
                                           .secret = SECRET,
                                           .shards_count = (uint32_t)f->options.shards,
                                           .level = (uint16_t)f->options.level};
    struct span spent = {0}, start = span_now(), finish;
    double count = 0;
    bool written;
    must(block_writer_new(&options, &w, &err), &err);
    for (size_t i = 0; i < f->count; i++) {
        fleet_samples(f, &f->series[i], &samples);
        if (samples.count == 0) continue;
        start = span_now();
        must(block_writer_add(w, f->series[i].shard, f->series[i].canonical, &samples, &err), &err);
        struct span part = span_since(start);
        spent.ns += part.ns;
        spent.instructions += part.instructions;
        count += (double)samples.count;
    }
    start = span_now();
    must(block_writer_finish(w, &written, &err), &err);
    finish = span_since(start);
    block_writer_free(w);
    samples_fini(&samples);
    report("write", "sample", spent, count);
    report("finish (index, sync)", "series", finish, (double)f->count);
    struct block *b;
    start = span_now();
    must(block_open(disk_real(), path, SECRET, 0, &b, &err), &err);
    report("open", "block", span_since(start), 1);
    return b;
}

/* What decoding alone costs: all pages, encoded by themselves. */
static void decode_alone(const struct fleet *f) {
    static struct page_scratch scratch;
    static double out[PAGE_SAMPLES_MAX];
    static uint8_t bytes[PAGE_BYTES_MAX];
    struct samples samples = {0};
    struct span spent = {0};
    double count = 0;
    page_scratch_init(&scratch);
    for (size_t i = 0; i < f->count; i += 7) {
        fleet_samples(f, &f->series[i], &samples);
        for (size_t at = 0, n; at < samples.count; at += n) {
            n = MIN(samples.count - at, (size_t)480);
            struct page page = {bytes, page_encode(&scratch, samples.values + at, n, bytes), n};
            struct span start = span_now();
            for (int k = 0; k < 8; k++)
                if (page_decode(&scratch, &page, out) != OK) fail("a page does not decode");
            struct span part = span_since(start);
            spent.ns += part.ns;
            spent.instructions += part.instructions;
            count += 8 * (double)n;
        }
    }
    samples_fini(&samples);
    report("decode of pages alone", "sample", spent, count);
}

static struct block_selection *select_by(struct block *b, const char *name, const char *value) {
    static struct arena arena;
    struct matcher m = {.kind = MATCH_EQ, .name = sv_from(name), .value = sv_from(value)};
    struct select_query query = {
        .matchers = &m, .matchers_count = name != NULL, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct block_selection *s;
    struct err err;
    arena_init(&arena, 0);
    must(matcher_compile(&m, &arena, &err), &err);
    must(block_select(b, &query, NULL, &s, &err), &err);
    matcher_fini(&m);
    arena_fini(&arena);
    return s;
}

static void bench_select(struct block *b, const char *name, const char *value) {
    char what[64];
    size_t count = 0;
    double rounds = name == NULL ? 1 : 50;
    struct span start = span_now();
    for (double k = 0; k < rounds; k++) {
        struct block_selection *s = select_by(b, name, value);
        block_selection_series(s, &count);
        block_selection_free(s);
    }
    struct span spent = span_since(start);
    snprintf(what, sizeof what, "select %s, %zu", name == NULL ? "all" : name, count);
    report(what, "series", spent, rounds * (double)MAX(count, (size_t)1));
}

static void bench_read(struct block *b, size_t reads) {
    struct block_selection *s = select_by(b, NULL, "");
    struct samples samples = {0};
    struct err err;
    struct rng rng;
    size_t count;
    double total = 0;
    block_selection_series(s, &count);
    struct span start = span_now();
    for (size_t i = 0; i < count; i++) {
        samples_clear(&samples);
        must(block_series_read(s, i, INT64_MIN, INT64_MAX, &samples, &err), &err);
        total += (double)samples.count;
    }
    report("scan", "sample", span_since(start), total);
    rng_init(&rng, 2);
    start = span_now();
    for (size_t i = 0; i < reads; i++) {
        samples_clear(&samples);
        must(block_series_read(s, (size_t)rng_below(&rng, count), INT64_MIN, INT64_MAX, &samples,
                               &err),
             &err);
    }
    report("read of a random series", "series", span_since(start), (double)reads);
    samples_fini(&samples);
    block_selection_free(s);
}

static void bench_whole(struct block *b, const char *path, const struct options *o) {
    char merged[4096];
    struct err err;
    struct block_info info;
    bool written;
    block_get_info(b, &info);
    struct span start = span_now();
    must(block_verify(b, NULL, &err), &err);
    report("verify", "sample", span_since(start), (double)info.samples_count);
    snprintf(merged, sizeof merged, "%s.merged", path);
    struct block_merge_input input = {.block = b};
    struct block_merge_options options = {.writer = {.disk = disk_real(),
                                                     .path = merged,
                                                     .secret = SECRET,
                                                     .shards_count = (uint32_t)o->shards,
                                                     .level = (uint16_t)(o->level + 1)},
                                          .inputs = &input,
                                          .inputs_count = 1};
    start = span_now();
    must(block_merge(&options, &written, &err), &err);
    report("merge of one (copies)", "sample", span_since(start), (double)info.samples_count);
    unlink(merged);
}

int main(int argc, char **argv) {
    struct options o = {.instances = 87, .rows = 480, .every = 15, .shards = 1024};
    const struct {
        const char *name;
        uint64_t *at;
    } flags[] = {{"--instances=", &o.instances},
                 {"--rows=", &o.rows},
                 {"--every=", &o.every},
                 {"--shards=", &o.shards},
                 {"--level=", &o.level}};
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++)
        for (size_t k = 0; k < ARRAY_LEN(flags); k++)
            if (strncmp(argv[at], flags[k].name, strlen(flags[k].name)) == 0)
                *flags[k].at = strtoull(argv[at] + strlen(flags[k].name), NULL, 10);
    if (argc - at != 2 || o.every < 1 || o.instances < 1 || o.rows < 1 || o.shards < 1)
        fail("usage: block [--instances=N] [--rows=R] [--every=E] [--shards=S] CAPTURE FILE");
    counter_open();
    struct fleet f = fleet_make(&o, argv[at]);
    struct block *b = block_write(&f, argv[at + 1]);
    struct block_info info;
    block_get_info(b, &info);
    double samples = (double)info.samples_count, series = (double)info.series_count;
    printf("%" PRIu64 " series, %" PRIu64 " samples, %" PRIu64 " shards\n", info.series_count,
           info.samples_count, o.shards);
    printf("bytes a sample %.4f, of which index %.4f; index bytes a series %.2f; memory of the "
           "open block %" PRIu64 " bytes, %.0f a thousand series\n",
           (double)info.file_bytes / samples, (double)info.index_bytes / samples,
           (double)info.index_bytes / series, info.memory_bytes,
           1000 * (double)info.memory_bytes / series);
    decode_alone(&f);
    bench_select(b, NULL, "");
    bench_select(b, "__name__", "up");
    bench_select(b, "__name__", "node_cpu_seconds_total");
    bench_select(b, "instance", "host-0003.example.org:9100");
    bench_read(b, 20000);
    bench_whole(b, argv[at + 1], &o);
    block_set_obsolete(b);
    block_unref(b);
    fleet_fini(&f);
    return 0;
}
