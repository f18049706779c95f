/* SPDX-License-Identifier: Apache-2.0 */
/* The SRV records of a name (RFC 2782), by c-ares with the name servers of /etc/resolv.conf, on a
 * thread that waits for them. */
#include <ares.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "node/runtime/resolve.h"

enum { TRY_MS = 2000, TRIES = 3 };

struct asking {
    const char *name;
    struct resolve_target *targets;
    unsigned *count;
    enum status status;
    struct err *err;
    bool ended;
};

static enum status srv_failed(const char *name, int code, struct err *err) {
    return err_set(err, code == ARES_ENOMEM ? ERR_NOMEM : ERR_UNAVAILABLE, 0,
                   "look up SRV records of %s: %s", name, ares_strerror(code));
}

/* A service whose target is the root is decidedly not there (RFC 2782). */
static bool target_is_there(const struct ares_srv_reply *at) {
    size_t len = strlen(at->host);
    return len > 0 && strcmp(at->host, ".") != 0 && len <= RESOLVE_HOST_BYTES_MAX && at->port != 0;
}

static void srv_on_answer(void *arg, int code, int timeouts, unsigned char *bytes, int len) {
    (void)timeouts;
    struct asking *a = arg;
    struct ares_srv_reply *list = NULL;
    a->ended = true;
    if (code == ARES_SUCCESS) code = ares_parse_srv_reply(bytes, len, &list);
    if (code != ARES_SUCCESS) {
        a->status = srv_failed(a->name, code, a->err);
        return;
    }
    for (const struct ares_srv_reply *at = list; at != NULL; at = at->next) {
        if (!target_is_there(at) || *a->count == RESOLVE_TARGETS_MAX) continue;
        struct resolve_target *to = &a->targets[(*a->count)++];
        memcpy(to->host, at->host, strlen(at->host) + 1);
        to->port = at->port;
    }
    ares_free_data(list);
    if (*a->count == 0)
        a->status = err_set(a->err, ERR_UNAVAILABLE, 0,
                            "look up SRV records of %s: no target with a port", a->name);
}

/* Until something can be read or written, or a try has lasted long enough. */
static void srv_wait(ares_channel channel) {
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd fds[ARES_GETSOCK_MAXNUM];
    int bits = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
    nfds_t count = 0;
    for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        short events = 0;
        if (ARES_GETSOCK_READABLE(bits, i)) events |= POLLIN;
        if (ARES_GETSOCK_WRITABLE(bits, i)) events |= POLLOUT;
        if (events != 0) fds[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    struct timeval most = {.tv_sec = 1}, left;
    const struct timeval *wait = ares_timeout(channel, &most, &left);
    int ready = poll(fds, count, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1));
    if (ready <= 0) ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (nfds_t i = 0; ready > 0 && i < count; i++) {
        bool in = (fds[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
        bool out = (fds[i].revents & POLLOUT) != 0;
        if (in || out)
            ares_process_fd(channel, in ? fds[i].fd : ARES_SOCKET_BAD,
                            out ? fds[i].fd : ARES_SOCKET_BAD);
    }
}

static int library_code;
static void library_init(void) {
    library_code = ares_library_init(ARES_LIB_INIT_ALL);
}

enum status service_lookup(const char *name, struct resolve_target out[RESOLVE_TARGETS_MAX],
                           unsigned *out_count, struct err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct ares_options options = {.timeout = TRY_MS, .tries = TRIES};
    ares_channel channel;
    *out_count = 0;
    pthread_once(&once, library_init);
    if (library_code != ARES_SUCCESS) return srv_failed(name, library_code, err);
    int code = ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (code != ARES_SUCCESS) return srv_failed(name, code, err);
    struct asking a = {.name = name, .targets = out, .count = out_count, .err = err};
    ares_query(channel, name, ns_c_in, ns_t_srv, srv_on_answer, &a);
    while (!a.ended)
        srv_wait(channel);
    ares_destroy(channel);
    return a.status;
}
