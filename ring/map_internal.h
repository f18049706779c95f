/* SPDX-License-Identifier: Apache-2.0 */
/* ring/map_internal.h: parts of the map's encoding that its deltas share. A reader that meets what
 * cannot be sets `failed`. */
#pragma once

#include "node/base/bytes.h"
#include "ring/map.h"

uint32_t map_get_u32(struct reader *r); /* a varint of at most 32 bits */
void map_put_node(const struct ring_node *n, struct buf *out);
void map_get_node(struct reader *r, struct ring_node *out);
void map_put_shard(const struct ring_shard *s, struct buf *out);
void map_get_shard(struct reader *r, struct ring_shard *out);
