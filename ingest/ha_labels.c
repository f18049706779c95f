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
    if (cluster.len == 0 || replica.len == 0 || !utf8_valid(cluster) || !utf8_valid(replica) ||
        memchr(cluster.ptr, 0, cluster.len) != NULL || memchr(replica.ptr, 0, replica.len) != NULL)
        return false;
    *out_cluster = cluster;
    *out_replica = replica;
    return true;
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
