/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against the servers of test_client.py, on a core of its own thread; the main
 * thread waits. Arguments: URL of the server, of the same with TLS (its certificate is of
 * localhost), the file of its CA, URL where nobody listens. */
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/http/client.h"
#include "node/runtime/loop.h"
#include "tests/runtime/check.h"

enum { MANY = 200, HANGING = 10, WAIT_MS = 20000 };

struct job {
    struct http_client *client;
    struct http_fetch_options o;
    char url[300];
    struct http_fetch *fetch;
    /* outcome */
    enum status started;
    unsigned done_count;
    enum status status;
    int code;
    char body[8192];
    size_t body_len;
    struct err err;
    uint64_t took_ms;
    uint64_t began_ns;
    struct core *core;
    struct job *then; /* started when this one is done */
    struct job *cancels;
    sem_t *sem;
};

static struct runtime *rt;
static struct http_client *client, *distrustful;
static const char *plain_url, *tls_url, *dead_url;

static void job_start(struct core *here, void *ctx);

static void on_done(void *ctx, const struct http_fetched *f) {
    struct job *j = ctx;
    CHECK(core_is_current(j->core) && j->fetch != NULL, "done before it was started");
    j->done_count++;
    j->status = f->status;
    j->err = f->err;
    j->code = f->code;
    j->body_len = f->body.len;
    j->took_ms = (core_mono_ns(j->core) - j->began_ns) / 1000000;
    memcpy(j->body, f->body.ptr == NULL ? "" : f->body.ptr, MIN(f->body.len, sizeof j->body - 1));
    if (j->cancels != NULL) http_fetch_cancel(j->cancels->fetch);
    if (j->then != NULL) job_start(j->core, j->then);
    sem_post(j->sem);
}

static void job_start(struct core *here, void *ctx) {
    struct job *j = ctx;
    j->core = here;
    j->began_ns = core_mono_ns(here);
    j->o.url = j->url;
    j->o.done = on_done;
    j->o.ctx = j;
    j->started = http_fetch_start(j->client, &j->o, &j->fetch, &j->err);
    CHECK(j->done_count == 0, "done within start");
}

static sem_t done;

static void job_init(struct job *j, const char *base, const char *path) {
    *j = (struct job){.client = client, .sem = &done};
    snprintf(j->url, sizeof j->url, "%s%s", base, path);
    j->o.method = "GET";
    j->o.timeout_ms = WAIT_MS;
    j->o.answer_bytes_max = 1 << 20;
}

static void job_run(struct job *j) {
    core_call(rt->cores[0], job_start, j);
    CHECK(j->started == OK, "%s: %s", j->url, j->err.msg);
    sem_wait(&done);
    CHECK(j->done_count == 1, "%s: done %u times", j->url, j->done_count);
}

static void get(struct job *j, const char *base, const char *path) {
    job_init(j, base, path);
    job_run(j);
}

#define CHECK_SAYS(j, want_status, text)                                                           \
    CHECK((j)->status == (want_status) && strstr((j)->err.msg, (text)) != NULL, "%s: %s: %s",      \
          (j)->url, status_name((j)->status), (j)->err.msg)

/* -- what is sent and what comes back */

static void test_requests(void) {
    static struct job j;
    struct http_header headers[] = {{SV("X-One"), SV("1 2")}, {SV("X-Empty"), SV("")}};
    job_init(&j, plain_url, "/show/a%20b?c=%2F&d");
    j.o.headers = headers;
    j.o.headers_count = 2;
    job_run(&j);
    CHECK(j.status == OK && j.code == 200, "%s", j.err.msg);
    CHECK(strstr(j.body, "GET /show/a%20b?c=%2F&d\n") == j.body, "%s", j.body);
    CHECK(strstr(j.body, "x-one: 1 2\n") != NULL && strstr(j.body, "x-empty: \n") != NULL, "%s",
          j.body);
    CHECK(strstr(j.body, "content-type") == NULL && strstr(j.body, "expect") == NULL, "%s", j.body);

    static char body[300000];
    memset(body, 'x', sizeof body);
    body[7] = '\0';
    job_init(&j, plain_url, "/show/");
    j.o.method = "POST";
    j.o.body = sv_make(body, sizeof body);
    job_run(&j);
    CHECK(j.code == 200 && strstr(j.body, "POST /show/\n") == j.body, "%s", j.body);
    CHECK(strstr(j.body, "body 300000 1 zeros\n") != NULL, "%s", j.body);
    CHECK(strstr(j.body, "content-type") == NULL && strstr(j.body, "expect") == NULL, "%s", j.body);

    job_init(&j, plain_url, "/show/../x");
    j.o.method = "PUT";
    job_run(&j);
    CHECK(strstr(j.body, "PUT /show/../x\n") == j.body, "%s", j.body);
    CHECK(strstr(j.body, "content-length: 0\n") != NULL, "%s", j.body);
}

static void test_answers(void) {
    static struct job j;
    get(&j, plain_url, "/code/404");
    CHECK(j.status == OK && j.code == 404 && strcmp(j.body, "code 404") == 0, "%s", j.body);
    get(&j, plain_url, "/code/302"); /* is not followed */
    CHECK(j.status == OK && j.code == 302, "%d", j.code);
    get(&j, plain_url, "/chunks");
    CHECK(j.status == OK && strcmp(j.body, "one two three") == 0, "%s", j.body);
    job_init(&j, plain_url, "/bytes/5000");
    j.o.answer_bytes_max = 5000;
    job_run(&j);
    CHECK(j.status == OK && j.body_len == 5000, "%zu: %s", j.body_len, j.err.msg);
    job_init(&j, plain_url, "/bytes/5001");
    j.o.answer_bytes_max = 5000;
    job_run(&j);
    CHECK_SAYS(&j, ERR_LIMIT, ": the answer has more than 5000 bytes");
    CHECK(j.body_len == 0, "%zu bytes with an error", j.body_len);
    for (int i = 0; i < 20; i++) {
        get(&j, plain_url, "/connections");
        CHECK(j.status == OK, "%s", j.err.msg);
    }
    CHECK(atoll(j.body) < 8, "20 requests took connections up to %s", j.body);
    for (int i = 0; i < 5; i++) { /* the connection is closed behind each answer, unannounced */
        get(&j, plain_url, "/closes");
        CHECK(j.status == OK && j.code == 200, "%s", j.err.msg);
    }
}

static void test_failures(void) {
    static struct job j;
    job_init(&j, plain_url, "/hang");
    j.o.timeout_ms = 300;
    job_run(&j);
    CHECK_SAYS(&j, ERR_TIMEOUT, ": no answer within 300 ms");
    CHECK(j.took_ms >= 299 && j.took_ms < 5000, "%" PRIu64 " ms", j.took_ms);
    get(&j, dead_url, "/");
    CHECK_SAYS(&j, ERR_UNAVAILABLE, ": Connection refused");
    CHECK(strstr(j.err.msg, dead_url) == j.err.msg, "%s", j.err.msg);
    get(&j, plain_url, "/cut");
    CHECK_SAYS(&j, ERR_UNAVAILABLE, "");
    get(&j, plain_url, "/garbage");
    CHECK_SAYS(&j, ERR_UNAVAILABLE, "");
    get(&j, "http://no-such-host.invalid:80", "/");
    CHECK_SAYS(&j, ERR_UNAVAILABLE, "http://no-such-host.invalid:80: look up no-such-host.invalid");
}

static void test_refusals(void) {
    static const char *const urls[] = {"",
                                       "x",
                                       "ftp://127.0.0.1/",
                                       "http://",
                                       "http://a b/",
                                       "file:///etc/passwd",
                                       "http://a:99999/"};
    static struct job j;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        job_init(&j, urls[i], "");
        core_call(rt->cores[0], job_start, &j);
        CHECK(j.started == ERR_PARSE, "%s: %s", urls[i], j.err.msg);
    }
    struct http_header bad[] = {{SV("X"), SV("a\nY: b")}, {SV("X:"), SV("a")}, {SV(""), SV("a")}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        job_init(&j, plain_url, "/");
        j.o.headers = &bad[i];
        j.o.headers_count = 1;
        core_call(rt->cores[0], job_start, &j);
        CHECK(j.started == ERR_PARSE, "header %zu: %s", i, j.err.msg);
    }
}

/* -- names and certificates */

static const char *port_of(const char *url) {
    return strrchr(url, ':');
}

static void test_names(void) {
    static struct job j;
    char url[100];
    snprintf(url, sizeof url, "http://localhost%s", port_of(plain_url));
    for (int i = 0; i < 3; i++) {
        get(&j, url, "/show/");
        CHECK(j.status == OK && j.code == 200, "%s", j.err.msg);
    }
    CHECK(strstr(j.body, "host: localhost:") != NULL, "%s", j.body);
    snprintf(url, sizeof url, "https://localhost%s", port_of(tls_url));
    get(&j, url, "/code/200");
    CHECK(j.status == OK && j.code == 200, "%s", j.err.msg);
    job_init(&j, url, "/code/200");
    j.client = distrustful; /* the system's CAs */
    job_run(&j);
    CHECK_SAYS(&j, ERR_UNAVAILABLE, "certificate");
    get(&j, tls_url, "/code/200");
    CHECK_SAYS(&j, ERR_UNAVAILABLE, "127.0.0.1");
    snprintf(url, sizeof url, "http://127.0.0.1%s", port_of(tls_url));
    get(&j, url, "/");
    CHECK(j.status == ERR_UNAVAILABLE || j.code == 400, "%d %s", j.code, j.err.msg);
}

/* -- many at once; cancel; stop */

static void start_all(struct core *here, void *ctx) {
    struct job *jobs = ctx;
    for (size_t i = 0; i < MANY; i++)
        job_start(here, &jobs[i]);
}

static void test_many(void) {
    struct job *jobs = calloc(MANY, sizeof *jobs), *late = calloc(1, sizeof *late);
    CHECK(jobs != NULL && late != NULL, "memory");
    job_init(late, plain_url, "/code/201");
    for (size_t i = 0; i < MANY; i++) {
        job_init(&jobs[i], plain_url, i % 10 == 3 ? "/chunks" : "/code/200");
        if (i == 50) jobs[i].then = late;
    }
    core_call(rt->cores[0], start_all, jobs);
    for (size_t i = 0; i < MANY + 1; i++)
        sem_wait(&done);
    for (size_t i = 0; i < MANY; i++)
        CHECK(jobs[i].done_count == 1 && jobs[i].status == OK && jobs[i].code == 200, "%zu: %s", i,
              jobs[i].err.msg);
    CHECK(late->done_count == 1 && late->code == 201, "%s", late->err.msg);
    free(jobs);
    free(late);
}

static void start_and_cancel(struct core *here, void *ctx) {
    struct job *j = ctx;
    job_start(here, j);
    http_fetch_cancel(j->fetch);
}

static void test_cancel(void) {
    static struct job hangs, named, ends;
    job_init(&hangs, plain_url, "/hang");
    job_init(&named, "http://localhost:1", "/"); /* while it is looked up */
    job_init(&ends, plain_url, "/code/200");
    ends.cancels = &hangs;
    core_call(rt->cores[0], start_and_cancel, &named);
    core_call(rt->cores[0], job_start, &hangs);
    job_run(&ends);
    CHECK(ends.code == 200, "%s", ends.err.msg);
    job_init(&ends, plain_url, "/code/200");
    job_run(&ends);
    CHECK(hangs.done_count == 0 && named.done_count == 0, "done after cancel");
}

static void on_stopped(void *ctx) {
    sem_post(ctx);
}

static void stop_client(struct core *here, void *ctx) {
    (void)here;
    http_client_stop(client, on_stopped, ctx);
}
static void stop_distrustful(struct core *here, void *ctx) {
    (void)here;
    http_client_stop(distrustful, on_stopped, ctx);
}

static void test_stop(void) {
    static struct job hanging[HANGING], named, late;
    sem_t stopped;
    sem_init(&stopped, 0, 0);
    for (size_t i = 0; i < HANGING; i++) {
        job_init(&hanging[i], i % 2 == 0 ? plain_url : dead_url, "/hang");
        core_call(rt->cores[0], job_start, &hanging[i]);
    }
    job_init(&named, "http://localhost:1", "/");
    core_call(rt->cores[0], job_start, &named);
    core_call(rt->cores[0], stop_client, &stopped);
    sem_wait(&stopped);
    for (size_t i = 0; i < HANGING; i++) {
        bool refused = i % 2 == 1 && hanging[i].status == ERR_UNAVAILABLE; /* before the stop */
        CHECK(hanging[i].done_count == 1 && (refused || hanging[i].status == ERR_CANCELED),
              "%zu: %s", i, hanging[i].err.msg);
    }
    CHECK(named.done_count == 1, "%s", named.err.msg);
    job_init(&late, plain_url, "/");
    core_call(rt->cores[0], job_start, &late);
    CHECK(late.started == ERR_CANCELED, "%s", late.err.msg);
    core_call(rt->cores[0], stop_distrustful, &stopped);
    sem_wait(&stopped);
}

int main(int argc, char **argv) {
    CHECK(argc == 5, "usage: client_test URL TLS_URL CA DEAD_URL");
    struct err err;
    plain_url = argv[1];
    tls_url = argv[2];
    dead_url = argv[4];
    sem_init(&done, 0, 0);
    CHECK(loop_runtime_new(&(struct loop_options){.cores_count = 1, .workers_count = 1}, &rt,
                           &err) == OK,
          "%s", err.msg);
    core_set_current(rt->cores[0]);
    CHECK(http_client_new(rt->cores[0], &(struct http_client_options){.ca_file = argv[3]}, &client,
                          &err) == OK,
          "%s", err.msg);
    CHECK(http_client_new(rt->cores[0], &(struct http_client_options){0}, &distrustful, &err) == OK,
          "%s", err.msg);
    core_set_current(NULL);
    CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
    test_requests();
    test_answers();
    test_failures();
    test_refusals();
    test_names();
    test_many();
    test_cancel();
    test_stop();
    loop_runtime_stop(rt);
    http_client_free(client);
    http_client_free(distrustful);
    loop_runtime_free(rt);
    puts("ok");
    return 0;
}
