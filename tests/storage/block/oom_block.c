/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of writing, opening, selecting, reading, verifying and merging fails in turn: it
 * is told, nothing is left behind, and the next try succeeds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/storage/block/block_model.h"
#include "tests/storage/nomem.h"

static struct model model;
static char dir[] = "/tmp/cairn-block-XXXXXX", paths[3][64];
static struct block *block;

static enum status run_write(struct err *err) {
    struct block_writer_options options = model_writer_options(&model, disk_real(), paths[1]);
    bool written;
    return model_write(&model, &options, &written, err);
}
static enum status run_merge(struct err *err) {
    struct block_merge_input inputs[] = {{block, NULL}, {block, NULL}};
    struct block_merge_options options = {.writer =
                                              model_writer_options(&model, disk_real(), paths[1]),
                                          .inputs = inputs,
                                          .inputs_count = 2};
    bool written;
    return block_merge(&options, &written, err);
}
static enum status run_read(struct err *err) {
    struct block *b;
    TRY(model_open(disk_real(), paths[0], &b, err));
    enum status status = model_compare(&model, b, err);
    if (status == OK) status = block_verify(b, NULL, err);
    block_unref(b);
    return status;
}
static enum status run_select(struct err *err) {
    struct matcher matcher = {.kind = MATCH_NEQ, .name = SV("job"), .value = SV("api")};
    struct select_query query = {
        .matchers = &matcher, .matchers_count = 1, .from_ms = 1200000, .to_ms = INT64_MAX};
    struct arena arena;
    struct sv *names;
    size_t count;
    arena_init(&arena, 0);
    enum status status = matcher_compile(&matcher, &arena, err);
    if (status == OK) status = block_label_names(block, &query, &arena, &names, &count, err);
    if (status == OK)
        status = block_label_values(block, SV("instance"), &query, &arena, &names, &count, err);
    matcher_fini(&matcher);
    arena_fini(&arena);
    return status;
}

static void run_all(const char *what, enum status (*run)(struct err *)) {
    uint64_t n = 1;
    for (;; n += 1 + n / 200) { /* each of the first 200 */
        struct err err = {0};
        nomem_arm(n, true);
        nomem_on(true);
        enum status status = run(&err);
        nomem_on(false);
        bool reached = nomem_failed() > 0;
        model_seed = n;
        if (!reached) {
            CHECK(status == OK, "%s: %s", what, err.msg);
            break;
        }
        /* an arena tells a limit; a file that cannot be opened for memory, the disk */
        CHECK(status == ERR_NOMEM || status == ERR_LIMIT || status == ERR_IO || status == OK,
              "%s: allocation %" PRIu64 ": %s", what, n, err.msg);
        CHECK(status == OK || (access(paths[1], F_OK) != 0), "%s: a block", what);
        CHECK(status == OK || run(&err) == OK, "%s: again: %s", what, err.msg);
        unlink(paths[1]);
    }
    unlink(paths[1]);
    printf("%s: %" PRIu64 " allocations\n", what, n - 1);
}

int main(void) {
    struct rng rng;
    struct err err;
    bool written;
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%d", dir, i);
    rng_init(&rng, 2);
    model_make(&model, &rng, &(struct model_options){24, 30, 4, 3});
    struct block_writer_options options = model_writer_options(&model, disk_real(), paths[0]);
    CHECK(model_write(&model, &options, &written, &err) == OK, "%s", err.msg);
    CHECK(model_open(disk_real(), paths[0], &block, &err) == OK, "%s", err.msg);
    run_all("write", run_write);
    run_all("merge", run_merge);
    run_all("read", run_read);
    run_all("select", run_select);
    block_unref(block);
    unlink(paths[0]);
    rmdir(dir);
    model_free(&model);
    return 0;
}
