/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "node/base/attr.h"
#include "query/promql/parser.h"
#include "query/promql/prepare.h"
#include "query/promql/printer.h"
#include "tests/query/promql/tree_cases.h"
#include "tests/query/promql/tree_text.h"

static const struct promql_options all_features = {.features = UINT32_MAX};
static const struct prepare_params range_params = {1000500, 4600750, 15000};
static const struct prepare_params instant_params = {1000500, 1000500, 0};

static struct arena arena;
static struct err err;

static void setup(void) {
    arena_init(&arena, 0);
}
static void teardown(void) {
    arena_fini(&arena);
}
TestSuite(prepare, .init = setup, .fini = teardown);

static struct expr *must_parse(const char *s) {
    struct expr *e = NULL;
    cr_assert(promql_parse(sv_from(s), &all_features, &arena, &e, &err) == OK, "%s: %s", s,
              err.msg);
    return e;
}

static char *tree_text(const struct expr *e) {
    struct buf b = {0};
    tree_put_prepared(e, &b);
    char *s = arena_strdup(&arena, buf_sv(&b));
    cr_assert(s != NULL);
    buf_fini(&b);
    return s;
}

Test(prepare, trees_are_those_of_prometheus) {
    for (size_t i = 0; i < ARRAY_LEN(prepare_cases); i++) {
        const struct prepare_case *c = &prepare_cases[i];
        struct expr *e = must_parse(c->text);
        struct prepared p;
        enum status rc =
            promql_prepare(e, c->instant ? &instant_params : &range_params, &arena, &p, &err);
        cr_expect(rc == c->status, "%s: %s", c->text, status_name(rc));
        const char *got = rc == OK ? tree_text(p.root) : err.msg;
        cr_expect_str_eq(got, c->tree, "%s\n  gives  %s\n  wanted %s", c->text, got, c->tree);
        promql_free(e);
    }
}

static void check_numbers(const struct prepared *p) {
    cr_assert(p->nodes[0] == p->root);
    for (uint32_t i = 0; i < p->nodes_count; i++) {
        const struct expr *e = p->nodes[i];
        cr_assert(e->number == i);
        uint32_t next = i + 1;
        for (size_t c = 0; c < e->children_count; c++) {
            cr_assert(e->children[c]->number >= next, "preorder");
            next = e->children[c]->number + 1;
        }
        cr_assert(e->children_count == 0 || e->children[0]->number == i + 1);
    }
    for (uint32_t i = 0; i < p->leaves_count; i++) {
        cr_assert(p->leaves[i]->kind == EXPR_SELECTOR && p->leaves[i]->u.selector.leaf == i);
        cr_assert(i == 0 || p->leaves[i - 1]->number < p->leaves[i]->number);
    }
}

Test(prepare, nodes_and_selectors_are_numbered_in_preorder) {
    struct expr *e = must_parse("topk(scalar(a), max_over_time(b[5m:1m]) + rate(c[5m] @ 3)) or "
                                "sum by (x) (b) / -c");
    struct prepared p;
    cr_assert(promql_prepare(e, &range_params, &arena, &p, &err) == OK, "%s", err.msg);
    check_numbers(&p);
    promql_free(e);
}

Test(prepare, twice_gives_the_same_and_the_parsed_tree_stays_as_it_is) {
    static const char s[] = "sum((foo @ start() offset (1m*2))) + max_over_time(bar[1m*2:step()*2])"
                            " + absent((foo @ end())) * start()";
    struct expr *e = must_parse(s);
    struct buf before = {0}, after = {0};
    promql_put_json(e, &before);
    struct prepared first, second, instant;
    cr_assert(promql_prepare(e, &range_params, &arena, &first, &err) == OK, "%s", err.msg);
    char *text = tree_text(first.root);
    cr_assert(promql_prepare(e, &(struct prepare_params){0, 60000, 1000}, &arena, &instant, &err) ==
              OK);
    cr_assert(promql_prepare(e, &range_params, &arena, &second, &err) == OK);
    cr_assert_str_eq(tree_text(first.root), text);
    cr_assert_str_eq(tree_text(second.root), text);
    cr_assert_str_neq(tree_text(instant.root), text);
    cr_assert(first.nodes_count == second.nodes_count);
    check_numbers(&first);
    promql_put_json(e, &after);
    cr_assert(sv_eq(buf_sv(&before), buf_sv(&after)));
    buf_fini(&before);
    buf_fini(&after);
    promql_free(e);
}

Test(prepare, a_prepared_tree_prints_like_its_text_where_nothing_was_folded) {
    struct expr *e = must_parse("sum by (a) (rate(foo[1m*2] @ start())) + 1");
    struct prepared p;
    cr_assert(promql_prepare(e, &range_params, &arena, &p, &err) == OK);
    struct buf b = {0};
    promql_print(p.root, &b);
    cr_assert_str_eq(buf_cstr(&b), "sum by (a) (rate(foo[1m * 2] @ start())) + 1");
    buf_fini(&b);
    promql_free(e);
}

Test(prepare, no_memory_is_an_error) {
    struct expr *e = must_parse("a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p");
    struct arena small;
    struct prepared p;
    arena_init(&small, 4096);
    cr_assert(promql_prepare(e, &range_params, &small, &p, &err) == ERR_NOMEM);
    arena_fini(&small);
    promql_free(e);
}
