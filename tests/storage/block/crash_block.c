/* SPDX-License-Identifier: Apache-2.0 */
/* Power is cut, or one call fails, at the n-th call to the disk for every n, while a block is
 * written, merged and read: a block that was finished is there and whole, one that was not is not
 * there under its name, and the next try succeeds. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/storage/block/block_model.h"
#include "tests/storage/block/fault_disk.h"

static struct model whole, parts[2];

static enum status run_write(struct disk *disk, struct err *err) {
    struct block_writer_options options = model_writer_options(&whole, disk, "dir/block");
    bool written;
    return model_write(&whole, &options, &written, err);
}

static enum status run_merge(struct disk *disk, struct err *err) {
    struct block *blocks[2] = {0};
    enum status status = model_open(disk, "dir/a", &blocks[0], err);
    if (status == OK) status = model_open(disk, "dir/b", &blocks[1], err);
    struct block_merge_input inputs[] = {{blocks[0], NULL}, {blocks[1], NULL}};
    struct block_merge_options options = {.writer = model_writer_options(&whole, disk, "dir/block"),
                                          .inputs = inputs,
                                          .inputs_count = 2};
    bool written;
    options.writer.level = 2;
    if (status == OK) status = block_merge(&options, &written, err);
    block_unref(blocks[0]);
    block_unref(blocks[1]);
    return status;
}

static enum status run_read(struct disk *disk, struct err *err) {
    struct block *b;
    TRY(model_open(disk, "dir/a", &b, err));
    enum status status = model_compare(&parts[0], b, err);
    if (status == OK) status = block_verify(b, NULL, err);
    block_unref(b);
    return status;
}

static struct sim_disk *disk_new(uint64_t seed) {
    struct sim_disk *sd = sim_disk_new(seed);
    struct disk *disk = sim_disk_as_disk(sd);
    struct err err;
    bool written;
    CHECK(disk_mkdir(disk, "dir", &err) == OK, "%s", err.msg);
    for (int i = 0; i < 2; i++) {
        struct block_writer_options options =
            model_writer_options(&parts[i], disk, i == 0 ? "dir/a" : "dir/b");
        CHECK(model_write(&parts[i], &options, &written, &err) == OK, "%s", err.msg);
    }
    return sd;
}

/* Under its name there is nothing, or all of it. */
static bool block_is_there(struct disk *disk, bool merged) {
    struct block *b;
    struct err err;
    if (!disk_exists(disk, "dir/block")) return false;
    CHECK(model_open(disk, "dir/block", &b, &err) == OK, "%s", err.msg);
    CHECK(block_verify(b, NULL, &err) == OK, "%s", err.msg);
    if (!merged) CHECK(model_compare(&whole, b, &err) == OK, "%s", err.msg);
    block_unref(b);
    return true;
}

static void cuts_run(enum status (*run)(struct disk *, struct err *), bool merged) {
    unsigned lost = 0, kept = 0;
    for (uint64_t n = 1;; n++) {
        struct sim_disk *sd = disk_new(n);
        struct disk *disk = sim_disk_as_disk(sd);
        uint64_t before = sim_disk_calls(sd);
        struct err err;
        model_seed = n;
        sim_disk_cut_at(sd, before + n);
        enum status status = run(disk, &err);
        bool reached = sim_disk_calls(sd) >= before + n;
        sim_disk_restart(sd);
        bool there = block_is_there(disk, merged);
        CHECK(status == OK ? there : status == ERR_IO, "call %" PRIu64 ": %s", n,
              status_name(status));
        kept += there;
        lost += !there;
        CHECK(run(disk, &err) == OK && block_is_there(disk, merged), "again: %s", err.msg);
        CHECK(!disk_exists(disk, "dir/block.tmp"), "call %" PRIu64, n);
        sim_disk_free(sd);
        if (!reached) break;
    }
    CHECK(lost >= 5 && kept >= 1, "%u lost, %u kept", lost, kept);
    printf("power cuts: %u lost, %u kept\n", lost, kept);
}

static void faults_run(const char *what, enum status (*run)(struct disk *, struct err *),
                       int fail_errno) {
    struct sim_disk *sd = disk_new(1);
    struct disk *inner = sim_disk_as_disk(sd);
    uint64_t n = 1;
    for (;; n++) {
        struct fault_disk disk;
        struct err err = {0};
        fault_disk_init(&disk, inner);
        disk.fail_at = n;
        disk.fail_errno = fail_errno;
        model_seed = n;
        enum status status = run(&disk.disk, &err);
        if (disk.calls < n) {
            CHECK(status == OK, "%s", err.msg);
            break;
        }
        CHECK(status == ERR_IO && err.os == fail_errno, "%s: call %" PRIu64 ": %s", what, n,
              status_name(status));
        CHECK(!disk_exists(inner, "dir/block") && !disk_exists(inner, "dir/block.tmp"),
              "%s: call %" PRIu64, what, n);
    }
    CHECK(n > 8, "%s: %" PRIu64 " calls", what, n);
    printf("%s: %" PRIu64 " calls failed\n", what, n - 1);
    sim_disk_free(sd);
}

int main(void) {
    struct rng rng;
    rng_init(&rng, 5);
    model_make(&whole, &rng, &(struct model_options){160, 600, 16, 4});
    for (int i = 0; i < 2; i++)
        model_make_part(&parts[i], &whole, &rng);
    cuts_run(run_write, false);
    cuts_run(run_merge, true);
    faults_run("write, EIO", run_write, EIO);
    faults_run("write, ENOSPC", run_write, ENOSPC);
    faults_run("merge, EIO", run_merge, EIO);
    faults_run("merge, ENOSPC", run_merge, ENOSPC);
    faults_run("read, EIO", run_read, EIO);
    model_free(&whole);
    model_free(&parts[0]);
    model_free(&parts[1]);
    return 0;
}
