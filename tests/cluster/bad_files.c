/* SPDX-License-Identifier: Apache-2.0 */
/* A node of its own, whole in the simulator, writes until it has files of every kind; then each
 * file (seat, map, Raft, log, manifest; not the newest of the log, and blocks) goes bad while it is
 * down: a flipped bit, the end cut off, removed, unreadable. The next start is refused with the
 * file's name, or what was acknowledged is answered, or nothing is; never without a part of it.
 * The storage's part with more detail: tests/storage/archive/model.c. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "tests/cluster/world.h"
#include "tests/storage/block/fault_disk.h"

enum {
    WRITES = 300,
    WRITE_EVERY_MS = 40,
    FLIPS = 24,
    CUTS = 8,
    SERVES_MS = 15000,
    FILES_MAX = 256
};

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) check_fail(#cond, __VA_ARGS__);                                               \
    } while (0)

NORETURN PRINTF_LIKE(2, 3) static void check_fail(const char *cond, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", cond);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

static struct world w;
static struct fault_disk fault;
static struct stored_file {
    char path[96];
    struct buf bytes;
} files[FILES_MAX];
static size_t files_count;

enum harm { FLIP, CUT, REMOVED, UNREADABLE, HARMS };
static const char *const harm_names[HARMS] = {"bit flip", "cut", "removed", "unreadable"};

/* -- files */

static const char *const dirs[] = {"data", "data/ring", "data/ring/raft", "data/log",
                                   "data/blocks"};

struct walk {
    struct disk *disk;
    const char *dir;
};

static bool file_take(void *ctx, const char *name) {
    const struct walk *walk = ctx;
    struct stored_file *f = &files[files_count];
    CHECK(files_count < FILES_MAX, "too many files");
    *f = (struct stored_file){0};
    snprintf(f->path, sizeof f->path, "%s/%s", walk->dir, name);
    if (disk_read_file(walk->disk, f->path, 64 << 20, &f->bytes, NULL) == OK)
        files_count++;
    else
        buf_fini(&f->bytes); /* a directory */
    return true;
}

static void files_take(struct disk *disk) {
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct err err;
        enum status status =
            disk_list(disk, dirs[i], file_take, &(struct walk){disk, dirs[i]}, &err);
        CHECK(status == OK, "%s", err.msg);
    }
}

static bool file_remove(void *ctx, const char *name) {
    const struct walk *walk = ctx;
    char path[160];
    snprintf(path, sizeof path, "%s/%s", walk->dir, name);
    status_ignore(disk_unlink(walk->disk, path, NULL)); /* directories stay */
    return true;
}

static void file_put(struct disk *disk, const char *path, struct sv bytes) {
    struct err err;
    CHECK(disk_write_file(disk, path, bytes, &err) == OK, "%s", err.msg);
}

static void files_restore(struct disk *disk) {
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        CHECK(disk_list(disk, dirs[i], file_remove, &(struct walk){disk, dirs[i]}, NULL) == OK,
              "%s", dirs[i]);
    for (size_t i = 0; i < files_count; i++)
        file_put(disk, files[i].path, buf_sv(&files[i].bytes));
    fault.denied = NULL;
}

static void file_harm(struct disk *disk, const struct stored_file *f, enum harm harm,
                      struct rng *rng) {
    char *bytes = malloc(f->bytes.len + 1);
    CHECK(bytes != NULL, "memory");
    if (f->bytes.len > 0) memcpy(bytes, f->bytes.ptr, f->bytes.len);
    switch (harm) {
    case FLIP:
        bytes[rng_below(rng, f->bytes.len)] ^= (char)(1u << rng_below(rng, 8));
        file_put(disk, f->path, sv_make(bytes, f->bytes.len));
        break;
    case CUT: file_put(disk, f->path, sv_make(bytes, rng_below(rng, f->bytes.len))); break;
    case REMOVED: CHECK(disk_unlink(disk, f->path, NULL) == OK, "%s", f->path); break;
    case UNREADABLE: fault.denied = f->path; break;
    case HARMS: break;
    }
    free(bytes);
}

/* -- the node */

static struct node_options flags(void) {
    return (struct node_options){.data_dir = "data",
                                 .cluster_name = "sim",
                                 .discovery = w.discovery,
                                 .listen_addr = sim_addr(w.sim, 0),
                                 .advertise_addr = sim_addr(w.sim, 0),
                                 .bootstrap_expect = 1,
                                 .shards_count = WORLD_SHARDS,
                                 .replication_factor = 1,
                                 .out_of_order_window_ms = 1800000,
                                 .log_file_bytes_max = 16 << 10,
                                 .block_range_ms = 600000,
                                 .block_merged_ms_max = 5400000,
                                 .blocks_tick_ms = 500,
                                 .wal_sync_always = true,
                                 .query_timeout_ms = 8000,
                                 .query_concurrency = 4};
}

static enum status start(struct runtime *rt, struct err *err) {
    struct node_options o = flags();
    struct node *node = NULL;
    enum status status = node_open(rt, &o, &node, err);
    if (status == OK) status = node_start(node, err);
    if (status != OK) {
        node_free(node);
        sim_kill(w.sim, 0);
        return status;
    }
    w.nodes[0] = node;
    return OK;
}

static void stop(void) {
    sim_kill(w.sim, 0);
    if (w.nodes[0] != NULL) world_forget_node(&w, 0);
}

static bool never(void *ctx) {
    (void)ctx;
    return w.failure[0] != '\0';
}

static void run_ms(uint64_t ms) {
    sim_run(w.sim, never, NULL, sim_now_ms(w.sim) + ms);
}

/* All that was acknowledged is answered. */
static bool answers(void) {
    uint64_t end = sim_now_ms(w.sim) + SERVES_MS;
    w.closing_at = 0;
    while (w.closing_at == 0 && sim_now_ms(w.sim) < end && w.failure[0] == '\0') {
        if (world_node_serves(&w, 0) && list_is_empty(&w.clients)) client_query_start(&w, 0, true);
        run_ms(200);
    }
    return w.closing_at > 0;
}

static void prepare(uint64_t seed) {
    w = (struct world){.options = {.seed = seed, .nodes = 1, .cores = 2}, .value_next = 1};
    w.nodes_count = 1;
    w.wall_base_ms = SIM_WALL_START_MS;
    list_init(&w.clients);
    w.sim = sim_new(&(struct sim_options){.seed = seed, .nodes_count = 1, .cores_per_node = 2});
    world_name_nodes(&w);
    for (unsigned s = 0; s < WORLD_SERIES; s++) {
        w.series[s].samples = calloc(WORLD_SAMPLES_MAX, sizeof *w.series[s].samples);
        CHECK(w.series[s].samples != NULL, "memory");
    }
    struct err err;
    struct runtime *rt = sim_start(w.sim, 0);
    CHECK(start(rt, &err) == OK, "%s", err.msg);
    for (unsigned i = 0; i < WRITES; i++) {
        run_ms(WRITE_EVERY_MS);
        if (world_node_serves(&w, 0)) client_write_start(&w, 0, WRITE_SERIES_MAX);
    }
    run_ms(5000);
    CHECK(answers() && w.samples_acked > WRITES, "%s", w.failure);
    files_take(rt->disk);
    stop();
}

/* -- trials */

static uint64_t refused[HARMS], answered[HARMS], silent[HARMS];

static void trial(const struct stored_file *f, enum harm harm, struct rng *rng) {
    struct runtime *rt = sim_start(w.sim, 0);
    struct err err;
    fault_disk_init(&fault, rt->disk);
    files_restore(rt->disk);
    file_harm(rt->disk, f, harm, rng);
    rt->disk = &fault.disk;
    if (start(rt, &err) != OK) {
        CHECK(strstr(err.msg, strrchr(f->path, '/') + 1) != NULL, "%s: %s is not named: %s",
              harm_names[harm], f->path, err.msg);
        refused[harm]++;
        return;
    }
    bool complete = answers();
    CHECK(w.failure[0] == '\0', "%s: %s: %s", f->path, harm_names[harm], w.failure);
    CHECK(complete || w.nodes[0] == NULL || !node_is_ready(w.nodes[0], NULL),
          "%s: %s: ready, and it does not answer", f->path, harm_names[harm]);
    answered[harm] += complete;
    silent[harm] += !complete;
    stop();
}

/* The end of the newest file of the log may look torn; and blocks: tests/storage/archive/model.c.
 */
static bool is_elsewhere(size_t i) {
    bool newest = strncmp(files[i].path, "data/log/log-", 13) == 0 &&
                  (i + 1 == files_count || strncmp(files[i + 1].path, "data/log/log-", 13) != 0);
    size_t len = strlen(files[i].path);
    return newest || strcmp(files[i].path + len - 6, ".block") == 0;
}

static void trials(const struct stored_file *f, struct rng *rng) {
    for (unsigned i = 0; i < FLIPS && f->bytes.len > 0; i++)
        trial(f, FLIP, rng);
    for (unsigned i = 0; i < CUTS && f->bytes.len > 0; i++)
        trial(f, CUT, rng);
    trial(f, REMOVED, rng);
    trial(f, UNREADABLE, rng);
}

int main(void) {
    struct rng rng;
    size_t count = 0;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    rng_init(&rng, 1);
    prepare(1);
    for (size_t i = 0; i < files_count; i++) {
        if (is_elsewhere(i)) continue;
        printf("%s, %zu bytes\n", files[i].path, files[i].bytes.len);
        trials(&files[i], &rng);
        count++;
    }
    CHECK(count >= 5, "%zu files", count);
    for (int h = 0; h < HARMS; h++)
        printf("%-10s %4" PRIu64 " refused by name, %4" PRIu64 " answered, %4" PRIu64 " silent\n",
               harm_names[h], refused[h], answered[h], silent[h]);
    for (size_t i = 0; i < files_count; i++)
        buf_fini(&files[i].bytes);
    for (unsigned s = 0; s < WORLD_SERIES; s++)
        free(w.series[s].samples);
    ring_map_unref(w.map);
    sim_free(w.sim);
    return 0;
}
