/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request of remote write 2.0: no crash, what is accepted is canonical and keeps the
 * rules; and its pair of labels is what scanning finds. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ingest/ha.h"
#include "ingest/scan.h"
#include "storage/histogram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct write_rows *rows, size_t i, const struct scan_options *o) {
    assert(labels_get(rows->labels[i], SV("__name__")).len > 0);
    assert(series_id_eq(rows->ids[i], series_id_of(o->secret, o->tenant, rows->labels[i])));
    assert(rows->shards[i] == series_shard(rows->ids[i], o->shards_count));
    struct sv histogram = rows->histograms == NULL ? (struct sv){0} : rows->histograms[i];
    struct arena scratch;
    arena_init(&scratch, 0);
    assert(histogram.ptr == NULL || histogram_check(histogram, &scratch, NULL) == OK);
    arena_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct scan_options o = {.secret = 7,
                             .shards_count = 16,
                             .series_max = 100,
                             .samples_max = 1000,
                             .label_bytes_max = 300,
                             .labels_bytes_max = 4096};
    struct ha_options ha = {.cluster_label = "a", .replica_label = "__name__"};
    struct write_rows rows = {0};
    struct scan_result result = {.rows = &rows};
    struct arena arena;
    struct err err;
    struct sv body = sv_make(data, size), cluster, replica;
    arena_init(&arena, 1 << 20);
    if (ha_find_labels_v2(&ha, body, &cluster, &replica))
        assert(cluster.len > 0 && cluster.len <= size && replica.len > 0 && replica.len <= size);
    uint64_t samples = ha_count_samples_v2(body);
    if (scan_write_request_v2(body, &o, &arena, &result, &err) == OK) {
        assert(rows.count <= samples);
        for (size_t i = 0; i < rows.count; i++)
            check_row(&rows, i, &o);
        assert(memchr(result.errors.len > 0 ? result.errors.ptr : "", 0, result.errors.len) ==
                   NULL ||
               result.refused > 0);
    } else {
        assert(rows.count == 0 && err.msg[0] != '\0');
    }
    arena_fini(&arena);
    write_rows_fini(&rows);
    return 0;
}
