/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/client_internal.h: what client.c (curl on the loop) and fetch.c (one request) share.
 * Seen by these only. */
#pragma once

#include <curl/curl.h>

#include "node/base/buf.h"
#include "node/base/list.h"
#include "node/http/client.h"
#include "node/runtime/resolve.h"

struct http_client {
    struct core *core;
    CURLM *multi; /* NULL: stopped */
    char *ca_file;
    struct timer timer;       /* curl's */
    struct list_node watches; /* of struct watch */
    size_t watches_open;      /* with those that close */
    struct list_node fetches;
    bool stopping;
    void (*stopped)(void *ctx); /* NULL: has been called */
    void *stopped_ctx;
};

struct http_fetch {
    struct list_node link; /* of client->fetches */
    struct http_client *client;
    CURL *easy;
    bool added;              /* to the multi */
    struct resolve *resolve; /* under way */
    struct timer deadline;
    uint64_t timeout_ms;
    struct curl_slist *headers, *addresses;
    struct buf body, answer;
    char place[320]; /* scheme://host:port, for errors */
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
    char reason[CURL_ERROR_SIZE];
    http_fetch_done done;
    void *ctx;
};

/* client.c: sockets of that handle are closed by the client. */
void client_take_over(struct http_client *client, CURL *easy);
/* fetch.c */
void fetch_on_done(struct http_fetch *fetch, CURLcode rc);
/* Tells, and frees. why: behind the place. */
void fetch_end(struct http_fetch *fetch, enum status status, const char *why);
