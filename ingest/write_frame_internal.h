/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/write_frame_internal.h: the sections of a write frame behind its rows; write_frame.c and
 * write_frame_items.c only. */
#pragma once

#include "ingest/write_frame.h"
#include "node/base/bytes.h"

void write_frame_put_exemplars(const struct ring_map *map, const struct write_frame_rows *rows,
                               struct buf *out);
void write_frame_put_metadata(const struct ring_map *map, const struct write_frame_rows *rows,
                              struct buf *out);
void write_frame_put_starts(const struct write_frame_rows *rows, struct buf *out);
void write_frame_put_histograms(const struct write_frame_rows *rows, struct buf *out);
bool write_frame_has_starts(const struct write_frame_rows *rows);
size_t write_frame_histograms_count(const struct write_frame_rows *rows);
enum status write_frame_get_starts(struct reader *r, struct write_rows *rows,
                                   struct err *err) MUST_USE;
enum status write_frame_get_histograms(struct reader *r, struct write_rows *rows,
                                       struct err *err) MUST_USE;
enum status write_frame_get_exemplars(const struct ring_map *map, struct reader *r,
                                      struct write_rows *rows, struct err *err) MUST_USE;
enum status write_frame_get_metadata(const struct ring_map *map, struct reader *r,
                                     struct write_rows *rows, struct err *err) MUST_USE;
