/* SPDX-License-Identifier: Apache-2.0 */
/* What every evaluation carries: stop conditions, limits, errors. */
#include "query/engine/internal.h"

#include <stdlib.h>

#include "node/base/cancel.h"
#include "node/base/pressure.h"

static enum status fail_samples(struct eval *ev) {
    return err_set(ev->err, ERR_LIMIT, 0,
                   "query processing would load too many samples into memory in query execution");
}

static enum status fail_pressure(struct eval *ev) {
    return err_set(
        ev->err, ERR_LIMIT, 0,
        "query evaluation was ended: the memory of this node is full (--node.memory-limit)");
}

enum { TELL_SAMPLES = 4096, TELL_BYTES = 64 << 10 };

static bool has_moved(uint64_t now, uint64_t told, uint64_t by) {
    return (now > told ? now - told : told - now) >= by;
}

enum status eval_tell(struct eval *ev, bool anything) {
    struct query_control *c = ev->control;
    uint64_t bytes = ev->budget == NULL ? 0 : ev->budget->used_bytes;
    const struct query_params *limits = query_params(ev->q);
    if (c == NULL) return OK;
    if (has_moved(ev->held, ev->told_samples, anything ? 1 : TELL_SAMPLES)) {
        uint64_t change = ev->held - ev->told_samples; /* modulo 2^64: it may be less */
        uint64_t all = __atomic_add_fetch(&c->held_samples, change, __ATOMIC_RELAXED);
        ev->told_samples = ev->held;
        if (limits->samples_max != 0 && all > limits->samples_max) return fail_samples(ev);
    }
    if (has_moved(bytes, ev->told_bytes, anything ? 1 : TELL_BYTES)) {
        uint64_t change = bytes - ev->told_bytes;
        uint64_t all = __atomic_add_fetch(&c->held_bytes, change, __ATOMIC_RELAXED);
        ev->told_bytes = bytes;
        if (limits->memory_bytes_max != 0 && all > limits->memory_bytes_max) return eval_nomem(ev);
    }
    return OK;
}

void eval_tell_alone(struct eval *ev) {
    ev->told_samples = ev->told_bytes = 0;
    if (ev->control == NULL) return;
    __atomic_store_n(&ev->control->held_samples, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&ev->control->held_bytes, 0, __ATOMIC_RELAXED);
}

enum status eval_poll(struct eval *ev) {
    ev->work = 0;
    if (ev->note_status != OK) return eval_nomem(ev);
    struct query_control *c = ev->control;
    if (c == NULL) return OK;
    if (cancel_is_set(&c->canceled))
        return err_set(ev->err, ERR_CANCELED, 0, "query was canceled in expression evaluation");
    if (c->deadline_ns != 0 && c->mono_ns != NULL && c->mono_ns(c->ctx) >= c->deadline_ns)
        return err_set(ev->err, ERR_TIMEOUT, 0, "query timed out in expression evaluation");
    if (pressure_now() == PRESSURE_OVER || pressure_take_victim()) return fail_pressure(ev);
    return eval_tell(ev, false);
}

enum status eval_nomem(struct eval *ev) {
    if (pressure_now() == PRESSURE_OVER) return fail_pressure(ev);
    uint64_t max = query_params(ev->q)->memory_bytes_max;
    if (max == 0) return err_set(ev->err, ERR_NOMEM, 0, "query evaluation is out of memory");
    return err_set(ev->err, ERR_LIMIT, 0,
                   "query evaluation would use more than %llu bytes of memory",
                   (unsigned long long)max);
}

enum status eval_hold(struct eval *ev, uint64_t samples) {
    ev->held += samples;
    if (ev->held > ev->peak) ev->peak = ev->held;
    uint64_t max = query_params(ev->q)->samples_max;
    return max != 0 && ev->held > max ? fail_samples(ev) : OK;
}

void eval_release(struct eval *ev, uint64_t samples) {
    ev->held -= MIN(ev->held, samples);
}

enum status eval_unsupported(struct eval *ev, const char *what) {
    return err_set(ev->err, ERR_UNSUPPORTED, 0, "%s: native histograms are not evaluated", what);
}

bool eval_delayed_names(const struct eval *ev) {
    return (query_params(ev->q)->features & FEATURE_DELAYED_NAME_REMOVAL) != 0;
}

enum status fail_duplicate(struct eval *ev) {
    return err_set(ev->err, ERR_EXEC, 0, "vector cannot contain metrics with the same labelset");
}

struct vectors *eval_vectors_new(struct eval *ev, const struct grid *grid) {
    return vectors_new(grid, ev->budget);
}

void *eval_alloc(struct eval *ev, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || !budget_take(ev->budget, bytes)) return NULL;
    void *p = calloc(count, size);
    if (p == NULL) budget_give(ev->budget, bytes);
    return p;
}

void eval_free(struct eval *ev, void *ptr, size_t count, size_t size) {
    if (ptr != NULL) budget_give(ev->budget, count * size);
    free(ptr);
}

/* The old table is there until the new one is filled, so it is charged once more before. */
enum status map_insert_charged(struct map *map, struct budget *budget, const struct map_entry *e) {
    size_t before = map_memory_bytes(map);
    bool grows = map->left == 0;
    if (grows && !budget_take(budget, 2 * before)) return ERR_NOMEM;
    enum status st = map_insert(map, e->hash, e->ref, e->rehash, e->owner);
    if (grows) budget_give(budget, 2 * before);
    if (st == OK && !budget_take(budget, map_memory_bytes(map) - before)) return ERR_NOMEM;
    return st;
}

enum status vectors_ready(struct eval *ev, struct vectors *v) {
    uint64_t points;
    TRY(vectors_points(ev, v, &points));
    v->held_points = points;
    return eval_hold(ev, v->held_points);
}

void vectors_done(struct eval *ev, struct vectors *v) {
    if (v == NULL) return;
    eval_release(ev, v->held_points);
    vectors_free(v);
}
