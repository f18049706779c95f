/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/internal.h: what loop.c, pool.c and net_tcp.c share. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <uv.h>

#include "node/base/metrics.h"
#include "node/runtime/core.h"
#include "node/runtime/net.h"

/* ---- worker pool (pool.c) ---- */

struct pool;

/* A core's side of the pool: at most POOL_WORKS_PER_CORE_MAX of its works stand in the shared
 * queue, the others wait here in order. So the shared queue is bounded, and a core that floods the
 * pool delays another's work by that much. */
enum { POOL_WORKS_PER_CORE_MAX = 64 };
struct pool_home {
    struct pool *pool;
    struct work *parked_first, *parked_last;
    unsigned queued;     /* in the shared queue, running, or done but not yet home */
    unsigned unfinished; /* queued + parked */
};

MUST_USE enum status pool_new(unsigned workers_count, struct pool **out, struct err *err);
MUST_USE enum status pool_start(struct pool *pool, struct err *err);
void pool_submit(struct pool_home *home, struct work *w); /* on the home core */
/* Runs what is queued on the calling thread; for a runtime whose threads never started. */
void pool_run_queued(struct pool *pool);
/* Finishes what is queued, joins the threads. */
void pool_stop(struct pool *pool);
void pool_free(struct pool *pool); /* accepts NULL */

/* ---- loops (loop.c) ---- */

struct net_core;

struct loop_core {
    struct core core; /* at offset 0 */
    uv_loop_t loop;
    pthread_t thread;
    uv_timer_t timer;  /* drives core.timers */
    uint64_t armed_ns; /* when timer fires; UINT64_MAX: not armed */
    bool timers_running;
    uv_prepare_t prepare; /* before each poll, */
    uv_check_t check;     /* and behind it */
    struct msg *pending;  /* taken from the inbox, oldest first */
    struct pool_home works;
    struct net_core *net;

    struct timer heartbeat;
    uint64_t heartbeat_due_ns;
    uint64_t turn_ns; /* when this turn began; 0: not known yet */
    struct metric *lag_seconds;

    bool stopping, net_stopped, quiet;
    struct msg stop_msg, halt_msg;

    /* Written by all threads, hence on a cache line of its own: newest first. */
    alignas(64) _Atomic(struct msg *) inbox;
    atomic_bool asleep; /* about to poll, or in it: who posts must wake it */
    uv_poll_t wake; /* of wake_fd; an eventfd, since the receiver of uv_async_send spins until its
                       sender is back from the system call */
    int wake_fd;
};

enum loop_state { LOOP_NEW, LOOP_RUNNING, LOOP_STOPPED };

struct loop_runtime {
    struct runtime rt; /* at offset 0 */
    enum loop_state state;
    struct loop_core **all; /* data cores, the log core, the control core */
    unsigned all_count;
    struct pool *pool;
    bool pins; /* options */
    sem_t event; /* posted when a core became quiet */
};

static inline struct loop_core *loop_core_of(struct core *core) {
    return container_of(core, struct loop_core, core);
}
static inline struct loop_runtime *loop_runtime_of(struct runtime *rt) {
    return container_of(rt, struct loop_runtime, rt);
}
extern const struct runtime_ops loop_ops;
void *loop_main(void *arg); /* thread of one core */
void loop_on_wake(uv_poll_t *wake, int status, int events);
void loop_on_prepare(uv_prepare_t *prepare);
void loop_on_check(uv_check_t *check);
void loop_on_heartbeat(struct timer *t);
bool loop_run_next(struct loop_core *lc); /* runs one message; false when there is none */
void sem_wait_fully(sem_t *sem);
/* Called when something a stopping core waits for may have ended. */
void loop_check_quiet(struct loop_core *lc);
/* Names the thread and gives it a slot of the metric registry, if one is free. */
unsigned loop_thread_enter(const char *name);
void loop_thread_leave(unsigned slot);

/* ---- TCP (net_tcp.c) ---- */

MUST_USE enum status net_tcp_new(struct net **out, struct err *err);
void net_tcp_free(struct net *net);                                       /* accepts NULL */
MUST_USE enum status net_core_new(struct loop_core *lc, struct err *err); /* fills lc->net */
/* Closes the listener and every connection; loop_check_quiet runs when nothing is open any more. */
void net_core_stop(struct net_core *nc);
void net_core_free(struct net_core *nc); /* accepts NULL */
