/* SPDX-License-Identifier: Apache-2.0 */
/* {"Instances":[{"InstanceId":..,"Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.1",..},..},..],..}
 * and of what failed {"__type":"com.amazonaws..#ThrottlingException","message":".."}. */
#include "ring/cloudmap.h"

#include <arpa/inet.h>
#include <string.h>

#include <jansson.h>

#include "node/base/num.h"

enum { SAID_BYTES_MAX = 200 };

void cloudmap_request_put(struct sv name, struct buf *out) {
    struct sv space, service = sv_cut(name, '/', &space);
    buf_printf(out,
               "{\"NamespaceName\":\"%.*s\",\"ServiceName\":\"%.*s\",\"MaxResults\":%d,"
               "\"HealthStatus\":\"ALL\"}",
               SV_ARG(space), SV_ARG(service), CLOUDMAP_INSTANCES_MAX);
}

static struct sv text_of(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return sv_make(json_string_value(v), json_string_length(v));
}

/* -- errors of the service */

static enum status error_get(int code, struct sv body, const json_t *j, struct err *err) {
    struct sv type = text_of(j, "__type"), said = text_of(j, "message");
    size_t at;
    while (sv_find_char(type, '#', &at)) /* behind the service's own name */
        type = sv_skip(type, at + 1);
    if (said.len == 0) said = text_of(j, "Message");
    if (type.len > 0)
        return err_set(err, ERR_UNAVAILABLE, 0, "Cloud Map answered %d: %.*s%s%.*s", code,
                       SV_ARG(sv_take(type, SAID_BYTES_MAX)), said.len > 0 ? ": " : "",
                       SV_ARG(sv_take(said, SAID_BYTES_MAX)));
    char text[SAID_BYTES_MAX + 1]; /* whatever it is, for one line of the log */
    size_t len = MIN(body.len, SAID_BYTES_MAX);
    for (size_t i = 0; i < len; i++)
        text[i] = body.ptr[i] >= ' ' && body.ptr[i] <= '~' ? body.ptr[i] : '?';
    text[len] = '\0';
    return err_set(err, ERR_UNAVAILABLE, 0, "Cloud Map answered %d: \"%s\"", code, text);
}

/* -- instances */

/* *out: NULL-terminated, or empty where there is none. */
static enum status attribute_get(const json_t *attributes, size_t at, const char *name,
                                 const char **out, struct err *err) {
    const json_t *v = json_object_get(attributes, name);
    if (v != NULL && !json_is_string(v))
        return err_set(err, ERR_PARSE, 0, "Cloud Map: Instances[%zu].Attributes.%s is no string",
                       at, name);
    *out = v == NULL ? "" : json_string_value(v);
    return OK;
}

static enum status instance_get(const json_t *instance, size_t at, uint16_t port,
                                struct arena *arena, struct cloudmap_instances *out,
                                struct err *err) {
    const json_t *attributes = json_object_get(instance, "Attributes");
    if (!json_is_object(attributes))
        return err_set(err, ERR_PARSE, 0, "Cloud Map: Instances[%zu].Attributes is no object", at);
    const char *v4 = "", *v6 = "", *own = "";
    TRY(attribute_get(attributes, at, "AWS_INSTANCE_IPV4", &v4, err));
    TRY(attribute_get(attributes, at, "AWS_INSTANCE_IPV6", &v6, err));
    TRY(attribute_get(attributes, at, "AWS_INSTANCE_PORT", &own, err));
    struct in6_addr ip;
    if (v4[0] != '\0' && inet_pton(AF_INET, v4, &ip) != 1)
        return err_set(err, ERR_PARSE, 0,
                       "Cloud Map: Instances[%zu].Attributes.AWS_INSTANCE_IPV4 is \"%.50s\"", at,
                       v4);
    char six[INET6_ADDRSTRLEN] = ""; /* one text for one address */
    if (v6[0] != '\0' &&
        (inet_pton(AF_INET6, v6, &ip) != 1 || inet_ntop(AF_INET6, &ip, six, sizeof six) == NULL))
        return err_set(err, ERR_PARSE, 0,
                       "Cloud Map: Instances[%zu].Attributes.AWS_INSTANCE_IPV6 is \"%.50s\"", at,
                       v6);
    uint64_t number = port;
    if (own[0] != '\0' &&
        (!num_parse_u64(sv_from(own), &number) || number == 0 || number > UINT16_MAX))
        return err_set(err, ERR_PARSE, 0,
                       "Cloud Map: Instances[%zu].Attributes.AWS_INSTANCE_PORT is \"%.50s\"", at,
                       own);
    if (v4[0] == '\0' && v6[0] == '\0') {
        out->unusable++;
        return OK;
    }
    const char *text = v4[0] != '\0' ? arena_printf(arena, "%s:%u", v4, (unsigned)number)
                                     : arena_printf(arena, "[%s]:%u", six, (unsigned)number);
    if (text == NULL) return err_set(err, ERR_NOMEM, 0, "Cloud Map: out of memory");
    out->addrs[out->count++] = sv_from(text);
    return OK;
}

static enum status instances_get(const json_t *j, uint16_t port, struct arena *arena,
                                 struct cloudmap_instances *out, struct err *err) {
    const json_t *list = json_object_get(j, "Instances");
    if (!json_is_array(list))
        return err_set(err, ERR_PARSE, 0, "Cloud Map: the answer has no list of Instances");
    size_t count = json_array_size(list);
    if (count > CLOUDMAP_INSTANCES_MAX)
        return err_set(err, ERR_LIMIT, 0, "Cloud Map: %zu instances, at most %d", count,
                       CLOUDMAP_INSTANCES_MAX);
    struct cloudmap_instances all = {.addrs = arena_array(arena, count, sizeof *all.addrs)};
    if (all.addrs == NULL) return err_set(err, ERR_NOMEM, 0, "Cloud Map: out of memory");
    for (size_t i = 0; i < count; i++)
        TRY(instance_get(json_array_get(list, i), i, port, arena, &all, err));
    *out = all;
    return OK;
}

enum status cloudmap_answer_get(int code, struct sv body, uint16_t port, struct arena *arena,
                                struct cloudmap_instances *out, struct err *err) {
    json_error_t bad;
    json_t *j = body.len == 0 ? NULL : json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &bad);
    enum status status;
    if (code != 200)
        status = error_get(code, body, j, err);
    else if (body.len == 0)
        status = err_set(err, ERR_PARSE, 0, "Cloud Map: the answer is empty");
    else if (j == NULL)
        status = err_set(err, ERR_PARSE, 0, "Cloud Map: the answer is no JSON: line %d: %s",
                         bad.line, bad.text);
    else
        status = instances_get(j, port, arena, out, err);
    json_decref(j);
    return status;
}
