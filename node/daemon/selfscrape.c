/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/selfscrape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/log.h"
#include "node/base/metrics.h"
#include "ingest/remote_write.h"

enum { SELF_LABELS_MAX = 16, SELF_ARENA_BYTES = 64 << 20, NO_CLUSTER_MS = 100 };

struct selfscrape {
    const struct node *node;
    struct core *core;
    struct timer timer;
    int64_t interval_ms;
    char *instance;
    bool writing, stopped;
    /* of the scrape under way */
    struct arena arena;
    struct remote_write_sample *samples;
    size_t count, cap;
    int64_t time_ms;
    bool failed;
};

/* Reads the next name="value" of a registry's label text; values are escaped as in the exposition
 * format. */
static bool next_label(struct selfscrape *s, struct sv *rest, struct label *out) {
    size_t eq;
    if (!sv_find_char(*rest, '=', &eq) || eq + 1 >= rest->len || rest->ptr[eq + 1] != '"')
        return false;
    out->name = sv_take(*rest, eq);
    struct sv body = sv_skip(*rest, eq + 2);
    char *value = arena_alloc(&s->arena, body.len + 1);
    if (value == NULL) return false;
    size_t n = 0, i = 0;
    for (; i < body.len && body.ptr[i] != '"'; i++) {
        if (body.ptr[i] == '\\' && i + 1 < body.len) {
            i++;
            value[n++] = body.ptr[i] == 'n' ? '\n' : body.ptr[i];
        } else {
            value[n++] = body.ptr[i];
        }
    }
    out->value = sv_make(value, n);
    *rest = sv_skip(body, i + 1);
    if (rest->len > 0 && rest->ptr[0] == ',') *rest = sv_skip(*rest, 1);
    return true;
}

static void add_sample(void *ctx, struct sv name, struct sv labels_text, double value) {
    struct selfscrape *s = ctx;
    if (s->failed) return;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 1024 : s->cap * 2;
        void *p = arena_grow(&s->arena, s->samples, s->cap * sizeof *s->samples,
                             cap * sizeof *s->samples);
        if (p == NULL) {
            s->failed = true;
            return;
        }
        s->samples = p;
        s->cap = cap;
    }
    struct label *labels = arena_array(&s->arena, SELF_LABELS_MAX, sizeof *labels);
    struct sv own_name = arena_sv(&s->arena, name);
    labels_text = arena_sv(&s->arena, labels_text);
    if (labels == NULL || own_name.ptr == NULL || labels_text.ptr == NULL) {
        s->failed = true;
        return;
    }
    size_t n = 0;
    labels[n++] = (struct label){SV("__name__"), own_name};
    labels[n++] = (struct label){SV("job"), SV("cairn")};
    labels[n++] = (struct label){SV("instance"), sv_from(s->instance)};
    while (n < SELF_LABELS_MAX && next_label(s, &labels_text, &labels[n]))
        n++;
    s->samples[s->count++] = (struct remote_write_sample){
        .labels = labels, .labels_count = n, .time_ms = s->time_ms, .value = value};
}

static void on_written(void *ctx, enum write_outcome outcome, const char *text) {
    struct selfscrape *s = ctx;
    s->writing = false;
    if (outcome != WRITE_OK) log_warn("own metrics were not all kept", "err", text);
    arena_reset(&s->arena);
}

static void scrape(struct selfscrape *s) {
    uint64_t began_ns = core_mono_ns(s->core);
    s->samples = NULL;
    s->count = s->cap = 0;
    s->failed = false;
    s->time_ms = core_wall_ms(s->core);
    metrics_each_sample(add_sample, s);
    double scraped = (double)s->count;
    add_sample(s, SV("up"), (struct sv){0}, 1);
    add_sample(s, SV("scrape_samples_scraped"), (struct sv){0}, scraped);
    add_sample(s, SV("scrape_samples_post_metric_relabeling"), (struct sv){0}, scraped);
    add_sample(s, SV("scrape_duration_seconds"), (struct sv){0},
               (double)(core_mono_ns(s->core) - began_ns) / 1e9);
    struct err err;
    enum status st = ERR_NOMEM;
    err_set(&err, ERR_NOMEM, 0, "out of memory");
    if (!s->failed) {
        s->writing = true;
        st = ingest_samples(s->core, s->samples, s->count, on_written, s, &err);
    }
    if (st != OK) {
        s->writing = false;
        log_warn("own metrics were not written", "err", err.msg);
        arena_reset(&s->arena);
    }
}

static void on_timer(struct timer *t) {
    struct selfscrape *s = container_of(t, struct selfscrape, timer);
    if (s->stopped) return;
    if (!node_is_open(s->node)) { /* of no cluster yet */
        timer_start(&s->timer, NO_CLUSTER_MS);
        return;
    }
    timer_start(&s->timer, (uint64_t)s->interval_ms);
    if (!s->writing) scrape(s);
}

enum status selfscrape_start(const struct node *node, struct core *core, int64_t interval_ms,
                             const char *instance, struct selfscrape **out, struct err *err) {
    struct selfscrape *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "self-scrape: out of memory");
    *s = (struct selfscrape){
        .node = node, .core = core, .interval_ms = interval_ms, .instance = strdup(instance)};
    if (s->instance == NULL) {
        free(s);
        return err_set(err, ERR_NOMEM, 0, "self-scrape: out of memory");
    }
    arena_init(&s->arena, SELF_ARENA_BYTES);
    timer_init(&s->timer, core, on_timer);
    timer_start(&s->timer, 0);
    *out = s;
    return OK;
}

void selfscrape_stop(struct selfscrape *s) {
    if (s == NULL) return;
    s->stopped = true;
    timer_stop(&s->timer);
}

void selfscrape_free(struct selfscrape *s) {
    if (s == NULL) return;
    arena_fini(&s->arena);
    free(s->instance);
    free(s);
}
