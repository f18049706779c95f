/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <curl/curl.h>

#include "node/ctl/ctl.h"

enum { BODY_BYTES_MAX = 1 << 30 };

void form_put(struct buf *form, const char *name, struct sv value) {
    static const char hex[] = "0123456789ABCDEF";
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    if (form->len > 0) buf_put_char(form, '&');
    buf_put_sv(form, sv_from(name));
    buf_put_char(form, '=');
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c != '\0' && strchr(plain, c) != NULL) {
            buf_put_char(form, c);
            continue;
        }
        char escaped[3] = {'%', hex[(unsigned char)c >> 4], hex[(unsigned char)c & 15]};
        buf_put(form, escaped, sizeof escaped);
    }
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx) {
    struct buf *body = ctx;
    buf_put(body, ptr, size * count);
    return body->failed ? 0 : size * count;
}

static bool put_url(const struct http_call *call, struct buf *url) {
    struct sv server = sv_from(call->server);
    size_t at;
    if (!sv_find(server, SV("://"), &at)) buf_put_sv(url, SV("http://"));
    while (sv_ends(server, SV("/")))
        server.len--;
    buf_put_sv(url, server);
    buf_put_sv(url, sv_from(call->path));
    return buf_cstr(url) != NULL;
}

static struct curl_slist *put_headers(const struct flag_list *headers) {
    struct curl_slist *list = NULL;
    for (size_t i = 0; headers != NULL && i < headers->count; i++) {
        struct buf line = {0};
        const char *item = headers->items[i];
        size_t name = strcspn(item, ":=");
        buf_put(&line, item, name);
        buf_put_sv(&line, SV(": "));
        if (item[name] != '\0') buf_put_sv(&line, sv_from(item + name + 1));
        const char *text = buf_cstr(&line);
        struct curl_slist *more = text == NULL ? NULL : curl_slist_append(list, text);
        if (more != NULL) list = more;
        buf_fini(&line);
    }
    return list;
}

static enum status run(CURL *curl, struct http_call *call, const char *url, struct err *err) {
    char reason[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = put_headers(call->headers);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, call->timeout_s);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cairnctl/" CAIRN_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &call->body);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (call->form != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->form->len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->form->ptr == NULL ? "" : call->form->ptr);
    }
    call->body.limit_bytes = BODY_BYTES_MAX;
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &call->code);
    curl_slist_free_all(headers);
    if (rc == CURLE_OK) return OK;
    enum status st = rc == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT
                     : rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL
                         ? ERR_PARSE
                         : ERR_UNAVAILABLE;
    return err_set(err, st, 0, "%s: %s", url, reason[0] != '\0' ? reason : curl_easy_strerror(rc));
}

enum status http_call_run(struct http_call *call, struct err *err) {
    struct buf url = {0};
    CURL *curl = curl_easy_init();
    enum status st = OK;
    if (curl == NULL || !put_url(call, &url) || (call->form != NULL && call->form->failed))
        st = err_set(err, ERR_NOMEM, 0, "out of memory");
    else
        st = run(curl, call, url.ptr, err);
    curl_easy_cleanup(curl);
    buf_fini(&url);
    return st;
}
