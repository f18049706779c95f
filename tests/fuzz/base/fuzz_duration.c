/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and times take any bytes; what they accept is written and read back. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/duration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv s = sv_make(data, size);
    struct buf b = {0};
    int64_t ms, again;
    if (duration_parse(s, &ms)) {
        assert(ms >= 0 && ms <= INT64_MAX / 1000000);
        duration_put(&b, ms);
        bool ok = duration_parse(buf_sv(&b), &again) && again == ms;
        assert(ok);
        buf_clear(&b);
        duration_put_go(&b, ms * 1000000);
        buf_clear(&b);
    }
    if (civil_parse_rfc3339(s, &ms)) {
        struct civil c = civil_from_ms(ms);
        assert(civil_to_ms(c) == ms);
        assert(c.month >= 1 && c.month <= 12 && c.day >= 1 &&
               c.day <= civil_days_in_month(c.year, c.month));
        assert(c.weekday >= 0 && c.weekday <= 6 && c.yearday >= 1 && c.yearday <= 366);
        civil_put_rfc3339(&b, ms);
        /* a zone may move the year out of the four digits */
        bool ok =
            c.year < 0 || c.year > 9999 || (civil_parse_rfc3339(buf_sv(&b), &again) && again == ms);
        assert(ok);
    }
    buf_fini(&b);
    return 0;
}
