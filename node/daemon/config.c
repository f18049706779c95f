/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <yaml.h>

#include "node/base/duration.h"
#include "node/base/log.h"
#include "node/runtime/disk.h"

enum { CONFIG_BYTES_MAX = 16 << 20 };

static const char built_in[] = "global:\n"
                               "  scrape_interval: 15s\n"
                               "  evaluation_interval: 1m\n"
                               "scrape_configs:\n"
                               "  - job_name: cairn\n"
                               "    static_configs:\n"
                               "      - targets: ['localhost:9090']\n";

static const struct section_def {
    const char *name;
    bool later; /* accepted; its part does not exist in this version */
} sections[] = {
    {"global", false},     {"runtime", true},        {"alerting", true},
    {"rule_files", true},  {"scrape_configs", true}, {"scrape_config_files", true},
    {"storage", true},     {"tracing", true},        {"remote_write", true},
    {"remote_read", true}, {"otlp", true},
};

static struct sv node_text(const yaml_node_t *n) {
    if (n == NULL || n->type != YAML_SCALAR_NODE) return (struct sv){0};
    return sv_make(n->data.scalar.value, n->data.scalar.length);
}

static enum status bind_duration(const yaml_node_t *value, const char *name, int64_t *out_ms,
                                 struct err *err) {
    int64_t ms;
    if (!duration_parse(node_text(value), &ms) || ms <= 0)
        return err_set(err, ERR_PARSE, 0,
                       "line %zu: global.%s: not a valid duration string: \"%.*s\"",
                       value->start_mark.line + 1, name, SV_ARG(node_text(value)));
    *out_ms = ms;
    return OK;
}

static enum status bind_global(yaml_document_t *doc, const yaml_node_t *map, struct config *c,
                               struct err *err) {
    if (map->type != YAML_MAPPING_NODE) {
        if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0) return OK;
        return err_set(err, ERR_PARSE, 0, "line %zu: global is not a mapping",
                       map->start_mark.line + 1);
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        struct sv key = node_text(yaml_document_get_node(doc, p->key));
        const yaml_node_t *value = yaml_document_get_node(doc, p->value);
        if (sv_eq(key, SV("scrape_interval")))
            TRY(bind_duration(value, "scrape_interval", &c->scrape_interval_ms, err));
        if (sv_eq(key, SV("evaluation_interval")))
            TRY(bind_duration(value, "evaluation_interval", &c->evaluation_interval_ms, err));
    }
    return OK;
}

static enum status bind_root(yaml_document_t *doc, struct config *c, struct err *err) {
    const yaml_node_t *root = yaml_document_get_root_node(doc);
    if (root == NULL) return OK; /* an empty file is an empty configuration, as in Prometheus */
    if (root->type != YAML_MAPPING_NODE)
        return err_set(err, ERR_PARSE, 0, "line 1: the file is not a mapping");
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(doc, p->key);
        const yaml_node_t *value = yaml_document_get_node(doc, p->value);
        const struct section_def *def = NULL;
        for (size_t i = 0; i < ARRAY_LEN(sections); i++)
            if (sv_eq(node_text(key), sv_from(sections[i].name))) def = &sections[i];
        if (def == NULL)
            return err_set(
                err, ERR_PARSE, 0,
                "yaml: unmarshal errors: line %zu: field %.*s not found in type config.plain",
                key->start_mark.line + 1, SV_ARG(node_text(key)));
        if (!def->later) TRY(bind_global(doc, value, c, err));
        if (def->later && !c->scrapes_itself) {
            c->has_later_sections = true;
            log_warn("section of the configuration has no effect in this version", "section",
                     def->name);
        }
    }
    return OK;
}

static enum status config_parse(struct config *c, struct err *err) {
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser)) return err_set(err, ERR_NOMEM, 0, "out of memory");
    /* an empty file has no bytes to point at, which libyaml asserts */
    const char *text = c->yaml.len == 0 ? "" : c->yaml.ptr;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, c->yaml.len);
    enum status st = OK;
    if (!yaml_parser_load(&parser, &doc)) {
        st = err_set(err, ERR_PARSE, 0, "yaml: line %zu: %s", parser.problem_mark.line + 1,
                     parser.problem == NULL ? "not valid" : parser.problem);
    } else {
        st = bind_root(&doc, c, err);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return st;
}

enum status config_load(const char *path, struct config *out, struct err *err) {
    struct config c = {.scrape_interval_ms = 60000, .evaluation_interval_ms = 60000};
    if (path[0] == '\0' && access("prometheus.yml", R_OK) == 0) path = "prometheus.yml";
    enum status st = OK;
    if (path[0] == '\0') {
        c.scrapes_itself = true;
        buf_put(&c.yaml, built_in, sizeof built_in - 1);
    } else {
        st = disk_read_file(disk_real(), path, CONFIG_BYTES_MAX, &c.yaml, err);
    }
    if (st == OK) {
        st = config_parse(&c, err);
        if (st != OK && err != NULL) err_prefix(err, "parsing YAML file %s", path);
    }
    if (st != OK) {
        buf_fini(&c.yaml);
        return st;
    }
    *out = c;
    return OK;
}

void config_fini(struct config *config) {
    buf_fini(&config->yaml);
}
