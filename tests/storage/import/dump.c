/* SPDX-License-Identifier: Apache-2.0 */
/* dump DIR SHARDS [FROM_MS TO_MS]: what storage/import reads, for a script to compare. Lines:
 *   series SHARD HEX(canonical)       exemplar MS BITS HEX(labels), and those of dump_text.h
 *   metadata NAME TYPE HEX(unit) HEX(help), count NAME N, range MIN MAX
 * Ends with 0, or with 1 and `error CODE: text` on stderr. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/import/prometheus.h"
#include "storage/metadata.h"
#include "tests/storage/import/dump_text.h"

static void put_series(const struct prom_series *s) {
    printf("series %" PRIu32, s->shard);
    put_hex(s->canonical);
    putchar('\n');
    put_samples(&s->samples);
    for (size_t i = 0; i < s->exemplars_count; i++) {
        printf("exemplar %" PRId64 " %016" PRIx64, s->exemplars[i].time_ms,
               f64_bits(s->exemplars[i].value));
        put_hex(s->exemplars[i].labels);
        putchar('\n');
    }
}

/* metadata NAME TYPE HEX(unit) HEX(help), the first said last */
static enum status put_families(const struct prom_dir *dir) {
    struct metadata m;
    struct entry_write w = {0};
    struct entry_metadata item;
    uint64_t left_out;
    metadata_init(&m);
    enum status got = prom_dir_families(dir, &m, &left_out);
    for (uint32_t i = 0; got == OK && i < metadata_names(&m); i++)
        metadata_read(&m, i, &w);
    for (struct sv rest = buf_sv(&w.metadata); entry_metadata_next(&rest, &item);) {
        printf("metadata %.*s %d", SV_ARG(item.name), item.type);
        put_hex(item.unit);
        put_hex(item.help);
        putchar('\n');
    }
    entry_write_fini(&w);
    metadata_fini(&m);
    return got;
}

static void put_counts(const struct prom_dir *dir) {
    struct prom_counts c;
    prom_dir_counts(dir, &c);
    const struct {
        const char *name;
        uint64_t n;
    } all[] = {{"blocks", c.blocks},
               {"blocks_replaced", c.blocks_replaced},
               {"blocks_unfinished", c.blocks_unfinished},
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
               {"starts", c.starts},
               {"exemplars", c.exemplars}};
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
    if (got == OK) got = put_families(dir);
    if (got == OK) put_counts(dir);
    prom_dir_close(dir);
    if (got != OK) fprintf(stderr, "error %s: %s\n", status_name(got), err.msg);
    return got != OK;
}
