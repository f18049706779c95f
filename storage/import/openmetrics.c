/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/import/openmetrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/openmetrics_line.h"
#include "storage/metadata.h"

enum { READ_BYTES = 1 << 18, DAY_MS = 24 * 3600 * 1000 };

struct om_series {
    struct sv canonical;
    uint32_t shard;
    /* of the scan */
    struct samples samples;
    struct prom_exemplar *exemplars;
    size_t exemplars_count, exemplars_cap;
};
struct om_family {
    struct sv name, help, unit;
    uint8_t type;
};

struct om_file {
    struct prom_options options; /* path is ours */
    struct arena arena;
    struct om_series *series;
    size_t series_count, series_cap;
    struct map by_labels;
    uint32_t *order; /* by shard, then labels */
    struct om_counts counts;
    struct om_family *families;
    size_t families_count, families_cap;
    struct map by_name;
    size_t exemplars_max;
    int64_t *exemplar_times; /* of the newest, and more; while it is read first */
    size_t exemplar_times_count, exemplar_times_cap;
    int64_t exemplars_after_ms; /* those that are newer are taken */
    int64_t *days;              /* their begins; ascending when all is read */
    size_t days_count, days_cap;
    struct om_scan *scan;
};

struct om_scan {
    struct om_file *file;
    int64_t from_ms, to_ms;
    size_t next;        /* in order */
    struct arena arena; /* of exemplars' labels */
    struct prom_collect collect;
    struct prom_series series;
};

/* -- lines */

typedef enum status (*om_line_fn)(struct om_file *file, const struct om_line *line);

struct om_reader {
    struct om_file *file;
    struct om_parser parser;
    struct buf text; /* what is read and not parsed yet */
    uint64_t line_number;
    bool ended; /* by # EOF */
};

static enum status take_line(struct om_reader *r, struct sv text, om_line_fn fn, struct err *err) {
    const char *path = r->file->options.path;
    r->line_number++;
    if (r->ended)
        return err_set(err, ERR_PARSE, 0, "%s:%" PRIu64 ": unexpected data after # EOF", path,
                       r->line_number);
    struct om_line line;
    struct err inner;
    enum status got = om_parse(&r->parser, text, &line, &inner);
    if (got == ERR_PARSE)
        return err_set(err, got, 0, "%s:%" PRIu64 ": %s", path, r->line_number, inner.msg);
    r->ended = line.kind == OM_EOF;
    if (got == OK) got = fn(r->file, &line);
    if (got == ERR_CORRUPT)
        return err_set(err, got, 0, "%s:%" PRIu64 ": the file has changed", path, r->line_number);
    return got == OK ? OK : err_set(err, got, 0, "%s: no memory", path);
}

static enum status take_lines(struct om_reader *r, om_line_fn fn, struct err *err) {
    size_t done = 0, end;
    while (sv_find_char(sv_skip(buf_sv(&r->text), done), '\n', &end)) {
        TRY(take_line(r, sv_make(r->text.ptr + done, end), fn, err));
        done += end + 1;
    }
    r->text.len -= done;
    if (r->text.len > 0 && done > 0) memmove(r->text.ptr, r->text.ptr + done, r->text.len);
    if (r->text.len > OM_LINE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s:%" PRIu64 ": a line of more than %d bytes",
                       r->file->options.path, r->line_number + 1, OM_LINE_BYTES_MAX);
    return OK;
}

static enum status read_all(struct om_reader *r, struct file *f, om_line_fn fn, struct err *err) {
    for (uint64_t offset = 0;;) {
        if (!buf_reserve(&r->text, READ_BYTES))
            return err_set(err, ERR_NOMEM, 0, "%s: no memory", r->file->options.path);
        size_t got;
        TRY(file_pread(f, r->text.ptr + r->text.len, READ_BYTES, offset, &got, err));
        r->text.len += got;
        offset += got;
        TRY(take_lines(r, fn, err));
        if (got < READ_BYTES) break;
    }
    /* the last line may lack its line feed */
    if (r->text.len > 0) TRY(take_line(r, buf_sv(&r->text), fn, err));
    if (r->ended) return OK;
    return err_set(err, ERR_PARSE, 0, "%s:%" PRIu64 ": data does not end with # EOF",
                   r->file->options.path, r->line_number);
}

static enum status each_line(struct om_file *file, om_line_fn fn, struct err *err) {
    struct om_reader r = {.file = file};
    struct file *f;
    TRY(disk_open(file->options.disk, file->options.path, DISK_READ, &f, err));
    enum status got = read_all(&r, f, fn, err);
    file_close(f);
    om_parser_fini(&r.parser);
    buf_fini(&r.text);
    return got;
}

/* -- the first reading */

static bool labels_eq(const void *owner, uint32_t index, const void *key) {
    const struct om_file *file = owner;
    return sv_eq(file->series[index].canonical, *(const struct sv *)key);
}

static uint64_t labels_hash(const void *owner, uint32_t index) {
    const struct om_file *file = owner;
    return hash64(file->series[index].canonical.ptr, file->series[index].canonical.len, 0);
}

static uint32_t find(const struct om_file *file, struct sv canonical) {
    return map_find(&file->by_labels, hash64(canonical.ptr, canonical.len, 0), labels_eq, file,
                    &canonical);
}

static int cmp_day(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void sort_days(struct om_file *file) {
    if (file->days_count == 0) return;
    qsort(file->days, file->days_count, sizeof *file->days, cmp_day);
    size_t n = 1;
    for (size_t i = 1; i < file->days_count; i++)
        if (file->days[i] != file->days[n - 1]) file->days[n++] = file->days[i];
    file->days_count = n;
}

static enum status add_day(struct om_file *file, int64_t time_ms) {
    int64_t over = time_ms % DAY_MS, day = time_ms - (over < 0 ? over + DAY_MS : over);
    if (file->days_count > 0 && file->days[file->days_count - 1] == day) return OK;
    if (file->days_count == file->days_cap) { /* the same ones again take no memory */
        sort_days(file);
        if (file->days_count >= file->days_cap / 2) {
            void *days = file->days;
            TRY(prom_grow(&days, &file->days_cap, file->days_cap, sizeof *file->days));
            file->days = days;
        }
    }
    file->days[file->days_count++] = day;
    return OK;
}

/* Of times only so many are kept that the newest are among them. */
static enum status add_exemplar_time(struct om_file *file, int64_t time_ms) {
    size_t max = file->exemplars_max;
    if (time_ms <= file->exemplars_after_ms) return OK;
    if (file->exemplar_times_count >= 2 * max + 2) {
        int64_t *times = file->exemplar_times;
        size_t count = file->exemplar_times_count, kept = 0;
        file->exemplars_after_ms = prom_newest_after(times, count, max);
        for (size_t i = 0; i < count; i++)
            if (times[i] > file->exemplars_after_ms) times[kept++] = times[i];
        file->exemplar_times_count = kept;
    }
    void *times = file->exemplar_times;
    TRY(prom_grow(&times, &file->exemplar_times_cap, file->exemplar_times_count,
                  sizeof *file->exemplar_times));
    file->exemplar_times = times;
    file->exemplar_times[file->exemplar_times_count++] = time_ms;
    return OK;
}

static enum status count_exemplar(struct om_file *file, const struct om_line *line) {
    if (!line->has_exemplar) return OK;
    if (!line->exemplar_fits) {
        file->counts.exemplars_bad++;
        return OK;
    }
    file->counts.exemplars++;
    return add_exemplar_time(file, line->exemplar.time_ms);
}

/* -- families */

static bool name_eq(const void *owner, uint32_t index, const void *key) {
    const struct om_file *file = owner;
    return sv_eq(file->families[index].name, *(const struct sv *)key);
}

static uint64_t name_hash(const void *owner, uint32_t index) {
    const struct om_file *file = owner;
    return hash64(file->families[index].name.ptr, file->families[index].name.len, 0);
}

static enum status family_make(struct om_file *file, struct sv name, struct om_family **out) {
    uint64_t hash = hash64(name.ptr, name.len, 0);
    uint32_t index = map_find(&file->by_name, hash, name_eq, file, &name);
    if (index == MAP_NONE) {
        void *families = file->families;
        TRY(prom_grow(&families, &file->families_cap, file->families_count,
                      sizeof *file->families));
        file->families = families;
        struct sv own = arena_sv(&file->arena, name);
        if (own.ptr == NULL || file->families_count >= MAP_NONE) return ERR_NOMEM;
        index = (uint32_t)file->families_count;
        file->families[index] = (struct om_family){.name = own};
        TRY(map_insert(&file->by_name, hash, index, name_hash, file));
        file->families_count++;
    }
    *out = &file->families[index];
    return OK;
}

static enum status family_say(struct om_file *file, const struct om_line *line) {
    struct om_family *family;
    TRY(family_make(file, line->name, &family));
    if (line->said == OM_TYPE) {
        family->type = line->type;
        return OK;
    }
    struct sv *of = line->said == OM_HELP ? &family->help : &family->unit;
    if (sv_eq(*of, line->text)) return OK; /* said again: no memory */
    *of = arena_sv(&file->arena, line->text);
    return of->ptr == NULL ? ERR_NOMEM : OK;
}

enum status om_file_families(const struct om_file *file, struct metadata *m,
                             uint64_t *out_left_out) {
    const struct prom_options *o = &file->options;
    *out_left_out = 0;
    for (size_t i = 0; i < file->families_count; i++) {
        const struct om_family *f = &file->families[i];
        struct entry_metadata item = {f->name, f->type, f->help, f->unit};
        uint32_t shard;
        if (!entry_metadata_valid(&item)) {
            ++*out_left_out;
            continue;
        }
        TRY(metadata_shard(o->secret, o->tenant, o->shards_count, item.name, &shard));
        TRY(metadata_add(m, shard, &item));
    }
    return OK;
}

/* -- series */

static enum status on_first(struct om_file *file, const struct om_line *line) {
    if (line->kind == OM_METADATA) return family_say(file, line);
    if (line->kind != OM_SAMPLE) return OK;
    file->counts.samples++;
    TRY(count_exemplar(file, line));
    TRY(add_day(file, line->time_ms));
    if (find(file, line->canonical) != MAP_NONE) return OK;
    void *series = file->series;
    TRY(prom_grow(&series, &file->series_cap, file->series_count, sizeof *file->series));
    file->series = series;
    struct sv canonical = arena_sv(&file->arena, line->canonical);
    if (canonical.ptr == NULL || file->series_count >= MAP_NONE) return ERR_NOMEM;
    const struct prom_options *o = &file->options;
    uint32_t index = (uint32_t)file->series_count;
    file->series[index] = (struct om_series){
        .canonical = canonical,
        .shard = series_shard(series_id_of(o->secret, o->tenant, canonical), o->shards_count)};
    TRY(map_insert(&file->by_labels, labels_hash(file, index), index, labels_hash, file));
    file->series_count++;
    file->counts.series++;
    return OK;
}

static int cmp_order(const void *a, const void *b, void *ctx) {
    const struct om_file *file = ctx;
    const struct om_series *x = &file->series[*(const uint32_t *)a];
    const struct om_series *y = &file->series[*(const uint32_t *)b];
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return sv_cmp(x->canonical, y->canonical);
}

static enum status make_order(struct om_file *file, struct err *err) {
    file->order = calloc(file->series_count + 1, sizeof *file->order);
    if (file->order == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", file->options.path);
    for (uint32_t i = 0; i < file->series_count; i++)
        file->order[i] = i;
    qsort_r(file->order, file->series_count, sizeof *file->order, cmp_order, file);
    return OK;
}

enum status om_file_open(const struct prom_options *options, size_t exemplars_max,
                         struct om_file **out, struct err *err) {
    assert(options->shards_count > 0);
    struct om_file *file = calloc(1, sizeof *file);
    char *path = file == NULL ? NULL : strdup(options->path);
    if (path == NULL) {
        free(file);
        return err_set(err, ERR_NOMEM, 0, "%s: no memory", options->path);
    }
    file->options = *options;
    file->options.path = path;
    file->exemplars_max = exemplars_max;
    file->exemplars_after_ms = INT64_MIN;
    arena_init(&file->arena, 0);
    map_init(&file->by_labels);
    map_init(&file->by_name);
    enum status got = each_line(file, on_first, err);
    if (got == OK) got = make_order(file, err);
    sort_days(file);
    int64_t after_ms =
        prom_newest_after(file->exemplar_times, file->exemplar_times_count, exemplars_max);
    file->exemplars_after_ms = MAX(file->exemplars_after_ms, after_ms);
    if (got != OK) {
        om_file_close(file);
        return got;
    }
    *out = file;
    return OK;
}

void om_file_close(struct om_file *file) {
    if (file == NULL) return;
    assert(file->scan == NULL);
    free(file->series);
    free(file->order);
    free(file->days);
    free(file->exemplar_times);
    free(file->families);
    map_fini(&file->by_labels);
    map_fini(&file->by_name);
    arena_fini(&file->arena);
    free((char *)(uintptr_t)file->options.path);
    free(file);
}

void om_file_counts(const struct om_file *file, struct om_counts *out) {
    *out = file->counts;
}

bool om_file_next(const struct om_file *file, int64_t from_ms, int64_t *out_ms) {
    for (size_t i = 0; i < file->days_count; i++) {
        if (file->days[i] < from_ms) continue;
        *out_ms = file->days[i];
        return true;
    }
    return false;
}

/* -- scans */

static bool is_within(const struct om_scan *scan, int64_t time_ms) {
    return time_ms >= scan->from_ms && time_ms <= scan->to_ms;
}

static enum status take_exemplar(struct om_scan *scan, struct om_series *s,
                                 const struct prom_exemplar *e) {
    void *exemplars = s->exemplars;
    TRY(prom_grow(&exemplars, &s->exemplars_cap, s->exemplars_count, sizeof *s->exemplars));
    s->exemplars = exemplars;
    struct sv labels = arena_sv(&scan->arena, e->labels);
    if (labels.ptr == NULL) return ERR_NOMEM;
    s->exemplars[s->exemplars_count++] = (struct prom_exemplar){labels, e->time_ms, e->value};
    return OK;
}

static enum status on_again(struct om_file *file, const struct om_line *line) {
    struct om_scan *scan = file->scan;
    const struct prom_exemplar *e = &line->exemplar;
    bool taken = line->kind == OM_SAMPLE && is_within(scan, line->time_ms);
    bool shown = line->has_exemplar && line->exemplar_fits && is_within(scan, e->time_ms) &&
                 e->time_ms > file->exemplars_after_ms;
    if (!taken && !shown) return OK;
    uint32_t index = find(file, line->canonical);
    if (index == MAP_NONE) return ERR_CORRUPT;
    if (shown) TRY(take_exemplar(scan, &file->series[index], e));
    if (!taken) return OK;
    struct samples *s = &file->series[index].samples;
    if (s->count == s->cap) TRY(samples_reserve(s, s->count == 0 ? 1 : s->count * 2));
    s->times_ms[s->count] = line->time_ms;
    s->values[s->count++] = line->value;
    return OK;
}

enum status om_scan_new(struct om_file *file, int64_t from_ms, int64_t to_ms, struct om_scan **out,
                        struct err *err) {
    assert(file->scan == NULL);
    struct om_scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", file->options.path);
    *scan = (struct om_scan){.file = file,
                             .from_ms = from_ms,
                             .to_ms = to_ms,
                             .collect = {.from_ms = from_ms, .to_ms = to_ms}};
    arena_init(&scan->arena, 0);
    file->scan = scan;
    enum status got = each_line(file, on_again, err);
    if (got != OK) {
        om_scan_free(scan);
        return got;
    }
    *out = scan;
    return OK;
}

enum status om_scan_next(struct om_scan *scan, const struct prom_series **out, struct err *err) {
    struct om_file *file = scan->file;
    *out = NULL;
    while (scan->next < file->series_count && *out == NULL) {
        struct om_series *s = &file->series[file->order[scan->next++]];
        if (s->samples.count == 0 && s->exemplars_count == 0) continue;
        size_t exemplars = prom_exemplars_sort(s->exemplars, s->exemplars_count);
        file->counts.exemplars_same += s->exemplars_count - exemplars;
        prom_collect_reset(&scan->collect);
        enum status got = prom_collect_add(&scan->collect, &s->samples);
        if (got == OK) got = prom_collect_finish(&scan->collect);
        if (got != OK) return err_set(err, got, 0, "%s: no memory", file->options.path);
        samples_fini(&s->samples);
        scan->series = (struct prom_series){.shard = s->shard,
                                            .canonical = s->canonical,
                                            .samples = scan->collect.samples,
                                            .exemplars = s->exemplars,
                                            .exemplars_count = exemplars};
        *out = &scan->series;
    }
    file->counts.conflicts += scan->collect.conflicts;
    scan->collect.conflicts = 0;
    return OK;
}

static void series_end(struct om_series *s) {
    samples_fini(&s->samples);
    free(s->exemplars);
    s->exemplars = NULL;
    s->exemplars_count = s->exemplars_cap = 0;
}

void om_scan_free(struct om_scan *scan) {
    if (scan == NULL) return;
    for (size_t i = 0; i < scan->file->series_count; i++)
        series_end(&scan->file->series[i]);
    arena_fini(&scan->arena);
    prom_collect_fini(&scan->collect);
    scan->file->scan = NULL;
    free(scan);
}
