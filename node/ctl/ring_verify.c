/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl ring verify: all nodes read their blocks and compare their replicas now; what they find
 * and repair is printed as it comes, then a line for each node. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "node/ctl/ctl.h"

enum { LOOK_MS = 250 };

struct verify_options {
    union flag_value help, url, timeout, shard, json, verbose;
};
#define AT(field) offsetof(struct verify_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"url", 0, FLAG_STRING, "http://localhost:9090", "The URL of any node.", AT(url), false},
    {"shard", 0, FLAG_STRING, "", "This shard alone.", AT(shard), false},
    {"timeout", 0, FLAG_DURATION, "1h", "How long to wait.", AT(timeout), false},
    {"verbose", 'v', FLAG_BOOL, NULL, "A line for each replica, too.", AT(verbose), false},
    {"json", 0, FLAG_BOOL, NULL, "Print the last answer as it is.", AT(json), false},
};
static struct verify_options options;

static bool is_true(const json_t *of, const char *key) {
    return json_is_true(json_object_get(of, key));
}

/* -- asking */

static json_t *ask(const char *id) {
    struct buf form = {0};
    if (id != NULL) form_put(&form, "id", sv_from(id));
    if (id == NULL && options.shard.string[0] != '\0')
        form_put(&form, "shard", sv_from(options.shard.string));
    if (form.len == 0) form_put(&form, "all", SV("true")); /* a POST */
    json_t *data = ctl_ring_call(options.url.string, "/api/v1/admin/ring/verify", &form);
    buf_fini(&form);
    return data;
}

/* The last answer; NULL: none, after saying why. */
static json_t *ask_until_done(void) {
    char id[32];
    json_t *data = ask(NULL);
    if (data == NULL) return NULL;
    snprintf(id, sizeof id, "%s", ctl_text(data, "id"));
    for (int64_t left_ms = options.timeout.duration_ms; left_ms > 0 && !is_true(data, "done");
         left_ms -= LOOK_MS) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        json_decref(data);
        data = ask(id);
        if (data == NULL) return NULL;
    }
    return data;
}

/* -- printing */

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...) {
    va_list ap;
    if (options.json.boolean) return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

static const char *time_text(int64_t ms, char out[40]) {
    time_t s = (time_t)(ms / 1000 - (ms % 1000 < 0));
    struct tm tm;
    char seconds[24];
    gmtime_r(&s, &tm);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 40, "%s.%03dZ", seconds, (int)(ms - (int64_t)s * 1000));
    return out;
}

static void print_finding(const json_t *f) {
    char from[40], to[40];
    const char *what = ctl_text(f, "what");
    say("  shard %" PRId64 ", %s to %s: ", ctl_number(f, "shard"),
        time_text(ctl_number(f, "minTime"), from), time_text(ctl_number(f, "maxTime"), to));
    if (strcmp(what, "differs") == 0)
        say("%" PRId64 " samples, the primary has %" PRId64 " or others", ctl_number(f, "samples"),
            ctl_number(f, "primarySamples"));
    else
        say("%s", strcmp(what, "lost") == 0 ? "bad here and at the primary" : "bad");
    say("%s\n", is_true(f, "repaired") ? ": repaired" : ": NOT REPAIRED");
}

struct totals {
    int64_t replicas, ranges, apart, failed, findings, left;
};

static void print_replica(const json_t *s, struct totals *t) {
    bool failed = strcmp(ctl_text(s, "state"), "done") != 0, leads = is_true(s, "primary");
    t->replicas++;
    t->ranges += ctl_number(s, "ranges");
    t->apart += ctl_number(s, "notCompared");
    t->failed += failed;
    if (!failed && !options.verbose.boolean) return;
    say("  shard %" PRId64 ", %s: ", ctl_number(s, "shard"), leads ? "primary" : "follower");
    if (leads)
        say("%" PRId64 " ranges are good", ctl_number(s, "ranges"));
    else
        say("%" PRId64 " ranges are the primary's, %" PRId64 " are not compared",
            ctl_number(s, "ranges"), ctl_number(s, "notCompared"));
    say("%s\n", failed ? ": NOT VERIFIED" : "");
}

/* Whether all is good there. */
static bool print_node(const json_t *n) {
    struct totals t = {0};
    const json_t *item;
    size_t i;
    const char *error = json_string_value(json_object_get(n, "error"));
    say("node %s (%s):%s%s\n", ctl_text(n, "id"), ctl_text(n, "address"), error == NULL ? "" : " ",
        error == NULL ? "" : error);
    if (error != NULL) return false;
    json_array_foreach(json_object_get(n, "findings"), i, item) {
        print_finding(item);
        t.findings++;
        t.left += !is_true(item, "repaired");
    }
    json_array_foreach(json_object_get(n, "shards"), i, item) print_replica(item, &t);
    say("  %" PRId64 " blocks read, %" PRId64 " replicas, %" PRId64
        " ranges good and equal, %" PRId64 " not compared, %" PRId64 " findings, %" PRId64
        " repaired\n",
        ctl_number(n, "blocks"), t.replicas, t.ranges, t.apart, t.findings, t.findings - t.left);
    return is_true(n, "done") && t.failed == 0 && t.left == 0;
}

static int print_all(const json_t *data) {
    const json_t *n;
    size_t i;
    bool good = is_true(data, "done");
    if (options.json.boolean && (json_dumpf(data, stdout, JSON_INDENT(2)) != 0 || puts("") < 0))
        return 1;
    json_array_foreach(json_object_get(data, "nodes"), i, n) good = print_node(n) && good;
    if (!is_true(data, "done"))
        return ctl_fail("not done after %" PRId64 " ms", options.timeout.duration_ms);
    return good ? 0 : ctl_fail("not all replicas are good");
}

int ring_verify_main(int argc, char **argv) {
    static struct flag_list args; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &args, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean)
        return ctl_help("ring verify", "",
                        "All nodes read their blocks, and compare what they have in closed ranges "
                        "with what the primaries have; what is bad or differs is repaired. Exit "
                        "code 1: something stays bad, or a node did not answer.\n\nNodes run with "
                        "--web.enable-admin-api.",
                        defs, ARRAY_LEN(defs));
    if (args.count > 0) return ctl_fail("unexpected %s", args.items[0]);
    json_t *data = ask_until_done();
    if (data == NULL) return 1;
    int code = print_all(data);
    json_decref(data);
    return code;
}
