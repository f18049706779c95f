/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl test promql FILE...: runs test files and counts. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/flags.h"
#include "node/ctl/ctl.h"
#include "node/ctl/promqltest.h"

enum { FILE_BYTES_MAX = 64 << 20, REASONS_MAX = 8 };

struct promqltest_options {
    union flag_value help, version, split, seed, verbose;
};
static const struct flag_def defs[] = {
#define AT(field) offsetof(struct promqltest_options, field)
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"version", 0, FLAG_BOOL, NULL, "Show the version.", AT(version), false},
    {"split", 0, FLAG_INT, "1", "Sources over which series are dealt at random, 1 to 64.",
     AT(split), false},
    {"seed", 0, FLAG_INT, "1", "Seed of the dealing.", AT(seed), false},
    {"verbose", 'v', FLAG_BOOL, NULL, "Name what is skipped, and why.", AT(verbose), false},
#undef AT
};

struct tally {
    size_t passed, failed, skipped;
    struct {
        char text[64];
        size_t count;
    } reasons[REASONS_MAX]; /* of skipping */
    size_t reasons_count;
};
struct test_file {
    const char *path;
    const struct promqltest_options *options;
    struct lines lines;
    struct dataset data;
    struct tally tally;
    bool broken; /* something in it cannot be read */
};

static bool file_read(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    char *part;
    size_t n;
    out->limit_bytes = FILE_BYTES_MAX;
    do {
        part = buf_extend(out, 1 << 16);
        n = part == NULL ? 0 : fread(part, 1, 1 << 16, f);
        if (part != NULL) out->len -= (1 << 16) - n;
    } while (n > 0);
    bool good = ferror(f) == 0;
    if (good && out->failed) errno = EFBIG;
    fclose(f);
    return good && !out->failed;
}

static bool lines_split(struct sv text, struct arena *arena, struct lines *out) {
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '\n';
    out->items = arena_array(arena, count, sizeof *out->items);
    if (out->items == NULL) return false;
    for (out->count = 0; out->count < count; out->count++) {
        struct sv line;
        text = sv_cut(text, '\n', &line);
        line = sv_trim(line);
        if (sv_starts(line, SV("#"))) line.len = 0;
        out->items[out->count] = line;
    }
    return true;
}

static void reason_count(struct tally *t, const char *text, size_t n) {
    for (size_t i = 0; i < t->reasons_count; i++)
        if (strcmp(t->reasons[i].text, text) == 0) {
            t->reasons[i].count += n;
            return;
        }
    if (t->reasons_count == REASONS_MAX) return;
    snprintf(t->reasons[t->reasons_count].text, sizeof t->reasons[0].text, "%s", text);
    t->reasons[t->reasons_count++].count = n;
}

static void tally_add(struct tally *to, const struct tally *from) {
    to->passed += from->passed;
    to->failed += from->failed;
    to->skipped += from->skipped;
    for (size_t i = 0; i < from->reasons_count; i++)
        reason_count(to, from->reasons[i].text, from->reasons[i].count);
}

static void tally_print(const char *name, const struct tally *t) {
    printf("%s: %zu passed, %zu failed, %zu skipped", name, t->passed, t->failed, t->skipped);
    for (size_t i = 0; i < t->reasons_count; i++)
        printf("%s%s %zu", i == 0 ? " (" : ", ", t->reasons[i].text, t->reasons[i].count);
    puts(t->reasons_count > 0 ? ")" : "");
}

/* load[_with_nhcb] STEP, then a series a line */
static enum status load_parse(struct test_file *t, size_t *index, struct arena *arena,
                              struct err *err) {
    struct sv word, rest = t->lines.items[*index];
    size_t first = *index, n = 0;
    int64_t step_ms;
    while (n < rest.len && !isspace((unsigned char)rest.ptr[n]))
        n++;
    word = sv_take(rest, n);
    rest = sv_trim(sv_skip(rest, n));
    bool with_nhcb = sv_eq(word, SV("load_with_nhcb"));
    if (!with_nhcb && !sv_eq(word, SV("load")))
        return err_set(err, ERR_PARSE, 0, "invalid load command");
    if (!test_time_ms(rest, &step_ms) || step_ms <= 0)
        return err_set(err, ERR_PARSE, 0, "invalid step \"%.*s\"", SV_ARG(rest));
    size_t end = first + 1;
    while (end < t->lines.count && t->lines.items[end].len > 0)
        end++;
    struct series_line *series = arena_array(arena, end - first, sizeof *series);
    if (series == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    bool starts = false;
    for (size_t i = 0; first + 1 + i < end; i++) {
        struct series_line *s = &series[i];
        *index = first + 1 + i;
        TRY(series_line_parse(t->lines.items[*index], arena, s, err));
        bool pair =
            starts && !s->is_starts &&
            label_list_cmp(s[-1].labels, s[-1].labels_count, s->labels, s->labels_count) == 0;
        if (starts && !pair)
            return err_set(err, ERR_PARSE, 0, "start timestamps stand before their own series");
        if (pair && s[-1].items_count != s->items_count)
            return err_set(err, ERR_PARSE, 0, "%zu start timestamps for %zu values",
                           s[-1].items_count, s->items_count);
        starts = s->is_starts;
    }
    if (starts) return err_set(err, ERR_PARSE, 0, "start timestamps without a series");
    return dataset_load(&t->data, series, end - first - 1, step_ms, with_nhcb, err);
}

static enum status eval_run(struct test_file *t, size_t *index, struct arena *arena,
                            struct err *err) {
    struct eval_cmd cmd;
    TRY(eval_cmd_parse(&t->lines, index, arena, &cmd, err));
    struct buf why = {0};
    enum verdict v = eval_cmd_run(&cmd, &t->data, &why);
    char *text = buf_cstr(&why);
    if (text == NULL) text = why.ptr = NULL;
    if (v == VERDICT_PASS) t->tally.passed++;
    if (v == VERDICT_FAIL) {
        t->tally.failed++;
        printf("%s:%zu: FAIL %.*s\n%s", t->path, cmd.line + 1, SV_ARG(cmd.query),
               text == NULL ? "" : text);
    }
    if (v == VERDICT_SKIP) {
        t->tally.skipped++;
        reason_count(&t->tally, text == NULL ? "" : text, 1);
        if (t->options->verbose.boolean)
            printf("%s:%zu: skipped %.*s: %s\n", t->path, cmd.line + 1, SV_ARG(cmd.query),
                   text == NULL ? "" : text);
    }
    buf_fini(&why);
    eval_cmd_fini(&cmd);
    return OK;
}

static enum status command_run(struct test_file *t, size_t *index, struct arena *arena,
                               struct err *err) {
    struct sv line = t->lines.items[*index];
    if (sv_eq(line, SV("clear"))) {
        dataset_clear(&t->data);
        return OK;
    }
    if (sv_starts(line, SV("load"))) return load_parse(t, index, arena, err);
    if (sv_starts(line, SV("eval"))) return eval_run(t, index, arena, err);
    return err_set(err, ERR_PARSE, 0, "invalid command");
}

static void commands_run(struct test_file *t) {
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < t->lines.count && !t->broken; i++) {
        struct err err = {0};
        if (t->lines.items[i].len == 0) continue;
        arena_reset(&arena);
        if (command_run(t, &i, &arena, &err) == OK) continue;
        printf("%s:%zu: error: %s\n", t->path, i + 1, err.msg);
        t->broken = true;
    }
    arena_fini(&arena);
}

static bool file_run(struct test_file *t) {
    struct buf text = {0};
    struct arena arena;
    arena_init(&arena, 0);
    bool good = file_read(t->path, &text);
    if (!good) printf("%s: error: %s\n", t->path, strerror(errno));
    if (good && lines_split(buf_sv(&text), &arena, &t->lines)) {
        dataset_init(&t->data, (unsigned)t->options->split.integer,
                     (uint64_t)t->options->seed.integer);
        commands_run(t);
        dataset_fini(&t->data);
        tally_print(t->path, &t->tally);
    }
    arena_fini(&arena);
    buf_fini(&text);
    return good && !t->broken && t->tally.failed == 0;
}

int test_promql(int argc, char **argv) {
    struct promqltest_options o = {0};
    struct flag_list files = {0};
    struct err err = {0};
    struct tally total = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &o, &files, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (o.help.boolean)
        return ctl_help("test promql", "<test-file>...", "Run PromQL test files (promqltest).",
                        defs, ARRAY_LEN(defs));
    if (o.version.boolean) return printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    if (files.count == 0) return ctl_fail("required argument 'test-file' not provided, try --help");
    if (o.split.integer < 1 || o.split.integer > TEST_SOURCES_MAX)
        return ctl_fail("--split must be between 1 and %d", TEST_SOURCES_MAX);
    bool good = true;
    if (o.split.integer > 1)
        printf("series dealt over %lld sources, seed %lld\n", (long long)o.split.integer,
               (long long)o.seed.integer);
    for (size_t i = 0; i < files.count; i++) {
        struct test_file t = {.path = files.items[i], .options = &o};
        good &= file_run(&t);
        tally_add(&total, &t.tally);
    }
    free(files.items);
    if (files.count > 1) tally_print("total", &total);
    return good ? 0 : 1;
}
