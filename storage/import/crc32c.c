/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli, RFC 3720 12.1): by instruction where there is one, else four bits a step. */
#include "storage/import/internal.h"

static const uint32_t nibbles[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t crc_plain(uint32_t crc, const uint8_t *p, size_t len) {
    for (; len > 0; len--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ nibbles[crc & 15];
        crc = (crc >> 4) ^ nibbles[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_fast(uint32_t crc, const uint8_t *p,
                                                           size_t len) {
    uint64_t wide = crc;
    for (; len >= 8; len -= 8, p += 8)
        wide = __builtin_ia32_crc32di(wide, get_u64le(p));
    crc = (uint32_t)wide;
    for (; len > 0; len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}
#endif

uint32_t prom_crc32c(uint32_t crc, const void *p, size_t len) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) return ~crc_fast(~crc, p, len);
#endif
    return ~crc_plain(~crc, p, len);
}
