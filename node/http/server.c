/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners, the limit on connections, metrics, stop. */
#include <assert.h>
#include <errno.h>
#include <libdeflate.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "node/http/internal.h"
#include "node/runtime/loop.h"

/* --- metrics --- */

static const double duration_bounds[] = {.1, .2, .4, 1, 3, 8, 20, 60, 120};
static const double size_bounds[] = {100, 1000, 10000, 100000, 1e6, 1e7, 1e8, 1e9};
static const struct metric_def requests_def = {.name = "prometheus_http_requests_total",
                                               .help = "Counter of HTTP requests.",
                                               .kind = METRIC_COUNTER};
static const struct metric_def duration_def = {.name = "prometheus_http_request_duration_seconds",
                                               .help = "Histogram of latencies for HTTP requests.",
                                               .kind = METRIC_HISTOGRAM,
                                               .bounds = duration_bounds,
                                               .bounds_count = ARRAY_LEN(duration_bounds)};
static const struct metric_def size_def = {.name = "prometheus_http_response_size_bytes",
                                           .help = "Histogram of response size for HTTP requests.",
                                           .kind = METRIC_HISTOGRAM,
                                           .bounds = size_bounds,
                                           .bounds_count = ARRAY_LEN(size_bounds)};
static const struct metric_def open_def = {.name = "cairn_http_connections",
                                           .help = "Open HTTP connections within the limit.",
                                           .kind = METRIC_GAUGE};
static const struct metric_def refused_def = {.name = "cairn_http_connections_refused_total",
                                              .help = "Connections beyond --web.max-connections.",
                                              .kind = METRIC_COUNTER};

static struct metric *metric_of(const struct metric_def *def, const struct http_route *route,
                                int code) {
    struct buf labels = {0};
    if (code != 0) buf_printf(&labels, "code=\"%d\",", code);
    buf_printf(&labels, "handler=\"%s\"", route == NULL ? "unmatched" : route->path);
    struct metric *m = metric_get(def, buf_cstr(&labels));
    buf_fini(&labels);
    return m;
}

static struct metric *requests_metric(struct http_route_metrics *m, const struct http_route *route,
                                      int code) {
    for (size_t i = 0; i < HTTP_CODES_MAX; i++) {
        if (m->codes[i].code == code) return m->codes[i].requests;
        if (m->codes[i].code != 0) continue;
        m->codes[i] = (struct http_code_count){code, metric_of(&requests_def, route, code)};
        return m->codes[i].requests;
    }
    return metric_of(&requests_def, route,
                     code); /* a handler with very many codes pays for the look-up */
}

void http_core_observe(struct http_core *hc, const struct http_exchange *x) {
    const struct http_server *server = hc->server;
    size_t index = x->route == NULL ? server->routes_count : (size_t)(x->route - server->routes);
    struct http_route_metrics *m = &hc->metrics[index];
    metric_add(requests_metric(m, x->route, x->code), 1);
    metric_observe(m->duration, (double)(core_mono_ns(hc->core) - x->started_ns) * 1e-9);
    metric_observe(m->size, (double)x->answer_bytes);
}

/* --- limits --- */

bool http_server_admit(struct http_server *server) {
    unsigned before = atomic_fetch_add_explicit(&server->open, 1, memory_order_relaxed);
    if (before < server->connections_max) {
        metric_add(server->open_gauge, 1);
        return true;
    }
    atomic_fetch_sub_explicit(&server->open, 1, memory_order_relaxed);
    metric_add(server->refused, 1);
    return false;
}

void http_server_leave(struct http_core *hc, struct http_conn *c) {
    if (c->surplus) {
        assert(hc->surplus_count > 0);
        hc->surplus_count--;
        return;
    }
    metric_add(hc->server->open_gauge, -1);
    unsigned before = atomic_fetch_sub_explicit(&hc->server->open, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

struct sv http_core_date(struct http_core *hc) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t now_s = core_wall_ms(hc->core) / 1000;
    if (hc->date_s != now_s || hc->date_text[0] == '\0') {
        struct tm tm;
        time_t t = (time_t)now_s;
        if (gmtime_r(&t, &tm) == NULL) return SV("Thu, 01 Jan 1970 00:00:00 GMT");
        hc->date_s = now_s;
        snprintf(hc->date_text, sizeof hc->date_text, "%s, %02u %s %04u %02u:%02u:%02u GMT",
                 days[tm.tm_wday], (unsigned)tm.tm_mday % 100, months[tm.tm_mon],
                 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    }
    return sv_from(hc->date_text);
}

/* --- life --- */

static void on_connection(uv_stream_t *listener, int rc) {
    struct http_core *hc = listener->data;
    if (rc < 0 || hc->stopping) return; /* out of descriptors: libuv has closed the newcomer */
    http_conn_accept(hc, listener);
}

static void on_grace(struct timer *t) {
    struct http_core *hc = container_of(t, struct http_core, grace);
    struct list_node *lists[] = {&hc->conns, &hc->surplus};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_FOREACH_SAFE(n, lists[i]) http_conn_close(container_of(n, struct http_conn, link));
}

static void core_free(struct http_core *hc) {
    if (hc == NULL) return;
    libdeflate_free_compressor(hc->compressor);
    free(hc->metrics);
    free(hc);
}

static struct http_core *core_new(struct http_server *server, struct core *core) {
    struct http_core *hc = calloc(1, sizeof *hc);
    if (hc == NULL) return NULL;
    hc->server = server;
    hc->core = core;
    list_init(&hc->conns);
    list_init(&hc->surplus);
    hc->surplus_max =
        MAX(HTTP_SURPLUS_MAX / server->cores_count, (unsigned)HTTP_SURPLUS_PER_CORE_MIN);
    hc->compressor = libdeflate_alloc_compressor(1);
    hc->metrics = calloc(server->routes_count + 1, sizeof *hc->metrics);
    if (hc->compressor == NULL || hc->metrics == NULL) {
        core_free(hc);
        return NULL;
    }
    for (size_t i = 0; i <= server->routes_count; i++) {
        const struct http_route *route = i < server->routes_count ? &server->routes[i] : NULL;
        hc->metrics[i].duration = metric_of(&duration_def, route, 0);
        hc->metrics[i].size = metric_of(&size_def, route, 0);
    }
    return hc;
}

/* Bound before any handle is made, so that a taken port needs no loop to clean up after. */
static enum status bind_all(struct http_server *server, struct sv addr, uv_os_sock_t *fds,
                            struct err *err) {
    TRY(loop_tcp_bind(addr, true, &fds[0], &server->port, err));
    unsigned made = 1;
    size_t colon = addr.len;
    while (colon > 0 && addr.ptr[colon - 1] != ':')
        colon--;
    char text[300]; /* loop_tcp_bind took the host, so it fits */
    snprintf(text, sizeof text, "%.*s%u", (int)MIN(colon, sizeof text - 16), addr.ptr,
             server->port);
    enum status rc = OK;
    while (rc == OK && made < server->cores_count) {
        unsigned port;
        rc = loop_tcp_bind(sv_from(text), false, &fds[made], &port, err);
        if (rc == OK) made++;
    }
    for (unsigned i = 0; rc == OK && i < made; i++)
        if (listen(fds[i], SOMAXCONN) != 0)
            rc = err_set(err, errno == EADDRINUSE ? ERR_CONFLICT : ERR_IO, errno, "listen on %s",
                         text);
    for (unsigned i = 0; rc != OK && i < made; i++)
        close(fds[i]);
    return rc;
}

static enum status core_listen(struct http_core *hc, uv_os_sock_t fd, struct err *err) {
    hc->listener.data = hc;
    struct core *before = core_current();
    core_set_current(hc->core);
    timer_init(&hc->grace, hc->core, on_grace);
    int rc = uv_tcp_init(core_uv_loop(hc->core), &hc->listener);
    if (rc == 0) rc = uv_tcp_open(&hc->listener, fd);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&hc->listener, SOMAXCONN, on_connection);
    hc->listening = rc == 0;
    core_set_current(before);
    return rc == 0 ? OK : err_set(err, ERR_IO, -rc, "listen on port %u", hc->server->port);
}

static enum status server_init(struct http_server *server,
                               const struct http_server_options *options, struct err *err) {
    const char *origin = options->cors_origin_regex;
    server->cors_any = origin == NULL || sv_eq(sv_from(origin), SV(".*"));
    if (!server->cors_any) TRY(regex_compile(sv_from(origin), &server->cors_origin, err));
    server->cores = calloc(server->cores_count, sizeof(struct http_core *));
    if (server->cores == NULL) return err_set(err, ERR_NOMEM, 0, "http: no memory");
    for (unsigned i = 0; i < server->cores_count; i++) {
        server->cores[i] = core_new(server, server->rt->cores[i]);
        if (server->cores[i] == NULL) return err_set(err, ERR_NOMEM, 0, "http: no memory");
    }
    return OK;
}

enum status http_server_new(struct runtime *rt, const struct http_server_options *options,
                            struct http_server **out, struct err *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) return err_set(err, ERR_NOMEM, 0, "http: no memory");
    *server = (struct http_server){
        .rt = rt,
        .routes = options->routes,
        .routes_count = options->routes_count,
        .connections_max = options->connections_max,
        .read_timeout_ms = options->read_timeout_ms,
        .write_timeout_ms =
            options->write_timeout_ms > 0 ? options->write_timeout_ms : HTTP_WRITE_TIMEOUT_MS,
        .cores_count = rt->cores_count,
        .open_gauge = metric_get(&open_def, NULL),
        .refused = metric_get(&refused_def, NULL),
    };
    uv_os_sock_t *fds = calloc(rt->cores_count, sizeof *fds);
    enum status rc = fds == NULL ? err_set(err, ERR_NOMEM, 0, "http: no memory") : OK;
    if (rc == OK) rc = server_init(server, options, err);
    if (rc == OK) rc = bind_all(server, sv_from(options->listen_addr), fds, err);
    if (rc != OK) {
        free(fds);
        http_server_free(server);
        return rc;
    }
    /* from here on libuv may hold handles inside of server: if one fails (no memory), all of it is
     * left to them */
    for (unsigned i = 0; rc == OK && i < server->cores_count; i++)
        rc = core_listen(server->cores[i], fds[i], err);
    free(fds);
    if (rc == OK) *out = server;
    return rc;
}

unsigned http_server_port(const struct http_server *server) {
    return server->port;
}

void http_server_free(struct http_server *server) {
    if (server == NULL) return;
    for (unsigned i = 0; server->cores != NULL && i < server->cores_count; i++)
        core_free(server->cores[i]);
    free(server->cores);
    regex_free(server->cors_origin);
    free(server);
}

/* --- stop ---
 * caller -> every core: core_stop -> (last connection freed) -> core 0: core_done -> stopped */

static void core_done(struct core *here, struct msg *m) {
    struct http_core *hc = container_of(m, struct http_core, done_msg);
    struct http_server *server = hc->server;
    assert(here->index == 0 && server->cores_left > 0);
    if (--server->cores_left == 0) server->stopped(server->stopped_ctx);
}

void http_core_check_drained(struct http_core *hc) {
    if (hc->accept_stalled && hc->listening && !hc->stopping) {
        hc->accept_stalled = false;
        http_conn_accept(hc, (uv_stream_t *)&hc->listener);
    }
    if (!hc->stopping || hc->listening || hc->conns_count > 0 || hc->reported) return;
    hc->reported = true;
    timer_stop(&hc->grace);
    hc->done_msg.run = core_done;
    core_post(hc->server->rt->cores[0], &hc->done_msg);
}

static void on_listener_closed(uv_handle_t *h) {
    struct http_core *hc = h->data;
    hc->listening = false;
    http_core_check_drained(hc);
}

static void core_stop(struct core *here, struct msg *m) {
    struct http_core *hc = container_of(m, struct http_core, stop_msg);
    assert(core_is_current(here));
    hc->stopping = true;
    uv_close((uv_handle_t *)&hc->listener, on_listener_closed);
    struct list_node *lists[] = {&hc->conns, &hc->surplus};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_FOREACH_SAFE(n, lists[i]) http_conn_drain(container_of(n, struct http_conn, link));
    timer_start(&hc->grace, hc->server->grace_ms);
}

void http_server_stop(struct http_server *server, uint64_t grace_ms, void (*stopped)(void *ctx),
                      void *ctx) {
    server->grace_ms = grace_ms;
    server->stopped = stopped;
    server->stopped_ctx = ctx;
    server->cores_left = server->cores_count;
    for (unsigned i = 0; i < server->cores_count; i++) {
        server->cores[i]->stop_msg.run = core_stop;
        core_post(server->cores[i]->core, &server->cores[i]->stop_msg);
    }
}
