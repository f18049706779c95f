/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a WriteRequest: no crash, and what is accepted is canonical and hashes to its id. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/scan.h"
#include "node/base/buf.h"
#include "storage/histogram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct write_rows *rows, size_t i, const struct scan_options *o) {
    struct label list[256];
    struct sv rest = rows->labels[i];
    size_t n = 0;
    bool bad = false;
    while (n < 256 && labels_next(&rest, &list[n], &bad))
        n++;
    assert(!bad && labels_get(rows->labels[i], SV("__name__")).len > 0);
    assert(series_id_eq(rows->ids[i], series_id_of(o->secret, o->tenant, rows->labels[i])));
    assert(rows->shards[i] == series_shard(rows->ids[i], o->shards_count));
    struct sv histogram = rows->histograms == NULL ? (struct sv){0} : rows->histograms[i];
    struct arena scratch;
    arena_init(&scratch, 0);
    assert(histogram.ptr == NULL || histogram_check(histogram, &scratch, NULL) == OK);
    arena_fini(&scratch);
    if (rest.len > 0) return;
    struct buf again = {0};
    assert(labels_encode(list, n, &again, NULL) == OK);
    assert(sv_eq(buf_sv(&again), rows->labels[i]));
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct scan_options o = {.secret = 7,
                             .shards_count = 16,
                             .series_max = 100,
                             .samples_max = 1000,
                             .label_bytes_max = 300,
                             .labels_bytes_max = 4096};
    struct write_rows rows = {0};
    struct scan_result result = {.rows = &rows};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct err err;
    if (scan_write_request(sv_make(data, size), &o, &arena, &result, &err) == OK) {
        for (size_t i = 0; i < rows.count; i++)
            check_row(&rows, i, &o);
    } else {
        assert(rows.count == 0 && err.msg[0] != '\0');
    }
    arena_fini(&arena);
    write_rows_fini(&rows);
    return 0;
}
