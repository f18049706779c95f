/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/query/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"
#include "node/base/rng.h"

enum { LABELS_MAX = 16, SOURCES_MAX = 8 };

static void die(const char *what, struct sv text) {
    fprintf(stderr, "%s: %.*s\n", what, SV_ARG(text));
    abort();
}

void fixture_init(struct fixture *f) {
    mem_source_init(&f->all);
}
void fixture_fini(struct fixture *f) {
    mem_source_fini(&f->all);
}

static struct sv next_word(struct sv *rest) {
    *rest = sv_trim(*rest);
    struct sv word;
    *rest = sv_cut(*rest, ' ', &word);
    return word;
}

static struct mem_series *series_of(struct fixture *f, struct sv metric) {
    struct label labels[LABELS_MAX];
    size_t n = 0;
    struct sv name, rest = sv_cut(metric, '{', &name);
    if (name.len > 0) labels[n++] = (struct label){SV("__name__"), name};
    if (rest.len > 0) rest.len--; /* the closing brace */
    while (rest.len > 0 && n < LABELS_MAX) {
        struct sv pair, key;
        rest = sv_cut(rest, ',', &pair);
        struct sv value = sv_cut(pair, '=', &key);
        labels[n++] = (struct label){key, value};
    }
    struct mem_series *s = mem_source_find(&f->all, labels, n);
    struct err err;
    if (s == NULL && mem_source_add(&f->all, labels, n, &s, &err) != OK) die(err.msg, metric);
    return s;
}

void fixture_load(struct fixture *f, int64_t step_ms, const char *lines) {
    struct sv text = sv_from(lines);
    while (text.len > 0) {
        struct sv line;
        text = sv_cut(text, '\n', &line);
        struct sv metric = next_word(&line);
        if (metric.len == 0) continue;
        struct mem_series *s = series_of(f, metric);
        for (int64_t i = 0; line.len > 0; i++) {
            struct sv word = next_word(&line);
            double v = value_stale();
            if (word.len == 0 || sv_eq(word, SV("_"))) continue;
            if (!sv_eq(word, SV("stale")) && !num_parse_f64(word, &v)) die("bad value", word);
            if (mem_series_append(s, i * step_ms, v) != OK) die("no memory", word);
        }
    }
}

struct query_params ask_params(const struct ask *ask) {
    return (struct query_params){
        .start_ms = ask->start_ms,
        .end_ms = ask->step_ms == 0 ? ask->start_ms : ask->end_ms,
        .step_ms = ask->step_ms,
        .instant = ask->step_ms == 0,
        .lookback_ms = 300000,
        .default_step_ms = 60000,
        .samples_max = ask->samples_max == 0 ? 1000000 : ask->samples_max,
        .memory_bytes_max = ask->memory_bytes_max == 0 ? 1 << 28 : ask->memory_bytes_max,
        .features = ask->features,
    };
}

static void print_number(struct buf *b, double v) {
    num_put_f64(b, v, 'g');
}

static void print_result(struct buf *b, const struct result *r) {
    if (r->type == VALUE_SCALAR) {
        buf_put_sv(b, SV("scalar "));
        print_number(b, r->scalar);
        buf_put_char(b, '\n');
    }
    if (r->type == VALUE_STRING) buf_printf(b, "string %.*s\n", SV_ARG(r->string));
    for (size_t i = 0; i < r->series_count; i++) {
        const struct result_series *s = &r->series[i];
        label_list_print_braces(s->labels, s->labels_count, b);
        for (size_t k = 0; k < s->points_count; k++) {
            buf_put_char(b, ' ');
            print_number(b, (double)s->points[k].time_ms / 1000);
            buf_put_char(b, '=');
            print_number(b, s->points[k].value);
        }
        buf_put_char(b, '\n');
    }
    for (size_t k = 0; r->samples_steps != NULL && k < r->samples_steps_count; k++)
        buf_printf(b, "%s%llu%s", k == 0 ? "samples " : " ",
                   (unsigned long long)r->samples_steps[k],
                   k + 1 == r->samples_steps_count ? "\n" : "");
    for (size_t i = 0; i < r->warnings_count; i++)
        buf_printf(b, "warning %s\n", r->warnings[i]);
    for (size_t i = 0; i < r->infos_count; i++)
        buf_printf(b, "info %s\n", r->infos[i]);
}

static enum status run_split(struct fixture *f, const struct ask *ask, struct query *q,
                             struct buf *b, struct err *err) {
    struct mem_source views[SOURCES_MAX];
    const struct source *sources[SOURCES_MAX];
    unsigned count = ask->sources == 0 ? 3 : ask->sources;
    struct rng rng;
    rng_init(&rng, ask->seed);
    for (unsigned i = 0; i < count; i++) {
        mem_source_init(&views[i]);
        views[i].is_view = true;
        sources[i] = &views[i].source;
    }
    enum status st = OK;
    for (size_t i = 0; st == OK && i < f->all.count; i++)
        st = mem_source_view_add(&views[rng_below(&rng, count)], f->all.series[i]);
    for (unsigned i = 0; st == OK && i < count; i++)
        st = mem_source_select(&views[i], q);
    struct plan *plan = NULL;
    struct result result = {0};
    if (st == OK) st = query_run_local(q, sources, count, &plan, &result, err);
    if (st == OK) print_result(b, &result);
    plan_free(plan);
    for (unsigned i = 0; i < count; i++)
        mem_source_fini(&views[i]);
    return st;
}

char *fixture_run(struct fixture *f, const struct ask *ask) {
    struct buf b = {0};
    struct err err = {0};
    struct query *q = NULL;
    struct query_params params = ask_params(ask);
    enum status st = query_new(sv_from(ask->query), &params, &q, &err);
    if (st == OK) st = run_split(f, ask, q, &b, &err);
    query_unref(q);
    if (st != OK) {
        buf_clear(&b);
        buf_printf(&b, "error %s: %s\n", status_name(st), err.msg);
    }
    char *text = buf_cstr(&b);
    if (text == NULL) abort();
    return text;
}
