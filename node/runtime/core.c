/* SPDX-License-Identifier: Apache-2.0 */
#include "node/runtime/core.h"

#include <assert.h>
#include <stdlib.h>

static _Thread_local struct core *core_of_thread;

struct core *core_current(void) {
    return core_of_thread;
}

bool core_is_current(const struct core *core) {
    return core_of_thread == core;
}

void core_set_current(struct core *core) {
    core_of_thread = core;
}

void core_init(struct core *core, struct runtime *rt, unsigned index) {
    assert(rt != NULL);
    *core = (struct core){.rt = rt, .index = index};
    heap_init(&core->timers);
}

void core_fini(struct core *core) {
    assert(heap_peek(&core->timers) == NULL);
    heap_fini(&core->timers);
}

void timer_init(struct timer *t, struct core *core, void (*fire)(struct timer *t)) {
    assert(core != NULL && fire != NULL);
    heap_node_init(&t->node);
    t->core = core;
    t->fire = fire;
}

/* 0 means "none" to the loops, so a due time is at least 1 (the simulator's clock starts at 0). */
static uint64_t timer_due_ns(const struct core *core, uint64_t delay_ms) {
    uint64_t delay_ns, due_ns;
    if (__builtin_mul_overflow(delay_ms, UINT64_C(1000000), &delay_ns)) return UINT64_MAX;
    if (__builtin_add_overflow(core_mono_ns(core), delay_ns, &due_ns)) return UINT64_MAX;
    return MAX(due_ns, UINT64_C(1));
}

static uint64_t core_earliest_ns(const struct core *core) {
    const struct heap_node *first = heap_peek(&core->timers);
    return first == NULL ? 0 : first->key;
}

void timer_start(struct timer *t, uint64_t delay_ms) {
    struct core *core = t->core;
    assert(core_is_current(core));
    uint64_t earliest_ns = core_earliest_ns(core);
    if (heap_contains(&t->node)) heap_remove(&core->timers, &t->node);
    /* A pointer's worth of memory: without it no deadline of the core can be kept any more. */
    if (heap_push(&core->timers, &t->node, timer_due_ns(core, delay_ms)) != OK) abort();
    if (core_earliest_ns(core) != earliest_ns) core->rt->ops->timer_changed(core);
}

void timer_stop(struct timer *t) {
    struct core *core = t->core;
    assert(core_is_current(core));
    if (!heap_contains(&t->node)) return;
    uint64_t earliest_ns = core_earliest_ns(core);
    heap_remove(&core->timers, &t->node);
    if (core_earliest_ns(core) != earliest_ns) core->rt->ops->timer_changed(core);
}

bool timer_is_armed(const struct timer *t) {
    return heap_contains(&t->node);
}

/* What fire arms again with no delay waits for the next call even when the clock stands still, as
 * it does in the simulator: such a timer is due at now_ns at the earliest and entered the heap
 * last, so it is behind all that were due before. */
uint64_t core_timers_run(struct core *core, uint64_t now_ns) {
    assert(core_is_current(core));
    const uint64_t tie_end = core->timers.next_tie;
    for (;;) {
        struct heap_node *first = heap_peek(&core->timers);
        if (first == NULL) return 0;
        if (first->key > now_ns || first->tie >= tie_end) return first->key;
        heap_remove(&core->timers, first);
        struct timer *t = container_of(first, struct timer, node);
        t->fire(t);
    }
}

void work_submit(struct core *home, struct work *w) {
    assert(core_is_current(home));
    assert(w->run != NULL && w->done != NULL);
    w->home = home;
    home->rt->ops->submit(home->rt, w);
}
