/* SPDX-License-Identifier: Apache-2.0 */
/* label_replace and label_join: series get other labels, values stay. */
#include "query/engine/internal.h"

#include <stdlib.h>

#include "node/base/regex.h"

enum { REPLACE_WORK = 1000 }; /* a regular expression with its groups, for one value */

struct replace {
    struct sv dst, replacement, src;
    struct regex *regex;
};

/* `dst` set to value on one series; its column stays. */
static enum status relabel(struct eval *ev, struct vectors *v, struct series *s, struct sv dst,
                           struct sv value) {
    struct labelset grown;
    struct sv name = arena_sv(&v->arena, dst),
              text = value.len == 0 ? SV("") : arena_sv(&v->arena, value);
    if (name.ptr == NULL || text.ptr == NULL || !labelset_copy(&v->arena, &s->labels, 1, &grown))
        return eval_nomem(ev);
    labelset_set(&grown, name, text);
    s->labels = grown;
    if (sv_eq(dst, SV("__name__"))) s->drop_name = false;
    return OK;
}

static enum status finish(struct eval *ev, enum status st, struct vectors *v,
                          struct vectors **out) {
    if (st == OK) st = vectors_join(ev, v, false);
    if (st == OK) st = vectors_sort(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}

enum status fn_label_replace(struct eval *ev, const struct expr *e, const struct grid *grid,
                             struct vectors **out) {
    struct replace r = {.dst = label_string(e->children[1]),
                        .replacement = label_string(e->children[2])};
    r.src = label_string(e->children[3]);
    struct sv pattern = label_string(e->children[4]);
    if (regex_compile(pattern, &r.regex, NULL) != OK)
        return err_set(ev->err, ERR_EXEC, 0, "invalid regular expression in label_replace(): %.*s",
                       SV_ARG(sv_take(pattern, 300)));
    struct vectors *v = NULL;
    enum status st = OK;
    if (!label_name_valid(r.dst))
        st =
            err_set(ev->err, ERR_EXEC, 0, "invalid destination label name in label_replace(): %.*s",
                    SV_ARG(sv_take(r.dst, 300)));
    if (st == OK) st = eval_vector(ev, e->children[0], grid, &v);
    struct buf value = {0};
    for (size_t i = 0; st == OK && i < v->count; i++) {
        struct sv groups[REGEX_GROUPS_MAX];
        size_t n = regex_match_groups(r.regex, labelset_get(&v->series[i].labels, r.src), groups,
                                      REGEX_GROUPS_MAX);
        st = eval_work(ev, REPLACE_WORK);
        if (st != OK || n == 0) continue;
        buf_clear(&value);
        regex_expand(r.regex, r.replacement, groups, n, &value);
        st = value.failed ? eval_nomem(ev) : relabel(ev, v, &v->series[i], r.dst, buf_sv(&value));
    }
    buf_fini(&value);
    regex_free(r.regex);
    if (v == NULL) return st;
    return finish(ev, st, v, out);
}

enum status fn_label_join(struct eval *ev, const struct expr *e, const struct grid *grid,
                          struct vectors **out) {
    struct sv dst = label_string(e->children[1]), separator = label_string(e->children[2]);
    for (size_t i = 3; i < e->children_count; i++) {
        struct sv src = label_string(e->children[i]);
        if (!label_name_valid(src))
            return err_set(ev->err, ERR_EXEC, 0, "invalid source label name in label_join(): %.*s",
                           SV_ARG(sv_take(src, 300)));
    }
    if (!label_name_valid(dst))
        return err_set(ev->err, ERR_EXEC, 0, "invalid destination label name in label_join(): %.*s",
                       SV_ARG(sv_take(dst, 300)));
    struct vectors *v = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &v));
    struct buf value = {0};
    enum status st = OK;
    for (size_t i = 0; st == OK && i < v->count; i++) {
        st = eval_work(ev, 100 + 20 * e->children_count);
        if (st != OK) break;
        buf_clear(&value);
        for (size_t j = 3; j < e->children_count; j++) {
            if (j > 3) buf_put_sv(&value, separator);
            buf_put_sv(&value, labelset_get(&v->series[i].labels, label_string(e->children[j])));
        }
        st = value.failed ? eval_nomem(ev) : relabel(ev, v, &v->series[i], dst, buf_sv(&value));
    }
    buf_fini(&value);
    return finish(ev, st, v, out);
}
