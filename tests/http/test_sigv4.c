/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures that AWS published: aws-sig-v4-test-suite, and the example of the IAM user guide. */
#include <criterion/criterion.h>

#include "node/http/sigv4.h"

struct vector {
    const char *method, *path, *query;
    struct http_header headers[3];
    const char *body, *signature;
};
static const struct vector vectors[] = {
    {"GET",
     "/",
     "",
     {{{0}, {0}}},
     "",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"}, /* get-vanilla */
    {"GET",
     "/example/..",
     "",
     {{{0}, {0}}},
     "",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"}, /* get-relative */
    {"GET",
     "/",
     "Param2=value2&Param1=value1",
     {{{0}, {0}}},
     "",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"}, /* get-vanilla-query-...
                                                                           */
    {"POST",
     "/",
     "",
     {{{0}, {0}}},
     "",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"}, /* post-vanilla */
    {"GET",
     "/",
     "",
     {{SV_INIT("My-Header1"), SV_INIT(" value1")},
      {SV_INIT("My-Header2"), SV_INIT(" \"a   b   c\"")}},
     "",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"}, /* get-header-value-trim
                                                                           */
    {"POST",
     "/",
     "",
     {{SV_INIT("Content-Type"), SV_INIT("application/x-www-form-urlencoded")}},
     "Param1=value1",
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"}, /* post-x-www-form-... */
};

static struct sv authorization(const struct sigv4_request *r, const struct sigv4_scope *scope,
                               struct sv token, struct arena *arena) {
    struct http_header out[SIGV4_HEADERS_MAX];
    size_t count = 0;
    struct err err = {0};
    struct sigv4_credentials c = {SV("AKIDEXAMPLE"), SV("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                                  token};
    cr_assert_eq(sigv4_sign(r, &c, scope, arena, out, &count, &err), OK, "%s", err.msg);
    cr_assert_eq(count, token.len > 0 ? 3 : 2);
    cr_assert(sv_eq(out[0].name, SV("X-Amz-Date")));
    cr_assert(sv_eq(out[0].value, SV("20150830T123600Z")));
    cr_assert(sv_eq(out[count - 1].name, SV("Authorization")));
    return out[count - 1].value;
}

static const struct sigv4_scope scope_of_suite = {SV_INIT("us-east-1"), SV_INIT("service"),
                                                  INT64_C(1440938160000)};

Test(sigv4, published_signatures) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        size_t headers = 0;
        while (headers < 3 && v->headers[headers].name.len > 0)
            headers++;
        struct sigv4_request r = {.method = sv_from(v->method),
                                  .host = SV("example.amazonaws.com"),
                                  .path = sv_from(v->path),
                                  .query = sv_from(v->query),
                                  .headers = v->headers,
                                  .headers_count = headers,
                                  .body = sv_from(v->body)};
        struct sv got = authorization(&r, &scope_of_suite, (struct sv){0}, &arena);
        cr_expect(sv_ends(got, sv_from(v->signature)), "%zu: %.*s", i, SV_ARG(got));
    }
    arena_fini(&arena);
}

Test(sigv4, example_of_the_user_guide) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct http_header type = {SV("content-type"),
                               SV("application/x-www-form-urlencoded; charset=utf-8")};
    struct sigv4_request r = {.method = SV("GET"),
                              .host = SV("iam.amazonaws.com"),
                              .path = SV("/"),
                              .query = SV("Action=ListUsers&Version=2010-05-08"),
                              .headers = &type,
                              .headers_count = 1};
    struct sigv4_scope scope = {SV("us-east-1"), SV("iam"), scope_of_suite.unix_ms};
    struct sv got = authorization(&r, &scope, (struct sv){0}, &arena);
    struct sv want =
        SV("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
           "SignedHeaders=content-type;host;x-amz-date, "
           "Signature="
           "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    cr_expect(sv_eq(got, want), "%.*s", SV_ARG(got));
    arena_fini(&arena);
}

Test(sigv4, limits_are_told) {
    struct arena arena;
    static struct http_header many[SIGV4_SIGNED_MAX + 1];
    struct http_header out[SIGV4_HEADERS_MAX];
    size_t count = 77;
    struct err err;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct http_header){SV("x-many"), SV("1")};
    struct sigv4_request r = {.method = SV("GET"), .host = SV("a"), .path = SV("/")};
    struct sigv4_credentials c = {SV("a"), SV("b"), {0}};
    struct sigv4_scope scope = scope_of_suite;
    r.headers = many;
    r.headers_count = ARRAY_LEN(many);
    cr_expect_eq(sigv4_sign(&r, &c, &scope, &arena, out, &count, &err), ERR_LIMIT);
    r.headers_count = 0;
    scope.unix_ms = -1;
    cr_expect_eq(sigv4_sign(&r, &c, &scope, &arena, out, &count, &err), ERR_PARSE);
    cr_expect_eq(count, 77, "untouched on failure");
    arena_fini(&arena);
}
