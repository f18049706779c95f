/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/options.h: the flags of `cairn`. All flags of the design and of Prometheus parse; one
 * whose part does not exist in this version is logged once, a promise that cannot be kept is
 * refused (options_check). */
#pragma once

#include "node/base/buf.h"
#include "node/base/flags.h"
#include "node/base/status.h"

/* clang-format off */
#define OPTION_FIELDS(X) \
    X(config_file) X(listen_address) X(web_config_file) X(external_url) X(route_prefix) \
    X(max_connections) X(read_timeout) X(enable_lifecycle) X(enable_admin_api) \
    X(cors_origin) X(page_title) X(tsdb_path) X(retention_time) X(retention_size) \
    X(min_block_duration) X(max_block_duration) X(blocks_interval) \
    X(scrub_interval) X(sync_interval) \
    X(out_of_order_window) X(wal_sync) X(wal_segment_size) X(lookback_delta) \
    X(query_timeout) X(max_concurrency) X(max_samples) X(query_memory) X(query_slower_than) \
    X(enable_feature) X(log_level) X(log_format) X(roles) X(cores) X(workers) X(pin_cores) \
    X(memory_limit) X(drain_timeout) X(ring_listen) X(ring_advertise) X(ring_cluster_name) \
    X(ring_discovery) X(ring_bootstrap_expect) X(ring_replication_factor) X(ring_min_insync) \
    X(ring_shards) X(ring_zone) X(ring_seats) X(ring_replace_after) X(ring_secret_file) \
    X(am_listen_address) X(am_config_file) X(cluster_listen) X(cluster_peer) X(ha_dedup) \
    X(ha_cluster_label) X(ha_replica_label) X(help) X(version) X(later)
/* clang-format on */

struct options {
#define OPTION_MEMBER(name) union flag_value name;
    OPTION_FIELDS(OPTION_MEMBER)
#undef OPTION_MEMBER
};

extern const struct flag_def option_defs[];
extern const size_t option_defs_count;

/* Parses and checks. ERR_PARSE or ERR_UNSUPPORTED with the sentence for the operator. */
MUST_USE enum status options_parse(int argc, char **argv, struct options *out, struct err *err);
/* Logs, once, each flag that was set and whose part does not exist in this version. */
void options_log_later(void);
/* {"flag":"value",...} for /api/v1/status/flags */
void options_put_json(const struct options *o, struct buf *out);
