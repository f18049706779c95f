/* SPDX-License-Identifier: Apache-2.0 */
/* query/api/api.h: Prometheus' HTTP API v1 and what stands beside it (prometheus.md section 2).
 * Handlers parse parameters, start a gather flow on the request's core (core->locals[CORE_QUERY])
 * and write the answer; texts, codes and number formats as Prometheus. Endpoints of parts that do
 * not exist yet answer right though empty (rules, alerts, targets). */
#pragma once

#include "node/http/server.h"
#include "query/api/query_log.h"
#include "query/gather/gather.h"

/* What the daemon does for /admin/tsdb/... */
struct api_job {
    /* given */
    bool skip_head;                                       /* of a snapshot */
    void (*done)(struct core *here, struct api_job *job); /* once, on the asking core */
    /* outcome */
    enum status status;
    struct err err;
    char name[64]; /* of a snapshot */
};

/* What the daemon says for /status/runtimeinfo. */
struct api_runtime {
    bool reload_ok;       /* the last one; true before the first */
    int64_t config_ms;    /* when the configuration that holds was loaded */
    uint64_t corruptions; /* of the log, since the start */
    struct buf retention; /* as Prometheus says it; owned by who asked */
};

struct api_options {
    int64_t lookback_ms, query_timeout_ms, default_step_ms;
    uint64_t samples_max, memory_bytes_max;
    uint32_t features; /* enum query_feature */
    const char *version, *revision;
    const char *external_url;            /* "" for none */
    int64_t start_time_ms;               /* of the process */
    const struct label *external_labels; /* sorted by name; for /federate */
    size_t external_labels_count;
    struct query_log *query_log; /* NULL: none */
    bool admin;                  /* --web.enable-admin-api */
    node_id self;
    /* texts of the daemon: loaded configuration, flags; called on any core */
    void (*put_config)(void *ctx, struct buf *out);
    void (*put_flags_json)(void *ctx, struct buf *out);
    void (*runtime)(void *ctx, struct api_runtime *out); /* *out is zeroed before */
    uint32_t (*rows)(void *ctx); /* FEATURE_ROWS_* of the policy; NULL: none */
    void (*snapshot)(void *ctx, struct core *home, struct api_job *job);
    void (*clean)(void *ctx, struct core *home, struct api_job *job);
    void *ctx;
};
/* The API's routes, to be added to the server's table; options outlive the server. */
size_t api_routes(const struct api_options *options, struct http_route *out, size_t max);
