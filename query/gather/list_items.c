/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/map.h"
#include "query/gather/list.h"
#include "query/promql/parser.h"
#include "storage/entry.h"
#include "storage/labels.h"

/* -- items */

void list_items_init(struct list_items *items) {
    *items = (struct list_items){0};
    arena_init(&items->arena, LIST_PART_BYTES_MAX);
    map_init(&items->seen);
}

void list_items_fini(struct list_items *items) {
    map_fini(&items->seen);
    arena_fini(&items->arena);
    items->at = NULL;
    items->count = items->cap = 0;
}

static bool item_eq(const void *owner, uint32_t ref, const void *key) {
    const struct list_items *items = owner;
    return sv_eq(items->at[ref], *(const struct sv *)key);
}

static uint64_t item_hash(const void *owner, uint32_t ref) {
    const struct list_items *items = owner;
    return hash64(items->at[ref].ptr, items->at[ref].len, 0);
}

static enum status items_full(struct err *err) {
    return err_set(err, ERR_LIMIT, 0,
                   "the list needs more than %d MiB of memory on one core; ask for less",
                   LIST_PART_BYTES_MAX >> 20);
}

enum status list_items_add(struct list_items *items, struct sv s, struct err *err) {
    uint64_t hash = hash64(s.ptr, s.len, 0);
    if (map_find(&items->seen, hash, item_eq, items, &s) != MAP_NONE) return OK;
    if (items->count == items->cap) {
        size_t cap = items->cap == 0 ? 64 : items->cap * 2;
        struct sv *at =
            arena_grow(&items->arena, items->at, items->cap * sizeof *at, cap * sizeof *at);
        if (at == NULL) return items_full(err);
        items->at = at;
        items->cap = cap;
    }
    struct sv copy = s.len == 0 ? SV("") : arena_sv(&items->arena, s);
    if (copy.ptr == NULL || items->count >= MAP_NONE) return items_full(err);
    items->at[items->count] = copy;
    if (map_insert(&items->seen, hash, (uint32_t)items->count, item_hash, items) != OK)
        return items_full(err);
    items->count++;
    return OK;
}

static int text_order(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

/* labels.Compare over canonical bytes: label by label, name before value; a shorter set first. */
static int series_order(const void *a, const void *b) {
    struct sv x = *(const struct sv *)a, y = *(const struct sv *)b;
    struct label lx, ly;
    for (;;) {
        bool more_x = labels_next(&x, &lx, NULL), more_y = labels_next(&y, &ly, NULL);
        if (!more_x || !more_y) return (int)more_x - (int)more_y;
        int c = sv_cmp(lx.name, ly.name);
        if (c == 0) c = sv_cmp(lx.value, ly.value);
        if (c != 0) return c;
    }
}

/* What stands in front of an item, behind its length: a metric's name, a series' labels. */
static struct sv item_key(const void *item) {
    struct sv s = *(const struct sv *)item;
    struct reader r = reader_init(s.ptr, s.len);
    return read_lenstr(&r);
}

static int metadata_order(const void *a, const void *b) {
    return sv_cmp(item_key(a), item_key(b));
}

static int exemplars_order(const void *a, const void *b) {
    struct sv x = item_key(a), y = item_key(b);
    return series_order(&x, &y);
}

typedef int (*item_order)(const void *a, const void *b);
static const item_order orders[] = {[GATHER_SERIES] = series_order,
                                    [GATHER_LABEL_NAMES] = text_order,
                                    [GATHER_LABEL_VALUES] = text_order,
                                    [GATHER_METADATA] = metadata_order,
                                    [GATHER_EXEMPLARS] = exemplars_order};

static bool exemplars_item_valid(struct sv item) {
    struct reader r = reader_init(item.ptr, item.len);
    struct sv labels = read_lenstr(&r);
    struct label l;
    bool bad = false;
    uint64_t count;
    if (r.failed) return false;
    while (labels_next(&labels, &l, &bad))
        continue;
    return !bad && entry_exemplars_check(sv_make(r.cur, reader_left(&r)), &count, NULL) == OK;
}

enum status list_items_check(const struct list_items *items, enum gather_list_kind kind,
                             struct err *err) {
    uint64_t count;
    for (size_t i = 0; i < items->count; i++) {
        if (kind == GATHER_METADATA
                ? entry_metadata_check(items->at[i], &count, NULL) != OK
                : kind == GATHER_EXEMPLARS && !exemplars_item_valid(items->at[i]))
            return err_set(err, ERR_CORRUPT, 0, "list: malformed item in a reply");
    }
    return OK;
}

void list_items_finish(struct list_items *items, enum gather_list_kind kind, uint64_t keep_max) {
    map_fini(&items->seen);
    map_init(&items->seen);
    if (items->count > 1) qsort(items->at, items->count, sizeof *items->at, orders[kind]);
    if (keep_max != 0 && items->count > keep_max) items->count = (size_t)keep_max;
}

/* -- the parsed question */

static enum status query_parse(struct list_query *q, const struct list_ask *ask, struct err *err) {
    size_t n = ask->selectors_count;
    q->label = ask->label.len == 0 ? SV("") : arena_sv(&q->arena, ask->label);
    q->selectors = arena_array(&q->arena, n + 1, sizeof *q->selectors);
    q->sets = arena_array(&q->arena, n + 1, sizeof *q->sets);
    if (q->label.ptr == NULL || q->selectors == NULL || q->sets == NULL)
        return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    for (size_t i = 0; i < n; i++) {
        q->selectors[i] =
            ask->selectors[i].len == 0 ? SV("") : arena_sv(&q->arena, ask->selectors[i]);
        if (q->selectors[i].ptr == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
        TRY(promql_parse_selector(q->selectors[i], &q->arena, &q->sets[i].matchers,
                                  &q->sets[i].count, err));
        q->sets_count++;
    }
    return OK;
}

enum status list_query_new(const struct list_ask *ask, struct list_query **out, struct err *err) {
    struct list_query *q = calloc(1, sizeof *q);
    if (q == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    q->kind = ask->kind;
    q->from_ms = ask->from_ms;
    q->to_ms = ask->to_ms;
    q->keep_max = ask->keep_max;
    q->timeout_ms = ask->timeout_ms;
    arena_init(&q->arena, 64 << 20);
    enum status st = query_parse(q, ask, err);
    if (st != OK) {
        list_query_free(q);
        return st;
    }
    *out = q;
    return OK;
}

void list_query_free(struct list_query *q) {
    if (q == NULL) return;
    for (size_t i = 0; i < q->sets_count; i++)
        promql_matchers_free(q->sets[i].matchers, q->sets[i].count);
    arena_fini(&q->arena);
    free(q);
}
