/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of core.c on a clock that stands still, as the simulator drives them. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "node/base/rng.h"
#include "node/runtime/core.h"

static uint64_t clock_ns;
static unsigned changed_count;
static unsigned submitted_count;

static uint64_t fake_mono_ns(struct runtime *rt) {
    (void)rt;
    return clock_ns;
}
static void fake_timer_changed(struct core *core) {
    (void)core;
    changed_count++;
}
static void fake_submit(struct runtime *rt, struct work *w) {
    cr_assert(w->home == rt->cores[0]);
    submitted_count++;
}
static const struct runtime_ops fake_ops = {
    .mono_ns = fake_mono_ns, .timer_changed = fake_timer_changed, .submit = fake_submit};

static struct core core;
static struct core *cores[] = {&core};
static struct runtime rt = {.ops = &fake_ops, .cores = cores, .cores_count = 1};

static void setup(void) {
    core_init(&core, &rt, 0);
    core_set_current(&core);
}
static void teardown(void) {
    core_fini(&core);
    core_set_current(NULL);
}
TestSuite(timer, .init = setup, .fini = teardown);

enum { MS = 1000000 };
static struct timer timers[4];
static char order[64];
static size_t order_len;
static void note(struct timer *t) {
    order[order_len++] = (char)('0' + (t - timers));
}
static void init_all(void (*fire)(struct timer *t)) {
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        timer_init(&timers[i], &core, fire);
}

Test(timer, equal_times_fire_in_the_order_of_starting) {
    init_all(note);
    timer_start(&timers[2], 5);
    timer_start(&timers[0], 5);
    timer_start(&timers[3], 4);
    timer_start(&timers[1], 5);
    timer_start(&timers[2], 5); /* re-armed: last of the four now */
    cr_assert(core_timers_run(&core, 5 * MS - 1) == 5 * MS);
    cr_assert_str_eq(order, "3");
    cr_assert(core_timers_run(&core, 5 * MS) == 0);
    cr_assert_str_eq(order, "3012");
}

static void rearm(struct timer *t) {
    note(t);
    cr_assert(!timer_is_armed(t));
    timer_start(t, 0);
}

Test(timer, zero_delay_inside_fire_waits_for_the_next_run) {
    init_all(note);
    timers[1].fire = rearm;
    timer_start(&timers[0], 0);
    timer_start(&timers[1], 0);
    timer_start(&timers[2], 0);
    uint64_t next = core_timers_run(&core, clock_ns + 1);
    cr_assert_str_eq(order, "012");
    cr_assert(next != 0 && next <= 1, "the earliest due time, never the 0 that means none");
    core_timers_run(&core, clock_ns + 1);
    cr_assert_str_eq(order, "0121");
    timer_stop(&timers[1]);
    cr_assert(core_timers_run(&core, UINT64_MAX) == 0);
}

static void stop_all(struct timer *t) {
    note(t);
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        timer_stop(&timers[i]);
}

Test(timer, stopped_inside_fire_does_not_fire) {
    init_all(stop_all);
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++)
        timer_start(&timers[i], 1);
    cr_assert(core_timers_run(&core, 10 * MS) == 0);
    cr_assert_str_eq(order, "0");
}

Test(timer, loop_is_told_only_when_the_earliest_changes) {
    init_all(note);
    timer_start(&timers[0], 10);
    cr_assert(changed_count == 1);
    timer_start(&timers[1], 20);
    timer_start(&timers[1], 30);
    timer_stop(&timers[1]);
    timer_stop(&timers[1]);
    cr_assert(changed_count == 1);
    timer_start(&timers[2], 5);
    cr_assert(changed_count == 2);
    timer_stop(&timers[2]);
    cr_assert(changed_count == 3);
    timer_start(&timers[0], 10); /* same time */
    cr_assert(changed_count == 3);
    timer_stop(&timers[0]);
    cr_assert(changed_count == 4);
}

Test(timer, far_delays_do_not_wrap) {
    init_all(note);
    clock_ns = UINT64_C(1) << 60;
    timer_start(&timers[0], UINT64_MAX);
    timer_start(&timers[1], UINT64_MAX / MS);
    timer_start(&timers[2], 1);
    cr_assert(core_timers_run(&core, clock_ns + MS) == UINT64_MAX);
    cr_assert_str_eq(order, "2");
    timer_stop(&timers[0]);
    timer_stop(&timers[1]);
}

/* Against the obvious model: an array of due times, searched for the smallest. */
enum { MODEL_TIMERS = 50, MODEL_STEPS = 20000 };
static struct timer model_timers[MODEL_TIMERS];
static uint64_t model_due[MODEL_TIMERS], model_tie[MODEL_TIMERS]; /* due 0: not armed */
static uint64_t model_next_tie, model_now;
static unsigned model_fired;

static void model_start(size_t i, uint64_t delay_ms) {
    timer_start(&model_timers[i], delay_ms);
    model_due[i] = clock_ns + delay_ms * MS;
    model_tie[i] = model_next_tie++;
}
static void model_fire(struct timer *t) {
    size_t i = (size_t)(t - model_timers);
    cr_assert(model_due[i] != 0 && model_due[i] <= model_now, "timer %zu fired early", i);
    for (size_t k = 0; k < MODEL_TIMERS; k++) {
        bool before = model_due[k] < model_due[i] ||
                      (model_due[k] == model_due[i] && model_tie[k] < model_tie[i]);
        cr_assert(model_due[k] == 0 || !before, "timer %zu was due before %zu", k, i);
    }
    model_due[i] = 0;
    model_fired++;
}

Test(timer, random_starts_and_stops_follow_the_model) {
    const uint64_t seed = 20250611;
    cr_log_info("seed %llu", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    clock_ns = 1;
    for (size_t i = 0; i < MODEL_TIMERS; i++)
        timer_init(&model_timers[i], &core, model_fire);
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        size_t i = rng_below(&r, MODEL_TIMERS);
        uint64_t what = rng_below(&r, 10);
        if (what < 6) {
            model_start(i, rng_below(&r, 40));
        } else if (what < 8) {
            timer_stop(&model_timers[i]);
            model_due[i] = 0;
        } else {
            clock_ns += rng_below(&r, 10) * MS;
            model_now = clock_ns;
            uint64_t next = core_timers_run(&core, clock_ns), want = 0;
            for (size_t k = 0; k < MODEL_TIMERS; k++)
                if (model_due[k] != 0 && (want == 0 || model_due[k] < want)) want = model_due[k];
            cr_assert(next == want && (want == 0 || want > clock_ns), "step %u", step);
        }
        cr_assert(timer_is_armed(&model_timers[i]) == (model_due[i] != 0));
    }
    cr_assert(model_fired > 1000, "%u fired", model_fired);
    model_now = UINT64_MAX;
    core_timers_run(&core, UINT64_MAX);
}

static void work_nothing(struct work *w) {
    (void)w;
}
static void work_nothing_done(struct core *here, struct work *w) {
    (void)here;
    (void)w;
}

Test(timer, work_is_given_to_the_runtime_with_its_home) {
    struct work w = {.run = work_nothing, .done = work_nothing_done};
    work_submit(&core, &w);
    cr_assert(submitted_count == 1 && w.home == &core);
}
