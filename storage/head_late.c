/* SPDX-License-Identifier: Apache-2.0 */
/* Samples that came out of order: one sorted array a series. A selection sees the first
 * `late_count` rows of the array it found. So in an array that a live selection may have seen a row
 * is only put behind the others; anywhere else it goes into a copy, which nobody has seen: a view
 * costs at most one copy. Cost of a row: moving those behind it; senders that catch up send in
 * order, so there are none. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

uint32_t late_seek(const struct late_sample *at, uint32_t count, int64_t time_ms) {
    uint32_t low = 0;
    while (count > 0) {
        uint32_t half = count / 2;
        if (at[low + half].time_ms < time_ms) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

/* The row with that time among ascending ones, or count. */
static size_t row_at(const int64_t *times_ms, size_t count, int64_t time_ms) {
    for (size_t i = 0; i < count; i++)
        if (times_ms[i] >= time_ms) return times_ms[i] == time_ms ? i : count;
    return count;
}

static bool open_holds(const struct chunk_snapshot *open, int64_t time_ms, uint64_t *out_bits) {
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    enum status status = chunk_snapshot_read(open, times_ms, values);
    assert(status == OK);
    size_t row = row_at(times_ms, open->count, time_ms);
    if (row == open->count) return false;
    *out_bits = f64_bits(values[row]);
    return true;
}

static bool sealed_holds(const struct chunk *c, int64_t time_ms, uint64_t *out_bits) {
    struct page_scratch scratch;
    int64_t times_ms[CHUNK_JOINED_MAX];
    double values[CHUNK_JOINED_MAX];
    page_scratch_init(&scratch);
    times_read(c->times, &scratch, times_ms);
    size_t row = row_at(times_ms, c->times->count, time_ms);
    if (row == c->times->count) return false;
    enum status status = chunk_values(c, &scratch, row, values);
    assert(status == OK);
    *out_bits = f64_bits(values[0]);
    return true;
}

bool head_holds(const struct head *head, uint32_t ref, int64_t time_ms, uint64_t *out_bits) {
    const struct series_cold *cold = head_cold(head, ref);
    if (time_ms < head_from(head, cold->shard)) return false;
    if (cold->late != NULL) {
        const struct late *late = cold->late;
        uint32_t i = late_seek(late->at, late->count, time_ms);
        if (i < late->count && late->at[i].time_ms == time_ms) {
            *out_bits = late->at[i].bits;
            return true;
        }
    }
    struct chunk_snapshot open = chunk_snapshot(&head_series(head, ref)->open);
    if (open.count > 0 && time_ms >= chunk_snapshot_first_ms(&open))
        return open_holds(&open, time_ms, out_bits);
    const struct chunk *c = cold->sealed;
    uint32_t left = cold->sealed_count;
    for (; left > 0 && time_ms < c->times->first_ms; left--)
        c = c->older;
    if (left == 0 || time_ms > c->times->last_ms) return false;
    return sealed_holds(c, time_ms, out_bits);
}

static size_t late_bytes(uint32_t cap) {
    return sizeof(struct late) + cap * sizeof(struct late_sample);
}

enum status head_late_insert(struct head *head, uint32_t ref, int64_t time_ms, uint64_t bits) {
    struct series_cold *cold = head_cold(head, ref);
    struct late *late = cold->late;
    uint32_t count = late == NULL ? 0 : late->count;
    uint32_t i = late == NULL ? 0 : late_seek(late->at, count, time_ms);
    if (late != NULL && head->newest == NULL) late->seen = false;
    bool in_place = late != NULL && count < late->cap && (i == count || !late->seen);
    if (!in_place) {
        uint32_t cap = count < 2 ? 2 : count + count / 2;
        if (cap <= count) return ERR_NOMEM;
        struct late *copy = malloc(late_bytes(cap));
        if (copy == NULL) return ERR_NOMEM;
        *copy = (struct late){.count = count, .cap = cap};
        if (late != NULL) memcpy(copy->at, late->at, count * sizeof *late->at);
        head->late_bytes += late_bytes(cap);
        cold->late = copy;
        if (late != NULL) head_retire_late(head, late);
        late = copy;
    }
    memmove(&late->at[i + 1], &late->at[i], (count - i) * sizeof *late->at);
    late->at[i] = (struct late_sample){time_ms, bits};
    late->count++;
    return OK;
}

enum status head_late_restore(struct head *head, uint32_t ref, uint32_t count) {
    struct series_cold *cold = head_cold(head, ref);
    assert(cold->late == NULL && count > 0);
    struct late *late = malloc(late_bytes(count));
    if (late == NULL) return ERR_NOMEM;
    *late = (struct late){.cap = count};
    head->late_bytes += late_bytes(count);
    cold->late = late;
    return OK;
}
