/* SPDX-License-Identifier: Apache-2.0 */
/* The section `storage` of the configuration:
 *
 *   storage:
 *     tsdb:
 *       retention:
 *         time: 30d
 *         size: 100GB
 *         rules:                 # the first that matches a series counts
 *           - match: '{job="debug"}'
 *             time: 2d
 *           - match: 'up'
 *             time: 0s           # for ever
 *         resolution: {raw: 7d, 5m: 90d, 1h: 1y}   # each as long as `time` without it
 *       downsample:
 *         - {after: 2d, resolution: 5m}
 *         - {after: 14d, resolution: 1h}
 */
#include <stdio.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/base/log.h"
#include "node/base/num.h"
#include "node/daemon/config_yaml.h"
#include "query/promql/parser.h"

#define RETENTION_DEFAULT_MS ((int64_t)15 * 86400 * 1000)
enum { CONFIG_RULES_MAX = 100 };

struct binding {
    yaml_document_t *doc;
    struct config *config;
    char path[120]; /* of the mapping, for errors */
};
typedef enum status (*bind_cb)(const struct binding *b, const yaml_node_t *value, struct err *err);
struct key_def {
    const char *name;
    bind_cb bind; /* NULL: accepted; its part does not exist in this version */
};

static enum status storage_error(const struct binding *b, const yaml_node_t *at, const char *key,
                                 const char *what, struct err *err) {
    struct sv text = sv_take(config_node_text(at), 80);
    return err_set(err, ERR_PARSE, 0, "line %zu: %s%s%s: %s: \"%.*s\"", at->start_mark.line + 1,
                   b->path, key[0] == '\0' ? "" : ".", key, what, SV_ARG(text));
}

static bool is_empty(const yaml_node_t *n) {
    return n->type == YAML_SCALAR_NODE && n->data.scalar.length == 0;
}

static enum status bind_mapping(const struct binding *b, const yaml_node_t *map,
                                const struct key_def *defs, size_t count, struct err *err) {
    if (is_empty(map)) return OK;
    if (map->type != YAML_MAPPING_NODE) return storage_error(b, map, "", "not a mapping", err);
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(b->doc, p->key);
        size_t i;
        TRY(config_find_key(key, defs, sizeof *defs, count, "config.plain", &i, err));
        const struct key_def *def = &defs[i];
        struct binding in = {.doc = b->doc, .config = b->config};
        snprintf(in.path, sizeof in.path, "%.60s.%s", b->path, def->name);
        if (def->bind == NULL)
            log_warn("a setting of the configuration has no effect in this version", "setting",
                     in.path);
        else
            TRY(def->bind(&in, yaml_document_get_node(b->doc, p->value), err));
    }
    return OK;
}

/* -- retention */

static enum status bind_time(const struct binding *b, const yaml_node_t *value, struct err *err) {
    struct config *c = b->config;
    if (!duration_parse(config_node_text(value), &c->retention_ms))
        return storage_error(b, value, "", "not a valid duration string", err);
    c->has_retention_time = true;
    return OK;
}

static enum status bind_size(const struct binding *b, const yaml_node_t *value, struct err *err) {
    struct config *c = b->config;
    struct sv text = config_node_text(value);
    if (!sv_eq(text, SV("0")) && !num_parse_bytes(text, &c->retention_bytes))
        return storage_error(b, value, "", "not a valid size", err);
    c->has_retention_size = true;
    return OK;
}

static enum status bind_match(const struct binding *b, const yaml_node_t *value, struct err *err) {
    struct config *c = b->config;
    struct retention_rule *rule = &c->rules[c->rules_count];
    struct matcher *matchers;
    size_t count;
    struct err why;
    struct sv text = arena_sv(&c->arena, config_node_text(value));
    if (text.ptr == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    if (rule->matchers != NULL) return storage_error(b, value, "", "given twice", err);
    if (promql_parse_selector(text, &c->arena, &matchers, &count, &why) != OK)
        return storage_error(b, value, "", why.msg, err);
    bool all = promql_matchers_select_all(matchers, count);
    struct matcher *copy = arena_alloc(&c->arena, (count + 1) * sizeof *copy);
    if (copy != NULL) memcpy(copy, matchers, count * sizeof *copy);
    promql_matchers_free(matchers, count);
    rule->matchers = copy;
    rule->matchers_count = count;
    if (copy == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    return all ? storage_error(b, value, "", "it must not match the empty series", err) : OK;
}

static enum status bind_rule_time(const struct binding *b, const yaml_node_t *value,
                                  struct err *err) {
    struct config *c = b->config;
    if (!duration_parse(config_node_text(value), &c->rules[c->rules_count].time_ms))
        return storage_error(b, value, "", "not a valid duration string", err);
    c->rule_has_time = true;
    return OK;
}

static enum status bind_rules(const struct binding *b, const yaml_node_t *list, struct err *err) {
    static const struct key_def keys[] = {{"match", bind_match}, {"time", bind_rule_time}};
    struct config *c = b->config;
    if (is_empty(list)) return OK;
    if (list->type != YAML_SEQUENCE_NODE) return storage_error(b, list, "", "not a list", err);
    c->rules = arena_alloc(&c->arena, (CONFIG_RULES_MAX + 1) * sizeof *c->rules);
    if (c->rules == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    memset(c->rules, 0, (CONFIG_RULES_MAX + 1) * sizeof *c->rules);
    c->rules_count = 0;
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++) {
        const yaml_node_t *item = yaml_document_get_node(b->doc, *i);
        struct binding in = {.doc = b->doc, .config = c};
        snprintf(in.path, sizeof in.path, "%.60s[%zu]", b->path, c->rules_count);
        if (c->rules_count == CONFIG_RULES_MAX)
            return storage_error(b, item, "", "more than 100 rules", err);
        c->rule_has_time = false;
        TRY(bind_mapping(&in, item, keys, ARRAY_LEN(keys), err));
        if (c->rules[c->rules_count].matchers == NULL)
            return storage_error(&in, item, "match", "is missing", err);
        if (!c->rule_has_time) return storage_error(&in, item, "time", "is missing", err);
        c->rules_count++;
    }
    struct retention *r;
    struct err why;
    int64_t general_ms = c->has_retention_time ? c->retention_ms : RETENTION_DEFAULT_MS;
    if (retention_new(general_ms, c->rules, c->rules_count, &r, &why) != OK)
        return storage_error(b, list, "", why.msg, err);
    retention_unref(r);
    return OK;
}

/* -- retention by resolution */

enum { RES_RAW, RES_5M, RES_1H };
static const char *const resolution_names[CONFIG_RESOLUTIONS] = {"raw", "5m", "1h"};

static enum status bind_of_resolution(const struct binding *b, const yaml_node_t *value, int which,
                                      struct err *err) {
    struct config *c = b->config;
    if (!duration_parse(config_node_text(value), &c->resolution_ms[which]))
        return storage_error(b, value, "", "not a valid duration string", err);
    return OK;
}
static enum status bind_raw(const struct binding *b, const yaml_node_t *v, struct err *err) {
    return bind_of_resolution(b, v, RES_RAW, err);
}
static enum status bind_5m(const struct binding *b, const yaml_node_t *v, struct err *err) {
    return bind_of_resolution(b, v, RES_5M, err);
}
static enum status bind_1h(const struct binding *b, const yaml_node_t *v, struct err *err) {
    return bind_of_resolution(b, v, RES_1H, err);
}

static enum status bind_by_resolution(const struct binding *b, const yaml_node_t *value,
                                      struct err *err) {
    static const struct key_def keys[] = {{"raw", bind_raw}, {"5m", bind_5m}, {"1h", bind_1h}};
    b->config->resolution_line = value->start_mark.line + 1;
    return bind_mapping(b, value, keys, ARRAY_LEN(keys), err);
}

static enum status resolution_error(const struct config *c, int which, const char *what,
                                    struct err *err) {
    return err_set(err, ERR_PARSE, 0, "line %zu: storage.tsdb.retention.resolution.%s: %s",
                   c->resolution_line, resolution_names[which], what);
}

/* Whether what is kept for a is gone before what is kept for b; 0: as long as anything. */
static bool ends_before(int64_t a_ms, int64_t b_ms) {
    return a_ms != 0 && (b_ms == 0 || a_ms < b_ms);
}

/* What goes must leave something behind, and that must have been made by then. */
static enum status resolutions_check(const struct config *c, struct err *err) {
    const int64_t *ms = c->resolution_ms;
    const struct plan_level *fine = &c->levels[0], *coarse = &c->levels[1];
    bool has_fine = fine->resolution_ms != 0, has_coarse = coarse->resolution_ms != 0;
    if (ms[RES_RAW] != 0 && !has_fine && !has_coarse)
        return resolution_error(c, RES_RAW,
                                "samples would go and nothing stay, for storage.tsdb.downsample "
                                "says no resolution",
                                err);
    if (ms[RES_5M] != 0 && !has_fine)
        return resolution_error(c, RES_5M, "storage.tsdb.downsample has no resolution of 5m", err);
    if (ms[RES_1H] != 0 && !has_coarse)
        return resolution_error(c, RES_1H, "storage.tsdb.downsample has no resolution of 1h", err);
    if (ms[RES_5M] != 0 && !has_coarse)
        return resolution_error(c, RES_5M,
                                "rows of 5m would go and nothing stay, for storage.tsdb.downsample "
                                "has no resolution of 1h",
                                err);
    if (ends_before(ms[RES_5M], ms[RES_RAW]))
        return resolution_error(c, RES_5M, "it must not be shorter than that of raw", err);
    if (ends_before(ms[RES_1H], has_fine ? ms[RES_5M] : ms[RES_RAW]))
        return resolution_error(c, RES_1H, "it must not be shorter than those of raw and 5m", err);
    if (ms[RES_RAW] != 0 && ((has_fine && ms[RES_RAW] < fine->after_ms) ||
                             (has_coarse && ms[RES_RAW] < coarse->after_ms)))
        return resolution_error(c, RES_RAW,
                                "it must not be shorter than `after` in storage.tsdb.downsample, "
                                "for rows are made of samples",
                                err);
    return OK;
}

static enum status bind_retention(const struct binding *b, const yaml_node_t *value,
                                  struct err *err) {
    static const struct key_def keys[] = {{"time", bind_time},
                                          {"size", bind_size},
                                          {"percentage", NULL},
                                          {"rules", bind_rules},
                                          {"resolution", bind_by_resolution}};
    return bind_mapping(b, value, keys, ARRAY_LEN(keys), err);
}

/* -- downsampling */

static enum status bind_after(const struct binding *b, const yaml_node_t *value, struct err *err) {
    struct plan_level *level = &b->config->level;
    if (!duration_parse(config_node_text(value), &level->after_ms) || level->after_ms == 0)
        return storage_error(b, value, "", "not a valid duration string", err);
    return OK;
}

static enum status bind_resolution(const struct binding *b, const yaml_node_t *value,
                                   struct err *err) {
    int64_t ms;
    if (!duration_parse(config_node_text(value), &ms) ||
        (ms != DOWNSAMPLE_5M_MS && ms != DOWNSAMPLE_1H_MS))
        return storage_error(b, value, "", "it must be 5m or 1h", err);
    b->config->level.resolution_ms = (uint32_t)ms;
    return OK;
}

static enum status level_take(const struct binding *b, const yaml_node_t *item, struct err *err) {
    struct config *c = b->config;
    struct plan_level *to = &c->levels[c->level.resolution_ms == DOWNSAMPLE_1H_MS];
    if (c->level.after_ms == 0) return storage_error(b, item, "after", "is missing", err);
    if (c->level.resolution_ms == 0) return storage_error(b, item, "resolution", "is missing", err);
    if (to->resolution_ms != 0) return storage_error(b, item, "resolution", "given twice", err);
    *to = c->level;
    return OK;
}

static enum status bind_downsample(const struct binding *b, const yaml_node_t *list,
                                   struct err *err) {
    static const struct key_def keys[] = {{"after", bind_after}, {"resolution", bind_resolution}};
    if (is_empty(list)) return OK;
    if (list->type != YAML_SEQUENCE_NODE) return storage_error(b, list, "", "not a list", err);
    size_t at = 0;
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++) {
        const yaml_node_t *item = yaml_document_get_node(b->doc, *i);
        struct binding in = {.doc = b->doc, .config = b->config};
        snprintf(in.path, sizeof in.path, "%.60s[%zu]", b->path, at++);
        b->config->level = (struct plan_level){0};
        TRY(bind_mapping(&in, item, keys, ARRAY_LEN(keys), err));
        TRY(level_take(&in, item, err));
    }
    return OK;
}

static enum status bind_tsdb(const struct binding *b, const yaml_node_t *value, struct err *err) {
    static const struct key_def keys[] = {{"retention", bind_retention},
                                          {"downsample", bind_downsample},
                                          {"out_of_order_time_window", NULL},
                                          {"stale_series_compaction_threshold", NULL}};
    return bind_mapping(b, value, keys, ARRAY_LEN(keys), err);
}

enum status config_bind_storage(yaml_document_t *doc, const yaml_node_t *map, struct config *c,
                                struct err *err) {
    static const struct key_def keys[] = {{"tsdb", bind_tsdb}, {"exemplars", NULL}};
    struct binding b = {.doc = doc, .config = c, .path = "storage"};
    TRY(bind_mapping(&b, map, keys, ARRAY_LEN(keys), err));
    return resolutions_check(c, err);
}

/* As Prometheus has it: 15 days where neither is given, no bound by time where a size is. */
static void retention_general(const struct config *c, const struct config_retention_flags *flags,
                              int64_t *out_ms, uint64_t *out_bytes) {
    bool has_time = c->has_retention_time || flags->has_time;
    *out_bytes = c->has_retention_size ? c->retention_bytes : flags->bytes;
    *out_ms = c->has_retention_time ? c->retention_ms : flags->time_ms;
    if (!has_time && *out_bytes == 0) *out_ms = RETENTION_DEFAULT_MS;
}

enum status config_retention(const struct config *c, const struct config_retention_flags *flags,
                             struct retention **out, uint64_t *out_bytes, struct err *err) {
    int64_t time_ms;
    retention_general(c, flags, &time_ms, out_bytes);
    enum status st = retention_new(time_ms, c->rules, c->rules_count, out, err);
    if (st != OK) {
        err_prefix(err, "storage.tsdb.retention.rules");
        return st;
    }
    int64_t longest_ms = (*out)->longest_ms;
    for (int i = 0; i < CONFIG_RESOLUTIONS && st == OK; i++)
        if (c->resolution_ms[i] != 0 && ends_before(longest_ms, c->resolution_ms[i]))
            st = resolution_error(c, i, "it is longer than storage.tsdb.retention.time", err);
    if (st == OK)
        retention_set_resolutions(
            *out, &(struct retention_by_resolution){.raw_ms = c->resolution_ms[RES_RAW],
                                                    .fine_ms = c->resolution_ms[RES_5M],
                                                    .coarse_ms = c->resolution_ms[RES_1H],
                                                    .has_fine = c->levels[0].resolution_ms != 0,
                                                    .has_coarse = c->levels[1].resolution_ms != 0});
    else
        retention_unref(*out);
    return st;
}

void config_put_retention(const struct config *c, const struct config_retention_flags *flags,
                          struct buf *out) {
    int64_t time_ms;
    uint64_t bytes;
    retention_general(c, flags, &time_ms, &bytes);
    if (time_ms != 0) duration_put(out, time_ms);
    if (time_ms != 0 && bytes != 0) buf_put_sv(out, SV(" or "));
    if (bytes != 0) num_put_bytes(out, bytes);
}
