/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk of Prometheus: an encoding, then its bytes. What decodes has as many samples as it says.
 */
#include <stdlib.h>

#include "storage/import/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    struct samples scratch = {0};
    struct prom_counts counts = {0};
    struct prom_collect into = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    enum status got = prom_chunk_collect(data[0], data + 1, size - 1, &scratch, &into, &counts);
    if (got != OK && got != ERR_CORRUPT) abort();
    if (got == OK && data[0] == PROM_XOR && into.samples.count != get_u16be(data + 1)) abort();
    if (prom_collect_finish(&into) != OK) abort();
    for (size_t i = 1; i < into.samples.count; i++)
        if (into.samples.times_ms[i] <= into.samples.times_ms[i - 1]) abort();
    samples_fini(&scratch);
    prom_collect_fini(&into);
    return 0;
}
