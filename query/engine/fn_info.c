/* SPDX-License-Identifier: Apache-2.0 */
/* info(): series get the data labels of info metrics with the same job and instance. The second
 * argument's values are the times of the info samples: the newest wins. */
#include "query/engine/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { INFO_NAMES_MAX = 64 }; /* info metrics that match one series */

struct info {
    struct eval *ev;
    const struct selector *selector;
    struct vectors *infos;
    struct vectors *out;
    struct arena arena;
    bool picks_labels; /* the selector names data labels: only these are copied */
    bool needs_match;  /* and one of its matchers does not match "" */
};

static const struct selector *info_selector(const struct expr *e) {
    e = node_unwrap_invariant(e->children[1]); /* the inner info() */
    return &node_unwrap_invariant(e->children[0])->u.selector;
}

static bool is_name_matcher(const struct matcher *m) {
    return sv_eq(m->name, SV("__name__"));
}

/* A series that is an info metric itself stays as it is. */
static bool is_info_metric(const struct selector *sel, const struct labelset *labels) {
    struct sv name = labelset_get(labels, SV("__name__"));
    for (size_t i = 0; i < sel->matchers_count; i++)
        if (is_name_matcher(&sel->matchers[i]) && !matcher_match(&sel->matchers[i], name))
            return false;
    return true;
}

static bool same_target(const struct labelset *a, const struct labelset *b) {
    return sv_eq(labelset_get(a, SV("instance")), labelset_get(b, SV("instance"))) &&
           sv_eq(labelset_get(a, SV("job")), labelset_get(b, SV("job")));
}

static void info_matchers(struct info *info) {
    for (size_t i = 0; i < info->selector->matchers_count; i++) {
        const struct matcher *m = &info->selector->matchers[i];
        if (is_name_matcher(m)) continue;
        info->picks_labels = true;
        info->needs_match = info->needs_match || !matcher_match(m, SV(""));
    }
}

static bool label_is_picked(const struct info *info, struct sv name) {
    if (sv_eq(name, SV("__name__"))) return false;
    if (!info->picks_labels) return true;
    for (size_t i = 0; i < info->selector->matchers_count; i++)
        if (sv_eq(info->selector->matchers[i].name, name)) return true;
    return false;
}

static enum status fail_same_time(struct info *info, const struct series *a, const struct series *b,
                                  double seconds) {
    struct buf x = {0}, y = {0};
    label_list_print_braces(a->labels.labels, a->labels.count, &x);
    label_list_print_braces(b->labels.labels, b->labels.count, &y);
    int64_t ms = (int64_t)(seconds * 1000 + (seconds < 0 ? -0.5 : 0.5));
    err_set(info->ev->err, ERR_EXEC, 0,
            "found duplicate series for info metric: existing %.*s @ %" PRId64
            ", new %.*s @ %" PRId64,
            (int)x.len, x.ptr, ms, (int)y.len, y.ptr, ms);
    buf_fini(&x);
    buf_fini(&y);
    return ERR_EXEC;
}

/* The newest info series of each name at step k among the candidates; *n: how many names. */
static enum status pick(struct info *info, const uint32_t *candidates, size_t count, size_t k,
                        uint32_t *picked, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct series *s = &info->infos->series[candidates[i]];
        if (s->col.kinds[k] == POINT_NONE) continue;
        struct sv name = labelset_get(&s->labels, SV("__name__"));
        size_t at = 0;
        while (at < *n &&
               !sv_eq(labelset_get(&info->infos->series[picked[at]].labels, SV("__name__")), name))
            at++;
        if (at == *n) {
            if (at == INFO_NAMES_MAX)
                return err_set(info->ev->err, ERR_LIMIT, 0,
                               "more than %d info metrics match one series", INFO_NAMES_MAX);
            picked[(*n)++] = candidates[i];
            continue;
        }
        const struct series *old = &info->infos->series[picked[at]];
        if (old->col.values[k] == s->col.values[k])
            return fail_same_time(info, old, s, s->col.values[k]);
        if (old->col.values[k] < s->col.values[k]) picked[at] = candidates[i];
    }
    return OK;
}

static enum status enrich(struct info *info, const struct series *base, const uint32_t *picked,
                          size_t n, struct labelset *out) {
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most += info->infos->series[picked[i]].labels.count;
    struct labelset added = {0};
    added.labels = arena_array(&info->arena, most + 1, sizeof *added.labels);
    if (added.labels == NULL || !labelset_copy(&info->arena, &base->labels, most, out))
        return eval_nomem(info->ev);
    for (size_t i = 0; i < n; i++) {
        const struct labelset *from = &info->infos->series[picked[i]].labels;
        for (size_t j = 0; j < from->count; j++) {
            const struct label *l = &from->labels[j];
            if (!label_is_picked(info, l->name)) continue;
            struct sv before = labelset_get(&added, l->name);
            if (before.len > 0 && !sv_eq(before, l->value))
                return err_set(info->ev->err, ERR_EXEC, 0, "conflicting label: %.*s",
                               SV_ARG(sv_take(l->name, 300)));
            if (labelset_get(&base->labels, l->name).len > 0) continue;
            labelset_set(&added, l->name, l->value);
            labelset_set(out, l->name, l->value);
        }
    }
    return OK;
}

static enum status base_run(struct info *info, const struct series *base) {
    uint32_t *candidates = arena_array(&info->arena, info->infos->count + 1, sizeof *candidates);
    if (candidates == NULL) return eval_nomem(info->ev);
    size_t count = 0;
    bool plain = is_info_metric(info->selector, &base->labels);
    for (size_t i = 0; !plain && i < info->infos->count; i++)
        if (same_target(&info->infos->series[i].labels, &base->labels))
            candidates[count++] = (uint32_t)i;
    uint32_t last[INFO_NAMES_MAX], picked[INFO_NAMES_MAX];
    size_t last_n = SIZE_MAX, n = 0, at = 0;
    for (size_t k = 0; k < info->out->grid.steps; k++) {
        if (base->col.kinds[k] == POINT_NONE) continue;
        if (base->col.kinds[k] == POINT_HISTOGRAM) return eval_unsupported(info->ev, "info");
        TRY(pick(info, candidates, count, k, picked, &n));
        if (n == 0 && info->needs_match && !plain) continue;
        if (n != last_n || memcmp(last, picked, n * sizeof *picked) != 0) {
            struct labelset labels;
            TRY(enrich(info, base, picked, n, &labels));
            struct series *s = vectors_add(info->out, &labels, 0);
            if (s == NULL) return eval_nomem(info->ev);
            s->drop_name = base->drop_name;
            at = info->out->count - 1;
            last_n = n;
            memcpy(last, picked, n * sizeof *picked);
        }
        info->out->series[at].col.kinds[k] = POINT_FLOAT;
        info->out->series[at].col.values[k] = base->col.values[k];
    }
    return OK;
}

static bool has_value(const struct vectors *base, const struct info *info, struct sv label,
                      struct sv value) {
    bool any = false;
    for (size_t i = 0; i < base->count; i++) {
        if (is_info_metric(info->selector, &base->series[i].labels)) continue;
        struct sv v = labelset_get(&base->series[i].labels, label);
        if (v.len > 0 && sv_eq(v, value)) return true;
        any = any || v.len > 0;
    }
    return !any;
}

/* Info series of targets that the base does not have cannot match, nor collide. */
static void infos_filter(struct info *info, const struct vectors *base) {
    size_t n = 0;
    for (size_t i = 0; i < info->infos->count; i++) {
        const struct labelset *l = &info->infos->series[i].labels;
        if (has_value(base, info, SV("instance"), labelset_get(l, SV("instance"))) &&
            has_value(base, info, SV("job"), labelset_get(l, SV("job"))) &&
            (labelset_get(l, SV("instance")).len > 0 || labelset_get(l, SV("job")).len > 0))
            info->infos->series[n++] = info->infos->series[i];
    }
    info->infos->count = n;
}

static enum status info_run(struct info *info, struct vectors *base) {
    info_matchers(info);
    TRY(vectors_sort(info->ev, base));
    TRY(vectors_sort(info->ev, info->infos));
    if (base->count < 1000) infos_filter(info, base);
    for (size_t i = 0; i < base->count; i++) {
        TRY(eval_poll(info->ev));
        arena_reset(&info->arena);
        TRY(base_run(info, &base->series[i]));
    }
    return vectors_join(info->ev, info->out, false);
}

enum status fn_info(struct eval *ev, const struct expr *e, const struct grid *grid,
                    struct vectors **out) {
    struct info info = {.ev = ev, .selector = info_selector(e)};
    struct vectors *base = NULL;
    enum status st = eval_vector(ev, e->children[0], grid, &base);
    if (st == OK) st = eval_vector(ev, e->children[1], grid, &info.infos);
    if (st == OK) {
        arena_init_budget(&info.arena, ev->budget);
        info.out = eval_vectors_new(ev, grid);
        st = info.out == NULL ? eval_nomem(ev) : info_run(&info, base);
        arena_fini(&info.arena);
    }
    vectors_done(ev, base);
    vectors_done(ev, info.infos);
    if (st == OK) st = vectors_ready(ev, info.out);
    if (st != OK) {
        vectors_free(info.out);
        return st;
    }
    *out = info.out;
    return OK;
}
