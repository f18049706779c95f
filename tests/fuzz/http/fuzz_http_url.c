/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding and forms: what decodes encodes back to something that decodes to the same; a
 * body and a query string read the same. Input: a form. */
#include <assert.h>

#include "node/http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct sv text, bool form, struct arena *arena) {
    struct sv plain, again;
    struct err err = {0};
    if (url_decode(text, form, arena, &plain, &err) != OK) {
        assert(sv_starts(sv_from(err.msg), SV("invalid URL escape \"%")));
        return;
    }
    assert(plain.len <= text.len);
    struct buf encoded = {0};
    for (size_t i = 0; i < plain.len; i++)
        buf_printf(&encoded, "%%%02x", (unsigned char)plain.ptr[i]);
    assert(url_decode(buf_sv(&encoded), !form, arena, &again, &err) == OK && sv_eq(plain, again));
    buf_fini(&encoded);
}

static size_t form_count(struct arena *arena, struct sv query, struct sv body, struct sv name,
                         enum status *out) {
    static struct http_header type = {SV_INIT("content-type"),
                                      SV_INIT("application/x-www-form-urlencoded")};
    struct http_exchange x = {.req = {.method = HTTP_POST,
                                      .headers = &type,
                                      .headers_count = 1,
                                      .raw_query = query,
                                      .body = body,
                                      .arena = arena}};
    struct sv *values, first;
    size_t count = 0;
    bool found = http_form_get(&x.req, name, &first);
    *out = http_form_all(&x.req, name, &values, &count, NULL);
    assert(*out != OK || found == (count > 0));
    assert(count == 0 || sv_eq(first, values[0]));
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv input = sv_make(data, size);
    struct arena arena;
    arena_init(&arena, 16 << 20);
    round_trip(input, true, &arena);
    round_trip(input, false, &arena);
    enum status as_query, as_body;
    size_t in_query = form_count(&arena, input, (struct sv){0}, SV("a"), &as_query);
    size_t in_body = form_count(&arena, (struct sv){0}, input, SV("a"), &as_body);
    assert(in_query == in_body && as_query == as_body);
    struct sv path, query;
    struct err err;
    if (size > 0 && http_target_split(input, &arena, &path, &query, &err) == OK) {
        size_t nul;
        assert(path.len > 0 && !sv_find_char(path, '\0', &nul));
    }
    arena_fini(&arena);
    return 0;
}
