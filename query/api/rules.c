/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints about rules, alerts and targets. This version evaluates no rules and scrapes only
 * itself, so these have nothing to list; their parameters are checked all the same. */
#include <stdio.h>

#include "node/base/num.h"
#include "query/api/internal.h"
#include "query/promql/parser.h"

static void answer_text(struct http_request *req, struct sv data) {
    struct buf b = {0};
    buf_put_sv(&b, data);
    api_answer(req, &b);
}

static bool get_count(struct http_request *req, const char *name) {
    struct sv s = api_form(req, name);
    int64_t v;
    if (s.len == 0 || num_parse_i64(s, &v)) return true;
    api_fail(req, API_BAD_DATA, "%s must be a number", name);
    return false;
}

void api_targets_metadata(struct http_request *req) {
    if (!get_count(req, "limit")) return;
    struct sv target = api_form(req, "match_target");
    if (target.len > 0) {
        struct matcher *matchers;
        size_t count;
        struct err err;
        if (promql_parse_selector(target, req->arena, &matchers, &count, &err) != OK) {
            api_fail_param(req, "match_target", err.msg);
            return;
        }
        promql_matchers_free(matchers, count);
    }
    answer_text(req, SV("[]"));
}

static bool check_rules_pages(struct http_request *req) {
    struct sv limit = api_form(req, "group_limit");
    int64_t v;
    if (limit.len == 0) {
        if (api_form(req, "group_next_token").len == 0) return true;
        api_fail_param(req, "group_next_token",
                       "group_limit needs to be present in order to paginate over the groups");
        return false;
    }
    if (!num_parse_i64(limit, &v) || v > INT32_MAX || v < INT32_MIN) {
        struct buf quoted = {0};
        char text[1100];
        go_put_quoted(&quoted, sv_take(limit, 200));
        snprintf(text, sizeof text,
                 "group_limit needs to be a valid number: strconv.ParseInt: parsing %.*s: %s",
                 SV_ARG(buf_sv(&quoted)),
                 num_parse_i64(limit, &v) ? "value out of range" : "invalid syntax");
        buf_fini(&quoted);
        api_fail_param(req, "group_limit", text);
        return false;
    }
    if (v <= 0) api_fail_param(req, "group_limit", "group_limit needs to be greater than 0");
    return v > 0;
}

static bool is_go_bool(struct sv s) {
    static const char *const texts[] = {"1", "t", "true", "0", "f", "false"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (sv_eq_nocase(s, sv_from(texts[i]))) return true;
    return false;
}

void api_rules(struct http_request *req) {
    struct sv type = api_form(req, "type"), exclude = api_form(req, "exclude_alerts"), *selectors;
    size_t count;
    char text[1100];
    struct buf quoted = {0};
    if (!api_selectors(req, false, &selectors, &count)) return;
    if (type.len > 0 && !sv_eq_nocase(type, SV("alert")) && !sv_eq_nocase(type, SV("record"))) {
        go_put_quoted(&quoted, sv_take(type, 200));
        snprintf(text, sizeof text, "not supported value %.*s", SV_ARG(buf_sv(&quoted)));
        api_fail_param(req, "type", text);
    } else if (exclude.len > 0 && !is_go_bool(exclude)) {
        go_put_quoted(&quoted, sv_take(exclude, 200));
        snprintf(text, sizeof text,
                 "error converting exclude_alerts: strconv.ParseBool: parsing %.*s: invalid syntax",
                 SV_ARG(buf_sv(&quoted)));
        api_fail_param(req, "exclude_alerts", text);
    } else if (check_rules_pages(req)) {
        answer_text(req, SV("{\"groups\":[]}"));
    }
    buf_fini(&quoted);
}

void api_alerts(struct http_request *req) {
    answer_text(req, SV("{\"alerts\":[]}"));
}

void api_targets(struct http_request *req) {
    struct sv state = api_form(req, "state");
    bool dropped =
        state.len == 0 || sv_eq_nocase(state, SV("any")) || sv_eq_nocase(state, SV("dropped"));
    answer_text(
        req, dropped
                 ? SV("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")
                 : SV("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":null}"));
}

void api_scrape_pools(struct http_request *req) {
    answer_text(req, SV("{\"scrapePools\":[]}"));
}

void api_alertmanagers(struct http_request *req) {
    answer_text(req, SV("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}"));
}

void api_notifications(struct http_request *req) {
    answer_text(req, SV("[]"));
}
