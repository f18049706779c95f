/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "node/ctl/ctl.h"

enum { CHECK_TIMEOUT_S = 10 };

struct check_options {
    union flag_value help, version, url;
};
#define AT(field) offsetof(struct check_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"version", 0, FLAG_BOOL, NULL, "Show the version.", AT(version), false},
    {"url", 0, FLAG_STRING, "http://localhost:9090", "The URL of the server.", AT(url), false},
};

static int check_server(int argc, char **argv, const char *verb, const char *summary,
                        const char *path) {
    static struct check_options o;
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &o, NULL, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (o.help.boolean) return ctl_help(verb, "", summary, defs, ARRAY_LEN(defs));
    if (o.version.boolean) return printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    struct http_call call = {.server = o.url.string, .path = path, .timeout_s = CHECK_TIMEOUT_S};
    int code = 1;
    if (http_call_run(&call, &err) != OK)
        fprintf(stderr, "%s\n", err.msg);
    else if (call.code != 200)
        fprintf(stderr, "check failed: URL=%s, status=%ld\n", o.url.string, call.code);
    else
        code = fprintf(stderr, "  SUCCESS:  %.*s\n", SV_ARG(sv_trim(buf_sv(&call.body)))) < 0;
    buf_fini(&call.body);
    return code;
}

int check_healthy(int argc, char **argv) {
    return check_server(argc, argv, "check healthy", "Check if the server is healthy.",
                        "/-/healthy");
}

int check_ready(int argc, char **argv) {
    return check_server(argc, argv, "check ready", "Check if the server is ready.", "/-/ready");
}
