/* SPDX-License-Identifier: Apache-2.0 */
/* Reads eval commands and what they expect. */
#include <assert.h>
#include <string.h>

#include "node/ctl/promqltest.h"
#include "query/promql/parser.h"

enum { GROUPS_MAX = 8 };

/* Matches of a pattern, compiled where it is used: a file has some hundred evals. */
static bool match(const char *pattern, struct sv text, struct sv groups[GROUPS_MAX]) {
    struct regex *re = NULL;
    for (size_t i = 0; i < GROUPS_MAX; i++)
        groups[i] = (struct sv){0};
    bool compiled = regex_compile_plain(sv_from(pattern), &re, NULL) == OK;
    assert(compiled);
    size_t n = regex_match_groups(re, text, groups, GROUPS_MAX);
    regex_free(re);
    return n > 0;
}

static enum status expectation_add(struct expectations *list, struct sv kind, struct sv text,
                                   struct err *err) {
    if (list->count == TEST_EXPECTS_MAX)
        return err_set(err, ERR_LIMIT, 0, "more than %d expectations of a kind", TEST_EXPECTS_MAX);
    struct expectation e = {.kind = EXPECT_ANY, .text = sv_trim(text)};
    if (sv_eq(kind, SV("msg"))) e.kind = EXPECT_TEXT;
    if (sv_eq(kind, SV("regex"))) {
        e.kind = EXPECT_REGEX;
        TRY(regex_compile_plain(e.text, &e.regex, err));
    }
    list->items[list->count++] = e;
    return OK;
}

bool expectation_holds(const struct expectation *e, struct sv text) {
    struct sv groups[1];
    if (e->kind == EXPECT_ANY) return true;
    if (e->kind == EXPECT_TEXT) return sv_eq(e->text, text);
    return regex_match_groups(e->regex, text, groups, 1) > 0;
}

void eval_cmd_fini(struct eval_cmd *cmd) {
    struct expectations *lists[] = {&cmd->fails, &cmd->warns, &cmd->infos};
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        for (size_t i = 0; i < lists[k]->count; i++)
            regex_free(lists[k]->items[i].regex);
}

static enum status time_parse(struct sv text, int64_t *out, struct err *err) {
    if (test_time_ms(text, out)) return OK;
    return err_set(err, ERR_PARSE, 0, "bad duration \"%.*s\"", SV_ARG(text));
}

/* "expect KIND [msg:TEXT|regex:PATTERN]" */
static enum status expect_parse(struct eval_cmd *cmd, struct sv line, struct err *err) {
    struct sv g[GROUPS_MAX];
    if (!match("^expect\\s+(ordered|fail|warn|no_warn|info|no_info)(?:\\s+(regex|msg):(.+))?$",
               line, g))
        return err_set(err, ERR_PARSE, 0, "bad expect line");
    bool plain = g[2].len == 0;
    if (sv_eq(g[1], SV("fail"))) {
        cmd->fail = true;
        return expectation_add(&cmd->fails, g[2], g[3], err);
    }
    if (sv_eq(g[1], SV("warn"))) return expectation_add(&cmd->warns, g[2], g[3], err);
    if (sv_eq(g[1], SV("info"))) return expectation_add(&cmd->infos, g[2], g[3], err);
    if (!plain) return err_set(err, ERR_PARSE, 0, "expect %.*s takes no text", SV_ARG(g[1]));
    if (sv_eq(g[1], SV("ordered"))) cmd->ordered = true;
    if (sv_eq(g[1], SV("no_warn"))) cmd->no_warn = true;
    if (sv_eq(g[1], SV("no_info"))) cmd->no_info = true;
    return OK;
}

static enum status expect_matrix_parse(struct eval_cmd *cmd, struct sv line, struct err *err) {
    struct sv g[GROUPS_MAX];
    if (!match("^expect range vector\\s+from\\s+(.+)\\s+to\\s+(.+)\\s+step\\s+(.+)$", line, g))
        return err_set(err, ERR_PARSE, 0, "bad expect range vector line");
    cmd->expects_matrix = true;
    TRY(time_parse(g[1], &cmd->matrix_start_ms, err));
    TRY(time_parse(g[2], &cmd->matrix_end_ms, err));
    TRY(time_parse(g[3], &cmd->matrix_step_ms, err));
    if (cmd->matrix_end_ms < cmd->matrix_start_ms || cmd->matrix_step_ms <= 0)
        return err_set(err, ERR_PARSE, 0, "expect range vector: times are out of order");
    return OK;
}

static enum status expect_string_parse(struct eval_cmd *cmd, struct sv line, struct arena *arena,
                                       struct err *err) {
    struct expr *e;
    TRY(promql_parse(sv_trim(sv_skip(line, SV("expect string").len)), NULL, arena, &e, err));
    if (e->kind != EXPR_STRING) {
        promql_free(e);
        return err_set(err, ERR_PARSE, 0, "expect string: that is no string literal");
    }
    cmd->expects_string = true;
    cmd->string = e->u.string;
    promql_free(e);
    return OK;
}

static enum status series_push(struct eval_cmd *cmd, struct arena *arena, struct sv line,
                               struct err *err) {
    if (cmd->series_count == cmd->series_cap) {
        size_t size = sizeof *cmd->series, cap = cmd->series_cap == 0 ? 8 : cmd->series_cap * 2;
        void *grown = arena_grow(arena, cmd->series, cmd->series_cap * size, cap * size);
        if (grown == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
        cmd->series = grown;
        cmd->series_cap = cap;
    }
    struct series_line *s = &cmd->series[cmd->series_count];
    TRY(series_line_parse(line, arena, s, err));
    if (s->is_starts) return err_set(err, ERR_PARSE, 0, "results have no start timestamps");
    if (s->items_count == 0) return err_set(err, ERR_PARSE, 0, "a series without values");
    if (cmd->instant && !cmd->expects_matrix && s->items_count > 1)
        return err_set(err, ERR_PARSE, 0, "several values in an instant evaluation");
    for (size_t i = 0; i < cmd->series_count; i++)
        if (label_list_cmp(s->labels, s->labels_count, cmd->series[i].labels,
                           cmd->series[i].labels_count) == 0)
            return err_set(err, ERR_PARSE, 0, "the series is expected twice");
    cmd->expects_histograms |= s->has_histograms;
    cmd->series_count++;
    return OK;
}

/* A line of the body; *last: nothing may follow it. */
static enum status body_parse(struct eval_cmd *cmd, struct sv line, struct arena *arena, bool *last,
                              struct err *err) {
    static const struct sv message = SV_INIT("expected_fail_message"),
                           regexp = SV_INIT("expected_fail_regexp");
    if (cmd->fail && sv_starts(line, message)) {
        *last = true;
        return expectation_add(&cmd->fails, SV("msg"), sv_skip(line, message.len), err);
    }
    if (cmd->fail && sv_starts(line, regexp)) {
        *last = true;
        return expectation_add(&cmd->fails, SV("regex"), sv_skip(line, regexp.len), err);
    }
    if (sv_starts(line, SV("expect range vector"))) return expect_matrix_parse(cmd, line, err);
    if (sv_starts(line, SV("expect string"))) return expect_string_parse(cmd, line, arena, err);
    if (sv_starts(line, SV("expect ")) || sv_starts(line, SV("expect\t")))
        return expect_parse(cmd, line, err);
    if (test_number(line, &cmd->scalar)) {
        cmd->expects_scalar = true;
        *last = true;
        return OK;
    }
    return series_push(cmd, arena, line, err);
}

static enum status variant_apply(struct eval_cmd *cmd, struct sv variant, struct err *err) {
    if (sv_eq(variant, SV("fail"))) cmd->fail = true;
    if (sv_eq(variant, SV("ordered"))) cmd->ordered = true;
    if (sv_eq(variant, SV("warn"))) return expectation_add(&cmd->warns, SV(""), SV(""), err);
    if (sv_eq(variant, SV("info"))) return expectation_add(&cmd->infos, SV(""), SV(""), err);
    return OK;
}

static enum status head_parse(struct eval_cmd *cmd, struct sv line, struct err *err) {
    struct sv g[GROUPS_MAX];
    if (match("^eval(?:_(fail|warn|ordered|info))?\\s+instant\\s+(?:at\\s+(.+?)\\s+)?(.+)$", line,
              g)) {
        cmd->instant = true;
        cmd->query = g[3];
        if (g[2].len > 0) TRY(time_parse(g[2], &cmd->start_ms, err));
        cmd->end_ms = cmd->start_ms;
        return variant_apply(cmd, g[1], err);
    }
    if (!match("^eval(?:_(fail|warn|info))?\\s+range\\s+from\\s+(.+)\\s+to\\s+(.+)\\s+step\\s+"
               "(.+?)\\s+(.+)$",
               line, g))
        return err_set(
            err, ERR_PARSE, 0,
            "invalid evaluation command. Must be either 'eval[_fail|_warn|_ordered|_info] instant "
            "[at <offset:duration>] <query>' or 'eval[_fail|_warn|_info] range from <from> to <to> "
            "step <step> <query>'");
    cmd->query = g[5];
    TRY(time_parse(g[2], &cmd->start_ms, err));
    TRY(time_parse(g[3], &cmd->end_ms, err));
    TRY(time_parse(g[4], &cmd->step_ms, err));
    if (cmd->end_ms < cmd->start_ms)
        return err_set(err, ERR_PARSE, 0,
                       "invalid test definition, end timestamp (%.*s) is before "
                       "start timestamp (%.*s)",
                       SV_ARG(g[3]), SV_ARG(g[2]));
    if (cmd->step_ms <= 0) return err_set(err, ERR_PARSE, 0, "the step must be greater than 0");
    return variant_apply(cmd, g[1], err);
}

static enum status check_whole(const struct eval_cmd *cmd, struct err *err) {
    if (cmd->no_warn && cmd->warns.count > 0)
        return err_set(err, ERR_PARSE, 0, "expect warn and expect no_warn contradict");
    if (cmd->no_info && cmd->infos.count > 0)
        return err_set(err, ERR_PARSE, 0, "expect info and expect no_info contradict");
    if (cmd->ordered && !cmd->instant)
        return err_set(err, ERR_PARSE, 0, "expect ordered is for instant queries");
    if (cmd->expects_matrix && !cmd->instant)
        return err_set(err, ERR_PARSE, 0, "expect range vector is for instant queries");
    return OK;
}

enum status eval_cmd_parse(const struct lines *lines, size_t *index, struct arena *arena,
                           struct eval_cmd *out, struct err *err) {
    struct eval_cmd cmd = {.line = *index};
    bool last = false;
    enum status st = head_parse(&cmd, lines->items[*index], err);
    while (st == OK && !last && *index + 1 < lines->count && lines->items[*index + 1].len > 0) {
        (*index)++;
        st = body_parse(&cmd, lines->items[*index], arena, &last, err);
    }
    if (st == OK) st = check_whole(&cmd, err);
    if (st != OK) {
        eval_cmd_fini(&cmd);
        return st;
    }
    *out = cmd;
    return OK;
}
