/* SPDX-License-Identifier: Apache-2.0 */
/* <dir>/ROOT, little-endian:
 *   00-07 magic "CAIRNHSR"        08-09 format version (1)      10-11 oldest reader's version (1)
 *   12-15 number of files         16-31 cluster id
 *   32-35 number of shards        36-39 zero
 *   40-47 the log's last frame    48-55 its checksum, as the log has it
 *   56-   for each file, core-0 on: u64 its bytes, u64 the checksum of its last part
 *   trailer: XXH3-64 of all before it */
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/snapshot/internal.h"

enum { ROOT_FORMAT = 1, ROOT_HEAD_BYTES = 56, ROOT_FILE_BYTES = 16, FILES_MAX = 1 << 16 };
static const char root_magic[8] = {'C', 'A', 'I', 'R', 'N', 'H', 'S', 'R'};

void snapshot_root_fini(struct snapshot_root *root) {
    free(root->files);
    *root = (struct snapshot_root){0};
}

void snapshot_root_put(const struct snapshot_root *root, struct buf *out) {
    size_t start = out->len;
    buf_put(out, root_magic, sizeof root_magic);
    buf_put_u16(out, ROOT_FORMAT);
    buf_put_u16(out, ROOT_FORMAT);
    buf_put_u32(out, root->files_count);
    buf_put(out, root->cluster, sizeof root->cluster);
    buf_put_u32(out, root->shards_count);
    buf_put_u32(out, 0);
    buf_put_u64(out, root->end.frame);
    buf_put_u64(out, root->end.check);
    for (uint32_t i = 0; i < root->files_count; i++) {
        buf_put_u64(out, root->files[i].bytes);
        buf_put_u64(out, root->files[i].check);
    }
    if (!out->failed) buf_put_u64(out, hash64(out->ptr + start, out->len - start, 0));
}

enum status snapshot_root_get(struct sv bytes, struct snapshot_root *out, struct err *err) {
    const char *p = bytes.ptr;
    if (bytes.len < ROOT_HEAD_BYTES + 8 || memcmp(p, root_magic, sizeof root_magic) != 0)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: " SNAPSHOT_ROOT " is none");
    /* what a newer format has behind it is not known */
    if (get_u16le(p + 10) > ROOT_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "snapshot: it is of format %u, which asks for a reader of format %u; this "
                       "build has %u",
                       get_u16le(p + 8), get_u16le(p + 10), ROOT_FORMAT);
    if (get_u64le(p + bytes.len - 8) != hash64(p, bytes.len - 8, 0))
        return err_set(err, ERR_CORRUPT, 0, "snapshot: " SNAPSHOT_ROOT " has no valid trailer");
    struct snapshot_root root = {.files_count = get_u32le(p + 12),
                                 .shards_count = get_u32le(p + 32),
                                 .end = {get_u64le(p + 40), get_u64le(p + 48)}};
    memcpy(root.cluster, p + 16, sizeof root.cluster);
    size_t want = ROOT_HEAD_BYTES + (size_t)root.files_count * ROOT_FILE_BYTES + 8;
    if (root.files_count > FILES_MAX || bytes.len != want)
        return err_set(err, ERR_CORRUPT, 0, "snapshot: " SNAPSHOT_ROOT " has another length");
    root.files = calloc(root.files_count + 1, sizeof *root.files);
    if (root.files == NULL) return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
    for (uint32_t i = 0; i < root.files_count; i++) {
        const char *f = p + ROOT_HEAD_BYTES + (size_t)i * ROOT_FILE_BYTES;
        root.files[i] = (struct snapshot_file){get_u64le(f), get_u64le(f + 8)};
    }
    *out = root;
    return OK;
}
