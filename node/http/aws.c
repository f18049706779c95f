/* SPDX-License-Identifier: Apache-2.0 */
/*   a call: WAITING (for credentials) -> SENT -> gone
 *
 *   credentials: none, or old, or doubted -> asked for, by one question after the other:
 *     container:  GET the URI
 *     instance:   PUT /latest/api/token -> GET .../security-credentials/ (the role's name) -> GET
 *                 .../security-credentials/<role>
 */
#include "node/http/aws.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/base/list.h"
#include "node/http/sigv4.h"

enum { CREDENTIALS_BYTES_MAX = 64 << 10, SIGN_ARENA_BYTES = 1 << 20 };

enum source { SOURCE_CONTAINER, SOURCE_TOKEN, SOURCE_ROLE, SOURCE_KEYS };

struct aws {
    struct core *core;
    aws_env env;
    struct http_client *client;
    bool stopping;
    struct aws_credentials now;
    bool has, doubted;
    bool asking;
    enum source source;
    struct buf imds_token;
    struct list_node waiting, sent;
    size_t calls_count;
};

struct aws_call_state {
    struct list_node link; /* of aws->waiting or sent */
    struct aws *aws;
    struct aws_call_options o;
    struct buf body;
};

static const char imds_path[] = "/latest/meta-data/iam/security-credentials/";

/* -- a call's end */

static void call_free(struct aws_call_state *call) {
    list_remove(&call->link);
    call->aws->calls_count--;
    buf_fini(&call->body);
    free(call);
}

static void call_end(struct aws_call_state *call, const struct http_fetched *fetched) {
    http_fetch_done done = call->o.done;
    void *ctx = call->o.ctx;
    call_free(call);
    done(ctx, fetched);
}

static void call_on_fetched(void *ctx, const struct http_fetched *fetched) {
    struct aws_call_state *call = ctx;
    /* JSON 1.1 says with 400 what is wrong with credentials, too */
    if (fetched->status == OK && fetched->code >= 400 && fetched->code < 500)
        call->aws->doubted = true;
    call_end(call, fetched);
}

/* -- sending */

static enum status call_sign(struct aws_call_state *call, const char *url, struct arena *arena,
                             struct http_header headers[2 + SIGV4_HEADERS_MAX], size_t *out_count,
                             struct err *err) {
    struct aws *aws = call->aws;
    struct sigv4_scope scope = {.service = sv_from(call->o.service->name),
                                .unix_ms = core_wall_ms(aws->core)};
    TRY(aws_region(aws->env, &scope.region, err));
    size_t at;
    struct sv host = sv_from(url);
    if (sv_find(host, SV("://"), &at)) host = sv_skip(host, at + 3);
    headers[0] = (struct http_header){SV("Content-Type"), SV("application/x-amz-json-1.1")};
    headers[1] = (struct http_header){SV("X-Amz-Target"), sv_from(call->o.target)};
    struct sigv4_request request = {.method = SV("POST"),
                                    .host = host,
                                    .path = SV("/"),
                                    .headers = headers,
                                    .headers_count = 2,
                                    .body = buf_sv(&call->body)};
    struct sigv4_credentials keys = {buf_sv(&aws->now.key_id), buf_sv(&aws->now.secret),
                                     buf_sv(&aws->now.token)};
    TRY(sigv4_sign(&request, &keys, &scope, arena, headers + 2, out_count, err));
    *out_count += 2;
    return OK;
}

static enum status call_post(struct aws_call_state *call, struct buf *url, struct arena *arena,
                             struct err *err) {
    struct sv region;
    struct http_header headers[2 + SIGV4_HEADERS_MAX];
    struct http_fetch *fetch;
    size_t count;
    TRY(aws_region(call->aws->env, &region, err));
    TRY(aws_endpoint(call->aws->env, call->o.service, region, url, err));
    TRY(call_sign(call, url->ptr, arena, headers, &count, err));
    buf_put_char(url, '/');
    if (buf_cstr(url) == NULL) return err_set(err, ERR_NOMEM, 0, "AWS: out of memory");
    struct http_fetch_options o = {.method = "POST",
                                   .url = url->ptr,
                                   .headers = headers,
                                   .headers_count = count,
                                   .body = buf_sv(&call->body),
                                   .timeout_ms = call->o.timeout_ms,
                                   .answer_bytes_max = call->o.answer_bytes_max,
                                   .done = call_on_fetched,
                                   .ctx = call};
    return http_fetch_start(call->aws->client, &o, &fetch, err);
}

/* With the credentials that there are. OK: it is on aws->sent. */
static enum status call_send(struct aws_call_state *call, struct err *err) {
    struct buf url = {0};
    struct arena arena;
    arena_init(&arena, SIGN_ARENA_BYTES);
    enum status status = call_post(call, &url, &arena, err);
    arena_fini(&arena);
    buf_fini(&url);
    if (status != OK) return status;
    list_remove(&call->link);
    list_push_back(&call->aws->sent, &call->link);
    return OK;
}

/* -- credentials */

static bool credentials_serve(const struct aws *aws, int64_t margin_ms) {
    return aws->has && aws->now.expires_ms - margin_ms > core_wall_ms(aws->core);
}

/* All that wait are sent, or told why not. */
static void credentials_end(struct aws *aws, enum status status, const struct err *why) {
    aws->asking = false;
    buf_fini(&aws->imds_token);
    bool serve = status == OK || credentials_serve(aws, 0);
    struct list_node all;
    list_init(&all); /* what is called here may call anew */
    for (struct list_node *n; (n = list_pop_front(&aws->waiting)) != NULL;)
        list_push_back(&all, n);
    while (!list_is_empty(&all)) {
        struct aws_call_state *call = container_of(all.next, struct aws_call_state, link);
        struct http_fetched fetched = {.status = status};
        if (!serve)
            fetched.err = *why;
        else
            fetched.status = call_send(call, &fetched.err);
        if (fetched.status != OK) call_end(call, &fetched);
    }
}

static void credentials_on_fetched(void *ctx, const struct http_fetched *fetched);

static enum status credentials_fetch(struct aws *aws, enum source source, const char *method,
                                     struct buf *url, struct http_header header, struct err *err) {
    struct http_fetch *fetch;
    if (buf_cstr(url) == NULL) return err_set(err, ERR_NOMEM, 0, "AWS: out of memory");
    struct http_fetch_options o = {.method = method,
                                   .url = url->ptr,
                                   .headers = &header,
                                   .headers_count = header.value.len > 0,
                                   .timeout_ms = AWS_CREDENTIALS_MS,
                                   .answer_bytes_max = CREDENTIALS_BYTES_MAX,
                                   .done = credentials_on_fetched,
                                   .ctx = aws};
    TRY(http_fetch_start(aws->client, &o, &fetch, err));
    aws->source = source;
    return OK;
}

static enum status imds_ask(struct aws *aws, enum source source, struct sv role, struct err *err) {
    const char *base = aws->env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    struct sv host = sv_from(base == NULL || base[0] == '\0' ? "http://169.254.169.254" : base);
    struct buf url = {0};
    bool first = source == SOURCE_TOKEN;
    while (sv_ends(host, SV("/")))
        host.len--;
    buf_put_sv(&url, host);
    buf_printf(&url, "%s%.*s", first ? "/latest/api/token" : imds_path, SV_ARG(role));
    struct http_header h = {SV("X-aws-ec2-metadata-token"), buf_sv(&aws->imds_token)};
    if (first) h = (struct http_header){SV("X-aws-ec2-metadata-token-ttl-seconds"), SV("21600")};
    enum status status = credentials_fetch(aws, source, first ? "PUT" : "GET", &url, h, err);
    buf_fini(&url);
    return status;
}

/* Of the environment (*out_now), or a question is under way. */
static enum status credentials_ask(struct aws *aws, bool *out_now, struct err *err) {
    struct aws_credentials c = {0};
    TRY(aws_credentials_of_env(aws->env, out_now, &c, err));
    if (*out_now) {
        aws_credentials_fini(&aws->now);
        aws->now = c;
        aws->has = true;
        aws->doubted = false;
        return OK;
    }
    struct buf url = {0}, token = {0};
    bool found;
    enum status status =
        aws_container_find(aws->env, aws->core->rt->disk, &found, &url, &token, err);
    if (status == OK && found)
        status = credentials_fetch(aws, SOURCE_CONTAINER, "GET", &url,
                                   (struct http_header){SV("Authorization"), buf_sv(&token)}, err);
    buf_fini(&url);
    buf_fini(&token);
    if (status != OK || found) return status;
    const char *off = aws->env("AWS_EC2_METADATA_DISABLED");
    if (off == NULL || strcasecmp(off, "true") != 0)
        return imds_ask(aws, SOURCE_TOKEN, (struct sv){0}, err);
    return err_set(err, ERR_UNAVAILABLE, 0,
                   "AWS: no credentials: neither AWS_ACCESS_KEY_ID nor "
                   "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set (ECS sets it for a task with a "
                   "task role)");
}

static enum status credentials_next(struct aws *aws, const struct http_fetched *fetched,
                                    bool *out_more, struct err *err) {
    static const char *const whose[] = {"the container's service", "the instance's service",
                                        "the instance's service", "the instance's service"};
    *out_more = false;
    if (fetched->status != OK && aws->source == SOURCE_TOKEN)
        return err_set(err, fetched->status, 0,
                       "AWS: no credentials: neither AWS_ACCESS_KEY_ID nor "
                       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set (ECS sets it for a task with "
                       "a task role), and this is no EC2 instance: %.150s",
                       fetched->err.msg);
    if (fetched->status != OK)
        return err_set(err, fetched->status, 0, "AWS: no credentials: %.300s", fetched->err.msg);
    if (fetched->code != 200)
        return err_set(err, ERR_UNAVAILABLE, 0, "AWS: no credentials: %s answered %d",
                       whose[aws->source], fetched->code);
    if (aws->source == SOURCE_TOKEN) {
        buf_put_sv(&aws->imds_token, sv_trim(fetched->body));
        *out_more = true;
        return imds_ask(aws, SOURCE_ROLE, (struct sv){0}, err);
    }
    if (aws->source == SOURCE_ROLE) {
        struct sv role; /* one a line; there is one */
        sv_cut(fetched->body, '\n', &role);
        *out_more = true;
        return imds_ask(aws, SOURCE_KEYS, sv_trim(role), err);
    }
    struct aws_credentials c;
    TRY(aws_credentials_parse(fetched->body, &c, err));
    aws_credentials_fini(&aws->now);
    aws->now = c;
    aws->has = true;
    aws->doubted = false;
    return OK;
}

static void credentials_on_fetched(void *ctx, const struct http_fetched *fetched) {
    struct aws *aws = ctx;
    struct err err = {0};
    bool more;
    enum status status = credentials_next(aws, fetched, &more, &err);
    if (status != OK || !more) credentials_end(aws, status, &err);
}

/* -- calls */

enum status aws_call(struct aws *aws, const struct aws_call_options *options, struct err *err) {
    assert(core_is_current(aws->core) && options->done != NULL);
    if (aws->stopping) return err_set(err, ERR_CANCELED, 0, "AWS: this node is stopping");
    if (aws->calls_count == AWS_CALLS_MAX)
        return err_set(err, ERR_LIMIT, 0, "AWS: more than %d calls at a time", AWS_CALLS_MAX);
    struct sv region; /* the first thing that is missing on another machine than AWS's */
    TRY(aws_region(aws->env, &region, err));
    struct aws_call_state *call = calloc(1, sizeof *call);
    if (call == NULL) return err_set(err, ERR_NOMEM, 0, "AWS: out of memory");
    call->aws = aws;
    call->o = *options;
    aws->calls_count++;
    list_push_back(&aws->waiting, &call->link);
    buf_put_sv(&call->body, options->body);
    bool now = !aws->asking && !aws->doubted && credentials_serve(aws, AWS_REFRESH_MS);
    enum status status = call->body.failed ? err_set(err, ERR_NOMEM, 0, "AWS: out of memory") : OK;
    if (status == OK && !now && !aws->asking) {
        status = credentials_ask(aws, &now, err);
        aws->asking = status == OK && !now;
        if (status != OK && credentials_serve(aws, 0)) {
            status = OK;
            now = true;
        }
    }
    if (status == OK && now) status = call_send(call, err);
    if (status != OK) call_free(call);
    return status;
}

/* -- life */

enum status aws_new(struct core *core, aws_env env, struct aws **out, struct err *err) {
    const char *ca = env("AWS_CA_BUNDLE");
    struct http_client_options o = {.ca_file = ca == NULL || ca[0] == '\0' ? NULL : ca};
    struct aws *aws = calloc(1, sizeof *aws);
    if (aws == NULL) return err_set(err, ERR_NOMEM, 0, "AWS: out of memory");
    aws->core = core;
    aws->env = env;
    list_init(&aws->waiting);
    list_init(&aws->sent);
    enum status status = http_client_new(core, &o, &aws->client, err);
    if (status != OK) {
        aws_free(aws);
        return status;
    }
    *out = aws;
    return OK;
}

void aws_stop(struct aws *aws, void (*stopped)(void *ctx), void *ctx) {
    aws->stopping = true;
    http_client_stop(aws->client, stopped, ctx); /* ends the question that others wait for, too */
}

void aws_free(struct aws *aws) {
    if (aws == NULL) return;
    assert(aws->calls_count == 0);
    http_client_free(aws->client);
    aws_credentials_fini(&aws->now);
    buf_fini(&aws->imds_token);
    free(aws);
}
