/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/retention.h"

#include <stdlib.h>

#include "node/base/buf.h"
#include "node/base/refs.h"
#include "storage/entry.h"

struct making {
    const struct retention_rule *rules;
    struct retention *out;
    struct matcher picked[ENTRY_DELETE_MATCHERS_MAX];
    size_t picked_count;
    int64_t time_ms;
    struct err *err;
};

/* 0 is for ever. */
static bool is_longer(int64_t a_ms, int64_t b_ms) {
    return b_ms != 0 && (a_ms == 0 || a_ms > b_ms);
}

static enum match_kind negated(enum match_kind kind) {
    switch (kind) {
    case MATCH_EQ: return MATCH_NEQ;
    case MATCH_NEQ: return MATCH_EQ;
    case MATCH_RE: return MATCH_NRE;
    case MATCH_NRE: break;
    }
    return MATCH_RE;
}

static enum status delete_put(struct making *m) {
    struct retention *r = m->out;
    struct buf bytes = {0};
    if (r->deletes_count == RETENTION_DELETES_MAX) return ERR_LIMIT;
    entry_matchers_put(m->picked, m->picked_count, &bytes);
    if (bytes.failed) {
        buf_fini(&bytes);
        return err_set(m->err, ERR_NOMEM, 0, "retention: not enough memory");
    }
    r->deletes[r->deletes_count++] = (struct retention_delete){buf_sv(&bytes), m->time_ms};
    return OK;
}

/* One DELETE for each choice of one matcher, negated, of every rule before `before` that keeps for
 * longer. Depth: bounded by the matchers of a DELETE. */
static enum status deletes_put(struct making *m, size_t from, size_t before) {
    while (from < before && !is_longer(m->rules[from].time_ms, m->time_ms))
        from++;
    if (from == before) return delete_put(m);
    if (m->picked_count == ENTRY_DELETE_MATCHERS_MAX) return ERR_LIMIT;
    const struct retention_rule *rule = &m->rules[from];
    for (size_t i = 0; i < rule->matchers_count; i++) {
        m->picked[m->picked_count] = rule->matchers[i];
        m->picked[m->picked_count].kind = negated(rule->matchers[i].kind);
        m->picked_count++;
        TRY(deletes_put(m, from + 1, before));
        m->picked_count--;
    }
    return OK;
}

static enum status rule_put(struct making *m, size_t index) {
    const struct retention_rule *rule = &m->rules[index];
    m->time_ms = rule->time_ms;
    m->picked_count = 0;
    if (!is_longer(m->out->longest_ms, rule->time_ms)) return OK;
    if (rule->matchers_count > ENTRY_DELETE_MATCHERS_MAX) return ERR_LIMIT;
    for (size_t i = 0; i < rule->matchers_count; i++)
        m->picked[m->picked_count++] = rule->matchers[i];
    return deletes_put(m, 0, index);
}

static enum status making_run(struct making *m, int64_t general_ms, size_t rules_count) {
    struct retention *r = m->out;
    for (size_t i = 0; i < rules_count; i++)
        if (is_longer(m->rules[i].time_ms, r->longest_ms)) r->longest_ms = m->rules[i].time_ms;
    for (size_t i = 0; i < rules_count; i++) {
        enum status status = rule_put(m, i);
        if (status == ERR_LIMIT)
            return err_set(m->err, ERR_LIMIT, 0,
                           "rule %zu: longer rules before it have so many matchers that more than "
                           "%d kinds of deletions are needed",
                           i + 1, RETENTION_DELETES_MAX);
        if (status != OK) return status;
    }
    if (!is_longer(r->longest_ms, general_ms)) return OK;
    m->time_ms = general_ms;
    m->picked_count = 0;
    enum status status = deletes_put(m, 0, rules_count);
    if (status != ERR_LIMIT) return status;
    return err_set(
        m->err, ERR_LIMIT, 0,
        "the rules have so many matchers that more than %d kinds of deletions are needed",
        RETENTION_DELETES_MAX);
}

enum status retention_new(int64_t general_ms, const struct retention_rule *rules,
                          size_t rules_count, struct retention **out, struct err *err) {
    static uint64_t last_id;
    struct retention *r = calloc(1, sizeof *r);
    if (r != NULL) r->deletes = calloc(RETENTION_DELETES_MAX, sizeof *r->deletes);
    struct making *m = calloc(1, sizeof *m);
    if (m == NULL || r == NULL || r->deletes == NULL) {
        free(m);
        if (r != NULL) free(r->deletes);
        free(r);
        return err_set(err, ERR_NOMEM, 0, "retention: not enough memory");
    }
    r->refs = 1;
    r->longest_ms = general_ms;
    /* relaxed: only that they differ counts */
    r->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    m->rules = rules;
    m->out = r;
    m->err = err;
    enum status status = making_run(m, general_ms, rules_count);
    free(m);
    if (status == OK)
        *out = r;
    else
        retention_unref(r);
    return status;
}

/* What is as long as the series is no bound. */
static int64_t sooner(const struct retention *r, int64_t time_ms) {
    return is_longer(r->longest_ms, time_ms) ? time_ms : 0;
}

void retention_set_resolutions(struct retention *r, const struct retention_by_resolution *by) {
    if (is_longer(r->longest_ms, by->coarse_ms) && by->coarse_ms != 0)
        r->longest_ms = by->coarse_ms;
    r->raw_ms = sooner(r, by->raw_ms);
    r->fine_ms = sooner(r, by->fine_ms);
    r->has_fine = by->has_fine;
    r->has_coarse = by->has_coarse;
}

struct retention *retention_ref(struct retention *r) {
    refs_inc(&r->refs);
    return r;
}

void retention_unref(struct retention *r) {
    if (r == NULL || !refs_dec(&r->refs)) return;
    for (size_t i = 0; i < r->deletes_count; i++)
        free((char *)(uintptr_t)r->deletes[i].matchers.ptr);
    free(r->deletes);
    free(r);
}
