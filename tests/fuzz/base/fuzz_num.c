/* SPDX-License-Identifier: Apache-2.0 */
/* Number parsers take any bytes; what they accept is written and read back to the same bits, and
 * glibc's strtod agrees. */
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_f64(struct sv s) {
    double v, again;
    if (!num_parse_f64(s, &v)) return;
    static const char formats[] = "feg";
    for (size_t i = 0; i < 3; i++) {
        char text[NUM_TEXT_MAX];
        size_t n = num_format_f64(text, v, formats[i]);
        assert(n <= NUM_TEXT_MAX);
        bool ok = num_parse_f64(sv_make(text, n), &again);
        assert(ok && f64_bits(again) == f64_bits(v));
    }
    char *copy = malloc(s.len + 1), *end;
    assert(copy != NULL);
    memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    double other = strtod(copy, &end);
    assert(end == copy + s.len);
    assert(isnan(v) ? isnan(other) : f64_bits(other) == f64_bits(v));
    free(copy);
    bool literal = num_parse_f64_literal(s, &again);
    assert(literal && f64_bits(again) == f64_bits(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv s = sv_make(data, size);
    struct buf b = {0};
    int64_t i, i_again;
    uint64_t u, u_again;
    double v;
    check_f64(s);
    (void)num_parse_f64_literal(s, &v);
    if (num_parse_i64(s, &i)) {
        num_put_i64(&b, i);
        bool ok = num_parse_i64(buf_sv(&b), &i_again) && i_again == i;
        assert(ok);
        buf_clear(&b);
    }
    (void)num_parse_i64_base0(s, &i);
    if (num_parse_u64(s, &u)) {
        num_put_u64(&b, u);
        bool ok = num_parse_u64(buf_sv(&b), &u_again) && u_again == u;
        assert(ok);
        buf_clear(&b);
    }
    if (num_parse_bytes(s, &u)) {
        assert(u <= INT64_MAX);
        num_put_bytes(&b, u);
        /* Beyond 2^53 the parser adds in doubles, as the original does. */
        bool ok = num_parse_bytes(buf_sv(&b), &u_again) || u > INT64_MAX - 512;
        assert(ok && (u >= UINT64_C(1) << 53 || u_again == u));
    }
    buf_fini(&b);
    return 0;
}
