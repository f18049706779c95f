/* SPDX-License-Identifier: Apache-2.0 */
/* A fixed amount of the shipped work, to be counted by callgrind (tests/perf/instructions.py): one
 * node, one core, in the simulator, so that nothing depends on time or threads. count_work ingest N
 * N requests of 2,000 known series, decoded, scanned, ordered, logged, applied, acknowledged
 *   count_work query N     N rounds of the fixed set of queries over 1,000 series x 240 samples
 *   count_work small N     the same of queries that find a handful of them: what any query costs */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/scan.h"
#include "node/base/bytes.h"
#include "node/base/log.h"
#include "node/base/num.h"
#include "node/daemon/node.h"
#include "tests/sim/sim.h"

enum { SERIES = 2000, QUERY_SERIES = 1000, QUERY_SAMPLES = 240, STEP_MS = 15000 };

static struct sim *sim;
static struct node *node;
static struct runtime *rt;
static bool answered;

struct ingest_run {
    struct msg msg;
    struct write_op op;
};

static void put_label(struct buf *b, const char *name, const char *value) {
    size_t n = strlen(name), v = strlen(value);
    buf_put_u8(b, 0x0a);
    buf_put_varint(b, 4 + n + v);
    buf_put_u8(b, 0x0a);
    buf_put_lenstr(b, sv_from(name));
    buf_put_u8(b, 0x12);
    buf_put_lenstr(b, sv_from(value));
}

static size_t
    sample_at[SERIES]; /* where the samples stand in the body: later rounds only change them */

static void put_sample_at(char *p, int64_t time_ms, double value) {
    p[0] = 0x09;
    put_f64le(p + 1, value);
    p[9] = 0x10;
    size_t n = put_varint((uint8_t *)p + 10, (uint64_t)time_ms);
    assert(n == 6); /* of this century: always as long */
}

static void put_series(struct buf *body, unsigned i) {
    char number[32], le[32];
    struct buf s = {0};
    snprintf(number, sizeof number, "10.0.%u.%u:9100", i / 250, i % 250);
    snprintf(le, sizeof le, "0.%u", i % 10);
    put_label(&s, "__name__",
              i % 2 == 0 ? "http_requests_total" : "http_request_duration_seconds_bucket");
    put_label(&s, "cluster", "production");
    put_label(&s, "code", i % 3 == 0 ? "500" : "200");
    put_label(&s, "container", "web");
    put_label(&s, "handler", "/api/v1/items");
    put_label(&s, "instance", number);
    put_label(&s, "job", i % 5 == 0 ? "backend" : "frontend");
    put_label(&s, "le", le);
    put_label(&s, "method", "GET");
    put_label(&s, "namespace", "shop");
    put_label(&s, "pod", number);
    put_label(&s, "region", "eu-central-1");
    buf_put_u8(&s, 0x12);
    buf_put_u8(&s, 16);
    buf_extend(&s, 16);
    buf_put_u8(body, 0x0a);
    buf_put_lenstr(body, buf_sv(&s));
    sample_at[i] = body->len - 16;
    buf_fini(&s);
}

/* Some reports later a node without followers knows that it needs to retain nothing. */
enum { SETTLE_MS = 2000 };
static bool is_never(void *ctx) {
    (void)ctx;
    return false;
}

static bool is_answered(void *ctx) {
    (void)ctx;
    return answered;
}

static void ingest_done(struct core *here, struct write_op *op) {
    (void)here;
    if (op->outcome != WRITE_OK) printf("write: %s\n", op->text);
    assert(op->outcome == WRITE_OK);
    answered = true;
}

static void ingest_start(struct core *here, struct msg *m) {
    (void)here;
    distributor_write(node_distributor(node, 0), &container_of(m, struct ingest_run, msg)->op);
}

static void ingest_once(unsigned series, int64_t time_ms, unsigned round) {
    static struct ingest_run run;
    static struct write_rows rows;
    if (run.op.body.len == 0)
        for (unsigned i = 0; i < series; i++)
            put_series(&run.op.body, i);
    for (unsigned i = 0; i < series; i++)
        put_sample_at(run.op.body.ptr + sample_at[i], time_ms,
                      i % 3 == 0 ? 17 : (double)(round * (i % 7)));
    const struct ring_settings *set = &node_map(node)->settings;
    struct scan_options so = {.secret = set->secret,
                              .shards_count = set->shards_count,
                              .series_max = 1 << 20,
                              .samples_max = 1 << 20,
                              .label_bytes_max = 1 << 16,
                              .labels_bytes_max = 1 << 20};
    arena_init(&run.op.arena, 0);
    struct scan_result sr = {.rows = &rows};
    struct err err;
    enum status st = scan_write_request(buf_sv(&run.op.body), &so, &run.op.arena, &sr, &err);
    if (st != OK) printf("scan: %s\n", err.msg);
    assert(st == OK && rows.count == series);
    run.op.rows = rows;
    run.op.done = ingest_done;
    run.msg.run = ingest_start;
    answered = false;
    core_post(rt->cores[0], &run.msg);
    bool ok = sim_run(sim, is_answered, NULL, sim_now_ms(sim) + 60000);
    assert(ok);
    arena_fini(&run.op.arena);
    rows = run.op.rows;
}

/* -- queries */

static const char *const queries[] = {
    "sum by (job) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))",
    "topk(5, http_requests_total)",
    "sum(rate(http_requests_total{code=\"500\"}[5m])) / sum(rate(http_requests_total[5m]))",
    "max_over_time(http_requests_total{job=\"backend\"}[10m])",
    "avg by (instance) (http_requests_total)",
};

static const char *const small_queries[] = {
    "rate(http_requests_total{instance=\"10.0.1.2:9100\"}[5m])",
    "http_requests_total{instance=\"10.0.1.2:9100\"} / on (pod) "
    "http_requests_total{pod=\"10.0.1.2:9100\"}",
    "sum by (job) (http_request_duration_seconds_bucket{pod=\"10.0.2.7:9100\"})",
    "http_requests_total{instance=~\"10.0.1.2:9100|10.0.1.4:9100\"} > 0",
};

struct query_run {
    struct msg msg;
    struct gather_query q;
};

static void query_done(struct core *here, struct gather_query *q) {
    (void)here;
    if (q->status != OK) printf("query: %s\n", q->err.msg);
    assert(q->status == OK && q->result.series_count > 0);
    gather_query_fini(q);
    answered = true;
}

static void query_start(struct core *here, struct msg *m) {
    (void)here;
    gather_query_start(node_gather(node, 0), &container_of(m, struct query_run, msg)->q);
}

static void query_once(const char *text, int64_t start_ms) {
    static struct query_run run;
    run.q = (struct gather_query){
        .text = sv_from(text),
        .params = {.start_ms = start_ms + 600000,
                   .end_ms = start_ms + QUERY_SAMPLES * STEP_MS,
                   .step_ms = 30000,
                   .lookback_ms = 300000,
                   .default_step_ms = 60000,
                   .samples_max = 50000000,
                   .memory_bytes_max = 1 << 30},
        .timeout_ms = 100000,
        .done = query_done,
    };
    run.msg.run = query_start;
    answered = false;
    core_post(rt->cores[0], &run.msg);
    bool ok = sim_run(sim, is_answered, NULL, sim_now_ms(sim) + 100000);
    assert(ok);
}

static bool is_ready(void *ctx) {
    (void)ctx;
    return node_is_ready(node, NULL);
}

int main(int argc, char **argv) {
    uint64_t count = 0;
    if (argc != 3 || !num_parse_u64(sv_from(argv[2]), &count)) return 2;
    bool ingest = strcmp(argv[1], "ingest") == 0;
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    struct sim_options so = {.seed = 1, .nodes_count = 1, .cores_per_node = 1};
    sim = sim_new(&so);
    rt = sim_start(sim, 0);
    struct node_options no = {.data_dir = "data",
                              .cluster_name = "perf",
                              .discovery = "",
                              .listen_addr = "",
                              .advertise_addr = "",
                              .shards_count = 1024,
                              .replication_factor = 1,
                              .out_of_order_window_ms = 1800000,
                              .wal_sync_always = true,
                              .query_timeout_ms = 100000,
                              .query_concurrency = 4};
    struct err err;
    if (node_open(rt, &no, &node, &err) != OK || node_start(node, &err) != OK) {
        printf("%s\n", err.msg);
        return 1;
    }
    bool ready = sim_run(sim, is_ready, NULL, sim_now_ms(sim) + 10000);
    assert(ready);
    int64_t start_ms = rt->ops->wall_ms(rt) - (int64_t)QUERY_SAMPLES * STEP_MS;
    ingest_once(ingest ? SERIES : QUERY_SERIES, start_ms, 0);
    sim_run(sim, is_never, NULL, sim_now_ms(sim) + SETTLE_MS);
    if (ingest) {
        for (unsigned i = 1; i <= count; i++)
            ingest_once(SERIES, start_ms + i * STEP_MS, i);
    } else {
        for (unsigned i = 1; i < QUERY_SAMPLES; i++)
            ingest_once(QUERY_SERIES, start_ms + i * STEP_MS, i);
        bool small = strcmp(argv[1], "small") == 0;
        const char *const *texts = small ? small_queries : queries;
        size_t texts_count = small ? ARRAY_LEN(small_queries) : ARRAY_LEN(queries);
        for (uint64_t i = 0; i < count; i++)
            for (size_t k = 0; k < texts_count; k++)
                query_once(texts[k], start_ms);
    }
    printf("done\n");
    return 0;
}
