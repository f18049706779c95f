/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/log_rig.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "node/base/rng.h"

enum { BODY_BYTES_MAX = 1 << 16 };

void rig_fail(const char *file, int line, const char *cond, const char *fmt, ...) {
    fprintf(stderr, "%s:%d: %s: ", file, line, cond);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

void rig_init(struct rig *rig, uint64_t seed) {
    *rig = (struct rig){
        .options = {.dir = "data/log",
                    .file_bytes_max = 1 << 20,
                    .frame_bytes_max = 16 << 20,
                    .sync_every_frame = true,
                    .sync_interval_ms = 100},
        .sd = sim_disk_new(seed),
        .sim = sim_new(
            &(struct sim_options){.seed = seed, .nodes_count = 1, .cores_per_node = RIG_CORES}),
        .body_bytes_max = 60,
    };
    list_init(&rig->ops);
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2); /* damage is expected; the tests read it from err */
}

void rig_fini(struct rig *rig) {
    rig_kill(rig);
    sim_free(rig->sim);
    sim_disk_free(rig->sd);
}

struct sv rig_body(const struct rig *rig, uint32_t shard, uint64_t seq, char *scratch) {
    struct rng rng;
    rng_init(&rng, seq * RIG_SHARDS + shard);
    size_t len = (size_t)rng_below(&rng, rig->body_bytes_max + 1);
    RIG_CHECK(len <= BODY_BYTES_MAX, "%zu", len);
    for (size_t i = 0; i < len; i++)
        scratch[i] = (char)rng_u64(&rng);
    return sv_make(scratch, len);
}

static void entry_make(const struct rig *rig, uint32_t shard, uint64_t seq, struct buf *out) {
    static char scratch[BODY_BYTES_MAX];
    entry_put(&(struct entry){ENTRY_WRITE, shard, 1, 1, seq, rig_body(rig, shard, seq, scratch)},
              out);
}

size_t rig_entry_bytes(const struct rig *rig, uint32_t shard, uint64_t seq) {
    struct buf out = {0};
    entry_make(rig, shard, seq, &out);
    size_t len = out.len;
    buf_fini(&out);
    return len;
}

static enum status rig_apply(void *ctx, const struct entry *e, struct err *err) {
    struct rig *rig = ctx;
    static char scratch[BODY_BYTES_MAX];
    RIG_CHECK(err != NULL, "apply always gets one");
    RIG_CHECK(e->shard < RIG_SHARDS && e->type == ENTRY_WRITE && e->epoch == 1 &&
                  e->incarnation == 1,
              "an entry that was never appended");
    bool next = e->seq == rig->recovered[e->shard] + 1;
    RIG_CHECK(next || (rig->allow_gaps && e->seq > rig->recovered[e->shard]),
              "shard %u: seq %" PRIu64 " after %" PRIu64, e->shard, e->seq,
              rig->recovered[e->shard]);
    RIG_CHECK(sv_eq(e->body, rig_body(rig, e->shard, e->seq, scratch)), "shard %u seq %" PRIu64,
              e->shard, e->seq);
    if (!next) {
        rig->gaps_count++;
        rig->gap[e->shard] = true;
    }
    rig->recovered[e->shard] = e->seq;
    rig->recovered_count++;
    return OK;
}

enum status rig_start(struct rig *rig) {
    RIG_CHECK(rig->rt == NULL, "still up");
    rig->rt = sim_start(rig->sim, 0);
    rig->rt->disk = sim_disk_as_disk(rig->sd);
    memset(rig->recovered, 0, sizeof rig->recovered);
    memset(rig->gap, 0, sizeof rig->gap);
    rig->recovered_count = rig->gaps_count = 0;
    rig->in_flight = rig->done_count = rig->failed_count = 0;
    memset(rig->submitted, 0, sizeof rig->submitted);
    memset(rig->done, 0, sizeof rig->done);
    memset(rig->failed_on, 0, sizeof rig->failed_on);
    rig->failure = rig->damage = (struct err){0};
    rig->damaged = rig->acked_after_failure = false;
    enum status status =
        log_open(rig->rt, &rig->options, rig_apply, rig, &rig->log, &rig->damaged, &rig->damage);
    if (status != OK) {
        rig->log = NULL;
        rig_kill(rig);
    }
    return status;
}

void rig_verify(const struct rig *rig) {
    for (uint32_t s = 0; s < RIG_SHARDS; s++) {
        RIG_CHECK(rig->recovered[s] >= rig->acked[s],
                  "shard %u: acknowledged up to %" PRIu64 ", there up to %" PRIu64, s,
                  rig->acked[s], rig->recovered[s]);
        RIG_CHECK(rig->recovered[s] <= rig->appended[s],
                  "shard %u: appended up to %" PRIu64 ", there up to %" PRIu64, s, rig->appended[s],
                  rig->recovered[s]);
    }
}

void rig_must_start(struct rig *rig) {
    enum status status = rig_start(rig);
    RIG_CHECK(status == OK, "%s", rig->damage.msg);
    RIG_CHECK(!rig->damaged, "%s", rig->damage.msg);
    rig_verify(rig);
    memcpy(rig->appended, rig->recovered, sizeof rig->appended);
    memcpy(rig->acked, rig->recovered, sizeof rig->acked);
}

struct rig_op {
    struct log_append req;
    struct list_node link;
    struct rig *rig;
    uint32_t shard;
    uint64_t last_seq;
    unsigned core, order;
};

static void op_free(struct rig_op *op) {
    list_remove(&op->link);
    buf_fini(&op->req.entries);
    free(op);
}

void rig_kill(struct rig *rig) {
    if (rig->rt == NULL) return;
    sim_kill(rig->sim, 0);
    log_free(rig->log);
    for (struct list_node *n; (n = rig->ops.next) != &rig->ops;)
        op_free(container_of(n, struct rig_op, link));
    rig->log = NULL;
    rig->rt = NULL;
}

void rig_power_cut(struct rig *rig) {
    rig_kill(rig);
    sim_disk_restart(rig->sd);
}

static void rig_on_done(struct core *here, struct log_append *req, enum status status,
                        const struct err *err) {
    struct rig_op *op = container_of(req, struct rig_op, req);
    struct rig *rig = op->rig;
    RIG_CHECK(here == rig->rt->cores[op->core] && core_is_current(here), "on another core");
    RIG_CHECK(op->order == rig->done[op->core], "done %u before %u", op->order,
              rig->done[op->core]);
    RIG_CHECK(req->entries.len == 0, "entries were not taken");
    RIG_CHECK((status == OK) == (err == NULL), "%s", status_name(status));
    rig->done[op->core]++;
    rig->in_flight--;
    rig->done_count++;
    if (status == OK) {
        /* another core may hear of an earlier success later */
        if (rig->failed_on[op->core]) rig->acked_after_failure = true;
        rig->acked[op->shard] = MAX(rig->acked[op->shard], op->last_seq);
    } else {
        RIG_CHECK(err->code == status && err->msg[0] != '\0', "no text");
        RIG_CHECK(rig->failed_count == 0 || strcmp(rig->failure.msg, err->msg) == 0,
                  "another text: %s", err->msg);
        rig->failure = *err;
        rig->failed_count++;
        rig->failed_on[op->core] = true;
    }
    unsigned core = op->core;
    op_free(op);
    if (rig->on_done != NULL) rig->on_done(rig, core);
}

void rig_append(struct rig *rig, unsigned core, uint32_t shard, unsigned entries_count) {
    struct rig_op *op = calloc(1, sizeof *op);
    RIG_CHECK(op != NULL, "memory");
    *op = (struct rig_op){.req.done = rig_on_done,
                          .rig = rig,
                          .shard = shard,
                          .core = core,
                          .order = rig->submitted[core]++};
    for (unsigned i = 0; i < entries_count; i++)
        entry_make(rig, shard, ++rig->appended[shard], &op->req.entries);
    op->last_seq = rig->appended[shard];
    rig->in_flight++;
    list_push_back(&rig->ops, &op->link);
    struct core *home = rig->rt->cores[core], *before = core_current();
    core_set_current(home);
    log_append(rig->log, home, &op->req);
    core_set_current(before);
}

static bool rig_is_idle(void *ctx) {
    const struct rig *rig = ctx;
    return rig->in_flight == 0;
}

void rig_run(struct rig *rig) {
    if (rig->in_flight == 0) return;
    bool done = sim_run(rig->sim, rig_is_idle, rig, sim_now_ms(rig->sim) + 3600000);
    RIG_CHECK(done, "%u appends never came back", rig->in_flight);
}

void rig_append_to_all(struct rig *rig) {
    for (uint32_t s = 0; s < RIG_SHARDS; s++)
        rig_append(rig, s % RIG_CORES, s, 1);
    rig_run(rig);
    RIG_CHECK(rig->failed_count == 0, "%s", rig->failure.msg);
}

void rig_make_log(struct rig *rig, unsigned frames_count, uint64_t file_bytes_max) {
    rig_init(rig, 4);
    rig->options.file_bytes_max = file_bytes_max;
    rig_must_start(rig);
    for (unsigned i = 0; i < frames_count; i++) {
        rig_append(rig, i % RIG_CORES, i % RIG_SHARDS, 2);
        rig_run(rig);
    }
}

bool rig_run_to_call(struct rig *rig, uint64_t call) {
    while (rig->in_flight > 0 && sim_disk_calls(rig->sd) < call)
        RIG_CHECK(sim_step(rig->sim), "nothing is pending");
    return sim_disk_calls(rig->sd) >= call;
}

/* -- files */

struct rig_list {
    uint64_t *firsts;
    size_t count, max;
};

static bool rig_on_name(void *ctx, const char *name) {
    struct rig_list *list = ctx;
    char *end;
    if (strcmp(name, "OLDEST") == 0 || strcmp(name, "NEWEST") == 0) return true;
    RIG_CHECK(strncmp(name, "log-", 4) == 0 && strlen(name) == 20, "file %s", name);
    if (list->count < list->max) list->firsts[list->count] = strtoull(name + 4, &end, 16);
    list->count++;
    return true;
}

size_t rig_files(const struct rig *rig, uint64_t firsts[], size_t max) {
    struct rig_list list = {firsts, 0, max};
    struct err err;
    enum status status =
        disk_list(sim_disk_as_disk(rig->sd), rig->options.dir, rig_on_name, &list, &err);
    RIG_CHECK(status == OK, "%s", err.msg);
    return list.count;
}

static struct file *rig_file_open(const struct rig *rig, uint64_t first, int flags) {
    char path[64];
    snprintf(path, sizeof path, "%s/log-%016" PRIx64, rig->options.dir, first);
    struct file *f;
    struct err err;
    enum status status = disk_open(sim_disk_as_disk(rig->sd), path, flags, &f, &err);
    RIG_CHECK(status == OK, "%s", err.msg);
    return f;
}

struct buf rig_file_read(const struct rig *rig, uint64_t first) {
    struct file *f = rig_file_open(rig, first, DISK_READ);
    struct buf out = {0};
    uint64_t size;
    size_t got;
    RIG_CHECK(file_size(f, &size, NULL) == OK, "size");
    char *p = buf_extend(&out, (size_t)size);
    RIG_CHECK(size == 0 || file_pread(f, p, (size_t)size, 0, &got, NULL) == OK, "read");
    file_close(f);
    return out;
}

void rig_file_write(const struct rig *rig, uint64_t first, struct sv bytes) {
    struct file *f = rig_file_open(rig, first, DISK_READ | DISK_WRITE | DISK_CREATE);
    RIG_CHECK(file_truncate(f, 0, NULL) == OK, "truncate");
    RIG_CHECK(bytes.len == 0 || file_pwrite(f, bytes.ptr, bytes.len, 0, NULL) == OK, "write");
    RIG_CHECK(file_sync(f, NULL) == OK, "sync");
    file_close(f);
    RIG_CHECK(disk_sync_dir(sim_disk_as_disk(rig->sd), rig->options.dir, NULL) == OK, "sync");
}

void rig_file_remove(const struct rig *rig, uint64_t first) {
    char path[64];
    snprintf(path, sizeof path, "%s/log-%016" PRIx64, rig->options.dir, first);
    RIG_CHECK(disk_unlink(sim_disk_as_disk(rig->sd), path, NULL) == OK, "unlink");
}
