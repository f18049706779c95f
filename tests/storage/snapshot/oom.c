/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of saving and of loading fails in turn: there is no snapshot then, or it is not
 * used, and both say that memory was lacking. */
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/runtime/disk.h"
#include "tests/storage/nomem.h"
#include "tests/storage/snapshot/snapshot_rig.h"

/* From where on all fail; the first are each tried. */
static long next_fail(long n) {
    return n + 1 + n / 60;
}

static void save_fails(struct sr_node *n) {
    struct snapshot_place at = sr_place(n);
    struct snapshot_save s = {.stores = n->stores, .stores_count = n->cores_count};
    struct snapshot_told told;
    struct err err;
    long tried = 0;
    RIG_CHECK(log_get_end(n->log, &s.end), "!");
    for (long i = 1;; i = next_fail(i), tried++) {
        nomem_arm((uint64_t)i, false);
        nomem_on(true);
        enum status status = snapshot_save(&at, &s, &told, &err);
        nomem_on(false);
        if (nomem_failed() == 0) {
            RIG_CHECK(status == OK, "%s", err.msg);
            break;
        }
        RIG_CHECK(status == ERR_NOMEM, "allocation %ld: %s: %s", i, status_name(status), err.msg);
        RIG_CHECK(!disk_exists(at.rt->disk, "data/head/ROOT"), "a snapshot without its end");
    }
    printf("saving: %ld tried\n", tried);
}

static void load_fails(struct sr_node *n, struct buf *want) {
    long tried = 0;
    struct err err;
    for (long i = 1;; i = next_fail(i), tried++) {
        sr_probe_stores(n);
        nomem_arm((uint64_t)i, false);
        nomem_on(true);
        enum status status = sr_probe_load(n, &err);
        nomem_on(false);
        if (nomem_failed() == 0) {
            RIG_CHECK(status == OK, "%s", err.msg);
            break;
        }
        RIG_CHECK(status == ERR_NOMEM, "allocation %ld: %s: %s", i, status_name(status), err.msg);
    }
    struct buf got = {0};
    sr_dump(n, &got);
    sr_must_equal(want, &got, "what is there", 0);
    buf_fini(&got);
    printf("loading: %ld tried\n", tried);
    RIG_CHECK(tried > 100, "too little was tried");
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int dir_remove(const char *dir) {
    return nftw(dir, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
    struct sr_world w;
    struct sr_node n;
    struct buf want = {0};
    sr_world_init(&w, 3);
    w.with_archive = false;
    w.exemplars_max = 10000;
    sr_node_init(&n, &w, 0, 3);
    n.real = disk_real(); /* the simulator's wants memory, too */
    char dir[] = "/tmp/cairn-snapshot-oom-XXXXXX";
    RIG_CHECK(mkdtemp(dir) != NULL && chdir(dir) == 0, "no directory");
    RIG_CHECK(disk_mkdir(n.real, "data", NULL) == OK, "!");
    RIG_CHECK(sr_start(&n, 2), "!");
    sr_work(&n, 500);
    sr_dump(&n, &want);
    save_fails(&n);
    sr_kill(&n);
    load_fails(&n, &want);
    sr_node_fini(&n);
    sr_world_fini(&w);
    buf_fini(&want);
    return dir_remove(dir);
}
