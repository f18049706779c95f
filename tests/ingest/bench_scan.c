/* SPDX-License-Identifier: Apache-2.0 */
/* Prints ns a sample of the scanner with its hash, and of snappy apart: 2000 series of 12 labels
 * (about 354 bytes a series, as node_exporter's and kube-state-metrics' are), eight payloads in
 * turn, with 1 and 10 samples a series. */
#include <inttypes.h>
#include <snappy-c.h>
#include <time.h>

#include "request.h"

enum { PAYLOADS = 8, SERIES = 2000, ROUNDS = 41 };

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void make_payload(struct buf *out, unsigned payload, unsigned samples, struct rng *rng) {
    struct buf series = {0};
    char text[96];
    for (unsigned i = 0; i < SERIES; i++) {
        request_label(&series, SV("__name__"), SV("container_network_receive_packets_total"));
        request_label(&series, SV("cluster"), SV("eu-central-1-production"));
        request_label(&series, SV("container"), SV("frontend"));
        request_label(&series, SV("endpoint"), SV("https-metrics"));
        snprintf(text, sizeof text, "10.%u.%u.%u:10250", payload, i / 250, i % 250);
        request_label(&series, SV("instance"), sv_from(text));
        request_label(&series, SV("job"), SV("kubelet"));
        request_label(&series, SV("metrics_path"), SV("/metrics/cadvisor"));
        request_label(&series, SV("namespace"), SV("shop"));
        snprintf(text, sizeof text, "ip-10-%u-%u-%u.internal", payload, i / 250, i % 250);
        request_label(&series, SV("node"), sv_from(text));
        snprintf(text, sizeof text, "frontend-%08" PRIx64, rng_u64(rng) >> 32);
        request_label(&series, SV("pod"), sv_from(text));
        request_label(&series, SV("service"), SV("kubelet"));
        request_label(&series, SV("zone"), SV("eu-central-1a"));
        for (unsigned k = 0; k < samples; k++)
            request_sample(&series, 1700000000000 + 15000 * (int64_t)k,
                           (double)rng_below(rng, 1u << 20));
        request_series(out, &series);
    }
    buf_fini(&series);
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double median(double *v) {
    qsort(v, ROUNDS, sizeof *v, order);
    return v[ROUNDS / 2];
}

static void bench(unsigned samples) {
    struct rng rng;
    rng_init(&rng, 1);
    struct buf raw[PAYLOADS] = {0}, packed[PAYLOADS] = {0};
    for (unsigned i = 0; i < PAYLOADS; i++) {
        make_payload(&raw[i], i, samples, &rng);
        size_t len = snappy_max_compressed_length(raw[i].len);
        MUST(buf_extend(&packed[i], len) != NULL);
        MUST(snappy_compress(raw[i].ptr, raw[i].len, packed[i].ptr, &len) == SNAPPY_OK);
        packed[i].len = len;
    }
    char *plain = malloc(raw[0].len + 4096);
    MUST(plain != NULL);
    struct scan_options o = request_scan_options();
    struct write_rows rows = {0};
    struct arena arena;
    arena_init(&arena, 0);
    double scan_ns[ROUNDS], snappy_ns[ROUNDS], per = PAYLOADS * (double)SERIES * samples;
    for (unsigned r = 0; r < ROUNDS; r++) {
        uint64_t began = now_ns();
        for (unsigned i = 0; i < PAYLOADS; i++) {
            size_t len = raw[0].len + 4096;
            MUST(snappy_uncompress(packed[i].ptr, packed[i].len, plain, &len) == SNAPPY_OK);
        }
        snappy_ns[r] = (double)(now_ns() - began) / per;
        began = now_ns();
        for (unsigned i = 0; i < PAYLOADS; i++) {
            struct scan_result got = {.rows = &rows};
            struct err err;
            arena_reset(&arena);
            MUST(scan_write_request(buf_sv(&raw[i]), &o, &arena, &got, &err) == OK &&
                 rows.count == SERIES * samples);
        }
        scan_ns[r] = (double)(now_ns() - began) / per;
    }
    printf("%2u samples a series, %zu bytes each: scan and hash %.1f ns a sample, snappy %.1f\n",
           samples, raw[0].len / SERIES, median(scan_ns), median(snappy_ns));
    MUST(arena_used_bytes(&arena) == 0); /* nothing took the general path */
    for (unsigned i = 0; i < PAYLOADS; i++) {
        buf_fini(&raw[i]);
        buf_fini(&packed[i]);
    }
    arena_fini(&arena);
    write_rows_fini(&rows);
    free(plain);
}

int main(void) {
    bench(1);
    bench(10);
    return 0;
}
