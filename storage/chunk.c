/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/chunk.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

enum {
    SLAB_SEGMENT_BLOCKS = 512, /* 32 KiB */
    RUN_SHORT_BITS = 2,
    RUN_COUNT_MAX = 257,
    LEADING_MAX = 31,
    WINDOW_BITS = 11,
    PAD_WORDS = 4, /* zeros behind a stream, so that a token is read without asking for the end */
};
static_assert(CHUNK_BITS_MAX <= UINT16_MAX, "chunk_open.bits");
static_assert(CHUNK_HEADER_BITS + CHUNK_TOKEN_BITS_MAX <= CHUNK_BLOCK_BITS,
              "one new block is enough");

/* A word of an open chunk is written by the core while workers load it. Relaxed is enough: the bits
 * below the published length were stored before the snapshot was handed over (which orders them),
 * the others are ignored. */
static uint64_t word_load(const uint64_t *w) {
    return __atomic_load_n(w, __ATOMIC_RELAXED);
}

static void word_store(uint64_t *w, uint64_t v) {
    __atomic_store_n(w, v, __ATOMIC_RELAXED);
}

void chunk_slab_init(struct chunk_slab *slab) {
    *slab = (struct chunk_slab){.segment_used = SLAB_SEGMENT_BLOCKS};
}

void chunk_slab_fini(struct chunk_slab *slab) {
    while (slab->segments != NULL) {
        struct chunk_block *next = slab->segments->next;
        free(slab->segments);
        slab->segments = next;
    }
    chunk_slab_init(slab);
}

void chunk_slab_give(struct chunk_slab *slab, struct chunk_block *first, struct chunk_block *last) {
    last->next = slab->free;
    slab->free = first;
}

static struct chunk_block *slab_take(struct chunk_slab *slab) {
    struct chunk_block *b = slab->free;
    if (b != NULL) {
        slab->free = b->next;
    } else {
        if (slab->segment_used == SLAB_SEGMENT_BLOCKS) {
            struct chunk_block *segment = aligned_alloc(64, SLAB_SEGMENT_BLOCKS * sizeof *segment);
            if (segment == NULL) return NULL;
            segment->next = slab->segments;
            slab->segments = segment;
            slab->segment_used = 1;
            slab->memory_bytes += SLAB_SEGMENT_BLOCKS * sizeof *segment;
        }
        b = &slab->segments[slab->segment_used++];
    }
    b->next = NULL;
    return b;
}

/* One or two tokens in registers before they go to the chain. */
struct token {
    uint64_t w[6];
    unsigned bits;
};

static void token_put(struct token *t, uint64_t v, unsigned n) {
    unsigned i = t->bits >> 6, off = t->bits & 63;
    t->w[i] |= v << off;
    if (off + n > 64) t->w[i + 1] = v >> (64 - off);
    t->bits += n;
}

static void token_put_run(struct token *t, unsigned run) {
    if (run == 0) return;
    if (run == 1)
        token_put(t, 0, RUN_SHORT_BITS);
    else
        token_put(t, 2 | (uint64_t)(run - 2) << 2, CHUNK_RUN_BITS_MAX);
}

static void token_put_time(struct token *t, int64_t off_prediction) {
    uint64_t d = zigzag(off_prediction);
    if (d == 0) {
        token_put(t, 0, 1);
    } else if (d < 1u << 6) {
        token_put(t, 1 | d << 2, 8);
    } else if (d < 1u << 13) {
        token_put(t, 3 | d << 3, 16);
    } else if (d < 1u << 24) {
        token_put(t, 7 | d << 4, 28);
    } else {
        token_put(t, 15, 4);
        token_put(t, d, 64);
    }
}

static void token_put_value(struct token *t, struct chunk_open *c, uint64_t x) {
    if (x == 0) {
        token_put(t, 0, 1);
        return;
    }
    unsigned leading = (unsigned)__builtin_clzll(x), trailing = (unsigned)__builtin_ctzll(x);
    if (leading > LEADING_MAX) leading = LEADING_MAX;
    unsigned significant = 64 - leading - trailing;
    unsigned window_trailing = 64u - c->leading - c->significant;
    if (c->significant != 0 && leading >= c->leading && trailing >= window_trailing &&
        c->significant <= significant + WINDOW_BITS) {
        token_put(t, 1, 2);
        token_put(t, x >> window_trailing, c->significant);
        return;
    }
    token_put(t, 3 | leading << 2 | (significant - 1) << 7, 2 + WINDOW_BITS);
    token_put(t, x >> trailing, significant);
    c->leading = (uint8_t)leading;
    c->significant = (uint8_t)significant;
}

/* Appends the token's bits to the chain; a block for what does not fit was linked before. */
static void chain_put(struct chunk_open *c, const struct token *t) {
    unsigned pos = c->bits % CHUNK_BLOCK_BITS;
    struct chunk_block *b = c->tail;
    if (pos == 0 && c->bits != 0) b = b->next;
    unsigned word = pos >> 6, off = pos & 63;
    uint64_t current = off == 0 ? 0 : word_load(&b->words[word]);
    unsigned left = t->bits;
    for (unsigned i = 0;; i++) {
        unsigned n = left < 64 ? left : 64;
        word_store(&b->words[word], current | t->w[i] << off);
        left -= n;
        if (left == 0 && off + n <= 64) break;
        if (++word == CHUNK_BLOCK_WORDS) {
            b = b->next;
            word = 0;
        }
        current = off == 0 ? 0 : t->w[i] >> (64 - off);
        if (left > 0) continue;
        word_store(&b->words[word], current);
        break;
    }
    c->tail = b;
    c->bits = (uint16_t)(c->bits + t->bits);
}

static bool chain_reserve(struct chunk_open *c, struct chunk_slab *slab, unsigned bits) {
    if (c->first == NULL) {
        c->first = c->tail = slab_take(slab);
        return c->first != NULL;
    }
    unsigned used = c->bits % CHUNK_BLOCK_BITS;
    if (used == 0) used = CHUNK_BLOCK_BITS;
    if (used + bits <= CHUNK_BLOCK_BITS || c->tail->next != NULL) return true;
    c->tail->next = slab_take(slab);
    return c->tail->next != NULL;
}

static int64_t time_minus(int64_t a, uint64_t b) {
    return (int64_t)((uint64_t)a - b);
}

static void header_put(struct token *t, int64_t first_ms, uint64_t first_bits, int32_t delta_ms) {
    token_put(t, (uint64_t)first_ms, 64);
    token_put(t, first_bits, 64);
    token_put(t, (uint32_t)delta_ms, 32);
}

static int32_t delta_of(uint64_t distance) {
    return distance <= INT32_MAX ? (int32_t)distance : 0;
}

/* The time of the sample `run` steps before the last one. */
static int64_t run_first_ms(int64_t last_ms, int32_t delta_ms, unsigned run) {
    return time_minus(last_ms, (uint64_t)delta_ms * run);
}

enum status chunk_append(struct chunk_open *c, struct chunk_slab *slab, int64_t time_ms,
                         uint64_t bits) {
    assert(c->count < c->full);
    uint64_t distance = (uint64_t)time_ms - (uint64_t)c->last_ms;
    if (c->count == 0) goto kept;
    int32_t delta_ms = c->count == 1 ? delta_of(distance) : c->delta_ms;
    if (bits == c->last_bits && distance == (uint64_t)delta_ms) {
        c->delta_ms = delta_ms;
        c->run++;
        goto kept;
    }
    struct token t = {0};
    struct chunk_open next = *c; /* committed when there is room */
    if (c->first == NULL)
        header_put(&t, run_first_ms(c->last_ms, delta_ms, c->run), c->last_bits, delta_ms);
    token_put_run(&t, c->run);
    token_put(&t, 1, 1);
    token_put_time(&t, time_minus((int64_t)distance, (uint64_t)delta_ms));
    token_put_value(&t, &next, bits ^ c->last_bits);
    if (!chain_reserve(&next, slab, t.bits)) return ERR_NOMEM;
    chain_put(&next, &t);
    next.delta_ms = delta_of(distance);
    next.run = 0;
    *c = next;
kept:
    c->count++;
    c->last_ms = time_ms;
    c->last_bits = bits;
    c->has_last = 1;
    return OK;
}

int64_t chunk_snapshot_first_ms(const struct chunk_snapshot *s) {
    assert(s->count > 0);
    if (s->first == NULL) return run_first_ms(s->last_ms, s->delta_ms, s->run);
    return (int64_t)word_load(&s->first->words[0]);
}

/* The whole stream in one piece, the growing run included; returns its bits. */
static unsigned snapshot_flatten(const struct chunk_snapshot *s, uint64_t *words) {
    struct token t = {0};
    unsigned bits = s->bits, full = bits / 64;
    if (s->first == NULL) {
        assert(bits == 0 && s->run + 1 == s->count);
        header_put(&t, run_first_ms(s->last_ms, s->delta_ms, s->run), s->last_bits, s->delta_ms);
    }
    const struct chunk_block *b = s->first;
    for (unsigned i = 0, in = 0; i * 64 < bits; i++, in++) {
        if (in == CHUNK_BLOCK_WORDS) {
            b = b->next;
            in = 0;
        }
        words[i] = word_load(&b->words[in]);
    }
    uint64_t current = bits % 64 == 0 ? 0 : words[full] & ((1ULL << bits % 64) - 1);
    token_put_run(&t, s->run);
    unsigned off = bits % 64, total = bits + t.bits;
    for (unsigned i = 0; i < PAD_WORDS; i++) {
        words[full + i] = current | t.w[i] << off;
        current = off == 0 ? 0 : t.w[i] >> (64 - off);
    }
    return total;
}

struct stream {
    const uint64_t *words; /* PAD_WORDS readable behind bits */
    unsigned pos, bits;
};

enum { PEEK_BITS = 57 }; /* that one load gives at any position */

static inline uint64_t stream_peek(const struct stream *s) {
    return get_u64le((const uint8_t *)s->words + (s->pos >> 3)) >> (s->pos & 7);
}

static inline uint64_t low_bits(uint64_t v, unsigned n) { /* n: 1 .. 64 */
    return v & (UINT64_MAX >> (64 - n));
}

static inline uint64_t stream_take(struct stream *s, unsigned n) {
    uint64_t v = stream_peek(s);
    unsigned have = 64 - (s->pos & 7);
    if (n > have) v |= get_u64le((const uint8_t *)s->words + (s->pos >> 3) + 8) << have;
    s->pos += n;
    return low_bits(v, n);
}

static uint64_t stream_take_time(struct stream *s) {
    static const uint8_t widths[5] = {0, 6, 13, 24, 64};
    unsigned ones = (unsigned)__builtin_ctzll(~stream_peek(s) | 16);
    s->pos += ones < 4 ? ones + 1 : 4;
    return widths[ones] == 0 ? 0 : (uint64_t)unzigzag(stream_take(s, widths[ones]));
}

struct window {
    unsigned leading, significant;
};

/* false: a window that no encoder writes */
static inline bool stream_take_xor(struct stream *s, struct window *w, uint64_t *out) {
    uint64_t p = stream_peek(s);
    unsigned head = 2;
    *out = 0;
    if ((p & 1) == 0) {
        s->pos += 1;
        return true;
    }
    if ((p & 2) != 0) {
        w->leading = p >> 2 & 31;
        w->significant = (p >> 7 & 63) + 1;
        head += WINDOW_BITS;
        if (w->leading + w->significant > 64) return false;
    }
    unsigned n = w->significant;
    if (n == 0) return false;
    s->pos += head;
    uint64_t x;
    if (head + n <= PEEK_BITS) {
        x = low_bits(p >> head, n);
        s->pos += n;
    } else {
        x = stream_take(s, n);
    }
    *out = x << (64 - w->leading - n);
    return true;
}

/* s stands behind the first time. A token that runs over the end reads zeros and is found by its
 * end. */
static enum status stream_decode(struct stream *from, int64_t first_ms, size_t count,
                                 int64_t *times_ms, double *values) {
    struct stream s = *from; /* in registers */
    if (s.bits < CHUNK_HEADER_BITS || count == 0) return ERR_CORRUPT;
    uint64_t time = (uint64_t)first_ms, bits = stream_take(&s, 64), delta = stream_take(&s, 32);
    if (delta > INT32_MAX) return ERR_CORRUPT;
    struct window w = {0, 0};
    times_ms[0] = first_ms;
    values[0] = f64_from_bits(bits);
    for (size_t i = 1; i < count;) {
        uint64_t p = stream_peek(&s);
        if ((p & 1) == 0) {
            bool is_long = (p & 2) != 0;
            size_t run = is_long ? (p >> 2 & 255) + 2 : 1;
            s.pos += is_long ? CHUNK_RUN_BITS_MAX : RUN_SHORT_BITS;
            if (s.pos > s.bits || run > count - i) return ERR_CORRUPT;
            for (size_t k = 0; k < run; k++) {
                times_ms[i + k] = (int64_t)(time + delta * (k + 1));
                values[i + k] = f64_from_bits(bits);
            }
            time += delta * run;
            i += run;
            continue;
        }
        uint64_t x;
        if ((p & 2) == 0) { /* at the predicted distance */
            s.pos += 2;
            if (!stream_take_xor(&s, &w, &x)) return ERR_CORRUPT;
        } else {
            s.pos += 1;
            uint64_t distance = delta + stream_take_time(&s);
            if (s.pos > s.bits || !stream_take_xor(&s, &w, &x)) return ERR_CORRUPT;
            delta = (uint64_t)delta_of(distance);
            time += distance - delta;
        }
        if (s.pos > s.bits) return ERR_CORRUPT;
        time += delta;
        bits ^= x;
        times_ms[i] = (int64_t)time;
        values[i++] = f64_from_bits(bits);
    }
    return OK;
}

enum status chunk_snapshot_read(const struct chunk_snapshot *s, int64_t *times_ms, double *values) {
    if (s->count == 0) return OK;
    if (s->first == NULL) {
        uint64_t time = (uint64_t)run_first_ms(s->last_ms, s->delta_ms, s->run);
        for (unsigned i = 0; i < s->count; i++, time += (uint64_t)s->delta_ms) {
            times_ms[i] = (int64_t)time;
            values[i] = f64_from_bits(s->last_bits);
        }
        return OK;
    }
    uint64_t words[CHUNK_WORDS_MAX + PAD_WORDS + 2];
    unsigned bits = snapshot_flatten(s, words);
    struct stream stream = {words, 64, bits};
    return stream_decode(&stream, (int64_t)words[0], s->count, times_ms, values);
}

size_t chunk_encode(const struct chunk_open *c, uint8_t out[CHUNK_BYTES_MAX]) {
    assert(c->count > 0 && c->count <= CHUNK_SAMPLES_MAX);
    uint64_t words[CHUNK_WORDS_MAX + PAD_WORDS + 2];
    struct chunk_snapshot s = chunk_snapshot(c);
    size_t len = (snapshot_flatten(&s, words) - 64 + 7) / 8;
    assert(len < CHUNK_BYTES_MAX);
    out[0] = CHUNK_XOR_RUNS;
    memcpy(out + 1, words + 1, len);
    return len + 1;
}

void chunk_reset(struct chunk_open *c) {
    c->first = c->tail = NULL;
    c->bits = 0;
    c->count = c->run = c->leading = c->significant = 0;
}

enum status chunk_decode(const uint8_t *bytes, size_t len, int64_t first_ms, size_t count,
                         int64_t *times_ms, double *values) {
    if (len < 1 || len > CHUNK_BYTES_MAX || count > CHUNK_SAMPLES_MAX) return ERR_CORRUPT;
    if (bytes[0] != CHUNK_XOR_RUNS) return ERR_CORRUPT;
    uint64_t words[CHUNK_WORDS_MAX + PAD_WORDS + 2];
    size_t stream_bytes = len - 1, used = (stream_bytes + 7) / 8;
    memset(words + 1 + stream_bytes / 8, 0, (used - stream_bytes / 8 + PAD_WORDS) * 8);
    memcpy(words + 1, bytes + 1, stream_bytes);
    struct stream stream = {words, 64, (unsigned)(64 + stream_bytes * 8)};
    return stream_decode(&stream, first_ms, count, times_ms, values);
}

/* -- as another process had it */

static bool restored_is_sound(const struct chunk_open *c) {
    if (c->full < 1 || c->full > CHUNK_SAMPLES_MAX || c->count > c->full || c->delta_ms < 0)
        return false;
    if (c->leading > LEADING_MAX || c->leading + c->significant > 64) return false;
    if (c->count == 0) return c->bits == 0 && c->run == 0;
    if (!c->has_last) return false;
    if (c->bits == 0) return c->run + 1 == c->count;
    return c->bits > CHUNK_HEADER_BITS && c->bits <= CHUNK_BITS_MAX && c->run + 2 <= c->count;
}

/* What it says of its last sample is what its bits say, and times ascend. */
static bool restored_is_whole(const struct chunk_open *c) {
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    struct chunk_snapshot s = chunk_snapshot(c);
    if (chunk_snapshot_read(&s, times_ms, values) != OK) return false;
    for (size_t i = 1; i < c->count; i++)
        if (times_ms[i] <= times_ms[i - 1]) return false;
    return c->count == 0 ||
           (times_ms[c->count - 1] == c->last_ms && f64_bits(values[c->count - 1]) == c->last_bits);
}

enum status chunk_restore(struct chunk_open *c, struct chunk_slab *slab, const uint8_t *words) {
    c->first = c->tail = NULL;
    if (!restored_is_sound(c)) return ERR_CORRUPT;
    enum status status = OK;
    for (size_t left = chunk_words(c->bits); left > 0 && status == OK;) {
        size_t n = left < CHUNK_BLOCK_WORDS ? left : CHUNK_BLOCK_WORDS;
        struct chunk_block *b = slab_take(slab);
        if (b == NULL) {
            status = ERR_NOMEM;
            break;
        }
        memcpy(b->words, words, n * 8);
        if (c->first == NULL)
            c->first = b;
        else
            c->tail->next = b;
        c->tail = b;
        words += n * 8;
        left -= n;
    }
    if (status == OK && !restored_is_whole(c)) status = ERR_CORRUPT;
    if (status == OK) return OK;
    if (c->first != NULL) chunk_slab_give(slab, c->first, c->tail);
    c->first = c->tail = NULL;
    return status;
}
