/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/loop.c: cores as threads with libuv loops.
 *
 * Mailbox: senders push onto `inbox` (newest first) with one compare-and-swap; the push that finds
 * it empty wakes the loop if that sleeps. The core takes the whole inbox with one exchange, turns
 * it round (oldest first, so each sender's order is kept) and runs messages for LOOP_DRAIN_NS in
 * each turn, after its sockets; what is left then waits for the next turn. It says that it sleeps
 * as the last thing before it polls, and looks at the inbox once more behind that: so a core that
 * posts to itself, or is posted to while it works, costs no system call. Timers: one uv_timer
 * stands for the earliest timer of the core's heap. It is only ever moved forward; one that comes
 * too early because its timer was stopped finds nothing due and is set anew. */
#include "node/runtime/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "node/runtime/internal.h"

enum {
    LOOP_DRAIN_NS = 1000000,
    LOOP_DRAIN_CHECK =
        8, /* messages between two looks at the clock, which costs as much as a small message */
    BEAT_MS = 10,
    BEATS_SAMPLED = 10, /* of so many one is a timer */
    SAMPLE_MS = 97,     /* about as many beats; in step with no other timer */
};

/* ---- loop lag ---- */

/* How late a timer would be that is due every BEAT_MS. Most of these beats are no timers, which
 * would wake an idle core a hundred times a second: one of BEATS_SAMPLED is, and stands for all of
 * them unless a stall held it up; and a turn of the loop that is longer than a beat counts the
 * beats in it, wherever the next timer is. */

static void loop_start_heartbeat(struct loop_core *lc) {
    lc->heartbeat_due_ns = uv_hrtime() + SAMPLE_MS * UINT64_C(1000000);
    timer_start(&lc->heartbeat, SAMPLE_MS);
}

/* A stall hides the beats it covers, so each missed one counts with the lateness it would have had:
 * the histogram then holds what an event at any moment would have met ("coordinated omission",
 * Tene). */
static void loop_observe_lag(struct loop_core *lc, uint64_t lag_ns) {
    const uint64_t period_ns = BEAT_MS * UINT64_C(1000000);
    unsigned times = lag_ns < period_ns ? BEATS_SAMPLED : 1;
    for (unsigned i = 0; i < times; i++)
        metric_observe(lc->lag_seconds, (double)lag_ns * 1e-9);
    /* 1000: beyond 10 s it is the machine that stood still, not the loop */
    for (unsigned missed = 1; missed < 1000 && lag_ns >= period_ns; missed++) {
        lag_ns -= period_ns;
        metric_observe(lc->lag_seconds, (double)lag_ns * 1e-9);
    }
}

/* The time of waking, which the loop knows in milliseconds until it is asked to look anew. */
static void loop_turn_began(struct loop_core *lc) {
    if (lc->turn_ns == 0) lc->turn_ns = uv_now(&lc->loop) * UINT64_C(1000000);
}

/* When the turn has been a stall so far: how late its first beat would be, which is somewhere in
 * its first BEAT_MS. */
static uint64_t loop_turn_lag(const struct loop_core *lc, uint64_t now_ns) {
    const uint64_t period_ns = BEAT_MS * UINT64_C(1000000);
    uint64_t long_ns = lc->turn_ns != 0 && lc->turn_ns < now_ns ? now_ns - lc->turn_ns : 0;
    return long_ns >= period_ns ? long_ns - period_ns / 2 : 0;
}

static void loop_turn_ends(struct loop_core *lc) {
    bool measured = lc->lag_seconds != NULL && !lc->stopping;
    uint64_t lag_ns = measured ? loop_turn_lag(lc, uv_hrtime()) : 0;
    if (lag_ns > 0) {
        loop_observe_lag(lc, lag_ns);
        loop_start_heartbeat(lc);
    }
    lc->turn_ns = 0;
}

void loop_on_heartbeat(struct timer *t) {
    struct loop_core *lc = container_of(t, struct loop_core, heartbeat);
    uint64_t now_ns = uv_hrtime();
    uint64_t late_ns = now_ns > lc->heartbeat_due_ns ? now_ns - lc->heartbeat_due_ns : 0;
    uint64_t turn_ns = loop_turn_lag(lc, now_ns);
    loop_observe_lag(lc, MAX(late_ns, turn_ns));
    lc->turn_ns = now_ns; /* counted */
    loop_start_heartbeat(lc);
}

/* ---- mailbox ---- */

static void loop_wake(struct loop_core *lc) {
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(lc->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    assert(n == sizeof one); /* it could only block after 2^64 - 2 of them */
}

static void loop_post(struct core *to, struct msg *m) {
    assert(m->run != NULL);
    struct loop_core *lc = loop_core_of(to);
    struct msg *head = atomic_load_explicit(&lc->inbox, memory_order_relaxed);
    do {
        m->next = head;
        /* a release, too: the receiver, which acquires the inbox, sees all that the sender wrote
         * into the message */
    } while (!atomic_compare_exchange_weak_explicit(&lc->inbox, &head, m, memory_order_seq_cst,
                                                    memory_order_relaxed));
    if (head != NULL) return;        /* whoever found it empty has woken or will wake the core */
    if (core_is_current(to)) return; /* it looks before it sleeps */
    /* seq_cst, here and in loop_on_prepare: of "the inbox is not empty" and "the core sleeps", each
     * written by one side and then the other's read, at least one side sees both */
    if (atomic_load_explicit(&lc->asleep, memory_order_seq_cst)) loop_wake(lc);
}

static struct msg *inbox_take(struct loop_core *lc) {
    if (atomic_load_explicit(&lc->inbox, memory_order_relaxed) == NULL) return NULL;
    struct msg *m = atomic_exchange_explicit(&lc->inbox, NULL, memory_order_acquire);
    struct msg *oldest_first = NULL;
    while (m != NULL) {
        struct msg *next = m->next;
        m->next = oldest_first;
        oldest_first = m;
        m = next;
    }
    return oldest_first;
}

bool loop_run_next(struct loop_core *lc) {
    if (lc->pending == NULL) lc->pending = inbox_take(lc);
    struct msg *m = lc->pending;
    if (m == NULL) return false;
    lc->pending = m->next;
    m->run(&lc->core, m); /* m may be gone */
    return true;
}

/* relaxed: a sender that still sees it asleep wakes it once too often */
static void loop_is_up(struct loop_core *lc) {
    atomic_store_explicit(&lc->asleep, false, memory_order_relaxed);
}

void loop_on_wake(uv_poll_t *wake, int status, int events) {
    (void)status, (void)events;
    struct loop_core *lc = container_of(wake, struct loop_core, wake);
    uint64_t wakes;
    ssize_t got = read(lc->wake_fd, &wakes, sizeof wakes);
    assert(got == sizeof wakes || errno == EAGAIN || errno == EINTR);
    loop_is_up(lc);
}

/* The first handle of its kind to be started, so that it runs behind all others. */
void loop_on_prepare(uv_prepare_t *prepare) {
    struct loop_core *lc = container_of(prepare, struct loop_core, prepare);
    loop_turn_ends(lc);
    atomic_store_explicit(&lc->asleep, true, memory_order_seq_cst);
    if (lc->pending != NULL || atomic_load_explicit(&lc->inbox, memory_order_seq_cst) != NULL)
        loop_wake(lc);
}

void loop_on_check(uv_check_t *check) {
    struct loop_core *lc = container_of(check, struct loop_core, check);
    loop_is_up(lc);
    loop_turn_began(lc);
    if (!loop_run_next(lc)) return;
    const uint64_t end_ns = uv_hrtime() + LOOP_DRAIN_NS;
    unsigned n = 1;
    while (loop_run_next(lc))
        if (++n % LOOP_DRAIN_CHECK == 0 && uv_hrtime() >= end_ns) break;
}

/* ---- timers and clock ---- */

static void loop_on_timer(uv_timer_t *timer);

/* libuv counts in whole milliseconds of the same clock, so rounding the due time up never fires
 * early. */
static void loop_arm(struct loop_core *lc, uint64_t due_ns) {
    loop_turn_began(lc);
    uv_update_time(&lc->loop);
    uint64_t due_ms = due_ns / 1000000 + (due_ns % 1000000 != 0);
    uint64_t now_ms = uv_now(&lc->loop);
    int rc = uv_timer_start(&lc->timer, loop_on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
    assert(rc == 0);
    lc->armed_ns = due_ns;
}

static void loop_on_timer(uv_timer_t *timer) {
    struct loop_core *lc = container_of(timer, struct loop_core, timer);
    lc->armed_ns = UINT64_MAX;
    lc->timers_running = true;
    /* A timer without delay that a timer started comes now, once; one that goes on so waits. */
    uint64_t next_ns = core_timers_run(&lc->core, uv_hrtime());
    if (next_ns != 0 && next_ns <= uv_hrtime()) next_ns = core_timers_run(&lc->core, uv_hrtime());
    lc->timers_running = false;
    if (next_ns != 0) loop_arm(lc, next_ns);
}

/* What is due already comes with the loop's next turn, not with the next millisecond: a query has
 * several timers without delay on its way. Not so for a timer armed by a timer (loop_on_timer),
 * which libuv would run without looking at a socket. */
static void loop_timer_changed(struct core *core) {
    struct loop_core *lc = loop_core_of(core);
    if (lc->timers_running) return;
    const struct heap_node *first = heap_peek(&core->timers);
    if (first != NULL && first->key < lc->armed_ns)
        loop_arm(lc, first->key <= uv_hrtime() ? 0 : first->key);
}

static int64_t loop_wall_ms(struct runtime *rt) {
    (void)rt;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_REALTIME, &ts);
    assert(rc == 0);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t loop_mono_ns(struct runtime *rt) {
    (void)rt;
    return uv_hrtime();
}

static void loop_submit(struct runtime *rt, struct work *w) {
    (void)rt;
    pool_submit(&loop_core_of(w->home)->works, w);
}

static void loop_random(struct runtime *rt, void *out, size_t len) {
    (void)rt;
    char *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0) {
            assert(errno == EINTR); /* the only failure of a good buffer */
            continue;
        }
        p += n;
        len -= (size_t)n;
    }
}

static void loop_nap(struct core *core, unsigned us) {
    assert(core_is_current(core) && us < 1000000);
    struct timespec left = {.tv_nsec = (long)us * 1000};
    while (nanosleep(&left, &left) != 0)
        assert(errno == EINTR);
}

struct each {
    pthread_t thread;
    void (*run)(void *ctx, unsigned i);
    void *ctx;
    unsigned i;
    bool started;
};

static void *each_main(void *arg) {
    const struct each *e = arg;
    e->run(e->ctx, e->i);
    return NULL;
}

/* The first one here; without a thread, the others too. */
static void loop_each(struct runtime *rt, unsigned count, void (*run)(void *ctx, unsigned i),
                      void *ctx) {
    (void)rt;
    struct each *all = count > 1 ? calloc(count, sizeof *all) : NULL;
    for (unsigned i = 1; i < count && all != NULL; i++) {
        all[i] = (struct each){.run = run, .ctx = ctx, .i = i};
        all[i].started = pthread_create(&all[i].thread, NULL, each_main, &all[i]) == 0;
    }
    for (unsigned i = 0; i < count; i++)
        if (i == 0 || all == NULL || !all[i].started) run(ctx, i);
    for (unsigned i = 1; i < count && all != NULL; i++)
        if (all[i].started) pthread_join(all[i].thread, NULL);
    free(all);
}

const struct runtime_ops loop_ops = {
    .post = loop_post,
    .wall_ms = loop_wall_ms,
    .mono_ns = loop_mono_ns,
    .timer_changed = loop_timer_changed,
    .submit = loop_submit,
    .random = loop_random,
    .nap = loop_nap,
    .each = loop_each,
};

static void loop_measure_lag(struct core *here, void *ctx) {
    (void)ctx;
    static const double bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025,
                                    0.05,   0.1,   0.25,  0.5,   1};
    static const struct metric_def lag_def = {
        .name = "cairn_core_loop_lag_seconds",
        .help = "How late a timer of the core's event loop fires, looked at every 10 ms.",
        .kind = METRIC_HISTOGRAM,
        .bounds = bounds,
        .bounds_count = ARRAY_LEN(bounds),
    };
    struct loop_core *lc = loop_core_of(here);
    if (lc->lag_seconds != NULL) return;
    char labels[32];
    if (here == here->rt->control_core)
        snprintf(labels, sizeof labels, "core=\"control\"");
    else
        snprintf(labels, sizeof labels, "core=\"%u\"", here->index);
    lc->lag_seconds = metric_get(&lag_def, labels);
    loop_start_heartbeat(lc);
}

void loop_register_metrics(struct runtime *rt) {
    for (unsigned i = 0; i < rt->cores_count; i++)
        core_call(rt->cores[i], loop_measure_lag, NULL);
    core_call(rt->control_core, loop_measure_lag, NULL);
}

/* ---- threads ---- */

/* Slot 0 is shared by the threads without one. */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static bool slots_used[METRIC_SLOTS_MAX] = {true};

unsigned loop_thread_enter(const char *name) {
    pthread_setname_np(pthread_self(), name);
    unsigned slot = 1;
    pthread_mutex_lock(&slots_lock);
    while (slot < METRIC_SLOTS_MAX && slots_used[slot])
        slot++;
    if (slot < METRIC_SLOTS_MAX)
        slots_used[slot] = true;
    else
        slot = 0;
    pthread_mutex_unlock(&slots_lock);
    if (slot != 0) metrics_thread_init(slot);
    return slot;
}

void loop_thread_leave(unsigned slot) {
    if (slot == 0) return;
    pthread_mutex_lock(&slots_lock);
    slots_used[slot] = false;
    pthread_mutex_unlock(&slots_lock);
}

void *loop_main(void *arg) {
    struct loop_core *lc = arg;
    char name[16];
    if (&lc->core == lc->core.rt->log_core)
        snprintf(name, sizeof name, "log");
    else if (&lc->core == lc->core.rt->control_core)
        snprintf(name, sizeof name, "control");
    else
        snprintf(name, sizeof name, "core-%u", lc->core.index);
    unsigned slot = loop_thread_enter(name);
    core_set_current(&lc->core);
    if (lc->lag_seconds != NULL) loop_start_heartbeat(lc); /* the time of starting up is no lag */
    uv_run(&lc->loop, UV_RUN_DEFAULT);                     /* until uv_stop */
    core_set_current(NULL);
    loop_thread_leave(slot);
    return NULL;
}

struct call {
    struct msg msg;
    void (*fn)(struct core *here, void *ctx);
    void *ctx;
    sem_t done;
};

static void call_run(struct core *here, struct msg *m) {
    struct call *call = container_of(m, struct call, msg);
    call->fn(here, call->ctx);
    sem_post(&call->done);
}

void sem_wait_fully(sem_t *sem) {
    while (sem_wait(sem) != 0)
        assert(errno == EINTR);
}

/* Before the threads run and after they ended, the caller's thread is the core for the call. */
void core_call(struct core *core, void (*fn)(struct core *here, void *ctx), void *ctx) {
    if (loop_runtime_of(core->rt)->state != LOOP_RUNNING) {
        struct core *caller = core_current();
        core_set_current(core);
        fn(core, ctx);
        core_set_current(caller);
        return;
    }
    assert(core_current() == NULL);
    struct call call = {.msg.run = call_run, .fn = fn, .ctx = ctx};
    sem_init(&call.done, 0, 0);
    core_post(core, &call.msg);
    sem_wait_fully(&call.done);
    sem_destroy(&call.done);
}

uv_loop_t *core_uv_loop(struct core *core) {
    return &loop_core_of(core)->loop;
}
