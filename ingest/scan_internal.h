/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/scan_internal.h: shared by scan.c (the request, and the series that senders send),
 * scan_series.c (any other series), scan_items.c (exemplars and metadata), scan_histogram.c and
 * scan_form.c (messages of which the form is checked first). */
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
    uint64_t series_refused;       /* histograms of the series at hand that break a rule */
    char series_refused_text[480]; /* why the first does */
};

enum status scan_bad(const struct scanner *s, const uint8_t *at, const char *what);
/* Room for row `count - 1`. */
enum status scan_reserve(struct scanner *s, size_t count) MUST_USE;
/* Rows from `first` on belong to the series with these labels. */
void scan_set_series(struct scanner *s, size_t first, struct sv labels);
/* A series in any form: the body of field 1. */
enum status scan_series_any(struct scanner *s, struct wire w) MUST_USE;

/* An exemplar of the series at hand: waits in the rows for scan_set_exemplars. */
enum status scan_exemplar(struct scanner *s, struct wire w) MUST_USE;
/* Exemplars from `first` on belong to the series with these labels; ptr NULL: are dropped. */
void scan_set_exemplars(struct scanner *s, size_t first, struct sv labels);
/* A histogram of the series at hand: a row, or refused. */
enum status scan_histogram(struct scanner *s, struct wire w, bool is_v2) MUST_USE;
void scan_refuse_histogram(struct scanner *s, const char *why);
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
