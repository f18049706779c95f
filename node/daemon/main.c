/* SPDX-License-Identifier: Apache-2.0 */
/* cairn: start-up and shut-down of one node. */
#include <inttypes.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/base/buf.h"
#include "node/base/duration.h"
#include "node/base/num.h"
#include "node/daemon/active_file.h"
#include "node/daemon/cloud.h"
#include "node/daemon/config.h"
#include "node/daemon/limits.h"
#include "node/daemon/memory.h"
#include "node/daemon/node.h"
#include "node/daemon/options.h"
#include "node/daemon/selfscrape.h"
#include "node/daemon/serve.h"
#include "node/daemon/task.h"
#include "node/runtime/loop.h"
#include "query/api/query_log.h"

enum { SINGLE_NODE_GRACE_MS = 1000, LOST_LOOK_MS = 250, INTERRUPT_MS = 1000 };

/* jemalloc reads it: memory freed by a burst of queries goes back to the system soon, from a thread
 * of its own */
extern const char *malloc_conf;
__attribute__((visibility("default"))) const char *malloc_conf =
    "background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0";

struct daemon {
    struct options options;
    struct task_flags task;
    struct config_retention_flags retention_flags;
    struct retention *retention; /* as the node began with it */
    uint64_t retention_bytes;
    struct config config;
    struct runtime *rt;
    struct node *node;
    struct serve *serve;
    struct selfscrape *self;
    struct cloud *cloud; /* NULL: not needed */
    struct active_file active;
    struct memory_watch memory;
    struct query_log *query_log;
    struct buf secret;
    struct ha_options ha;
    bool has_peers;  /* --ring.discovery is set */
    uint64_t end_ns; /* until when the heads may be written */
    char instance[300];
};

static int fail(const struct err *err) {
    fprintf(stderr, "cairn: error: %s\n", err->msg);
    return 1;
}

static void setup_logging(const struct options *o) {
    enum log_level level = LOG_INFO;
    if (!log_level_parse(sv_from(o->log_level.string), &level)) level = LOG_INFO;
    log_setup(level, strcmp(o->log_format.string, "json") == 0 ? LOG_JSON : LOG_LOGFMT,
              STDERR_FILENO);
}

enum { SECRET_BYTES_MAX = 4096, SECRET_BYTES_MIN = 16 };

static enum status read_secret(struct daemon *d, struct err *err) {
    const char *path = d->options.ring_secret_file.string;
    if (path[0] == '\0') return OK;
    enum status st = disk_read_file(disk_real(), path, SECRET_BYTES_MAX, &d->secret, err);
    while (st == OK && d->secret.len > 0 && strchr("\r\n \t", d->secret.ptr[d->secret.len - 1]))
        d->secret.len--;
    if (st == OK && d->secret.len < SECRET_BYTES_MIN)
        st = err_set(err, ERR_LIMIT, 0, "%s has %zu bytes, a secret needs %d at least", path,
                     d->secret.len, SECRET_BYTES_MIN);
    if (st != OK) err_prefix(err, "--ring.secret-file");
    return st;
}

static enum status read_retention(struct daemon *d, struct err *err) {
    const struct options *o = &d->options;
    struct config_retention_flags *f = &d->retention_flags;
    const char *time = o->retention_time.string, *size = o->retention_size.string;
    if (size[0] != '\0' && !num_parse_bytes(sv_from(size), &f->bytes))
        return err_set(err, ERR_PARSE, 0, "--storage.tsdb.retention.size: \"%s\" is no size", size);
    if (time[0] != '\0' && !duration_parse(sv_from(time), &f->time_ms))
        return err_set(err, ERR_PARSE, 0, "--storage.tsdb.retention.time: \"%s\" is no duration",
                       time);
    f->has_time = f->time_ms != 0; /* 0 is the default, as in Prometheus */
    return config_retention(&d->config, f, &d->retention, &d->retention_bytes, err);
}

static enum status open_node(struct daemon *d, struct err *err) {
    const struct options *o = &d->options;
    unsigned cpus = limits_cpus();
    struct loop_options lo = {
        .cores_count = o->cores.integer > 0 ? (unsigned)o->cores.integer : cpus,
        .workers_count = o->workers.integer > 0 ? (unsigned)o->workers.integer : cpus,
        .pins = strcmp(o->pin_cores.string, "auto") == 0,
    };
    TRY(loop_runtime_new(&lo, &d->rt, err));
    loop_register_metrics(d->rt);
    d->has_peers = o->ring_discovery.string[0] != '\0';
    TRY(read_secret(d, err));
    if (sv_starts(sv_from(o->ring_discovery.string), SV("cloudmap://")))
        TRY(cloud_new(d->rt, &d->cloud, err));
    uint64_t memory =
        o->memory_limit.bytes > 0 ? o->memory_limit.bytes : limits_memory_bytes() / 100 * 85;
    memory_watch_init(&d->memory, memory);
    d->ha = (struct ha_options){.cluster_label = o->ha_cluster_label.string,
                                .replica_label = o->ha_replica_label.string,
                                .update_timeout_ms = MEMBER_HA_UPDATE_MS,
                                .update_jitter_max_ms = MEMBER_HA_UPDATE_MS / 3,
                                .failover_timeout_ms = MEMBER_HA_FAILOVER_MS,
                                .clusters_max = MEMBER_HA_CLUSTERS_MAX};
    struct node_options no = {
        .ha = o->ha_dedup.boolean ? &d->ha : NULL,
        .data_dir = o->tsdb_path.string,
        .cluster_name = o->ring_cluster_name.string,
        .discovery = o->ring_discovery.string,
        .listen_addr = o->ring_listen.string,
        .advertise_addr = o->ring_advertise.string,
        .zone = o->ring_zone.string,
        .cloudmap = &cloud_ops,
        .cloudmap_ctx = d->cloud,
        .secret = buf_sv(&d->secret),
        .bootstrap_expect = (uint32_t)o->ring_bootstrap_expect.integer,
        .min_insync = (uint32_t)o->ring_min_insync.integer,
        .replace_after_ms = (uint64_t)o->ring_replace_after.duration_ms,
        .shards_count = (uint32_t)o->ring_shards.integer,
        .replication_factor = (uint32_t)o->ring_replication_factor.integer,
        .out_of_order_window_ms = o->out_of_order_window.duration_ms,
        .memory_bytes_max = memory / 4 * 3, /* the rest is for queries and requests */
        .log_file_bytes_max = o->wal_segment_size.bytes,
        .block_range_ms = o->min_block_duration.duration_ms,
        .blocks_tick_ms = (uint64_t)o->blocks_interval.duration_ms,
        .scrub_ms = (uint64_t)o->scrub_interval.duration_ms,
        .sync_ms = (uint64_t)o->sync_interval.duration_ms,
        .block_merged_ms_max = o->max_block_duration.duration_ms,
        .wal_sync_always = strcmp(o->wal_sync.string, "always") == 0,
        .query_timeout_ms = (uint64_t)o->query_timeout.duration_ms,
        .query_concurrency = (unsigned)o->max_concurrency.integer,
        .active = &d->active.active,
    };
    TRY(read_retention(d, err));
    no.retention = d->retention;
    no.retention_bytes = d->retention_bytes;
    no.limits = &d->config.limits;
    memcpy(no.downsample, d->config.levels, sizeof no.downsample);
    TRY(node_open(d->rt, &no, &d->node, err));
    active_file_open(&d->active, no.data_dir, d->rt->cores_count, no.query_concurrency);
    return OK;
}

static enum status start_all(struct daemon *d, struct err *err) {
    if (config_load(d->options.config_file.string, &d->config, err) != OK) return err->code;
    metrics_register_process();
    TRY(task_fill(&d->options, &d->task, err));
    TRY(open_node(d, err));
    enum status st = query_log_new(
        d->rt, d->config.query_log_file.len > 0 ? d->config.query_log_file.ptr : NULL,
        (uint64_t)d->options.query_slower_than.duration_ms * 1000000, &d->query_log, err);
    if (st != OK) {
        err_prefix(err, "global.query_log_file");
        return st;
    }
    st = serve_new(d->rt, d->node, &d->options, &d->config, &d->retention_flags, d->query_log,
                   &d->serve, err);
    if (st == ERR_CONFLICT) err_prefix(err, "--web.listen-address");
    if (st != OK) return st;
    st = node_start(d->node, err);
    if (st == ERR_CONFLICT) err_prefix(err, "--ring.listen-address");
    if (st != OK) return st;
    core_set_current(d->rt->cores[0]);
    memory_watch_start(&d->memory, d->rt->cores[0]);
    core_set_current(NULL);
    if (d->config.scrapes_itself) {
        snprintf(d->instance, sizeof d->instance, "localhost:%u", serve_port(d->serve));
        core_set_current(d->rt->cores[0]);
        st = selfscrape_start(d->node, d->rt->cores[0], d->config.scrape_interval_ms, d->instance,
                              &d->self, err);
        core_set_current(NULL);
        if (st != OK) return st;
    }
    return loop_runtime_start(d->rt, err);
}

/* -- shut-down, in the order: no new requests, running ones end, parts of each core close, loops
 * end */

static void post_semaphore(void *ctx) {
    sem_post(ctx);
}

struct core_stop {
    struct daemon *d;
    sem_t done;
    bool log_ended;
};

static void stop_maps(struct core *here, void *ctx) {
    (void)here;
    struct core_stop *stop = ctx;
    node_stop_maps(stop->d->node, post_semaphore, &stop->done);
}

static void stop_core(struct core *here, void *ctx) {
    struct core_stop *stop = ctx;
    if (here == stop->d->rt->cores[0]) {
        selfscrape_stop(stop->d->self);
        memory_watch_stop(&stop->d->memory);
    }
    node_stop_core(stop->d->node, here, post_semaphore, &stop->done);
}

static void stop_blocks(struct core *here, void *ctx) {
    struct core_stop *stop = ctx;
    node_stop_blocks(stop->d->node, here, post_semaphore, &stop->done);
}

static void stop_cloud(struct core *here, void *ctx) {
    struct core_stop *stop = ctx;
    (void)here;
    cloud_stop(stop->d->cloud, post_semaphore, &stop->done);
}

static void stop_log(struct core *here, void *ctx) {
    (void)here;
    struct core_stop *stop = ctx;
    stop->log_ended = node_stop_log(stop->d->node);
}

static void wait_for(sem_t *sem) {
    while (sem_wait(sem) != 0)
        continue;
}

/* SIGTERM has until the timeout; who pressed Ctrl-C waits. Another signal ends it. */
static void set_end(struct daemon *d, int sig) {
    uint64_t left_ms = (uint64_t)d->options.drain_timeout.duration_ms;
    if (sig != SIGTERM) left_ms = MIN(left_ms, (uint64_t)INTERRUPT_MS);
    d->end_ns = core_mono_ns(d->rt->control_core) + left_ms * 1000000;
}

static bool may_save_on(void *ctx) {
    const struct daemon *d = ctx;
    sigset_t pending;
    bool signalled = sigpending(&pending) == 0 &&
                     (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
    return !signalled && core_mono_ns(d->rt->control_core) < d->end_ns;
}

static void stop_all(struct daemon *d) {
    struct core_stop stop = {.d = d};
    sem_init(&stop.done, 0, 0);
    uint64_t grace = (uint64_t)d->options.drain_timeout.duration_ms;
    if (!d->has_peers || node_is_lost(d->node, NULL))
        grace = MIN(grace, (uint64_t)SINGLE_NODE_GRACE_MS);
    serve_stop(d->serve, grace, post_semaphore, &stop.done);
    wait_for(&stop.done);
    core_call(d->rt->control_core, stop_maps, &stop);
    wait_for(&stop.done);
    for (unsigned i = 0; i < d->rt->cores_count; i++) {
        core_call(d->rt->cores[i], stop_blocks, &stop);
        wait_for(&stop.done);
    }
    core_call(d->rt->log_core, stop_blocks, &stop);
    wait_for(&stop.done);
    if (d->cloud != NULL) {
        core_call(d->rt->cores[0], stop_cloud, &stop);
        wait_for(&stop.done);
    }
    for (unsigned i = 0; i < d->rt->cores_count; i++) {
        core_call(d->rt->cores[i], stop_core, &stop);
        wait_for(&stop.done);
    }
    core_call(d->rt->control_core, stop_core, &stop);
    wait_for(&stop.done);
    while (!stop.log_ended) /* each time behind a step of its work */
        core_call(d->rt->log_core, stop_log, &stop);
    loop_runtime_stop(d->rt);
    node_save_head(d->node, may_save_on, d);
    sem_destroy(&stop.done);
}

/* Hands over what others can take. A second signal or the timeout ends it, and so does it when
 * nothing has moved for a while: nobody is there to take more. */
static void drain(struct daemon *d, const sigset_t *signals) {
    enum { LOOK_MS = 100, STUCK_MS = 5000 };
    uint64_t left_ms = (uint64_t)d->options.drain_timeout.duration_ms, stuck_ms = 0;
    uint32_t least = UINT32_MAX;
    if (!d->has_peers || d->options.ring_replication_factor.integer < 2) return;
    log_info("draining: primaries are handed over");
    node_drain(d->node);
    for (; left_ms >= LOOK_MS && stuck_ms < STUCK_MS; left_ms -= LOOK_MS, stuck_ms += LOOK_MS) {
        struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
        int sig = sigtimedwait(signals, NULL, &look);
        uint32_t undrained = node_undrained(d->node);
        if (sig == SIGINT || sig == SIGTERM || undrained == 0 || node_is_lost(d->node, NULL))
            return;
        if (undrained < least) stuck_ms = 0;
        least = MIN(least, undrained);
    }
    log_warnf("ending with shards that nobody could take over", "shards", "%u", least);
}

static void free_all(struct daemon *d) {
    serve_free(d->serve);
    selfscrape_free(d->self);
    active_file_close(&d->active); /* while the node still holds the directory's lock */
    node_free(d->node);
    cloud_free(d->cloud);
    if (d->rt != NULL) loop_runtime_free(d->rt);
    query_log_free(d->query_log);
    config_fini(&d->config);
    retention_unref(d->retention);
    buf_fini(&d->secret);
}

static void reload(struct daemon *d) {
    struct err err;
    if (serve_reload(d->serve, &err) != OK) log_error("Error reloading config", "err", err.msg);
}

/* SIGINT, SIGTERM, or 0: this node is lost to its cluster. It must not linger: who restarts tasks
 * sees only their end, and a fresh process may be what helps. */
static int wait_for_end(struct daemon *d, const sigset_t *signals) {
    for (;;) {
        struct timespec look = {.tv_nsec = LOST_LOOK_MS * 1000000L};
        int sig = sigtimedwait(signals, NULL, &look);
        if (node_is_lost(d->node, NULL)) return 0;
        if (sig == SIGHUP) reload(d);
        if (sig != SIGINT && sig != SIGTERM) continue;
        log_info("Received an OS signal, exiting gracefully...", "signal", strsignal(sig));
        return sig;
    }
}

static int exit_code(struct daemon *d) {
    struct err why;
    if (!node_is_lost(d->node, &why)) return 0;
    if (node_was_removed(d->node)) {
        log_info("this node has left its cluster and ends", "why", why.msg);
        return 0;
    }
    log_error("this node cannot go on and ends", "err", why.msg);
    return 1;
}

static int run(struct daemon *d) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    /* before any thread exists, so that all inherit the mask and only sigtimedwait sees them */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    struct err err = {0};
    if (start_all(d, &err) != OK) {
        fail(&err);
        _exit(1); /* nothing is half-written: files are only opened, threads hold no data yet */
    }
    char port[16];
    snprintf(port, sizeof port, "%u", serve_port(d->serve));
    log_info("Server is ready to receive web requests.", "address",
             d->options.listen_address.string, "port", port);
    options_log_later();
    int sig = wait_for_end(d, &signals);
    set_end(d, sig);
    if (sig == SIGTERM) drain(d, &signals);
    int code = exit_code(d);
    stop_all(d);
    free_all(d);
    log_info("See you next time!");
    return code;
}

int main(int argc, char **argv) {
    static struct daemon d;
    struct err err = {0};
    if (options_parse(argc, argv, &d.options, &err) != OK) {
        fprintf(stderr, "Error parsing command line arguments: %s\nTry cairn --help.\n", err.msg);
        return 2;
    }
    if (d.options.help.boolean) {
        struct buf b = {0};
        flags_put_help(option_defs, option_defs_count, "cairn", "The Cairn monitoring server", &b);
        fwrite(b.ptr, 1, b.len, stdout);
        buf_fini(&b);
        return 0;
    }
    if (d.options.version.boolean) {
        printf("cairn, version %s\n", CAIRN_VERSION);
        return 0;
    }
    setup_logging(&d.options);
    return run(&d);
}
