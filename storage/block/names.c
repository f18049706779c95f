/* SPDX-License-Identifier: Apache-2.0 */
/* Label names and values: from the tables where every series counts, else of the series that match.
 */
#include "storage/block/labels_in.h"

struct sv_list { /* in the caller's arena */
    struct arena *arena;
    struct sv *at;
    size_t count, cap;
};

static enum status list_limit(struct err *err) {
    return err_set(err, ERR_LIMIT, 0, "labels: the result does not fit into memory");
}

static enum status list_put(struct sv_list *list, struct sv s, struct err *err) {
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct sv *at = arena_grow(list->arena, list->at, list->cap * sizeof *at, cap * sizeof *at);
        if (at == NULL) return list_limit(err);
        list->at = at;
        list->cap = cap;
    }
    struct sv copy = s.len == 0 ? s : arena_sv(list->arena, s);
    if (s.len > 0 && copy.ptr == NULL) return list_limit(err);
    list->at[list->count++] = copy;
    return OK;
}

static enum status names_all(struct find *f, struct sv_list *list) {
    TRY(names_load(f->io, &f->arena, &f->names, f->err));
    for (uint64_t i = 0; i < f->block->totals.names_count; i++)
        TRY(list_put(list, f->names[i].name, f->err));
    return OK;
}

static enum status values_all(struct find *f, struct sv name, struct sv_list *list) {
    TRY(names_load(f->io, &f->arena, &f->names, f->err));
    const struct name_in *n = names_find(f->names, f->block->totals.names_count, name);
    struct pairs_walk w = {0};
    if (n == NULL) return OK;
    enum status status = pairs_at(f->io, n->first, &w, f->err);
    for (uint64_t i = 0; i < n->count && status == OK; i++) {
        status = pairs_next(&w);
        if (status == OK) status = list_put(list, buf_sv(&w.value), f->err);
    }
    pairs_walk_fini(&w);
    return status;
}

/* NULL: names, else values of the name. The labels are sorted. */
static enum status labels_list(struct find *f, const struct labels_in *l, const struct sv *name,
                               struct sv_list *list) {
    for (size_t i = 0; i < l->count; i++) {
        const struct label *label = &l->labels[i];
        if (name != NULL) {
            if (sv_eq(label->name, *name)) TRY(list_put(list, label->value, f->err));
        } else if (list->count == 0 || !sv_eq(list->at[list->count - 1], label->name)) {
            TRY(list_put(list, label->name, f->err));
        }
    }
    return OK;
}

static enum status block_list(struct block *b, const struct sv *name,
                              const struct select_query *query, struct sv_list *list,
                              struct err *err) {
    struct find *f;
    struct labels_in labels = {0};
    TRY(find_new(b, query, NULL, &f, err));
    enum status status;
    if (find_is_all(f)) {
        status = name == NULL ? names_all(f, list) : values_all(f, *name, list);
    } else {
        status = find_series(f);
        if (status == OK) status = labels_in_load(&labels, f, false);
        if (status == OK) status = labels_list(f, &labels, name, list);
    }
    labels_in_fini(&labels);
    find_free(f);
    return status;
}

enum status block_label_names(struct block *b, const struct select_query *query,
                              struct arena *arena, struct sv **out, size_t *out_count,
                              struct err *err) {
    struct sv_list list = {.arena = arena};
    TRY(block_list(b, NULL, query, &list, err));
    *out = list.at;
    *out_count = list.count;
    return OK;
}

enum status block_label_values(struct block *b, struct sv name, const struct select_query *query,
                               struct arena *arena, struct sv **out, size_t *out_count,
                               struct err *err) {
    struct sv_list list = {.arena = arena};
    TRY(block_list(b, &name, query, &list, err));
    *out = list.at;
    *out_count = list.count;
    return OK;
}
