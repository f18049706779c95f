/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/daemon/config_yaml.h"

enum { EXTERNAL_LABELS_MAX = 1024 };

struct sv config_node_text(const yaml_node_t *n) {
    if (n == NULL || n->type != YAML_SCALAR_NODE) return (struct sv){0};
    return sv_make(n->data.scalar.value, n->data.scalar.length);
}

enum status config_find_key(const yaml_node_t *key, const void *defs, size_t size, size_t count,
                            const char *type, size_t *out, struct err *err) {
    struct sv text = config_node_text(key);
    for (*out = 0; *out < count; ++*out) {
        const char *name;
        memcpy(&name, (const char *)defs + *out * size, sizeof name);
        if (sv_eq(text, sv_from(name))) return OK;
    }
    return err_set(err, ERR_PARSE, 0,
                   "yaml: unmarshal errors: line %zu: field %.*s not found in type %s",
                   key->start_mark.line + 1, SV_ARG(sv_take(text, 80)), type);
}

struct binding {
    yaml_document_t *doc;
    struct config *config;
    const char *key;
};

static enum status bind_duration(const struct binding *b, const yaml_node_t *value, int64_t *out_ms,
                                 struct err *err) {
    int64_t ms;
    struct sv text = config_node_text(value);
    if (!duration_parse(text, &ms) || ms <= 0)
        return err_set(err, ERR_PARSE, 0,
                       "line %zu: global.%s: not a valid duration string: \"%.*s\"",
                       value->start_mark.line + 1, b->key, SV_ARG(sv_take(text, 80)));
    *out_ms = ms;
    return OK;
}

static enum status bind_scrape_interval(const struct binding *b, const yaml_node_t *value,
                                        struct err *err) {
    return bind_duration(b, value, &b->config->scrape_interval_ms, err);
}

static enum status bind_evaluation_interval(const struct binding *b, const yaml_node_t *value,
                                            struct err *err) {
    return bind_duration(b, value, &b->config->evaluation_interval_ms, err);
}

/* A relative path counts from the folder of the configuration file. */
static enum status bind_query_log_file(const struct binding *b, const yaml_node_t *value,
                                       struct err *err) {
    struct buf *out = &b->config->query_log_file;
    struct sv file = config_node_text(value);
    if (value->type != YAML_SCALAR_NODE)
        return err_set(err, ERR_PARSE, 0, "line %zu: global.query_log_file is not a string",
                       value->start_mark.line + 1);
    const char *slash = strrchr(b->config->path, '/');
    buf_clear(out);
    if (file.len > 0 && file.ptr[0] != '/' && slash != NULL)
        buf_put(out, b->config->path, (size_t)(slash - b->config->path) + 1);
    buf_put_sv(out, file);
    return buf_cstr(out) == NULL ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
}

static bool is_variable_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* $NAME and ${NAME} of the environment, as Prometheus expands external labels; $$ is a dollar. */
static void put_expanded(struct buf *out, struct sv s) {
    while (s.len > 0) {
        size_t at;
        if (!sv_find_char(s, '$', &at)) {
            buf_put_sv(out, s);
            return;
        }
        buf_put_sv(out, sv_take(s, at));
        s = sv_skip(s, at + 1);
        if (s.len > 0 && s.ptr[0] == '$') {
            buf_put_char(out, '$');
            s = sv_skip(s, 1);
            continue;
        }
        bool braces = s.len > 0 && s.ptr[0] == '{';
        size_t n = braces ? 1 : 0;
        while (n < s.len && (braces ? s.ptr[n] != '}' : is_variable_char(s.ptr[n])))
            n++;
        char name[256] = "";
        struct sv text = sv_skip(sv_take(s, n), braces ? 1 : 0);
        if (text.len < sizeof name) memcpy(name, text.ptr, text.len);
        const char *value = getenv(name);
        buf_put_sv(out, sv_from(value == NULL ? "" : value));
        s = sv_skip(s, n + (braces && n < s.len ? 1 : 0));
    }
}

static int label_order(const void *a, const void *b) {
    return sv_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static enum status bind_external_labels(const struct binding *b, const yaml_node_t *map,
                                        struct err *err) {
    struct config *c = b->config;
    if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0) return OK;
    if (map->type != YAML_MAPPING_NODE)
        return err_set(err, ERR_PARSE, 0, "line %zu: global.external_labels is not a mapping",
                       map->start_mark.line + 1);
    free(c->external_labels);
    c->external_labels_count = 0;
    c->external_labels = calloc(EXTERNAL_LABELS_MAX, sizeof *c->external_labels);
    if (c->external_labels == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(b->doc, p->key);
        struct sv name = config_node_text(key);
        struct buf value = {0};
        if (!label_name_valid(name))
            return err_set(err, ERR_PARSE, 0, "line %zu: \"%.*s\" is not a valid label name",
                           key->start_mark.line + 1, SV_ARG(sv_take(name, 80)));
        if (c->external_labels_count == EXTERNAL_LABELS_MAX)
            return err_set(err, ERR_LIMIT, 0, "line %zu: more than %d external labels",
                           key->start_mark.line + 1, EXTERNAL_LABELS_MAX);
        put_expanded(&value, config_node_text(yaml_document_get_node(b->doc, p->value)));
        struct label l = {arena_sv(&c->arena, name), arena_sv(&c->arena, buf_sv(&value))};
        buf_fini(&value);
        if (l.name.ptr == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
        c->external_labels[c->external_labels_count++] = l;
    }
    qsort(c->external_labels, c->external_labels_count, sizeof *c->external_labels, label_order);
    return OK;
}

static const struct global_def {
    const char *name;
    enum status (*bind)(const struct binding *b, const yaml_node_t *value, struct err *err);
} globals[] = {
    {"scrape_interval", bind_scrape_interval},
    {"evaluation_interval", bind_evaluation_interval},
    {"query_log_file", bind_query_log_file},
    {"external_labels", bind_external_labels},
    {"scrape_timeout", NULL},
    {"rule_query_offset", NULL},
    {"scrape_failure_log_file", NULL},
    {"body_size_limit", NULL},
    {"sample_limit", NULL},
    {"target_limit", NULL},
    {"label_limit", NULL},
    {"label_name_length_limit", NULL},
    {"label_value_length_limit", NULL},
    {"keep_dropped_targets", NULL},
    {"scrape_protocols", NULL},
    {"metric_name_validation_scheme", NULL},
    {"metric_name_escaping_scheme", NULL},
    {"always_scrape_classic_histograms", NULL},
    {"convert_classic_histograms_to_nhcb", NULL},
    {"scrape_native_histograms", NULL},
    {"extra_scrape_metrics", NULL},
};

enum status config_bind_global(yaml_document_t *doc, const yaml_node_t *map, struct config *c,
                               struct err *err) {
    if (map->type != YAML_MAPPING_NODE) {
        if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0) return OK;
        return err_set(err, ERR_PARSE, 0, "line %zu: global is not a mapping",
                       map->start_mark.line + 1);
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(doc, p->key);
        size_t i;
        TRY(config_find_key(key, globals, sizeof *globals, ARRAY_LEN(globals), "config.plain", &i,
                            err));
        const struct global_def *def = &globals[i];
        struct binding b = {.doc = doc, .config = c, .key = def->name};
        if (def->bind != NULL) TRY(def->bind(&b, yaml_document_get_node(doc, p->value), err));
    }
    return OK;
}
