/* SPDX-License-Identifier: Apache-2.0 */
/* `check config`: reads files as cairn does at its start; output and exit code of promtool. */
#include <stdio.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/ctl/ctl.h"
#include "node/daemon/config.h"

struct check_config_options {
    union flag_value help, version, syntax_only, lint, agent;
};
#define AT(field) offsetof(struct check_config_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"version", 0, FLAG_BOOL, NULL, "Show the version.", AT(version), false},
    {"syntax-only", 0, FLAG_BOOL, NULL, "Only check the file itself, which is all that is checked.",
     AT(syntax_only), false},
    {"lint", 0, FLAG_STRING, "duplicate-rules", "Accepted for compatibility.", AT(lint), true},
    {"agent", 0, FLAG_BOOL, NULL, "Accepted for compatibility.", AT(agent), true},
};

static bool check_one(const char *path) {
    struct config config;
    struct err err;
    printf("Checking %s\n", path);
    bool right = path[0] != '\0' && config_load(path, &config, &err) == OK;
    if (right) {
        printf(" SUCCESS: %s is valid prometheus config file syntax\n", path);
        config_fini(&config);
    } else {
        fflush(stdout);
        fprintf(stderr, "  FAILED: %s\n", path[0] == '\0' ? "a file name is empty" : err.msg);
    }
    putchar('\n');
    return right;
}

int check_config(int argc, char **argv) {
    static struct check_config_options o; /* flags live as long as the process */
    static struct flag_list files;
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &o, &files, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (o.help.boolean)
        return ctl_help("check config", "<config-files>...", "Check if the config files are valid.",
                        defs, ARRAY_LEN(defs));
    if (o.version.boolean) return printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    if (files.count == 0)
        return ctl_fail("required argument 'config-files' not provided, try --help");
    log_setup(LOG_ERROR, LOG_LOGFMT, STDERR_FILENO);
    bool right = true;
    for (size_t i = 0; i < files.count; i++)
        right &= check_one(files.items[i]);
    return right && fflush(stdout) == 0 ? 0 : 1;
}
