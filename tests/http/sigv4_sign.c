/* SPDX-License-Identifier: Apache-2.0 */
/* Signs what it reads: one JSON object a line, and as many lines with the headers to add. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/http/sigv4.h"

static struct sv text(const json_t *j, const char *name) {
    const json_t *v = json_object_get(j, name);
    if (!json_is_string(v)) abort();
    return sv_make(json_string_value(v), json_string_length(v));
}

static void sign(const json_t *j) {
    static struct http_header headers[SIGV4_SIGNED_MAX];
    struct http_header add[SIGV4_HEADERS_MAX];
    size_t count = 0, i;
    json_t *pair, *answer = json_array();
    json_array_foreach(json_object_get(j, "headers"), i, pair) {
        headers[i].name = sv_from(json_string_value(json_array_get(pair, 0)));
        headers[i].value = sv_from(json_string_value(json_array_get(pair, 1)));
    }
    struct sigv4_request r = {.method = text(j, "method"),
                              .host = text(j, "host"),
                              .path = text(j, "path"),
                              .query = text(j, "query"),
                              .headers = headers,
                              .headers_count = i,
                              .body = text(j, "body")};
    struct sigv4_credentials c = {text(j, "key_id"), text(j, "secret"), text(j, "token")};
    struct sigv4_scope s = {text(j, "region"), text(j, "service"),
                            json_integer_value(json_object_get(j, "unix_ms"))};
    struct arena arena;
    struct err err;
    arena_init(&arena, 1 << 20);
    if (sigv4_sign(&r, &c, &s, &arena, add, &count, &err) != OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (i = 0; i < count; i++)
        json_array_append_new(answer, json_pack("[s#, s#]", add[i].name.ptr, (int)add[i].name.len,
                                                add[i].value.ptr, (int)add[i].value.len));
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(answer);
    arena_fini(&arena);
}

int main(void) {
    static char line[1 << 20];
    while (fgets(line, sizeof line, stdin) != NULL) {
        json_error_t e;
        json_t *j = json_loads(line, JSON_ALLOW_NUL, &e);
        if (j == NULL) {
            fprintf(stderr, "%s\n", e.text);
            return 1;
        }
        sign(j);
        json_decref(j);
    }
    return 0;
}
