/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/pool.c: threads that run work outside the loops, first come first served.
 *
 *   core: pool_submit -> [parked on the core] -> queue -> worker: run -> mailbox -> core: done
 *
 * Workers never wait for a core (posting does not block), so every work that was submitted comes
 * home. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/runtime/internal.h"

enum { WORKER_NICE = 10 };

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the queue got an entry, or stopping */
    struct work *first, *last;
    bool stopping;
    unsigned workers_count;
    unsigned running_count; /* threads to join */
    struct pool_worker {
        struct pool *pool;
        unsigned number;
        pthread_t thread;
    } workers[];
};

/* A queued work needs no memory of its own: its message is idle until it goes home. */
static struct work *work_next(struct work *w) {
    return w->msg.next == NULL ? NULL : container_of(w->msg.next, struct work, msg);
}

static void fifo_push(struct work **first, struct work **last, struct work *w) {
    w->msg.next = NULL;
    if (*first == NULL)
        *first = w;
    else
        (*last)->msg.next = &w->msg;
    *last = w;
}

static struct work *fifo_pop(struct work **first, struct work **last) {
    struct work *w = *first;
    if (w == NULL) return NULL;
    *first = work_next(w);
    if (*first == NULL) *last = NULL;
    return w;
}

static void pool_enqueue(struct pool *pool, struct work *w) {
    pthread_mutex_lock(&pool->lock);
    fifo_push(&pool->first, &pool->last, w);
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

static void pool_on_done(struct core *here, struct msg *m) {
    struct work *w = container_of(m, struct work, msg);
    struct loop_core *lc = loop_core_of(here);
    struct pool_home *home = &lc->works;
    assert(home->queued > 0 && home->unfinished >= home->queued);
    home->queued--;
    home->unfinished--;
    struct work *next = fifo_pop(&home->parked_first, &home->parked_last);
    if (next != NULL) {
        home->queued++;
        pool_enqueue(home->pool, next);
    }
    w->done(here, w); /* may free w */
    loop_check_quiet(lc);
}

void pool_submit(struct pool_home *home, struct work *w) {
    w->msg.run = pool_on_done;
    home->unfinished++;
    if (home->queued == POOL_WORKS_PER_CORE_MAX) {
        fifo_push(&home->parked_first, &home->parked_last, w);
        return;
    }
    home->queued++;
    pool_enqueue(home->pool, w);
}

static void work_run(struct work *w) {
    assert(core_current() == NULL);
    w->run(w);
    core_post(w->home, &w->msg); /* w is its home's from here on */
}

static void *worker_main(void *arg) {
    struct pool_worker *worker = arg;
    struct pool *pool = worker->pool;
    char name[16];
    /* On Linux a thread has a nice value of its own. Where queries and loops compete for the same
     * CPUs the loops, which answer everybody, go first; alone, the workers lose nothing. Failing it
     * is no error. */
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), WORKER_NICE) != 0) errno = 0;
    snprintf(name, sizeof name, "work-%u", worker->number);
    unsigned slot = loop_thread_enter(name);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct work *w = fifo_pop(&pool->first, &pool->last);
        if (w == NULL) {
            if (pool->stopping) break;
            pthread_cond_wait(&pool->changed, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        work_run(w);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    loop_thread_leave(slot);
    return NULL;
}

enum status pool_new(unsigned workers_count, struct pool **out, struct err *err) {
    assert(workers_count >= 1);
    struct pool *pool = calloc(1, sizeof *pool + workers_count * sizeof pool->workers[0]);
    if (pool == NULL) return err_set(err, ERR_NOMEM, 0, "runtime: no memory for the worker pool");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->workers_count = workers_count;
    for (unsigned i = 0; i < workers_count; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].number = i;
    }
    *out = pool;
    return OK;
}

enum status pool_start(struct pool *pool, struct err *err) {
    for (unsigned i = pool->running_count; i < pool->workers_count; i++) {
        int rc = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (rc != 0) return err_set(err, ERR_IO, rc, "runtime: start worker thread %u", i);
        pool->running_count++;
    }
    return OK;
}

void pool_run_queued(struct pool *pool) {
    assert(pool->running_count == 0);
    for (;;) {
        struct work *w = fifo_pop(&pool->first, &pool->last);
        if (w == NULL) return;
        struct core *caller = core_current();
        core_set_current(NULL);
        work_run(w);
        core_set_current(caller);
    }
}

void pool_stop(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->running_count; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pool->running_count = 0;
}

void pool_free(struct pool *pool) {
    if (pool == NULL) return;
    assert(pool->running_count == 0);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
