/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/selected.h"

#include <assert.h>

#include "node/base/cancel.h"

/* Selecting looks at every matcher for every candidate, between two looks at the clock, and keeps a
 * set for each: ERR_LIMIT beyond what a person or a dashboard writes. */
enum { SELECTOR_MATCHERS_MAX = 1000 };

static struct store *store_of(const struct core *core) {
    return core->locals[CORE_STORE];
}

static enum status selected_begin(struct selected *s) {
    size_t count = s->query.matchers_count;
    if (count > SELECTOR_MATCHERS_MAX)
        return err_set(&s->err, ERR_LIMIT, 0, "a selector has %zu matchers, at most %d are allowed",
                       count, SELECTOR_MATCHERS_MAX);
    stored_init(&s->stored, store_of(s->core), &s->query);
    s->stored.canceled = s->canceled;
    s->stored.resolution_ms = s->resolution_ms;
    s->begun = true;
    return OK;
}

static void find_run(struct work *w) {
    struct selected *s = container_of(w, struct selected, work);
    uint64_t began_ns = core_mono_ns(s->core);
    s->status = stored_find(&s->stored, &s->err);
    s->spent_ns += core_mono_ns(s->core) - began_ns;
}

static void find_ran(struct core *here, struct work *w) {
    (void)here;
    struct selected *s = container_of(w, struct selected, work);
    if (s->status == OK) s->count = s->stored.count;
    s->done(s);
}

/* One slice: at most a millisecond of the core, then back to the end of its mailbox. */
static void selected_slice(struct core *here, struct msg *m) {
    struct selected *s = container_of(m, struct selected, msg);
    assert(here == s->core);
    uint64_t began_ns = core_mono_ns(here);
    bool done = false;
    if (cancel_is_set(s->canceled))
        s->status = err_set(&s->err, ERR_CANCELED, 0, "query was canceled in query execution");
    if (s->status == OK && !s->begun) s->status = selected_begin(s);
    if (s->status == OK)
        s->status = stored_select(&s->stored, began_ns + SELECT_SLICE_NS, &done, &s->err);
    s->spent_ns += core_mono_ns(here) - began_ns;
    if (s->status == OK && !done) {
        core_post(here, &s->msg);
        return;
    }
    if (done && s->status == OK && stored_needs_disk(&s->stored)) {
        s->work = (struct work){.run = find_run, .done = find_ran};
        work_submit(here, &s->work);
        return;
    }
    if (done && s->status == OK) s->count = s->stored.count;
    s->done(s);
}

void selected_start(struct selected *s) {
    assert(core_is_current(s->core) && !s->begun);
    s->status = OK;
    s->count = 0;
    s->spent_ns = 0;
    s->msg.run = selected_slice;
    selected_slice(s->core, &s->msg);
}

void selected_release(struct selected *s) {
    if (s->begun) stored_release(&s->stored);
    s->begun = false;
    s->count = 0;
}

bool selected_reads_disk(const struct selected *s) {
    return stored_needs_disk(&s->stored);
}

uint64_t selected_samples(const struct selected *s, uint64_t most) {
    return stored_needs_disk(&s->stored) ? most : stored_samples(&s->stored, most);
}

size_t selected_labels(const struct selected *s, size_t index, struct label *out, size_t max) {
    return stored_labels(&s->stored, index, out, max);
}

size_t selected_labels_asked(const struct selected *s, size_t index, struct labels_asked *asked,
                             struct label *out, size_t max) {
    return stored_labels_asked(&s->stored, index, asked, out, max);
}

series_id selected_id(const struct selected *s, size_t index) {
    return stored_id(&s->stored, index);
}

enum status selected_read(const struct selected *s, size_t index, int64_t from_ms, int64_t to_ms,
                          struct samples *out, struct err *err) {
    return stored_read(&s->stored, index, from_ms, to_ms, out, err);
}

enum status selected_newest(const struct selected *s, size_t index, int64_t from_ms, int64_t to_ms,
                            struct samples *out, struct err *err) {
    return stored_newest(&s->stored, index, from_ms, to_ms, out, err);
}

enum status selected_read_rows(const struct selected *s, size_t index,
                               const struct block_columns *wanted, struct downsample_rows *out,
                               struct err *err) {
    return stored_read_rows(&s->stored, index, wanted, out, err);
}

void selected_ended(const struct selected *s, size_t index, struct ended *out) {
    stored_ended(&s->stored, index, out);
}

enum status selected_read_ended(const struct selected *s, size_t index,
                                const struct block_columns *wanted, struct downsample_rows *out,
                                struct err *err) {
    return stored_read_ended_rows(&s->stored, index, wanted, out, err);
}

/* -- names */

static void names_done(struct selected_names *n) {
    stored_release(&n->stored);
    n->done(n);
}

static void names_run(struct work *w) {
    struct selected_names *n = container_of(w, struct selected_names, work);
    n->status = stored_names_find(&n->stored, n->label, n->arena, &n->found, &n->count, &n->err);
}

static void names_ran(struct core *here, struct work *w) {
    (void)here;
    names_done(container_of(w, struct selected_names, work));
}

void selected_names_start(struct selected_names *n) {
    assert(core_is_current(n->core));
    stored_init(&n->stored, store_of(n->core), &n->query);
    n->status = stored_names(&n->stored, n->label, n->arena, &n->found, &n->count, &n->err);
    if (n->status != OK || !stored_needs_disk(&n->stored)) {
        names_done(n);
        return;
    }
    n->work = (struct work){.run = names_run, .done = names_ran};
    work_submit(n->core, &n->work);
}

void selected_names_release(struct selected_names *n) {
    stored_release(&n->stored);
}
