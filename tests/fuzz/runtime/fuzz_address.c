/* SPDX-License-Identifier: Apache-2.0 */
/* "host:port": whatever is accepted says the same when it is put together again. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/runtime/resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port = 0;
    struct err err;
    struct sv addr = sv_make(data, size);
    if (address_split(addr, host, &port, &err) != OK) {
        assert(err.code == ERR_PARSE && err.msg[0] != '\0');
        return 0;
    }
    char again[sizeof host + 16];
    bool brackets = size > 0 && data[0] == '[';
    int n = snprintf(again, sizeof again, brackets ? "[%s]:%u" : "%s:%u", host, port);
    size_t zeros = 0; /* "007" is 7 */
    while (size - zeros > (size_t)n && zeros < 4)
        zeros++;
    assert((size_t)n + zeros == size);
    size_t colon = strlen(host) + (brackets ? 2 : 0);
    assert(memcmp(again, data, colon + 1) == 0);
    assert(memcmp(again + colon + 1, data + colon + 1 + zeros, size - zeros - colon - 1) == 0);
    union address a;
    if (address_parse(host, port, &a)) {
        uint16_t be = a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port;
        assert(ntohs(be) == port);
    }
    return 0;
}
