/* SPDX-License-Identifier: Apache-2.0 */
#include "node/runtime/resolve.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Guards threads_count and every resolve.state. A thread posts its result while it holds the lock,
 * so that a core which has abandoned its look-ups (under the lock) is never posted to again and may
 * be freed. */
static pthread_mutex_t resolve_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned threads_count;

static bool port_parse(struct sv s, uint16_t *out) {
    unsigned port = 0;
    if (s.len == 0 || s.len > 5) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
        port = port * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (port > UINT16_MAX) return false;
    *out = (uint16_t)port;
    return true;
}

enum status address_split(struct sv addr, char host[RESOLVE_HOST_BYTES_MAX + 1], uint16_t *out_port,
                          struct err *err) {
    size_t colon = addr.len;
    while (colon > 0 && addr.ptr[colon - 1] != ':')
        colon--;
    uint16_t port = 0;
    if (colon == 0 || !port_parse(sv_skip(addr, colon), &port))
        return err_set(err, ERR_PARSE, 0, "address \"%.*s\": want host:port",
                       (int)MIN(addr.len, 100U), addr.ptr);
    struct sv h = sv_take(addr, colon - 1);
    bool brackets = h.len >= 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']';
    if (brackets) h = sv_make(h.ptr + 1, h.len - 2);
    bool bad = h.len > RESOLVE_HOST_BYTES_MAX;
    size_t at;
    for (const char *c = brackets ? "[]" : "[]:"; *c != '\0'; c++)
        bad = bad || sv_find_char(h, *c, &at);
    if (bad || sv_find_char(h, '\0', &at))
        return err_set(err, ERR_PARSE, 0, "address \"%.*s\": bad host", (int)MIN(addr.len, 100U),
                       addr.ptr);
    if (h.len > 0) memcpy(host, h.ptr, h.len);
    host[h.len] = '\0';
    *out_port = port;
    return OK;
}

bool address_parse(const char *host, uint16_t port, union address *out) {
    union address a = {0};
    if (inet_pton(AF_INET, host[0] == '\0' ? "0.0.0.0" : host, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(port);
    } else if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(port);
    } else {
        return false;
    }
    *out = a;
    return true;
}

enum status address_lookup(const char *host, uint16_t port, union address out[RESOLVE_ADDRS_MAX],
                           unsigned *out_count, struct err *err) {
    if (address_parse(host, port, &out[0])) {
        *out_count = 1;
        return OK;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0) return err_set(err, ERR_UNAVAILABLE, 0, "look up %s: %s", host, gai_strerror(rc));
    unsigned n = 0;
    for (const struct addrinfo *ai = list; ai != NULL && n < RESOLVE_ADDRS_MAX; ai = ai->ai_next) {
        union address a = {0};
        if (ai->ai_family == AF_INET && ai->ai_addrlen == sizeof a.v4) {
            memcpy(&a.v4, ai->ai_addr, sizeof a.v4);
            a.v4.sin_port = htons(port);
        } else if (ai->ai_family == AF_INET6 && ai->ai_addrlen == sizeof a.v6) {
            memcpy(&a.v6, ai->ai_addr, sizeof a.v6);
            a.v6.sin6_port = htons(port);
        } else {
            continue;
        }
        out[n++] = a;
    }
    freeaddrinfo(list);
    if (n == 0) return err_set(err, ERR_UNAVAILABLE, 0, "look up %s: no address", host);
    *out_count = n;
    return OK;
}

static void resolve_on_message(struct core *here, struct msg *m) {
    struct resolve *r = container_of(m, struct resolve, msg);
    pthread_mutex_lock(&resolve_lock);
    bool abandoned = r->state == RESOLVE_ABANDONED;
    pthread_mutex_unlock(&resolve_lock);
    if (abandoned)
        resolve_free(r);
    else
        r->done(here, r);
}

static void *resolve_main(void *arg) {
    struct resolve *r = arg;
    pthread_setname_np(pthread_self(), "resolve");
    r->status = r->targets != NULL
                    ? service_lookup(r->host, r->targets, &r->targets_count, &r->err)
                    : address_lookup(r->host, r->port, r->addrs, &r->addrs_count, &r->err);
    pthread_mutex_lock(&resolve_lock);
    threads_count--;
    bool abandoned = r->state == RESOLVE_ABANDONED;
    if (!abandoned) {
        r->state = RESOLVE_DONE;
        core_post(r->core, &r->msg);
    }
    pthread_mutex_unlock(&resolve_lock);
    if (abandoned) resolve_free(r);
    return NULL;
}

static struct resolve *resolve_new(struct core *core, const char *host, struct err *err) {
    assert(core_is_current(core));
    assert(strlen(host) <= RESOLVE_HOST_BYTES_MAX);
    struct resolve *r = calloc(1, sizeof *r);
    if (r == NULL) {
        err_set(err, ERR_NOMEM, 0, "no memory to look up %s", host);
        return NULL;
    }
    r->msg.run = resolve_on_message;
    r->core = core;
    memcpy(r->host, host, strlen(host) + 1);
    return r;
}

/* The caller sets done and ctx right after it returned: the result comes as a message to this very
 * core. Takes r. */
static enum status resolve_thread_start(struct resolve *r, struct resolve **out, struct err *err) {
    pthread_mutex_lock(&resolve_lock);
    bool room = threads_count < RESOLVE_THREADS_MAX;
    if (room) threads_count++;
    pthread_mutex_unlock(&resolve_lock);
    if (!room) {
        err_set(err, ERR_LIMIT, 0, "look up %s: %d other names are being looked up", r->host,
                RESOLVE_THREADS_MAX);
        resolve_free(r);
        return ERR_LIMIT;
    }
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, resolve_main, r);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        pthread_mutex_lock(&resolve_lock);
        threads_count--;
        pthread_mutex_unlock(&resolve_lock);
        err_set(err, ERR_IO, rc, "look up %s", r->host);
        resolve_free(r);
        return ERR_IO;
    }
    *out = r;
    return OK;
}

enum status resolve_start(struct core *core, const char *host, uint16_t port, struct resolve **out,
                          struct err *err) {
    struct resolve *r = resolve_new(core, host, err);
    if (r == NULL) return ERR_NOMEM;
    r->port = port;
    return resolve_thread_start(r, out, err);
}

enum status resolve_service_start(struct core *core, const char *name, struct resolve **out,
                                  struct err *err) {
    struct resolve *r = resolve_new(core, name, err);
    if (r == NULL) return ERR_NOMEM;
    r->targets = calloc(RESOLVE_TARGETS_MAX, sizeof *r->targets);
    if (r->targets != NULL) return resolve_thread_start(r, out, err);
    err_set(err, ERR_NOMEM, 0, "no memory to look up %s", name);
    resolve_free(r);
    return ERR_NOMEM;
}

void resolve_abandon(struct resolve *r) {
    pthread_mutex_lock(&resolve_lock);
    r->state = RESOLVE_ABANDONED; /* when it was DONE, its message is in the mailbox and frees it */
    pthread_mutex_unlock(&resolve_lock);
}

void resolve_free(struct resolve *r) {
    free(r->targets);
    free(r);
}
