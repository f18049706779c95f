/* SPDX-License-Identifier: Apache-2.0 */
/* Limits on the number of series: of a label pair, or of each value of a label. What is counted are
 * the live series of the pair, so that a lookup of each label that has a limit answers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/internal.h"

enum status head_set_limits(struct head *head, const struct head_limit *limits, size_t count) {
    size_t bytes = count * sizeof *limits;
    for (size_t i = 0; i < count; i++)
        bytes += limits[i].name.len + limits[i].value.len;
    struct head_limit *copy = count == 0 ? NULL : malloc(bytes);
    if (count > 0 && copy == NULL) return ERR_NOMEM;
    char *text = count == 0 ? NULL : (char *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        copy[i] = limits[i];
        copy[i].name.ptr = memcpy(text, limits[i].name.ptr, limits[i].name.len);
        text += limits[i].name.len;
        copy[i].value.ptr = text;
        if (limits[i].value.len > 0) memcpy(text, limits[i].value.ptr, limits[i].value.len);
        text += limits[i].value.len;
    }
    free(head->limits);
    head->limits = copy;
    head->limits_count = count;
    head->limits_bytes = bytes;
    return OK;
}

static enum status limit_reached(const struct head_limit *limit, const struct label *label,
                                 struct err *err) {
    if (sv_eq(label->name, SV("__name__")))
        return err_set(err, ERR_LIMIT, 0,
                       "limit of %" PRIu64 " series of the metric name \"%.*s\" reached",
                       limit->series_max, SV_ARG(label->value));
    return err_set(err, ERR_LIMIT, 0,
                   "limit of %" PRIu64 " series with the label %.*s=\"%.*s\" reached",
                   limit->series_max, SV_ARG(label->name), SV_ARG(label->value));
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
            if (live >= limit->series_max) return limit_reached(limit, &label, err);
        }
    }
    return OK;
}
