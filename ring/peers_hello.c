/* SPDX-License-Identifier: Apache-2.0 */
/* Who may talk. With a shared secret a connection begins with four hellos:
 *   dialler  -> listener   nonce D
 *   listener -> dialler    nonce L
 *   dialler  -> listener   nonce D, proof 'D'
 *   listener -> dialler    nonce L, proof 'L'
 * A proof is HMAC-SHA256 under the secret of: "cairn hello 1", NUL, the role of who proves ('D',
 * 'L'), nonce D, nonce L, and for the dialler, then the listener: node id, incarnation; at last
 * cluster name and address of who proves, each with its length (u64, u32, little-endian). The roles
 * keep a proof from being sent back; the listener proves nothing to who does not know the secret.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static_assert(HELLO_PROOF_BYTES == 32, "the length of SHA-256");

/* What a node without a cluster and a node outside of our map may ask. */
static const struct {
    bool without_cluster, without_seat;
} frame_rules[FRAME_TYPE_COUNT] = {
    [FRAME_HELLO] = {true, true},  [FRAME_REPLY] = {true, true},      [FRAME_CANCEL] = {true, true},
    [FRAME_JOIN] = {true, true},   [FRAME_PROMISE] = {true, true},    [FRAME_RAFT] = {false, true},
    [FRAME_ADMIN] = {false, true}, [FRAME_HEARTBEAT] = {false, true},
};

static bool cluster_is_none(const uint8_t *id) {
    static const uint8_t none[16];
    return memcmp(id, none, sizeof none) == 0;
}

static const char *peers_cluster_name(const struct peers *peers) {
    return peers->map != NULL ? peers->map->settings.cluster_name : peers->cluster_name;
}

/* ERR_NOMEM is the one failure. */
static enum status hello_prove(const struct peers *peers, const struct hello *h, bool by_dialler,
                               const struct handshake *shake, uint8_t out[HELLO_PROOF_BYTES]) {
    struct buf b = {0};
    node_id ids[2] = {peers->self, shake->theirs};
    uint32_t incarnations[2] = {peers->incarnation, shake->their_incarnation};
    const uint8_t *nonces[2] = {shake->nonce, shake->nonce_theirs};
    unsigned dialler = shake->dialled ? 0 : 1, listener = 1 - dialler;
    buf_put(&b, "cairn hello 1", sizeof "cairn hello 1");
    buf_put_char(&b, by_dialler ? 'D' : 'L');
    buf_put(&b, nonces[dialler], HELLO_NONCE_BYTES);
    buf_put(&b, nonces[listener], HELLO_NONCE_BYTES);
    buf_put_u64(&b, ids[dialler]);
    buf_put_u32(&b, incarnations[dialler]);
    buf_put_u64(&b, ids[listener]);
    buf_put_u32(&b, incarnations[listener]);
    buf_put_u32(&b, (uint32_t)strlen(h->cluster_name));
    buf_put_sv(&b, sv_from(h->cluster_name));
    buf_put_u32(&b, (uint32_t)strlen(h->addr));
    buf_put_sv(&b, sv_from(h->addr));
    unsigned len = 0;
    bool ok = !b.failed && HMAC(EVP_sha256(), peers->secret.ptr, (int)peers->secret.len,
                                (const uint8_t *)b.ptr, b.len, out, &len) != NULL;
    buf_fini(&b);
    return ok && len == HELLO_PROOF_BYTES ? OK : ERR_NOMEM;
}

void peers_send_hello(struct peers *peers, struct conn *conn, const uint8_t *nonce,
                      const struct handshake *proof_of) {
    struct hello h = {.format_level = RING_FORMAT_LEVEL, .has_nonce = peers->secret.len > 0};
    struct sv name = sv_from(peers_cluster_name(peers));
    memcpy(h.cluster_name, name.ptr, MIN(name.len, sizeof h.cluster_name - 1));
    const struct ring_map *map = peers->map;
    int i = map == NULL ? -1 : ring_map_node_index(map, peers->self);
    struct sv addr = sv_from(peers->addr != NULL ? peers->addr
                             : i >= 0            ? map->nodes[i].addr
                                                 : peers->listen_addr);
    memcpy(h.addr, addr.ptr, MIN(addr.len, sizeof h.addr - 1));
    if (h.has_nonce) memcpy(h.nonce, nonce, sizeof h.nonce);
    if (h.has_nonce && proof_of != NULL) {
        h.has_proof = true;
        if (hello_prove(peers, &h, proof_of->dialled, proof_of, h.proof) != OK) {
            conn_close(conn);
            return;
        }
    }
    struct buf payload = {0};
    hello_put(&h, &payload);
    struct frame f = peers_frame(peers, FRAME_HELLO);
    f.payload = buf_sv(&payload);
    peers_send(peers, conn, &f);
    buf_fini(&payload);
}

static enum status hello_check_cluster(const struct peers *peers, const struct frame *f,
                                       const struct hello *h, struct err *err) {
    const char *ours = peers_cluster_name(peers);
    bool foreign = peers->map != NULL && !cluster_is_none(f->cluster_id) &&
                   memcmp(f->cluster_id, peers->map->settings.cluster_id, 16) != 0;
    if (ours[0] != '\0' && h->cluster_name[0] != '\0' && strcmp(ours, h->cluster_name) != 0)
        foreign = true;
    if (foreign)
        return err_set(err, ERR_CONFLICT, 0, "node at %s belongs to another cluster (\"%s\")",
                       h->addr, h->cluster_name);
    if (peers->map != NULL && h->format_level < peers->map->settings.format_level)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "node at %s speaks format level %" PRIu32 ", the cluster needs %" PRIu32,
                       h->addr, h->format_level, peers->map->settings.format_level);
    return OK;
}

static const char fenced_text[] = "is fenced", refused_text[] = "refused by the other node";

/* A call whose connection was refused fails as UNAVAILABLE, whatever the reason. What this node
 * says of another's process has no "refused by". */
bool peers_is_fenced(enum status status, const struct err *err) {
    return (status == ERR_CONFLICT || status == ERR_UNAVAILABLE) &&
           strstr(err->msg, refused_text) != NULL && strstr(err->msg, fenced_text) != NULL;
}

static enum status peers_check_fence(const struct peers *peers, node_id id, uint32_t incarnation,
                                     struct err *err) {
    const struct peer *known = peer_get(peers, id);
    int i = known != NULL || peers->map == NULL ? -1 : ring_map_node_index(peers->map, id);
    uint32_t newest = known != NULL ? known->incarnation
                      : i >= 0      ? peers->map->nodes[i].incarnation
                                    : 0;
    if (incarnation >= newest) return OK;
    return err_set(err, ERR_CONFLICT, 0,
                   "node %016" PRIx64 " %s: process %" PRIu32 " of it, a later one (%" PRIu32
                   ") has been seen",
                   id, fenced_text, incarnation, newest);
}

enum status peers_check_hello(const struct peers *peers, const struct frame *f, struct hello *out,
                              struct err *err) {
    if (f->type != FRAME_HELLO)
        return err_set(err, ERR_CONFLICT, 0, "the first frame is not a hello");
    if (f->flags & FRAME_ERROR) {
        enum status st = frame_error_get(f->payload, err);
        if (err != NULL) err_prefix(err, "%s", refused_text);
        return st;
    }
    TRY(hello_get(f->payload, out, err));
    TRY(hello_check_cluster(peers, f, out, err));
    if (f->sender == 0 || f->sender == peers->self)
        return err_set(err, ERR_CONFLICT, 0, "node %016" PRIx64 " at %s is no other node",
                       f->sender, out->addr);
    return peers_check_fence(peers, f->sender, f->incarnation, err);
}

enum status peers_check_proof(const struct peers *peers, const struct hello *hello,
                              const struct handshake *shake, struct err *err) {
    if (peers->secret.len == 0) return OK;
    uint8_t want[HELLO_PROOF_BYTES];
    if (hello_prove(peers, hello, !shake->dialled, shake, want) != OK)
        return err_set(err, ERR_NOMEM, 0, "no memory to check the secret of another node");
    if (!hello->has_proof || memcmp(hello->nonce, shake->nonce_theirs, sizeof hello->nonce) != 0 ||
        CRYPTO_memcmp(want, hello->proof, sizeof want) != 0)
        return err_set(err, ERR_CONFLICT, 0, "node at %s does not know the cluster's secret",
                       hello->addr);
    return OK;
}

enum status peers_check_sender(const struct peers *peers, const struct frame *f, node_id from,
                               uint32_t incarnation, struct err *err) {
    if (peers->map != NULL && !cluster_is_none(f->cluster_id) &&
        memcmp(f->cluster_id, peers->map->settings.cluster_id, sizeof f->cluster_id) != 0)
        return err_set(err, ERR_CONFLICT, 0,
                       "frame of another cluster on the connection of node %016" PRIx64, from);
    if (f->sender != from || f->incarnation != incarnation)
        return err_set(err, ERR_CONFLICT, 0,
                       "frame of node %016" PRIx64 " (process %" PRIu32
                       ") on the connection of node %016" PRIx64 " (process %" PRIu32 ")",
                       f->sender, f->incarnation, from, incarnation);
    return peers_check_fence(peers, from, incarnation, err);
}

enum status peers_check_request(const struct peers *peers, const struct frame *f,
                                const struct peer *from, struct err *err) {
    if (f->type >= FRAME_TYPE_COUNT) return OK; /* unknown, and refused as that */
    if (peers->map == NULL && !frame_rules[f->type].without_cluster)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node is of no cluster yet");
    if (cluster_is_none(f->cluster_id) && !frame_rules[f->type].without_cluster)
        return err_set(err, ERR_CONFLICT, 0, "node %016" PRIx64 " is of no cluster yet", from->id);
    if (from->member == NULL && !frame_rules[f->type].without_seat)
        return err_set(err, ERR_CONFLICT, 0,
                       "node %016" PRIx64 " is no member of map version %" PRIu64, from->id,
                       peers->map->version);
    return OK;
}
