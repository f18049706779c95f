/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl tsdb dump and export: what a node would answer, log and blocks, as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"
#include "node/ctl/ctl.h"
#include "node/ctl/tsdb_dir.h"
#include "query/promql/parser.h"

enum { OUT_BYTES = 1 << 18, SELECTOR_BYTES_MAX = 64 << 20 };

struct dump_options {
    union flag_value help, min_time, max_time, match;
};
#define AT(field) offsetof(struct dump_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"min-time", 0, FLAG_INT, "-9223372036854775808", "Minimum timestamp to dump, milliseconds.",
     AT(min_time), false},
    {"max-time", 0, FLAG_INT, "9223372036854775807", "Maximum timestamp to dump, milliseconds.",
     AT(max_time), false},
    {"match", 0, FLAG_STRING, "{__name__=~'(?s:.*)'}", "Series selector.", AT(match), false},
};
static struct dump_options options;

struct dump {
    bool open_metrics;
    struct buf series; /* what stands before each sample of the series at hand */
    struct buf out;
    uint64_t histograms, stale, nameless; /* samples that were left out */
};

static enum status out_flush(struct dump *d, size_t above, struct err *err) {
    if (d->out.failed || d->series.failed) return err_set(err, ERR_NOMEM, 0, "out of memory");
    if (d->out.len <= above) return OK;
    if (fwrite(d->out.ptr, 1, d->out.len, stdout) != d->out.len ||
        (above == 0 && fflush(stdout) != 0))
        return err_set(err, ERR_IO, errno, "write the output");
    buf_clear(&d->out);
    return OK;
}

/* -- lines of promtool */

static enum status put_dump(struct dump *d, const struct samples *samples, struct err *err) {
    for (size_t i = 0; i < samples->count; i++) {
        if (samples->histograms != NULL && samples->histograms[i] != NULL) {
            d->histograms++;
            continue;
        }
        buf_put_sv(&d->out, buf_sv(&d->series));
        num_put_f64(&d->out, samples->values[i], 'g');
        buf_put_char(&d->out, ' ');
        num_put_i64(&d->out, samples->times_ms[i]);
        buf_put_char(&d->out, '\n');
        TRY(out_flush(d, OUT_BYTES, err));
    }
    return OK;
}

/* -- OpenMetrics */

static bool is_plain_name(struct sv name, bool metric) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(metric && c == ':') && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return name.len > 0;
}

static void put_string(struct buf *out, struct sv s) {
    buf_put_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"' || c == '\\') buf_put_char(out, '\\');
        if (c == '\n')
            buf_put_sv(out, SV("\\n"));
        else
            buf_put_char(out, c);
    }
    buf_put_char(out, '"');
}

/* name{a="b"}; names beyond those of OpenMetrics 1.0 are quoted, the metric's within the braces. */
static bool put_open_metrics_series(struct buf *out, const struct label *labels, size_t count) {
    struct sv name = {0};
    for (size_t i = 0; i < count; i++)
        if (sv_eq(labels[i].name, SV("__name__"))) name = labels[i].value;
    if (name.len == 0) return false;
    bool plain = is_plain_name(name, true), first = true;
    if (plain) buf_put_sv(out, name);
    if (!plain || count > 1) buf_put_char(out, '{');
    if (!plain) {
        put_string(out, name);
        first = false;
    }
    for (size_t i = 0; i < count; i++) {
        if (sv_eq(labels[i].name, SV("__name__"))) continue;
        if (!first) buf_put_char(out, ',');
        first = false;
        if (is_plain_name(labels[i].name, false))
            buf_put_sv(out, labels[i].name);
        else
            put_string(out, labels[i].name);
        buf_put_char(out, '=');
        put_string(out, labels[i].value);
    }
    if (!plain || count > 1) buf_put_char(out, '}');
    buf_put_char(out, ' ');
    return true;
}

/* Prometheus cuts the product off where others round it, and so would take some times a
 * millisecond too early: those get a tenth of one more. */
static void put_seconds(struct buf *out, int64_t time_ms) {
    char text[NUM_TIMESTAMP_MAX];
    double seconds;
    size_t len = num_format_timestamp_ms(text, time_ms);
    buf_put(out, text, len);
    if (num_parse_f64((struct sv){text, len}, &seconds) && (int64_t)(seconds * 1000) != time_ms)
        buf_put_char(out, '1');
}

static enum status put_open_metrics(struct dump *d, const struct samples *samples,
                                    struct err *err) {
    for (size_t i = 0; i < samples->count; i++) {
        if (samples->histograms != NULL && samples->histograms[i] != NULL) {
            d->histograms++;
        } else if (value_is_stale(samples->values[i])) {
            d->stale++;
        } else {
            buf_put_sv(&d->out, buf_sv(&d->series));
            num_put_f64(&d->out, samples->values[i], 'g');
            buf_put_char(&d->out, ' ');
            put_seconds(&d->out, samples->times_ms[i]);
            buf_put_char(&d->out, '\n');
            TRY(out_flush(d, OUT_BYTES, err));
        }
    }
    return OK;
}

/* -- both */

static enum status on_piece(void *ctx, const struct label *labels, size_t labels_count,
                            const struct samples *samples, struct err *err) {
    struct dump *d = ctx;
    buf_clear(&d->series);
    if (d->open_metrics) {
        if (put_open_metrics_series(&d->series, labels, labels_count))
            return put_open_metrics(d, samples, err);
        d->nameless += samples->count;
        return OK;
    }
    label_list_print_braces(labels, labels_count, &d->series);
    buf_put_char(&d->series, ' ');
    return put_dump(d, samples, err);
}

static enum status dump_run(struct dump *d, struct tsdb_dir *dir, struct err *err) {
    struct arena arena;
    struct matcher *matchers = NULL;
    size_t count = 0;
    arena_init(&arena, SELECTOR_BYTES_MAX);
    enum status status =
        promql_parse_selector(sv_from(options.match.string), &arena, &matchers, &count, err);
    if (status == OK) {
        struct tsdb_query q = {.matchers = matchers,
                               .matchers_count = count,
                               .min_ms = options.min_time.integer,
                               .max_ms = options.max_time.integer,
                               .piece = on_piece,
                               .ctx = d};
        status = tsdb_dir_each(dir, &q, err);
        promql_matchers_free(matchers, count);
    }
    arena_fini(&arena);
    if (status == OK && d->open_metrics) buf_put_sv(&d->out, SV("# EOF\n"));
    return status == OK ? out_flush(d, 0, err) : status;
}

static void put_count(uint64_t n, const char *what) {
    if (n > 0) fprintf(stderr, "cairnctl: %" PRIu64 " %s\n", n, what);
}

/* What is here and was not told must not pass for nothing. */
static int dump_report(const struct dump *d, const struct tsdb_dir *dir) {
    uint32_t shards[1];
    size_t damaged = store_damaged_shards(dir->store, shards, 1);
    put_count(d->histograms, "samples that are native histograms were left out");
    put_count(d->stale, "stale markers were left out, which the format cannot say");
    put_count(d->nameless, "samples of series without a metric name were left out");
    uint64_t ended = 0;
    for (uint32_t i = 0; i < dir->map->settings.shards_count; i++) {
        struct store_archived a;
        ended += store_shard_archive(dir->store, i, &a) && ended_any(&a.ended);
    }
    put_count(ended,
              "shards have older samples as downsampled ones only: the last of each 5m or 1h");
    put_count(dir->tails, "shards are here as a tail of the log only, and were left out");
    for (uint32_t i = 0; dir->blocks != NULL && i < dir->blocks->count; i++)
        if (dir->blocks->blocks[i].block == NULL && dir->blocks->blocks[i].of.resolution_ms == 0)
            return ctl_fail("%s", dir->blocks->blocks[i].why.msg);
    struct err why;
    if (damaged > 0 && store_damage(dir->store, shards[0], &why))
        return ctl_fail("the log lacks entries of %zu shards; shard %" PRIu32 ": %s", damaged,
                        shards[0], why.msg);
    return dir->damages == 0 ? 0 : ctl_fail("%s", dir->damage.msg);
}

static int run(int argc, char **argv, bool open_metrics, const char *summary) {
    static struct flag_list arguments; /* lives as long as the process, see base/flags.h */
    char verb[40];
    struct err err = {0};
    snprintf(verb, sizeof verb, "tsdb %s", argv[0]);
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &arguments, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean) return ctl_help(verb, "[DIR]", summary, defs, ARRAY_LEN(defs));
    if (arguments.count > 1) return ctl_fail("unexpected %s", arguments.items[1]);
    struct tsdb_dir_options to = {.path = arguments.count == 0 ? "data/" : arguments.items[0],
                                  .with_log = true};
    struct tsdb_dir dir;
    struct dump d = {.open_metrics = open_metrics};
    enum status status = tsdb_dir_open(&to, &dir, &err);
    if (status == OK) status = dump_run(&d, &dir, &err);
    int code = status == OK ? dump_report(&d, &dir) : ctl_fail("%s", err.msg);
    buf_fini(&d.series);
    buf_fini(&d.out);
    tsdb_dir_close(&dir);
    return code;
}

int tsdb_dump_main(int argc, char **argv) {
    return run(argc, argv, false,
               "Dump samples from the data directory of a node that is not running, or from a "
               "snapshot: of the shards that it has, blocks and log.");
}

int tsdb_export_main(int argc, char **argv) {
    return run(argc, argv, true,
               "Write samples from the data directory of a node that is not running, or from a "
               "snapshot, as OpenMetrics text with timestamps, which `cairnctl import openmetrics` "
               "and `promtool tsdb create-blocks-from openmetrics` take. Left out, and counted: "
               "native histograms, stale markers, series without a metric name.");
}
