/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/window.h: range functions. Each computes all steps of one series: r->samples are its
 * float samples, r->windows the samples of each step; out->kinds is all absent on entry. */
#pragma once

#include <stdio.h>

#include "query/engine/internal.h"

enum status window_rate(struct stage_run *r, struct column *out) MUST_USE;
enum status window_instant(struct stage_run *r, struct column *out) MUST_USE;
enum status window_changes(struct stage_run *r, struct column *out) MUST_USE;
enum status window_extended_rate(struct stage_run *r, struct column *out);
enum status window_sum(struct stage_run *r, struct column *out) MUST_USE;
enum status window_extreme(struct stage_run *r, struct column *out) MUST_USE;
enum status window_edge(struct stage_run *r, struct column *out) MUST_USE;
enum status window_count(struct stage_run *r, struct column *out) MUST_USE;
enum status window_variance(struct stage_run *r, struct column *out) MUST_USE;
enum status window_quantile(struct stage_run *r, struct column *out) MUST_USE;
enum status window_regression(struct stage_run *r, struct column *out) MUST_USE;
enum status window_smoothing(struct stage_run *r, struct column *out) MUST_USE;

/* Of a row (storage/downsample) seen from the window's end: rate, increase, delta; false: it has
 * one sample only. */
bool rate_of_row(const struct stage *st, const struct downsample_row *row, double *out);
/* The name tells a counter from a gauge, or the type label where these are on. */
void note_not_counter(struct stage_run *r, const struct column *out);
