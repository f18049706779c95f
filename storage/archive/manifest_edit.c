/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "storage/archive/manifest.h"

void manifest_shard_fini(struct manifest_shard *s) {
    for (uint32_t i = 0; i < s->tombstones_count; i++)
        free(s->tombstones[i].matchers);
    free(s->tombstones);
    free(s->epochs);
    free(s->items);
    *s = (struct manifest_shard){0};
}

void manifest_block_fini(struct manifest_block *b) {
    free(b->parts);
    *b = (struct manifest_block){0};
}

void manifest_fini(struct manifest *m) {
    for (uint32_t i = 0; i < m->blocks_count; i++)
        manifest_block_fini(&m->blocks[i]);
    for (uint32_t i = 0; i < m->shards_count; i++)
        manifest_shard_fini(&m->shards[i]);
    free(m->blocks);
    free(m->shards);
    *m = (struct manifest){0};
}

/* NULL also for nothing to copy. */
static void *copy_of(const void *p, size_t count, size_t item_bytes) {
    void *to = count == 0 ? NULL : malloc(count * item_bytes);
    if (to != NULL) memcpy(to, p, count * item_bytes);
    return to;
}

enum status manifest_shard_copy(const struct manifest_shard *from, struct manifest_shard *to) {
    *to = *from;
    to->tombstones_count = 0;
    to->epochs = copy_of(from->epochs, from->epochs_count, sizeof *from->epochs);
    to->tombstones = copy_of(from->tombstones, from->tombstones_count, sizeof *from->tombstones);
    to->items = copy_of(from->items, from->items_len, 1);
    bool failed = (from->epochs_count > 0 && to->epochs == NULL) ||
                  (from->items_len > 0 && to->items == NULL) ||
                  (from->tombstones_count > 0 && to->tombstones == NULL);
    for (uint32_t i = 0; i < from->tombstones_count && !failed; i++) {
        const struct tombstone *t = &from->tombstones[i];
        to->tombstones[i].matchers = copy_of(t->matchers, t->matchers_len, 1);
        failed = to->tombstones[i].matchers == NULL && t->matchers_len > 0;
        if (!failed) to->tombstones_count++;
    }
    if (failed) manifest_shard_fini(to);
    return failed ? ERR_NOMEM : OK;
}

static enum status block_copy(const struct manifest_block *from, struct manifest_block *to) {
    *to = *from;
    to->parts = copy_of(from->parts, from->parts_count, sizeof *from->parts);
    if (to->parts != NULL || from->parts_count == 0) return OK;
    *to = (struct manifest_block){0};
    return ERR_NOMEM;
}

enum status manifest_copy(const struct manifest *from, struct manifest *to) {
    *to = (struct manifest){.next_number = from->next_number};
    to->blocks = calloc(from->blocks_count + 1, sizeof *to->blocks);
    to->shards = calloc(from->shards_count + 1, sizeof *to->shards);
    enum status status = to->blocks == NULL || to->shards == NULL ? ERR_NOMEM : OK;
    if (status == OK) {
        to->blocks_cap = from->blocks_count + 1;
        to->shards_cap = from->shards_count + 1;
    }
    for (uint32_t i = 0; i < from->blocks_count && status == OK; i++) {
        status = block_copy(&from->blocks[i], &to->blocks[i]);
        if (status == OK) to->blocks_count++;
    }
    for (uint32_t i = 0; i < from->shards_count && status == OK; i++) {
        status = manifest_shard_copy(&from->shards[i], &to->shards[i]);
        if (status == OK) to->shards_count++;
    }
    if (status != OK) manifest_fini(to);
    return status;
}

/* -- shards */

/* Its place, or where it would be put. */
static uint32_t shard_seek(const struct manifest *m, uint32_t shard) {
    uint32_t low = 0, high = m->shards_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (m->shards[mid].shard < shard)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct manifest_shard *manifest_shard_find(const struct manifest *m, uint32_t shard) {
    uint32_t at = shard_seek(m, shard);
    return at < m->shards_count && m->shards[at].shard == shard ? &m->shards[at] : NULL;
}

/* The array with room for one more; NULL: no memory, and it is as it was. */
static void *grown(void *array, uint32_t count, uint32_t *cap, size_t item_bytes) {
    if (count < *cap) return array;
    uint32_t more = *cap < 8 ? 8 : *cap * 2;
    void *to = realloc(array, more * item_bytes);
    if (to != NULL) *cap = more;
    return to;
}

enum status manifest_shard_set(struct manifest *m, struct manifest_shard *s) {
    uint32_t at = shard_seek(m, s->shard);
    if (at < m->shards_count && m->shards[at].shard == s->shard) {
        manifest_shard_fini(&m->shards[at]);
    } else {
        struct manifest_shard *shards =
            grown(m->shards, m->shards_count, &m->shards_cap, sizeof *m->shards);
        if (shards == NULL) return ERR_NOMEM;
        m->shards = shards;
        memmove(m->shards + at + 1, m->shards + at, (m->shards_count - at) * sizeof *m->shards);
        m->shards_count++;
    }
    m->shards[at] = *s;
    *s = (struct manifest_shard){0};
    return OK;
}

static void part_remove(struct manifest_block *b, uint32_t shard) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->parts_count; i++)
        if (b->parts[i].shard != shard) b->parts[kept++] = b->parts[i];
    b->parts_count = kept;
}

void manifest_shard_remove(struct manifest *m, uint32_t shard) {
    uint32_t at = shard_seek(m, shard);
    if (at < m->shards_count && m->shards[at].shard == shard) {
        manifest_shard_fini(&m->shards[at]);
        m->shards_count--;
        memmove(m->shards + at, m->shards + at + 1, (m->shards_count - at) * sizeof *m->shards);
    }
    for (uint32_t i = m->blocks_count; i > 0; i--) {
        part_remove(&m->blocks[i - 1], shard);
        if (m->blocks[i - 1].parts_count == 0) manifest_block_remove(m, m->blocks[i - 1].number);
    }
}

/* -- blocks */

static uint32_t block_seek(const struct manifest *m, uint64_t number) {
    uint32_t at = m->blocks_count;
    while (at > 0 && m->blocks[at - 1].number >= number)
        at--;
    return at;
}

struct manifest_block *manifest_block_find(const struct manifest *m, uint64_t number) {
    uint32_t at = block_seek(m, number);
    return at < m->blocks_count && m->blocks[at].number == number ? &m->blocks[at] : NULL;
}

struct manifest_part *manifest_block_part(const struct manifest_block *b, uint32_t shard,
                                          uint32_t copy) {
    uint32_t low = 0, high = b->parts_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (b->parts[mid].shard < shard)
            low = mid + 1;
        else
            high = mid;
    }
    bool has = low < b->parts_count && b->parts[low].shard == shard && b->parts[low].copy == copy;
    return has ? &b->parts[low] : NULL;
}

enum status manifest_block_add(struct manifest *m, struct manifest_block *b) {
    uint32_t at = block_seek(m, b->number);
    struct manifest_block *blocks =
        grown(m->blocks, m->blocks_count, &m->blocks_cap, sizeof *m->blocks);
    if (blocks == NULL) return ERR_NOMEM;
    m->blocks = blocks;
    memmove(m->blocks + at + 1, m->blocks + at, (m->blocks_count - at) * sizeof *m->blocks);
    m->blocks_count++;
    m->blocks[at] = *b;
    *b = (struct manifest_block){0};
    if (m->next_number <= m->blocks[at].number) m->next_number = m->blocks[at].number + 1;
    return OK;
}

void manifest_block_remove(struct manifest *m, uint64_t number) {
    uint32_t at = block_seek(m, number);
    if (at >= m->blocks_count || m->blocks[at].number != number) return;
    manifest_block_fini(&m->blocks[at]);
    m->blocks_count--;
    memmove(m->blocks + at, m->blocks + at + 1, (m->blocks_count - at) * sizeof *m->blocks);
}

void manifest_put_ulid(const struct manifest_block *b, struct buf *out) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t time = b->max_ms < 0 ? 0 : (uint64_t)b->max_ms & (((uint64_t)1 << 48) - 1);
    uint64_t high = time << 16, low = b->number; /* 48 bits of time, then 80 */
    char text[MANIFEST_ULID_CHARS];
    for (int i = MANIFEST_ULID_CHARS - 1; i >= 0; i--) {
        text[i] = digits[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    buf_put(out, text, sizeof text);
}
