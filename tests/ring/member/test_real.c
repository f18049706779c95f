/* SPDX-License-Identifier: Apache-2.0 */
/* Members on real threads, sockets and files: one founds through a name that is looked up, one
 * joins through the name, one through a list; the first stops and the others go on. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/runtime/disk.h"
#include "node/runtime/loop.h"
#include "ring/member/member.h"
#include "tests/runtime/check.h"

enum { CORES = 2, NODES = 3, WAIT_MS = 30000 };

struct node {
    unsigned number;
    struct runtime *rt;
    struct member *member;
    struct peers *peers[CORES + 1];
    struct lease lease;
    char dir[64], addr[64], text[256];
    struct arena arena;
    struct discovery discovery;
    _Atomic unsigned members; /* of the installed map */
    _Atomic bool lost;
    sem_t done;
};
struct install { /* a map on its way over the data cores and back */
    struct msg msg;
    struct node *node;
    struct ring_map *map;
    unsigned at;
};

static struct core *core_of(struct node *n, unsigned i) {
    return i < CORES ? n->rt->cores[i] : n->rt->control_core;
}

static void install_run(struct core *here, struct msg *msg) {
    struct install *in = container_of(msg, struct install, msg);
    struct node *n = in->node;
    if (here != n->rt->control_core) {
        peers_set_map(n->peers[in->at], in->map);
        in->at++;
        core_post(core_of(n, in->at), msg);
        return;
    }
    atomic_store(&n->members, in->map->nodes_count);
    member_installed(n->member, in->map->version);
    ring_map_unref(in->map);
    free(in);
}

static void on_install(void *ctx, struct ring_map *map) {
    struct install *in = calloc(1, sizeof *in);
    CHECK(in != NULL, "out of memory");
    *in = (struct install){.msg.run = install_run, .node = ctx, .map = ring_map_ref(map)};
    core_post(core_of(in->node, 0), &in->msg);
}

static void on_lost(void *ctx, const struct err *why) {
    struct node *n = ctx;
    fprintf(stderr, "node %u: %s\n", n->number, why->msg);
    atomic_store(&n->lost, true);
}

static void on_learned(void *ctx, node_id id, uint32_t incarnation, const char *addr) {
    struct node *n = ctx;
    if (n->member != NULL) member_learned(n->member, id, incarnation, addr);
}

static void node_open_peers(struct node *n, unsigned i) {
    static const enum frame_type types[] = {FRAME_RAFT, FRAME_HEARTBEAT, FRAME_JOIN, FRAME_PROMISE,
                                            FRAME_ADMIN};
    struct peers_options o = {.self = 100 + n->number,
                              .incarnation = 1,
                              .listen_addr = i < CORES ? n->addr : "",
                              .addr = n->addr,
                              .cluster_name = "real",
                              .learned = on_learned,
                              .ctx = n};
    struct core *core = core_of(n, i);
    struct err err = {0};
    core_set_current(core);
    CHECK(peers_new(core, &o, &n->peers[i], &err) == OK, "%s", err.msg);
    core->locals[CORE_PEERS] = n->peers[i];
    for (size_t t = 0; i < CORES && t < ARRAY_LEN(types); t++)
        peers_handle(n->peers[i], types[t], member_on_frame, n->member);
    CHECK(peers_start(n->peers[i], &err) == OK, "%s", err.msg);
}

static void node_open(struct node *n, unsigned number, unsigned expect) {
    n->number = number;
    sem_init(&n->done, 0, 0);
    snprintf(n->dir, sizeof n->dir, "member-real-XXXXXX");
    CHECK(mkdtemp(n->dir) != NULL, "mkdtemp");
    struct err err = {0};
    struct loop_options lo = {.cores_count = CORES, .workers_count = 1};
    CHECK(loop_runtime_new(&lo, &n->rt, &err) == OK, "%s", err.msg);
    arena_init(&n->arena, 1 << 20);
    CHECK(discovery_parse(sv_from(n->text), &n->arena, &n->discovery, &err) == OK, "%s", err.msg);
    struct member_options o = {.dir = n->dir,
                               .self = 100 + number,
                               .incarnation = 1,
                               .cluster_name = "real",
                               .addr = n->addr,
                               .zone = "",
                               .discovery = &n->discovery,
                               .bootstrap_expect = expect,
                               .shards_count = 16,
                               .replication_factor = 2,
                               .replace_after_ms = 300000,
                               .lease = &n->lease,
                               .install = on_install,
                               .lost = on_lost,
                               .ctx = n};
    struct ring_map *map = NULL;
    CHECK(member_open(n->rt, &o, &n->member, &map, &err) == OK, "%s", err.msg);
    CHECK(map == NULL, "a map in an empty directory");
    for (unsigned i = 0; i <= CORES; i++)
        node_open_peers(n, i);
    core_set_current(n->rt->control_core);
    CHECK(member_start(n->member, n->peers[CORES], &err) == OK, "%s", err.msg);
    core_set_current(NULL);
    CHECK(loop_runtime_start(n->rt, &err) == OK, "%s", err.msg);
}

static void on_stopped(void *ctx) {
    sem_post(&((struct node *)ctx)->done);
}
static void on_closed(struct peers *peers, void *ctx) {
    (void)peers;
    sem_post(&((struct node *)ctx)->done);
}
static void stop_member(struct core *here, void *ctx) {
    (void)here;
    member_stop(((struct node *)ctx)->member, on_stopped, ctx);
}
static void stop_peers(struct core *here, void *ctx) {
    peers_stop(here->locals[CORE_PEERS], on_closed, ctx);
}

static bool unlink_one(void *ctx, const char *name) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    if (unlink(path) != 0) {
        status_ignore(disk_list(disk_real(), path, unlink_one, path, NULL));
        rmdir(path);
    }
    return true;
}

static void node_close(struct node *n) {
    core_call(n->rt->control_core, stop_member, n);
    while (sem_wait(&n->done) != 0) {
    }
    CHECK(!lease_is_held(&n->lease, 0), "a lease after the end");
    for (unsigned i = 0; i <= CORES; i++) {
        core_call(core_of(n, i), stop_peers, n);
        while (sem_wait(&n->done) != 0) {
        }
    }
    loop_runtime_stop(n->rt);
    member_free(n->member);
    for (unsigned i = 0; i <= CORES; i++) {
        core_set_current(core_of(n, i));
        peers_free(n->peers[i]);
    }
    core_set_current(NULL);
    loop_runtime_free(n->rt);
    arena_fini(&n->arena);
    status_ignore(disk_list(disk_real(), n->dir, unlink_one, n->dir, NULL));
    rmdir(n->dir);
    sem_destroy(&n->done);
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* A poll of what other threads do: true until the condition holds, or for WAIT_MS. */
struct poll {
    uint64_t limit_ns;
};
static bool poll_again(struct poll *p, bool holds) {
    if (holds) return false;
    if (p->limit_ns == 0) p->limit_ns = now_ns() + (uint64_t)WAIT_MS * 1000000;
    if (now_ns() >= p->limit_ns) return false;
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return true;
}

/* Until these nodes hold leases under a map of that many. */
static void wait_for(struct node *nodes, unsigned first, unsigned count, unsigned members) {
    struct poll poll = {0};
    unsigned good;
    do {
        good = 0;
        for (unsigned i = first; i < first + count; i++) {
            uint64_t mono_ns = nodes[i].rt->ops->mono_ns(nodes[i].rt);
            good += lease_is_held(&nodes[i].lease, mono_ns) &&
                    atomic_load(&nodes[i].members) == members && !atomic_load(&nodes[i].lost);
        }
    } while (poll_again(&poll, good == count));
    CHECK(good == count, "%u of %u nodes after %d ms", good, count, WAIT_MS);
}

static unsigned free_port(const char *host) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    CHECK(inet_pton(AF_INET, host, &a.sin_addr) == 1 &&
              bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &len) == 0,
          "no free port");
    close(fd);
    return ntohs(a.sin_port);
}

/* -- a verb, from a data core */

struct asking {
    struct admin_call call;
    struct node *node;
};
static void admin_on_done(struct core *here, struct admin_call *call) {
    struct asking *a = container_of(call, struct asking, call);
    CHECK(here == a->node->rt->cores[1], "on another core than it was asked from");
    sem_post(&a->node->done);
}
static void admin_begin(struct core *here, void *ctx) {
    struct asking *a = ctx;
    member_admin(a->node->member, here, &a->call);
}

/* May take a while: a leader that is elected just now. */
static void check_status(struct node *n, const char *wanted) {
    struct poll poll = {0};
    char last[2000];
    bool good;
    do {
        struct asking a = {.call = {.verb = ADMIN_STATUS, .done = admin_on_done}, .node = n};
        core_call(n->rt->cores[1], admin_begin, &a);
        while (sem_wait(&n->done) != 0) {
        }
        const char *text = a.call.status == OK ? buf_cstr(&a.call.answer) : a.call.err.msg;
        good = strstr(text, wanted) != NULL;
        snprintf(last, sizeof last, "%s", text);
        buf_fini(&a.call.answer);
    } while (poll_again(&poll, good));
    CHECK(good, "the status never had %s: %s", wanted, last);
}

int main(void) {
    static struct node nodes[NODES];
    log_setup(LOG_WARN, LOG_LOGFMT, 2);
    unsigned port = free_port("127.0.0.1");
    snprintf(nodes[0].addr, sizeof nodes[0].addr, "127.0.0.1:%u", port);
    snprintf(nodes[1].addr, sizeof nodes[1].addr, "127.0.0.1:%u", free_port("127.0.0.1"));
    snprintf(nodes[2].addr, sizeof nodes[2].addr, "127.0.0.1:%u", free_port("127.0.0.1"));
    snprintf(nodes[0].text, sizeof nodes[0].text, "dns+a://localhost:%u", port);
    snprintf(nodes[1].text, sizeof nodes[1].text, "dns+a://localhost:%u", port);
    snprintf(nodes[2].text, sizeof nodes[2].text, "static:%s,%s", nodes[1].addr, nodes[2].addr);
    node_open(&nodes[0], 0, 1);
    wait_for(nodes, 0, 1, 1);
    node_open(&nodes[1], 1, 0);
    wait_for(nodes, 0, 2, 2);
    node_open(&nodes[2], 2, 0);
    wait_for(nodes, 0, 3, 3);
    for (unsigned i = 0; i < NODES; i++)
        check_status(&nodes[i], "\"nodesAlive\":3");
    check_status(&nodes[0], "\"learners\":[]"); /* three voters before the first one goes */
    node_close(&nodes[0]);
    wait_for(nodes, 1, 2, 3);
    node_close(&nodes[2]);
    node_close(&nodes[1]);
    return 0;
}
