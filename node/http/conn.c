/* SPDX-License-Identifier: Apache-2.0 */
/* One connection. Owner: http_core.conns or .surplus until its socket is closed; freed when it is
 * closed and its last request has been answered, whichever comes later (conn_free_when_done).
 *
 *            +------------------(keep-alive)------------+
 *            v                                          |
 *   accept -> HEAD -> BODY -> HANDLE -> answer finished -(close)-> FLUSH -> LINGER -> CLOSING
 *              |       |        ^  resumes in http_conn_changed
 *              +-------+--------+--- answered by the server itself (http_conn_refuse)
 *   any state -> CLOSING on a broken socket or a deadline
 *
 * Requests are taken one after the other; what a client pipelines waits in `in`. In FLUSH and
 * LINGER input is discarded: closing a socket with unread input would reset it and could destroy
 * the answer on its way. */
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "node/http/internal.h"
#include "node/runtime/loop.h"

static void conn_run(struct http_conn *c, struct sv fresh);
static void conn_settle(struct http_conn *c);

static void conn_free_when_done(struct http_conn *c) {
    if (!c->closed || c->stepping || c->resume_posted) return;
    if (c->x.answer != ANSWER_NONE && c->x.answer != ANSWER_FINISHED) return;
    struct http_core *hc = c->hc;
    if (c->x.answer == ANSWER_FINISHED && c->x.started_ns != 0) http_core_observe(hc, &c->x);
    http_exchange_reset(&c->x);
    http_out_free(&c->out);
    buf_fini(&c->in);
    arena_fini(&c->arena);
    free(c);
    assert(hc->conns_count > 0);
    hc->conns_count--;
    http_core_check_drained(hc);
}

static void conn_on_closed(uv_handle_t *h) {
    struct http_conn *c = h->data;
    c->closed = true;
    struct http_request *req = &c->x.req;
    bool awaited = c->x.answer == ANSWER_AWAITED || c->x.answer == ANSWER_STREAMED;
    if (awaited && req->canceled != NULL) {
        c->stepping = true; /* it may answer at once */
        req->canceled(req, req->canceled_ctx);
        c->stepping = false;
    }
    conn_free_when_done(c);
}

void http_conn_close(struct http_conn *c) {
    if (c->state == CONN_CLOSING) return;
    c->state = CONN_CLOSING;
    timer_stop(&c->read_timer);
    timer_stop(&c->write_timer);
    list_remove(&c->link);
    http_server_leave(c->hc, c);
    uv_close((uv_handle_t *)&c->tcp, conn_on_closed);
}

/* --- request head --- */

static void exchange_begin(struct http_conn *c) {
    struct http_exchange *x = &c->x;
    x->req.core = c->hc->core;
    x->req.arena = &c->arena;
    x->req.remote = sv_from(c->remote);
    x->started_ns = core_mono_ns(c->hc->core);
}

void http_conn_refuse(struct http_conn *c, int code, const char *text) {
    struct http_exchange *x = &c->x;
    assert(c->state == CONN_HEAD || c->state == CONN_BODY);
    if (x->started_ns == 0) exchange_begin(c);
    c->state = CONN_HANDLE;
    x->answer = ANSWER_AWAITED;
    x->close = x->linger = true;
    bool nested = c->stepping;
    c->stepping = true; /* the caller goes on with conn_run */
    http_answer_text(&x->req, code, "%s", text);
    c->stepping = nested;
}

/* The views of a parsed head, moved from the read buffer to the request's memory. */
static bool head_keep(struct http_conn *c, const struct http_head *head, size_t used) {
    struct http_exchange *x = &c->x;
    struct sv copy = arena_sv(&c->arena, sv_take(c->input, used));
    if (copy.ptr == NULL) return false;
    const char *from = c->input.ptr;
    x->head = *head;
    x->head.method_text.ptr = copy.ptr + (head->method_text.ptr - from);
    x->head.target.ptr = copy.ptr + (head->target.ptr - from);
    for (size_t i = 0; i < head->headers_count; i++) {
        head->headers[i].name.ptr = copy.ptr + (head->headers[i].name.ptr - from);
        head->headers[i].value.ptr = copy.ptr + (head->headers[i].value.ptr - from);
    }
    x->req.method = (enum http_method)head->method;
    x->req.headers = head->headers;
    x->req.headers_count = head->headers_count;
    x->close = !head->keep_alive;
    return true;
}

/* Answers that need no handler. The body of such a request is not read, so the connection ends with
 * it. */
static void answer_own(struct http_conn *c, int code, const char *text) {
    struct http_exchange *x = &c->x;
    c->state = CONN_HANDLE;
    x->answer = ANSWER_AWAITED;
    if (x->head.chunked || x->head.content_length > 0) x->close = x->linger = true;
    if (text == NULL)
        http_answer(&x->req, code, (struct sv){0}, (struct sv){0});
    else
        http_answer_text(&x->req, code, "%s", text);
}

static void answer_not_allowed(struct http_conn *c, unsigned allowed) {
    struct buf names = {0};
    http_methods_put(&names, allowed | HTTP_OPTIONS);
    c->x.answer = ANSWER_AWAITED;
    http_answer_header(&c->x.req, SV("Allow"), buf_sv(&names));
    buf_fini(&names);
    answer_own(c, 405, "Method Not Allowed");
}

static void conn_route(struct http_conn *c) {
    struct http_exchange *x = &c->x;
    const struct http_server *server = c->hc->server;
    struct err err = {0};
    if (http_target_split(x->head.target, &c->arena, &x->req.path, &x->req.raw_query, &err) != OK) {
        http_conn_refuse(c, 400, err.msg);
        return;
    }
    unsigned allowed;
    x->route = http_route_find(server->routes, server->routes_count, x->req.path, x->head.method,
                               &x->req.path_param, &allowed);
    if (c->surplus && (x->route == NULL || !x->route->always_admit)) {
        http_conn_refuse(c, 503, "too many connections");
    } else if (x->route != NULL) {
        x->req.route_ctx = x->route->ctx;
        int code = http_body_begin(x);
        if (code != 0) {
            struct sv text = http_code_text(code);
            http_conn_refuse(c, code, text.ptr);
            return;
        }
        c->state = CONN_BODY;
        if (x->head.expect_continue && c->input.len == 0 &&
            (x->head.chunked || x->head.content_length > 0))
            http_out_put(&c->out, SV("HTTP/1.1 100 Continue\r\n\r\n"));
    } else if (x->head.method == 0) {
        answer_own(c, 501, http_code_text(501).ptr);
    } else if (x->head.method == HTTP_OPTIONS) {
        answer_own(c, 204, NULL);
    } else if (allowed != 0) {
        answer_not_allowed(c, allowed);
    } else {
        answer_own(c, 404, "404 page not found");
    }
}

static void refuse_head(struct http_conn *c, enum status rc, const char *text) {
    size_t lf;
    if (rc == ERR_NOMEM)
        http_conn_refuse(c, 503, text);
    else if (rc != ERR_LIMIT)
        http_conn_refuse(c, 400, text);
    else if (sv_find_char(sv_take(c->input, HTTP_HEAD_BYTES_MAX), '\n', &lf))
        http_conn_refuse(c, 431, text);
    else
        http_conn_refuse(c, 414, text);
}

/* true: the state changed, go on */
static bool conn_read_head(struct http_conn *c) {
    if (c->out.bytes > HTTP_QUEUE_FULL_BYTES &&
        (!http_out_flush(c) || c->out.bytes > HTTP_QUEUE_FULL_BYTES))
        return false; /* resumes in http_conn_written */
    struct http_head head;
    size_t used = 0;
    struct err err = {0};
    enum status rc = OK;
    if (c->input.len > 0) rc = http_head_parse(c->input, &c->arena, &head, &used, &err);
    if (rc == OK && used == 0) {
        if (!c->eof && !(c->hc->stopping && c->input.len == 0))
            return false; /* resumes in conn_on_read */
        c->state = CONN_FLUSH;
        return true;
    }
    if (rc == OK && !head_keep(c, &head, used))
        rc = err_set(&err, ERR_NOMEM, 0, "no memory for the request");
    if (rc != OK) {
        refuse_head(c, rc, err.msg);
        return true;
    }
    c->input = sv_skip(c->input, used);
    exchange_begin(c);
    conn_route(c);
    return true;
}

static bool conn_read_body(struct http_conn *c) {
    switch (http_body_read(c)) {
    case BODY_MORE:
        if (c->eof) http_conn_close(c); /* half a request; nobody waits for an answer to it */
        return false;                   /* resumes in conn_on_read */
    case BODY_REFUSED: return true;
    case BODY_DONE: break;
    }
    c->state = CONN_HANDLE;
    c->x.answer = ANSWER_AWAITED;
    c->x.route->handler(&c->x.req);
    return true;
}

static bool conn_finish(struct http_conn *c) {
    struct http_exchange *x = &c->x;
    if (x->answer != ANSWER_FINISHED) return false; /* resumes in http_conn_changed */
    http_core_observe(c->hc, x);
    bool linger = x->linger || c->input.len > 0;
    c->state = x->close ? CONN_FLUSH : CONN_HEAD;
    http_exchange_reset(x);
    x->linger = linger;
    if (arena_used_bytes(&c->arena) > 4096)
        arena_fini(&c->arena);
    else
        arena_reset(&c->arena);
    c->probed = false;
    c->active_ns = core_mono_ns(c->hc->core);
    return true;
}

static bool conn_step(struct http_conn *c) {
    switch (c->state) {
    case CONN_HEAD: return conn_read_head(c);
    case CONN_BODY: return conn_read_body(c);
    case CONN_HANDLE: return conn_finish(c);
    case CONN_FLUSH:
    case CONN_LINGER:
    case CONN_CLOSING: break;
    }
    return false;
}

/* Runs the connection as far as it goes. fresh: bytes just read, behind those kept in `in`. */
static void conn_run(struct http_conn *c, struct sv fresh) {
    assert(!c->stepping);
    c->stepping = true;
    bool kept = c->in.len > 0;
    if (kept) buf_put_sv(&c->in, fresh);
    c->input = kept ? buf_sv(&c->in) : fresh;
    if (c->in.failed) http_conn_close(c);
    while (conn_step(c))
        continue;
    if (c->state != CONN_CLOSING && !http_out_flush(c)) http_conn_close(c);
    if (c->input.len == 0) {
        buf_fini(&c->in); /* an idle connection holds no buffer */
    } else if (kept) {
        memmove(c->in.ptr, c->input.ptr, c->input.len);
        c->in.len = c->input.len;
    } else {
        buf_put_sv(&c->in, c->input);
        if (c->in.failed) http_conn_close(c);
    }
    c->input = (struct sv){0};
    c->stepping = false;
    conn_settle(c);
}

/* --- events --- */

static void conn_on_resume(struct core *here, struct msg *m) {
    (void)here;
    struct http_conn *c = container_of(m, struct http_conn, resume);
    c->resume_posted = false;
    struct http_exchange *x = &c->x;
    if (x->answer == ANSWER_STREAMED && x->stream_full && x->writable != NULL &&
        c->state != CONN_CLOSING && c->out.bytes <= HTTP_QUEUE_LOW_BYTES) {
        x->stream_full = false;
        c->stepping = true;
        x->writable(&x->req, x->writable_ctx);
        c->stepping = false;
    }
    conn_run(c, (struct sv){0});
}

/* By a message, not by a call: the caller may be a handler in the middle of something. */
static void conn_post_resume(struct http_conn *c) {
    if (c->resume_posted) return;
    c->resume_posted = true;
    c->resume.run = conn_on_resume;
    core_post(c->hc->core, &c->resume);
}

void http_conn_changed(struct http_conn *c) {
    if (c->stepping) return; /* conn_run sees to it */
    if (c->state != CONN_CLOSING &&
        c->in.len > 0) { /* the next request waits: its handler must not run in here */
        if (!http_out_flush(c)) http_conn_close(c);
        conn_post_resume(c);
    } else {
        conn_run(c, (struct sv){0});
    }
}

void http_conn_written(struct http_conn *c, int rc) {
    if (c->state == CONN_CLOSING) return;
    timer_stop(&c->write_timer);
    if (rc < 0)
        http_conn_close(c);
    else
        conn_run(c, (struct sv){0});
}

static void conn_on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct http_conn *c = h->data;
    *buf = uv_buf_init(c->hc->scratch, sizeof c->hc->scratch);
}

static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct http_conn *c = stream->data;
    if (n == 0 || c->state == CONN_CLOSING) return;
    if (n < 0 && n != UV_EOF) {
        http_conn_close(c);
        return;
    }
    if (n == UV_EOF) {
        c->eof = true;
        c->reading = false;
        if (c->state == CONN_LINGER) {
            http_conn_close(c);
            return;
        }
        if (c->state == CONN_HANDLE) timer_start(&c->read_timer, HTTP_PROBE_MS);
    }
    if (c->state == CONN_FLUSH || c->state == CONN_LINGER) n = 0;
    if (c->state == CONN_HEAD && c->in.len == 0) c->active_ns = core_mono_ns(c->hc->core);
    conn_run(c, n > 0 ? sv_make(buf->base, (size_t)n) : (struct sv){0});
}

/* The client has sent FIN: it may be waiting for the answer or be gone, which look the same until
 * something is sent to it. An interim answer asks: a closed socket replies with a reset. Only for
 * requests that somebody wants to cancel. */
static void conn_probe(struct http_conn *c) {
    struct tcp_info info;
    socklen_t len = sizeof info;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0 ||
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 || info.tcpi_state == TCP_CLOSE) {
        http_conn_close(c);
        return;
    }
    if (!c->probed && c->x.head.minor_version == 1 && c->x.req.canceled != NULL &&
        (c->x.answer == ANSWER_AWAITED || c->x.answer == ANSWER_COMPRESSED)) {
        c->probed = true;
        http_out_put(&c->out, SV("HTTP/1.1 100 Continue\r\n\r\n"));
        if (!http_out_flush(c)) {
            http_conn_close(c);
            return;
        }
    }
    timer_start(&c->read_timer, HTTP_PROBE_MS);
}

static int64_t conn_timeout_ms(const struct http_conn *c) {
    return c->surplus ? HTTP_SURPLUS_TIMEOUT_MS : c->hc->server->read_timeout_ms;
}

static void conn_on_read_timer(struct timer *t) {
    struct http_conn *c = container_of(t, struct http_conn, read_timer);
    if (c->state == CONN_HANDLE) {
        if (c->eof) conn_probe(c);
        return; /* otherwise armed again by conn_settle once the answer is out */
    }
    if (c->state == CONN_LINGER) http_conn_close(c);
    if (c->state != CONN_HEAD && c->state != CONN_BODY) return;
    int64_t idle_ms = (int64_t)((core_mono_ns(c->hc->core) - c->active_ns) / 1000000);
    int64_t timeout_ms = conn_timeout_ms(c);
    if (idle_ms < timeout_ms || c->out.bytes > 0) { /* it was armed for an earlier request */
        timer_start(t, (uint64_t)MAX(timeout_ms - idle_ms, (int64_t)HTTP_PROBE_MS));
        return;
    }
    if (c->surplus)
        http_conn_refuse(c, 503, "too many connections");
    else if (c->state == CONN_HEAD && c->in.len == 0)
        http_conn_close(c);
    else
        http_conn_refuse(c, 408, "the request did not arrive in time");
    if (c->state != CONN_CLOSING) conn_run(c, (struct sv){0});
}

static void conn_on_write_timer(struct timer *t) {
    struct http_conn *c = container_of(t, struct http_conn, write_timer);
    uint64_t now = core_mono_ns(c->hc->core);
    size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    int64_t timeout_ms = c->hc->server->write_timeout_ms;
    if (left != c->write_left) {
        c->write_left = left;
        c->write_progress_ns = now;
    } else if ((int64_t)((now - c->write_progress_ns) / 1000000) >= timeout_ms) {
        http_conn_close(c);
        return;
    }
    timer_start(t, (uint64_t)timeout_ms / 4 + 1);
}

static bool conn_wants_input(const struct http_conn *c) {
    if (c->eof) return false;
    if (c->state == CONN_HEAD) return c->out.bytes <= HTTP_QUEUE_FULL_BYTES;
    return c->state != CONN_HANDLE || c->in.len < HTTP_READ_AHEAD_BYTES;
}

/* After every run: what the new state asks of the socket and the timers. */
static void conn_settle(struct http_conn *c) {
    if (c->state == CONN_FLUSH && c->out.first == NULL) {
        uv_os_fd_t fd;
        if (c->eof || !c->x.linger || uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0) {
            http_conn_close(c);
        } else {
            shutdown(fd, SHUT_WR);
            c->state = CONN_LINGER;
            timer_start(&c->read_timer, HTTP_LINGER_MS);
        }
    }
    if (c->state == CONN_CLOSING) {
        conn_free_when_done(c);
        return;
    }
    bool reading = conn_wants_input(c);
    if (reading && !c->reading &&
        uv_read_start((uv_stream_t *)&c->tcp, conn_on_alloc, conn_on_read) != 0) {
        http_conn_close(c);
        return;
    }
    if (!reading && c->reading) uv_read_stop((uv_stream_t *)&c->tcp);
    c->reading = reading;
    if ((c->state == CONN_HEAD || c->state == CONN_BODY) && !timer_is_armed(&c->read_timer))
        timer_start(&c->read_timer, (uint64_t)conn_timeout_ms(c));
    if (c->x.answer == ANSWER_STREAMED && c->x.stream_full && c->x.writable != NULL &&
        c->out.bytes <= HTTP_QUEUE_LOW_BYTES)
        conn_post_resume(c);
}

void http_conn_evict(struct http_conn *c) {
    if ((c->state == CONN_HEAD || c->state == CONN_BODY) && c->out.first == NULL) {
        http_conn_refuse(c, 503, "too many connections");
        http_out_flush(c);
    }
    http_conn_close(c);
}

void http_conn_drain(struct http_conn *c) {
    /* with bytes in `in` a request is on its way or waits: it ends the connection itself, and no
     * handler may run in here, as the caller walks over the connections */
    if (c->state == CONN_HEAD && !c->stepping && c->in.len == 0) conn_run(c, (struct sv){0});
}

static void conn_set_remote(struct http_conn *c) {
    struct sockaddr_storage addr;
    int len = sizeof addr;
    char ip[48] = "";
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&addr, &len) != 0) return;
    if (addr.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &addr, sizeof in6);
        unsigned port = ntohs(in6.sin6_port);
        uv_ip6_name(&in6, ip, sizeof ip);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr); /* Go prints those as IPv4, too */
        if (mapped)
            snprintf(c->remote, sizeof c->remote, "%s:%u", ip + strlen("::ffff:"), port);
        else
            snprintf(c->remote, sizeof c->remote, "[%s]:%u", ip, port);
    } else {
        struct sockaddr_in in4;
        memcpy(&in4, &addr, sizeof in4);
        uv_ip4_name(&in4, ip, sizeof ip);
        snprintf(c->remote, sizeof c->remote, "%s:%u", ip, (unsigned)ntohs(in4.sin_port));
    }
}

void http_conn_accept(struct http_core *hc, uv_stream_t *listener) {
    struct http_conn *c = calloc(1, sizeof *c);
    if (c == NULL || uv_tcp_init(core_uv_loop(hc->core), &c->tcp) != 0) {
        free(c);
        hc->accept_stalled =
            true; /* libuv waits for its uv_accept: tried again when a connection was freed */
        return;
    }
    c->hc = hc;
    c->tcp.data = c;
    c->active_ns = core_mono_ns(hc->core);
    arena_init(&c->arena, HTTP_ARENA_BYTES_MAX);
    timer_init(&c->read_timer, hc->core, conn_on_read_timer);
    timer_init(&c->write_timer, hc->core, conn_on_write_timer);
    hc->conns_count++;
    c->surplus = !http_server_admit(hc->server);
    if (c->surplus) hc->surplus_count++;
    list_push_back(c->surplus ? &hc->surplus : &hc->conns, &c->link);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
        http_conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, 60);
    conn_set_remote(c);
    if (hc->surplus_count > hc->surplus_max)
        http_conn_evict(container_of(hc->surplus.next, struct http_conn, link));
    conn_settle(c);
}
