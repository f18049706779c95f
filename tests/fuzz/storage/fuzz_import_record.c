/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of Prometheus: the input as a segment, and, after a byte that says how it is packed and in
 * which log it is, as one record of a segment whose checksum is right. */
#include <stdlib.h>

#include "storage/import/internal.h"
#include "tests/storage/import/memory_disk.h"

static enum status on_record(void *ctx, struct sv bytes) {
    return prom_head_record(ctx, bytes);
}

static enum status on_late_record(void *ctx, struct sv bytes) {
    return prom_head_late_record(ctx, bytes);
}

static void read_segment(const void *bytes, size_t len, bool late) {
    static const struct prom_options options = {.path = "dir", .shards_count = 4};
    struct prom_counts counts = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &counts, 0);
    if (prom_head_record(&head, SV("\1\0\0\0\0\0\0\0\5\1\1a\1b")) != OK) abort();
    struct memory_disk disk = memory_disk(bytes, len);
    struct prom_file f;
    if (prom_file_open(&disk.disk, "segment", 4096, &f, NULL) != OK) abort();
    struct prom_record_sink sink = {late ? on_late_record : on_record, &head};
    uint64_t cut = 0;
    enum status got = prom_segment_read(&f, true, &sink, &cut, NULL);
    if ((got != OK && got != ERR_CORRUPT) || cut > len) abort();
    prom_head_sort(&head);
    for (uint32_t i = 0; i < head.series_count; i++) {
        struct prom_collect into = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
        if (prom_head_collect(&head, i, &into, NULL) != OK) abort();
        if (prom_collect_finish(&into) != OK) abort();
        prom_collect_fini(&into);
    }
    prom_file_close(&f);
    prom_head_fini(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_segment(data, size, false);
    if (size < 1 || size > 30000) return 0;
    struct buf segment = {0};
    uint8_t flags = (uint8_t)(1 | (data[0] & 24));
    uint32_t crc = prom_crc32c(0, data + 1, size - 1);
    uint8_t head[7] = {flags,
                       (uint8_t)((size - 1) >> 8),
                       (uint8_t)(size - 1),
                       (uint8_t)(crc >> 24),
                       (uint8_t)(crc >> 16),
                       (uint8_t)(crc >> 8),
                       (uint8_t)crc};
    buf_put(&segment, head, sizeof head);
    buf_put(&segment, data + 1, size - 1);
    read_segment(segment.ptr, segment.len, (data[0] & 1) != 0);
    buf_fini(&segment);
    return 0;
}
