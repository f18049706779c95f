/* SPDX-License-Identifier: Apache-2.0 */
/* Items and codec of lists. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "query/gather/list.h"
#include "storage/labels.h"

static void add(struct list_items *items, struct sv s) {
    struct err err;
    cr_assert_eq(list_items_add(items, s, &err), OK);
}

Test(list, items_are_unique_and_sorted_bytewise) {
    struct list_items items;
    list_items_init(&items);
    const char *in[] = {"b", "a", "", "\xc3\xa9", "B", "a", "ab", "b", ""};
    const char *expected[] = {"", "B", "a", "ab", "b", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        add(&items, sv_from(in[i]));
    list_items_finish(&items, GATHER_LABEL_VALUES, 0);
    cr_assert_eq(items.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        cr_expect(sv_eq(items.at[i], sv_from(expected[i])), "%zu", i);
    list_items_fini(&items);
}

Test(list, many_items_survive_growing) {
    struct list_items items;
    list_items_init(&items);
    char text[32];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20000; i++) {
            snprintf(text, sizeof text, "%05d", (i * 7919) % 20000);
            add(&items, sv_from(text));
        }
    list_items_finish(&items, GATHER_LABEL_NAMES, 0);
    cr_assert_eq(items.count, 20000);
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "%05d", i);
        cr_assert(sv_eq(items.at[i], sv_from(text)), "%d", i);
    }
    list_items_fini(&items);
}

static struct sv series(struct arena *arena, const char *a, const char *b) {
    struct label labels[] = {{SV("a"), sv_from(a)}, {SV("bb"), sv_from(b)}};
    struct buf out = {0};
    struct err err;
    cr_assert_eq(labels_encode(labels, 2, &out, &err), OK);
    struct sv copy = arena_sv(arena, buf_sv(&out));
    buf_fini(&out);
    return copy;
}

/* By labels, not by their encoding: there a longer first value would come behind everything
 * shorter. */
Test(list, series_are_sorted_by_labels) {
    struct arena arena;
    arena_init(&arena, 0);
    struct sv in[] = {series(&arena, "b", "1"), series(&arena, "a long one", "1"),
                      series(&arena, "b", ""),  series(&arena, "", "0"),
                      series(&arena, "a", "2"), series(&arena, "a", "10")};
    size_t expected[] = {5, 4, 1, 2, 0, 3};
    struct list_items items;
    list_items_init(&items);
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        add(&items, in[i]);
    list_items_finish(&items, GATHER_SERIES, 0);
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        cr_expect(sv_eq(items.at[i], in[expected[i]]), "%zu", i);
    list_items_finish(&items, GATHER_SERIES, 2);
    cr_expect_eq(items.count, 2);
    list_items_fini(&items);
    arena_fini(&arena);
}

static struct list_request sample_request(void) {
    static const struct sv selectors[] = {SV_INIT("up"), SV_INIT("{a=\"b\"}"), SV_INIT("")};
    return (struct list_request){.ask = {.kind = GATHER_LABEL_VALUES,
                                         .label = SV("job"),
                                         .selectors = selectors,
                                         .selectors_count = 3,
                                         .from_ms = INT64_MIN,
                                         .to_ms = INT64_MAX,
                                         .keep_max = 11,
                                         .timeout_ms = 120000},
                                 .shards = SV("\x01\x02\x03")};
}

Test(list, a_request_comes_through_as_it_was) {
    struct list_request in = sample_request(), out;
    struct buf b = {0};
    struct arena arena;
    struct err err;
    arena_init(&arena, 0);
    list_request_put(&in, &b);
    cr_assert_eq(list_request_get(buf_sv(&b), &arena, &out, &err), OK);
    cr_expect_eq(out.ask.kind, in.ask.kind);
    cr_expect(sv_eq(out.ask.label, in.ask.label) && sv_eq(out.shards, in.shards));
    cr_expect(out.ask.from_ms == in.ask.from_ms && out.ask.to_ms == in.ask.to_ms);
    cr_expect(out.ask.keep_max == 11 && out.ask.timeout_ms == 120000 &&
              out.ask.selectors_count == 3);
    for (size_t i = 0; i < 3; i++)
        cr_expect(sv_eq(out.ask.selectors[i], in.ask.selectors[i]));
    /* every cut, an unknown kind, a byte too much */
    for (size_t n = 0; n < b.len; n++)
        cr_expect_eq(list_request_get(sv_make(b.ptr, n), &arena, &out, &err), ERR_CORRUPT, "%zu",
                     n);
    buf_put_char(&b, 'x');
    cr_expect_eq(list_request_get(buf_sv(&b), &arena, &out, &err), ERR_CORRUPT);
    b.len--;
    b.ptr[1] = 9;
    cr_expect_eq(list_request_get(buf_sv(&b), &arena, &out, &err), ERR_CORRUPT);
    b.ptr[0] = 3;
    cr_expect_eq(list_request_get(buf_sv(&b), &arena, &out, &err), ERR_UNSUPPORTED);
    cr_expect_str_eq(err.msg, "list: request version 3, this program reads 2");
    buf_fini(&b);
    arena_fini(&arena);
}

Test(list, a_reply_comes_through_and_cuts_are_refused) {
    struct list_items in, out;
    struct buf b = {0};
    struct err err;
    list_items_init(&in);
    add(&in, SV("x"));
    add(&in, SV(""));
    add(&in, SV("yy"));
    list_reply_put(&in, &b);
    list_items_init(&out);
    cr_assert_eq(list_reply_get(buf_sv(&b), &out, &err), OK);
    cr_assert_eq(out.count, 3);
    for (size_t i = 0; i < 3; i++)
        cr_expect(sv_eq(out.at[i], in.at[i]));
    for (size_t n = 0; n < b.len; n++)
        cr_expect_eq(list_reply_get(sv_make(b.ptr, n), &out, &err), ERR_CORRUPT, "%zu", n);
    list_items_fini(&in);
    list_items_fini(&out);
    buf_fini(&b);
}

Test(list, a_selector_that_does_not_parse_is_told) {
    static const struct sv selectors[] = {SV_INIT("up"), SV_INIT("up{")};
    struct list_ask ask = {.kind = GATHER_SERIES, .selectors = selectors, .selectors_count = 2};
    struct list_query *q;
    struct err err;
    cr_expect_eq(list_query_new(&ask, &q, &err), ERR_PARSE);
    cr_expect_str_eq(err.msg, "1:4: parse error: unexpected end of input inside braces");
}
