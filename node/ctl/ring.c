/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl ring: the cluster as its controller sees it, and what people ask of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "node/ctl/ctl.h"

enum { CALL_TIMEOUT_S = 15, LOOK_MS = 250, BAD_LOOK_MS = 3000, SHARDS_TOLD_MAX = 20 };

struct ring_options {
    union flag_value help, url, wait, timeout, json;
};
#define AT(field) offsetof(struct ring_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"url", 0, FLAG_STRING, "http://localhost:9090", "The URL of any node.", AT(url), false},
    {"wait", 0, FLAG_BOOL, NULL, "Wait until it is done.", AT(wait), false},
    {"timeout", 0, FLAG_DURATION, "10m", "How long to wait.", AT(timeout), false},
    {"json", 0, FLAG_BOOL, NULL, "Print the controller's answer as it is.", AT(json), false},
};
static struct ring_options options;

struct json_t *ctl_ring_call(const char *url, const char *path, const struct buf *form) {
    struct http_call call = {
        .server = url, .path = path, .form = form, .timeout_s = CALL_TIMEOUT_S};
    struct err err = {0};
    if (http_call_run(&call, &err) != OK) {
        ctl_fail("%s", err.msg);
        buf_fini(&call.body);
        return NULL;
    }
    json_error_t parse;
    json_t *root = json_loadb(call.body.ptr == NULL ? "" : call.body.ptr, call.body.len, 0, &parse);
    json_t *data = json_object_get(root, "data");
    const char *error = json_string_value(json_object_get(root, "error"));
    if (call.code == 200 && data != NULL)
        json_incref(data);
    else if (error != NULL)
        ctl_fail("%s", error);
    else
        ctl_fail("%s answered with HTTP status %ld", url, call.code);
    if (call.code != 200) data = NULL;
    json_decref(root);
    buf_fini(&call.body);
    return data;
}

static json_t *ring_call(const char *path, const struct buf *form) {
    return ctl_ring_call(options.url.string, path, form);
}

int64_t ctl_number(const json_t *of, const char *key) {
    return json_integer_value(json_object_get(of, key));
}
const char *ctl_text(const json_t *of, const char *key) {
    const char *s = json_string_value(json_object_get(of, key));
    return s == NULL ? "" : s;
}

static int print_status(const json_t *s) {
    printf("cluster %s, map version %" PRId64 ", %" PRId64 " shards, replication factor %" PRId64
           "\ncontroller %s, term %" PRId64 "\n\n",
           ctl_text(s, "cluster"), ctl_number(s, "mapVersion"), ctl_number(s, "shards"),
           ctl_number(s, "replicationFactor"), ctl_text(s, "leader"), ctl_number(s, "term"));
    printf("%-16s  %-24s %-10s %-9s %6s %9s %8s %6s %6s %6s\n", "NODE", "ADDRESS", "ZONE", "STATE",
           "BEAT", "PRIMARIES", "IN SYNC", "FULL", "INIT", "LOG");
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(s, "nodes"), i, n) {
        const json_t *replicas = json_object_get(n, "replicas");
        const json_t *age = json_object_get(n, "heartbeatAgeMs");
        char beat[24] = "never";
        if (json_is_integer(age))
            snprintf(beat, sizeof beat, "%.1fs", (double)json_integer_value(age) / 1000);
        bool draining = json_is_true(json_object_get(n, "draining"));
        printf("%-16s  %-24s %-10s %-9s %6s %9" PRId64 " %8" PRId64 " %6" PRId64 " %6" PRId64
               " %6" PRId64 "\n",
               ctl_text(n, "id"), ctl_text(n, "address"), ctl_text(n, "zone"),
               draining ? "draining" : ctl_text(n, "state"), beat, ctl_number(n, "primaries"),
               ctl_number(n, "inSync"), ctl_number(replicas, "full"), ctl_number(replicas, "init"),
               ctl_number(replicas, "log"));
    }
    return printf("\n%" PRId64 " shards under-replicated, %" PRId64 " unreadable, %" PRId64
                  " moving\n",
                  ctl_number(s, "shardsUnderReplicated"), ctl_number(s, "shardsUnreadable"),
                  ctl_number(s, "shardsMoving")) < 0;
}

static int ring_status(void) {
    json_t *s = ring_call("/api/v1/status/ring", NULL);
    if (s == NULL) return 1;
    int code = 0;
    if (options.json.boolean)
        code = json_dumpf(s, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF;
    else
        code = print_status(s);
    json_decref(s);
    return code;
}

/* -- verbs that change something */

static bool node_is_empty(const json_t *s, const char *node) {
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(s, "nodes"), i, n) {
        if (strcmp(ctl_text(n, "id"), node) != 0 && strcmp(ctl_text(n, "address"), node) != 0)
            continue;
        const json_t *replicas = json_object_get(n, "replicas");
        const char *key;
        json_t *count;
        json_object_foreach((json_t *)(uintptr_t)replicas, key,
                            count) if (json_integer_value(count) != 0) return false;
    }
    return true;
}

static bool is_done(const json_t *s, const char *verb, const char *node) {
    if (ctl_number(s, "shardsMoving") != 0) return false;
    if (strcmp(verb, "drain") == 0 || strcmp(verb, "remove") == 0) return node_is_empty(s, node);
    if (strcmp(verb, "accept-loss") == 0) return ctl_number(s, "shardsUnreadable") == 0;
    return ctl_number(s, "shardsUnderReplicated") == 0;
}

/* What holds up moves: what is bad in blocks and nowhere else. true: something was told. */
static bool tell_bad(void) {
    size_t i, k;
    json_t *node, *bad, *data = ring_call("/api/v1/status/ring/bad", NULL);
    unsigned told = 0, shards = 0;
    json_array_foreach(json_object_get(data, "nodes"), i, node) {
        json_int_t before = -1;
        json_array_foreach(json_object_get(node, "bad"), k, bad) {
            json_int_t shard = ctl_number(bad, "shard");
            if (json_is_true(json_object_get(bad, "elsewhere")) || shard == before) continue;
            before = shard;
            shards++;
            if (told == SHARDS_TOLD_MAX) continue;
            fprintf(stderr, "%s%" JSON_INTEGER_FORMAT " on %s",
                    told == 0 ? "bad blocks that no other replica has: shard " : ", ", shard,
                    ctl_text(node, "address"));
            told++;
        }
    }
    if (shards > told) fprintf(stderr, " and %u more", shards - told);
    if (told > 0)
        fprintf(stderr, "; they stay where they are until cairnctl ring accept-loss gives up what "
                        "is bad of them, see the nodes' logs\n");
    json_decref(data);
    return told > 0;
}

static int wait_done(const char *verb, const char *node) {
    bool told = false;
    int64_t until_look_ms = BAD_LOOK_MS;
    for (int64_t left_ms = options.timeout.duration_ms; left_ms > 0; left_ms -= LOOK_MS) {
        json_t *s = ring_call("/api/v1/status/ring", NULL);
        bool done = s != NULL && is_done(s, verb, node);
        json_decref(s);
        if (done) return 0;
        until_look_ms -= LOOK_MS;
        if (!told && (until_look_ms <= 0 || left_ms <= LOOK_MS)) {
            told = tell_bad();
            until_look_ms = BAD_LOOK_MS;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    return ctl_fail("not done after %" PRId64 " ms", options.timeout.duration_ms);
}

static void print_lost(const json_t *answer) {
    size_t i;
    json_t *l;
    json_array_foreach(json_object_get(answer, "lost"), i, l) {
        const char *kept = ctl_text(l, "kept");
        printf("shard %" PRId64 ": samples from %" PRId64 " to %" PRId64 " are lost; %s%s on %s\n",
               ctl_number(l, "shard"), ctl_number(l, "minTime"), ctl_number(l, "maxTime"),
               kept[0] == '\0' ? "the block's file was missing" : "the bad block is kept as ", kept,
               ctl_text(l, "address"));
    }
}

/* A node may have lost something of many shards in one block. */
static int accept_losses(const struct flag_list *args) {
    if (args->count == 0) return ctl_fail("ring accept-loss needs a shard, try --help");
    for (size_t i = 0; i < args->count; i++) {
        struct buf form = {0};
        form_put(&form, "shard", sv_from(args->items[i]));
        json_t *answer = ring_call("/api/v1/admin/ring/accept-loss", &form);
        buf_fini(&form);
        if (answer == NULL) return 1;
        print_lost(answer);
        json_decref(answer);
    }
    return options.wait.boolean ? wait_done("accept-loss", "") : 0;
}

static int ring_verb(const char *verb, const char *const *names, const struct flag_list *args) {
    struct buf form = {0};
    char path[64];
    size_t want = 0;
    if (strcmp(verb, "accept-loss") == 0) return accept_losses(args);
    while (names[want] != NULL)
        want++;
    if (args->count != want) return ctl_fail("ring %s needs %zu arguments, try --help", verb, want);
    for (size_t i = 0; i < want; i++)
        form_put(&form, names[i], sv_from(args->items[i]));
    snprintf(path, sizeof path, "/api/v1/admin/ring/%s", verb);
    json_t *answer = ring_call(path, &form);
    buf_fini(&form);
    if (answer == NULL) return 1;
    json_decref(answer);
    if (options.wait.boolean) return wait_done(verb, want == 0 ? "" : args->items[0]);
    return 0;
}

static int ring_run(int argc, char **argv, const char *arguments, const char *summary,
                    const char *const *names) {
    static struct flag_list args; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &args, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    char verb[40];
    snprintf(verb, sizeof verb, "ring %s", argv[0]);
    if (options.help.boolean) return ctl_help(verb, arguments, summary, defs, ARRAY_LEN(defs));
    if (names == NULL && args.count > 0) return ctl_fail("unexpected %s", args.items[0]);
    return names == NULL ? ring_status() : ring_verb(argv[0], names, &args);
}

int ring_status_main(int argc, char **argv) {
    return ring_run(argc, argv, "", "Show the nodes, their replicas and what is missing.", NULL);
}

int ring_drain_main(int argc, char **argv) {
    static const char *const names[] = {"node", NULL};
    return ring_run(argc, argv, "NODE", "Move everything away from a node (its id or address).",
                    names);
}

int ring_undrain_main(int argc, char **argv) {
    static const char *const names[] = {"node", NULL};
    return ring_run(argc, argv, "NODE", "Let a node that was drained take replicas again.", names);
}

int ring_move_main(int argc, char **argv) {
    static const char *const names[] = {"shard", "node", "to", NULL};
    return ring_run(argc, argv, "SHARD FROM TO", "Move a replica of a shard to another node.",
                    names);
}

int ring_accept_loss_main(int argc, char **argv) {
    static const char *const names[] = {"shard", NULL};
    return ring_run(
        argc, argv, "SHARD...",
        "Restart shards from what is left of them: the rest is lost for good. Of shards "
        "that are complete, give up blocks that cannot be read and that no other "
        "replica has; their files stay, as *.block.lost.",
        names);
}

int ring_remove_main(int argc, char **argv) {
    static const char *const names[] = {"node", NULL};
    return ring_run(argc, argv, "NODE", "Strike a dead node that will not come back off the map.",
                    names);
}
