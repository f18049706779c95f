/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "ingest/ha.h"
#include "ingest/wire.h"
#include "node/base/utf8.h"

/* Looks into a WriteRequest (field 1: series) before it is scanned: a request that is dropped costs
 * no more. Series: field 1 labels, 2 samples, 4 histograms; label: 1 name, 2 value. */
enum { REQUEST_SERIES = 1, SERIES_LABEL = 1, SERIES_SAMPLE = 2, SERIES_HISTOGRAM = 4 };

/* The next field with bytes of that number. */
static bool next_bytes(struct wire *w, uint32_t *out_number, struct wire *out) {
    while (w->cur < w->end) {
        unsigned type;
        if (!wire_tag(w, out_number, &type)) return false;
        if (type == WIRE_BYTES) return wire_bytes(w, out);
        if (!wire_skip(w, type)) return false;
    }
    return false;
}

static void read_label(struct wire w, struct sv *out_name, struct sv *out_value) {
    uint32_t number;
    struct wire text;
    *out_name = *out_value = (struct sv){"", 0};
    while (next_bytes(&w, &number, &text)) {
        if (number == 1) *out_name = wire_sv(text);
        if (number == 2) *out_value = wire_sv(text);
    }
}

static bool take_labels(struct sv cluster, struct sv replica, struct sv *out_cluster,
                        struct sv *out_replica) {
    if (cluster.len == 0 || replica.len == 0 || !utf8_valid(cluster) || !utf8_valid(replica) ||
        memchr(cluster.ptr, 0, cluster.len) != NULL || memchr(replica.ptr, 0, replica.len) != NULL)
        return false;
    *out_cluster = cluster;
    *out_replica = replica;
    return true;
}

bool ha_find_labels(const struct ha_options *options, struct sv body, struct sv *out_cluster,
                    struct sv *out_replica) {
    struct wire w = {(const uint8_t *)body.ptr, (const uint8_t *)body.ptr + body.len}, series;
    struct sv cluster = {"", 0}, replica = {"", 0};
    uint32_t number;
    do {
        if (!next_bytes(&w, &number, &series)) return false;
    } while (number != REQUEST_SERIES);
    struct wire label;
    while (next_bytes(&series, &number, &label)) {
        struct sv name, value;
        if (number != SERIES_LABEL) continue;
        read_label(label, &name, &value);
        if (sv_eq(name, sv_from(options->cluster_label))) cluster = value;
        if (sv_eq(name, sv_from(options->replica_label))) replica = value;
    }
    return take_labels(cluster, replica, out_cluster, out_replica);
}

uint64_t ha_count_samples(struct sv body) {
    struct wire w = {(const uint8_t *)body.ptr, (const uint8_t *)body.ptr + body.len}, series, item;
    uint64_t count = 0;
    uint32_t number, field;
    while (next_bytes(&w, &number, &series))
        while (number == REQUEST_SERIES && next_bytes(&series, &field, &item))
            count += field == SERIES_SAMPLE || field == SERIES_HISTOGRAM;
    return count;
}

/* -- 2.0: labels are references into a table of symbols, which may stand behind the series. Two
 * walks over the table and one over the references, so that no array is needed: which symbols are
 * the names, which references their values, and what those say. */

enum { V2_SYMBOLS = 4, V2_SERIES = 5, V2_REFS = 1, V2_SAMPLE = 2, V2_HISTOGRAM = 3 };

static bool next_symbol(struct wire *w, struct sv *out) {
    uint32_t number;
    struct wire text;
    do {
        if (!next_bytes(w, &number, &text)) return false;
    } while (number != V2_SYMBOLS);
    *out = wire_sv(text);
    return true;
}

struct ha_ref {
    struct sv name;
    uint64_t name_ref, value_ref; /* UINT64_MAX: not found */
    struct sv value;
};

static void find_names(struct wire w, struct ha_ref *refs, size_t count) {
    struct sv symbol;
    for (uint64_t i = 0; next_symbol(&w, &symbol); i++)
        for (size_t k = 0; k < count; k++)
            if (refs[k].name_ref == UINT64_MAX && sv_eq(symbol, refs[k].name)) refs[k].name_ref = i;
}

static void find_values(struct wire w, struct ha_ref *refs, size_t count) {
    struct sv symbol;
    for (uint64_t i = 0; next_symbol(&w, &symbol); i++)
        for (size_t k = 0; k < count; k++)
            if (refs[k].value_ref == i) refs[k].value = symbol;
}

/* In the packed form, which senders write. */
static void find_refs(struct wire series, struct ha_ref *refs, size_t count) {
    struct wire packed;
    uint32_t number;
    uint64_t name, value;
    while (next_bytes(&series, &number, &packed))
        while (number == V2_REFS && wire_varint(&packed, &name) && wire_varint(&packed, &value))
            for (size_t k = 0; k < count; k++)
                if (name == refs[k].name_ref) refs[k].value_ref = value;
}

bool ha_find_labels_v2(const struct ha_options *options, struct sv body, struct sv *out_cluster,
                       struct sv *out_replica) {
    struct wire all = {(const uint8_t *)body.ptr, (const uint8_t *)body.ptr + body.len}, w = all;
    struct ha_ref refs[2] = {
        {sv_from(options->cluster_label), UINT64_MAX, UINT64_MAX, SV("")},
        {sv_from(options->replica_label), UINT64_MAX, UINT64_MAX, SV("")},
    };
    struct wire series;
    uint32_t number;
    do {
        if (!next_bytes(&w, &number, &series)) return false;
    } while (number != V2_SERIES);
    find_names(all, refs, 2);
    if (refs[0].name_ref == UINT64_MAX || refs[1].name_ref == UINT64_MAX) return false;
    find_refs(series, refs, 2);
    find_values(all, refs, 2);
    return take_labels(refs[0].value, refs[1].value, out_cluster, out_replica);
}

uint64_t ha_count_samples_v2(struct sv body) {
    struct wire w = {(const uint8_t *)body.ptr, (const uint8_t *)body.ptr + body.len}, series, item;
    uint64_t count = 0;
    uint32_t number, field;
    while (next_bytes(&w, &number, &series))
        while (number == V2_SERIES && next_bytes(&series, &field, &item))
            count += field == V2_SAMPLE || field == V2_HISTOGRAM;
    return count;
}
