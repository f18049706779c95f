/* SPDX-License-Identifier: Apache-2.0 */
/* dump DIR SHARDS [FROM_MS TO_MS]: what storage/import reads, for a script to compare. Lines:
 *   series SHARD HEX(canonical)       sample MS BITS            exemplar MS BITS HEX(labels)
 *   histogram MS and what put_histogram says
 *   metadata TYPE HEX(unit) HEX(help) count NAME N              range MIN MAX
 * Ends with 0, or with 1 and `error CODE: text` on stderr. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/histogram.h"
#include "storage/import/prometheus.h"

static void put_hex(struct sv s) {
    putchar(' ');
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (uint8_t)s.ptr[i]);
}

static void put_side(const struct histogram_side *side) {
    putchar(' ');
    for (uint32_t i = 0; i < side->spans_count; i++)
        printf("%" PRId32 "+%" PRIu32 ",", side->spans[i].offset, side->spans[i].length);
    putchar(' ');
    for (uint32_t i = 0; i < side->buckets_count; i++)
        if (side->counts != NULL)
            printf("%016" PRIx64 ",", f64_bits(side->counts[i]));
        else
            printf("%" PRId64 ",", side->deltas[i]);
}

/* int|float gauge|counter SCHEMA BITS(threshold) ZEROS COUNT BITS(sum) and both sides; counts of a
 * float histogram as bits. */
static void put_histogram(const struct histogram *h) {
    printf(" %s %s %" PRId32 " %016" PRIx64, h->is_float ? "float" : "int",
           h->hint == HISTOGRAM_GAUGE ? "gauge" : "counter", h->schema,
           f64_bits(h->zero_threshold));
    if (h->is_float)
        printf(" %016" PRIx64 " %016" PRIx64, f64_bits(h->zero_count_float),
               f64_bits(h->count_float));
    else
        printf(" %" PRIu64 " %" PRIu64, h->zero_count, h->count);
    printf(" %016" PRIx64, f64_bits(h->sum));
    put_side(&h->positive);
    put_side(&h->negative);
    putchar('\n');
}

static void put_series(const struct prom_series *s) {
    printf("series %" PRIu32, s->shard);
    put_hex(s->canonical);
    putchar('\n');
    for (size_t i = 0; i < s->samples.count; i++) {
        if (s->samples.histograms != NULL && s->samples.histograms[i] != NULL) {
            printf("histogram %" PRId64, s->samples.times_ms[i]);
            put_histogram(s->samples.histograms[i]);
            continue;
        }
        printf("sample %" PRId64 " %016" PRIx64 "\n", s->samples.times_ms[i],
               f64_bits(s->samples.values[i]));
    }
    for (size_t i = 0; i < s->exemplars_count; i++) {
        printf("exemplar %" PRId64 " %016" PRIx64, s->exemplars[i].time_ms,
               f64_bits(s->exemplars[i].value));
        put_hex(s->exemplars[i].labels);
        putchar('\n');
    }
    if (!s->has_metadata) return;
    printf("metadata %d", s->metadata_type);
    put_hex(s->unit);
    put_hex(s->help);
    putchar('\n');
}

static void put_counts(const struct prom_dir *dir) {
    struct prom_counts c;
    prom_dir_counts(dir, &c);
    const struct {
        const char *name;
        uint64_t n;
    } all[] = {{"blocks", c.blocks},
               {"blocks_replaced", c.blocks_replaced},
               {"wal_segments", c.wal_segments},
               {"wbl_segments", c.wbl_segments},
               {"head_series", c.head_series},
               {"wal_cut_bytes", c.wal_cut_bytes},
               {"head_chunks_cut_bytes", c.head_chunks_cut_bytes},
               {"conflicts", c.conflicts},
               {"unknown_samples", c.unknown_samples},
               {"unknown_head_chunks", c.unknown_head_chunks},
               {"histograms", c.histograms},
               {"encodings", c.encodings},
               {"records", c.records},
               {"starts", c.starts}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        printf("count %s %" PRIu64 "\n", all[i].name, all[i].n);
    int64_t min, max;
    if (prom_dir_range(dir, &min, &max)) printf("range %" PRId64 " %" PRId64 "\n", min, max);
}

static enum status dump(struct prom_dir *dir, int64_t from_ms, int64_t to_ms, struct err *err) {
    struct prom_scan *scan;
    TRY(prom_scan_new(dir, from_ms, to_ms, &scan, err));
    const struct prom_series *series;
    enum status got;
    while ((got = prom_scan_next(scan, &series, err)) == OK && series != NULL)
        put_series(series);
    prom_scan_free(scan);
    return got;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 5) return 2;
    struct prom_options options = {.disk = disk_real(),
                                   .path = argv[1],
                                   .secret = 7,
                                   .shards_count = (uint32_t)strtoul(argv[2], NULL, 10)};
    int64_t from_ms = argc == 5 ? strtoll(argv[3], NULL, 10) : INT64_MIN;
    int64_t to_ms = argc == 5 ? strtoll(argv[4], NULL, 10) : INT64_MAX;
    struct prom_dir *dir = NULL;
    struct err err = {0};
    enum status got = prom_dir_open(&options, &dir, &err);
    if (got == OK) got = dump(dir, from_ms, to_ms, &err);
    if (got == OK) put_counts(dir);
    prom_dir_close(dir);
    if (got != OK) fprintf(stderr, "error %s: %s\n", status_name(got), err.msg);
    return got != OK;
}
