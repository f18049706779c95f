/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/scan_internal.h"

/* Exemplars and metadata. Their form is checked as a whole first, so that reading the fields that
 * count cannot fail. */

enum { EXEMPLAR_LABELS_MAX = ENTRY_EXEMPLAR_RUNES_MAX / 2 }; /* a name and a value each */

static enum status items_nomem(const struct scanner *s) {
    return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
}

bool scan_next_field(struct wire *w, struct scan_field *out) {
    struct wire inner;
    *out = (struct scan_field){.bytes = {"", 0}};
    if (w->cur >= w->end || !wire_tag(w, &out->field, &out->type)) return false;
    if (out->type == WIRE_VARINT) return wire_varint(w, &out->number);
    if (out->type == WIRE_FIXED64) return wire_fixed64(w, &out->number);
    if (out->type != WIRE_BYTES) return wire_skip(w, out->type);
    if (!wire_bytes(w, &inner)) return false;
    out->bytes = wire_sv(inner);
    return true;
}

static bool next_field(struct wire *w, uint32_t *out_field, uint64_t *out_number,
                       struct sv *out_bytes) {
    struct scan_field f;
    bool more = scan_next_field(w, &f);
    *out_field = f.field;
    *out_number = f.number;
    *out_bytes = f.bytes;
    return more;
}

static struct wire wire_of(struct sv s) {
    return (struct wire){(const uint8_t *)s.ptr, (const uint8_t *)s.ptr + s.len};
}

struct exemplar_labels {
    struct label at[EXEMPLAR_LABELS_MAX];
    size_t count;
    bool bad;
};

static void add_label(struct exemplar_labels *labels, struct label l) {
    if (l.value.len == 0) return; /* as Prometheus: an empty value is none */
    labels->bad |= l.name.len == 0 || labels->count == EXEMPLAR_LABELS_MAX;
    if (!labels->bad) labels->at[labels->count++] = l;
}

static void take_label(struct exemplar_labels *labels, struct sv bytes) {
    struct label l = {{"", 0}, {"", 0}};
    struct wire w = wire_of(bytes);
    uint32_t field;
    uint64_t number;
    struct sv text;
    while (next_field(&w, &field, &number, &text)) {
        if (field == 1) l.name = text;
        if (field == 2) l.value = text;
    }
    add_label(labels, l);
}

/* ptr NULL: storage would not keep them. */
static enum status canonical_labels(struct scanner *s, struct exemplar_labels *labels,
                                    struct sv *out) {
    *out = (struct sv){0};
    if (labels->bad) return OK;
    buf_clear(&s->canonical);
    enum status st = labels_encode(labels->at, labels->count, &s->canonical, NULL);
    if (st == ERR_CONFLICT) return OK;
    if (st != OK || s->canonical.failed) return items_nomem(s);
    if (!entry_exemplar_labels_valid(buf_sv(&s->canonical))) return OK;
    *out = s->canonical.len == 0 ? SV("") : arena_sv(s->arena, buf_sv(&s->canonical));
    return out->ptr == NULL ? items_nomem(s) : OK;
}

enum status scan_exemplar_labels(struct scanner *s, const struct label *labels, size_t count,
                                 struct sv *out) {
    struct exemplar_labels list = {.count = 0};
    for (size_t i = 0; i < count; i++)
        add_label(&list, labels[i]);
    return canonical_labels(s, &list, out);
}

enum status scan_exemplar(struct scanner *s, struct wire w) {
    TRY(scan_form(s, w, &form_exemplar));
    s->out->exemplars++;
    struct write_exemplar e = {0};
    struct exemplar_labels labels = {.count = 0};
    uint32_t field;
    uint64_t number;
    struct sv bytes;
    while (next_field(&w, &field, &number, &bytes)) {
        if (field == 1) take_label(&labels, bytes);
        if (field == 2) e.value = f64_from_bits(number);
        if (field == 3) e.time_ms = (int64_t)number;
    }
    if (s->out->rows->exemplars_count >= s->o->samples_max) return OK;
    TRY(canonical_labels(s, &labels, &e.labels));
    if (e.labels.ptr == NULL) return OK;
    return write_rows_add_exemplar(s->out->rows, &e) == OK ? OK : items_nomem(s);
}

void scan_set_exemplars(struct scanner *s, size_t first, struct sv labels) {
    struct write_rows *rows = s->out->rows;
    if (labels.ptr == NULL) rows->exemplars_count = first;
    if (rows->exemplars_count == first) return;
    series_id id = series_id_of(s->o->secret, s->o->tenant, labels);
    for (size_t i = first; i < rows->exemplars_count; i++) {
        rows->exemplars[i].id = id;
        rows->exemplars[i].shard = series_shard(id, s->o->shards_count);
    }
}

enum status scan_metadata(struct scanner *s, struct wire w) {
    TRY(scan_form(s, w, &form_metadata));
    if (++s->out->metadata > s->o->series_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u metadata in one request",
                       s->o->series_max);
    struct write_metadata m = {.item = {.name = SV(""), .help = SV(""), .unit = SV("")}};
    uint32_t field;
    uint64_t number;
    struct sv bytes;
    while (next_field(&w, &field, &number, &bytes)) {
        if (field == 1) m.item.type = number < ENTRY_METADATA_TYPES ? (uint8_t)number : 0;
        if (field == 2) m.item.name = bytes;
        if (field == 4) m.item.help = bytes;
        if (field == 5) m.item.unit = bytes;
    }
    if (!entry_metadata_valid(&m.item)) return OK;
    if (metadata_shard(s->o->secret, s->o->tenant, s->o->shards_count, m.item.name, &m.shard) != OK)
        return items_nomem(s);
    if (write_rows_add_metadata(s->out->rows, &m) == OK) return OK;
    return items_nomem(s);
}
