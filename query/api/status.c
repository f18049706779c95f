/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <unistd.h>

#include "node/base/duration.h"
#include "query/api/internal.h"
#include "query/promql/functions.h"

/* The Prometheus whose API and PromQL this is: Grafana and others choose what to ask by it. */
#define PROMETHEUS_VERSION "3.14.0"

static void key_text(struct json *j, const char *key, struct sv text) {
    json_key(j, sv_from(key));
    struct buf b = {0};
    api_put_text(&b, text);
    json_raw(j, buf_sv(&b));
    if (b.failed) j->out->failed = true;
    buf_fini(&b);
}

static void key_time(struct json *j, const char *key, int64_t ms) {
    struct buf b = {0};
    civil_put_rfc3339(&b, ms);
    key_text(j, key, buf_sv(&b));
    buf_fini(&b);
}

void api_status_config(struct http_request *req) {
    const struct api_options *o = api_options_of(req);
    struct buf yaml = {0}, data = {0};
    struct json j = json_init(&data);
    o->put_config(o->ctx, &yaml);
    json_object_begin(&j);
    key_text(&j, "yaml", buf_sv(&yaml));
    json_object_end(&j);
    data.failed |= yaml.failed;
    buf_fini(&yaml);
    api_answer(req, &data);
}

void api_status_flags(struct http_request *req) {
    const struct api_options *o = api_options_of(req);
    struct buf data = {0};
    o->put_flags_json(o->ctx, &data);
    api_answer(req, &data);
}

void api_status_runtimeinfo(struct http_request *req) {
    const struct api_options *o = api_options_of(req);
    char cwd[PATH_MAX] = "", hostname[256] = "";
    struct api_runtime now = {0};
    o->runtime(o->ctx, &now);
    if (getcwd(cwd, sizeof cwd) == NULL) cwd[0] = '\0';
    if (gethostname(hostname, sizeof hostname - 1) != 0) hostname[0] = '\0';
    struct buf data = {0};
    struct json j = json_init(&data);
    json_object_begin(&j);
    key_time(&j, "startTime", o->start_time_ms);
    key_text(&j, "CWD", sv_from(cwd));
    key_text(&j, "hostname", sv_from(hostname));
    key_time(&j, "serverTime", core_wall_ms(req->core));
    json_key_bool(&j, SV("reloadConfigSuccess"), now.reload_ok);
    key_time(&j, "lastConfigTime", now.config_ms);
    json_key_i64(&j, SV("corruptionCount"), (int64_t)now.corruptions);
    json_key_i64(&j, SV("goroutineCount"), (int64_t)req->core->rt->cores_count);
    json_key_i64(&j, SV("GOMAXPROCS"), (int64_t)req->core->rt->cores_count);
    json_key_i64(&j, SV("GOMEMLIMIT"), INT64_MAX);
    key_text(&j, "GOGC", SV(""));
    key_text(&j, "GODEBUG", SV(""));
    key_text(&j, "storageRetention", buf_sv(&now.retention));
    json_object_end(&j);
    data.failed |= now.retention.failed;
    buf_fini(&now.retention);
    api_answer(req, &data);
}

void api_status_buildinfo(struct http_request *req) {
    const struct api_options *o = api_options_of(req);
    struct buf data = {0};
    struct json j = json_init(&data);
    json_object_begin(&j);
    json_key_string(&j, SV("version"), SV(PROMETHEUS_VERSION));
    key_text(&j, "revision", sv_from(o->revision));
    key_text(&j, "branch", SV(""));
    key_text(&j, "buildUser", SV(""));
    key_text(&j, "buildDate", SV(""));
    key_text(&j, "goVersion", SV(""));
    key_text(&j, "application", SV("cairn"));
    key_text(&j, "applicationVersion", sv_from(o->version));
    json_object_end(&j);
    api_answer(req, &data);
}

void api_status_walreplay(struct http_request *req) {
    /* requests are taken when the log has been replayed */
    struct buf data = {0};
    buf_put_sv(&data, SV("{\"min\":0,\"max\":0,\"current\":0}"));
    api_answer(req, &data);
}

/* -- /features */

enum { ADMIN_IS_ON = 1 << 30 }; /* beside enum query_feature */

struct feature {
    const char *name;
    bool on;
    uint32_t bit; /* on with it */
};
static const struct feature api_features_table[] = {
    {"admin", false, ADMIN_IS_ON},      {"exclude_alerts", true, 0},
    {"label_values_match", true, 0},    {"openapi_3.1", true, 0},
    {"openapi_3.2", false, 0},          {"partial_response", true, 0},
    {"query_stats", true, 0},           {"query_warnings", true, 0},
    {"remote_write_receiver", true, 0}, {"search", false, 0},
    {"time_range_labels", true, 0},     {"time_range_series", true, 0},
};
static const struct feature promql_features_table[] = {
    {"anchored", false, FEATURE_EXTENDED_RANGES},
    {"at_modifier", true, 0},
    {"bool", true, 0},
    {"by", true, 0},
    {"delayed_name_removal", false, FEATURE_DELAYED_NAME_REMOVAL},
    {"duration_expr", true, 0},
    {"fill", false, FEATURE_FILL},
    {"fill_left", false, FEATURE_FILL},
    {"fill_right", false, FEATURE_FILL},
    {"group_left", true, 0},
    {"group_right", true, 0},
    {"ignoring", true, 0},
    {"negative_offset", true, 0},
    {"offset", true, 0},
    {"on", true, 0},
    {"per_query_lookback_delta", true, 0},
    {"smoothed", false, FEATURE_EXTENDED_RANGES},
    {"subqueries", true, 0},
    {"type_and_unit_labels", false, FEATURE_TYPE_AND_UNIT},
    {"without", true, 0},
};

static void put_features(struct json *j, const char *category, const struct feature *table,
                         size_t count, uint32_t bits) {
    json_key(j, sv_from(category));
    json_object_begin(j);
    for (size_t i = 0; i < count; i++)
        json_key_bool(j, sv_from(table[i].name), table[i].on || (table[i].bit & bits));
    json_object_end(j);
}

void api_features(struct http_request *req) {
    const struct api_options *o = api_options_of(req);
    uint32_t bits = o->features | (o->admin ? ADMIN_IS_ON : 0);
    struct buf data = {0};
    struct json j = json_init(&data);
    json_object_begin(&j);
    put_features(&j, "api", api_features_table, ARRAY_LEN(api_features_table), bits);
    put_features(&j, "promql", promql_features_table, ARRAY_LEN(promql_features_table), bits);
    json_key(&j, SV("promql_functions"));
    json_object_begin(&j);
    for (size_t i = 0; i < FN_COUNT; i++) {
        const struct function_def *f = &functions[i];
        json_key_bool(&j, sv_from(f->name),
                      !f->experimental || (bits & FEATURE_EXPERIMENTAL_FUNCTIONS));
    }
    json_object_end(&j);
    json_key(&j, SV("promql_operators"));
    json_object_begin(&j);
    for (int op = 0; op < AGG_OP_COUNT; op++) {
        bool experimental = op == AGG_LIMITK || op == AGG_LIMIT_RATIO;
        json_key_bool(&j, sv_from(aggregate_op_text((enum aggregate_op)op)),
                      !experimental || (bits & FEATURE_EXPERIMENTAL_FUNCTIONS));
    }
    for (int op = 0; op < OP_COUNT; op++)
        json_key_bool(&j, sv_from(binary_op_text((enum binary_op)op)), true);
    json_object_end(&j);
    json_object_end(&j);
    api_answer(req, &data);
}
