/* SPDX-License-Identifier: Apache-2.0 */
/* The section `limits` of the configuration: how many series a node may have in memory, those that
 * it keeps for other nodes included. Its cores take equal parts, rounded up.
 *
 *   limits:
 *     max_series: 1000000
 *     per_label:
 *       - label: __name__        # of each metric name
 *         max_series: 50000
 *       - label: job             # of that one
 *         value: debug
 *         max_series: 1000       # 0: none
 */
#include <string.h>

#include "node/base/num.h"
#include "node/daemon/config_yaml.h"

enum { CONFIG_LIMITS_MAX = 100 };

struct binding {
    yaml_document_t *doc;
    struct config *config;
    struct head_limit *limit; /* of the item at hand; NULL: of the section */
    bool has_max;             /* of the item at hand */
};
typedef enum status (*bind_cb)(struct binding *b, const yaml_node_t *value, struct err *err);
struct key_def {
    const char *name;
    bind_cb bind;
};

static enum status bad(const yaml_node_t *at, const char *what, struct err *err) {
    return err_set(err, ERR_PARSE, 0, "line %zu: limits: %s: \"%.*s\"", at->start_mark.line + 1,
                   what, SV_ARG(sv_take(config_node_text(at), 80)));
}

static enum status bind_keys(struct binding *b, const yaml_node_t *map, const struct key_def *defs,
                             size_t count, struct err *err) {
    if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0) return OK;
    if (map->type != YAML_MAPPING_NODE) return bad(map, "not a mapping", err);
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(b->doc, p->key);
        size_t i;
        TRY(config_find_key(key, defs, sizeof *defs, count, "config.limits", &i, err));
        const struct key_def *def = &defs[i];
        TRY(def->bind(b, yaml_document_get_node(b->doc, p->value), err));
    }
    return OK;
}

static enum status bind_max(struct binding *b, const yaml_node_t *value, struct err *err) {
    uint64_t max;
    if (!num_parse_u64(config_node_text(value), &max))
        return bad(value, "max_series is not a number", err);
    if (b->limit == NULL && max == 0)
        return bad(value, "max_series must be positive; leave it out for none", err);
    if (b->limit == NULL)
        b->config->limits.series_max = max;
    else
        b->limit->series_max = max;
    b->has_max = true;
    return OK;
}

static enum status bind_text(struct binding *b, const yaml_node_t *value, const char *what,
                             struct sv *out, struct err *err) {
    struct sv text = config_node_text(value);
    if (text.len == 0 || !label_name_valid(text)) return bad(value, what, err);
    *out = arena_sv(&b->config->arena, text);
    return out->ptr == NULL ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
}

static enum status bind_label(struct binding *b, const yaml_node_t *value, struct err *err) {
    return bind_text(b, value, "label is no label name", &b->limit->name, err);
}

static enum status bind_value(struct binding *b, const yaml_node_t *value, struct err *err) {
    return bind_text(b, value, "value is empty or not UTF-8; leave it out for each value",
                     &b->limit->value, err);
}

static enum status bind_item(struct binding *b, const yaml_node_t *item,
                             const struct head_limit *before, size_t count, struct err *err) {
    static const struct key_def keys[] = {
        {"label", bind_label}, {"value", bind_value}, {"max_series", bind_max}};
    b->has_max = false;
    TRY(bind_keys(b, item, keys, ARRAY_LEN(keys), err));
    if (b->limit->name.len == 0) return bad(item, "an item of per_label lacks its label", err);
    if (!b->has_max) return bad(item, "an item of per_label lacks its max_series", err);
    for (size_t i = 0; i < count; i++)
        if (sv_eq(before[i].name, b->limit->name) && sv_eq(before[i].value, b->limit->value))
            return bad(item, "the same label and value twice", err);
    return OK;
}

static enum status bind_per_label(struct binding *b, const yaml_node_t *list, struct err *err) {
    if (list->type == YAML_SCALAR_NODE && list->data.scalar.length == 0) return OK;
    if (list->type != YAML_SEQUENCE_NODE) return bad(list, "per_label is not a list", err);
    struct series_limits *to = &b->config->limits;
    struct head_limit *at = arena_array(&b->config->arena, CONFIG_LIMITS_MAX, sizeof *at);
    if (at == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *to = (struct series_limits){.series_max = to->series_max, .at = at};
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++) {
        const yaml_node_t *item = yaml_document_get_node(b->doc, *i);
        if (to->count == CONFIG_LIMITS_MAX) return bad(item, "more than 100 items", err);
        struct binding in = {.doc = b->doc, .config = b->config, .limit = &at[to->count]};
        TRY(bind_item(&in, item, at, to->count, err));
        to->count++;
    }
    return OK;
}

enum status config_bind_limits(yaml_document_t *doc, const yaml_node_t *map, struct config *c,
                               struct err *err) {
    static const struct key_def keys[] = {{"max_series", bind_max}, {"per_label", bind_per_label}};
    struct binding b = {.doc = doc, .config = c};
    return bind_keys(&b, map, keys, ARRAY_LEN(keys), err);
}
