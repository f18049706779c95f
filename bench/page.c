/* SPDX-License-Identifier: Apache-2.0 */
/* bench/page.c: bytes and time a sample of sealed pages (storage/page), beside those of XOR chunks
 * (storage/chunk.h), over a capture written by bench/data.py.
 *
 *   page [--passes=N] CAPTURE [EVERY,ROWS ...]    EVERY 15 of a capture with a row a second: true
 * 15 s spacing; ROWS a page
 *
 * Every EVERY-th row from each of the EVERY first ones is a series of its own; pages are cut from
 * their starts, absent rows (NaN) are left out as the head does. A row is decoded bit for bit, else
 * the program fails. Times are the best of some passes over warm pages; "varying" are the pages
 * that are not one value. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/bytes.h"
#include "storage/chunk.h"
#include "storage/page/page.h"

static unsigned passes = 7;

struct capture {
    size_t series, rows;
    double *values; /* by series */
};

struct piece { /* a page's samples and encoding */
    const double *values;
    uint8_t *bytes;
    uint32_t len;
    uint16_t count;
    bool varies;
};

struct pieces {
    struct piece *all;
    size_t count, samples, varying_samples;
    size_t bytes;
    double *values; /* of all */
};

static void fail(const char *what) {
    fprintf(stderr, "page: %s\n", what);
    exit(1);
}

static void *alloc(size_t count, size_t size) {
    void *p = calloc(count, size);
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
    c.rows = read_word(f);
    for (size_t i = 0; i < c.series; i++)
        if (fseek(f, read_word(f), SEEK_CUR) != 0) fail("capture is cut short");
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

static bool differs(const double *values, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (f64_bits(values[i]) != f64_bits(values[0])) return true;
    return false;
}

static void piece_add(struct pieces *p, const double *values, size_t count) {
    struct piece *next = &p->all[p->count++];
    *next = (struct piece){.values = values, .count = (uint16_t)count};
    next->varies = differs(values, count);
    p->samples += count;
    if (next->varies) p->varying_samples += count;
}

/* Series of every EVERY-th row, in pages. */
static struct pieces pieces_cut(const struct capture *c, size_t every, size_t page_rows) {
    struct pieces p = {0};
    double *samples = p.values = alloc(c->series * c->rows, sizeof *samples);
    p.all = alloc(c->series * (c->rows / page_rows + every + 1), sizeof *p.all);
    for (size_t series = 0; series < c->series; series++) {
        for (size_t phase = 0; phase < every; phase++) {
            size_t row = phase;
            while (row < c->rows) {
                size_t count = 0, rows = 0;
                for (; rows < page_rows && row < c->rows; rows++, row += every) {
                    double v = c->values[series * c->rows + row];
                    if (f64_bits(v) != 0x7ff8000000000000) samples[count++] = v;
                }
                if (count > 0) piece_add(&p, samples, count);
                samples += count;
            }
        }
    }
    return p;
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct codec {
    const char *name;
    size_t bytes_max;
    size_t rows_max;
    size_t (*encode)(void *self, const struct piece *p, uint8_t *out);
    bool (*decode)(void *self, const struct piece *p, double *out);
    void *self;
};

static size_t page_write(void *self, const struct piece *p, uint8_t *out) {
    return page_encode(self, p->values, p->count, out);
}

static bool page_read(void *self, const struct piece *p, double *out) {
    struct page page = {p->bytes, p->len, p->count};
    return page_decode(self, &page, out) == OK;
}

struct xor_work {
    struct chunk_slab slab;
    int64_t times_ms[CHUNK_SAMPLES_MAX];
};

static size_t xor_write(void *self, const struct piece *p, uint8_t *out) {
    struct xor_work *w = self;
    struct chunk_open c = {.full = CHUNK_SAMPLES_MAX};
    for (size_t i = 0; i < p->count; i++)
        if (chunk_append(&c, &w->slab, (int64_t)i * 15000, f64_bits(p->values[i])) != OK)
            fail("out of memory");
    size_t len = chunk_encode(&c, out);
    if (c.first != NULL) chunk_slab_give(&w->slab, c.first, c.tail);
    return len;
}

static bool xor_read(void *self, const struct piece *p, double *out) {
    struct xor_work *w = self;
    return chunk_decode(p->bytes, p->len, 0, p->count, w->times_ms, out) == OK;
}

static double encode_all(const struct codec *c, struct pieces *p, uint8_t *arena) {
    double best = 1e300;
    for (unsigned pass = 0; pass < passes; pass++) {
        uint8_t *at = arena;
        double start = now_ns();
        for (size_t i = 0; i < p->count; i++) {
            struct piece *piece = &p->all[i];
            piece->bytes = at;
            piece->len = (uint32_t)c->encode(c->self, piece, at);
            at += piece->len;
        }
        best = MIN(best, now_ns() - start);
        p->bytes = (size_t)(at - arena);
    }
    return best;
}

static double decode_all(const struct codec *c, const struct pieces *p, bool varying_only,
                         double *out) {
    double best = 1e300;
    for (unsigned pass = 0; pass < passes; pass++) {
        double start = now_ns();
        for (size_t i = 0; i < p->count; i++) {
            if (varying_only && !p->all[i].varies) continue;
            if (!c->decode(c->self, &p->all[i], out)) fail("a page does not decode");
        }
        best = MIN(best, now_ns() - start);
    }
    return best;
}

static void check_all(const struct codec *c, const struct pieces *p, double *out) {
    for (size_t i = 0; i < p->count; i++) {
        const struct piece *piece = &p->all[i];
        if (!c->decode(c->self, piece, out)) fail("a page does not decode");
        if (memcmp(out, piece->values, piece->count * sizeof *out) != 0)
            fail("a page decodes to other values");
    }
}

static void run(const struct codec *c, const struct capture *capture, size_t every, size_t rows) {
    static double out[PAGE_SAMPLES_MAX];
    if (rows > c->rows_max) return;
    struct pieces p = pieces_cut(capture, every, rows);
    uint8_t *arena = alloc(p.samples * 12 + p.count * 64 + c->bytes_max, 1);
    double encode_ns = encode_all(c, &p, arena);
    check_all(c, &p, out);
    double decode_ns = decode_all(c, &p, false, out), varying_ns = decode_all(c, &p, true, out);
    double n = (double)p.samples, varying = (double)MAX(p.varying_samples, (size_t)1);
    printf("%-6s every %2zu, %4zu rows: %6.4f bytes, encode %5.2f ns, decode %5.3f ns, varying "
           "%5.3f ns (%.0f %% of %zu samples in %zu pages)\n",
           c->name, every, rows, (double)p.bytes / n, encode_ns / n, decode_ns / n,
           varying_ns / varying, 100 * varying / n, p.samples, p.count);
    free(arena);
    free(p.all);
    free(p.values);
}

int main(int argc, char **argv) {
    static struct page_scratch scratch;
    static struct xor_work work;
    static const char *const usual[] = {"15,80", "5,240", "3,360", "1,120",
                                        "1,240", "1,480", "1,1024"};
    if (argc > 1 && strncmp(argv[1], "--passes=", 9) == 0) {
        passes = (unsigned)strtoul(argv[1] + 9, NULL, 10);
        argc--;
        argv++;
    }
    if (argc < 2 || passes < 1) fail("usage: page [--passes=N] CAPTURE [EVERY,ROWS ...]");
    page_scratch_init(&scratch);
    chunk_slab_init(&work.slab);
    const struct codec codecs[] = {
        {"page", PAGE_BYTES_MAX, PAGE_SAMPLES_MAX, page_write, page_read, &scratch},
        {"xor", CHUNK_BYTES_MAX, CHUNK_SAMPLES_MAX, xor_write, xor_read, &work},
    };
    struct capture capture = capture_read(argv[1]);
    const char *const *cuts = argc > 2 ? (const char *const *)argv + 2 : usual;
    size_t cuts_count = argc > 2 ? (size_t)argc - 2 : ARRAY_LEN(usual);
    for (size_t i = 0; i < cuts_count; i++) {
        char *end;
        size_t every = strtoul(cuts[i], &end, 10),
               rows = *end == ',' ? strtoul(end + 1, NULL, 10) : 0;
        if (every < 1 || rows < 1 || rows > PAGE_SAMPLES_MAX) fail("EVERY,ROWS expected");
        for (size_t k = 0; k < ARRAY_LEN(codecs); k++)
            run(&codecs[k], &capture, every, rows);
    }
    chunk_slab_fini(&work.slab);
    free(capture.values);
    return 0;
}
