/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/scan_internal.h"

/* prompb/types.proto of Prometheus 3: field numbers and types. */
static const struct form_field label_fields[] = {{1, WIRE_BYTES, false, NULL},
                                                 {2, WIRE_BYTES, false, NULL}};
static const struct form form_label = {"label", label_fields, ARRAY_LEN(label_fields)};

static const struct form_field exemplar_fields[] = {{1, WIRE_BYTES, false, &form_label},
                                                    {2, WIRE_FIXED64, false, NULL},
                                                    {3, WIRE_VARINT, false, NULL}};
const struct form form_exemplar = {"exemplar", exemplar_fields, ARRAY_LEN(exemplar_fields)};

static const struct form_field metadata_fields[] = {{1, WIRE_VARINT, false, NULL},
                                                    {2, WIRE_BYTES, false, NULL},
                                                    {4, WIRE_BYTES, false, NULL},
                                                    {5, WIRE_BYTES, false, NULL}};
const struct form form_metadata = {"metadata", metadata_fields, ARRAY_LEN(metadata_fields)};

static const struct form_field span_fields[] = {{1, WIRE_VARINT, false, NULL},
                                                {2, WIRE_VARINT, false, NULL}};
static const struct form form_span = {"bucket span", span_fields, ARRAY_LEN(span_fields)};

static const struct form_field histogram_fields[] = {
    {1, WIRE_VARINT, false, NULL},       /* count_int */
    {2, WIRE_FIXED64, false, NULL},      /* count_float */
    {3, WIRE_FIXED64, false, NULL},      /* sum */
    {4, WIRE_VARINT, false, NULL},       /* schema */
    {5, WIRE_FIXED64, false, NULL},      /* zero_threshold */
    {6, WIRE_VARINT, false, NULL},       /* zero_count_int */
    {7, WIRE_FIXED64, false, NULL},      /* zero_count_float */
    {8, WIRE_BYTES, false, &form_span},  /* negative_spans */
    {9, WIRE_VARINT, true, NULL},        /* negative_deltas */
    {10, WIRE_FIXED64, true, NULL},      /* negative_counts */
    {11, WIRE_BYTES, false, &form_span}, /* positive_spans */
    {12, WIRE_VARINT, true, NULL},       /* positive_deltas */
    {13, WIRE_FIXED64, true, NULL},      /* positive_counts */
    {14, WIRE_VARINT, false, NULL},      /* reset_hint */
    {15, WIRE_VARINT, false, NULL},      /* timestamp */
    {16, WIRE_FIXED64, true, NULL},      /* custom_values */
    {17, WIRE_VARINT, false, NULL},      /* start_timestamp, of 2.0 */
};
const struct form form_histogram = {"histogram", histogram_fields, ARRAY_LEN(histogram_fields) - 1};
const struct form form_histogram_v2 = {"histogram", histogram_fields, ARRAY_LEN(histogram_fields)};

bool scan_packed_is_whole(struct wire w, unsigned type) {
    while (w.cur < w.end)
        if (!wire_skip(&w, type)) return false;
    return true;
}

static const struct form_field *form_find(const struct form *form, uint32_t number) {
    for (size_t i = 0; i < form->fields_count; i++)
        if (form->fields[i].number == number) return &form->fields[i];
    return NULL;
}

/* Recursion follows the tables above, which have no circle: three levels. */
enum status scan_form(const struct scanner *s, struct wire w, const struct form *form) {
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t number;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &number, &type)) return scan_bad(s, at, "tag");
        const struct form_field *field = form_find(form, number);
        if (field == NULL) {
            if (!wire_skip(&w, type)) return scan_bad(s, at, form->name);
        } else if (field->packed && type == WIRE_BYTES) {
            if (!wire_bytes(&w, &inner) || !scan_packed_is_whole(inner, field->type))
                return scan_bad(s, at, form->name);
        } else if (type != field->type) {
            return scan_bad(s, at, form->name);
        } else if (field->form != NULL) {
            if (!wire_bytes(&w, &inner)) return scan_bad(s, at, form->name);
            TRY(scan_form(s, inner, field->form));
        } else if (!wire_skip(&w, type)) {
            return scan_bad(s, at, form->name);
        }
    }
    return OK;
}
