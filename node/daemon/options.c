/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/options.h"

#include <inttypes.h>
#include <string.h>

#include "node/base/json.h"
#include "node/base/log.h"
#include "node/daemon/task.h"

/* Flags of the design whose part does not exist in this version: logged when set. */
static const char *const later_flags[] = {
    "web.config.file",
    "roles",
    "alertmanager.web.listen-address",
    "alertmanager.config.file",
    "cluster.listen-address",
    "cluster.peer",
    "web.route-prefix",
};

static enum status check_range(const char *name, int64_t v, int64_t min, int64_t max,
                               struct err *err) {
    if (v >= min && v <= max) return OK;
    return err_set(err, ERR_PARSE, 0, "--%s must be %" PRId64 " to %" PRId64 ", got %" PRId64, name,
                   min, max, v);
}

static enum status options_check(const struct options *o, struct err *err) {
    TRY(check_range("node.cores", o->cores.integer, 0, 64, err));
    TRY(check_range("storage.tsdb.min-block-duration", o->min_block_duration.duration_ms, 1000,
                    (int64_t)31 * 86400 * 1000, err));
    TRY(check_range("node.workers", o->workers.integer, 0, 64, err));
    TRY(check_range("web.max-connections", o->max_connections.integer, 1, 1000000, err));
    TRY(check_range("query.max-concurrency", o->max_concurrency.integer, 1, 10000, err));
    TRY(check_range("query.max-samples", o->max_samples.integer, 1, INT64_MAX, err));
    TRY(check_range("ring.shards", o->ring_shards.integer, 1, 65536, err));
    TRY(check_range("ring.replication-factor", o->ring_replication_factor.integer, 1, 8, err));
    TRY(check_range("ring.bootstrap-expect", o->ring_bootstrap_expect.integer, 0, 1024, err));
    TRY(check_range("ring.min-insync", o->ring_min_insync.integer, 0, 8, err));
    if (o->ha_cluster_label.string[0] == '\0' || o->ha_replica_label.string[0] == '\0' ||
        strcmp(o->ha_cluster_label.string, o->ha_replica_label.string) == 0)
        return err_set(
            err, ERR_PARSE, 0,
            "--ingest.ha-cluster-label and --ingest.ha-replica-label must be two labels, "
            "got \"%s\" and \"%s\"",
            o->ha_cluster_label.string, o->ha_replica_label.string);
    enum log_level level;
    if (!log_level_parse(sv_from(o->log_level.string), &level))
        return err_set(err, ERR_PARSE, 0,
                       "--log.level must be debug, info, warn or error, got \"%s\"",
                       o->log_level.string);
    if (strcmp(o->log_format.string, "logfmt") != 0 && strcmp(o->log_format.string, "json") != 0)
        return err_set(err, ERR_PARSE, 0, "--log.format must be logfmt or json, got \"%s\"",
                       o->log_format.string);
    if (strcmp(o->pin_cores.string, "auto") != 0 && strcmp(o->pin_cores.string, "off") != 0)
        return err_set(err, ERR_PARSE, 0, "--node.pin-cores must be auto or off, got \"%s\"",
                       o->pin_cores.string);
    if (strcmp(o->wal_sync.string, "always") != 0 && strcmp(o->wal_sync.string, "interval") != 0)
        return err_set(err, ERR_PARSE, 0,
                       "--storage.wal-sync must be always or interval, got \"%s\"",
                       o->wal_sync.string);
    /* a promise that this version cannot keep is refused, not ignored */
    if (o->ring_discovery.string[0] != '\0' && o->ring_advertise.string[0] == '\0' &&
        !task_is_ecs())
        return err_set(err, ERR_PARSE, 0,
                       "--ring.discovery needs --ring.advertise-address=host:port, where the other "
                       "nodes reach this one");
    if (o->ring_seats.string[0] != '\0')
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "--ring.seats: shared seats are not part of this version");
    if (o->web_config_file.string[0] != '\0')
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "--web.config.file: TLS and authentication are not part of this version, "
                       "and serving without what it asks "
                       "for would be wrong");
    return OK;
}

enum status options_parse(int argc, char **argv, struct options *out, struct err *err) {
    memset(out, 0, sizeof *out);
    TRY(flags_parse(option_defs, option_defs_count, argc, argv, out, NULL, err));
    if (out->help.boolean || out->version.boolean) return OK;
    return options_check(out, err);
}

void options_log_later(void) {
    for (size_t i = 0; i < ARRAY_LEN(later_flags); i++)
        if (flag_was_set(later_flags[i]))
            log_warn("flag has no effect in this version", "flag", later_flags[i]);
    for (size_t i = 0; i < option_defs_count; i++)
        if (option_defs[i].hidden && flag_was_set(option_defs[i].name))
            log_warn("flag has no effect in this version", "flag", option_defs[i].name);
}

void options_put_json(const struct options *o, struct buf *out) {
    struct json j = json_init(out);
    struct buf text = {0};
    json_object_begin(&j);
    for (size_t i = 0; i < option_defs_count; i++) {
        if (option_defs[i].hidden || strcmp(option_defs[i].name, "help") == 0 ||
            strcmp(option_defs[i].name, "version") == 0)
            continue;
        buf_clear(&text);
        flag_put_value(&option_defs[i], o, &text);
        json_key_string(&j, sv_from(option_defs[i].name), buf_sv(&text));
    }
    json_object_end(&j);
    buf_fini(&text);
}
