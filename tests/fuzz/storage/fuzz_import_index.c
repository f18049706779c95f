/* SPDX-License-Identifier: Apache-2.0 */
/* An index of Prometheus, every series of it. An input rarely has good checksums, so the bytes are
 * also read as one series of an index that has two symbols. */
#include <stdlib.h>

#include "storage/import/internal.h"
#include "tests/storage/import/memory_disk.h"

static void read_all(struct prom_index *index) {
    struct buf labels = {0};
    struct prom_chunk_places places = {0};
    for (uint32_t i = 0; i < index->refs_count; i++) {
        buf_clear(&labels);
        enum status got = prom_index_series(index, index->refs[i], &labels, &places, NULL);
        if (got != OK && got != ERR_CORRUPT) abort();
        bool bad = false;
        struct sv rest = buf_sv(&labels);
        for (struct label label; got == OK && labels_next(&rest, &label, &bad);)
            if (label.value.len == 0) abort();
        if (bad) abort();
    }
    buf_fini(&labels);
    free(places.items);
}

static void read_as_series(const uint8_t *data, size_t size) {
    struct buf bytes = {0};
    buf_put_varint(&bytes, size);
    size_t head = bytes.len;
    buf_put(&bytes, data, size);
    buf_put_u32(&bytes, __builtin_bswap32(prom_crc32c(0, bytes.ptr + head, size)));
    struct memory_disk disk = memory_disk(bytes.ptr, bytes.len);
    static char symbols[] = "\x01"
                            "a\x02"
                            "bc";
    uint32_t offsets[] = {0, 2}, refs[] = {0};
    struct prom_index index = {.symbols = symbols,
                               .symbol_offsets = offsets,
                               .symbols_count = 2,
                               .symbols_bytes = sizeof symbols - 1,
                               .refs = refs,
                               .refs_count = 1};
    if (prom_file_open(&disk.disk, "index", 4096, &index.file, NULL) != OK) abort();
    read_all(&index);
    free(index.labels);
    prom_file_close(&index.file);
    buf_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct memory_disk disk = memory_disk(data, size);
    struct prom_index index;
    enum status got = prom_index_open(&disk.disk, "index", &index, NULL);
    if (got != OK && got != ERR_CORRUPT && got != ERR_UNSUPPORTED) abort();
    if (got == OK) {
        read_all(&index);
        prom_index_close(&index);
    }
    read_as_series(data, size);
    return 0;
}
