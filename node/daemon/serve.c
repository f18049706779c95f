/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/serve.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/remote_write.h"
#include "node/daemon/ring_api.h"
#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/base/num.h"
#include "query/api/api.h"
#include "query/ui/page.h"

enum { ROUTES_MAX = 96 };

/* A configuration that was taken while the node runs. */
struct reloaded {
    struct config config;
    struct reloaded *before;
};

/* A route that needs the node's data, which it may not have opened yet. */
struct gate {
    struct node *node;
    http_handler handler;
    void *ctx;
};

struct serve {
    struct runtime *rt;
    struct node *node;
    const struct options *options;
    const struct config *config; /* as the node began with it */
    const struct config_retention_flags *retention;
    struct reloaded *reloaded; /* the newest first, all kept: who looks at one holds no reference */
    bool reloading, reload_failed; /* the last one */
    int64_t config_ms;             /* when the last one was that did not */
    struct api_options api;
    struct ring_api ring;
    struct http_route routes[ROUTES_MAX];
    struct gate gates[ROUTES_MAX];
    size_t routes_count;
    struct http_server *server;
};

static void on_healthy(struct http_request *req) {
    http_answer_text(req, 200, "Cairn is Healthy.");
}

static void on_ready(struct http_request *req) {
    struct serve *s = req->route_ctx;
    const char *why;
    if (node_is_draining(s->node))
        http_answer_text(req, 503, "Service Unavailable: this node is draining.");
    else if (node_is_ready(s->node, &why))
        http_answer_text(req, 200, "Cairn is Ready.");
    else
        http_answer_text(req, 503, "Service Unavailable: %s.", why);
}

static void on_gated(struct http_request *req) {
    const struct gate *gate = req->route_ctx;
    if (!node_is_open(gate->node)) {
        http_answer(
            req, 503, SV("application/json"),
            SV("{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"this node has "
               "not joined a cluster yet\"}"));
        return;
    }
    req->route_ctx = gate->ctx;
    gate->handler(req);
}

static void on_metrics(struct http_request *req) {
    struct buf b = {0};
    metrics_put_text(&b);
    http_answer_take(req, 200, SV("text/plain; version=0.0.4; charset=utf-8"), &b);
}

static void on_page(struct http_request *req) {
    http_answer(req, 200, SV("text/html; charset=utf-8"), sv_make(ui_page, ui_page_len));
}

static void on_quit(struct http_request *req) {
    struct serve *s = req->route_ctx;
    if (!s->options->enable_lifecycle.boolean) {
        http_answer_text(req, 403, "Lifecycle API is not enabled.");
        return;
    }
    http_answer_text(req, 200, "Requesting termination... Goodbye!");
    kill(getpid(), SIGTERM);
}

static enum status reload_take(struct serve *s, struct reloaded *r, struct err *err) {
    struct node_keeping keeping = {.limits = &r->config.limits};
    if (r->config.rest_hash != s->config->rest_hash ||
        r->config.scrapes_itself != s->config->scrapes_itself)
        return err_set(
            err, ERR_UNSUPPORTED, 0,
            "this version takes changes outside of the sections storage and limits only at "
            "a start");
    TRY(config_retention(&r->config, s->retention, &keeping.retention, &keeping.retention_bytes,
                         err));
    memcpy(keeping.downsample, r->config.levels, sizeof keeping.downsample);
    enum status st = node_keep(s->node, &keeping, err);
    retention_unref(keeping.retention);
    return st;
}

static enum status reload_load(struct serve *s, struct err *err) {
    struct reloaded *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    enum status st = config_load(s->options->config_file.string, &r->config, err);
    if (st != OK) {
        free(r);
        return st;
    }
    st = reload_take(s, r, err);
    if (st != OK) {
        config_fini(&r->config);
        free(r);
        return st;
    }
    r->before = s->reloaded;
    __atomic_store_n(&s->reloaded, r, __ATOMIC_RELEASE);
    return OK;
}

enum status serve_reload(struct serve *s, struct err *err) {
    /* acquire and release: what the last one left is seen by the next */
    if (__atomic_exchange_n(&s->reloading, true, __ATOMIC_ACQUIRE))
        return err_set(err, ERR_CONFLICT, 0, "another reload is under way");
    enum status st = reload_load(s, err);
    __atomic_store_n(&s->reload_failed, st != OK, __ATOMIC_RELAXED);
    if (st == OK) __atomic_store_n(&s->config_ms, core_wall_ms(s->rt->cores[0]), __ATOMIC_RELAXED);
    __atomic_store_n(&s->reloading, false, __ATOMIC_RELEASE);
    if (st == OK) log_info("Completed loading of configuration file");
    return st;
}

static void on_reload(struct http_request *req) {
    struct serve *s = req->route_ctx;
    if (!s->options->enable_lifecycle.boolean) {
        http_answer_text(req, 403, "Lifecycle API is not enabled.");
        return;
    }
    struct err err;
    if (serve_reload(s, &err) == OK)
        http_answer(req, 200, SV("text/plain; charset=utf-8"), SV(""));
    else
        http_answer_text(req, 500, "failed to reload config: %s", err.msg);
}

/* acquire: it was filled before it was published */
static const struct config *config_now(const struct serve *s) {
    const struct reloaded *r = __atomic_load_n(&s->reloaded, __ATOMIC_ACQUIRE);
    return r == NULL ? s->config : &r->config;
}

static void put_config(void *ctx, struct buf *out) {
    buf_put_sv(out, buf_sv(&config_now(ctx)->yaml));
}

/* What queries may read that do not say it. */
static uint32_t rows_of_policy(void *ctx) {
    const struct config *c = config_now(ctx);
    return (c->levels[0].resolution_ms != 0 ? (uint32_t)FEATURE_ROWS_5M : 0) |
           (c->levels[1].resolution_ms != 0 ? (uint32_t)FEATURE_ROWS_1H : 0);
}

static void put_flags(void *ctx, struct buf *out) {
    struct serve *s = ctx;
    options_put_json(s->options, out);
}

static void put_runtime(void *ctx, struct api_runtime *out) {
    const struct serve *s = ctx;
    out->reload_ok = !__atomic_load_n(&s->reload_failed, __ATOMIC_RELAXED);
    out->config_ms = __atomic_load_n(&s->config_ms, __ATOMIC_RELAXED);
    out->corruptions = node_log_corruptions(s->node);
    config_put_retention(config_now(s), s->retention, &out->retention);
}

/* A snapshot that the API asked for. */
struct serve_snapshot {
    struct node_snapshot snapshot;
    struct api_job *job;
};

static void snapshot_done(struct core *here, struct node_snapshot *snapshot) {
    struct serve_snapshot *s = container_of(snapshot, struct serve_snapshot, snapshot);
    struct api_job *job = s->job;
    job->status = snapshot->status;
    job->err = snapshot->err;
    memcpy(job->name, snapshot->name, sizeof job->name);
    free(s);
    job->done(here, job);
}

static void snapshot_start(void *ctx, struct core *home, struct api_job *job) {
    struct serve_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        job->status = err_set(&job->err, ERR_NOMEM, 0, "out of memory");
        job->done(home, job);
        return;
    }
    s->snapshot.skip_head = job->skip_head;
    s->snapshot.done = snapshot_done;
    s->job = job;
    node_snapshot_start(((struct serve *)ctx)->node, home, &s->snapshot);
}

struct serve_clean {
    struct node_clean clean;
    struct api_job *job;
};

static void clean_done(struct core *here, struct node_clean *clean) {
    struct serve_clean *s = container_of(clean, struct serve_clean, clean);
    struct api_job *job = s->job;
    job->status = clean->status;
    job->err = clean->err;
    free(s);
    job->done(here, job);
}

static void clean_start(void *ctx, struct core *home, struct api_job *job) {
    struct serve_clean *s = calloc(1, sizeof *s);
    if (s == NULL) {
        job->status = err_set(&job->err, ERR_NOMEM, 0, "out of memory");
        job->done(home, job);
        return;
    }
    s->clean.done = clean_done;
    s->job = job;
    node_clean_start(((struct serve *)ctx)->node, home, &s->clean);
}

static const struct http_route own_routes[] = {
    {HTTP_GET | HTTP_HEAD, "/-/healthy", on_healthy, .always_admit = true},
    {HTTP_GET | HTTP_HEAD, "/-/ready", on_ready, .always_admit = true},
    {HTTP_POST | HTTP_PUT, "/-/quit", on_quit, .ctx = NULL},
    {HTTP_POST | HTTP_PUT, "/-/reload", on_reload, .ctx = NULL},
    {HTTP_GET | HTTP_HEAD, "/metrics", on_metrics, .ctx = NULL},
    {HTTP_POST, "/api/v1/write", remote_write_handle, .body_bytes_max = REMOTE_WRITE_BODY_MAX,
     .raw_body = true},
    {HTTP_GET | HTTP_HEAD, "/", on_page, .ctx = NULL},
    {HTTP_GET | HTTP_HEAD, "/query", on_page, .ctx = NULL},
    {HTTP_GET | HTTP_HEAD, "/graph", on_page, .ctx = NULL},
};

static const struct feature_def {
    const char *name;
    uint32_t bit;
} features[] = {
    {"promql-experimental-functions", FEATURE_EXPERIMENTAL_FUNCTIONS},
    {"promql-binop-fill-modifiers", FEATURE_FILL},
    {"promql-extended-range-selectors", FEATURE_EXTENDED_RANGES},
    {"promql-delayed-name-removal", FEATURE_DELAYED_NAME_REMOVAL},
    {"use-start-timestamps", FEATURE_START_TIMESTAMPS},
    {"type-and-unit-labels", FEATURE_TYPE_AND_UNIT},
    {"promql-per-step-stats", FEATURE_PER_STEP_STATS},
};

static uint32_t feature_bits(const struct flag_list *list) {
    uint32_t bits = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct sv rest = sv_from(list->items[i]);
        while (rest.len > 0) {
            struct sv name;
            rest = sv_cut(rest, ',', &name);
            for (size_t k = 0; k < ARRAY_LEN(features); k++)
                if (sv_eq(sv_trim(name), sv_from(features[k].name))) bits |= features[k].bit;
        }
    }
    return bits;
}

static void route_gate(struct serve *s, size_t i) {
    s->gates[i] = (struct gate){s->node, s->routes[i].handler, s->routes[i].ctx};
    s->routes[i].handler = on_gated;
    s->routes[i].ctx = &s->gates[i];
}

static void serve_add_routes(struct serve *s) {
    for (size_t i = 0; i < ARRAY_LEN(own_routes); i++) {
        s->routes[s->routes_count] = own_routes[i];
        s->routes[s->routes_count].ctx = s;
        if (own_routes[i].handler == remote_write_handle) route_gate(s, s->routes_count);
        s->routes_count++;
    }
    s->ring = (struct ring_api){s->node, s->options->enable_admin_api.boolean};
    s->routes_count +=
        ring_api_routes(&s->ring, s->routes + s->routes_count, ROUTES_MAX - s->routes_count);
    size_t n = api_routes(&s->api, s->routes + s->routes_count, ROUTES_MAX - s->routes_count);
    for (size_t i = 0; i < n; i++)
        route_gate(s, s->routes_count++);
}

enum status serve_new(struct runtime *rt, struct node *node, const struct options *o,
                      const struct config *config, const struct config_retention_flags *retention,
                      struct query_log *query_log, struct serve **out, struct err *err) {
    struct serve *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *s = (struct serve){
        .rt = rt, .node = node, .options = o, .config = config, .retention = retention};
    s->config_ms = core_wall_ms(rt->cores[0]);
    s->api = (struct api_options){
        .lookback_ms = o->lookback_delta.duration_ms,
        .query_timeout_ms = o->query_timeout.duration_ms,
        .default_step_ms = config->evaluation_interval_ms,
        .samples_max = (uint64_t)o->max_samples.integer,
        .memory_bytes_max = o->query_memory.bytes,
        .features = feature_bits(&o->enable_feature.list),
        .version = CAIRN_VERSION,
        .revision = "",
        .external_url = o->external_url.string,
        .start_time_ms = core_wall_ms(rt->cores[0]),
        .external_labels = config->external_labels,
        .external_labels_count = config->external_labels_count,
        .query_log = query_log,
        .admin = o->enable_admin_api.boolean,
        .self = node_self(node),
        .put_config = put_config,
        .put_flags_json = put_flags,
        .runtime = put_runtime,
        .rows = rows_of_policy,
        .snapshot = snapshot_start,
        .clean = clean_start,
        .ctx = s,
    };
    serve_add_routes(s);
    remote_write_register_metrics();
    struct http_server_options ho = {
        .listen_addr = o->listen_address.string,
        .routes = s->routes,
        .routes_count = s->routes_count,
        .connections_max = (unsigned)o->max_connections.integer,
        .read_timeout_ms = o->read_timeout.duration_ms,
        .cors_origin_regex = o->cors_origin.string,
    };
    enum status st = http_server_new(rt, &ho, &s->server, err);
    if (st != OK) {
        free(s);
        return st;
    }
    *out = s;
    return OK;
}

unsigned serve_port(const struct serve *serve) {
    return http_server_port(serve->server);
}

void serve_stop(struct serve *serve, uint64_t grace_ms, void (*stopped)(void *ctx), void *ctx) {
    http_server_stop(serve->server, grace_ms, stopped, ctx);
}

void serve_free(struct serve *serve) {
    if (serve == NULL) return;
    http_server_free(serve->server);
    while (serve->reloaded != NULL) {
        struct reloaded *r = serve->reloaded;
        serve->reloaded = r->before;
        config_fini(&r->config);
        free(r);
    }
    free(serve);
}
