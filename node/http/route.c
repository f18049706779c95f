/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "node/http/internal.h"

/* '*' stands for one non-empty segment, "**" at the end for any rest; decoded paths are matched as
 * they are. */
static bool path_matches(struct sv pattern, struct sv path, struct sv *out_param) {
    size_t star;
    *out_param = (struct sv){0};
    if (!sv_find_char(pattern, '*', &star)) return sv_eq(pattern, path);
    if (!sv_starts(path, sv_take(pattern, star))) return false;
    struct sv rest = sv_skip(path, star);
    struct sv tail = sv_skip(pattern, star + 1);
    if (sv_eq(tail, SV("*"))) {
        *out_param = rest;
        return true;
    }
    size_t end;
    if (!sv_find_char(rest, '/', &end)) end = rest.len;
    if (end == 0 || !sv_eq(sv_skip(rest, end), tail)) return false;
    *out_param = sv_take(rest, end);
    return true;
}

const struct http_route *http_route_find(const struct http_route *routes, size_t count,
                                         struct sv path, unsigned method, struct sv *out_param,
                                         unsigned *out_allowed) {
    *out_allowed = 0;
    for (size_t i = 0; i < count; i++) {
        struct sv param;
        if (!path_matches(sv_from(routes[i].path), path, &param)) continue;
        *out_allowed |= routes[i].methods;
        if ((routes[i].methods & method) == 0) continue;
        *out_param = param;
        return &routes[i];
    }
    *out_param = (struct sv){0};
    return NULL;
}

void http_methods_put(struct buf *b, unsigned methods) {
    static const struct {
        unsigned method;
        struct sv text;
    } names[] = {
        {HTTP_DELETE, SV_INIT("DELETE")}, {HTTP_GET, SV_INIT("GET")},
        {HTTP_HEAD, SV_INIT("HEAD")},     {HTTP_OPTIONS, SV_INIT("OPTIONS")},
        {HTTP_POST, SV_INIT("POST")},     {HTTP_PUT, SV_INIT("PUT")},
    };
    bool first = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if ((methods & names[i].method) == 0) continue;
        if (!first) buf_put_sv(b, SV(", "));
        buf_put_sv(b, names[i].text);
        first = false;
    }
}
