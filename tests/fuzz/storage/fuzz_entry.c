/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as entries and, from the second byte on, as the body of a WRITE: what is read is
 * written back as it was read. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "storage/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_items(const struct entry_write_view *a, const struct entry_write_view *b) {
    struct sv x = a->exemplars, y = b->exemplars;
    struct entry_exemplar e, f;
    uint32_t count = 0;
    for (; entry_exemplar_next(&x, &e); count++) {
        assert(entry_exemplar_next(&y, &f) && e.number == f.number && e.time_ms == f.time_ms);
        assert(f64_bits(e.value) == f64_bits(f.value) && sv_eq(e.labels, f.labels));
    }
    assert(x.len == 0 && y.len == 0 && count == a->exemplars_count && count == b->exemplars_count);
    struct entry_metadata m, n;
    x = a->metadata;
    y = b->metadata;
    for (count = 0; entry_metadata_next(&x, &m); count++) {
        assert(entry_metadata_next(&y, &n) && m.type == n.type && sv_eq(m.name, n.name));
        assert(sv_eq(m.help, n.help) && sv_eq(m.unit, n.unit));
    }
    assert(x.len == 0 && y.len == 0 && count == a->metadata_count && count == b->metadata_count);
    struct entry_histogram h, i;
    x = a->histograms;
    y = b->histograms;
    for (count = 0; entry_histogram_next(&x, &h); count++) {
        assert(entry_histogram_next(&y, &i) && h.number == i.number && h.time_ms == i.time_ms);
        assert(sv_eq(h.bytes, i.bytes));
    }
    assert(x.len == 0 && y.len == 0);
    assert(count == a->histograms_count && count == b->histograms_count);
}

static void same_view(const struct entry_write_view *a, const struct entry_write_view *b) {
    assert(a->series_count == b->series_count && a->floats_count == b->floats_count);
    for (size_t i = 0; i < a->series_count; i++)
        assert(sv_eq(a->series[i], b->series[i]));
    assert((a->starts_ms == NULL) == (b->starts_ms == NULL));
    for (size_t i = 0; i < a->floats_count; i++) {
        assert(a->numbers[i] == b->numbers[i] && a->times_ms[i] == b->times_ms[i]);
        assert(f64_bits(a->values[i]) == f64_bits(b->values[i]));
        assert(a->starts_ms == NULL || a->starts_ms[i] == b->starts_ms[i]);
    }
    same_items(a, b);
}

static void try_body(struct sv body) {
    struct arena scratch;
    arena_init(&scratch, 64 * body.len + (1 << 16)); /* memory follows the bytes there are */
    struct entry_write_view v, again;
    struct err err;
    enum status status = entry_write_decode(body, &scratch, &v, &err);
    assert(status != ERR_NOMEM);
    if (status == OK) {
        uint32_t series_count;
        assert(entry_write_series_count(body, &series_count, &err) == OK);
        assert(series_count == v.series_count);
        struct entry_write w = {0};
        struct buf out = {0};
        for (size_t i = 0; i < v.series_count; i++)
            entry_write_series(&w, v.series[i]);
        for (size_t i = 0; i < v.floats_count; i++) {
            assert(entry_write_float(&w, v.numbers[i], v.times_ms[i], v.values[i]) == OK);
            if (v.starts_ms != NULL) assert(entry_write_start(&w, v.starts_ms[i]) == OK);
        }
        struct sv exemplars = v.exemplars, metadata = v.metadata, histograms = v.histograms;
        struct entry_exemplar exemplar;
        struct entry_metadata item;
        struct entry_histogram histogram;
        while (entry_exemplar_next(&exemplars, &exemplar))
            entry_write_exemplar(&w, &exemplar);
        while (entry_metadata_next(&metadata, &item))
            entry_write_metadata(&w, &item);
        while (entry_histogram_next(&histograms, &histogram))
            entry_write_histogram(&w, &histogram);
        entry_write_finish(&w, &out);
        assert(!out.failed && out.len <= body.len); /* varints may have been longer */
        struct arena more;
        arena_init(&more, 0);
        assert(entry_write_decode(buf_sv(&out), &more, &again, &err) == OK);
        same_view(&v, &again);
        arena_fini(&more);
        buf_fini(&out);
        entry_write_fini(&w);
    }
    arena_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv rest = sv_make(data, size);
    struct entry e;
    struct err err;
    while (rest.len > 0 && entry_next(&rest, &e, &err) == OK) {
        struct buf out = {0};
        struct entry got;
        entry_put(&e, &out);
        struct sv bytes = buf_sv(&out);
        assert(entry_next(&bytes, &got, &err) == OK && bytes.len == 0);
        assert(got.type == e.type && got.shard == e.shard && got.epoch == e.epoch);
        assert(got.incarnation == e.incarnation && got.seq == e.seq && sv_eq(got.body, e.body));
        buf_fini(&out);
        try_body(e.body);
        uint32_t epoch;
        uint64_t seq;
        int64_t from, to;
        status_ignore(entry_epoch_get(e.body, &epoch, &seq, &err));
        status_ignore(entry_cut_get(e.body, &from, &to, &err));
    }
    if (size > 1) try_body(sv_make(data + 1, size - 1));
    return 0;
}
