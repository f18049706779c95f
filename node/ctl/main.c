/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl: the command line tool. A verb is one or two words; its own arguments follow. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "node/ctl/ctl.h"

static const struct verb_def {
    const char *group, *verb;
    int (*run)(int argc, char **argv); /* NULL: known, but this version cannot do it */
    const char *summary;
} verbs[] = {
    {"query", "instant", query_instant, "Run instant query."},
    {"query", "range", query_range, "Run range query."},
    {"query", "series", query_series, "Run series query."},
    {"query", "labels", query_labels, "Run labels query."},
    {"check", "healthy", check_healthy, "Check if the server is healthy."},
    {"check", "ready", check_ready, "Check if the server is ready."},
    {"check", "config", check_config, "Check if the config files are valid."},
    {"check", "rules", NULL, NULL},
    {"check", "metrics", NULL, NULL},
    {"check", "web-config", NULL, NULL},
    {"test", "rules", NULL, NULL},
    {"test", "promql", test_promql, "Run PromQL test files."},
    {"tsdb", "list", tsdb_list_main, "List the blocks of a data directory."},
    {"tsdb", "analyze", tsdb_analyze_main, "Analyze the labels of a block."},
    {"tsdb", "verify", tsdb_verify_main, "Check all of a data directory."},
    {"tsdb", "dump", tsdb_dump_main, "Dump samples from a data directory."},
    {"tsdb", "export", tsdb_export_main, "Dump samples in the OpenMetrics format."},
    {"tsdb", "dump-openmetrics", tsdb_export_main, "The same, by promtool's name."},
    {"tsdb", "create-blocks-from", NULL, NULL},
    {"tsdb", "bench", NULL, NULL},
    {"ring", "status", ring_status_main, "Show the cluster."},
    {"ring", "drain", ring_drain_main, "Move everything away from a node."},
    {"ring", "undrain", ring_undrain_main, "Let a drained node take replicas again."},
    {"ring", "move", ring_move_main, "Move a replica to another node."},
    {"ring", "accept-loss", ring_accept_loss_main, "Restart a shard from what is left."},
    {"ring", "remove", ring_remove_main, "Strike a dead node off the map."},
    {"ring", "verify", ring_verify_main, "Read and compare all replicas, repair what is bad."},
    {"ring", "recover", ring_recover_main, "New cluster of what is left without quorum."},
    {"silence", NULL, NULL, NULL},
    {"alert", NULL, NULL, NULL},
    {"import", "prometheus", import_prometheus_main, "Import a data directory of Prometheus."},
    {"import", "openmetrics", import_openmetrics_main, "Import an OpenMetrics text file."},
};

int ctl_fail(const char *fmt, ...) {
    va_list ap;
    fputs("cairnctl: error: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int ctl_help(const char *verb, const char *arguments, const char *summary,
             const struct flag_def *defs, size_t count) {
    struct buf b = {0};
    char program[200];
    snprintf(program, sizeof program, "cairnctl %s%s%s", verb, arguments[0] == '\0' ? "" : " ",
             arguments);
    flags_put_help(defs, count, program, summary, &b);
    bool written = !b.failed && fwrite(b.ptr, 1, b.len, stdout) == b.len;
    buf_fini(&b);
    return written ? 0 : 1;
}

static int help(void) {
    puts("usage: cairnctl <command> [<args> ...]\n\nTooling for the Cairn monitoring "
         "server.\n\nCommands:");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (verbs[i].run != NULL)
            printf("  %s %-10s %s\n", verbs[i].group, verbs[i].verb, verbs[i].summary);
    puts("\ncairnctl <command> --help tells the arguments of one.");
    return 0;
}

static int run(int argc, char **argv) {
    bool group_known = false;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb_def *v = &verbs[i];
        if (strcmp(argv[1], v->group) != 0) continue;
        group_known = true;
        if (v->verb != NULL && (argc < 3 || strcmp(argv[2], v->verb) != 0)) continue;
        if (v->run != NULL) return v->run(argc - 2, argv + 2);
        return ctl_fail("\"%s%s%s\" is known, but this version of cairnctl cannot do it", v->group,
                        v->verb == NULL ? "" : " ", v->verb == NULL ? "" : v->verb);
    }
    if (!group_known) return ctl_fail("expected command but got \"%s\", try --help", argv[1]);
    if (argc < 3) return ctl_fail("must select a subcommand of '%s', try --help", argv[1]);
    return ctl_fail("expected command but got \"%s %s\", try --help", argv[1], argv[2]);
}

int main(int argc, char **argv) {
    if (argc < 2) return help();
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return help();
    if (strcmp(argv[1], "--version") == 0)
        return printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) return ctl_fail("libcurl does not start");
    int code = run(argc, argv);
    curl_global_cleanup();
    return code;
}
