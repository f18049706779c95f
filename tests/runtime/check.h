/* SPDX-License-Identifier: Apache-2.0 */
/* tests/runtime/check.h: for plain main programs, which run under TSan where Criterion cannot. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (cond) break;                                                                           \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                                 \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(1);                                                                                   \
    } while (0)
