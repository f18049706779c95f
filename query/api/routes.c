/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "query/api/internal.h"
#include "query/api/openapi.h"

enum { READ = HTTP_GET | HTTP_POST, CHANGE = HTTP_POST | HTTP_PUT, FORM_BYTES_MAX = 10 << 20 };

static void api_openapi(struct http_request *req) {
    http_answer(req, 200, SV("application/yaml; charset=utf-8"),
                sv_make(openapi_yaml, openapi_yaml_len));
}

static const struct {
    unsigned methods;
    const char *path;
    http_handler handler;
} routes[] = {
    {READ, "/api/v1/query", api_query},
    {READ, "/api/v1/query_range", api_query_range},
    {READ, "/api/v1/query_exemplars", api_query_exemplars},
    {READ, "/api/v1/format_query", api_format_query},
    {READ, "/api/v1/parse_query", api_parse_query},
    {READ, "/api/v1/series", api_series},
    {READ, "/api/v1/labels", api_labels},
    {HTTP_GET, "/api/v1/label/*/values", api_label_values},
    {HTTP_GET, "/api/v1/metadata", api_metadata},
    {HTTP_GET, "/api/v1/rules", api_rules},
    {HTTP_GET, "/api/v1/alerts", api_alerts},
    {HTTP_GET, "/api/v1/targets", api_targets},
    {HTTP_GET, "/api/v1/targets/metadata", api_targets_metadata},
    {HTTP_GET, "/api/v1/scrape_pools", api_scrape_pools},
    {HTTP_GET, "/api/v1/alertmanagers", api_alertmanagers},
    {HTTP_GET, "/api/v1/notifications", api_notifications},
    {HTTP_GET, "/api/v1/status/config", api_status_config},
    {HTTP_GET, "/api/v1/status/flags", api_status_flags},
    {HTTP_GET, "/api/v1/status/runtimeinfo", api_status_runtimeinfo},
    {HTTP_GET, "/api/v1/status/buildinfo", api_status_buildinfo},
    {HTTP_GET, "/api/v1/status/walreplay", api_status_walreplay},
    {HTTP_GET, "/api/v1/status/tsdb", api_status_tsdb},
    {HTTP_GET, "/api/v1/status/tsdb/blocks", api_status_tsdb_blocks},
    {HTTP_GET, "/api/v1/features", api_features},
    {CHANGE, "/api/v1/admin/tsdb/delete_series", api_delete_series},
    {CHANGE, "/api/v1/admin/tsdb/clean_tombstones", api_clean_tombstones},
    {CHANGE, "/api/v1/admin/tsdb/snapshot", api_snapshot},
    {HTTP_GET, "/api/v1/openapi.yaml", api_openapi},
    {HTTP_GET, "/federate", api_federate},
};

size_t api_routes(const struct api_options *options, struct http_route *out, size_t max) {
    assert(max >= ARRAY_LEN(routes));
    api_federate_register();
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        out[i] = (struct http_route){
            .methods = routes[i].methods,
            .path = routes[i].path,
            .handler = routes[i].handler,
            .ctx = (void *)(uintptr_t)options, /* only read: api_options_of */
            .body_bytes_max = FORM_BYTES_MAX,
        };
    return ARRAY_LEN(routes);
}
