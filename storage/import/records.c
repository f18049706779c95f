/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the logs (tsdb/docs/format/wal.md): u8 type, then
 *   1 series       { u64be ref, labels }*
 *   2 samples      u64be ref, u64be time, { varint ref - first, varint time - first, u64be value }*
 *  11 samples      varint ref, time, start, u64be value; then { varint ref - last, varint time -
 *                  first, start, u64be value }*; start: 0 none | 1 the last | 2.. varint - first
 *   3 deletions    { u64be ref, varint min, varint max }*
 *   4 exemplars    as samples, each followed by labels
 *   5 markers      { u64be ref, u64be place of a head chunk }*: what was written late of this
 *                  series until here is in that chunk
 *   6 metadata     { uvarint ref, u8 type, uvarint n, { name, value }* }*
 *   7..10, 12, 13  native histograms: as 2 and 11
 * labels: uvarint count, { name, value }*; strings: uvarint length, bytes. */
#include "storage/import/internal.h"

enum record_type {
    RECORD_SERIES = 1,
    RECORD_SAMPLES = 2,
    RECORD_DELETIONS = 3,
    RECORD_EXEMPLARS = 4,
    RECORD_MARKERS = 5,
    RECORD_METADATA = 6,
    RECORD_HISTOGRAMS = 7,
    RECORD_FLOAT_HISTOGRAMS = 8,
    RECORD_CUSTOM_HISTOGRAMS = 9,
    RECORD_CUSTOM_FLOAT_HISTOGRAMS = 10,
    RECORD_SAMPLES_2 = 11,
    RECORD_HISTOGRAMS_2 = 12,
    RECORD_FLOAT_HISTOGRAMS_2 = 13,
};

static enum status read_labels(struct prom_head *head, struct reader *r, size_t *out_count) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / 2) return ERR_CORRUPT;
    for (size_t i = 0; i < count; i++) {
        void *labels = head->labels;
        TRY(prom_grow(&labels, &head->labels_cap, i, sizeof *head->labels));
        head->labels = labels;
        head->labels[i].name = read_lenstr(r);
        head->labels[i].value = read_lenstr(r);
    }
    *out_count = (size_t)count;
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_series(struct prom_head *head, struct reader *r) {
    while (reader_left(r) > 0) {
        uint64_t ref = read_u64be(r);
        size_t count;
        TRY(read_labels(head, r, &count));
        TRY(prom_head_add_series(head, ref, head->labels, count));
    }
    return OK;
}

static enum status take_samples(struct prom_head *head, struct reader *r, bool late) {
    if (reader_left(r) == 0) return OK;
    uint64_t ref = read_u64be(r), time = read_u64be(r);
    while (!r->failed && reader_left(r) > 0) {
        uint64_t ref_change = (uint64_t)read_zigzag(r), time_change = (uint64_t)read_zigzag(r);
        double value = f64_from_bits(read_u64be(r));
        if (r->failed) break;
        struct prom_sample sample = {ref + ref_change, (int64_t)(time + time_change), value, NULL,
                                     late};
        TRY(prom_head_add_sample(head, &sample));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static uint64_t read_start(struct reader *r, uint64_t last, uint64_t first) {
    uint8_t how = read_u8(r);
    if (how == 0) return 0;
    return how == 1 ? last : first + (uint64_t)read_zigzag(r);
}

/* What the second versions of the records have before each value: the first row whole, of the
 * others the time and start by what went before. */
struct row_2 {
    uint64_t ref, time, start, first_time, first_start;
    bool any;
};

static void read_row_2(struct reader *r, struct row_2 *row) {
    row->ref += (uint64_t)read_zigzag(r);
    row->time = row->first_time + (uint64_t)read_zigzag(r);
    if (row->any) {
        row->start = read_start(r, row->start, row->first_start);
        return;
    }
    row->any = true;
    row->first_time = row->time;
    row->first_start = row->start = (uint64_t)read_zigzag(r);
}

static enum status take_samples_2(struct prom_head *head, struct reader *r, bool late) {
    struct row_2 row = {0};
    while (!r->failed && reader_left(r) > 0) {
        read_row_2(r, &row);
        double value = f64_from_bits(read_u64be(r));
        if (r->failed) break;
        if (row.start != 0) head->counts->starts++;
        struct prom_sample sample = {row.ref, (int64_t)row.time, value, NULL, late};
        TRY(prom_head_add_sample(head, &sample));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_deletions(struct prom_head *head, struct reader *r) {
    while (!r->failed && reader_left(r) > 0) {
        uint64_t ref = read_u64be(r);
        int64_t min = read_zigzag(r), max = read_zigzag(r);
        if (!r->failed) TRY(prom_head_delete(head, ref, min, max));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_exemplars(struct prom_head *head, struct reader *r) {
    if (reader_left(r) == 0) return OK;
    uint64_t ref = read_u64be(r), time = read_u64be(r);
    while (!r->failed && reader_left(r) > 0) {
        uint64_t ref_change = (uint64_t)read_zigzag(r), time_change = (uint64_t)read_zigzag(r);
        double value = f64_from_bits(read_u64be(r));
        size_t count;
        TRY(read_labels(head, r, &count));
        buf_clear(&head->scratch);
        enum status got = labels_encode(head->labels, count, &head->scratch, NULL);
        if (got == ERR_CONFLICT || head->scratch.failed)
            return got == ERR_CONFLICT ? ERR_CORRUPT : ERR_NOMEM;
        TRY(got);
        TRY(prom_head_add_exemplar(head, ref + ref_change, (int64_t)(time + time_change), value,
                                   buf_sv(&head->scratch)));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_markers(struct prom_head *head, struct reader *r) {
    while (!r->failed && reader_left(r) > 0) {
        uint64_t ref = read_u64be(r), place = read_u64be(r);
        if (!r->failed) prom_head_mark(head, ref, place);
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_metadata(struct prom_head *head, struct reader *r) {
    while (!r->failed && reader_left(r) > 0) {
        uint64_t ref = read_varint(r);
        uint8_t type = read_u8(r);
        struct sv unit = {0}, help = {0};
        for (uint64_t fields = read_varint(r); !r->failed && fields > 0; fields--) {
            struct sv name = read_lenstr(r), value = read_lenstr(r);
            if (sv_eq(name, SV("UNIT"))) unit = value;
            if (sv_eq(name, SV("HELP"))) help = value;
        }
        if (r->failed) break;
        struct prom_head_series *s = prom_head_find(head, ref);
        if (s == NULL) continue;
        unit = arena_sv(&head->arena, unit);
        help = arena_sv(&head->arena, help);
        if (unit.ptr == NULL || help.ptr == NULL) return ERR_NOMEM;
        s->metadata_at = ++head->metadata_records;
        s->metadata_type = type;
        s->unit = unit;
        s->help = help;
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_histogram(struct prom_head *head, struct reader *r,
                                  struct prom_sample *sample, bool is_float) {
    TRY(prom_histogram_read(r, is_float, &head->arena, head->counts, &sample->histogram));
    if (sample->histogram == NULL) return OK;
    sample->value = sample->histogram->sum;
    return prom_head_add_sample(head, sample);
}

static enum status take_histograms(struct prom_head *head, struct reader *r, bool is_float,
                                   bool late) {
    if (reader_left(r) == 0) return OK;
    uint64_t ref = read_u64be(r), time = read_u64be(r);
    while (!r->failed && reader_left(r) > 0) {
        struct prom_sample sample = {.ref = ref + (uint64_t)read_zigzag(r), .late = late};
        sample.time_ms = (int64_t)(time + (uint64_t)read_zigzag(r));
        TRY(take_histogram(head, r, &sample, is_float));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_histograms_2(struct prom_head *head, struct reader *r, bool is_float,
                                     bool late) {
    struct row_2 row = {0};
    while (!r->failed && reader_left(r) > 0) {
        read_row_2(r, &row);
        struct prom_sample sample = {.ref = row.ref, .time_ms = (int64_t)row.time, .late = late};
        if (row.start != 0) head->counts->starts++;
        TRY(take_histogram(head, r, &sample, is_float));
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status take_any(struct prom_head *head, struct sv bytes, bool late) {
    if (bytes.len == 0) {
        head->counts->records++;
        return OK;
    }
    struct reader r = reader_init(bytes.ptr, bytes.len);
    switch (read_u8(&r)) {
    case RECORD_SAMPLES: return take_samples(head, &r, late);
    case RECORD_SAMPLES_2: return take_samples_2(head, &r, late);
    case RECORD_HISTOGRAMS:
    case RECORD_CUSTOM_HISTOGRAMS: return take_histograms(head, &r, false, late);
    case RECORD_FLOAT_HISTOGRAMS:
    case RECORD_CUSTOM_FLOAT_HISTOGRAMS: return take_histograms(head, &r, true, late);
    case RECORD_HISTOGRAMS_2: return take_histograms_2(head, &r, false, late);
    case RECORD_FLOAT_HISTOGRAMS_2: return take_histograms_2(head, &r, true, late);
    case RECORD_MARKERS: return take_markers(head, &r);
    case RECORD_SERIES: return take_series(head, &r);
    case RECORD_DELETIONS: return take_deletions(head, &r);
    case RECORD_EXEMPLARS: return take_exemplars(head, &r);
    case RECORD_METADATA: return take_metadata(head, &r);
    default: head->counts->records++; return OK;
    }
}

enum status prom_head_record(struct prom_head *head, struct sv bytes) {
    return take_any(head, bytes, false);
}

enum status prom_head_late_record(struct prom_head *head, struct sv bytes) {
    return take_any(head, bytes, true);
}
