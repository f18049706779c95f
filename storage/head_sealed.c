/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed chunks: exact in size, their times shared with the other series of the target
 * (storage/times.h), their values a page (storage/page) or, where all are one value, just that.
 * Where a chunk ends is a matter of time and target, not of the series: so those of a target end
 * together, also when one was new or missed a scrape, and have equal times; and those of different
 * targets do not, so that a node does not seal all its series at once.
 * Seven series of ten never change: their newest chunk takes up what is sealed next, so that such a
 * series has a chunk or two. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

enum {
    SEAL_SAMPLES = 120,
    SEAL_SAMPLES_MIN = 30,
    SEAL_GROUPS = 8, /* of series that are of no target */
};

static const uint64_t JOINED_SPAN_MS = 2 * 3600000; /* it goes as a whole */

/* As malloc rounds it, with its own word. */
static size_t chunk_bytes(size_t len) {
    return (offsetof(struct chunk, bytes) + len + 8 + 15) / 16 * 16;
}

size_t head_chunk_bytes(const struct chunk *c) {
    return chunk_bytes(c->len_bytes);
}

void head_chunk_free(struct head *head, struct chunk *c) {
    head->sealed_bytes -= head_chunk_bytes(c);
    times_give(&head->times, c->times);
    if (c->kind == CHUNK_FAR) {
        struct spilled at = spilled_from(c->bytes);
        spill_drop(&head->spill, &at);
    }
    free(c);
}

void head_chain_free(struct head *head, const struct chain *chain) {
    struct chunk *c = chain->newest, *older;
    for (uint32_t left = chain->count; left > 0; left--, c = older) {
        older = c->older;
        head_chunk_free(head, c);
    }
}

enum status chunk_values(const struct chunk *c, struct page_scratch *s, size_t from, double *out) {
    size_t count = c->times->count;
    if (c->kind == CHUNK_CONST) {
        double value = get_f64le(c->bytes);
        for (size_t i = 0; i < count - from; i++)
            out[i] = value;
        return OK;
    }
    struct page p = {c->bytes, c->len_bytes, count};
    if (c->kind == CHUNK_FAR) {
        struct spilled at = spilled_from(c->bytes);
        p.bytes = spill_bytes(&at);
        p.len = at.len;
    }
    return page_decode_range(s, &p, from, count, out);
}

/* A number that the series of a target share. */
static uint64_t target_of(struct head *head, uint32_t ref) {
    static const struct sv names[2] = {SV_INIT("job"), SV_INIT("instance")};
    const struct series_labels *l = head_cold(head, ref)->labels;
    uint64_t target = 0;
    bool found = false;
    for (unsigned n = 0; n < ARRAY_LEN(names); n++) {
        uint32_t *name = &head->target_names[n];
        if (*name == MAP_NONE) *name = symbols_find_name(&head->symbols, names[n]);
        for (uint32_t i = 0; i < labels_total(l) && *name != MAP_NONE; i++) {
            uint32_t pair = labels_at(l, i);
            if (symbols_pair(head->symbols.pairs.dir, pair)->name != *name) continue;
            target = (target + pair + 1) * 0x9e3779b97f4a7c15ULL;
            found = true;
        }
    }
    return found ? target : head_series(head, ref)->id.lo % SEAL_GROUPS * 0x9e3779b97f4a7c15ULL;
}

uint8_t head_seal_point(struct head *head, uint32_t ref, const struct chunk_open *open) {
    assert(open->count == 2);
    uint64_t step_ms = (uint64_t)MAX(open->delta_ms, 1);
    if (step_ms >= 1000) step_ms = (step_ms + 500) / 1000 * 1000; /* scrapes are late by some ms */
    uint64_t span_ms = step_ms * SEAL_SAMPLES, phase = (target_of(head, ref) >> 32) % span_ms;
    uint64_t left = (span_ms - ((uint64_t)open->last_ms + phase) % span_ms) / step_ms;
    if (left + 2 < SEAL_SAMPLES_MIN) left += SEAL_SAMPLES;
    static_assert(SEAL_SAMPLES_MIN + SEAL_SAMPLES <= CHUNK_SAMPLES_MAX, "a short one is joined");
    return (uint8_t)MIN(left + 2, (uint64_t)CHUNK_SAMPLES_MAX);
}

/* Takes over the count of times; NULL: out of memory, and they are given back. */
static struct chunk *chunk_make(struct head *head, struct times *times, enum chunk_kind kind,
                                const uint8_t *bytes, size_t len) {
    struct chunk *c = times == NULL ? NULL : malloc(offsetof(struct chunk, bytes) + len);
    if (c == NULL) {
        if (times != NULL) times_give(&head->times, times);
        return NULL;
    }
    *c = (struct chunk){.times = times, .len_bytes = (uint16_t)len, .kind = (uint8_t)kind};
    memcpy(c->bytes, bytes, len);
    head->sealed_bytes += chunk_bytes(len);
    return c;
}

static bool values_are_one(const double *values, size_t count) {
    uint64_t first = f64_bits(values[0]), differ = 0;
    for (size_t i = 1; i < count; i++)
        differ |= f64_bits(values[i]) ^ first;
    return differ == 0;
}

/* The newest chunk with what follows it, in its place; false: as it was. */
static bool chain_join(struct head *head, struct chain *chain, const struct times *times,
                       const uint8_t value[8], bool seen) {
    struct chunk *newest = chain->count == 0 ? NULL : chain->newest;
    if (newest == NULL || newest->kind != CHUNK_CONST) return false;
    if (newest->times->count + times->count > CHUNK_JOINED_MAX) return false;
    uint64_t span_ms = (uint64_t)times->last_ms - (uint64_t)newest->times->first_ms;
    if (span_ms > JOINED_SPAN_MS) return false;
    if (memcmp(newest->bytes, value, 8) != 0) return false;
    struct times *both = times_take_both(&head->times, &head->scratch, newest->times, times);
    struct chunk *c = chunk_make(head, both, CHUNK_CONST, value, 8);
    if (c == NULL) return false;
    c->older = newest->older;
    if (!seen) {
        head_chunk_free(head, newest);
    } else if (head_retire_chunks(head, newest, 1) != OK) {
        head_chunk_free(head, c);
        return false;
    }
    chain->newest = c;
    return true;
}

/* The chain's newest chunk, which is about to be second, in the scratch file; without memory or
 * disk it stays as it is. Its place is in no link that readers follow from newer chunks, as there
 * are none. */
static void chain_spill(struct head *head, struct chain *chain, bool seen) {
    struct chunk *near = chain->count == 0 ? NULL : chain->newest;
    struct spilled at;
    if (near == NULL || near->kind != CHUNK_PAGE || near->len_bytes <= sizeof at) return;
    if (!spill_put(&head->spill, near->bytes, near->len_bytes, &at)) return;
    near->times->uses++;
    struct chunk *c = chunk_make(head, near->times, CHUNK_FAR, (const uint8_t *)&at, sizeof at);
    if (c == NULL) {
        spill_drop(&head->spill, &at);
        return;
    }
    c->older = near->older;
    if (!seen) {
        head_chunk_free(head, near);
    } else if (head_retire_chunks(head, near, 1) != OK) {
        head_chunk_free(head, c);
        return;
    }
    chain->newest = c;
}

/* c NULL: out of memory. */
static enum status chain_push(struct head *head, struct chain *chain, struct chunk *c, bool seen) {
    if (c == NULL) return ERR_NOMEM;
    chain_spill(head, chain, seen);
    c->older = chain->newest;
    chain->newest = c;
    chain->count++;
    return OK;
}

static enum status seal_const(struct head *head, struct chain *chain, struct times *times,
                              double value, bool seen) {
    uint8_t bytes[8];
    put_f64le(bytes, value);
    if (chain_join(head, chain, times, bytes, seen)) {
        times_give(&head->times, times);
        return OK;
    }
    return chain_push(head, chain, chunk_make(head, times, CHUNK_CONST, bytes, sizeof bytes), seen);
}

enum status head_chain_seal(struct head *head, struct chain *chain, const struct chunk_open *open,
                            bool seen) {
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    uint8_t bytes[1 + 8 * CHUNK_SAMPLES_MAX];
    struct chunk_snapshot snapshot = chunk_snapshot(open);
    enum status status = chunk_snapshot_read(&snapshot, times_ms, values);
    assert(status == OK);
    struct times *times = times_take(&head->times, &head->scratch, times_ms, open->count);
    if (times == NULL) return ERR_NOMEM;
    if (values_are_one(values, open->count)) return seal_const(head, chain, times, values[0], seen);
    size_t len = page_encode(&head->scratch, values, open->count, bytes);
    return chain_push(head, chain, chunk_make(head, times, CHUNK_PAGE, bytes, len), seen);
}

static bool saved_is_sound(struct head *head, const struct chain *chain, const struct times *times,
                           const struct chunk_saved *saved) {
    double values[CHUNK_JOINED_MAX];
    const size_t count = times->count;
    if (chain->count > 0 && times->first_ms <= chain->newest->times->last_ms) return false;
    if (count > CHUNK_JOINED_MAX) return false;
    if (saved->kind == CHUNK_CONST) return saved->len == 8;
    struct page p = {saved->bytes, saved->len, count};
    return saved->kind == CHUNK_PAGE && count <= CHUNK_SAMPLES_MAX && saved->len <= UINT16_MAX &&
           page_decode(&head->scratch, &p, values) == OK;
}

enum status head_chain_restore(struct head *head, struct chain *chain, struct times *times,
                               const struct chunk_saved *saved) {
    if (!saved_is_sound(head, chain, times, saved)) {
        times_give(&head->times, times);
        return ERR_CORRUPT;
    }
    return chain_push(head, chain, chunk_make(head, times, saved->kind, saved->bytes, saved->len),
                      false);
}
