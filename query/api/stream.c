/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a list that is long: workers write some of them ahead, the core sends them in order.
 *
 *   given out (worker) -> ready -> sent; then the place is given the next part
 *
 * Workers also pack the parts for a client that takes them packed. A turn on the core lasts about a
 * millisecond. A client that does not read stops the sending, with it the giving out: at most
 * STREAM_AHEAD parts wait. */
#include <stdlib.h>

#include "query/api/internal.h"

enum { STREAM_AHEAD = 4, PART_POINTS = 2048, TURN_NS = 1000000 };

struct result_ahead {
    struct work work;
    struct result_stream *of;
    struct result_part part;
    struct http_packer *packer; /* NULL: the client takes the bytes as they are */
    struct http_packed out;
    bool ready;
    struct result_stamps stamps;
};

static void ahead_run(struct work *w) {
    struct result_ahead *a = container_of(w, struct result_ahead, work);
    struct buf plain = {0};
    result_put_part(a->of->result, &a->part, &a->stamps, &plain);
    if (a->packer == NULL && a->of->packs) plain.failed = true;
    http_packer_put(a->packer, &plain, &a->out);
}

static void ahead_free(struct result_ahead *ahead) {
    for (unsigned i = 0; i < STREAM_AHEAD; i++) {
        http_packer_free(ahead[i].packer);
        buf_fini(&ahead[i].out.bytes);
    }
    free(ahead);
}

static void stream_turn(struct result_stream *s);

static void ahead_ran(struct core *here, struct work *w) {
    (void)here;
    struct result_ahead *a = container_of(w, struct result_ahead, work);
    a->ready = true;
    stream_turn(a->of);
}

static void stream_give_out(struct result_stream *s) {
    while (s->count < STREAM_AHEAD && s->next.series < s->series_end) {
        struct result_ahead *a = &s->ahead[(s->oldest + s->count) % STREAM_AHEAD];
        struct result_pos to = result_cut(s->result, s->next, s->series_end, PART_POINTS);
        a->of = s;
        a->ready = false;
        a->part = (struct result_part){s->next, to};
        a->work = (struct work){.run = ahead_run, .done = ahead_ran};
        s->next = to;
        s->count++;
        work_submit(s->req->core, &a->work);
    }
}

/* No worker, no message and no caller has it any more. */
static bool stream_is_still(const struct result_stream *s) {
    for (unsigned i = 0; i < s->count; i++)
        if (!s->ahead[(s->oldest + i) % STREAM_AHEAD].ready) return false;
    return !s->turning && !s->posted;
}

static void stream_end(struct result_stream *s) {
    if (!s->gone) {
        struct buf last = {0};
        buf_put_char(&last, ']');
        s->tail(s, &last);
        http_stream_write(s->req, &last);
    }
    http_stream_end(s->req);
    ahead_free(s->ahead);
    s->over(s);
}

static void stream_on_posted(struct core *here, struct msg *m) {
    (void)here;
    struct result_stream *s = container_of(m, struct result_stream, msg);
    s->posted = false;
    stream_turn(s);
}

static void stream_send(struct result_stream *s) {
    uint64_t until_ns = core_mono_ns(s->req->core) + TURN_NS;
    struct result_ahead *a = &s->ahead[s->oldest];
    for (; s->count > 0 && a->ready && !s->gone && !http_stream_is_full(s->req);
         a = &s->ahead[s->oldest]) {
        if (core_mono_ns(s->req->core) >= until_ns) {
            s->posted = true;
            s->msg.run = stream_on_posted;
            core_post(s->req->core, &s->msg);
            return;
        }
        if (!http_stream_write_packed(s->req, &a->out)) s->gone = true;
        s->oldest = (s->oldest + 1) % STREAM_AHEAD;
        s->count--;
    }
}

static void stream_turn(struct result_stream *s) {
    if (s->posted || s->turning) return;
    s->turning = true;
    stream_send(s);
    if (!s->gone) stream_give_out(s);
    s->turning = false;
    if ((s->gone || s->count == 0) && stream_is_still(s)) stream_end(s);
}

static void stream_on_writable(struct http_request *req, void *ctx) {
    (void)req;
    stream_turn(ctx);
}

bool result_stream_start(struct result_stream *s, struct buf *head) {
    s->ahead = calloc(STREAM_AHEAD, sizeof *s->ahead);
    if (s->ahead == NULL) return false;
    http_stream_begin(s->req, 200, API_JSON);
    enum http_encoding encoding = http_stream_encoding(s->req);
    s->packs = encoding != HTTP_IDENTITY;
    for (unsigned i = 0; i < STREAM_AHEAD && s->packs; i++) /* without one it writes no part */
        s->ahead[i].packer = http_packer_new(encoding);
    http_stream_on_writable(s->req, stream_on_writable, s);
    if (!http_stream_write(s->req, head)) s->gone = true;
    stream_turn(s);
    return true;
}

void result_stream_gone(struct result_stream *s) {
    s->gone = true;
    stream_turn(s);
}
