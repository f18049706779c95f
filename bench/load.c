/* SPDX-License-Identifier: Apache-2.0 */
/* bench/load.c: the load maker. Replays a capture of exporters (bench/data.py writes it) as many
 * instances over remote write 1.0, one thread and keep-alive connection per share of the instances,
 * and prints what was sent as JSON.
 *
 * load --url=http://127.0.0.1:9090/api/v1/write --capture=FILE --instances=N --rows=R --start-ms=T
 * --step-ms=15000
 *      --connections=C [--batch=2000] [--merge=1|2] [--rate=samples per second]
 * --url several times: the connections are spread over them. Instance i replays the rows from its
 * own offset with the labels instance, cluster and region of its own. Each request is of one
 * instance, with --merge=1 of as many as fill the batch, with --merge=2 also over the rows: then
 * requests have the same size whatever the number of connections. */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <snappy-c.h>

#include "node/base/buf.h"
#include "node/base/bytes.h"
#include "node/base/num.h"

/* capture: u32 series, u32 rows, then per series u32 length and canonical label bytes without
 * instance, cluster and region split in two parts around them is not needed: labels are sorted by
 * bench/data.py with placeholders; then rows x series f64. */
struct capture {
    struct buf file;
    uint32_t series_count, rows_count;
    struct sv *series; /* lines: name\tvalue\tname\tvalue..., sorted by name */
    const char *values;
};

struct target {
    const char *host, *port, *path;
};
enum { TARGETS_MAX = 16 };

struct plan {
    struct target targets[TARGETS_MAX];
    uint64_t targets_count;
    struct capture capture;
    uint64_t instances, rows, batch, merge, connections, rate;
    int64_t start_ms, step_ms;
};

struct worker {
    pthread_t thread;
    const struct plan *plan;
    const struct target *target;
    uint64_t index;
    int fd;
    uint64_t sent, requests, refused, unavailable;
    char last_error[200];
    struct buf body, wire, series_labels;
    char reply[4096];
    size_t *labels_at; /* of the instance at hand: offsets into series_labels */
};

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void capture_read(struct capture *c, const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) die(path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *p = buf_extend(&c->file, (size_t)size);
    if (p == NULL || fread(p, 1, (size_t)size, f) != (size_t)size) die(path);
    fclose(f);
    struct reader r = reader_init(c->file.ptr, c->file.len);
    c->series_count = read_u32(&r);
    c->rows_count = read_u32(&r);
    c->series = calloc(c->series_count, sizeof *c->series);
    for (uint32_t i = 0; i < c->series_count; i++) {
        uint32_t len = read_u32(&r);
        c->series[i] = sv_make(read_bytes(&r, len), len);
    }
    c->values = (const char *)r.cur;
    if (r.failed || reader_left(&r) != (size_t)c->series_count * c->rows_count * 8)
        die("capture is malformed");
}

static void put_label(struct buf *b, struct sv name, struct sv value) {
    size_t inner = 4 + name.len + value.len + (name.len >= 128) + (value.len >= 128);
    buf_put_u8(b, 0x0a);
    buf_put_varint(b, inner);
    buf_put_u8(b, 0x0a);
    buf_put_lenstr(b, name);
    buf_put_u8(b, 0x12);
    buf_put_lenstr(b, value);
}

/* Label bytes of all series of one instance; @instance and its like in a value are replaced. */
static void encode_instance(struct worker *w, uint64_t instance) {
    const struct capture *c = &w->plan->capture;
    buf_clear(&w->series_labels);
    for (uint32_t i = 0; i < c->series_count; i++) {
        w->labels_at[i] = w->series_labels.len;
        struct sv rest = c->series[i];
        while (rest.len > 0) {
            struct sv name, value;
            rest = sv_cut(rest, '\t', &name);
            rest = sv_cut(rest, '\t', &value);
            char text[64];
            if (sv_eq(value, SV("@instance")))
                value = sv_make(
                    text, (size_t)snprintf(text, sizeof text,
                                           "10.%" PRIu64 ".%" PRIu64 ".%" PRIu64 ":9100",
                                           instance >> 16, instance >> 8 & 255, instance & 255));
            else if (sv_eq(value, SV("@cluster")))
                value = sv_make(
                    text, (size_t)snprintf(text, sizeof text, "cluster-%" PRIu64, instance % 7));
            else if (sv_eq(value, SV("@region")))
                value = sv_make(
                    text, (size_t)snprintf(text, sizeof text, "eu-central-%" PRIu64, instance % 3));
            put_label(&w->series_labels, name, value);
        }
    }
    w->labels_at[c->series_count] = w->series_labels.len;
}

static void connect_worker(struct worker *w) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(w->target->host, w->target->port, &hints, &found) != 0) die("lookup");
    w->fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (w->fd < 0 || connect(w->fd, found->ai_addr, found->ai_addrlen) != 0) die("connect");
    freeaddrinfo(found);
}

static void write_all(struct worker *w, const char *p, size_t n) {
    while (n > 0) {
        ssize_t k = write(w->fd, p, n);
        if (k <= 0) die("write");
        p += k;
        n -= (size_t)k;
    }
}

/* Reads one answer; bodies are short and have a Content-Length. */
static int read_answer(struct worker *w) {
    size_t have = 0;
    for (;;) {
        ssize_t k = read(w->fd, w->reply + have, sizeof w->reply - 1 - have);
        if (k <= 0) die("read");
        have += (size_t)k;
        w->reply[have] = '\0';
        char *end = strstr(w->reply, "\r\n\r\n");
        if (end == NULL) continue;
        char *length = strcasestr(w->reply, "\r\nContent-Length:");
        size_t body = length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10);
        if ((size_t)(end + 4 - w->reply) + body > have) continue;
        int code = (int)strtol(w->reply + 9, NULL, 10);
        if (code / 100 != 2)
            snprintf(w->last_error, sizeof w->last_error, "%d %.150s", code, end + 4);
        return code;
    }
}

static void send_batch(struct worker *w, uint64_t samples) {
    size_t max = snappy_max_compressed_length(w->body.len);
    buf_clear(&w->wire);
    char head[512];
    char *packed = malloc(max);
    if (packed == NULL || snappy_compress(w->body.ptr, w->body.len, packed, &max) != SNAPPY_OK)
        die("snappy");
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: "
                     "application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                     "X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %zu\r\n\r\n",
                     w->target->path, w->target->host, w->target->port, max);
    buf_put(&w->wire, head, (size_t)n);
    buf_put(&w->wire, packed, max);
    free(packed);
    for (;;) {
        write_all(w, w->wire.ptr, w->wire.len);
        int code = read_answer(w);
        w->requests++;
        if (code / 100 == 2) break;
        if (code != 503) {
            w->refused += samples;
            break;
        }
        w->unavailable++; /* sent again, as every sender does */
    }
    w->sent += samples;
    buf_clear(&w->body);
}

static void pace(const struct worker *w, const struct timespec *began) {
    if (w->plan->rate == 0) return;
    double due = (double)w->sent * (double)w->plan->connections / (double)w->plan->rate;
    struct timespec at = *began;
    at.tv_sec += (time_t)due;
    at.tv_nsec += (long)((due - (double)(time_t)due) * 1e9);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void put_sample(struct worker *w, uint32_t series, int64_t time_ms, double value) {
    struct sv labels = sv_make(w->series_labels.ptr + w->labels_at[series],
                               w->labels_at[series + 1] - w->labels_at[series]);
    uint8_t sample[24], varint[VARINT_BYTES_MAX];
    size_t n = 0;
    sample[n++] = 0x09;
    put_f64le(sample + n, value);
    n += 8;
    sample[n++] = 0x10;
    n += put_varint(sample + n, (uint64_t)time_ms);
    size_t inner = labels.len + 1 + put_varint(varint, n) + n;
    buf_put_u8(&w->body, 0x0a);
    buf_put_varint(&w->body, inner);
    buf_put_sv(&w->body, labels);
    buf_put_u8(&w->body, 0x12);
    buf_put_varint(&w->body, n);
    buf_put(&w->body, sample, n);
}

static void *worker_run(void *arg) {
    struct worker *w = arg;
    const struct plan *p = w->plan;
    const struct capture *c = &p->capture;
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    connect_worker(w);
    w->labels_at = calloc((size_t)c->series_count + 1, sizeof *w->labels_at);
    if (w->labels_at == NULL) die("memory");
    uint64_t samples = 0;
    for (uint64_t row = 0; row < p->rows; row++) {
        for (uint64_t i = w->index; i < p->instances; i += p->connections) {
            encode_instance(w, i);
            const char *values = c->values + (row + i * 37) % c->rows_count * c->series_count * 8;
            for (uint32_t s = 0; s < c->series_count; s++) {
                double v = get_f64le(values + (size_t)s * 8);
                if (v != v) continue; /* NaN: this scrape did not have the series */
                put_sample(w, s, p->start_ms + (int64_t)row * p->step_ms, v);
                if (++samples == p->batch) {
                    send_batch(w, samples);
                    samples = 0;
                }
            }
            bool row_ends = i + p->connections >= p->instances,
                 ends = row_ends && row + 1 == p->rows;
            if (samples > 0 && (ends || p->merge == 0 || (p->merge == 1 && row_ends))) {
                send_batch(w, samples);
                samples = 0;
            }
            pace(w, &began);
        }
    }
    close(w->fd);
    return NULL;
}

static uint64_t number(const char *text) {
    uint64_t v;
    if (!num_parse_u64(sv_from(text), &v)) die(text);
    return v;
}

static void parse_url(struct plan *p, char *url) {
    if (strncmp(url, "http://", 7) != 0) die("--url must be http://");
    if (p->targets_count == TARGETS_MAX) die("too many --url");
    struct target *t = &p->targets[p->targets_count++];
    char *host = url + 7, *path = strchr(host, '/');
    t->path = path == NULL ? "/" : strdup(path);
    if (path != NULL) *path = '\0';
    char *colon = strchr(host, ':');
    t->port = colon == NULL ? "80" : colon + 1;
    if (colon != NULL) *colon = '\0';
    t->host = host;
}

static void parse_args(struct plan *p, int argc, char **argv) {
    *p =
        (struct plan){.batch = 2000, .connections = 2, .instances = 1, .rows = 1, .step_ms = 15000};
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value == NULL) die(argv[i]);
        *value++ = '\0';
        const char *name = argv[i];
        if (strcmp(name, "--url") == 0)
            parse_url(p, value);
        else if (strcmp(name, "--capture") == 0)
            capture_read(&p->capture, value);
        else if (strcmp(name, "--instances") == 0)
            p->instances = number(value);
        else if (strcmp(name, "--rows") == 0)
            p->rows = number(value);
        else if (strcmp(name, "--start-ms") == 0)
            p->start_ms = (int64_t)number(value);
        else if (strcmp(name, "--step-ms") == 0)
            p->step_ms = (int64_t)number(value);
        else if (strcmp(name, "--connections") == 0)
            p->connections = number(value);
        else if (strcmp(name, "--batch") == 0)
            p->batch = number(value);
        else if (strcmp(name, "--merge") == 0)
            p->merge = number(value);
        else if (strcmp(name, "--rate") == 0)
            p->rate = number(value);
        else
            die(name);
    }
    if (p->capture.series_count == 0 || p->targets_count == 0 || p->connections == 0 ||
        p->batch == 0)
        die("--url, --capture and --connections are needed");
}

int main(int argc, char **argv) {
    static struct plan plan;
    parse_args(&plan, argc, argv);
    struct worker *workers = calloc(plan.connections, sizeof *workers);
    if (workers == NULL) die("memory");
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (uint64_t i = 0; i < plan.connections; i++) {
        workers[i].plan = &plan;
        workers[i].target = &plan.targets[i % plan.targets_count];
        workers[i].index = i;
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0) die("thread");
    }
    uint64_t sent = 0, requests = 0, refused = 0, unavailable = 0;
    const char *error = "";
    for (uint64_t i = 0; i < plan.connections; i++) {
        pthread_join(workers[i].thread, NULL);
        sent += workers[i].sent;
        requests += workers[i].requests;
        refused += workers[i].refused;
        unavailable += workers[i].unavailable;
        if (workers[i].last_error[0] != '\0') error = workers[i].last_error;
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double seconds = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    if (error[0] != '\0') fprintf(stderr, "load: last error: %s\n", error);
    printf("{\"samples\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"unavailable\":%" PRIu64 ",\"seconds\":%.3f}\n",
           sent, requests, refused, unavailable, seconds);
    return refused == 0 ? 0 : 1;
}
