/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's multi_socket on a core's loop: curl says which sockets to watch (uv_poll) and when to
 * be called next (one timer of the core), and is called from there only, never from within its own
 * callbacks; finished transfers are looked for after each such call.
 *
 *   a fetch: LOOKING_UP -> RUNNING -> gone        (an address in the URL needs no look-up)
 *
 * A watch ends when curl says so, and at the latest when curl closes the socket: libuv aborts on a
 * socket that is closed while it is watched. The same socket number may come back while the watch
 * before it is still closing, so that each has a handle of its own on the heap. */
#include "node/http/client.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <uv.h>

#include "node/base/list.h"
#include "node/http/client_internal.h"
#include "node/runtime/loop.h"

struct watch { /* of one of curl's sockets; freed when it is closed */
    uv_poll_t handle;
    struct list_node link; /* of client->watches; on none while it closes */
    struct http_client *client;
    curl_socket_t socket;
};

static void curl_init(void) {
    CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(rc == CURLE_OK);
}

/* -- sockets */

static void client_check_stopped(struct http_client *client) {
    if (!client->stopping || client->watches_open > 0 || client->stopped == NULL) return;
    void (*stopped)(void *ctx) = client->stopped;
    client->stopped = NULL;
    stopped(client->stopped_ctx);
}

static void watch_on_closed(uv_handle_t *handle) {
    struct watch *w = container_of((uv_poll_t *)handle, struct watch, handle);
    struct http_client *client = w->client;
    assert(client->watches_open > 0);
    client->watches_open--;
    free(w);
    client_check_stopped(client);
}

static void watch_close(struct watch *w) {
    list_remove(&w->link);
    uv_poll_stop(&w->handle);
    uv_close((uv_handle_t *)&w->handle, watch_on_closed);
}

static void client_reap(struct http_client *client);

static void watch_on_ready(uv_poll_t *handle, int status, int events) {
    struct watch *w = container_of(handle, struct watch, handle);
    struct http_client *client = w->client;
    int flags = 0, running;
    /* of an error alone curl would only know that there is one; from reading it learns which, and
     * that a kept connection, whose other end has gone meanwhile, is worth a second try */
    if (status < 0) flags |= CURL_CSELECT_ERR | CURL_CSELECT_IN | CURL_CSELECT_OUT;
    if ((events & UV_READABLE) != 0) flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0) flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(client->multi, w->socket, flags, &running); /* w may be closed */
    client_reap(client);
}

static struct watch *watch_new(struct http_client *client, curl_socket_t socket) {
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->client = client;
    w->socket = socket;
    if (uv_poll_init_socket(core_uv_loop(client->core), &w->handle, socket) != 0) {
        free(w);
        return NULL;
    }
    list_push_back(&client->watches, &w->link);
    client->watches_open++;
    return w;
}

static int client_on_socket(CURL *easy, curl_socket_t socket, int what, void *ctx, void *assigned) {
    struct http_client *client = ctx;
    struct watch *w = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) watch_close(w);
        curl_multi_assign(client->multi, socket, NULL);
        return 0;
    }
    if (w == NULL) {
        w = watch_new(client, socket);
        if (w == NULL) return -1; /* curl then fails what is under way */
        curl_multi_assign(client->multi, socket, w);
    }
    int events =
        (what != CURL_POLL_OUT ? UV_READABLE : 0) | (what != CURL_POLL_IN ? UV_WRITABLE : 0);
    return uv_poll_start(&w->handle, events, watch_on_ready) == 0 ? 0 : -1;
}

static int client_on_close_socket(void *ctx, curl_socket_t socket) {
    struct http_client *client = ctx;
    LIST_FOREACH_SAFE(n, &client->watches) {
        struct watch *w = container_of(n, struct watch, link);
        if (w->socket != socket) continue;
        watch_close(w);
        curl_multi_assign(client->multi, socket, NULL);
    }
    return close(socket);
}

/* -- time */

static int client_on_timeout(CURLM *multi, long timeout_ms, void *ctx) {
    struct http_client *client = ctx;
    (void)multi;
    if (timeout_ms < 0)
        timer_stop(&client->timer);
    else
        timer_start(&client->timer, (uint64_t)timeout_ms);
    return 0;
}

static void client_on_timer(struct timer *t) {
    struct http_client *client = container_of(t, struct http_client, timer);
    int running;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    client_reap(client);
}

static void client_reap(struct http_client *client) {
    int left;
    CURLMsg *msg;
    while (client->multi != NULL && (msg = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE) continue;
        char *private = NULL;
        CURLcode rc = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        fetch_on_done((struct http_fetch *)(void *)private, rc);
    }
}

/* -- life */

enum status http_client_new(struct core *core, const struct http_client_options *options,
                            struct http_client **out, struct err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    assert(core_is_current(core));
    pthread_once(&once, curl_init);
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL) return err_set(err, ERR_NOMEM, 0, "no memory for an HTTP client");
    client->core = core;
    list_init(&client->watches);
    list_init(&client->fetches);
    timer_init(&client->timer, core, client_on_timer);
    client->multi = curl_multi_init();
    bool ok = client->multi != NULL;
    if (ok && options->ca_file != NULL) {
        client->ca_file = strdup(options->ca_file);
        ok = client->ca_file != NULL;
    }
    if (!ok) {
        http_client_free(client);
        return err_set(err, ERR_NOMEM, 0, "no memory for an HTTP client");
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, client_on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, client_on_timeout);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    *out = client;
    return OK;
}

void client_take_over(struct http_client *client, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, client_on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
    /* curl keeps parsed CAs for a day only where no directory has more: some 20 ms each time */
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (client->ca_file != NULL) curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
}

static void client_end(struct http_client *client) {
    if (client->multi != NULL) curl_multi_cleanup(client->multi);
    client->multi = NULL;
    LIST_FOREACH_SAFE(n, &client->watches)
    watch_close(container_of(n, struct watch, link));
    timer_stop(&client->timer);
}

void http_client_stop(struct http_client *client, void (*stopped)(void *ctx), void *ctx) {
    assert(core_is_current(client->core) && !client->stopping);
    client->stopping = true;
    while (!list_is_empty(&client->fetches))
        fetch_end(container_of(client->fetches.next, struct http_fetch, link), ERR_CANCELED,
                  "this node is stopping");
    client->stopped = stopped;
    client->stopped_ctx = ctx;
    client_end(client);
    client_check_stopped(client);
}

void http_client_free(struct http_client *client) {
    if (client == NULL) return;
    assert(list_is_empty(&client->fetches) && client->watches_open == 0);
    if (client->multi != NULL) curl_multi_cleanup(client->multi);
    free(client->ca_file);
    free(client);
}
