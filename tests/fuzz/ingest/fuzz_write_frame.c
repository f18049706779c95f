/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a write frame and as its reply: no crash; an accepted frame is written and read
 * again to the same rows. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ingest/write_frame.h"
#include "node/base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_items(const struct write_rows *a, const struct write_rows *b) {
    assert(a->exemplars_count == b->exemplars_count && a->metadata_count == b->metadata_count);
    for (size_t i = 0; i < a->exemplars_count; i++) {
        const struct write_exemplar *x = &a->exemplars[i], *y = &b->exemplars[i];
        assert(series_id_eq(x->id, y->id) && x->shard == y->shard && x->time_ms == y->time_ms);
        assert(f64_bits(x->value) == f64_bits(y->value) && sv_eq(x->labels, y->labels));
    }
    for (size_t i = 0; i < a->metadata_count; i++) {
        const struct entry_metadata *x = &a->metadata[i].item, *y = &b->metadata[i].item;
        assert(x->type == y->type && sv_eq(x->name, y->name) && sv_eq(x->help, y->help));
        assert(a->metadata[i].shard == b->metadata[i].shard && sv_eq(x->unit, y->unit));
    }
}

static void check_frame(const struct ring_map *map, struct sv payload) {
    struct write_rows rows = {0}, again = {0};
    struct buf frame = {0};
    bool with_labels, with_labels_again;
    if (write_frame_get(map, payload, &rows, &with_labels, NULL) == OK) {
        struct write_frame_rows put = {.count = rows.count,
                                       .ids = rows.ids,
                                       .shards = rows.shards,
                                       .times_ms = rows.times_ms,
                                       .values = rows.values,
                                       .labels = rows.labels,
                                       .with_labels = with_labels,
                                       .exemplars = rows.exemplars,
                                       .exemplars_count = rows.exemplars_count,
                                       .metadata = rows.metadata,
                                       .metadata_count = rows.metadata_count,
                                       .starts_ms = rows.starts_ms,
                                       .histograms = rows.histograms};
        write_frame_put(map, &put, &frame);
        assert(write_frame_get(map, buf_sv(&frame), &again, &with_labels_again, NULL) == OK);
        assert(again.count == rows.count && with_labels_again == with_labels);
        for (size_t i = 0; i < rows.count; i++) {
            assert(series_id_eq(rows.ids[i], again.ids[i]) &&
                   rows.times_ms[i] == again.times_ms[i]);
            assert(f64_bits(rows.values[i]) == f64_bits(again.values[i]) &&
                   rows.shards[i] == again.shards[i]);
            assert(sv_eq(rows.labels[i], again.labels[i]));
            assert((rows.starts_ms == NULL ? 0 : rows.starts_ms[i]) ==
                   (again.starts_ms == NULL ? 0 : again.starts_ms[i]));
            assert(rows.histograms == NULL || sv_eq(rows.histograms[i], again.histograms[i]));
        }
        check_items(&rows, &again);
    }
    write_rows_fini(&rows);
    write_rows_fini(&again);
    buf_fini(&frame);
}

static void check_reply(struct sv payload) {
    struct write_frame_reply reply;
    if (write_frame_reply_get(payload, &reply, NULL) != OK) return;
    struct buf again = {0};
    write_frame_reply_put(&reply, &again);
    struct write_frame_reply got;
    assert(write_frame_reply_get(buf_sv(&again), &got, NULL) == OK);
    assert(got.unknown_count == reply.unknown_count && got.first_refused == reply.first_refused);
    free(got.unknown);
    free(reply.unknown);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct ring_map *map;
    if (map == NULL) {
        if (ring_map_new(1, 2, &map, NULL) != OK) abort();
        map->settings.shards_count = 2;
        map->shards[0].epoch = map->shards[1].epoch = 1;
    }
    struct sv payload = sv_make(data, size);
    check_frame(map, payload);
    check_reply(payload);
    return 0;
}
