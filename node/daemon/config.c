/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yaml.h>

#include "node/base/hash.h"
#include "node/base/log.h"
#include "node/daemon/config_yaml.h"
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
    /* NULL: accepted; its part does not exist in this version */
    enum status (*bind)(yaml_document_t *doc, const yaml_node_t *value, struct config *c,
                        struct err *err);
} sections[] = {
    {"global", config_bind_global},
    {"runtime", NULL},
    {"alerting", NULL},
    {"rule_files", NULL},
    {"scrape_configs", NULL},
    {"scrape_config_files", NULL},
    {"storage", config_bind_storage},
    {"limits", config_bind_limits},
    {"tracing", NULL},
    {"remote_write", NULL},
    {"remote_read", NULL},
    {"otlp", NULL},
};

/* Of the text between two marks, so that a change is seen; order and comments count. */
static uint64_t text_hash(const struct config *c, const yaml_node_t *from, const yaml_node_t *to) {
    size_t begin = from->start_mark.index, end = to->end_mark.index;
    if (end > c->yaml.len || begin > end) return 0;
    return hash64(c->yaml.ptr + begin, end - begin, 0);
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
        size_t i;
        TRY(config_find_key(key, sections, sizeof *sections, ARRAY_LEN(sections), "config.plain",
                            &i, err));
        const struct section_def *def = &sections[i];
        bool reloads = def->bind == config_bind_storage || def->bind == config_bind_limits;
        if (!reloads) c->rest_hash += text_hash(c, key, value);
        if (def->bind != NULL) TRY(def->bind(doc, value, c, err));
        if (def->bind == NULL && !c->scrapes_itself) {
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
    arena_init(&c.arena, CONFIG_BYTES_MAX);
    if (path[0] == '\0' && access("prometheus.yml", R_OK) == 0) path = "prometheus.yml";
    enum status st = OK;
    if (path[0] == '\0') {
        c.scrapes_itself = true;
        buf_put(&c.yaml, built_in, sizeof built_in - 1);
    } else {
        st = disk_read_file(disk_real(), path, CONFIG_BYTES_MAX, &c.yaml, err);
    }
    if (st == OK) {
        c.path = path;
        st = config_parse(&c, err);
        if (st != OK && err != NULL) err_prefix(err, "parsing YAML file %s", path);
    }
    if (st != OK) {
        config_fini(&c);
        return st;
    }
    *out = c;
    return OK;
}

void config_fini(struct config *config) {
    buf_fini(&config->yaml);
    buf_fini(&config->query_log_file);
    free(config->external_labels);
    arena_fini(&config->arena);
}
