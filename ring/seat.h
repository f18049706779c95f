/* SPDX-License-Identifier: Apache-2.0 */
/* ring/seat.h: the data directory as a node's identity: <data>/seat holds node id and
 * incarnation. Opening raises the incarnation durably, so that no two processes ever share one. An
 * empty directory is a new node with a random id. */
#pragma once

#include "node/runtime/core.h"
#include "ring/map.h"

struct seat {
    node_id id;
    uint32_t incarnation;
};
MUST_USE enum status seat_open(struct runtime *rt, const char *data_dir, struct seat *out,
                               struct err *err);
/* Only reads the file <data>/seat. ERR_UNAVAILABLE: it is missing. */
MUST_USE enum status seat_load(struct disk *disk, const char *path, struct seat *out,
                               struct err *err);
