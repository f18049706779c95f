/* SPDX-License-Identifier: Apache-2.0 */
#include "node/http/ecs.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>

#include "node/base/buf.h"

enum { TRY_MS = 2000, TRIES = 3, ANSWER_BYTES_MAX = 1 << 20 };

/* -- the answer */

static struct sv text_of(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return sv_make(json_string_value(v), json_string_length(v));
}

/* The first address of the first interface that is the task's own; containers share it. */
static struct sv task_ip(const json_t *task) {
    const json_t *container, *network;
    size_t i, k;
    json_array_foreach(json_object_get(task, "Containers"), i, container) {
        json_array_foreach(json_object_get(container, "Networks"), k, network) {
            const json_t *ips = json_object_get(network, "IPv4Addresses");
            const json_t *ip = json_array_get(ips, 0);
            if (sv_eq(text_of(network, "NetworkMode"), SV("awsvpc")) && json_is_string(ip))
                return sv_make(json_string_value(ip), json_string_length(ip));
        }
    }
    return (struct sv){0};
}

enum status ecs_task_parse(struct sv json, struct ecs_task *out, struct err *err) {
    json_error_t bad;
    json_t *j = json_loadb(json.len == 0 ? "" : json.ptr, json.len, JSON_REJECT_DUPLICATES, &bad);
    struct ecs_task t = {0};
    struct in_addr v4;
    enum status status = OK;
    struct sv ip = task_ip(j), zone = text_of(j, "AvailabilityZone");
    if (j == NULL || !json_is_object(j))
        status = err_set(err, ERR_PARSE, 0, "task metadata: no JSON object%s%s",
                         j == NULL ? ": " : "", j == NULL ? bad.text : "");
    else if (ip.len >= sizeof t.ip || zone.len >= sizeof t.zone)
        status = err_set(err, ERR_PARSE, 0, "task metadata: an address or a zone is too long");
    if (status == OK) {
        snprintf(t.ip, sizeof t.ip, "%.*s", SV_ARG(ip));
        snprintf(t.zone, sizeof t.zone, "%.*s", SV_ARG(zone));
        if (ip.len > 0 && inet_pton(AF_INET, t.ip, &v4) != 1)
            status = err_set(err, ERR_PARSE, 0, "task metadata: IPv4Addresses has \"%s\"", t.ip);
    }
    if (status == OK) *out = t;
    json_decref(j);
    return status;
}

/* -- the question */

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx) {
    struct buf *answer = ctx;
    buf_put(answer, ptr, size * count);
    return answer->failed ? 0 : size * count;
}

static enum status ask_once(const char *url, struct buf *answer, struct err *err) {
    char reason[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURL *curl = curl_easy_init();
    buf_clear(answer);
    if (curl == NULL) return err_set(err, ERR_NOMEM, 0, "%s: out of memory", url);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TRY_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(curl);
    if (rc != CURLE_OK)
        return err_set(err, ERR_UNAVAILABLE, 0, "%s: %s", url,
                       reason[0] != '\0' ? reason : curl_easy_strerror(rc));
    if (code == 200) return OK;
    return err_set(err, ERR_UNAVAILABLE, 0, "%s answered %ld", url, code);
}

enum status ecs_task_get(const char *uri, struct ecs_task *out, struct err *err) {
    struct buf url = {0}, answer = {.limit_bytes = ANSWER_BYTES_MAX};
    buf_printf(&url, "%s/task", uri);
    enum status status = buf_cstr(&url) == NULL
                             ? err_set(err, ERR_NOMEM, 0, "task metadata: out of memory")
                             : ERR_UNAVAILABLE;
    for (int i = 0; i < TRIES && status == ERR_UNAVAILABLE; i++)
        status = ask_once(url.ptr, &answer, err);
    if (status == OK) status = ecs_task_parse(buf_sv(&answer), out, err);
    buf_fini(&url);
    buf_fini(&answer);
    return status;
}
