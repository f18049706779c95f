/* SPDX-License-Identifier: Apache-2.0 */
/* query/api/openapi.h: openapi.yaml, embedded at build time (embed.py). */
#pragma once

#include <stddef.h>

extern const char openapi_yaml[];
extern const size_t openapi_yaml_len;
