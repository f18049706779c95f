/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/repair.h"

#include <stdlib.h>
#include <string.h>

/* Of what the block has of the shard: of one of which nothing is known, up to where the shard is
 * closed (digest.c). */
static struct shard_span part_span(const struct archive *a, const struct manifest_block *b,
                                   const struct manifest_shard *of) {
    struct block_shard in;
    for (uint32_t i = 0; i < a->list->count; i++) {
        const struct list_block *l = &a->list->blocks[i];
        if (l->of.number == b->number && list_block_shard(l, of->shard, &in))
            return (struct shard_span){.min_ms = in.min_ms, .max_ms = in.max_ms};
    }
    int64_t max_ms = MIN(b->max_ms, of->from_ms - 1);
    return (struct shard_span){.min_ms = MIN(b->min_ms, max_ms), .max_ms = max_ms};
}

static bool is_readable(const struct archive *a, uint64_t number) {
    for (uint32_t i = 0; i < a->list->count; i++)
        if (a->list->blocks[i].of.number == number) return a->list->blocks[i].block != NULL;
    return true; /* it comes with this change */
}

/* Samples (those that can be read stay where only what is bad goes), and rows that cannot be read.
 */
static bool is_in(const struct archive *a, const struct manifest_block *b,
                  const struct manifest_shard *of, const struct archive_repair_shard *r) {
    if (manifest_block_part(b, r->shard, r->copy) == NULL ||
        ((b->resolution_ms != 0 || r->only_bad) && is_readable(a, b->number)))
        return false;
    struct shard_span s = part_span(a, b, of);
    return s.max_ms >= r->min_ms && s.min_ms <= r->max_ms;
}

static bool may_apply(const struct archive *a, const struct manifest *m,
                      const struct archive_repair_shard *r) {
    const struct manifest_shard *s = manifest_shard_find(m, r->shard);
    if (s == NULL || s->copy != r->copy || s->from_ms <= r->max_ms) return false;
    for (uint32_t i = 0; i < m->blocks_count; i++) {
        if (!is_in(a, &m->blocks[i], s, r)) continue;
        struct shard_span span = part_span(a, &m->blocks[i], s);
        if (span.min_ms < r->min_ms || span.max_ms > r->max_ms) return false;
    }
    return true;
}

/* What a merge has taken of it is void. */
static void merge_void(struct archive *a, uint64_t number) {
    struct merge *m = &a->merge;
    for (uint32_t i = 0; m->running && i < m->plan.count; i++)
        if (m->plan.numbers[i] == number) m->voided = true;
}

void repair_part_remove(struct archive *a, struct manifest *m, struct manifest_block *b,
                        const struct manifest_part *of) {
    struct manifest_part *part = manifest_block_part(b, of->shard, of->copy);
    merge_void(a, b->number);
    size_t behind = (size_t)(b->parts + b->parts_count - (part + 1));
    memmove(part, part + 1, behind * sizeof *part);
    if (--b->parts_count == 0) manifest_block_remove(m, b->number);
}

static void parts_remove(struct archive *a, struct manifest *m,
                         const struct archive_repair_shard *r) {
    const struct manifest_shard *of = manifest_shard_find(m, r->shard);
    const struct manifest_part part = {r->shard, r->copy};
    for (uint32_t i = m->blocks_count; i > 0; i--)
        if (is_in(a, &m->blocks[i - 1], of, r)) repair_part_remove(a, m, &m->blocks[i - 1], &part);
}

/* Rows that come: those here that say as much stay, and the others' are not taken; those that say
 * less go. */
static void rows_replace(struct archive *a, struct manifest *m, const struct manifest_block *rows,
                         uint64_t *passed) {
    for (uint32_t i = 0; i < rows->parts_count && rows->resolution_ms != 0; i++) {
        const struct manifest_part r = rows->parts[i];
        for (uint32_t k = m->blocks_count; k > 0; k--) {
            struct manifest_block *b = &m->blocks[k - 1];
            if (b->resolution_ms != rows->resolution_ms ||
                manifest_block_part(b, r.shard, r.copy) == NULL)
                continue;
            if (b->min_ms <= rows->min_ms && b->max_ms >= rows->max_ms && is_readable(a, b->number))
                passed[r.shard / 64] |= (uint64_t)1 << (r.shard % 64);
            else if (b->min_ms >= rows->min_ms && b->max_ms <= rows->max_ms)
                repair_part_remove(a, m, b, &r);
        }
    }
}

/* The other may have had rows only. */
static void gone_raise(struct manifest_shard *s, const struct archive_repair_shard *r) {
    if (ended_any(&s->ended) && r->min_ms <= s->ended.raw_ms)
        s->gone_ms = MAX(s->gone_ms, MIN(r->max_ms, s->ended.raw_ms));
}

enum status repair_apply(struct archive *a, struct manifest *m, struct archive_change *c) {
    uint32_t words = (a->options.shards_count + 63) / 64;
    uint64_t *refused = calloc(2 * (size_t)words, sizeof *refused);
    if (refused == NULL) return ERR_NOMEM;
    enum status status = OK;
    c->refused = 0;
    for (size_t i = 0; i < c->repairs_count; i++) {
        const struct archive_repair_shard *r = &c->repairs[i];
        if (may_apply(a, m, r)) {
            gone_raise(manifest_shard_find(m, r->shard), r);
            parts_remove(a, m, r);
            archive_rows_forget(a, m, r->min_ms, r->max_ms);
        } else {
            refused[r->shard / 64] |= (uint64_t)1 << (r->shard % 64);
            c->refused++;
        }
    }
    uint64_t *passed = refused + words;
    for (uint32_t i = 0; i < c->adds_count && status == OK; i++) {
        memcpy(passed, refused, words * sizeof *passed);
        rows_replace(a, m, &c->adds[i].of, passed);
        status = archive_change_block(m, c, &c->adds[i].of, passed);
    }
    free(refused);
    return status;
}
