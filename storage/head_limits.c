/* SPDX-License-Identifier: Apache-2.0 */
/* Limits on the number of series: of a label pair, or of each value of a label. What is counted are
 * the live series of the pair, so that a lookup of each label that has a limit answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"
#include "storage/internal.h"

static const struct metric_def refused_def = {
    .name = "cairn_new_series_refused_total",
    .help = "Samples of new series that were refused, by the limit that was reached.",
    .kind = METRIC_COUNTER};

struct metric *head_refused_metric(const char *labels) {
    return metric_get(&refused_def, labels);
}

/* limit="label",label="job",value="x"; a limit of each value has none. */
static struct metric *limit_metric(const struct head_limit *limit) {
    struct buf text = {0};
    buf_put_sv(&text, SV("limit=\"label\",label="));
    label_put_quoted(&text, limit->name);
    buf_put_sv(&text, SV(",value="));
    label_put_quoted(&text, limit->value);
    const char *labels = buf_cstr(&text);
    struct metric *m = labels == NULL ? NULL : head_refused_metric(labels);
    buf_fini(&text);
    return m;
}

uint64_t head_limit_share(const struct head *head, uint64_t limit) {
    unsigned shares = MAX(head->options.limits_shares, 1U);
    return limit / shares + (limit % shares != 0);
}

enum status head_set_limits(struct head *head, const struct head_limit *limits, size_t count) {
    struct metric **refused;
    size_t bytes = count * (sizeof *limits + sizeof *refused);
    for (size_t i = 0; i < count; i++)
        bytes += limits[i].name.len + limits[i].value.len;
    struct head_limit *copy = count == 0 ? NULL : malloc(bytes);
    if (count > 0 && copy == NULL) return ERR_NOMEM;
    refused = count == 0 ? NULL : (struct metric **)(copy + count);
    char *text = count == 0 ? NULL : (char *)(refused + count);
    for (size_t i = 0; i < count; i++) {
        refused[i] = limit_metric(&limits[i]);
        if (refused[i] == NULL) {
            free(copy);
            return ERR_NOMEM;
        }
        copy[i] = limits[i];
        copy[i].name.ptr = memcpy(text, limits[i].name.ptr, limits[i].name.len);
        text += limits[i].name.len;
        copy[i].value.ptr = text;
        if (limits[i].value.len > 0) memcpy(text, limits[i].value.ptr, limits[i].value.len);
        text += limits[i].value.len;
    }
    free(head->limits);
    head->limits = copy;
    head->limits_refused = refused;
    head->limits_count = count;
    head->limits_bytes = bytes;
    return OK;
}

static enum status limit_reached(const struct head *head, const struct head_limit *limit,
                                 const struct label *label, struct err *err) {
    char share[60] = "";
    if (head->options.limits_shares > 1)
        snprintf(share, sizeof share, " (%" PRIu64 " on each of %u cores)",
                 head_limit_share(head, limit->series_max), head->options.limits_shares);
    metric_add(head->limits_refused[limit - head->limits], 1);
    if (sv_eq(label->name, SV("__name__")))
        return err_set(err, ERR_LIMIT, 0,
                       "limit of %" PRIu64 " series of the metric name \"%.*s\" reached%s",
                       limit->series_max, SV_ARG(sv_take(label->value, 150)), share);
    return err_set(err, ERR_LIMIT, 0,
                   "limit of %" PRIu64 " series with the label %.*s=\"%.*s\" reached%s",
                   limit->series_max, SV_ARG(sv_take(label->name, 80)),
                   SV_ARG(sv_take(label->value, 150)), share);
}

enum status head_series_allowed(const struct head *head, struct sv canonical, struct err *err) {
    struct sv rest = canonical;
    struct label label;
    if (head->options.series_max != 0 && head->live_count >= head->options.series_max)
        return err_set(err, ERR_LIMIT, 0, "head: limit of %" PRIu64 " series reached",
                       head->options.series_max);
    if (head->limits_count == 0) return OK;
    for (struct sv at = rest; labels_next(&rest, &label, NULL); at = rest) {
        struct sv bytes = {at.ptr, at.len - rest.len};
        for (size_t i = 0; i < head->limits_count; i++) {
            const struct head_limit *limit = &head->limits[i];
            if (!sv_eq(limit->name, label.name)) continue;
            if (limit->value.len > 0 && !sv_eq(limit->value, label.value)) continue;
            uint32_t pair = symbols_find_canonical(&head->symbols, bytes);
            uint64_t live =
                pair == MAP_NONE ? 0 : symbols_pair(head->symbols.pairs.dir, pair)->live;
            if (live >= head_limit_share(head, limit->series_max))
                return limit_reached(head, limit, &label, err);
        }
    }
    return OK;
}
