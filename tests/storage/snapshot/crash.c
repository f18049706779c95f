/* SPDX-License-Identifier: Apache-2.0 */
/* Power is cut at every call to the disk while a snapshot is written, while a start uses it and
 * removes it, and behind that. The next start has what was durable, from the snapshot or from the
 * log; a snapshot that was said to be written is used. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/runtime/disk.h"
#include "tests/storage/snapshot/snapshot_rig.h"

static uint64_t cuts, loaded, replayed, refusals;

struct run {
    struct sr_world w;
    struct sr_node n;
    struct buf before, behind;
};

/* The same work for a seed, whatever comes then. */
static void run_begin(struct run *r, uint64_t seed) {
    *r = (struct run){.before = {0}};
    sr_world_init(&r->w, seed);
    r->w.with_archive = false; /* what was trimmed is not there again after a replay */
    r->w.exemplars_max = 10000;
    sr_node_init(&r->n, &r->w, 0, seed);
    RIG_CHECK(sr_start(&r->n, 1 + (unsigned)seed % SR_CORES), "!");
    sr_work(&r->n, 120);
    sr_dump(&r->n, &r->before);
}

static void run_end(struct run *r) {
    sr_node_fini(&r->n);
    sr_world_fini(&r->w);
    buf_fini(&r->before);
    buf_fini(&r->behind);
}

static void must_start(struct run *r, uint64_t seed) {
    RIG_CHECK(sr_start(&r->n, 1 + (unsigned)(seed + 1) % SR_CORES), "!");
    loaded += r->n.loaded;
    replayed += !r->n.loaded;
    sr_dump(&r->n, &r->behind);
    sr_must_equal(&r->before, &r->behind, "what is there", seed);
}

/* False: the n-th call is behind the last one. */
static bool cut_while_saving(uint64_t seed, uint64_t n) {
    struct run r;
    struct err err;
    run_begin(&r, seed);
    uint64_t calls = sim_disk_calls(r.n.disk);
    sim_disk_cut_at(r.n.disk, calls + n);
    bool saved = sr_save(&r.n, &err) == OK;
    bool cut = sim_disk_calls(r.n.disk) >= calls + n;
    RIG_CHECK(saved || cut, "%s", err.msg);
    sr_power_cut(&r.n);
    must_start(&r, seed);
    RIG_CHECK(r.n.loaded || !saved, "seed %" PRIu64 " call %" PRIu64 ": %s", seed, n, r.n.why.msg);
    run_end(&r);
    cuts += cut;
    return cut;
}

/* In the start that uses it, or in the work behind that. */
static bool cut_while_starting(uint64_t seed, uint64_t n) {
    struct run r;
    struct err err;
    run_begin(&r, seed);
    RIG_CHECK(sr_save(&r.n, &err) == OK, "%s", err.msg);
    sr_kill(&r.n);
    uint64_t calls = sim_disk_calls(r.n.disk);
    sim_disk_cut_at(r.n.disk, calls + n);
    bool started = sr_start(&r.n, 1 + (unsigned)(seed + n) % SR_CORES);
    bool cut = sim_disk_calls(r.n.disk) >= calls + n;
    sim_disk_cut_at(r.n.disk, 0);
    if (started) {
        RIG_CHECK(r.n.loaded && !cut, "seed %" PRIu64 " call %" PRIu64 ": %s", seed, n,
                  r.n.why.msg);
        sr_work(&r.n, 30);
        sr_dump(&r.n, &r.before);
    }
    sr_power_cut(&r.n);
    must_start(&r, seed);
    run_end(&r);
    cuts += cut;
    return cut;
}

/* A disk that refuses, or no time: nothing is left, and the process goes on. */
static bool goes_on(void *ctx) {
    unsigned *left = ctx;
    return (*left)-- > 1;
}

static bool refuse_while_saving(uint64_t seed, uint64_t n, bool time) {
    struct run r;
    struct err err;
    run_begin(&r, seed);
    unsigned left = (unsigned)n;
    if (time) r.n.goes_on = goes_on;
    r.n.goes_on_ctx = &left;
    uint64_t calls = sim_disk_calls(r.n.disk);
    if (!time) sim_disk_fail_at(r.n.disk, calls + n, ENOSPC);
    enum status status = sr_save(&r.n, &err);
    bool refused = status != OK;
    sim_disk_fail_at(r.n.disk, 0, 0);
    if (refused) {
        RIG_CHECK(status == (time ? ERR_CANCELED : ERR_IO), "%s", err.msg);
        RIG_CHECK(!disk_exists(sim_disk_as_disk(r.n.disk), "data/head/ROOT"), "a root is left");
        sr_work(&r.n, 20);
        sr_dump(&r.n, &r.before);
    }
    sr_kill(&r.n);
    must_start(&r, seed);
    RIG_CHECK(r.n.loaded == !refused, "seed %" PRIu64 " call %" PRIu64 ": %s", seed, n,
              r.n.why.msg);
    refusals += refused;
    bool more = time ? refused : sim_disk_calls(r.n.disk) - calls > n && n < 200 && refused;
    run_end(&r);
    return more;
}

int main(void) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (uint64_t n = 1; cut_while_saving(seed, n); n++)
            continue;
        for (uint64_t n = 1; cut_while_starting(seed, n); n++)
            continue;
        for (uint64_t n = 1; refuse_while_saving(seed, n, false); n++)
            continue;
        for (uint64_t n = 1; refuse_while_saving(seed, n, true); n++)
            continue;
    }
    printf("power cut at %" PRIu64 " calls, %" PRIu64 " refused; %" PRIu64
           " starts from a snapshot, %" PRIu64 " from the log\n",
           cuts, refusals, loaded, replayed);
    RIG_CHECK(refusals > 50 && loaded > 20 && replayed > 20, "too little was tried");
    return 0;
}
