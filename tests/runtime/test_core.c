/* SPDX-License-Identifier: Apache-2.0 */
/* Cores, mailboxes, timers and the worker pool of the real runtime, on real threads. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "node/base/metrics.h"
#include "node/base/rng.h"
#include "node/runtime/loop.h"
#include "tests/runtime/check.h"

enum { CORES = 3 };

static struct runtime *runtime_open(unsigned cores_count, unsigned workers_count) {
    struct runtime *rt = NULL;
    struct err err = {0};
    struct loop_options options = {.cores_count = cores_count, .workers_count = workers_count};
    CHECK(loop_runtime_new(&options, &rt, &err) == OK, "%s", err.msg);
    return rt;
}

static void runtime_run(struct runtime *rt) {
    struct err err = {0};
    CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
}

static void runtime_close(struct runtime *rt) {
    loop_runtime_stop(rt);
    loop_runtime_free(rt);
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* ---- messages ---- */

/* Every core sends to every other core, itself included, in bursts of random length; the receiver
 * counts up per sender. */
enum { POSTS_PER_PAIR = 112000 }; /* 9 pairs: a million in all */
struct post {
    struct msg msg;
    unsigned from;
    uint32_t number;
};
static struct post posts[CORES][CORES][POSTS_PER_PAIR]; /* from, to */
static uint32_t seen[CORES][CORES];                     /* to, from: only touched by `to` */
static sem_t all_seen;
static struct sender {
    struct msg msg;
    uint32_t sent[CORES];
    struct rng rng;
} senders[CORES];

static void post_run(struct core *here, struct msg *m) {
    struct post *p = container_of(m, struct post, msg);
    CHECK(core_current() == here, "runs on another core");
    CHECK(seen[here->index][p->from] == p->number, "core %u got %u from %u, expected %u",
          here->index, p->number, p->from, seen[here->index][p->from]);
    if (++seen[here->index][p->from] == POSTS_PER_PAIR) sem_post(&all_seen);
}

static void sender_run(struct core *here, struct msg *m) {
    struct sender *s = container_of(m, struct sender, msg);
    bool more = false;
    for (unsigned to = 0; to < CORES; to++) {
        uint64_t burst = rng_below(&s->rng, 300);
        for (; burst > 0 && s->sent[to] < POSTS_PER_PAIR; burst--) {
            struct post *p = &posts[here->index][to][s->sent[to]];
            *p = (struct post){.msg.run = post_run, .from = here->index, .number = s->sent[to]++};
            core_post(here->rt->cores[to], &p->msg);
        }
        more = more || s->sent[to] < POSTS_PER_PAIR;
    }
    if (more) core_post(here, m);
}

static void messages_arrive_once_and_in_order(uint64_t seed) {
    struct runtime *rt = runtime_open(CORES, 1);
    sem_init(&all_seen, 0, 0);
    runtime_run(rt);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < CORES; i++) {
        senders[i].msg.run = sender_run;
        rng_init(&senders[i].rng, seed + i);
        core_post(rt->cores[i], &senders[i].msg);
    }
    for (unsigned i = 0; i < CORES * CORES; i++)
        while (sem_wait(&all_seen) != 0) {
        }
    uint64_t ns = now_ns() - start;
    runtime_close(rt);
    for (unsigned i = 0; i < CORES * CORES; i++)
        CHECK(seen[i / CORES][i % CORES] == POSTS_PER_PAIR, "lost or doubled");
    printf("%d messages between %d cores: %" PRIu64 " ns each\n", POSTS_PER_PAIR * CORES * CORES,
           CORES, ns / (POSTS_PER_PAIR * CORES * CORES));
    sem_destroy(&all_seen);
}

/* Messages that were posted before the threads ran, and from a thread that is no core. */
static void early_and_foreign_messages_arrive(void) {
    struct runtime *rt = runtime_open(CORES, 1);
    sem_init(&all_seen, 0, 0);
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < POSTS_PER_PAIR; i++) {
        if (i == POSTS_PER_PAIR / 2) runtime_run(rt);
        posts[0][1][i] = (struct post){.msg.run = post_run, .from = 0, .number = i};
        core_post(rt->cores[1], &posts[0][1][i].msg);
    }
    while (sem_wait(&all_seen) != 0) {
    }
    runtime_close(rt);
    sem_destroy(&all_seen);
}

/* Messages still in a mailbox when the loops stop are run, not dropped. */
static atomic_uint stragglers_run;
static void straggler_run(struct core *here, struct msg *m) {
    CHECK(core_is_current(here), "not current");
    struct post *p = container_of(m, struct post, msg);
    atomic_fetch_add(&stragglers_run, 1);
    if (p->number++ < 1000) core_post(here->rt->cores[(here->index + 1) % CORES], m);
}

static void stop_runs_what_is_posted(void) {
    struct runtime *rt = runtime_open(CORES, 1);
    struct post p = {.msg.run = straggler_run};
    core_post(rt->cores[0], &p.msg);
    runtime_close(rt); /* never started */
    CHECK(atomic_load(&stragglers_run) == 1001, "%u ran", atomic_load(&stragglers_run));
    rt = runtime_open(CORES, 1);
    runtime_run(rt);
    p.number = 0;
    core_post(rt->cores[0], &p.msg);
    runtime_close(rt);
    CHECK(atomic_load(&stragglers_run) == 2002, "%u ran", atomic_load(&stragglers_run));
}

struct pong {
    struct msg msg;
    unsigned left;
    sem_t done;
};
static void pong_run(struct core *here, struct msg *m) {
    struct pong *p = container_of(m, struct pong, msg);
    if (p->left-- == 0)
        sem_post(&p->done);
    else
        core_post(here->rt->cores[1 - here->index], m);
}

static void print_round_trip(void) {
    struct runtime *rt = runtime_open(2, 1);
    runtime_run(rt);
    enum { TRIPS = 20000 };
    struct pong p = {.msg.run = pong_run, .left = 2 * TRIPS};
    sem_init(&p.done, 0, 0);
    uint64_t start = now_ns();
    core_post(rt->cores[0], &p.msg);
    while (sem_wait(&p.done) != 0) {
    }
    printf("round trip core 0 -> core 1 -> core 0, both asleep in between: %" PRIu64 " ns\n",
           (now_ns() - start) / TRIPS);
    runtime_close(rt);
    sem_destroy(&p.done);
}

/* ---- timers ---- */

struct timers_test {
    struct timer timers[6];
    char order[32];
    unsigned fired;
    uint64_t start_ns;
    sem_t done;
};
static const unsigned timers_delay_ms[6] = {400, 5, 20, 5, 450, 1};

static void timers_fire(struct timer *t) {
    struct timers_test *tt = t->core->locals[CORE_NODE];
    unsigned i = (unsigned)(t - tt->timers);
    CHECK(!timer_is_armed(t), "armed while it fires");
    uint64_t elapsed_ns = core_mono_ns(t->core) - tt->start_ns;
    CHECK(elapsed_ns >= timers_delay_ms[i] * UINT64_C(1000000), "timer %u after %" PRIu64 " ns", i,
          elapsed_ns);
    tt->order[tt->fired++] = (char)('0' + i);
    if (i == 1) timer_stop(&tt->timers[3]);                        /* due at the same time */
    if (i == 5 && tt->fired == 1) timer_start(&tt->timers[5], 30); /* itself, once more */
    if (i == 4) sem_post(&tt->done);
}

static void timers_begin(struct core *here, void *ctx) {
    struct timers_test *tt = ctx;
    here->locals[CORE_NODE] = tt;
    tt->start_ns = core_mono_ns(here);
    for (unsigned i = 0; i < 6; i++) {
        timer_init(&tt->timers[i], here, timers_fire);
        timer_start(&tt->timers[i], timers_delay_ms[i]);
        CHECK(timer_is_armed(&tt->timers[i]), "not armed");
    }
    timer_start(&tt->timers[2], 500); /* re-armed later, then stopped */
    timer_stop(&tt->timers[2]);
    timer_stop(&tt->timers[2]);
    timer_start(&tt->timers[0], 1); /* re-armed twice: the last one counts */
    timer_start(&tt->timers[0], 400);
}

static void timers_fire_in_order(void) {
    struct runtime *rt = runtime_open(1, 1);
    runtime_run(rt);
    struct timers_test tt = {0};
    sem_init(&tt.done, 0, 0);
    core_call(rt->cores[0], timers_begin, &tt);
    while (sem_wait(&tt.done) != 0) {
    }
    runtime_close(rt);
    /* 1 ms: 5; 5 ms: 1, which stops 3; 31 ms: 5; 400 ms: 0; 450 ms: 4 */
    CHECK(strcmp(tt.order, "51504") == 0, "fired in the order %s", tt.order);
    sem_destroy(&tt.done);
}

/* ---- work ---- */

enum { WORKS = 5000 }; /* far over what one core may queue */
static struct job {
    struct work work;
    uint64_t input, output;
    pthread_t ran_on;
} jobs[WORKS];
static struct core *jobs_home;
static unsigned jobs_done;
static sem_t jobs_all_done;

static void job_run(struct work *w) {
    struct job *j = container_of(w, struct job, work);
    CHECK(core_current() == NULL, "work runs on a core");
    j->ran_on = pthread_self();
    j->output = rng_splitmix(&j->input);
}

static void job_done(struct core *here, struct work *w) {
    struct job *j = container_of(w, struct job, work);
    CHECK(core_is_current(here) && here == jobs_home, "done is not at home");
    CHECK(!pthread_equal(j->ran_on, pthread_self()), "ran on the core's thread");
    uint64_t x = (uint64_t)(j - jobs);
    CHECK(j->output == rng_splitmix(&x), "wrong result");
    if (++jobs_done == WORKS) sem_post(&jobs_all_done);
}

static void jobs_submit(struct core *here, void *ctx) {
    (void)ctx;
    jobs_home = here;
    jobs_done = 0;
    for (uint64_t i = 0; i < WORKS; i++) {
        jobs[i] = (struct job){.work = {.run = job_run, .done = job_done}, .input = i};
        work_submit(here, &jobs[i].work);
    }
}

static void work_comes_home(void) {
    struct runtime *rt = runtime_open(2, 3);
    runtime_run(rt);
    sem_init(&jobs_all_done, 0, 0);
    core_call(rt->cores[1], jobs_submit, NULL);
    while (sem_wait(&jobs_all_done) != 0) {
    }
    core_call(rt->control_core, jobs_submit, NULL);
    while (sem_wait(&jobs_all_done) != 0) {
    }
    /* a stop waits for what is under way */
    core_call(rt->cores[1], jobs_submit, NULL);
    runtime_close(rt);
    CHECK(jobs_done == WORKS, "%u of %d came home", jobs_done, WORKS);
    sem_destroy(&jobs_all_done);
}

/* ---- names and metrics ---- */

static void thread_name(struct core *here, void *ctx) {
    (void)here;
    pthread_getname_np(pthread_self(), ctx, 16);
}

static void threads_have_names(void) {
    struct runtime *rt = runtime_open(2, 1);
    runtime_run(rt);
    char name[16];
    core_call(rt->cores[1], thread_name, name);
    CHECK(strcmp(name, "core-1") == 0, "%s", name);
    core_call(rt->log_core, thread_name, name);
    CHECK(strcmp(name, "log") == 0, "%s", name);
    CHECK(rt->log_core->index == rt->cores_count, "index");
    core_call(rt->control_core, thread_name, name);
    CHECK(strcmp(name, "control") == 0, "%s", name);
    CHECK(rt->control_core->index == rt->cores_count + 1, "index");
    CHECK(core_current() == NULL, "the caller is a core");
    runtime_close(rt);
}

static void busy(struct core *here, void *ctx) {
    (void)ctx;
    uint64_t end_ns = core_mono_ns(here) + UINT64_C(120000000);
    while (core_mono_ns(here) < end_ns) {
    }
}

/* While all others of the node stand still, the control core has its thread, mailbox and timers. */
struct hold {
    struct msg msg;
    sem_t begun, release;
};
static void hold_run(struct core *here, struct msg *m) {
    struct hold *h = container_of(m, struct hold, msg);
    CHECK(core_is_current(here), "not current");
    sem_post(&h->begun);
    while (sem_wait(&h->release) != 0) {
    }
}

static void control_core_runs_while_others_block(void) {
    struct runtime *rt = runtime_open(2, 1);
    runtime_run(rt);
    struct core *others[] = {rt->cores[0], rt->cores[1], rt->log_core};
    struct hold holds[ARRAY_LEN(others)];
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        holds[i].msg = (struct msg){.run = hold_run};
        sem_init(&holds[i].begun, 0, 0);
        sem_init(&holds[i].release, 0, 0);
        core_post(others[i], &holds[i].msg);
        while (sem_wait(&holds[i].begun) != 0) {
        }
    }
    struct timers_test tt = {0};
    sem_init(&tt.done, 0, 0);
    core_call(rt->control_core, timers_begin, &tt);
    while (sem_wait(&tt.done) != 0) {
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        sem_post(&holds[i].release);
    runtime_close(rt);
    CHECK(strcmp(tt.order, "51504") == 0, "fired in the order %s", tt.order);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        sem_destroy(&holds[i].begun);
        sem_destroy(&holds[i].release);
    }
    sem_destroy(&tt.done);
}

static const char *bucket_core;
static double bucket_value;
static void find_bucket(void *ctx, struct sv name, struct sv labels, double value) {
    const char *want = ctx;
    size_t at;
    if (sv_eq(name, SV("cairn_core_loop_lag_seconds_bucket")) &&
        sv_find(labels, sv_from(bucket_core), &at) && sv_find(labels, sv_from(want), &at))
        bucket_value = value;
}

static double bucket(const char *core, const char *le) {
    bucket_core = core;
    char want[32];
    snprintf(want, sizeof want, "le=\"%s\"", le);
    bucket_value = -1;
    metrics_each_sample(find_bucket, want);
    return bucket_value;
}

/* A handler of 120 ms covers 12 heartbeats: at least one is over 100 ms late and at least nine over
 * 10 ms. */
static void loop_lag_is_measured(void) {
    struct runtime *rt = runtime_open(2, 1);
    loop_register_metrics(rt);
    runtime_run(rt);
    struct core *busy_ones[] = {rt->cores[0], rt->control_core};
    for (size_t i = 0; i < ARRAY_LEN(busy_ones); i++) {
        core_call(busy_ones[i], busy, NULL);
        struct timers_test tt = {0}; /* lets the late heartbeat in */
        sem_init(&tt.done, 0, 0);
        core_call(busy_ones[i], timers_begin, &tt);
        while (sem_wait(&tt.done) != 0) {
        }
        sem_destroy(&tt.done);
    }
    runtime_close(rt);
    static const char *const cores[] = {"core=\"0\"", "core=\"control\""};
    for (size_t i = 0; i < ARRAY_LEN(cores); i++) {
        double all = bucket(cores[i], "+Inf"), over_10ms = all - bucket(cores[i], "0.01"),
               over_100ms = all - bucket(cores[i], "0.1");
        CHECK(all >= 12, "%s: %g heartbeats", cores[i], all);
        CHECK(over_10ms >= 9, "%s: %g over 10 ms", cores[i], over_10ms);
        CHECK(over_100ms >= 1, "%s: %g over 100 ms", cores[i], over_100ms);
    }
    CHECK(bucket("core=\"2\"", "+Inf") == -1, "the log core, which blocks, is measured");
}

/* A handle that nobody closes does not hold the stop. */
static void forgotten_fired(uv_timer_t *t) {
    CHECK(t == NULL, "fired");
}
static void open_forgotten(struct core *here, void *ctx) {
    uv_timer_t *forgotten = ctx;
    uv_timer_init(core_uv_loop(here), forgotten);
    int rc = uv_timer_start(forgotten, forgotten_fired, 3600000, 0);
    CHECK(rc == 0, "%s", uv_strerror(rc));
}

static void stop_survives_a_forgotten_handle(void) {
    struct runtime *rt = runtime_open(1, 1);
    runtime_run(rt);
    static uv_timer_t forgotten[2];
    core_call(rt->cores[0], open_forgotten, &forgotten[0]);
    core_call(rt->log_core, open_forgotten, &forgotten[1]);
    uint64_t start = now_ns();
    runtime_close(rt);
    CHECK(now_ns() - start < UINT64_C(1900000000), "the stop took %" PRIu64 " ns",
          now_ns() - start);
    CHECK(uv_is_closing((uv_handle_t *)&forgotten[0]), "still open");
}

/* None goes on before all have come. */
static void meet(void *ctx, unsigned i) {
    (void)i;
    pthread_barrier_wait(ctx);
}

static void count_up(void *ctx, unsigned i) {
    ((unsigned *)ctx)[i]++;
}

static void each_runs_side_by_side(void) {
    struct runtime *rt = runtime_open(1, 1);
    pthread_barrier_t all;
    unsigned counts[5] = {0};
    CHECK(pthread_barrier_init(&all, NULL, 4) == 0, "!");
    rt->ops->each(rt, 4, meet, &all);
    pthread_barrier_destroy(&all);
    for (unsigned n = 0; n <= 5; n++)
        rt->ops->each(rt, n, count_up, counts);
    for (unsigned i = 0; i < 5; i++)
        CHECK(counts[i] == 5 - i, "%u ran %u times", i, counts[i]);
    runtime_close(rt);
}

/* ---- naps ---- */

static struct napper {
    struct msg nap, wake;
    sem_t began, ended;
    uint64_t began_ns, ended_ns, woken_ns;
} napper;

static void nap_run(struct core *here, struct msg *m) {
    (void)m;
    napper.began_ns = now_ns();
    sem_post(&napper.began);
    core_nap(here, 20000);
    napper.ended_ns = now_ns();
}

static void nap_on_wake(struct core *here, struct msg *m) {
    (void)here, (void)m;
    napper.woken_ns = now_ns();
    sem_post(&napper.ended);
}

/* A message that comes in a nap runs behind it, and is not lost. */
static void nap_is_not_disturbed(void) {
    struct runtime *rt = runtime_open(1, 1);
    napper.nap.run = nap_run;
    napper.wake.run = nap_on_wake;
    sem_init(&napper.began, 0, 0);
    sem_init(&napper.ended, 0, 0);
    runtime_run(rt);
    core_post(rt->log_core, &napper.nap);
    sem_wait(&napper.began);
    core_post(rt->log_core, &napper.wake);
    sem_wait(&napper.ended);
    CHECK(napper.ended_ns - napper.began_ns >= 20000000, "%" PRIu64,
          napper.ended_ns - napper.began_ns);
    CHECK(napper.woken_ns >= napper.ended_ns, "a message ran in a nap");
    runtime_close(rt);
}

/* ---- CPUs ---- */

static cpu_set_t used[CPU_SETSIZE];

static void look_where(struct core *here, void *ctx) {
    (void)ctx;
    CHECK(sched_getaffinity(0, sizeof *used, &used[here->index]) == 0, "!");
}

/* With as many cores as CPUs each has one of its own; else all may run on all. */
static void cores_keep_to_their_cpus(void) {
    cpu_set_t all;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0, "!");
    unsigned cpus = (unsigned)CPU_COUNT(&all);
    if (cpus < 2) {
        printf("skipped: cores that keep to their CPUs: there is one CPU\n");
        return;
    }
    for (unsigned less = 0; less < 2; less++)
        for (unsigned pins = 0; pins < 2; pins++) {
            struct runtime *rt = NULL;
            struct err err = {0};
            struct loop_options o = {
                .cores_count = cpus - less, .workers_count = 1, .pins = pins == 1};
            CHECK(loop_runtime_new(&o, &rt, &err) == OK, "%s", err.msg);
            runtime_run(rt);
            cpu_set_t together;
            CPU_ZERO(&together);
            for (unsigned i = 0; i < o.cores_count; i++) {
                core_call(rt->cores[i], look_where, NULL);
                int want = o.pins && less == 0 ? 1 : (int)cpus;
                CHECK(CPU_COUNT(&used[i]) == want, "core %u: %d CPUs", i, CPU_COUNT(&used[i]));
                CPU_OR(&together, &together, &used[i]);
            }
            CHECK(CPU_EQUAL(&together, &all), "two share one");
            runtime_close(rt);
        }
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : now_ns();
    printf("seed %" PRIu64 "\n", seed);
    messages_arrive_once_and_in_order(seed);
    early_and_foreign_messages_arrive();
    stop_runs_what_is_posted();
    print_round_trip();
    timers_fire_in_order();
    work_comes_home();
    threads_have_names();
    control_core_runs_while_others_block();
    loop_lag_is_measured();
    stop_survives_a_forgotten_handle();
    each_runs_side_by_side();
    nap_is_not_disturbed();
    cores_keep_to_their_cpus();
    return 0;
}
