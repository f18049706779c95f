/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/config.h: prometheus.yml as far as this version uses it. The whole file must be valid
 * YAML with known sections; sections whose part does not exist are accepted and named, so that a
 * user's file works unchanged. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "storage/archive/plan.h"
#include "storage/archive/retention.h"
#include "storage/downsample/downsample.h"
#include "storage/labels.h"
#include "storage/store.h"

enum { CONFIG_RESOLUTIONS = 3 };
/* That a node keeps: Prometheus' default of storage.exemplars.max_exemplars. */
enum { CONFIG_EXEMPLARS_MAX = 100000 };
struct config {
    struct buf yaml; /* as loaded, or the built-in text; for status/config */
    int64_t scrape_interval_ms, evaluation_interval_ms;
    struct buf query_log_file;     /* NUL behind; empty: none */
    struct label *external_labels; /* sorted by name, texts in the arena */
    size_t external_labels_count;
    int64_t retention_ms; /* storage.tsdb.retention */
    uint64_t retention_bytes;
    bool has_retention_time, has_retention_size;
    struct retention_rule *rules; /* in the arena */
    size_t rules_count;
    bool rule_has_time;                        /* while it is parsed */
    struct plan_level levels[PLAN_LEVELS];     /* storage.tsdb.downsample: of 5m, of 1h */
    struct plan_level level;                   /* while it is parsed */
    int64_t resolution_ms[CONFIG_RESOLUTIONS]; /* ..retention.resolution: of raw, 5m, 1h; 0 */
    size_t resolution_line;
    struct series_limits limits; /* texts and list in the arena */
    uint64_t rest_hash;          /* of all but the sections `storage` and `limits` */
    struct arena arena;
    const char *path;    /* while it is parsed */
    bool scrapes_itself; /* the built-in configuration */
    bool has_later_sections;
};
/* path "": ./prometheus.yml when it exists, else the built-in configuration. ERR_PARSE with
 * Prometheus' kind of text: `parsing YAML file x: yaml: unmarshal errors: line 3: field
 * scrap_configs not found in type config.plain`. */
MUST_USE enum status config_load(const char *path, struct config *out, struct err *err);
void config_fini(struct config *config);

/* The file's retention wins over that of flags, as in Prometheus; times 0: for ever. */
struct config_retention_flags {
    bool has_time;
    int64_t time_ms;
    uint64_t bytes;
};
MUST_USE enum status config_retention(const struct config *config,
                                      const struct config_retention_flags *flags,
                                      struct retention **out, uint64_t *out_bytes, struct err *err);
/* The general one, as Prometheus says it: `15d`, `1d12h or 100GiB`; empty: for ever. */
void config_put_retention(const struct config *config, const struct config_retention_flags *flags,
                          struct buf *out);
