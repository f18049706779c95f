/* SPDX-License-Identifier: Apache-2.0 */
/* The log on the real runtime and the operating system's disk: two cores append at the same time,
 * in chains; everything comes back in order, and another process finds it. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/runtime/loop.h"
#include "storage/log.h"
#include "tests/storage/log_rig.h"

enum { CORES = 2, CHAINS = 4, APPENDS = 300 };

struct chain {
    struct log_append req;
    struct log *log;
    uint32_t shard;
    uint64_t seq;
};
static sem_t chain_done;
static char dir[] = "/tmp/cairn-log-XXXXXX";

static void chain_next(struct core *here, struct chain *c) {
    if (c->seq == APPENDS) {
        sem_post(&chain_done);
        return;
    }
    entry_put(&(struct entry){ENTRY_WRITE, c->shard, 1, 1, ++c->seq, SV("body")}, &c->req.entries);
    log_append(c->log, here, &c->req);
}

static void chain_on_done(struct core *here, struct log_append *req, enum status status,
                          const struct err *err) {
    RIG_CHECK(status == OK, "%s", err->msg);
    chain_next(here, container_of(req, struct chain, req));
}

static void chain_start(struct core *here, void *ctx) {
    chain_next(here, ctx);
}

static enum status count(void *ctx, const struct entry *e, struct err *err) {
    (void)err;
    uint64_t *seqs = ctx;
    RIG_CHECK(e->seq == ++seqs[e->shard] && sv_eq(e->body, SV("body")), "order");
    return OK;
}

static void run(bool append) {
    struct runtime *rt;
    struct log *log;
    struct err err;
    bool damaged;
    uint64_t seqs[CORES * CHAINS] = {0};
    RIG_CHECK(loop_runtime_new(&(struct loop_options){.cores_count = CORES, .workers_count = 1},
                               &rt, &err) == OK,
              "%s", err.msg);
    struct log_options options = {.dir = dir,
                                  .file_bytes_max = 16 << 10,
                                  .frame_bytes_max = 16 << 20,
                                  .sync_every_frame = true};
    RIG_CHECK(log_open(rt, &options, count, seqs, &log, &damaged, &err) == OK, "%s", err.msg);
    RIG_CHECK(!damaged, "%s", err.msg);
    static struct chain chains[CORES * CHAINS];
    RIG_CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
    for (unsigned i = 0; i < CORES * CHAINS; i++) {
        RIG_CHECK(append || seqs[i] == APPENDS, "shard %u: %lu", i, (unsigned long)seqs[i]);
        if (!append) continue;
        chains[i] = (struct chain){.req.done = chain_on_done, .log = log, .shard = i};
        core_call(rt->cores[i % CORES], chain_start, &chains[i]);
    }
    for (unsigned i = 0; append && i < CORES * CHAINS; i++) {
        while (sem_wait(&chain_done) != 0) {
        }
    }
    RIG_CHECK(!log_is_failed(log), "failed");
    loop_runtime_stop(rt);
    log_free(log);
    loop_runtime_free(rt);
    for (unsigned i = 0; append && i < CORES * CHAINS; i++)
        buf_fini(&chains[i].req.entries);
}

static bool remove_name(void *ctx, const char *name) {
    (void)ctx;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return unlink(path) == 0;
}

int main(void) {
    RIG_CHECK(sem_init(&chain_done, 0, 0) == 0, "semaphore");
    RIG_CHECK(mkdtemp(dir) != NULL, "mkdtemp");
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    run(true);
    run(false);
    RIG_CHECK(disk_list(disk_real(), dir, remove_name, NULL, NULL) == OK && rmdir(dir) == 0, "rm");
    return 0;
}
