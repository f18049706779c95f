/* SPDX-License-Identifier: Apache-2.0 */
/* storage/labels.h: label sets and series ids.
 * Canonical bytes of a label set are its remote-write 1.0 encoding: for each label, sorted by name,
 * no empty values, no name twice: 0x0a varint(len) { 0x0a varint(len) name, 0x12 varint(len) value
 * }, all varints minimal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/status.h"
#include "node/base/sv.h"

struct label {
    struct sv name, value;
};

/* Names that are asked for, and, so that names are compared once each, of the numbers which a table
 * of labels gives its names some that are known. For one table and one thread. */
enum { LABELS_ASKED_KNOWN = 64 };
struct labels_asked {
    const struct sv *names;
    size_t count;
    struct {             /* private to the table */
        uint32_t number; /* + 1; 0: none */
        bool asked;
    } known[LABELS_ASKED_KNOWN];
};

/* id: XXH3-128 of the canonical bytes, seeded with the cluster's secret and the tenant. Its high
 * half mod S is the shard. */
typedef struct hash128 series_id; /* ids are values; the one typedef of a struct */
series_id series_id_of(uint64_t secret, uint32_t tenant, struct sv canonical);
static inline bool series_id_eq(series_id a, series_id b) {
    return a.hi == b.hi && a.lo == b.lo;
}
static inline uint32_t series_shard(series_id id, uint32_t shards_count) {
    return (uint32_t)(id.hi % shards_count);
}

/* Reads the next label of canonical (or any valid WriteRequest) label bytes; false at the end or,
 * with *bad, on malformed bytes. */
bool labels_next(struct sv *rest, struct label *out, bool *bad);
size_t labels_count(struct sv canonical);
/* The value of a label, empty when absent. */
struct sv labels_get(struct sv canonical, struct sv name);
/* Sorts in place by name and writes canonical bytes without empty values. ERR_CONFLICT naming a
 * repeated name. */
enum status labels_encode(struct label *labels, size_t count, struct buf *out,
                          struct err *err) MUST_USE;
/* name{a="b", c="d"} with the metric name in front, as Prometheus prints a metric. */
void labels_print(struct sv canonical, struct buf *out);
void label_list_print(const struct label *labels, size_t count, struct buf *out);
/* {__name__="name", a="b"}: labels.Labels.String() of Prometheus, as in error texts. */
void label_list_print_braces(const struct label *labels, size_t count, struct buf *out);
void label_put_quoted(struct buf *out, struct sv s); /* Go's strconv.Quote */
int label_list_cmp(const struct label *a, size_t a_count, const struct label *b,
                   size_t b_count); /* labels.Compare */

bool label_name_valid(struct sv name);  /* UTF-8, not empty */
bool metric_name_valid(struct sv name); /* UTF-8, not empty */

#define STALE_NAN_BITS 0x7ff0000000000002ULL
#define NORMAL_NAN_BITS 0x7ff8000000000001ULL
bool value_is_stale(double v);
double value_stale(void);
