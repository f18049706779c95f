/* SPDX-License-Identifier: Apache-2.0 */
/* A server with one route for each thing test_http.py wants to see. Prints "port N" when it
 * listens; ends at SIGTERM with a graceful stop of 5 s. Arguments: cores, connections_max,
 * read_timeout_ms, write_timeout_ms, cors regex */
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/attr.h"
#include "node/base/metrics.h"
#include "node/base/num.h"
#include "node/http/server.h"
#include "node/runtime/loop.h"

static const struct sv text_plain = SV_INIT("text/plain; charset=utf-8");
static atomic_uint canceled_count;

static uint64_t number_param(struct http_request *req, struct sv name, uint64_t otherwise) {
    struct sv text;
    uint64_t n;
    return http_form_get(req, name, &text) && num_parse_u64(text, &n) ? n : otherwise;
}

static void hello(struct http_request *req) {
    http_answer(req, 200, text_plain, SV("hello\n"));
}

static void echo(struct http_request *req) {
    http_answer(req, 200, SV("application/octet-stream"), req->body);
}

static void show(struct http_request *req) {
    struct buf out = {0};
    buf_printf(&out, "method %d\npath %.*s\nquery %.*s\nparam %.*s\nremote %.*s\nbody %zu\n",
               (int)req->method, SV_ARG(req->path), SV_ARG(req->raw_query), SV_ARG(req->path_param),
               SV_ARG(req->remote), req->body.len);
    for (size_t i = 0; i < req->headers_count; i++)
        buf_printf(&out, "%.*s=%.*s\n", SV_ARG(req->headers[i].name),
                   SV_ARG(req->headers[i].value));
    http_answer_header(req, SV("X-Split"), SV("a\r\nInjected: b"));
    http_answer_take(req, 200, text_plain, &out);
}

static void form(struct http_request *req) {
    struct sv one, *all;
    size_t count;
    struct err err;
    struct buf out = {0};
    bool found = http_form_get(req, SV("query"), &one);
    if (http_form_all(req, SV("match[]"), &all, &count, &err) != OK) {
        buf_fini(&out);
        http_answer_text(req, 400, "%s", err.msg);
        return;
    }
    if (found) buf_printf(&out, "query=%.*s\n", SV_ARG(one));
    for (size_t i = 0; i < count; i++)
        buf_printf(&out, "match=%.*s\n", SV_ARG(all[i]));
    http_answer_take(req, 200, text_plain, &out);
}

static void fill(struct buf *out, uint64_t n) {
    while (out->len < n && !out->failed)
        buf_printf(out, "line %zu of a compressible text\n", out->len);
    if (!out->failed) out->len = n;
}

static void big(struct http_request *req) {
    struct buf out = {0};
    fill(&out, number_param(req, SV("n"), 1000));
    http_answer_take(req, 200, text_plain, &out);
}

/* --- a stream that waits for its reader --- */
struct stream {
    uint64_t pieces_left, piece_bytes;
};

static void stream_go_on(struct http_request *req, void *ctx) {
    struct stream *s = ctx;
    while (s->pieces_left > 0 && !http_stream_is_full(req)) {
        struct buf piece = {0};
        fill(&piece, s->piece_bytes);
        s->pieces_left--;
        if (!http_stream_write(req, &piece)) s->pieces_left = 0;
    }
    if (s->pieces_left == 0) http_stream_end(req);
}

static void stream_canceled(struct http_request *req, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&canceled_count, 1);
    http_stream_end(req);
}

static void stream(struct http_request *req) {
    struct stream *s = arena_zalloc(req->arena, sizeof *s);
    *s = (struct stream){number_param(req, SV("pieces"), 10), number_param(req, SV("bytes"), 1000)};
    http_stream_begin(req, 200, text_plain);
    http_stream_on_writable(req, stream_go_on, s);
    req->canceled = stream_canceled;
    req->canceled_ctx = s;
    stream_go_on(req, s);
}

/* --- an answer that comes later --- */
struct delayed {
    struct timer timer;
    struct http_request *req;
};

static void delayed_fire(struct timer *t) {
    struct delayed *d = container_of(t, struct delayed, timer);
    http_answer(d->req, 200, text_plain, SV("late\n"));
}

static void delayed_canceled(struct http_request *req, void *ctx) {
    struct delayed *d = ctx;
    timer_stop(&d->timer);
    atomic_fetch_add(&canceled_count, 1);
    http_answer_text(req, 499, "canceled");
}

static void delayed(struct http_request *req) {
    struct delayed *d = arena_zalloc(req->arena, sizeof *d);
    d->req = req;
    req->canceled = delayed_canceled;
    req->canceled_ctx = d;
    timer_init(&d->timer, req->core, delayed_fire);
    timer_start(&d->timer, number_param(req, SV("ms"), 100));
}

static void canceled(struct http_request *req) {
    http_answer_text(req, 200, "%u", atomic_load(&canceled_count));
}

static void long_text(struct http_request *req) {
    struct buf out = {0};
    fill(&out, number_param(req, SV("n"), 0));
    http_answer_text(req, 400, "%.*s", SV_ARG(buf_sv(&out)));
    buf_fini(&out);
}

static void metrics(struct http_request *req) {
    struct buf out = {0};
    metrics_put_text(&out);
    http_answer_take(req, 200, text_plain, &out);
}

static const struct http_route routes[] = {
    {.methods = HTTP_GET | HTTP_HEAD, .path = "/-/healthy", .handler = hello, .always_admit = true},
    {.methods = HTTP_GET | HTTP_HEAD, .path = "/hello", .handler = hello},
    {.methods = HTTP_GET | HTTP_POST, .path = "/show", .handler = show},
    {.methods = HTTP_GET, .path = "/label/*/values", .handler = show},
    {.methods = HTTP_GET, .path = "/files/**", .handler = show},
    {.methods = HTTP_POST | HTTP_PUT, .path = "/echo", .handler = echo, .body_bytes_max = 8 << 20},
    {.methods = HTTP_POST, .path = "/small", .handler = echo, .body_bytes_max = 100},
    {.methods = HTTP_POST, .path = "/raw", .handler = echo, .raw_body = true},
    {.methods = HTTP_GET | HTTP_POST, .path = "/form", .handler = form},
    {.methods = HTTP_GET, .path = "/big", .handler = big},
    {.methods = HTTP_GET, .path = "/stream", .handler = stream},
    {.methods = HTTP_GET | HTTP_POST, .path = "/delayed", .handler = delayed},
    {.methods = HTTP_GET, .path = "/canceled", .handler = canceled},
    {.methods = HTTP_GET, .path = "/metrics", .handler = metrics},
    {.methods = HTTP_GET, .path = "/text", .handler = long_text},
};

static void on_stopped(void *ctx) {
    sem_post(ctx);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    struct loop_options loop_options = {.cores_count = (unsigned)strtoul(argv[1], NULL, 10),
                                        .workers_count = 2};
    struct http_server_options options = {
        .listen_addr = "127.0.0.1:0",
        .routes = routes,
        .routes_count = ARRAY_LEN(routes),
        .connections_max = (unsigned)strtoul(argv[2], NULL, 10),
        .read_timeout_ms = strtol(argv[3], NULL, 10),
        .write_timeout_ms = strtol(argv[4], NULL, 10),
        .cors_origin_regex = argv[5],
    };
    struct runtime *rt;
    struct http_server *server, *second;
    struct err err;
    enum status rc = loop_runtime_new(&loop_options, &rt, &err);
    if (rc == OK) rc = http_server_new(rt, &options, &server, &err);
    if (rc != OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    char taken[32]; /* the port is ours now: asking for it again must say so */
    snprintf(taken, sizeof taken, "127.0.0.1:%u", http_server_port(server));
    options.listen_addr = taken;
    if (http_server_new(rt, &options, &second, &err) != ERR_CONFLICT ||
        strstr(err.msg, taken) == NULL) {
        fprintf(stderr, "a taken port was not refused: %s\n", err.msg);
        return 1;
    }
    rc = loop_runtime_start(rt, &err);
    if (rc != OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("port %u\n", http_server_port(server));
    fflush(stdout);
    int sig;
    sigwait(&term, &sig);
    sem_t stopped;
    sem_init(&stopped, 0, 0);
    http_server_stop(server, 5000, on_stopped, &stopped);
    while (sem_wait(&stopped) != 0)
        continue;
    loop_runtime_stop(rt);
    http_server_free(server);
    loop_runtime_free(rt);
    sem_destroy(&stopped);
    printf("stopped\n");
    return 0;
}
