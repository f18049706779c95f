/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/active.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "node/base/json.h"

static char *slot_at(const struct active *a, uint32_t slot) {
    return a->bytes + 1 + (size_t)slot * ACTIVE_ENTRY_BYTES;
}

static struct sv cut_at_character(struct sv s, size_t len) {
    while (len > 0 && len < s.len && ((unsigned char)s.ptr[len] & 0xc0) == 0x80)
        len--;
    return sv_take(s, len);
}

/* As much of the text as fits, within an eighth, once it is written as JSON. */
static void put_entry(struct buf *out, struct sv query, int64_t unix_s) {
    for (size_t len = MIN(query.len, (size_t)ACTIVE_ENTRY_BYTES);; len -= len / 8 + 1) {
        buf_clear(out);
        buf_put_sv(out, SV("{\"query\":"));
        json_put_string(out, cut_at_character(query, len));
        buf_printf(out, ",\"timestamp_sec\":%" PRId64 "},", unix_s);
        if (out->len <= ACTIVE_ENTRY_BYTES || len == 0) return;
    }
}

uint32_t active_begin(struct active *a, unsigned core, struct sv query, int64_t unix_s) {
    if (a == NULL || a->bytes == NULL) return ACTIVE_NONE;
    uint32_t first = core * a->per_core, slot = first;
    while (slot < first + a->per_core && slot_at(a, slot)[0] != '\0')
        slot++;
    if (slot == first + a->per_core) return ACTIVE_NONE;
    struct buf entry = {0};
    put_entry(&entry, query, unix_s);
    if (entry.failed) {
        buf_fini(&entry);
        return ACTIVE_NONE;
    }
    /* the first byte comes last: an entry that a crash cuts short is none */
    memcpy(slot_at(a, slot) + 1, entry.ptr + 1, entry.len - 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    slot_at(a, slot)[0] = entry.ptr[0];
    buf_fini(&entry);
    return slot;
}

void active_end(struct active *a, uint32_t slot) {
    if (slot == ACTIVE_NONE) return;
    assert(a != NULL && a->bytes != NULL);
    memset(slot_at(a, slot), 0, ACTIVE_ENTRY_BYTES);
}

size_t active_put_left(struct sv file, struct buf *out) {
    size_t count = 0;
    buf_put_char(out, '[');
    for (size_t at = 1; at + ACTIVE_ENTRY_BYTES <= file.len; at += ACTIVE_ENTRY_BYTES) {
        struct sv entry = sv_make(file.ptr + at, strnlen(file.ptr + at, ACTIVE_ENTRY_BYTES));
        if (!sv_starts(entry, SV("{\"query\":")) || !sv_ends(entry, SV("},"))) continue;
        if (count++ > 0) buf_put_char(out, ',');
        buf_put_sv(out, sv_take(entry, entry.len - 1));
    }
    buf_put_char(out, ']');
    return count;
}
