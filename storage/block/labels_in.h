/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/labels_in.h: the labels of the series that were found, in the arena of the find. */
#pragma once

#include "storage/block/find.h"

struct set_labels {   /* of one side */
    uint32_t *ids;    /* sets, ascending */
    uint32_t *starts; /* in labels; one more than ids */
    uint32_t *labels; /* indexes, for each set ascending */
    size_t count;
};

struct labels_in {
    /* by name, then value; each label that a series has */
    struct label *labels;
    struct sv *canonical;
    size_t count;
    struct set_labels sides[SIDES];
};
/* Of the series in f->found, or of all sets there are. */
enum status labels_in_load(struct labels_in *l, struct find *f, bool all) MUST_USE;
void labels_in_fini(struct labels_in *l);
/* Replaces what is in out. */
void labels_in_canonical(const struct labels_in *l, const struct found *found, struct buf *out);
size_t labels_in_get(const struct labels_in *l, const struct found *found, struct label *out,
                     size_t max);
