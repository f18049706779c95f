/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ingest/remote_write.h"

#define MEDIA_TYPE "application/x-protobuf"
#define MESSAGE_V1 "prometheus.WriteRequest"
#define MESSAGE_V2 "io.prometheus.write.v2.Request"
enum { SHOWN_MAX = 128 }; /* of a header, in an answer */

static struct sv shown(struct sv s) {
    return sv_take(s, SHOWN_MAX);
}

static int refuse_message(struct sv content_type, struct sv message, char *text) {
    snprintf(text, REMOTE_WRITE_TEXT_MAX,
             "got %.*s content type; unknown type for remote write protobuf message %.*s, "
             "supported: %s, %s",
             SV_ARG(shown(content_type)), SV_ARG(shown(message)), MESSAGE_V1, MESSAGE_V2);
    return 415;
}

/* As client_golang's exp/api/remote: the media type to the letter, then parameters, of which the
 * first proto= counts. */
static int check_content_type(struct sv content_type, bool *out_v2, char *text) {
    struct sv head, rest = sv_cut(content_type, ';', &head);
    if (!sv_eq(head, SV(MEDIA_TYPE))) {
        snprintf(text, REMOTE_WRITE_TEXT_MAX,
                 "expected %s as the first (media) part, got %.*s content-type", MEDIA_TYPE,
                 SV_ARG(shown(content_type)));
        return 415;
    }
    bool more = head.len < content_type.len;
    while (more) {
        struct sv parameter, after = sv_cut(rest, ';', &parameter);
        more = parameter.len < rest.len;
        rest = after;
        struct sv key, value = sv_cut(parameter, '=', &key);
        size_t second;
        if (key.len == parameter.len || sv_find_char(value, '=', &second)) {
            snprintf(text, REMOTE_WRITE_TEXT_MAX,
                     "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters "
                     "to be key-values, got "
                     "%.*s in %.*s content-type",
                     SV_ARG(shown(parameter)), SV_ARG(shown(content_type)));
            return 415;
        }
        if (!sv_eq(sv_trim(key), SV("proto"))) continue;
        value = sv_trim(value);
        *out_v2 = sv_eq(value, SV(MESSAGE_V2));
        if (*out_v2 || sv_eq(value, SV(MESSAGE_V1))) return 0;
        return refuse_message(content_type, value, text);
    }
    return 0; /* none says proto=: 1.0, which is older than the parameter */
}

int remote_write_check_headers(struct sv content_type, struct sv encoding, bool *out_v2,
                               char text[static REMOTE_WRITE_TEXT_MAX]) {
    char unused[REMOTE_WRITE_TEXT_MAX];
    *out_v2 = false;
    content_type = sv_trim(content_type);
    bool bad_encoding = encoding.len > 0 && !sv_eq_nocase(encoding, SV("snappy"));
    int code = content_type.len == 0
                   ? 0
                   : check_content_type(content_type, out_v2, bad_encoding ? unused : text);
    if (bad_encoding) {
        snprintf(
            text, REMOTE_WRITE_TEXT_MAX,
            "%.*s encoding (compression) is not accepted by this server; only snappy is acceptable",
            SV_ARG(shown(encoding)));
        return 415;
    }
    return code;
}
