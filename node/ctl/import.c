/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl import: other systems' samples as blocks of a node. Ids of series and shards are those
 * of the node's cluster, so its directory must have been in one; nothing may run on it. For each
 * day (UTC) with samples PATH/blocks/import-<n>.block is written, with its exemplars, n beginning
 * behind what is there; what is known of metric families goes into one import-<n>.families. When
 * anything fails, the files of this run go again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/ctl/ctl.h"
#include "node/daemon/config.h"
#include "node/runtime/disk.h"
#include "ring/map.h"
#include "storage/archive/families.h"
#include "storage/block/block.h"
#include "storage/import/openmetrics.h"
#include "storage/import/prometheus.h"

#define DAY_MS INT64_C(86400000) /* a multiple of the 2 h of other blocks */

struct import_options {
    union flag_value help, path;
};
#define AT(field) offsetof(struct import_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"storage.tsdb.path", 0, FLAG_STRING, "data/",
     "Data directory of the node that takes the samples.", AT(path), false},
};
static struct import_options options;

/* -- where to */

struct target {
    struct disk *disk;
    struct file *lock;
    struct ring_map *map;
    char *blocks;          /* directory */
    uint64_t first, count; /* numbers of the files of this run */
    uint64_t samples, exemplars;
    char *families; /* path of its file; NULL: none was written */
    uint32_t families_count;
};

static char *path_of(const char *dir, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static char *file_path(const struct target *t, uint64_t number, const char *suffix) {
    char *path = NULL;
    int n = asprintf(&path, "%s/import-%" PRIu64 "%s", t->blocks, number, suffix);
    return n < 0 ? NULL : path;
}

static bool on_name(void *ctx, const char *name) {
    struct target *t = ctx;
    uint64_t number;
    char dot;
    if (sscanf(name, "import-%" SCNu64 "%c", &number, &dot) == 2 && dot == '.')
        t->first = MAX(t->first, number + 1);
    return true;
}

static enum status read_map(struct target *t, const char *dir, const char *lock, const char *ring,
                            struct err *err) {
    TRY(disk_lock(t->disk, lock, &t->lock, err));
    enum status got = ring_map_load(t->disk, ring, &t->map, err);
    if (got == ERR_UNAVAILABLE)
        return err_set(err, got, 0, "%s: the node was in no cluster yet; start it once", dir);
    if (got == OK && t->map->nodes_count > 1)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s: its cluster has %" PRIu32
                       " nodes, and the others would not have what only this one takes: send it to "
                       "the cluster by remote write, or import into a node that is alone and let "
                       "the others join it with empty directories",
                       dir, t->map->nodes_count);
    return got;
}

static enum status target_open(struct target *t, const char *dir, struct err *err) {
    char *seat = path_of(dir, "seat"), *lock = path_of(dir, "lock"), *ring = path_of(dir, "ring");
    t->blocks = path_of(dir, "blocks");
    enum status got = OK;
    if (seat == NULL || lock == NULL || ring == NULL || t->blocks == NULL)
        got = err_set(err, ERR_NOMEM, 0, "out of memory");
    else if (!disk_exists(t->disk, seat))
        got = err_set(err, ERR_UNAVAILABLE, 0,
                      "%s is no data directory of a node: %s is missing; start the node once", dir,
                      seat);
    if (got == OK) got = read_map(t, dir, lock, ring, err);
    if (got == OK) got = disk_mkdir(t->disk, t->blocks, err);
    if (got == OK) got = disk_list(t->disk, t->blocks, on_name, t, err);
    free(seat);
    free(lock);
    free(ring);
    return got;
}

static void target_close(struct target *t, bool keep) {
    for (uint64_t i = 0; !keep && i < t->count; i++) {
        char *path = file_path(t, t->first + i, ".block");
        if (path != NULL) status_ignore(disk_unlink(t->disk, path, NULL));
        free(path);
    }
    if (!keep && t->families != NULL) status_ignore(disk_unlink(t->disk, t->families, NULL));
    free(t->families);
    ring_map_unref(t->map);
    file_close(t->lock);
    free(t->blocks);
}

/* -- where from */

struct source {
    struct prom_options options;
    struct prom_dir *dir; /* one of these */
    struct om_file *file;
    struct prom_scan *dir_scan;
    struct om_scan *file_scan;
    /* of a directory: */
    uint64_t exemplars;   /* those there are */
    int64_t exemplars_ms; /* and those that are newer are taken */
};

static bool source_next_time(const struct source *s, int64_t from_ms, int64_t *out_ms) {
    if (s->dir != NULL) return prom_dir_next(s->dir, from_ms, out_ms);
    return om_file_next(s->file, from_ms, out_ms);
}

static enum status source_begin(struct source *s, int64_t from_ms, int64_t to_ms, struct err *err) {
    if (s->dir != NULL) return prom_scan_new(s->dir, from_ms, to_ms, &s->dir_scan, err);
    return om_scan_new(s->file, from_ms, to_ms, &s->file_scan, err);
}

static enum status source_next(struct source *s, const struct prom_series **out, struct err *err) {
    if (s->dir != NULL) return prom_scan_next(s->dir_scan, out, err);
    return om_scan_next(s->file_scan, out, err);
}

static void source_end(struct source *s) {
    prom_scan_free(s->dir_scan);
    om_scan_free(s->file_scan);
    s->dir_scan = NULL;
    s->file_scan = NULL;
}

/* -- writing */

struct day {
    int64_t from_ms, to_ms;
    uint64_t series, samples, exemplars;
    struct block_writer *writer;
    uint32_t shard; /* whose exemplars these are (storage/exemplar_items.h) */
    struct buf items;
    struct entry_write exemplars_of; /* a series */
};

static enum status import_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "out of memory");
}

static enum status items_end(struct day *day, struct err *err) {
    enum status status = OK;
    if (day->items.len > 0)
        status = block_writer_items(day->writer, day->shard, buf_sv(&day->items), err);
    buf_clear(&day->items);
    return status;
}

static enum status items_add(const struct source *s, struct day *day,
                             const struct prom_series *series, struct err *err) {
    struct entry_write *of = &day->exemplars_of;
    if (series->shard != day->shard) TRY(items_end(day, err));
    day->shard = series->shard;
    entry_write_clear(of);
    for (size_t i = 0; i < series->exemplars_count; i++) {
        const struct prom_exemplar *e = &series->exemplars[i];
        if (s->dir != NULL && e->time_ms <= s->exemplars_ms) continue;
        entry_write_exemplar(of, &(struct entry_exemplar){0, e->time_ms, e->value, e->labels});
    }
    if (of->exemplars_count == 0) return OK;
    day->exemplars += of->exemplars_count;
    buf_put_lenstr(&day->items, series->canonical);
    buf_put_lenstr(&day->items, buf_sv(&of->exemplars));
    return of->exemplars.failed || day->items.failed ? import_nomem(err) : OK;
}

static enum status add_all(struct source *s, struct day *day, struct err *err) {
    for (;;) {
        const struct prom_series *series;
        TRY(source_next(s, &series, err));
        if (series == NULL) return items_end(day, err);
        TRY(items_add(s, day, series, err));
        if (series->samples.count == 0) continue;
        TRY(block_writer_add(day->writer, series->shard, series->canonical, &series->samples, err));
        day->series++;
        day->samples += series->samples.count;
    }
}

static enum status write_day(struct target *t, struct source *s, struct day *day, struct err *err) {
    char *path = file_path(t, t->first + t->count, ".block");
    if (path == NULL) return import_nomem(err);
    struct block_writer_options o = {.disk = t->disk,
                                     .path = path,
                                     .secret = s->options.secret,
                                     .tenant = s->options.tenant,
                                     .shards_count = s->options.shards_count};
    bool written = false;
    enum status got = block_writer_new(&o, &day->writer, err);
    if (got == OK) got = source_begin(s, day->from_ms, day->to_ms, err);
    if (got == OK) got = add_all(s, day, err);
    if (got == OK) got = block_writer_finish(day->writer, &written, err);
    block_writer_free(day->writer);
    buf_fini(&day->items);
    entry_write_fini(&day->exemplars_of);
    source_end(s);
    if (got == OK && written) {
        t->count++;
        t->samples += day->samples;
        t->exemplars += day->exemplars;
        printf("%s: %" PRIu64 " series, %" PRIu64 " samples, from %" PRId64 " to %" PRId64 " ms\n",
               path, day->series, day->samples, day->from_ms, day->to_ms);
    }
    free(path);
    return got;
}

static int64_t day_begin(int64_t time_ms) {
    int64_t over = time_ms % DAY_MS;
    if (over < 0) over += DAY_MS;
    return time_ms < INT64_MIN + over ? INT64_MIN : time_ms - over;
}

static enum status write_days(struct target *t, struct source *s, struct err *err) {
    int64_t from_ms = INT64_MIN, next_ms;
    while (source_next_time(s, from_ms, &next_ms)) {
        struct day day = {.from_ms = day_begin(next_ms)};
        if (__builtin_add_overflow(day.from_ms, DAY_MS - 1, &day.to_ms)) day.to_ms = INT64_MAX;
        TRY(write_day(t, s, &day, err));
        if (day.to_ms == INT64_MAX) break;
        from_ms = day.to_ms + 1;
    }
    return OK;
}

static enum status write_families(struct target *t, struct source *s, struct err *err) {
    struct metadata m;
    uint64_t left_out = 0;
    metadata_init(&m);
    enum status got = s->file != NULL ? om_file_families(s->file, &m, &left_out)
                                      : prom_dir_families(s->dir, &m, &left_out);
    if (got != OK) import_nomem(err);
    if (got == OK && metadata_names(&m) > 0) {
        t->families = file_path(t, t->first + t->count, FAMILIES_SUFFIX);
        t->families_count = metadata_names(&m);
        got = t->families == NULL
                  ? import_nomem(err)
                  : families_write(t->disk, t->families, &m, s->options.shards_count, err);
    }
    metadata_fini(&m);
    if (left_out > 0)
        fprintf(stderr,
                "cairnctl: metadata of %" PRIu64 " %s were left out: malformed, or too long\n",
                left_out, s->file != NULL ? "metric families" : "series");
    return got;
}

/* -- what was left out, and verbs */

static void put_count(uint64_t n, const char *what) {
    if (n > 0) fprintf(stderr, "cairnctl: %" PRIu64 " %s\n", n, what);
}

static void report_dir(const struct prom_dir *dir) {
    struct prom_counts c;
    prom_dir_counts(dir, &c);
    put_count(c.blocks_unfinished, "blocks without a meta.json were left out");
    put_count(c.wal_cut_bytes, "bytes of a record that a crash cut were left out");
    put_count(c.conflicts, "samples differed from a later one at the same time, which was taken");
    put_count(c.unknown_samples, "samples of series that the log does not name were left out");
    put_count(c.histograms, "malformed native histograms were left out");
    put_count(c.encodings, "chunks of an encoding that is not known were left out");
    put_count(c.records, "records of a type that is not known were left out");
    put_count(c.starts, "start timestamps were left out");
    put_count(c.exemplars, "malformed exemplars were left out");
}

static void report_file(const struct om_file *file) {
    struct om_counts c;
    om_file_counts(file, &c);
    put_count(c.conflicts, "samples differed from a later one at the same time, which was taken");
    put_count(c.exemplars_bad, "exemplars were left out: more than 128 characters of labels, or a "
                               "label twice");
    put_count(c.exemplars_same, "exemplars were left out: they came before");
}

/* Those that could have been taken. */
static uint64_t exemplars_of(const struct source *s) {
    struct om_counts c;
    if (s->file == NULL) return s->exemplars;
    om_file_counts(s->file, &c);
    return c.exemplars - c.exemplars_same;
}

static void report(const struct target *t, const struct source *s) {
    if (s->dir != NULL) report_dir(s->dir);
    if (s->file != NULL) report_file(s->file);
    put_count(exemplars_of(s) - t->exemplars,
              "exemplars were left out: a node keeps the newest 100000, of days with samples");
    if (t->exemplars > 0) printf("%" PRIu64 " exemplars\n", t->exemplars);
    if (t->families != NULL)
        printf("%s: metadata of %" PRIu32 " metric families\n", t->families, t->families_count);
    printf("%" PRIu64 " samples in %" PRIu64 " blocks\n", t->samples, t->count);
}

static enum status import(struct target *t, struct source *s, bool is_file, struct err *err) {
    TRY(target_open(t, options.path.string, err));
    s->options.disk = t->disk;
    s->options.secret = t->map->settings.secret;
    s->options.shards_count = t->map->settings.shards_count;
    if (is_file)
        TRY(om_file_open(&s->options, CONFIG_EXEMPLARS_MAX, &s->file, err));
    else
        TRY(prom_dir_open(&s->options, &s->dir, err));
    if (!is_file &&
        prom_dir_exemplars(s->dir, CONFIG_EXEMPLARS_MAX, &s->exemplars, &s->exemplars_ms) != OK)
        return import_nomem(err);
    TRY(write_days(t, s, err));
    return write_families(t, s, err);
}

static int run(int argc, char **argv, bool is_file, const char *summary) {
    static struct flag_list arguments; /* lives as long as the process, see base/flags.h */
    const char *verb = is_file ? "import openmetrics" : "import prometheus";
    const char *what = is_file ? "FILE" : "DIR";
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &arguments, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean) return ctl_help(verb, what, summary, defs, ARRAY_LEN(defs));
    if (arguments.count != 1) return ctl_fail("%s needs one %s, try --help", verb, what);
    struct target t = {.disk = disk_real()};
    struct source s = {.options = {.path = arguments.items[0]}};
    enum status got = import(&t, &s, is_file, &err);
    if (got == OK) report(&t, &s);
    prom_dir_close(s.dir);
    om_file_close(s.file);
    target_close(&t, got == OK);
    return got == OK ? 0 : ctl_fail("%s", err.msg);
}

int import_prometheus_main(int argc, char **argv) {
    return run(argc, argv, false,
               "Import the data directory of a Prometheus that is not running: blocks, logs and "
               "head chunks, with native histograms, and what the logs have of exemplars and of "
               "metadata. Deleted samples stay deleted.\n\nWrites one "
               "block per day into the data directory of a node that is not running.");
}

int import_openmetrics_main(int argc, char **argv) {
    return run(argc, argv, true,
               "Import a file in the OpenMetrics text format whose samples have timestamps, with "
               "its exemplars and metadata; its last line is # EOF.\n\nWrites one block per day "
               "into the data directory of a node "
               "that is not running.");
}
