/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/loop_life.c: making, starting and stopping the cores.
 *
 * Stop, each step after the one before has ended on every core:
 *
 *   1. net closes its listeners and connections; work under way comes home. The cores still run
 *      everything.
 *   2. The loops stop, the threads are joined. No handle is closed yet: a thread that posts may
 *      still be about to wake a core whose loop has stopped.
 *   3. Messages left in mailboxes run on the stopping thread; the pool ends.
 *   4. The loops' handles are closed; one that the layers above forgot is logged and closed without
 *      its callback. */
#include "node/runtime/loop.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/runtime/disk.h"
#include "node/runtime/internal.h"

enum {
    LOOP_CORES_EXTRA = 2,        /* log and control */
    STOP_MESSAGES_MAX = 1000000, /* flows that answer each other for ever must not hold the stop */
    STOP_CLOSE_MS = 2000,        /* for handles and requests that the layers above left behind */
};

/* ---- new ---- */

static void core_on_stop(struct core *here, struct msg *m) {
    (void)m;
    struct loop_core *lc = loop_core_of(here);
    lc->stopping = true;
    timer_stop(&lc->heartbeat);
    net_core_stop(lc->net);
    loop_check_quiet(lc);
}

static void core_on_halt(struct core *here, struct msg *m) {
    (void)m;
    uv_stop(&loop_core_of(here)->loop);
}

static void loop_core_free(struct loop_core *lc) {
    net_core_free(lc->net);
    core_fini(&lc->core);
    if (lc->wake_fd >= 0) close(lc->wake_fd);
    free(lc);
}

static enum status loop_core_new(struct loop_runtime *lr, unsigned index, struct err *err) {
    struct loop_core *lc = aligned_alloc(alignof(struct loop_core), sizeof *lc);
    if (lc == NULL) return err_set(err, ERR_NOMEM, 0, "runtime: no memory for core %u", index);
    memset(lc, 0, sizeof *lc);
    core_init(&lc->core, &lr->rt, index);
    timer_init(&lc->heartbeat, &lc->core, loop_on_heartbeat);
    atomic_init(&lc->inbox, NULL);
    atomic_init(&lc->asleep, false);
    lc->armed_ns = UINT64_MAX;
    lc->wake_fd = -1;
    lc->works.pool = lr->pool;
    lc->stop_msg.run = core_on_stop;
    lc->halt_msg.run = core_on_halt;
    enum status status;
    int rc = uv_loop_init(&lc->loop);
    if (rc < 0) {
        status = err_set(err, ERR_IO, -rc, "runtime: make the event loop of core %u", index);
        goto fail_loop;
    }
    uv_timer_init(&lc->loop, &lc->timer); /* these cannot fail */
    uv_prepare_init(&lc->loop, &lc->prepare);
    uv_prepare_start(&lc->prepare, loop_on_prepare);
    uv_check_init(&lc->loop, &lc->check);
    uv_check_start(&lc->check, loop_on_check);
    lc->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = lc->wake_fd < 0 ? -errno : uv_poll_init(&lc->loop, &lc->wake, lc->wake_fd);
    if (rc == 0) rc = uv_poll_start(&lc->wake, UV_READABLE, loop_on_wake);
    if (rc < 0) {
        status = err_set(err, ERR_IO, -rc, "runtime: make the mailbox of core %u", index);
        goto fail_async;
    }
    status = net_core_new(lc, err);
    if (status != OK) goto fail_net;
    lr->all[lr->all_count++] = lc;
    return OK;

fail_net:
    uv_close((uv_handle_t *)&lc->wake, NULL);
fail_async:
    uv_close((uv_handle_t *)&lc->timer, NULL);
    uv_close((uv_handle_t *)&lc->prepare, NULL);
    uv_close((uv_handle_t *)&lc->check, NULL);
    uv_run(&lc->loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&lc->loop);
    assert(rc == 0);
fail_loop:
    loop_core_free(lc);
    return status;
}

enum status loop_runtime_new(const struct loop_options *options, struct runtime **out,
                             struct err *err) {
    assert(options->cores_count >= 1 && options->workers_count >= 1);
    /* libuv writes to sockets without MSG_NOSIGNAL: a peer that is gone would end the process. */
    signal(SIGPIPE, SIG_IGN);
    struct loop_runtime *lr = calloc(1, sizeof *lr);
    if (lr == NULL) return err_set(err, ERR_NOMEM, 0, "runtime: no memory");
    sem_init(&lr->event, 0, 0);
    lr->rt.ops = &loop_ops;
    lr->rt.disk = disk_real();
    enum status status = ERR_NOMEM;
    lr->all = calloc(options->cores_count + LOOP_CORES_EXTRA, sizeof(struct loop_core *));
    lr->rt.cores = calloc(options->cores_count, sizeof(struct core *));
    if (lr->all == NULL || lr->rt.cores == NULL) {
        err_set(err, ERR_NOMEM, 0, "runtime: no memory for %u cores", options->cores_count);
        goto fail;
    }
    lr->rt.cores_count = options->cores_count;
    lr->pins = options->pins;
    status = pool_new(options->workers_count, &lr->pool, err);
    if (status != OK) goto fail;
    status = net_tcp_new(&lr->rt.net, err);
    if (status != OK) goto fail;
    for (unsigned i = 0; i < options->cores_count + LOOP_CORES_EXTRA; i++) {
        status = loop_core_new(lr, i, err);
        if (status != OK) goto fail;
        if (i < options->cores_count) lr->rt.cores[i] = &lr->all[i]->core;
    }
    lr->rt.log_core = &lr->all[options->cores_count]->core;
    lr->rt.control_core = &lr->all[options->cores_count + 1]->core;
    *out = &lr->rt;
    return OK;

fail:
    loop_runtime_stop(&lr->rt);
    loop_runtime_free(&lr->rt);
    return status;
}

/* Where it cannot be done the kernel places them, as ever. */
static void cores_pin(struct loop_runtime *lr) {
    cpu_set_t all, one;
    unsigned count = lr->rt.cores_count;
    if (!lr->pins || count < 2 || sched_getaffinity(0, sizeof all, &all) != 0 ||
        CPU_COUNT(&all) != (int)count)
        return;
    for (unsigned cpu = 0, i = 0; i < count && cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(lr->all[i++]->thread, sizeof one, &one);
    }
}

enum status loop_runtime_start(struct runtime *rt, struct err *err) {
    struct loop_runtime *lr = loop_runtime_of(rt);
    assert(lr->state == LOOP_NEW);
    TRY(pool_start(lr->pool, err));
    core_set_current(NULL);
    for (unsigned i = 0; i < lr->all_count; i++) {
        int rc = pthread_create(&lr->all[i]->thread, NULL, loop_main, lr->all[i]);
        if (rc == 0) continue;
        for (unsigned k = 0; k < i; k++) {
            core_post(&lr->all[k]->core, &lr->all[k]->halt_msg);
            pthread_join(lr->all[k]->thread, NULL);
        }
        return err_set(err, ERR_IO, rc, "runtime: start the thread of core %u", i);
    }
    cores_pin(lr);
    lr->state = LOOP_RUNNING;
    return OK;
}

/* ---- stop ---- */

void loop_check_quiet(struct loop_core *lc) {
    if (!lc->stopping || lc->quiet || !lc->net_stopped || lc->works.unfinished > 0) return;
    lc->quiet = true;
    sem_post(&loop_runtime_of(lc->core.rt)->event);
}

/* Without threads: one core after the other on this one. */
static void stop_inline(struct loop_runtime *lr) {
    pool_stop(lr->pool);
    for (unsigned i = 0; i < lr->all_count; i++) {
        struct loop_core *lc = lr->all[i];
        core_set_current(&lc->core);
        core_on_stop(&lc->core, &lc->stop_msg);
        while (!lc->quiet) {
            pool_run_queued(lr->pool);
            uv_run(&lc->loop, UV_RUN_ONCE);
        }
    }
    core_set_current(NULL);
}

static void stop_threads(struct loop_runtime *lr) {
    for (unsigned i = 0; i < lr->all_count; i++)
        core_post(&lr->all[i]->core, &lr->all[i]->stop_msg);
    for (unsigned i = 0; i < lr->all_count; i++)
        sem_wait_fully(&lr->event);
    for (unsigned i = 0; i < lr->all_count; i++)
        core_post(&lr->all[i]->core, &lr->all[i]->halt_msg);
    for (unsigned i = 0; i < lr->all_count; i++)
        pthread_join(lr->all[i]->thread, NULL);
    pool_stop(lr->pool);
}

static void drain_mailboxes(struct loop_runtime *lr) {
    unsigned left = STOP_MESSAGES_MAX;
    for (bool more = true; more && left > 0;) {
        more = false;
        for (unsigned i = 0; i < lr->all_count; i++) {
            core_set_current(&lr->all[i]->core);
            for (; left > 0 && loop_run_next(lr->all[i]); left--)
                more = true;
        }
        core_set_current(NULL);
        pool_run_queued(lr->pool);
    }
    if (left == 0) log_warn("messages were still being sent when the runtime stopped");
}

static void close_forgotten(uv_handle_t *handle, void *ctx) {
    if (uv_is_closing(handle)) return;
    const struct loop_core *lc = ctx;
    if (handle != (const uv_handle_t *)&lc->timer && handle != (const uv_handle_t *)&lc->wake &&
        handle != (const uv_handle_t *)&lc->prepare && handle != (const uv_handle_t *)&lc->check)
        log_warn("a handle was still open when the runtime stopped", "type",
                 uv_handle_type_name(handle->type));
    uv_close(handle, NULL);
}

/* false: a request that cannot be cancelled still uses the loop, which therefore must stay in
 * memory. */
static bool loop_core_close(struct loop_core *lc) {
    core_set_current(&lc->core);
    uv_walk(&lc->loop, close_forgotten, lc);
    const uint64_t end_ns = uv_hrtime() + STOP_CLOSE_MS * UINT64_C(1000000);
    while (uv_run(&lc->loop, UV_RUN_NOWAIT) != 0 && uv_hrtime() < end_ns)
        poll(NULL, 0, 1);
    core_set_current(NULL);
    return uv_loop_close(&lc->loop) == 0;
}

void loop_runtime_stop(struct runtime *rt) {
    struct loop_runtime *lr = loop_runtime_of(rt);
    assert(lr->state != LOOP_STOPPED);
    bool threads = lr->state == LOOP_RUNNING;
    assert(!threads || core_current() == NULL);
    if (threads)
        stop_threads(lr);
    else if (lr->pool != NULL)
        stop_inline(lr);
    lr->state = LOOP_STOPPED;
    if (lr->pool != NULL) drain_mailboxes(lr);
    for (unsigned i = 0; i < lr->all_count; i++) {
        if (loop_core_close(lr->all[i])) continue;
        log_warn("a request was still running when the runtime stopped");
        lr->all[i] = NULL; /* stays in memory: a thread of libuv's pool holds it */
    }
}

void loop_runtime_free(struct runtime *rt) {
    if (rt == NULL) return;
    struct loop_runtime *lr = loop_runtime_of(rt);
    assert(lr->state == LOOP_STOPPED);
    for (unsigned i = 0; i < lr->all_count; i++)
        if (lr->all[i] != NULL) loop_core_free(lr->all[i]);
    net_tcp_free(rt->net);
    pool_free(lr->pool);
    sem_destroy(&lr->event);
    free(rt->cores);
    free(lr->all);
    free(lr);
}
