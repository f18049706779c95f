/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/control/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

/* Command: u8 format, u8 type; FOUND: the map; MAP: the delta; HA: cluster, replica, zigzag
 * received, zigzag elected. Snapshot: u8 format, u8 has a map, [length, map], varint ha version,
 * varint count, (cluster, replica, zigzag received, zigzag elected) ascending by cluster. */
enum { STATE_FORMAT = 1, HA_NAME_BYTES_MAX = 255, HA_BYTES_MIN = 6 };
/* A pair that nobody has heard of for so long is forgotten (Mimir's tracker: 30 minutes to be
 * marked, 30 more to be removed). */
static const int64_t ha_idle_ms = 3600 * 1000;

void ring_state_init(struct ring_state *s) {
    *s = (struct ring_state){0};
}

static void elected_fini(struct ha_elected *e) {
    free(e->cluster);
    free(e->replica);
}

void ring_state_fini(struct ring_state *s) {
    ring_map_unref(s->map);
    for (size_t i = 0; i < s->ha_count; i++)
        elected_fini(&s->ha[i]);
    free(s->ha);
    ring_state_init(s);
}

static void command_begin(enum command_type type, struct buf *out) {
    buf_put_u8(out, STATE_FORMAT);
    buf_put_u8(out, (uint8_t)type);
}

void command_found_put(const struct ring_map *map, struct buf *out) {
    command_begin(COMMAND_FOUND, out);
    ring_map_put(map, out);
}

void command_map_put(const struct ring_map *from, const struct ring_map *to, struct buf *out) {
    command_begin(COMMAND_MAP, out);
    ring_delta_put(from, to, out);
}

static void elected_put(const struct ha_elected *e, struct buf *out) {
    buf_put_lenstr(out, sv_from(e->cluster));
    buf_put_lenstr(out, sv_from(e->replica));
    buf_put_zigzag(out, e->received_ms);
    buf_put_zigzag(out, e->elected_ms);
}

void command_ha_put(const struct ha_elected *e, struct buf *out) {
    command_begin(COMMAND_HA, out);
    elected_put(e, out);
}

struct elected_view {
    struct sv cluster, replica;
    int64_t received_ms, elected_ms;
};

static bool name_is_good(struct sv s) {
    return s.len > 0 && s.len <= HA_NAME_BYTES_MAX && memchr(s.ptr, 0, s.len) == NULL;
}

static enum status elected_get(struct reader *r, struct elected_view *out, struct err *err) {
    out->cluster = read_lenstr(r);
    out->replica = read_lenstr(r);
    out->received_ms = read_zigzag(r);
    out->elected_ms = read_zigzag(r);
    if (r->failed || !name_is_good(out->cluster) || !name_is_good(out->replica))
        return err_set(err, ERR_CORRUPT, 0, "cluster state: an elected replica is malformed");
    return OK;
}

/* Where the cluster stands, or where it would be put in. */
static size_t ha_find(const struct ring_state *s, struct sv cluster, bool *out_found) {
    size_t lo = 0, hi = s->ha_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (sv_cmp(sv_from(s->ha[mid].cluster), cluster) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *out_found = lo < s->ha_count && sv_eq(sv_from(s->ha[lo].cluster), cluster);
    return lo;
}

const struct ha_elected *ring_state_ha(const struct ring_state *s, struct sv cluster) {
    bool found;
    size_t at = ha_find(s, cluster, &found);
    return found ? &s->ha[at] : NULL;
}

static char *name_copy(struct sv s) {
    char *p = malloc(s.len + 1);
    if (p == NULL) return NULL;
    memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

static enum status ha_put(struct ring_state *s, size_t at, const struct elected_view *v,
                          struct err *err) {
    if (s->ha_count == s->ha_cap) {
        size_t cap = s->ha_cap == 0 ? 8 : 2 * s->ha_cap;
        struct ha_elected *ha = realloc(s->ha, cap * sizeof *ha);
        if (ha == NULL) return err_set(err, ERR_NOMEM, 0, "cluster state: out of memory");
        s->ha = ha;
        s->ha_cap = cap;
    }
    struct ha_elected e = {.cluster = name_copy(v->cluster),
                           .replica = name_copy(v->replica),
                           .received_ms = v->received_ms,
                           .elected_ms = v->elected_ms};
    if (e.cluster == NULL || e.replica == NULL) {
        elected_fini(&e);
        return err_set(err, ERR_NOMEM, 0, "cluster state: out of memory");
    }
    memmove(&s->ha[at + 1], &s->ha[at], (s->ha_count - at) * sizeof *s->ha);
    s->ha[at] = e;
    s->ha_count++;
    return OK;
}

static void ha_forget_idle(struct ring_state *s, int64_t now_ms) {
    size_t kept = 0;
    int64_t oldest;
    if (__builtin_sub_overflow(now_ms, ha_idle_ms, &oldest)) return;
    for (size_t i = 0; i < s->ha_count; i++) {
        if (s->ha[i].received_ms < oldest)
            elected_fini(&s->ha[i]);
        else
            s->ha[kept++] = s->ha[i];
    }
    s->ha_count = kept;
}

/* Times only grow: one that was decided on an older state changes nothing. */
static enum status apply_ha(struct ring_state *s, struct reader *r, bool *out_changed,
                            struct err *err) {
    struct elected_view v;
    bool found;
    TRY(elected_get(r, &v, err));
    if (reader_left(r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "cluster state: bytes behind an elected replica");
    size_t at = ha_find(s, v.cluster, &found);
    if (!found) {
        TRY(ha_put(s, at, &v, err));
    } else {
        struct ha_elected *e = &s->ha[at];
        bool same = sv_eq(sv_from(e->replica), v.replica);
        if (v.received_ms < e->received_ms || v.elected_ms < e->elected_ms) return OK;
        if (same && v.received_ms == e->received_ms && v.elected_ms == e->elected_ms) return OK;
        if (!same && v.elected_ms == e->elected_ms)
            return OK; /* the first one of that moment won */
        if (!same) {
            char *replica = name_copy(v.replica);
            if (replica == NULL) return err_set(err, ERR_NOMEM, 0, "cluster state: out of memory");
            free(e->replica);
            e->replica = replica;
        }
        e->received_ms = v.received_ms;
        e->elected_ms = v.elected_ms;
    }
    ha_forget_idle(s, v.received_ms);
    s->ha_version++;
    *out_changed = true;
    return OK;
}

static enum status apply_map(struct ring_state *s, enum command_type type, struct sv body,
                             bool *out_changed, struct err *err) {
    struct ring_map *map = NULL;
    if (type == COMMAND_FOUND) {
        TRY(ring_map_get(body, &map, err));
        if (s->map != NULL) { /* founded already */
            ring_map_unref(map);
            return OK;
        }
    } else {
        if (s->map == NULL) return OK;
        struct err why = {0};
        enum status st = ring_delta_apply(s->map, body, &map, &why);
        if (st == ERR_CONFLICT) return OK; /* decided on another version */
        if (st != OK) {
            if (err != NULL) *err = why;
            return st;
        }
        ring_map_unref(s->map);
    }
    s->map = map;
    *out_changed = true;
    return OK;
}

enum status ring_state_apply(struct ring_state *s, struct sv command, bool *out_changed,
                             struct err *err) {
    struct reader r = reader_init(command.ptr, command.len);
    uint8_t format = read_u8(&r), type = read_u8(&r);
    *out_changed = false;
    if (r.failed)
        return err_set(err, ERR_CORRUPT, 0, "cluster state: a command of %zu bytes", command.len);
    if (format != STATE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "cluster state: command of format %u, this program reads %d", format,
                       STATE_FORMAT);
    switch (type) {
    case COMMAND_FOUND:
    case COMMAND_MAP:
        return apply_map(s, (enum command_type)type, sv_make(r.cur, reader_left(&r)), out_changed,
                         err);
    case COMMAND_HA: return apply_ha(s, &r, out_changed, err);
    default: return err_set(err, ERR_UNSUPPORTED, 0, "cluster state: command of type %u", type);
    }
}

void ring_state_put(const struct ring_state *s, struct buf *out) {
    buf_put_u8(out, STATE_FORMAT);
    buf_put_u8(out, s->map != NULL);
    if (s->map != NULL) {
        struct buf map = {0};
        ring_map_put(s->map, &map);
        buf_put_lenstr(out, buf_sv(&map));
        out->failed |= map.failed;
        buf_fini(&map);
    }
    buf_put_varint(out, s->ha_version);
    buf_put_varint(out, s->ha_count);
    for (size_t i = 0; i < s->ha_count; i++)
        elected_put(&s->ha[i], out);
}

static enum status state_get(struct reader *r, struct ring_state *s, struct err *err) {
    uint8_t has_map = read_u8(r);
    if (has_map > 1) r->failed = true;
    if (has_map == 1) {
        struct sv map = read_lenstr(r);
        if (!r->failed) TRY(ring_map_get(map, &s->map, err));
    }
    s->ha_version = read_varint(r);
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / HA_BYTES_MIN)
        return err_set(err, ERR_CORRUPT, 0, "cluster state: cut off or malformed");
    for (uint64_t i = 0; i < count; i++) {
        struct elected_view v;
        TRY(elected_get(r, &v, err));
        if (i > 0 && sv_cmp(sv_from(s->ha[i - 1].cluster), v.cluster) >= 0)
            return err_set(err, ERR_CORRUPT, 0, "cluster state: HA clusters are not ascending");
        TRY(ha_put(s, s->ha_count, &v, err));
    }
    if (reader_left(r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "cluster state: bytes behind its end");
    return OK;
}

enum status ring_state_get(struct sv bytes, struct ring_state *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint8_t format = read_u8(&r);
    if (r.failed) return err_set(err, ERR_CORRUPT, 0, "cluster state: empty");
    if (format != STATE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0, "cluster state: format %u, this program reads %d",
                       format, STATE_FORMAT);
    struct ring_state s;
    ring_state_init(&s);
    enum status st = state_get(&r, &s, err);
    if (st == OK)
        *out = s;
    else
        ring_state_fini(&s);
    return st;
}
