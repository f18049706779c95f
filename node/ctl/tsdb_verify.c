/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl tsdb verify: every frame of every file of the data is read, and every checksum, and what
 * they say of each other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/ctl/ctl.h"
#include "node/ctl/tsdb_dir.h"

struct verify_options {
    union flag_value help;
};
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", offsetof(struct verify_options, help), false},
};
static struct verify_options options;

static const char summary[] =
    "Check the data directory of a node that is not running, or a snapshot: identity, cluster map, "
    "manifest, every frame and checksum of the blocks and of the log, what blocks say of their "
    "samples (digests), and that no shard lacks entries of the log.\n\nEach finding is a line on "
    "stdout that names file and offset, or the shard; then the exit code is 1. The torn end that a "
    "crash leaves on the log is no finding: nothing in it was acknowledged.";

static uint64_t findings;

static void put_finding(const struct err *what) {
    findings++;
    printf("%s\n", what->msg);
}

static void on_block_bad(void *ctx, const struct err *what) {
    (void)ctx;
    put_finding(what);
}

static void on_log_bad(void *ctx, bool torn, const struct err *what) {
    (void)ctx;
    if (torn)
        printf("%s, which is no finding\n", what->msg);
    else
        put_finding(what);
}

static enum status blocks_verify(const struct tsdb_dir *dir, uint64_t *out_samples,
                                 struct err *err) {
    for (uint32_t i = 0; dir->blocks != NULL && i < dir->blocks->count; i++) {
        const struct list_block *b = &dir->blocks->blocks[i];
        struct block_inspect check = {.bad = on_block_bad};
        struct block_info info;
        if (b->block == NULL) {
            put_finding(&b->why);
            continue;
        }
        TRY(block_inspect(b->block, &check, err));
        block_get_info(b->block, &info);
        *out_samples += info.samples_count;
    }
    return OK;
}

static enum status shards_verify(const struct tsdb_dir *dir, struct err *err) {
    uint32_t count = dir->map->settings.shards_count;
    uint32_t *shards = calloc(count, sizeof *shards);
    if (shards == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    size_t damaged = store_damaged_shards(dir->store, shards, count);
    for (size_t i = 0; i < damaged; i++) {
        struct err why;
        if (!store_damage(dir->store, shards[i], &why)) continue;
        err_prefix(&why, "%s/log: shard %" PRIu32, dir->path, shards[i]);
        put_finding(&why);
    }
    free(shards);
    return OK;
}

static int verify(const struct tsdb_dir *dir) {
    struct err err;
    uint64_t samples = 0;
    if (blocks_verify(dir, &samples, &err) != OK || shards_verify(dir, &err) != OK)
        return ctl_fail("%s", err.msg);
    printf("%" PRIu32 " blocks with %" PRIu64 " samples, %" PRIu64 " files of the log with %" PRIu64
           " frames, %" PRIu64 " bytes\n",
           dir->blocks == NULL ? 0 : dir->blocks->count, samples, dir->look.files, dir->look.frames,
           dir->look.bytes);
    return findings == 0 ? 0 : ctl_fail("%" PRIu64 " findings", findings);
}

int tsdb_verify_main(int argc, char **argv) {
    static struct flag_list arguments; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &arguments, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean)
        return ctl_help("tsdb verify", "[DIR]", summary, defs, ARRAY_LEN(defs));
    if (arguments.count > 1) return ctl_fail("unexpected %s", arguments.items[1]);
    struct tsdb_dir_options to = {.path = arguments.count == 0 ? "data/" : arguments.items[0],
                                  .with_log = true,
                                  .log_bad = on_log_bad};
    struct tsdb_dir dir;
    int code = tsdb_dir_open(&to, &dir, &err) == OK ? verify(&dir) : ctl_fail("%s", err.msg);
    tsdb_dir_close(&dir);
    return code;
}
