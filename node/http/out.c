/* SPDX-License-Identifier: Apache-2.0 */
/* The write queue: pieces in order. Small ones are appended to the last piece that libuv does not
 * hold. */
#include <assert.h>
#include <stdlib.h>

#include "node/http/internal.h"

enum { PIECE_APPEND_MAX = 16 << 10, PIECE_FIRST_BYTES = 512, IOV_MAX_COUNT = 16 };

static struct http_piece *piece_add(struct http_out *out) {
    struct http_piece *p = calloc(1, sizeof *p);
    if (p == NULL) {
        out->failed = true;
        return NULL;
    }
    if (out->last == NULL)
        out->first = p;
    else
        out->last->next = p;
    out->last = p;
    return p;
}

void http_out_put(struct http_out *out, struct sv bytes) {
    if (bytes.len == 0 || out->failed) return;
    struct http_piece *p = out->last;
    if (p == NULL || p->in_flight || p->data.len + bytes.len > PIECE_APPEND_MAX) {
        p = piece_add(out);
        if (p == NULL) return;
        buf_reserve(&p->data, MAX(bytes.len, (size_t)PIECE_FIRST_BYTES));
    }
    buf_put_sv(&p->data, bytes);
    if (p->data.failed)
        out->failed = true;
    else
        out->bytes += bytes.len;
}

void http_out_take(struct http_out *out, struct buf *bytes) {
    if (bytes->failed) out->failed = true;
    if (bytes->len <= PIECE_APPEND_MAX / 4 || out->failed) {
        http_out_put(out, buf_sv(bytes));
        buf_fini(bytes);
        return;
    }
    struct http_piece *p = piece_add(out);
    if (p == NULL) {
        buf_fini(bytes);
        return;
    }
    p->data = buf_move(bytes);
    out->bytes += p->data.len;
}

static void piece_drop_first(struct http_out *out) {
    struct http_piece *p = out->first;
    out->first = p->next;
    if (out->first == NULL) out->last = NULL;
    buf_fini(&p->data);
    free(p);
}

void http_out_free(struct http_out *out) {
    while (out->first != NULL)
        piece_drop_first(out);
    *out = (struct http_out){0};
}

static unsigned out_iov(struct http_out *out, uv_buf_t *iov, bool mark) {
    unsigned n = 0;
    for (struct http_piece *p = out->first; p != NULL && n < IOV_MAX_COUNT; p = p->next) {
        size_t len =
            MIN(p->data.len - p->sent, (size_t)1 << 30); /* within what writev takes at once */
        iov[n++] = uv_buf_init(p->data.ptr + p->sent, (unsigned)len);
        p->in_flight = mark;
        if (len < p->data.len - p->sent) break;
    }
    return n;
}

static void out_sent(struct http_out *out, size_t n) {
    assert(n <= out->bytes);
    out->bytes -= n;
    while (n > 0) {
        struct http_piece *p = out->first;
        size_t left = p->data.len - p->sent;
        if (n < left) {
            p->sent += n;
            return;
        }
        n -= left;
        piece_drop_first(out);
    }
}

static void on_written(uv_write_t *req, int rc) {
    struct http_conn *c = container_of(req, struct http_conn, write_req);
    struct http_out *out = &c->out;
    assert(out->writing);
    out->writing = false;
    if (rc == 0) {
        size_t n = 0;
        bool part = false;
        for (struct http_piece *p = out->first; p != NULL && p->in_flight && !part; p = p->next) {
            size_t left = p->data.len - p->sent;
            part = left > (size_t)1 << 30;
            n += part ? (size_t)1 << 30 : left;
            p->in_flight = false;
        }
        out_sent(out, n);
    }
    http_conn_written(c, rc);
}

bool http_out_flush(struct http_conn *c) {
    struct http_out *out = &c->out;
    if (out->failed) return false;
    uv_buf_t iov[IOV_MAX_COUNT];
    while (out->first != NULL && !out->writing) {
        unsigned count = out_iov(out, iov, false);
        int n = uv_try_write((uv_stream_t *)&c->tcp, iov, count);
        if (n >= 0) {
            out_sent(out, (size_t)n);
            continue;
        }
        if (n != UV_EAGAIN) return false;
        count = out_iov(out, iov, true);
        if (uv_write(&c->write_req, (uv_stream_t *)&c->tcp, iov, count, on_written) != 0)
            return false;
        out->writing = true;
        c->write_left = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
        c->write_progress_ns = core_mono_ns(c->hc->core);
        timer_start(&c->write_timer, (uint64_t)c->hc->server->write_timeout_ms / 4 + 1);
    }
    return true;
}
