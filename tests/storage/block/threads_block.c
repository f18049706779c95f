/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that select from and read one block, and let go of it, at the same time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/storage/block/block_model.h"

enum { THREADS = 4, ROUNDS = 15 };

static struct model model;

static void *reader_run(void *ctx) {
    struct block *b = ctx;
    struct rng rng;
    struct err err;
    rng_init(&rng, (uint64_t)(uintptr_t)&rng);
    for (int i = 0; i < ROUNDS; i++) {
        struct block *again = block_ref(b);
        model_check_select(&model, again, &rng);
        CHECK(model_compare(&model, again, &err) == OK, "%s", err.msg);
        block_unref(again);
    }
    block_unref(b);
    return NULL;
}

int main(void) {
    char dir[] = "/tmp/cairn-block-XXXXXX", path[sizeof dir + 16];
    pthread_t threads[THREADS];
    struct block *b;
    struct rng rng;
    struct err err;
    bool written;
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    snprintf(path, sizeof path, "%s/block", dir);
    rng_init(&rng, 11);
    model_make(&model, &rng, &(struct model_options){200, 200, 64, 5});
    struct block_writer_options options = model_writer_options(&model, disk_real(), path);
    CHECK(model_write(&model, &options, &written, &err) == OK, "%s", err.msg);
    CHECK(model_open(disk_real(), path, &b, &err) == OK, "%s", err.msg);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, reader_run, block_ref(b)) == 0, "thread");
    block_set_obsolete(b);
    block_unref(b);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(access(path, F_OK) != 0, "the last one removes it");
    CHECK(rmdir(dir) == 0, "%s", dir);
    model_free(&model);
    return 0;
}
