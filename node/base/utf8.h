/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/utf8.h: validation and decoding of UTF-8. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/sv.h"

#ifdef __cplusplus
extern "C" {
#endif

bool utf8_valid(struct sv s); /* RFC 3629: no surrogates, no overlong forms, at most U+10FFFF */
/* Decodes one code point, returns its length (1 and U+FFFD for an invalid byte); s.len > 0. */
size_t utf8_decode(struct sv s, uint32_t *out_rune);
size_t utf8_encode(char out[4], uint32_t rune);
size_t utf8_rune_count(struct sv s); /* like Go: each invalid byte counts one */

enum {
    UTF8_INVALID = 0xfffd
}; /* what an invalid byte decodes to, and what no code point encodes to */

/* Go's unicode.IsLetter, IsDigit (Nd) and IsPrint (ASCII space is the only space). */
bool utf8_is_letter(uint32_t rune);
bool utf8_is_digit(uint32_t rune);
bool utf8_is_print(uint32_t rune);

#ifdef __cplusplus
}
#endif
