/* SPDX-License-Identifier: Apache-2.0 */
/* Power is cut, or one call fails, at the n-th call to the disk, for every n of a workload: what
 * was acknowledged is there, what was not appended is not, the order is kept, and the log goes on.
 * Usage: crash_log [seeds of each call] */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/log_rig.h"

enum { APPENDS = 640, WINDOW = 4, DISK_CALLS_MIN = 500, PACK_EVERY = 80 };

struct mode {
    const char *name;
    bool sync_every_frame;
    int fail_errno; /* 0: power cut */
};
static const struct mode modes[] = {
    {"power cut", true, 0},
    {"power cut, synced at intervals", false, 0},
    {"EIO", true, EIO},
    {"ENOSPC", true, ENOSPC},
};

static struct rng workload;
static unsigned left;

/* As the worker does. That it fails harms nobody. */
static void pack_one(struct rig *rig) {
    const bool canceled = false;
    bool more;
    uint64_t bytes;
    struct err err;
    status_ignore(log_pack_closed(rig->log, &canceled, false, &more, &bytes, &err));
}

static void workload_next(struct rig *rig, unsigned core) {
    if (left == 0 || rig->failed_count > 0) return;
    if (left % PACK_EVERY == 0) pack_one(rig);
    left--;
    /* A core has its own shards: seq is given out in the order of the appends of one core. */
    uint32_t shard = (uint32_t)rng_below(&workload, RIG_SHARDS / RIG_CORES) * RIG_CORES + core;
    rig_append(rig, core, shard, 1 + (unsigned)rng_below(&workload, 4));
}

static void workload_start(struct rig *rig, uint64_t seed, unsigned count) {
    rng_init(&workload, seed);
    left = count;
    rig->on_done = workload_next;
    for (unsigned i = 0; i < WINDOW; i++)
        workload_next(rig, i % RIG_CORES);
}

static void workload_run(struct rig *rig, uint64_t seed, unsigned count) {
    workload_start(rig, seed, count);
    rig_run(rig);
    rig->on_done = NULL;
}

static void rig_setup(struct rig *rig, const struct mode *mode, uint64_t seed) {
    rig_init(rig, seed);
    rig->options.file_bytes_max = 4 << 10;
    rig->options.frame_bytes_max = 300; /* groups of several frames, too */
    rig->options.sync_every_frame = mode->sync_every_frame;
    rig->options.sync_interval_ms = 1;
}

/* The disk failed for good or the log closed itself: nothing may be acknowledged any more. */
static void failure_check(struct rig *rig) {
    if (rig->failed_count == 0) return;
    RIG_CHECK(!rig->acked_after_failure, "acknowledged after a failure");
    struct err err;
    RIG_CHECK(log_failure(rig->log, &err) && strcmp(err.msg, rig->failure.msg) == 0, "%s", err.msg);
    unsigned failed = rig->failed_count;
    rig_append(rig, 0, 0, 1);
    rig_append(rig, 1, 1, 1);
    rig_run(rig);
    RIG_CHECK(rig->failed_count == failed + 2 && !rig->acked_after_failure, "taken");
}

static void recovery_check(struct rig *rig, const struct mode *mode, uint64_t n, bool twice) {
    /* What was acknowledged without a sync may go; what is there is a prefix of each shard all the
     * same. */
    if (!mode->sync_every_frame) memset(rig->acked, 0, sizeof rig->acked);
    sim_disk_fail_at(rig->sd, 0, 0); /* this seed's run may have been shorter */
    if (twice) {                     /* recovery itself loses power first */
        sim_disk_cut_at(rig->sd, sim_disk_calls(rig->sd) + 1 + n % 5);
        if (rig_start(rig) == OK) RIG_CHECK(!rig->damaged, "%s", rig->damage.msg);
        rig_power_cut(rig);
    }
    rig_must_start(rig);
    uint64_t before = rig->acked[0];
    workload_run(rig, n, 12);
    rig_append(rig, 0, 0, 1);
    rig_run(rig);
    RIG_CHECK(rig->failed_count == 0 && rig->acked[0] > before, "%s", rig->failure.msg);
    if (!mode->sync_every_frame) {
        core_set_current(rig->rt->log_core);
        RIG_CHECK(log_stop(rig->log, NULL) == OK, "stop");
        core_set_current(NULL);
    }
    rig_power_cut(rig);
    rig_must_start(rig);
}

/* Returns the calls to the disk. n is 0: nothing happens to it. */
static uint64_t run(const struct mode *mode, uint64_t n, uint64_t seed) {
    struct rig rig;
    rig_setup(&rig, mode, seed);
    if (n > 0 && mode->fail_errno == 0) sim_disk_cut_at(rig.sd, n);
    if (n > 0 && mode->fail_errno != 0) sim_disk_fail_at(rig.sd, n, mode->fail_errno);
    if (rig_start(&rig) == OK) workload_run(&rig, 1, APPENDS);
    uint64_t calls = sim_disk_calls(rig.sd);
    if (rig.log != NULL) failure_check(&rig);
    if (n == 0) RIG_CHECK(left == 0 && rig.failed_count == 0, "%s", rig.failure.msg);
    if (mode->fail_errno != 0 && n % 2 == 0)
        rig_kill(&rig); /* only the process starts again: the page cache is still there */
    else
        rig_power_cut(&rig);
    if (n > 0) recovery_check(&rig, mode, n, seed % 2 == 0);
    rig_fini(&rig);
    return calls;
}

/* The process dies right after the n-th call, which may leave a whole frame that was not synced. It
 * starts again on the same page cache, goes on, and then the power is cut at the k-th call from
 * there. */
static bool run_kill(uint64_t n, uint64_t k) {
    struct rig rig;
    rig_setup(&rig, &modes[0], n * 16 + k);
    rig_must_start(&rig);
    workload_start(&rig, 1, APPENDS);
    bool more = rig_run_to_call(&rig, n);
    rig.on_done = NULL;
    rig_kill(&rig);
    sim_disk_cut_at(rig.sd, sim_disk_calls(rig.sd) + k);
    if (rig_start(&rig) == OK) {
        RIG_CHECK(!rig.damaged, "%s", rig.damage.msg);
        rig_verify(&rig);
        /* It was read, so it is relied on (the head is built from it) and durable. */
        memcpy(rig.appended, rig.recovered, sizeof rig.appended);
        memcpy(rig.acked, rig.recovered, sizeof rig.acked);
        workload_run(&rig, n, 12);
    }
    rig_power_cut(&rig);
    rig_must_start(&rig);
    rig_fini(&rig);
    return more;
}

/* The log is stopped and packed, the newest file too, as a node leaves it; power is cut, or a call
 * fails, at the n-th call from there. False: that is behind the last one. */
static bool run_stop(uint64_t n, int fail_errno) {
    struct rig rig;
    struct err err;
    rig_setup(&rig, &modes[0], n);
    rig_must_start(&rig);
    workload_run(&rig, 1, 300);
    uint64_t calls = sim_disk_calls(rig.sd), bytes;
    if (fail_errno == 0) sim_disk_cut_at(rig.sd, calls + n);
    if (fail_errno != 0) sim_disk_fail_at(rig.sd, calls + n, fail_errno);
    const bool canceled = false;
    bool more = true;
    core_set_current(rig.rt->log_core);
    enum status status = log_stop(rig.log, &err);
    while (status == OK && more)
        status = log_pack_closed(rig.log, &canceled, true, &more, &bytes, &err);
    core_set_current(NULL);
    bool reached = sim_disk_calls(rig.sd) >= calls + n;
    RIG_CHECK(status == OK || reached, "%s", err.msg);
    sim_disk_fail_at(rig.sd, 0, 0);
    rig_power_cut(&rig);
    rig_must_start(&rig);
    workload_run(&rig, n, 12);
    rig_power_cut(&rig);
    rig_must_start(&rig);
    rig_fini(&rig);
    return reached;
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 3;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const struct mode *mode = &modes[i];
        uint64_t calls = run(mode, 0, 1);
        RIG_CHECK(calls >= DISK_CALLS_MIN || !mode->sync_every_frame, "%" PRIu64 " calls", calls);
        for (uint64_t n = 1; n <= calls; n++)
            for (uint64_t seed = 0; seed < seeds; seed++)
                run(mode, n, n * seeds + seed);
        printf("%s: at each of %" PRIu64 " calls\n", mode->name, calls);
    }
    uint64_t n = 1;
    for (bool more = true; more; n++)
        for (uint64_t k = 1; k <= 8; k++)
            more = run_kill(n, k);
    printf("kill, start, power cut: at each of %" PRIu64 " calls\n", n - 1);
    static const int errnos[] = {0, ENOSPC, EIO};
    for (size_t i = 0; i < ARRAY_LEN(errnos); i++) {
        for (n = 1; run_stop(n, errnos[i]); n++)
            continue;
        RIG_CHECK(n > 40, "%" PRIu64 " calls", n);
        printf("packed at the stop: at each of %" PRIu64 " calls\n", n - 1);
    }
    return 0;
}
