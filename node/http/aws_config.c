/* SPDX-License-Identifier: Apache-2.0 */
#include "node/http/aws_config.h"

#include <arpa/inet.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "node/base/duration.h"

enum { REGION_BYTES_MAX = 40, KEY_BYTES_MAX = 16384, TOKEN_FILE_BYTES_MAX = 65536 };

static enum status no_memory(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "AWS: out of memory");
}

static const char *aws_getenv(aws_env env, const char *name) {
    const char *value = env(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* -- region and endpoint */

enum status aws_region(aws_env env, struct sv *out, struct err *err) {
    const char *variable = "AWS_REGION", *text = aws_getenv(env, variable);
    if (text == NULL) text = aws_getenv(env, variable = "AWS_DEFAULT_REGION");
    if (text == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "AWS: no region: AWS_REGION is not set, nor is AWS_DEFAULT_REGION");
    struct sv region = sv_from(text);
    bool ok = region.len <= REGION_BYTES_MAX;
    for (size_t i = 0; i < region.len && ok; i++) {
        char c = region.ptr[i];
        ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i > 0);
    }
    if (!ok)
        return err_set(err, ERR_PARSE, 0, "AWS: %s is \"%.60s\", which is no region", variable,
                       text);
    *out = region;
    return OK;
}

static bool url_part(CURLU *url, CURLUPart part, char **out) {
    *out = NULL;
    return curl_url_get(url, part, out, 0) == CURLUE_OK;
}

/* http or https, a host, perhaps a port; a path only with_path. */
static enum status url_check(const char *variable, const char *text, bool with_path,
                             struct err *err) {
    CURLU *url = curl_url();
    char *scheme = NULL, *path = NULL, *query = NULL;
    if (url == NULL) return no_memory(err);
    bool ok = curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
              url_part(url, CURLUPART_SCHEME, &scheme) && url_part(url, CURLUPART_PATH, &path) &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    if (ok && !with_path) ok = strcmp(path, "/") == 0 && !url_part(url, CURLUPART_QUERY, &query);
    curl_free(scheme);
    curl_free(path);
    curl_free(query);
    curl_url_cleanup(url);
    if (ok) return OK;
    return err_set(err, ERR_PARSE, 0, "AWS: %s is \"%.200s\", want %s", variable, text,
                   with_path ? "a URL of http:// or https://" : "http[s]://host[:port]");
}

enum status aws_endpoint(aws_env env, const struct aws_service *service, struct sv region,
                         struct buf *out, struct err *err) {
    const char *variable = service->endpoint_variable, *url = aws_getenv(env, variable);
    if (url == NULL) url = aws_getenv(env, variable = "AWS_ENDPOINT_URL");
    if (url == NULL) {
        buf_printf(out, "https://%s%s.%.*s.amazonaws.com%s", service->host_prefix, service->name,
                   SV_ARG(region), sv_starts(region, SV("cn-")) ? ".cn" : "");
    } else {
        TRY(url_check(variable, url, false, err));
        struct sv text = sv_from(url);
        buf_put_sv(out, sv_ends(text, SV("/")) ? sv_take(text, text.len - 1) : text);
    }
    return buf_cstr(out) != NULL ? OK : no_memory(err);
}

/* -- credentials */

void aws_credentials_fini(struct aws_credentials *c) {
    struct buf *all[] = {&c->key_id, &c->secret, &c->token};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->ptr != NULL) OPENSSL_cleanse(all[i]->ptr, all[i]->len);
        buf_fini(all[i]);
    }
    c->expires_ms = 0;
}

/* A value that goes into a header. */
static bool is_plain(struct sv s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '!' || s.ptr[i] > '~') return false;
    return s.len <= KEY_BYTES_MAX;
}

/* names: of key id, secret and token, as an error calls them. */
static enum status credentials_make(const struct sv values[3], const char *const names[3],
                                    int64_t expires_ms, struct aws_credentials *out,
                                    struct err *err) {
    for (size_t i = 0; i < 3; i++) {
        if (values[i].len == 0 && i < 2)
            return err_set(err, ERR_PARSE, 0, "AWS credentials: there is no %s", names[i]);
        if (!is_plain(values[i]))
            return err_set(err, ERR_PARSE, 0,
                           "AWS credentials: %s has characters it may not have, or too many",
                           names[i]);
    }
    struct aws_credentials c = {.expires_ms = expires_ms};
    buf_put_sv(&c.key_id, values[0]);
    buf_put_sv(&c.secret, values[1]);
    buf_put_sv(&c.token, values[2]);
    if (c.key_id.failed || c.secret.failed || c.token.failed) {
        aws_credentials_fini(&c);
        return no_memory(err);
    }
    *out = c;
    return OK;
}

enum status aws_credentials_of_env(aws_env env, bool *out_found, struct aws_credentials *out,
                                   struct err *err) {
    static const char *const names[3] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                         "AWS_SESSION_TOKEN"};
    struct sv values[3];
    for (size_t i = 0; i < 3; i++)
        values[i] = sv_from(aws_getenv(env, names[i]));
    if (values[0].len == 0) {
        *out_found = false;
        return OK;
    }
    if (values[1].len == 0)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "AWS credentials: AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not");
    TRY(credentials_make(values, names, INT64_MAX, out, err));
    *out_found = true;
    return OK;
}

static struct sv text_of(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return sv_make(json_string_value(v), json_string_length(v));
}

static enum status credentials_of_json(const json_t *j, struct aws_credentials *out,
                                       struct err *err) {
    static const char *const names[3] = {"AccessKeyId", "SecretAccessKey", "Token"};
    struct sv values[3], code = text_of(j, "Code"), expires = text_of(j, "Expiration");
    int64_t expires_ms = INT64_MAX;
    if (!json_is_object(j))
        return err_set(err, ERR_PARSE, 0, "AWS credentials: the answer is no JSON object");
    if (code.len > 0 && !sv_eq(code, SV("Success")))
        return err_set(err, ERR_UNAVAILABLE, 0, "AWS credentials: %.*s: %.*s",
                       SV_ARG(sv_take(code, 100)), SV_ARG(sv_take(text_of(j, "Message"), 200)));
    for (size_t i = 0; i < 3; i++)
        values[i] = text_of(j, names[i]);
    if (expires.len > 0 && !civil_parse_rfc3339(expires, &expires_ms))
        return err_set(err, ERR_PARSE, 0, "AWS credentials: Expiration is \"%.*s\", no time",
                       SV_ARG(sv_take(expires, 60)));
    return credentials_make(values, names, expires_ms, out, err);
}

enum status aws_credentials_parse(struct sv json, struct aws_credentials *out, struct err *err) {
    json_error_t bad;
    json_t *j = json_loadb(json.len == 0 ? "" : json.ptr, json.len, JSON_REJECT_DUPLICATES, &bad);
    if (j == NULL) /* its text may quote the secret */
        return err_set(err, ERR_PARSE, 0, "AWS credentials: the answer is no JSON, line %d",
                       bad.line);
    enum status status = credentials_of_json(j, out, err);
    json_decref(j);
    return status;
}

/* -- a container's source of credentials */

static bool host_is_near(const char *host) {
    static const char *const near[] = {"localhost", "169.254.170.2", "169.254.170.23",
                                       "[fd00:ec2::23]", "[::1]"};
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) return true;
    for (size_t i = 0; i < ARRAY_LEN(near); i++)
        if (strcmp(host, near[i]) == 0) return true;
    return false;
}

static enum status full_uri_check(const char *text, struct err *err) {
    static const char variable[] = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    TRY(url_check(variable, text, true, err));
    CURLU *url = curl_url();
    char *scheme = NULL, *host = NULL;
    bool ok = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
              url_part(url, CURLUPART_SCHEME, &scheme) && url_part(url, CURLUPART_HOST, &host) &&
              (strcmp(scheme, "https") == 0 || host_is_near(host));
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(url);
    if (ok) return OK;
    return err_set(err, ERR_PARSE, 0,
                   "AWS: %s is \"%.200s\": without TLS only this machine, 169.254.170.2, "
                   "169.254.170.23 and fd00:ec2::23 are asked for credentials",
                   variable, text);
}

static enum status token_find(aws_env env, struct disk *disk, struct buf *out, struct err *err) {
    const char *variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    const char *path = aws_getenv(env, variable), *text;
    if (path != NULL) {
        if (disk_read_file(disk, path, TOKEN_FILE_BYTES_MAX, out, err) != OK) {
            err_prefix(err, "AWS: %s", variable);
            return err->code;
        }
    } else {
        text = aws_getenv(env, variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN");
        buf_put_sv(out, sv_from(text));
    }
    for (size_t i = 0; i < out->len; i++)
        if ((unsigned char)out->ptr[i] < ' ' || out->ptr[i] == 0x7f)
            return err_set(err, ERR_PARSE, 0,
                           "AWS: %s: a line end or control character at byte %zu: no header has "
                           "that",
                           variable, i + 1);
    return out->failed ? no_memory(err) : OK;
}

enum status aws_container_find(aws_env env, struct disk *disk, bool *out_found, struct buf *out_url,
                               struct buf *out_token, struct err *err) {
    const char *relative = aws_getenv(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = aws_getenv(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative == NULL && full == NULL) {
        *out_found = false;
        return OK;
    }
    if (relative != NULL && relative[0] != '/')
        return err_set(err, ERR_PARSE, 0,
                       "AWS: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is \"%.200s\", want a path",
                       relative);
    if (relative == NULL) TRY(full_uri_check(full, err));
    buf_printf(out_url, "%s%s", relative != NULL ? "http://169.254.170.2" : "",
               relative != NULL ? relative : full);
    if (buf_cstr(out_url) == NULL) return no_memory(err);
    TRY(token_find(env, disk, out_token, err));
    *out_found = true;
    return OK;
}
