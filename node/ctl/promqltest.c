/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl test promql FILE...: runs test files and counts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/flags.h"
#include "node/ctl/ctl.h"
#include "node/ctl/promqltest.h"

enum { FILE_BYTES_MAX = 64 << 20 };

struct promqltest_options {
    union flag_value help, version, split, seed, verbose;
};
static const struct flag_def defs[] = {
#define AT(field) offsetof(struct promqltest_options, field)
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"version", 0, FLAG_BOOL, NULL, "Show the version.", AT(version), false},
    {"split", 0, FLAG_INT, "1", "Sources over which series are dealt at random, 1 to 64.",
     AT(split), false},
    {"seed", 0, FLAG_INT, "1", "Seed of the dealing.", AT(seed), false},
    {"verbose", 'v', FLAG_BOOL, NULL, "Name what is skipped, and why.", AT(verbose), false},
#undef AT
};

static bool file_read(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    char *part;
    size_t n;
    out->limit_bytes = FILE_BYTES_MAX;
    do {
        part = buf_extend(out, 1 << 16);
        n = part == NULL ? 0 : fread(part, 1, 1 << 16, f);
        if (part != NULL) out->len -= (1 << 16) - n;
    } while (n > 0);
    bool good = ferror(f) == 0;
    if (good && out->failed) errno = EFBIG;
    fclose(f);
    return good && !out->failed;
}

static void tally_add(struct tally *to, const struct tally *from) {
    to->passed += from->passed;
    to->failed += from->failed;
    to->skipped += from->skipped;
    for (size_t i = 0; i < from->reasons_count; i++)
        tally_skip(to, from->reasons[i].text, from->reasons[i].count);
}

static void tally_print(const char *name, const struct tally *t) {
    printf("%s: %zu passed, %zu failed, %zu skipped", name, t->passed, t->failed, t->skipped);
    for (size_t i = 0; i < t->reasons_count; i++)
        printf("%s%s %zu", i == 0 ? " (" : ", ", t->reasons[i].text, t->reasons[i].count);
    puts(t->reasons_count > 0 ? ")" : "");
}

static bool file_run(const char *path, const struct promqltest_options *o, struct tally *total) {
    struct buf text = {0};
    struct test_run t = {.path = path,
                         .out = stdout,
                         .verbose = o->verbose.boolean,
                         .sources_count = (unsigned)o->split.integer,
                         .seed = (uint64_t)o->seed.integer};
    bool good = file_read(path, &text);
    if (good) {
        good = test_text_run(buf_sv(&text), &t);
        tally_print(path, &t.tally);
        tally_add(total, &t.tally);
    } else {
        printf("%s: error: %s\n", path, strerror(errno));
    }
    buf_fini(&text);
    return good;
}

static int run_files(const struct promqltest_options *o, const struct flag_list *files) {
    struct tally total = {0};
    if (o->help.boolean)
        return ctl_help("test promql", "<test-file>...", "Run PromQL test files (promqltest).",
                        defs, ARRAY_LEN(defs));
    if (o->version.boolean) return printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    if (files->count == 0)
        return ctl_fail("required argument 'test-file' not provided, try --help");
    if (o->split.integer < 1 || o->split.integer > TEST_SOURCES_MAX)
        return ctl_fail("--split must be between 1 and %d", TEST_SOURCES_MAX);
    bool good = true;
    if (o->split.integer > 1)
        printf("series dealt over %lld sources, seed %lld\n", (long long)o->split.integer,
               (long long)o->seed.integer);
    for (size_t i = 0; i < files->count; i++)
        good &= file_run(files->items[i], o, &total);
    if (files->count > 1) tally_print("total", &total);
    return good ? 0 : 1;
}

int test_promql(int argc, char **argv) {
    struct promqltest_options o = {0};
    struct flag_list files = {0};
    struct err err = {0};
    enum status st = flags_parse(defs, ARRAY_LEN(defs), argc, argv, &o, &files, &err);
    int rc = st == OK ? run_files(&o, &files) : ctl_fail("%s, try --help", err.msg);
    free(files.items);
    return rc;
}
