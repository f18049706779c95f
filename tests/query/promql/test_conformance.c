/* SPDX-License-Identifier: Apache-2.0 */
/* Every query of the conformance files parses, and its printed form is a fixed point.
 *   test_conformance DIRECTORY      exit 77 when it is not there */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buf.h"
#include "query/promql/parser.h"
#include "query/promql/prepare.h"
#include "query/promql/printer.h"

static unsigned queries_count, prepared_count, failures_count;

static void fail(const char *file, unsigned line, const char *what, const char *query) {
    printf("%s:%u: %s: %s\n", file, line, what, query);
    failures_count++;
}

/* true when the two forms are equal */
static bool print_again(struct sv once, struct arena *arena) {
    struct promql_options options = {.features = UINT32_MAX};
    struct expr *e;
    struct buf again = {0};
    if (promql_parse(once, &options, arena, &e, NULL) != OK) return false;
    promql_print(e, &again);
    bool same = sv_eq(once, buf_sv(&again));
    promql_free(e);
    buf_fini(&again);
    return same;
}

static void check_query(const char *file, unsigned line, const char *query, bool may_fail) {
    struct promql_options options = {.features = UINT32_MAX};
    struct prepare_params params = {0, 3600000, 60000};
    struct arena arena;
    struct err err;
    struct expr *e;
    arena_init(&arena, 0);
    queries_count++;
    if (promql_parse(sv_from(query), &options, &arena, &e, &err) != OK) {
        if (!may_fail) fail(file, line, err.msg, query);
        arena_fini(&arena);
        return;
    }
    struct buf once = {0}, pretty = {0};
    promql_print(e, &once);
    promql_pretty(e, &pretty);
    if (!print_again(buf_sv(&once), &arena)) fail(file, line, "printed form differs", query);
    struct expr *other;
    if (promql_parse(buf_sv(&pretty), &options, &arena, &other, &err) != OK)
        fail(file, line, "pretty form does not parse", query);
    else
        promql_free(other);
    struct prepared prepared;
    if (promql_prepare(e, &params, &arena, &prepared, &err) == OK)
        prepared_count++;
    else if (!may_fail)
        fail(file, line, err.msg, query);
    promql_free(e);
    buf_fini(&once);
    buf_fini(&pretty);
    arena_fini(&arena);
}

static char *skip_words(char *s, unsigned count) {
    for (; s != NULL && count > 0; count--) {
        s = strchr(s, ' ');
        while (s != NULL && *s == ' ')
            s++;
    }
    return s;
}

/* "eval[_fail|...] instant [at T] QUERY" or "eval range from A to B step C QUERY", else NULL */
static char *query_of(char *line) {
    if (strncmp(line, "eval", 4) != 0) return NULL;
    char *rest = skip_words(line, 1);
    if (rest == NULL) return NULL;
    if (strncmp(rest, "instant ", 8) == 0) {
        rest = skip_words(rest, 1);
        return strncmp(rest, "at ", 3) == 0 ? skip_words(rest, 2) : rest;
    }
    return strncmp(rest, "range ", 6) == 0 ? skip_words(rest, 7) : NULL;
}

static void check_file(const char *path) {
    FILE *f = fopen(path, "r");
    char *line = NULL, *query = NULL;
    size_t size = 0;
    unsigned number = 0, query_line = 0;
    bool may_fail = false;
    if (f == NULL) {
        fail(path, 0, "cannot be read", "");
        return;
    }
    for (ssize_t n; (n = getline(&line, &size, f)) >= 0 || query != NULL;) {
        number++;
        if (n < 0) line[0] = '\0';
        line[strcspn(line, "\r\n")] = '\0';
        char *s = line + strspn(line, " \t");
        for (char *tab = s; (tab = strchr(tab, '\t')) != NULL;)
            *tab = ' ';
        if (query != NULL && strncmp(s, "expect fail", 11) == 0) may_fail = true;
        char *next = query_of(s);
        if (query != NULL && (next != NULL || s[0] == '\0')) {
            check_query(path, query_line, query, may_fail);
            free(query);
            query = NULL;
        }
        if (next == NULL) continue;
        query = strdup(next);
        query_line = number;
        may_fail = strncmp(s, "eval_fail", 9) == 0;
    }
    free(line);
    fclose(f);
}

int main(int argc, char **argv) {
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    if (d == NULL) {
        printf("skipped: no conformance data in %s\n", argc > 1 ? argv[1] : "(no directory given)");
        return 77;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name);
        char path[4096];
        if (len < 5 || strcmp(e->d_name + len - 5, ".test") != 0) continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], e->d_name);
        check_file(path);
    }
    closedir(d);
    printf("%u queries, %u prepared, %u failures\n", queries_count, prepared_count, failures_count);
    return failures_count > 0 || queries_count < 100;
}
