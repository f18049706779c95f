/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/frame.h"

#include <assert.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

enum { FRAME_MAGIC = 0x464e5243, HELLO_VERSION = 2 };
static_assert(FRAME_HEADER_BYTES == 64, "the offsets below are the format");

static uint64_t frame_checksum(const char *header, struct sv payload) {
    return hash64(payload.ptr, payload.len, hash64(header, 56, 0));
}

void frame_put(const struct frame *f, struct buf *out) {
    assert(f->payload.len <= UINT32_MAX);
    if (!buf_reserve(out, FRAME_HEADER_BYTES + f->payload.len)) return;
    char *p = buf_extend(out, FRAME_HEADER_BYTES);
    if (p == NULL) return;
    put_u32le(p, FRAME_MAGIC);
    put_u16le(p + 4, FRAME_PROTOCOL);
    p[6] = (char)f->type;
    p[7] = (char)f->flags;
    put_u64le(p + 8, f->request_id);
    memcpy(p + 16, f->cluster_id, 16);
    put_u64le(p + 32, f->map_version);
    put_u64le(p + 40, f->sender);
    put_u32le(p + 48, f->incarnation);
    put_u32le(p + 52, (uint32_t)f->payload.len);
    put_u64le(p + 56, frame_checksum(p, f->payload));
    buf_put_sv(out, f->payload);
}

enum status frame_get(struct sv bytes, struct frame *out, struct err *err) {
    const char *p = bytes.ptr;
    if (bytes.len < FRAME_HEADER_BYTES || get_u32le(p) != FRAME_MAGIC)
        return err_set(err, ERR_CORRUPT, 0, "frame: not a node-to-node frame");
    if (get_u16le(p + 4) != FRAME_PROTOCOL)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "frame: protocol version %u, this program speaks %d", get_u16le(p + 4),
                       FRAME_PROTOCOL);
    struct sv payload = sv_skip(bytes, FRAME_HEADER_BYTES);
    if (get_u32le(p + 52) != payload.len)
        return err_set(err, ERR_CORRUPT, 0, "frame: length does not match");
    if (get_u64le(p + 56) != frame_checksum(p, payload))
        return err_set(err, ERR_CORRUPT, 0, "frame: bad checksum");
    *out = (struct frame){
        .type = (uint8_t)p[6],
        .flags = (uint8_t)p[7],
        .request_id = get_u64le(p + 8),
        .map_version = get_u64le(p + 32),
        .sender = get_u64le(p + 40),
        .incarnation = get_u32le(p + 48),
        .payload = payload,
    };
    memcpy(out->cluster_id, p + 16, sizeof out->cluster_id);
    return OK;
}

void hello_put(const struct hello *h, struct buf *out) {
    buf_put_varint(out, HELLO_VERSION);
    buf_put_lenstr(out, sv_from(h->cluster_name));
    buf_put_varint(out, h->format_level);
    buf_put_lenstr(out, sv_from(h->addr));
    buf_put_lenstr(out, sv_make(h->nonce, h->has_nonce ? sizeof h->nonce : 0));
    buf_put_lenstr(out, sv_make(h->proof, h->has_proof ? sizeof h->proof : 0));
}

/* Names go to logs and error texts of the other side. */
static bool is_text(struct sv s) {
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f) return false;
    return true;
}

enum status hello_get(struct sv payload, struct hello *out, struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    uint64_t version = read_varint(&r);
    struct sv name = read_lenstr(&r);
    uint64_t level = read_varint(&r);
    struct sv addr = read_lenstr(&r);
    struct sv nonce = read_lenstr(&r);
    struct sv proof = read_lenstr(&r);
    if (r.failed || version < HELLO_VERSION || name.len >= sizeof out->cluster_name ||
        addr.len >= sizeof out->addr || level > UINT32_MAX || !is_text(name) || !is_text(addr) ||
        (nonce.len != 0 && nonce.len != sizeof out->nonce) ||
        (proof.len != 0 && proof.len != sizeof out->proof))
        return err_set(err, ERR_CORRUPT, 0, "hello: malformed");
    *out = (struct hello){/* what a later version adds stands behind and is ignored */
                          .format_level = (uint32_t)level,
                          .has_nonce = nonce.len != 0,
                          .has_proof = proof.len != 0};
    memcpy(out->cluster_name, name.ptr, name.len);
    memcpy(out->addr, addr.ptr, addr.len);
    memcpy(out->nonce, nonce.ptr, nonce.len);
    memcpy(out->proof, proof.ptr, proof.len);
    return OK;
}

void frame_error_put(enum status status, const char *text, struct buf *out) {
    buf_put_u8(out, (uint8_t)status);
    buf_put_lenstr(out, sv_from(text));
}

enum status frame_error_get(struct sv payload, struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    uint8_t status = read_u8(&r);
    struct sv text = read_lenstr(&r);
    if (r.failed || status == OK || status >= STATUS_COUNT)
        return err_set(err, ERR_CORRUPT, 0, "frame: malformed error reply");
    return err_set(err, (enum status)status, 0, "%.*s", SV_ARG(text));
}
