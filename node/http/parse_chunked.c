/* SPDX-License-Identifier: Apache-2.0 */
/* The chunked transfer coding, RFC 9112 section 7.1, byte by byte except for chunk data.
 *
 *   SIZE_FIRST -> SIZE -> [;NAME[=VALUE or "QUOTED"]]... -> SIZE_LF
 *     size 0: -> TRAILER_FIRST -> TRAILER_NAME -> TRAILER_VALUE -> TRAILER_LF -> TRAILER_FIRST
 *                TRAILER_FIRST -> END_LF -> DONE
 *     else:   -> DATA -> DATA_CR -> DATA_LF -> SIZE_FIRST
 *
 * Extensions and trailers are checked and dropped. Whitespace around the ';' of an extension and
 * backslashes in a quoted string are refused: no sender writes them, and readers have disagreed
 * about them. */
#include "node/http/parse.h"

#include <assert.h>

#include "node/http/internal.h"

enum chunked_state {
    CHUNKED_SIZE_FIRST, /* 0: a zeroed struct http_chunked is ready */
    CHUNKED_SIZE,
    CHUNKED_NAME_FIRST,
    CHUNKED_NAME,
    CHUNKED_VALUE_FIRST,
    CHUNKED_VALUE,
    CHUNKED_QUOTED,
    CHUNKED_QUOTED_END,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER_FIRST,
    CHUNKED_TRAILER_NAME,
    CHUNKED_TRAILER_VALUE,
    CHUNKED_TRAILER_LF,
    CHUNKED_END_LF,
    CHUNKED_DONE,
};

/* A size line bounds how much a sender can make us read for one byte of body, the trailers how much
 * after it. */
enum { SIZE_LINE_BYTES_MAX = 256, TRAILERS_BYTES_MAX = 8 << 10 };

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool is_field_byte(char c) {
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

static enum status size_byte(struct http_chunked *c, char byte, struct err *err) {
    int digit = hex_digit(byte);
    if (digit >= 0) {
        if (c->left >> 59 != 0) return err_set(err, ERR_PARSE, 0, "chunk size is out of range");
        c->left = c->left << 4 | (unsigned)digit;
        c->state = CHUNKED_SIZE;
        return OK;
    }
    if (c->state == CHUNKED_SIZE && byte == '\r')
        c->state = CHUNKED_SIZE_LF;
    else if (c->state == CHUNKED_SIZE && byte == ';')
        c->state = CHUNKED_NAME_FIRST;
    else
        return err_set(err, ERR_PARSE, 0, "malformed chunk size");
    return OK;
}

static enum status extension_byte(struct http_chunked *c, char byte, struct err *err) {
    bool complete =
        c->state == CHUNKED_NAME || c->state == CHUNKED_VALUE || c->state == CHUNKED_QUOTED_END;
    if (complete && byte == '\r')
        c->state = CHUNKED_SIZE_LF;
    else if (complete && byte == ';')
        c->state = CHUNKED_NAME_FIRST;
    else if (c->state == CHUNKED_NAME && byte == '=')
        c->state = CHUNKED_VALUE_FIRST;
    else if (c->state == CHUNKED_VALUE_FIRST && byte == '"')
        c->state = CHUNKED_QUOTED;
    else if (c->state == CHUNKED_QUOTED && byte == '"')
        c->state = CHUNKED_QUOTED_END;
    else if (c->state == CHUNKED_QUOTED && is_field_byte(byte) && byte != '\\')
        return OK;
    else if (c->state == CHUNKED_QUOTED || c->state == CHUNKED_QUOTED_END ||
             !http_is_token_char(byte))
        return err_set(err, ERR_PARSE, 0, "malformed chunk extension");
    else if (c->state == CHUNKED_NAME_FIRST)
        c->state = CHUNKED_NAME;
    else if (c->state == CHUNKED_VALUE_FIRST)
        c->state = CHUNKED_VALUE;
    return OK;
}

static enum status trailer_byte(struct http_chunked *c, char byte, struct err *err) {
    if (++c->line_bytes > TRAILERS_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "trailers are too large");
    if (byte == '\r' && c->state != CHUNKED_TRAILER_NAME) {
        c->state = c->state == CHUNKED_TRAILER_FIRST ? CHUNKED_END_LF : CHUNKED_TRAILER_LF;
    } else if (c->state == CHUNKED_TRAILER_VALUE) {
        if (!is_field_byte(byte)) return err_set(err, ERR_PARSE, 0, "malformed trailer");
    } else if (byte == ':' && c->state == CHUNKED_TRAILER_NAME) {
        c->state = CHUNKED_TRAILER_VALUE;
    } else {
        if (!http_is_token_char(byte)) return err_set(err, ERR_PARSE, 0, "malformed trailer");
        c->state = CHUNKED_TRAILER_NAME;
    }
    return OK;
}

static enum status lf_byte(struct http_chunked *c, char byte, struct err *err) {
    if (byte != '\n') return err_set(err, ERR_PARSE, 0, "CR without LF in a chunked body");
    if (c->state == CHUNKED_SIZE_LF) {
        c->line_bytes = 0;
        c->state = c->left == 0 ? CHUNKED_TRAILER_FIRST : CHUNKED_DATA;
    } else if (c->state == CHUNKED_DATA_LF) {
        c->state = CHUNKED_SIZE_FIRST;
    } else if (c->state == CHUNKED_TRAILER_LF) {
        c->state = CHUNKED_TRAILER_FIRST;
    } else {
        assert(c->state == CHUNKED_END_LF);
        c->state = CHUNKED_DONE;
    }
    return OK;
}

static enum status chunked_byte(struct http_chunked *c, char byte, struct err *err) {
    switch ((enum chunked_state)c->state) {
    case CHUNKED_SIZE_FIRST:
    case CHUNKED_SIZE:
    case CHUNKED_NAME_FIRST:
    case CHUNKED_NAME:
    case CHUNKED_VALUE_FIRST:
    case CHUNKED_VALUE:
    case CHUNKED_QUOTED:
    case CHUNKED_QUOTED_END:
        if (++c->line_bytes > SIZE_LINE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, 0, "chunk size line is too long");
        return c->state <= CHUNKED_SIZE ? size_byte(c, byte, err) : extension_byte(c, byte, err);
    case CHUNKED_DATA_CR:
        if (byte != '\r') return err_set(err, ERR_PARSE, 0, "chunk is longer than its size");
        c->state = CHUNKED_DATA_LF;
        return OK;
    case CHUNKED_TRAILER_FIRST:
    case CHUNKED_TRAILER_NAME:
    case CHUNKED_TRAILER_VALUE: return trailer_byte(c, byte, err);
    case CHUNKED_SIZE_LF:
    case CHUNKED_DATA_LF:
    case CHUNKED_TRAILER_LF:
    case CHUNKED_END_LF: return lf_byte(c, byte, err);
    case CHUNKED_DATA:
    case CHUNKED_DONE: break;
    }
    assert(false && "no byte is taken one by one in this state");
    return ERR_PARSE;
}

enum status http_chunked_feed(struct http_chunked *c, struct sv input, struct buf *out,
                              size_t *out_used, bool *out_done, struct err *err) {
    size_t i = 0;
    *out_used = 0;
    *out_done = false;
    while (i < input.len && c->state != CHUNKED_DONE) {
        if (c->state == CHUNKED_DATA) {
            size_t n = input.len - i;
            if (n > c->left) n = (size_t)c->left;
            buf_put(out, input.ptr + i, n);
            if (out->failed) return err_set(err, ERR_LIMIT, 0, "body is too large");
            i += n;
            c->left -= n;
            if (c->left == 0) c->state = CHUNKED_DATA_CR;
        } else {
            TRY(chunked_byte(c, input.ptr[i], err));
            i++;
        }
    }
    *out_used = i;
    *out_done = c->state == CHUNKED_DONE;
    return OK;
}
