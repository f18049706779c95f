/* SPDX-License-Identifier: Apache-2.0 */
/* Label names and values. Without matchers a value counts when any of its series does, which the
 * first one mostly decides; with matchers, or of few of the shards, the series that match are
 * walked. */
#include <stdlib.h>

#include "storage/select.h"

static bool series_counts(const struct head *head, const struct select_query *query,
                          uint32_t order) {
    if (!shard_is_asked(query->shards, orders_shard(&head->orders, order))) return false;
    uint32_t ref = orders_ref(&head->orders, order);
    if (ref == ORDERS_NONE) return false;
    return head_series_overlaps(head, ref, query->from_ms, query->to_ms);
}

static bool pair_counts(const struct head *head, const struct select_query *query, uint32_t pair) {
    struct posting_view p = index_get(&head->index, pair);
    uint32_t hint = 0, order = 0;
    while ((order = posting_seek(p, &hint, order)) != ORDERS_NONE)
        if (series_counts(head, query, order++)) return true;
    return false;
}

static int sv_order(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

struct sv_list { /* in the arena */
    struct arena *arena;
    struct sv *at;
    size_t count, cap;
};

static enum status list_put(struct sv_list *list, struct sv s) {
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct sv *at = arena_grow(list->arena, list->at, list->cap * sizeof *at, cap * sizeof *at);
        if (at == NULL) return ERR_NOMEM;
        list->at = at;
        list->cap = cap;
    }
    struct sv copy = s.len == 0 ? s : arena_sv(list->arena, s);
    if (copy.ptr == NULL) return ERR_NOMEM;
    list->at[list->count++] = copy;
    return OK;
}

static enum status list_finish(struct sv_list *list, enum status status, struct sv **out,
                               size_t *out_count, struct err *err) {
    if (status == ERR_NOMEM)
        return err_set(err, ERR_LIMIT, 0, "labels: the result does not fit into memory");
    if (status != OK) return status;
    if (list->count > 1) qsort(list->at, list->count, sizeof *list->at, sv_order);
    *out = list->at;
    *out_count = list->count;
    return OK;
}

static bool series_are_walked(const struct head *head, const struct select_query *query) {
    return query->matchers_count > 0 ||
           select_shards_are_fewer(head, query->shards, head->series.count);
}

static enum status names_all(const struct head *head, const struct select_query *query,
                             struct sv_list *list) {
    for (uint32_t n = 0; n < head->symbols.names_count; n++) {
        const struct name *name = &head->symbols.names[n];
        for (uint32_t i = 0; i < name->pairs.count; i++) {
            if (name_is_hole(name->pairs.at[i]) || !pair_counts(head, query, name->pairs.at[i]))
                continue;
            TRY(list_put(list, name->text));
            break;
        }
    }
    return OK;
}

static enum status names_matched(struct head *head, const struct select_query *query,
                                 struct sv_list *list, struct err *err) {
    struct u32s refs = {0};
    TRY(select_refs(head, query, &refs, err));
    uint8_t *seen = calloc(head->symbols.names_count + 1, 1);
    enum status status = seen == NULL ? ERR_NOMEM : OK;
    for (uint32_t r = 0; r < refs.count && status == OK; r++) {
        if (!head_series_overlaps(head, refs.at[r], query->from_ms, query->to_ms)) continue;
        const struct series_labels *l = head_cold(head, refs.at[r])->labels;
        for (uint32_t i = 0; i < labels_total(l) && status == OK; i++) {
            uint32_t name = symbols_pair(head->symbols.pairs.dir, labels_at(l, i))->name;
            if (seen[name]) continue;
            seen[name] = 1;
            status = list_put(list, head->symbols.names[name].text);
        }
    }
    free(seen);
    u32s_fini(&refs);
    return status;
}

enum status head_label_names(struct head *head, const struct select_query *query,
                             struct arena *arena, struct sv **out, size_t *out_count,
                             struct err *err) {
    struct sv_list list = {.arena = arena};
    enum status status = series_are_walked(head, query) ? names_matched(head, query, &list, err)
                                                        : names_all(head, query, &list);
    return list_finish(&list, status, out, out_count, err);
}

static enum status values_all(const struct head *head, const struct name *name,
                              const struct select_query *query, struct sv_list *list) {
    for (uint32_t i = 0; i < name->pairs.count; i++)
        if (!name_is_hole(name->pairs.at[i]) && pair_counts(head, query, name->pairs.at[i]))
            TRY(list_put(list,
                         pair_value(symbols_pair(head->symbols.pairs.dir, name->pairs.at[i]))));
    return OK;
}

/* The pair of that name, NULL when the series has none. */
static const struct pair *series_pair(const struct head *head, uint32_t ref, uint32_t name) {
    const struct series_labels *l = head_cold(head, ref)->labels;
    for (uint32_t i = 0; i < labels_total(l); i++) {
        const struct pair *p = symbols_pair(head->symbols.pairs.dir, labels_at(l, i));
        if (p->name == name) return p;
    }
    return NULL;
}

static enum status values_matched(struct head *head, uint32_t name,
                                  const struct select_query *query, struct sv_list *list,
                                  struct err *err) {
    struct u32s refs = {0};
    TRY(select_refs(head, query, &refs, err));
    uint8_t *seen = calloc(head->symbols.names[name].pairs.count + 1, 1);
    enum status status = seen == NULL ? ERR_NOMEM : OK;
    for (uint32_t r = 0; r < refs.count && status == OK; r++) {
        const struct pair *p = series_pair(head, refs.at[r], name);
        if (p == NULL || seen[p->value_index]) continue;
        if (!head_series_overlaps(head, refs.at[r], query->from_ms, query->to_ms)) continue;
        seen[p->value_index] = 1;
        status = list_put(list, pair_value(p));
    }
    free(seen);
    u32s_fini(&refs);
    return status;
}

enum status head_label_values(struct head *head, struct sv name, const struct select_query *query,
                              struct arena *arena, struct sv **out, size_t *out_count,
                              struct err *err) {
    struct sv_list list = {.arena = arena};
    uint32_t id = symbols_find_name(&head->symbols, name);
    enum status status = OK;
    if (id != MAP_NONE && series_are_walked(head, query))
        status = values_matched(head, id, query, &list, err);
    else if (id != MAP_NONE)
        status = values_all(head, &head->symbols.names[id], query, &list);
    return list_finish(&list, status, out, out_count, err);
}
