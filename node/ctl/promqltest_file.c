/* SPDX-License-Identifier: Apache-2.0 */
/* A test file: its lines, its commands one after another, what came of them. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "node/ctl/promqltest.h"

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

void tally_skip(struct tally *t, const char *reason, size_t count) {
    for (size_t i = 0; i < t->reasons_count; i++)
        if (strcmp(t->reasons[i].text, reason) == 0) {
            t->reasons[i].count += count;
            return;
        }
    if (t->reasons_count == TALLY_REASONS_MAX) return;
    snprintf(t->reasons[t->reasons_count].text, sizeof t->reasons[0].text, "%s", reason);
    t->reasons[t->reasons_count++].count = count;
}

/* load[_with_nhcb] STEP, then a series a line */
static enum status load_parse(struct test_run *t, size_t *index, struct arena *arena,
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

static enum status eval_run(struct test_run *t, size_t *index, struct arena *arena,
                            struct err *err) {
    struct eval_cmd cmd;
    TRY(eval_cmd_parse(&t->lines, index, arena, &cmd, err));
    struct buf why = {0};
    enum verdict v = eval_cmd_run(&cmd, &t->data, &why);
    const char *text = buf_cstr(&why);
    if (text == NULL) text = "out of memory";
    if (v == VERDICT_PASS) t->tally.passed++;
    if (v == VERDICT_FAIL) {
        t->tally.failed++;
        fprintf(t->out, "%s:%zu: FAIL %.*s\n%s", t->path, cmd.line + 1, SV_ARG(cmd.query), text);
    }
    if (v == VERDICT_SKIP) {
        t->tally.skipped++;
        tally_skip(&t->tally, text, 1);
        if (t->verbose)
            fprintf(t->out, "%s:%zu: skipped %.*s: %s\n", t->path, cmd.line + 1, SV_ARG(cmd.query),
                    text);
    }
    buf_fini(&why);
    eval_cmd_fini(&cmd);
    return OK;
}

static enum status command_run(struct test_run *t, size_t *index, struct arena *arena,
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

static void commands_run(struct test_run *t) {
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < t->lines.count && !t->broken; i++) {
        struct err err = {0};
        if (t->lines.items[i].len == 0) continue;
        arena_reset(&arena);
        if (command_run(t, &i, &arena, &err) == OK) continue;
        fprintf(t->out, "%s:%zu: error: %s\n", t->path, i + 1, err.msg);
        t->broken = true;
    }
    arena_fini(&arena);
}

bool test_text_run(struct sv text, struct test_run *t) {
    struct arena arena;
    arena_init(&arena, 0);
    dataset_init(&t->data, t->sources_count, t->seed);
    t->broken = !lines_split(text, &arena, &t->lines);
    if (t->broken)
        fprintf(t->out, "%s: error: out of memory\n", t->path);
    else
        commands_run(t);
    dataset_fini(&t->data);
    arena_fini(&arena);
    return !t->broken && t->tally.failed == 0;
}
