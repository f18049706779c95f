/* SPDX-License-Identifier: Apache-2.0 */
/* Any text: an error or a tree; a tree prints to text that parses and prints the same, and can be
 * prepared. */
#include <assert.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "query/promql/parser.h"
#include "query/promql/prepare.h"
#include "query/promql/printer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct expr *parse(struct sv text, uint32_t features, struct arena *arena, struct err *err) {
    struct promql_options options = {.features = features};
    struct expr *e = NULL;
    enum status rc = promql_parse(text, &options, arena, &e, err);
    assert(rc == OK || rc == ERR_PARSE || rc == ERR_LIMIT || rc == ERR_NOMEM);
    return rc == OK ? e : NULL;
}

/* Durations below a millisecond print as 0s, as in Prometheus, and so do not parse again. */
static bool has_tiny_duration(struct sv s) {
    size_t at;
    return sv_find(s, SV("[0s"), &at) || sv_find(s, SV(":0s]"), &at);
}

/* Seconds are a double, as in Prometheus: beyond 100 days a millisecond may get lost on the way. */
static bool has_milliseconds(struct sv s) {
    for (size_t i = 0; i + 2 < s.len; i++)
        if (s.ptr[i] >= '0' && s.ptr[i] <= '9' && s.ptr[i + 1] == 'm' && s.ptr[i + 2] == 's')
            return true;
    return false;
}

static void check_print(struct sv once, struct arena *arena) {
    struct err err = {0};
    struct buf again = {0};
    struct expr *second = parse(once, UINT32_MAX, arena, &err);
    assert(second != NULL || err.code == ERR_NOMEM || has_tiny_duration(once));
    if (second == NULL) return;
    promql_print(second, &again);
    assert(sv_eq(once, buf_sv(&again)) || has_milliseconds(once));
    promql_free(second);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct err err;
    struct sv text = sv_make(data, size);
    struct prepare_params params = {-1500, 3600000, 15000};
    arena_init(&arena, 64 << 20);
    struct expr *e = parse(text, UINT32_MAX, &arena, &err);
    if (e != NULL) {
        struct buf once = {0}, other = {0};
        struct prepared prepared;
        promql_print(e, &once);
        check_print(buf_sv(&once), &arena);
        promql_pretty(e, &other);
        promql_put_json(e, &other);
        status_ignore(promql_prepare(e, &params, &arena, &prepared, &err));
        promql_free(e);
        buf_fini(&once);
        buf_fini(&other);
    }
    arena_reset(&arena);
    promql_free(parse(text, 0, &arena, &err));
    struct matcher *matchers;
    struct promql_label *labels;
    size_t count;
    if (promql_parse_selector(text, &arena, &matchers, &count, &err) == OK)
        promql_matchers_free(matchers, count);
    status_ignore(promql_parse_metric(text, &arena, &labels, &count, &err));
    arena_fini(&arena);
    return 0;
}
