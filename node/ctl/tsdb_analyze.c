/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl tsdb analyze: labels of a block, as promtool tells them. Memory: the distinct labels of
 * the block, and the series of some shards. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/map.h"
#include "node/ctl/ctl.h"
#include "node/ctl/tsdb_dir.h"
#include "query/promql/parser.h"
#include "storage/page/page.h"

enum { SERIES_BATCH = 1 << 16, LABELS_MAX = 1 << 10, BARS = 10, SELECTOR_BYTES_MAX = 64 << 20 };

struct analyze_options {
    union flag_value help, limit, extended, match;
};
#define AT(field) offsetof(struct analyze_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"limit", 0, FLAG_INT, "20", "How many items to show in each list.", AT(limit), false},
    {"extended", 0, FLAG_BOOL, NULL, "Run extended analysis.", AT(extended), false},
    {"match", 0, FLAG_STRING, "",
     "Series selector to analyze. Only 1 set of matchers is supported.", AT(match), false},
};
static struct analyze_options options;

struct item { /* a label, or a name: value.ptr NULL */
    struct sv name, value;
    uint64_t series, uncovered_ms; /* of the block's time, by the series that have it */
    uint64_t values, values_bytes; /* of a name */
};
struct items {
    struct map map;
    struct item *at;
    uint32_t count, cap;
};

struct analysis {
    struct block *block;
    const struct matcher *matchers;
    size_t matchers_count;
    struct arena arena; /* texts */
    struct items pairs, names;
    uint64_t span_ms, series, entries;
    uint64_t pages, bars[BARS];
    struct label labels[LABELS_MAX];
};

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "out of memory");
}

/* -- counting */

static uint64_t item_hash(struct sv name, struct sv value) {
    return hash64(value.ptr == NULL ? "" : value.ptr, value.len,
                  hash64(name.ptr, name.len, value.ptr == NULL));
}
static bool item_eq(const void *owner, uint32_t ref, const void *key) {
    const struct item *a = &((const struct items *)owner)->at[ref], *b = key;
    return sv_eq(a->name, b->name) && sv_eq(a->value, b->value);
}
static uint64_t item_rehash(const void *owner, uint32_t ref) {
    const struct item *a = &((const struct items *)owner)->at[ref];
    return item_hash(a->name, a->value);
}

/* NULL: no memory. *out_fresh: it was not there. */
static struct item *item_get(struct analysis *a, struct items *in, struct sv name, struct sv value,
                             bool *out_fresh) {
    const struct item key = {.name = name, .value = value};
    uint64_t hash = item_hash(name, value);
    uint32_t ref = map_find(&in->map, hash, item_eq, in, &key);
    *out_fresh = ref == MAP_NONE;
    if (!*out_fresh) return &in->at[ref];
    if (in->count == in->cap) {
        uint32_t cap = MAX(in->cap * 2, 64U);
        struct item *at = realloc(in->at, cap * sizeof *at);
        if (at == NULL) return NULL;
        in->at = at;
        in->cap = cap;
    }
    struct item *to = &in->at[in->count];
    *to = (struct item){.name = arena_sv(&a->arena, name)};
    if (value.ptr != NULL) to->value = arena_sv(&a->arena, value);
    bool copied = to->name.ptr != NULL && (value.ptr == NULL || to->value.ptr != NULL);
    if (!copied || map_insert(&in->map, hash, in->count, item_rehash, in) != OK) return NULL;
    in->count++;
    return to;
}

static enum status label_count(struct analysis *a, const struct label *l, uint64_t uncovered_ms,
                               struct err *err) {
    bool fresh, name_fresh;
    struct sv value = l->value.ptr == NULL ? SV("") : l->value;
    struct item *name = item_get(a, &a->names, l->name, (struct sv){0}, &name_fresh);
    struct item *pair = item_get(a, &a->pairs, l->name, value, &fresh);
    if (name == NULL || pair == NULL) return nomem(err);
    name->series++;
    name->uncovered_ms += uncovered_ms;
    name->values += fresh;
    name->values_bytes += fresh ? value.len : 0;
    pair->series++;
    pair->uncovered_ms += uncovered_ms;
    a->entries++;
    return OK;
}

static void on_page(void *ctx, size_t samples) {
    struct analysis *a = ctx;
    size_t full = PAGE_SAMPLES_MAX;
    size_t bar = (BARS * MIN(samples, full) + full - 1) / full;
    a->pages++;
    a->bars[MAX(bar, (size_t)1) - 1]++;
}

static enum status selection_count(struct analysis *a, struct block_selection *s, struct err *err) {
    size_t count;
    block_selection_series(s, &count);
    for (size_t i = 0; i < count; i++) {
        struct block_extent extent;
        TRY(block_series_extent(s, i, &extent, on_page, a, err));
        uint64_t covered = (uint64_t)extent.max_ms - (uint64_t)extent.min_ms;
        size_t labels = block_series_labels(s, i, a->labels, LABELS_MAX);
        if (labels > LABELS_MAX)
            return err_set(err, ERR_LIMIT, 0, "a series has %zu labels", labels);
        for (size_t k = 0; k < labels; k++)
            TRY(label_count(a, &a->labels[k], a->span_ms - covered, err));
    }
    a->series += count;
    return OK;
}

static enum status shards_count_all(struct analysis *a, uint32_t shards_count, uint64_t *bits,
                                    struct err *err) {
    struct shard_set shards = {bits, shards_count};
    for (uint32_t i = 0; i < shards_count;) {
        struct select_query q = {.matchers = a->matchers,
                                 .matchers_count = a->matchers_count,
                                 .shards = &shards,
                                 .from_ms = INT64_MIN,
                                 .to_ms = INT64_MAX};
        struct block_selection *s;
        uint64_t series = 0;
        memset(bits, 0, (shards_count + 63) / 64 * sizeof *bits);
        for (; i < shards_count && series < SERIES_BATCH; i++) {
            struct block_shard in;
            if (!block_get_shard(a->block, i, &in)) continue;
            series += in.series_count;
            bits[i / 64] |= UINT64_C(1) << (i % 64);
        }
        if (series == 0) continue;
        TRY(block_select(a->block, &q, NULL, &s, err));
        enum status status = selection_count(a, s, err);
        block_selection_free(s);
        TRY(status);
    }
    return OK;
}

/* -- telling */

enum by { BY_CHURN, BY_SERIES, BY_LENGTH, BY_VALUES };
struct line {
    uint64_t number;
    const struct item *of;
};

static int line_cmp(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    if (x->number != y->number) return x->number > y->number ? -1 : 1;
    int order = sv_cmp(x->of->name, y->of->name);
    return order != 0 ? order : sv_cmp(x->of->value, y->of->value);
}

static uint64_t number_of(const struct analysis *a, const struct item *of, enum by by) {
    switch (by) {
    case BY_CHURN: return (uint64_t)((double)of->uncovered_ms / (double)a->span_ms);
    case BY_SERIES: return of->series;
    case BY_LENGTH: return of->values_bytes;
    case BY_VALUES: break;
    }
    return of->values;
}

static enum status list_put(const struct analysis *a, const char *head, const struct items *in,
                            enum by by, struct err *err) {
    struct line *lines = malloc((in->count + 1) * sizeof *lines);
    bool metrics = strcmp(head, "Highest cardinality metric names") == 0;
    size_t count = 0;
    if (lines == NULL) return nomem(err);
    for (uint32_t i = 0; i < in->count; i++) {
        if (metrics && !sv_eq(in->at[i].name, SV("__name__"))) continue;
        lines[count++] = (struct line){number_of(a, &in->at[i], by), &in->at[i]};
    }
    qsort(lines, count, sizeof *lines, line_cmp);
    printf("\n%s:\n", head);
    for (size_t i = 0; i < count && (int64_t)i < options.limit.integer; i++) {
        const struct item *of = lines[i].of;
        printf("%" PRIu64 " ", lines[i].number);
        if (!metrics) printf("%.*s", SV_ARG(of->name));
        if (of->value.ptr != NULL) printf("%s%.*s", metrics ? "" : "=", SV_ARG(of->value));
        putchar('\n');
    }
    free(lines);
    return OK;
}

static void fullness_put(const struct analysis *a) {
    printf("\nCompaction analysis:\nFullness: Amount of samples in pages (100%% is %d samples)\n",
           PAGE_SAMPLES_MAX);
    for (unsigned i = 0; i < BARS; i++) {
        uint64_t percent = a->pages == 0 ? 0 : 100 * a->bars[i] / a->pages;
        printf("%7u%%: ", (i + 1) * 10);
        for (uint64_t k = 0; k < percent; k++)
            putchar('#');
        putchar('\n');
    }
}

static enum status analysis_put(const struct analysis *a, const struct list_block *b,
                                struct err *err) {
    struct block_info info;
    struct buf head = {0};
    block_get_info(a->block, &info);
    buf_put_sv(&head, SV("Block ID: "));
    manifest_put_ulid(&b->of, &head);
    buf_put_sv(&head, SV("\nDuration: "));
    tsdb_put_span(&head, info.min_ms, info.max_ms);
    buf_printf(&head, "\nSeries: %" PRIu64 "\n", info.series_count);
    if (options.match.string[0] != '\0')
        buf_printf(&head, "Matcher: %s\nMatched series: %" PRIu64 "\n", options.match.string,
                   a->series);
    printf("%.*s", SV_ARG(buf_sv(&head)));
    bool failed = head.failed;
    buf_fini(&head);
    if (failed) return nomem(err);
    printf("Label names: %" PRIu32 "\n", a->names.count);
    printf("Postings (unique label pairs): %" PRIu32 "\n", a->pairs.count);
    printf("Postings entries (total label pairs): %" PRIu64 "\n", a->entries);
    TRY(list_put(a, "Label pairs most involved in churning", &a->pairs, BY_CHURN, err));
    TRY(list_put(a, "Label names most involved in churning", &a->names, BY_CHURN, err));
    TRY(list_put(a, "Most common label pairs", &a->pairs, BY_SERIES, err));
    TRY(list_put(a, "Label names with highest cumulative label value length", &a->names, BY_LENGTH,
                 err));
    TRY(list_put(a, "Highest cardinality labels", &a->names, BY_VALUES, err));
    TRY(list_put(a, "Highest cardinality metric names", &a->pairs, BY_SERIES, err));
    if (options.extended.boolean) fullness_put(a);
    return OK;
}

/* -- the verb */

static const struct list_block *block_find(const struct tsdb_dir *dir, const char *id) {
    uint32_t count = dir->blocks == NULL ? 0 : dir->blocks->count;
    for (uint32_t i = count; i > 0 && id == NULL; i--) /* rows are of what is in others */
        if (dir->blocks->blocks[i - 1].of.resolution_ms == 0) return &dir->blocks->blocks[i - 1];
    for (uint32_t i = 0; i < count; i++) {
        struct buf ulid = {0};
        manifest_put_ulid(&dir->blocks->blocks[i].of, &ulid);
        bool is = sv_eq(buf_sv(&ulid), sv_from(id));
        buf_fini(&ulid);
        if (is) return &dir->blocks->blocks[i];
    }
    return NULL;
}

static enum status analyze(struct analysis *a, const struct tsdb_dir *dir, const char *id,
                           struct err *err) {
    const struct list_block *b = block_find(dir, id);
    uint32_t shards = dir->map->settings.shards_count;
    struct block_info info;
    if (b == NULL && id == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "%s: no blocks found", dir->path);
    if (b == NULL) return err_set(err, ERR_UNAVAILABLE, 0, "%s: block %s not found", dir->path, id);
    if (b->block == NULL) {
        *err = b->why;
        return err->code;
    }
    a->block = b->block;
    block_get_info(b->block, &info);
    a->span_ms = (uint64_t)info.max_ms - (uint64_t)info.min_ms + 1;
    uint64_t *bits = calloc((shards + 63) / 64, sizeof *bits);
    if (bits == NULL) return nomem(err);
    enum status status = shards_count_all(a, shards, bits, err);
    free(bits);
    return status == OK ? analysis_put(a, b, err) : status;
}

static enum status run(struct analysis *a, const struct flag_list *arguments, struct err *err) {
    struct tsdb_dir_options to = {.path = arguments->count == 0 ? "data/" : arguments->items[0]};
    struct tsdb_dir dir;
    struct arena arena;
    struct matcher *matchers = NULL;
    enum status status = OK;
    arena_init(&arena, SELECTOR_BYTES_MAX);
    if (options.match.string[0] != '\0')
        status = promql_parse_selector(sv_from(options.match.string), &arena, &matchers,
                                       &a->matchers_count, err);
    a->matchers = matchers;
    if (status == OK) {
        status = tsdb_dir_open(&to, &dir, err);
        if (status == OK)
            status = analyze(a, &dir, arguments->count < 2 ? NULL : arguments->items[1], err);
        tsdb_dir_close(&dir);
    }
    if (matchers != NULL) promql_matchers_free(matchers, a->matchers_count);
    arena_fini(&arena);
    return status;
}

int tsdb_analyze_main(int argc, char **argv) {
    static struct flag_list arguments; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &arguments, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean)
        return ctl_help("tsdb analyze", "[DIR] [BLOCK]",
                        "Analyze churn and label pair cardinality of a block (default is the last "
                        "block), also beside a node that runs.",
                        defs, ARRAY_LEN(defs));
    if (arguments.count > 2) return ctl_fail("unexpected %s", arguments.items[2]);
    struct analysis *a = calloc(1, sizeof *a);
    if (a == NULL) return ctl_fail("out of memory");
    arena_init(&a->arena, 0);
    map_init(&a->pairs.map);
    map_init(&a->names.map);
    enum status status = run(a, &arguments, &err);
    map_fini(&a->pairs.map);
    map_fini(&a->names.map);
    free(a->pairs.at);
    free(a->names.at);
    arena_fini(&a->arena);
    free(a);
    return status == OK ? 0 : ctl_fail("%s", err.msg);
}
