/* SPDX-License-Identifier: Apache-2.0 */
/* One request of the HTTP client. */
#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/http/client_internal.h"

static void fetch_free(struct http_fetch *f) {
    list_remove(&f->link);
    timer_stop(&f->deadline);
    if (f->resolve != NULL) resolve_abandon(f->resolve);
    if (f->added) curl_multi_remove_handle(f->client->multi, f->easy);
    curl_easy_cleanup(f->easy);
    curl_slist_free_all(f->headers);
    curl_slist_free_all(f->addresses);
    buf_fini(&f->body);
    buf_fini(&f->answer);
    free(f);
}

/* -- the outcome */

static void fetch_tell(struct http_fetch *f, struct http_fetched *fetched) {
    http_fetch_done done = f->done;
    void *ctx = f->ctx;
    struct buf answer = buf_move(&f->answer);
    fetched->body = buf_sv(&answer);
    fetch_free(f);
    done(ctx, fetched);
    buf_fini(&answer);
}

void fetch_end(struct http_fetch *f, enum status status, const char *why) {
    struct http_fetched fetched = {.status = status};
    err_set(&fetched.err, status, 0, "%s: %s", f->place, why);
    buf_clear(&f->answer);
    fetch_tell(f, &fetched);
}

void fetch_on_done(struct http_fetch *f, CURLcode rc) {
    long code = 0, os = 0;
    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &os);
    char why[CURL_ERROR_SIZE + 64];
    if (rc == CURLE_OK) {
        struct http_fetched fetched = {.status = OK, .code = (int)code};
        fetch_tell(f, &fetched);
        return;
    }
    if (f->answer.failed) { /* said by on_body */
        snprintf(why, sizeof why, "the answer has more than %zu bytes", f->answer.limit_bytes);
        fetch_end(f, ERR_LIMIT, why);
        return;
    }
    /* curl's own text on connections says how many milliseconds they took: no two are alike */
    const char *text = f->reason[0] != '\0' ? f->reason : curl_easy_strerror(rc);
    if (rc == CURLE_COULDNT_CONNECT) text = os != 0 ? strerror((int)os) : curl_easy_strerror(rc);
    snprintf(why, sizeof why, "%s", text);
    fetch_end(f, rc == CURLE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_UNAVAILABLE, why);
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx) {
    struct buf *answer = ctx;
    buf_put(answer, ptr, size * count);
    return answer->failed ? 0 : size * count;
}

static void fetch_on_deadline(struct timer *t) {
    struct http_fetch *f = container_of(t, struct http_fetch, deadline);
    char why[64];
    snprintf(why, sizeof why, "no answer within %" PRIu64 " ms", f->timeout_ms);
    fetch_end(f, ERR_TIMEOUT, why);
}

/* -- the look-up */

static void fetch_run(struct http_fetch *f) {
    CURLMcode rc = curl_multi_add_handle(f->client->multi, f->easy);
    f->added = rc == CURLM_OK;
    if (!f->added) fetch_end(f, ERR_NOMEM, curl_multi_strerror(rc));
}

/* "host:port:addr,addr", which curl takes instead of looking up. */
static bool put_addresses(const struct http_fetch *f, const struct resolve *r, struct buf *out) {
    buf_printf(out, "%s:%u", f->host, (unsigned)f->port);
    for (unsigned i = 0; i < r->addrs_count; i++) {
        const union address *a = &r->addrs[i];
        char ip[INET6_ADDRSTRLEN] = "";
        bool v6 = a->any.sa_family == AF_INET6;
        if (inet_ntop(a->any.sa_family,
                      v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr, ip,
                      sizeof ip) == NULL)
            continue;
        buf_printf(out, v6 ? "%c[%s]" : "%c%s", i == 0 ? ':' : ',', ip);
    }
    return buf_cstr(out) != NULL;
}

static void fetch_on_resolved(struct core *here, struct resolve *r) {
    struct http_fetch *f = r->ctx;
    (void)here;
    f->resolve = NULL;
    struct buf line = {0};
    if (r->status != OK) {
        fetch_end(f, r->status, r->err.msg);
    } else if (!put_addresses(f, r, &line) ||
               (f->addresses = curl_slist_append(NULL, line.ptr)) == NULL ||
               curl_easy_setopt(f->easy, CURLOPT_RESOLVE, f->addresses) != CURLE_OK) {
        fetch_end(f, ERR_NOMEM, "out of memory");
    } else {
        fetch_run(f);
    }
    buf_fini(&line);
    resolve_free(r);
}

static enum status fetch_look_up(struct http_fetch *f, struct err *err) {
    union address literal;
    if (address_parse(f->host, f->port, &literal)) {
        CURLMcode rc = curl_multi_add_handle(f->client->multi, f->easy);
        f->added = rc == CURLM_OK;
        return f->added ? OK
                        : err_set(err, ERR_NOMEM, 0, "%s: %s", f->place, curl_multi_strerror(rc));
    }
    enum status status = resolve_start(f->client->core, f->host, f->port, &f->resolve, err);
    if (status != OK) {
        f->resolve = NULL;
        err_prefix(err, "%s", f->place);
        return status;
    }
    f->resolve->done = fetch_on_resolved;
    f->resolve->ctx = f;
    return OK;
}

/* -- the request */

static enum status parts_of_url(struct http_fetch *f, CURLU *url, const char *text,
                                struct err *err) {
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLUcode rc = curl_url_set(url, CURLUPART_URL, text, 0);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (rc == CURLUE_OK) rc = curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    enum status status = OK;
    if (rc != CURLUE_OK)
        status =
            err_set(err, ERR_PARSE, 0, "\"%.200s\" is no URL: %s", text, curl_url_strerror(rc));
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        status = err_set(err, ERR_PARSE, 0, "\"%.200s\": want http:// or https://", text);
    else if (strlen(host) > RESOLVE_HOST_BYTES_MAX)
        status = err_set(err, ERR_PARSE, 0, "\"%.200s\": the host is too long", text);
    if (status == OK) {
        snprintf(f->place, sizeof f->place, "%s://%s:%s", scheme, host, port);
        struct err bad;
        struct sv rest = sv_skip(sv_from(f->place), strlen(scheme) + 3);
        if (address_split(rest, f->host, &f->port, &bad) != OK)
            status = err_set(err, ERR_PARSE, 0, "\"%.200s\": %s", text, bad.msg);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return status;
}

static bool is_printable(struct sv s) {
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f) return false;
    return true;
}

static bool put_header(struct http_fetch *f, const char *line) {
    struct curl_slist *more = curl_slist_append(f->headers, line);
    if (more != NULL) f->headers = more;
    return more != NULL;
}

static enum status put_headers(struct http_fetch *f, const struct http_fetch_options *o,
                               struct err *err) {
    bool ok = put_header(f, "Expect:"), typed = false;
    for (size_t i = 0; i < o->headers_count && ok; i++) {
        const struct http_header *h = &o->headers[i];
        size_t at;
        if (h->name.len == 0 || !is_printable(h->name) || !is_printable(h->value) ||
            sv_find_char(h->name, ':', &at) || sv_find_char(h->name, ' ', &at))
            return err_set(err, ERR_PARSE, 0, "%s: header %zu has characters it may not have",
                           f->place, i + 1);
        typed = typed || sv_eq_nocase(h->name, SV("Content-Type"));
        struct buf line = {0};
        buf_put_sv(&line, h->name);
        if (sv_trim(h->value).len == 0) /* with a colon curl would leave the header out */
            buf_put_char(&line, ';');
        else
            buf_printf(&line, ": %.*s", SV_ARG(h->value));
        ok = buf_cstr(&line) != NULL && put_header(f, line.ptr);
        buf_fini(&line);
    }
    if (ok && !typed) ok = put_header(f, "Content-Type:"); /* curl's own would be a guess */
    return ok ? OK : err_set(err, ERR_NOMEM, 0, "%s: out of memory", f->place);
}

static enum status fetch_set(struct http_fetch *f, const struct http_fetch_options *o,
                             struct err *err) {
    CURL *e = f->easy;
    buf_put_sv(&f->body, o->body);
    f->answer.limit_bytes = o->answer_bytes_max;
    bool ok = !f->body.failed && curl_easy_setopt(e, CURLOPT_URL, o->url) == CURLE_OK;
    if (!ok) return err_set(err, ERR_NOMEM, 0, "%s: out of memory", f->place);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L); /* what was signed is what is sent */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "cairn");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->timeout_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->reason);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, &f->answer);
    curl_easy_setopt(e, CURLOPT_PRIVATE, f);
    client_take_over(f->client, e);
    TRY(put_headers(f, o, err));
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->headers);
    if (strcmp(o->method, "GET") == 0) return OK;
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->body.len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, f->body.ptr == NULL ? "" : f->body.ptr);
    if (curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method) == CURLE_OK) return OK;
    return err_set(err, ERR_NOMEM, 0, "%s: out of memory", f->place);
}

enum status http_fetch_start(struct http_client *client, const struct http_fetch_options *o,
                             struct http_fetch **out, struct err *err) {
    assert(core_is_current(client->core) && o->done != NULL);
    assert(o->timeout_ms > 0 && o->answer_bytes_max > 0);
    if (client->stopping) return err_set(err, ERR_CANCELED, 0, "%s: this node is stopping", o->url);
    struct http_fetch *f = calloc(1, sizeof *f);
    if (f == NULL) return err_set(err, ERR_NOMEM, 0, "%s: out of memory", o->url);
    f->client = client;
    f->timeout_ms = o->timeout_ms;
    f->done = o->done;
    f->ctx = o->ctx;
    list_init(&f->link);
    timer_init(&f->deadline, client->core, fetch_on_deadline);
    f->easy = curl_easy_init();
    CURLU *url = curl_url();
    enum status status = f->easy == NULL || url == NULL
                             ? err_set(err, ERR_NOMEM, 0, "%s: out of memory", o->url)
                             : parts_of_url(f, url, o->url, err);
    if (status == OK) status = fetch_set(f, o, err);
    if (status == OK) status = fetch_look_up(f, err);
    curl_url_cleanup(url);
    if (status != OK) {
        fetch_free(f);
        return status;
    }
    list_push_back(&client->fetches, &f->link);
    timer_start(&f->deadline, o->timeout_ms);
    *out = f;
    return OK;
}

void http_fetch_cancel(struct http_fetch *fetch) {
    assert(core_is_current(fetch->client->core));
    fetch_free(fetch);
}
