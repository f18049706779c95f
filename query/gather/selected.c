/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/selected.h"

#include <assert.h>

/* Selecting looks at every matcher for every candidate, between two looks at the clock, and keeps a
 * set for each: ERR_LIMIT beyond what a person or a dashboard writes. */
enum { SELECTOR_MATCHERS_MAX = 1000 };

static struct head *head_of(const struct core *core) {
    return store_head(core->locals[CORE_STORE]);
}

static enum status selected_begin(struct selected *s) {
    size_t count = s->query.matchers_count;
    if (count > SELECTOR_MATCHERS_MAX)
        return err_set(&s->err, ERR_LIMIT, 0, "a selector has %zu matchers, at most %d are allowed",
                       count, SELECTOR_MATCHERS_MAX);
    return select_new(head_of(s->core), &s->query, &s->selection, &s->err);
}

/* One slice: at most a millisecond of the core, then back to the end of its mailbox. */
static void selected_slice(struct core *here, struct msg *m) {
    struct selected *s = container_of(m, struct selected, msg);
    assert(here == s->core);
    uint64_t began_ns = core_mono_ns(here);
    bool done = false;
    if (__atomic_load_n(s->canceled, __ATOMIC_RELAXED))
        s->status = err_set(&s->err, ERR_CANCELED, 0, "query was canceled in query execution");
    if (s->status == OK && s->selection == NULL) s->status = selected_begin(s);
    if (s->status == OK)
        s->status = select_step(s->selection, began_ns + SELECT_SLICE_NS, &done, &s->err);
    s->spent_ns += core_mono_ns(here) - began_ns;
    if (s->status == OK && !done) {
        core_post(here, &s->msg);
        return;
    }
    if (done) s->views = selection_series(s->selection, &s->count);
    s->done(s);
}

void selected_start(struct selected *s) {
    assert(core_is_current(s->core) && s->selection == NULL);
    s->status = OK;
    s->count = 0;
    s->spent_ns = 0;
    s->msg.run = selected_slice;
    selected_slice(s->core, &s->msg);
}

void selected_release(struct selected *s) {
    if (s->selection != NULL) selection_release(s->selection);
    s->selection = NULL;
    s->views = NULL;
    s->count = 0;
}

size_t selected_labels(const struct selected *s, size_t index, struct label *out, size_t max) {
    return series_view_labels(&s->views[index], out, max);
}

series_id selected_id(const struct selected *s, size_t index) {
    return s->views[index].id;
}

/* Read in the order of indexes, a view's memory has been asked for before it is needed. */
enum status selected_read(const struct selected *s, size_t index, int64_t from_ms, int64_t to_ms,
                          struct samples *out, struct err *err) {
    const struct series_view *v = &s->views[index];
    if (index % SERIES_TOUCH_MAX == 0)
        series_views_touch(v, MIN(s->count - index, (size_t)SERIES_TOUCH_MAX), from_ms);
    return series_view_read(v, from_ms, to_ms, out, err);
}

enum status selected_newest(const struct selected *s, size_t index, int64_t from_ms, int64_t to_ms,
                            struct samples *out, struct err *err) {
    return series_view_newest(&s->views[index], from_ms, to_ms, out, err);
}

void selected_names_start(struct selected_names *n) {
    assert(core_is_current(n->core));
    struct head *head = head_of(n->core);
    if (n->label.ptr == NULL)
        n->status = head_label_names(head, &n->query, n->arena, &n->found, &n->count, &n->err);
    else
        n->status =
            head_label_values(head, n->label, &n->query, n->arena, &n->found, &n->count, &n->err);
    n->done(n);
}
