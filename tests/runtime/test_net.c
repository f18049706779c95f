/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over TCP between two runtimes on loopback, on real threads. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "node/runtime/loop.h"
#include "node/runtime/net.h"
#include "tests/runtime/check.h"

/* ---- two runtimes, and what happened on one connection ---- */

static struct runtime *runtime_open(void) {
    struct runtime *rt = NULL;
    struct err err = {0};
    struct loop_options options = {.cores_count = 2, .workers_count = 1};
    CHECK(loop_runtime_new(&options, &rt, &err) == OK, "%s", err.msg);
    CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
    return rt;
}

static void runtime_close(struct runtime *rt) {
    loop_runtime_stop(rt);
    loop_runtime_free(rt);
}

static void wait_for(sem_t *sem) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    while (sem_timedwait(sem, &limit) != 0)
        CHECK(errno == EINTR, "nothing happened for 60 s");
}

static uint64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000U + (uint64_t)ts.tv_nsec / 1000000U;
}

/* One end of a connection; its fields belong to its core, the semaphores tell the test's thread. */
struct end {
    struct conn *conn;
    bool in_dial;
    unsigned opened, frames, closed;
    char last[64];
    char why[256];
    sem_t on_open, on_frame, on_close;
};

static void end_init(struct end *e) {
    *e = (struct end){0};
    sem_init(&e->on_open, 0, 0);
    sem_init(&e->on_frame, 0, 0);
    sem_init(&e->on_close, 0, 0);
}
static void end_fini(struct end *e) {
    sem_destroy(&e->on_open);
    sem_destroy(&e->on_frame);
    sem_destroy(&e->on_close);
}

static void end_opened(struct conn *c, void *ctx) {
    struct end *e = ctx;
    CHECK(core_is_current(c->core) && !e->in_dial, "opened at the wrong place");
    CHECK(e->frames == 0 && e->closed == 0 && e->opened++ == 0, "opened at the wrong time");
    sem_post(&e->on_open);
}
static void end_frame(struct conn *c, void *ctx, struct sv frame) {
    struct end *e = ctx;
    CHECK(core_is_current(c->core) && e->closed == 0, "a frame after closed");
    e->frames++;
    snprintf(e->last, sizeof e->last, "%.*s", (int)MIN(frame.len, sizeof e->last - 1), frame.ptr);
    sem_post(&e->on_frame);
}
static void end_closed(struct conn *c, void *ctx, const char *why) {
    struct end *e = ctx;
    CHECK(core_is_current(c->core) && !e->in_dial, "closed inside net_dial");
    CHECK(e->closed++ == 0, "closed twice");
    snprintf(e->why, sizeof e->why, "%s", why);
    sem_post(&e->on_close);
}
static const struct conn_events end_events = {end_opened, end_frame, end_closed};

static void end_accept(struct core *core, struct conn *c, void *ctx) {
    struct end *e = ctx;
    CHECK(core_is_current(core) && c->core == core, "accepted elsewhere");
    CHECK(e->opened++ == 0, "accepted twice");
    e->conn = c;
    conn_set_events(c, &end_events, e);
    sem_post(&e->on_open);
}

struct listen_call {
    struct sv addr;
    net_accept_cb accept;
    void *ctx;
    enum status status;
    struct err err;
    unsigned port;
};
static void listen_run(struct core *here, void *ctx) {
    struct listen_call *l = ctx;
    l->status = net_listen(here, l->addr, l->accept, l->ctx, &l->err);
    l->port = loop_net_port(here);
}
static unsigned listen_on(struct core *core, const char *addr, net_accept_cb accept, void *ctx) {
    struct listen_call l = {.addr = sv_from(addr), .accept = accept, .ctx = ctx};
    core_call(core, listen_run, &l);
    CHECK(l.status == OK && l.port > 0, "%s", l.err.msg);
    return l.port;
}
static void unlisten_run(struct core *here, void *ctx) {
    (void)ctx;
    net_unlisten(here);
    CHECK(loop_net_port(here) == 0, "still listens");
}

struct dial_call {
    char addr[300];
    struct end *end;
};
static void dial_run(struct core *here, void *ctx) {
    struct dial_call *d = ctx;
    d->end->in_dial = true;
    d->end->conn = net_dial(here, sv_from(d->addr), &end_events, d->end);
    d->end->in_dial = false;
}
static void dial(struct core *core, struct end *end, const char *host, unsigned port) {
    struct dial_call d = {.end = end};
    snprintf(d.addr, sizeof d.addr, port == 0 ? "%s" : "%s:%u", host, port);
    core_call(core, dial_run, &d);
}

static void close_run(struct core *here, void *ctx) {
    (void)here;
    struct end *e = ctx;
    conn_close(e->conn);
    CHECK(e->closed == 0, "closed inside conn_close");
    conn_close(e->conn);
    struct buf late = {0};
    buf_put_sv(&late, SV("late"));
    conn_send(e->conn, &late);
    CHECK(late.len == 0 && late.ptr == NULL, "the bytes were not taken");
}
static void send_run(struct core *here, void *ctx) {
    (void)here;
    struct end *e = ctx;
    struct buf b = {0};
    buf_put_sv(&b, SV("hello"));
    conn_send(e->conn, &b);
    CHECK(b.len == 0 && b.ptr == NULL, "the bytes were not taken");
}
static void send_close_run(struct core *here, void *ctx) {
    send_run(here, ctx);
    conn_close(((struct end *)ctx)->conn);
}

/* ---- the two directions ---- */

/* Each end sends WINDOW frames, then one for each it gets, until it has sent and got
 * FRAMES_PER_CONN. Frame i of a direction has a length and content that follow from (seed,
 * connection, direction, i) alone. */
enum { CONNS = 4, FRAMES_PER_CONN = 25000, WINDOW = 500, LARGE_BYTES = 1 << 20 };
static uint64_t flood_seed;
struct flood {
    struct conn *conn;
    uint64_t send_key, want_key;
    uint32_t sent, got;
    uint64_t got_bytes;
    bool closed;
};
static struct flood flood_out[CONNS], flood_in[CONNS];
static sem_t flood_done, flood_closed;

static size_t flood_frame_len(struct rng *r) {
    size_t max = rng_below(r, 500) == 0 ? LARGE_BYTES : 2048;
    return 8 + (size_t)rng_below(r, max - 7);
}

static void flood_send(struct flood *f) {
    uint32_t i = f->sent++;
    struct rng r;
    rng_init(&r, f->send_key + i);
    size_t len = flood_frame_len(&r);
    struct buf b = {0};
    char *p = buf_extend(&b, len);
    CHECK(p != NULL, "no memory");
    put_u64le(p, f->send_key); /* so that the accepting end knows the connection */
    size_t at = 8;
    for (; at + 8 <= len; at += 8)
        put_u64le(p + at, rng_u64(&r));
    for (; at < len; at++)
        p[at] = (char)rng_u64(&r);
    conn_send(f->conn, &b);
}

static void flood_check(struct flood *f, struct sv frame) {
    struct rng r;
    rng_init(&r, f->want_key + f->got);
    size_t len = flood_frame_len(&r);
    CHECK(frame.len == len, "frame %u: %zu bytes, want %zu", f->got, frame.len, len);
    CHECK(get_u64le(frame.ptr) == f->want_key, "frame %u: wrong key", f->got);
    size_t at = 8;
    for (; at + 8 <= len; at += 8)
        CHECK(get_u64le(frame.ptr + at) == rng_u64(&r), "frame %u: byte %zu", f->got, at);
    for (; at < len; at++)
        CHECK(frame.ptr[at] == (char)rng_u64(&r), "frame %u: byte %zu", f->got, at);
    f->got++;
    f->got_bytes += frame.len;
}

static void flood_start(struct flood *f) {
    while (f->sent < WINDOW)
        flood_send(f);
}
static void flood_opened(struct conn *c, void *ctx) {
    (void)c;
    flood_start(ctx);
}
static void flood_frame(struct conn *c, void *ctx, struct sv frame) {
    struct flood *f = ctx;
    if (f == NULL) { /* accepted: the first frame tells who dials */
        uint64_t key = get_u64le(frame.ptr);
        for (unsigned i = 0; i < CONNS; i++)
            if (flood_in[i].want_key == key) f = &flood_in[i];
        CHECK(f != NULL && f->conn == NULL, "a frame of nobody");
        f->conn = c;
        conn_set_events(c, c->events, f);
        flood_start(f);
    }
    flood_check(f, frame);
    if (f->sent < FRAMES_PER_CONN) flood_send(f);
    if (f->got == FRAMES_PER_CONN) sem_post(&flood_done);
}
static void flood_on_closed(struct conn *c, void *ctx, const char *why) {
    (void)c;
    struct flood *f = ctx;
    CHECK(f->got == FRAMES_PER_CONN, "closed after %u frames: %s", f->got, why);
    f->closed = true;
    sem_post(&flood_closed);
}
static const struct conn_events flood_events = {flood_opened, flood_frame, flood_on_closed};

static void flood_accept(struct core *core, struct conn *c, void *ctx) {
    (void)core;
    (void)ctx;
    conn_set_events(c, &flood_events, NULL);
}
static unsigned flood_port;
static void flood_dial(struct core *here, void *ctx) {
    struct flood *f = ctx;
    char addr[32];
    snprintf(addr, sizeof addr, "127.0.0.1:%u", flood_port);
    f->conn = net_dial(here, sv_from(addr), &flood_events, f);
}
static void flood_close(struct core *here, void *ctx) {
    (void)here;
    conn_close(((struct flood *)ctx)->conn);
}

static void frames_arrive_whole_both_ways(void) {
    struct runtime *a = runtime_open(), *b = runtime_open();
    sem_init(&flood_done, 0, 0);
    sem_init(&flood_closed, 0, 0);
    flood_port = listen_on(b->cores[0], "127.0.0.1:0", flood_accept, NULL);
    char addr[32];
    snprintf(addr, sizeof addr, "127.0.0.1:%u", flood_port);
    CHECK(listen_on(b->cores[1], addr, flood_accept, NULL) == flood_port, "not the same port");
    uint64_t start_ms = now_ms();
    for (unsigned i = 0; i < CONNS; i++) {
        flood_out[i].send_key = flood_in[i].want_key = flood_seed + ((uint64_t)i << 33);
        flood_out[i].want_key = flood_in[i].send_key = flood_seed + ((uint64_t)i << 33 | 1U << 31);
    }
    for (unsigned i = 0; i < CONNS; i++)
        core_call(a->cores[i % 2], flood_dial, &flood_out[i]);
    for (unsigned i = 0; i < 2 * CONNS; i++)
        wait_for(&flood_done);
    uint64_t ms = now_ms() - start_ms, bytes = 0;
    for (unsigned i = 0; i < CONNS; i++)
        core_call(a->cores[i % 2], flood_close, &flood_out[i]);
    for (unsigned i = 0; i < 2 * CONNS; i++)
        wait_for(&flood_closed);
    runtime_close(a);
    runtime_close(b);
    for (unsigned i = 0; i < CONNS; i++) {
        CHECK(flood_in[i].closed && flood_out[i].closed, "closed once each");
        bytes += flood_in[i].got_bytes + flood_out[i].got_bytes;
    }
    printf("%d frames each way, %" PRIu64 " MB in all: %" PRIu64 " ms\n", CONNS * FRAMES_PER_CONN,
           bytes >> 20, ms);
    sem_destroy(&flood_done);
    sem_destroy(&flood_closed);
}

/* ---- raw peers ---- */

static int raw_connect(unsigned port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}
/* Bound to a free port; listens when backlog >= 0. */
static int raw_bind(int backlog, unsigned *out_port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    CHECK(backlog < 0 || listen(fd, backlog) == 0, "listen");
    socklen_t len = sizeof a;
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0, "getsockname");
    *out_port = ntohs(a.sin_port);
    return fd;
}

/* Sends raw bytes one by one, then expects the node to close with a text that has `why` in it. */
static void bad_peer(struct runtime *rt, struct sv bytes, unsigned frames, const char *why) {
    struct end e;
    end_init(&e);
    unsigned port = listen_on(rt->cores[0], "127.0.0.1:0", end_accept, &e);
    int fd = raw_connect(port);
    for (size_t i = 0; i < bytes.len; i++)
        CHECK(send(fd, bytes.ptr + i, 1, MSG_NOSIGNAL) == 1, "send");
    if (frames > 0) shutdown(fd, SHUT_WR);
    wait_for(&e.on_close);
    char c;
    CHECK(recv(fd, &c, 1, 0) <= 0, "the node did not close");
    close(fd);
    CHECK(e.frames == frames, "%u frames", e.frames);
    CHECK(strstr(e.why, why) != NULL, "%s", e.why);
    CHECK(strstr(e.why, "127.0.0.1:") != NULL, "does not name the peer: %s", e.why);
    core_call(rt->cores[0], unlisten_run, NULL);
    end_fini(&e);
}

static void bad_lengths_close(struct runtime *rt) {
    bad_peer(rt, SV("\xff\xff\xff\xff"), 0, "frame of 4294967295 bytes");
    bad_peer(rt, SV("\x01\x00\x00\x04"), 0, "frame of 67108865 bytes"); /* one over */
    bad_peer(rt, SV("\x00\x00\x00\x00"), 0, "frame of 0 bytes");
    bad_peer(rt, SV("\x02\x00\x00\x00hi\x00\x00\x00\x00"), 1, "frame of 0 bytes");
    /* torn by the peer's end: what is whole is delivered, the rest is not */
    bad_peer(rt, SV("\x02\x00\x00\x00hi\x03\x00\x00\x00wo"), 1, "closed by");
    bad_peer(rt, SV("\x01\x00\x00\x00h\x00\x00"), 1, "closed by");
}

static void largest_frame_arrives(struct runtime *rt) {
    struct end e;
    end_init(&e);
    unsigned port = listen_on(rt->cores[0], "127.0.0.1:0", end_accept, &e);
    int fd = raw_connect(port);
    static char piece[1 << 20];
    CHECK(send(fd, "\x00\x00\x00\x04", 4, 0) == 4, "send");
    for (size_t left = NET_FRAME_BYTES_MAX; left > 0;) {
        ssize_t n = send(fd, piece, MIN(left, sizeof piece), MSG_NOSIGNAL);
        CHECK(n > 0, "send");
        left -= (size_t)n;
    }
    CHECK(send(fd, "\x02\x00\x00\x00hi", 6, 0) == 6, "send");
    wait_for(&e.on_frame);
    wait_for(&e.on_frame);
    close(fd);
    wait_for(&e.on_close);
    CHECK(e.frames == 2 && strcmp(e.last, "hi") == 0, "%u frames, last %s", e.frames, e.last);
    core_call(rt->cores[0], unlisten_run, NULL);
    end_fini(&e);
}

/* ---- dialling ---- */

static void dial_fails(struct runtime *rt, const char *addr, unsigned port, const char *why) {
    struct end e;
    end_init(&e);
    uint64_t start_ms = now_ms();
    dial(rt->cores[1], &e, addr, port);
    wait_for(&e.on_close);
    uint64_t ms = now_ms() - start_ms;
    CHECK(e.opened == 0, "%s opened", addr);
    CHECK(strstr(e.why, why) != NULL, "%s: %s", addr, e.why);
    CHECK(ms < 7000, "%s: closed after %" PRIu64 " ms", addr, ms);
    printf("dial %s: %s (%" PRIu64 " ms)\n", addr, e.why, ms);
    end_fini(&e);
}

static void dials_fail_with_a_reason(struct runtime *rt) {
    unsigned port;
    int fd = raw_bind(-1, &port); /* bound, but nobody listens */
    dial_fails(rt, "127.0.0.1", port, "connection refused");
    dial_fails(rt, "localhost", port, "connection refused");
    close(fd);
    dial_fails(rt, "no-port", 0, "want host:port");
    dial_fails(rt, "host:65536", 0, "want host:port");
    dial_fails(rt, "host:", 0, "want host:port");
    dial_fails(rt, "", 0, "want host:port");
    dial_fails(rt, "::1:9095", 0, "bad host");
    dial_fails(rt, "no-such-host.invalid:9095", 0, "look up no-such-host.invalid");
    char name[300];
    memset(name, 'a', sizeof name);
    snprintf(name + 254, sizeof name - 254, ":1");
    dial_fails(rt, name, 0, "bad host");
}

/* A listener whose queue is full leaves further connection requests without an answer. */
static void dial_has_a_deadline(struct runtime *rt) {
    unsigned port;
    int listener = raw_bind(0, &port);
    int filling[3];
    for (unsigned i = 0; i < ARRAY_LEN(filling); i++) {
        filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        CHECK(connect(filling[i], (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS,
              "connect");
    }
    uint64_t start_ms = now_ms();
    dial_fails(rt, "127.0.0.1", port, "no answer in time");
    CHECK(now_ms() - start_ms >= 4990, "gave up too early");
    for (unsigned i = 0; i < ARRAY_LEN(filling); i++)
        close(filling[i]);
    close(listener);
}

/* "localhost" is ::1 first on most machines, where nobody listens: the next address is tried. */
static void names_are_dialled(struct runtime *a, struct runtime *b) {
    struct end in, out;
    end_init(&in);
    end_init(&out);
    unsigned port = listen_on(b->cores[1], "127.0.0.1:0", end_accept, &in);
    dial(a->cores[0], &out, "localhost", port);
    core_call(a->cores[0], send_run, &out); /* waits for the connection */
    wait_for(&out.on_open);
    wait_for(&in.on_frame);
    CHECK(strcmp(in.last, "hello") == 0, "%s", in.last);
    core_call(b->cores[1], send_close_run, &in); /* what was sent just before usually arrives */
    wait_for(&in.on_close);
    wait_for(&out.on_close);
    CHECK(out.frames == 1 && strcmp(out.last, "hello") == 0, "%u frames", out.frames);
    CHECK(strstr(in.why, "this node") != NULL, "%s", in.why);
    CHECK(strstr(out.why, "closed by localhost:") != NULL, "%s", out.why);
    core_call(b->cores[1], unlisten_run, NULL);
    end_fini(&in);
    end_fini(&out);
}

static void dial_close_run(struct core *here, void *ctx) {
    struct dial_call *d = ctx;
    dial_run(here, d);
    close_run(here, d->end);
}

/* Closing in any state gives one closed, later. */
static void close_is_idempotent(struct runtime *a, struct runtime *b) {
    struct end in, out;
    end_init(&in);
    unsigned port = listen_on(b->cores[0], "127.0.0.1:0", end_accept, &in);
    end_init(&out);
    dial(a->cores[0], &out, "127.0.0.1", port);
    wait_for(&out.on_open);
    wait_for(&in.on_open);
    core_call(a->cores[0], close_run, &out); /* open */
    wait_for(&out.on_close);
    wait_for(&in.on_close);
    end_fini(&out);
    static const char *const hosts[] = {"192.0.2.1:9", "no-such-host.invalid:9", "bad"};
    for (unsigned i = 0; i < ARRAY_LEN(hosts); i++) { /* connecting, looking up, failing */
        end_init(&out);
        struct dial_call d = {.end = &out};
        snprintf(d.addr, sizeof d.addr, "%s", hosts[i]);
        core_call(a->cores[0], dial_close_run, &d);
        wait_for(&out.on_close);
        end_fini(&out);
    }
    core_call(b->cores[0], unlisten_run, NULL);
    end_fini(&in);
}

/* ---- limits and stop ---- */

static void overfill_run(struct core *here, void *ctx) {
    (void)here;
    struct end *e = ctx;
    /* nothing leaves while this handler runs, so the limit strikes at the frame that goes beyond it
     */
    for (unsigned i = 0; i < (NET_QUEUE_BYTES_MAX >> 20) + 8; i++) {
        struct buf b = {0};
        CHECK(buf_extend(&b, 1 << 20) != NULL, "no memory");
        memset(b.ptr, 0, b.len);
        conn_send(e->conn, &b);
        CHECK(e->closed == 0, "closed inside conn_send");
    }
}
static void oversize_run(struct core *here, void *ctx) {
    (void)here;
    struct end *e = ctx;
    struct buf b = {0};
    CHECK(buf_extend(&b, NET_FRAME_BYTES_MAX + 1) != NULL, "no memory");
    conn_send(e->conn, &b);
}

/* It dials like a data core; it does not listen. */
static void the_control_core_dials(struct runtime *a, struct runtime *b) {
    struct end in, out;
    end_init(&in);
    end_init(&out);
    unsigned port = listen_on(b->cores[0], "127.0.0.1:0", end_accept, &in);
    dial(a->control_core, &out, "127.0.0.1", port);
    wait_for(&out.on_open);
    wait_for(&in.on_open);
    CHECK(out.conn->core == a->control_core && in.conn->core == b->cores[0], "other cores");
    core_call(a->control_core, send_run, &out);
    wait_for(&in.on_frame);
    CHECK(strcmp(in.last, "hello") == 0, "%s", in.last);
    core_call(b->cores[0], send_run, &in);
    wait_for(&out.on_frame);
    core_call(a->control_core, close_run, &out);
    wait_for(&out.on_close);
    wait_for(&in.on_close);
    core_call(b->cores[0], unlisten_run, NULL);
    end_fini(&in);
    end_fini(&out);
}

static void queue_is_bounded(struct runtime *rt) {
    static const struct {
        void (*run)(struct core *here, void *ctx);
        const char *why;
    } cases[] = {{overfill_run, "the limit is 134217728"}, {oversize_run, "the limit of 67108864"}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned port;
        int fd = raw_bind(5, &port);
        struct end e;
        end_init(&e);
        dial(rt->cores[0], &e, "127.0.0.1", port);
        wait_for(&e.on_open);
        core_call(rt->cores[0], cases[i].run, &e);
        wait_for(&e.on_close);
        CHECK(strstr(e.why, cases[i].why) != NULL, "%s", e.why);
        close(fd);
        end_fini(&e);
    }
}

static void taken_port_conflicts(struct runtime *a, struct runtime *b) {
    struct end e;
    end_init(&e);
    unsigned port = listen_on(a->cores[0], "127.0.0.1:0", end_accept, &e);
    char addr[32];
    snprintf(addr, sizeof addr, "127.0.0.1:%u", port);
    struct listen_call l = {.addr = sv_from(addr), .accept = end_accept, .ctx = &e};
    core_call(b->cores[0], listen_run, &l);
    CHECK(l.status == ERR_CONFLICT, "another process's port was shared");
    CHECK(strstr(l.err.msg, addr) != NULL && strstr(l.err.msg, "in use") != NULL, "%s", l.err.msg);
    core_call(a->cores[0], listen_run, &l);
    CHECK(l.status == ERR_CONFLICT && strstr(l.err.msg, "already listens") != NULL, "%s",
          l.err.msg);
    core_call(a->cores[0], unlisten_run, NULL);
    core_call(b->cores[0], listen_run, &l);
    CHECK(l.status == OK, "the port was not given back: %s", l.err.msg);
    core_call(b->cores[0], unlisten_run, NULL);
    l.addr = SV("127.0.0.1");
    core_call(b->cores[0], listen_run, &l);
    CHECK(l.status == ERR_PARSE && strstr(l.err.msg, "listen on 127.0.0.1") != NULL, "%s",
          l.err.msg);
    end_fini(&e);
}

/* A stop closes what is open, being dialled or being looked up, at once. */
static void stop_closes_connections(void) {
    struct runtime *a = runtime_open(), *b = runtime_open();
    struct end in, out, connecting, resolving;
    end_init(&in);
    end_init(&out);
    end_init(&connecting);
    end_init(&resolving);
    unsigned port = listen_on(b->cores[0], "127.0.0.1:0", end_accept, &in);
    dial(a->cores[0], &out, "127.0.0.1", port);
    wait_for(&out.on_open);
    wait_for(&in.on_open);
    dial(a->cores[0], &connecting, "192.0.2.1:9", 0);
    dial(a->cores[1], &resolving, "no-such-host.invalid:9", 0);
    uint64_t start_ms = now_ms();
    runtime_close(a);
    uint64_t ms = now_ms() - start_ms;
    CHECK(ms < 3000, "%" PRIu64 " ms", ms);
    CHECK(out.closed == 1 && connecting.closed == 1 && resolving.closed == 1, "closed is missing");
    CHECK(strstr(out.why, "the node stops") != NULL, "%s", out.why);
    wait_for(&in.on_close);
    runtime_close(b);
    CHECK(in.closed == 1, "closed is missing");
    end_fini(&in);
    end_fini(&out);
    end_fini(&connecting);
    end_fini(&resolving);
}

int main(int argc, char **argv) {
    flood_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : now_ms();
    printf("seed %" PRIu64 "\n", flood_seed);
    frames_arrive_whole_both_ways();
    struct runtime *a = runtime_open(), *b = runtime_open();
    bad_lengths_close(a);
    largest_frame_arrives(a);
    dials_fail_with_a_reason(a);
    dial_has_a_deadline(a);
    names_are_dialled(a, b);
    close_is_idempotent(a, b);
    the_control_core_dials(a, b);
    queue_is_bounded(a);
    taken_port_conflicts(a, b);
    runtime_close(a);
    runtime_close(b);
    stop_closes_connections();
    return 0;
}
