/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/flags.h: command-line flags with kingpin's semantics: --name=value, --name value,
 * --[no-]bool, no abbreviations, repeatable where marked; short -h and --help, --version. Names and
 * texts as Prometheus has them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum flag_kind {
    FLAG_STRING,
    FLAG_BOOL,
    FLAG_INT,
    FLAG_FLOAT,
    FLAG_DURATION,
    FLAG_BYTES,
    FLAG_LIST
};

struct flag_list {
    const char **items;
    size_t count;
};
union flag_value {
    const char *string; /* "" when unset and without a default */
    bool boolean;
    int64_t integer;
    double number;
    int64_t duration_ms;
    uint64_t bytes;
    struct flag_list list;
};

struct flag_def {
    const char *name; /* without dashes */
    char short_name;  /* 0: none */
    enum flag_kind kind;
    const char *value; /* default as text; NULL: zero value */
    const char *help;
    size_t offset; /* of a union flag_value in the options struct */
    bool hidden;
};

/* Parses argv[1..] into the union flag_value members of *options, defaults first. Positional
 * arguments go to *positional (may be NULL: then they are refused: "unexpected x"). Strings are
 * borrowed from argv or the table; the item arrays of lists are malloced and meant to live as long
 * as the process. The caller's table has "help" and "version" rows (FLAG_BOOL): when one is given
 * the parse ends there with OK, whatever follows. A switch takes no value: --x=true is "unexpected
 * true", as with kingpin. Errors in values name the flag: "flag '--x': not a valid duration string:
 * ...". ERR_PARSE texts: "unknown long flag '--x'", "expected argument for flag '--x'", ... */
enum status flags_parse(const struct flag_def *defs, size_t defs_count, int argc, char **argv,
                        void *options, struct flag_list *positional, struct err *err) MUST_USE;
bool flag_was_set(const char *name); /* by the last flags_parse of this process */
void flags_put_help(const struct flag_def *defs, size_t defs_count, const char *program,
                    const char *summary, struct buf *out);
/* the current value as text, for /api/v1/status/flags */
void flag_put_value(const struct flag_def *def, const void *options, struct buf *out);
