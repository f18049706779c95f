/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/scan_internal.h: shared by scan.c (the request, and the series that senders send),
 * scan_series.c (any other series), scan_items.c (exemplars and metadata), scan_histogram.c and
 * scan_form.c (messages of which the form is checked first), and scan_v2.c (2.0's request). */
#pragma once

#include "ingest/scan.h"
#include "ingest/wire.h"

struct scanner {
    const struct scan_options *o;
    struct arena *arena;
    struct scan_result *out;
    struct err *err;
    const uint8_t *begin, *end; /* of the body */
    uint32_t series_count;
    /* of the series at hand, any form; reused from one to the next */
    struct label *labels;
    size_t labels_count, labels_cap;
    struct buf canonical;
    struct arena scratch; /* of the histogram at hand */
    struct buf histogram;
    struct buf refusals; /* of the series at hand: enum scan_refused, sentence, newline */
};

void scanner_init(struct scanner *s, struct sv body, const struct scan_options *options,
                  struct arena *arena, struct scan_result *out, struct err *err);
void scanner_fini(struct scanner *s, enum status st); /* not OK: there are no rows */
enum status scan_bad(const struct scanner *s, const uint8_t *at, const char *what);
/* Room for row `count - 1`. */
enum status scan_reserve(struct scanner *s, size_t count) MUST_USE;
/* Rows from `first` on belong to the series with these labels. */
void scan_set_series(struct scanner *s, size_t first, struct sv labels);
/* A series in any form: the body of field 1. */
enum status scan_series_any(struct scanner *s, struct wire w) MUST_USE;

/* Labels of the series at hand, collected in s->labels; at: where, for the error. */
enum status scan_add_label(struct scanner *s, const struct label *l, const uint8_t *at) MUST_USE;
void scan_drop_label(struct scanner *s); /* that of the options */
bool scan_labels_are_valid(const struct scanner *s);
/* Their canonical bytes, in the arena; ptr NULL: a name is repeated. */
enum status scan_rewrite_labels(struct scanner *s, struct sv *out) MUST_USE;
/* ptr NULL: storage would not keep them. */
enum status scan_exemplar_labels(struct scanner *s, const struct label *labels, size_t count,
                                 struct sv *out) MUST_USE;

/* An exemplar of the series at hand: waits in the rows for scan_set_exemplars. */
enum status scan_exemplar(struct scanner *s, struct wire w) MUST_USE;
/* Exemplars from `first` on belong to the series with these labels; ptr NULL: are dropped. */
void scan_set_exemplars(struct scanner *s, size_t first, struct sv labels);
/* A histogram of the series at hand: a row, or refused. */
enum status scan_histogram(struct scanner *s, struct wire w, bool is_v2) MUST_USE;
/* Something of the series at hand is left out, if it is kept itself. */
enum scan_refused { SCAN_REFUSED_HISTOGRAM = 'h', SCAN_REFUSED_EXEMPLAR = 'e' };
void scan_refuse(struct scanner *s, struct sv why, enum scan_refused what);
enum status scan_metadata(struct scanner *s, struct wire w) MUST_USE;

/* The next field of a message whose form is right; false at the end. */
struct scan_field {
    uint32_t field;
    unsigned type;
    uint64_t number;
    struct sv bytes;
};
bool scan_next_field(struct wire *w, struct scan_field *out);

/* A message type: its fields' wire types. */
struct form_field {
    uint8_t number;
    uint8_t type;            /* enum wire_type of one element */
    bool packed;             /* elements may also come packed */
    const struct form *form; /* WIRE_BYTES: of the message in it; NULL: plain bytes */
};
struct form {
    const char *name;
    const struct form_field *fields;
    size_t fields_count;
};
extern const struct form form_exemplar, form_histogram, form_histogram_v2, form_metadata;
enum status scan_form(const struct scanner *s, struct wire w, const struct form *form) MUST_USE;
bool scan_packed_is_whole(struct wire w, unsigned type);
