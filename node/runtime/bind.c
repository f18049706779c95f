/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/runtime/loop.h"
#include "node/runtime/resolve.h"

static int bind_socket(const union address *addr, bool reuse_port, int *out_fd) {
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    const int on = 1;
    int rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (rc == 0 && reuse_port) rc = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (rc == 0) rc = bind(fd, &addr->any, address_len(addr));
    if (rc == 0) {
        *out_fd = fd;
        return 0;
    }
    int os = errno;
    close(fd);
    return os;
}

enum status loop_tcp_bind(struct sv addr, bool exclusive, uv_os_sock_t *out, unsigned *out_port,
                          struct err *err) {
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
    union address addrs[RESOLVE_ADDRS_MAX];
    unsigned addrs_count;
    enum status status = address_split(addr, host, &port, err);
    if (status == OK) status = address_lookup(host, port, addrs, &addrs_count, err);
    if (status != OK) {
        if (err != NULL) err_prefix(err, "listen on %.*s", SV_ARG(addr));
        return status;
    }
    int fd = -1, os = 0;
    if (exclusive && port != 0) {
        os = bind_socket(&addrs[0], false, &fd);
        if (os == 0) close(fd);
    }
    if (os == 0) os = bind_socket(&addrs[0], true, &fd);
    union address bound = {0};
    socklen_t len = sizeof bound;
    if (os == 0 && getsockname(fd, &bound.any, &len) != 0) {
        os = errno;
        close(fd);
    }
    if (os != 0)
        return err_set(err, os == EADDRINUSE ? ERR_CONFLICT : ERR_IO, os, "listen on %.*s",
                       SV_ARG(addr));
    *out = fd;
    *out_port = ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
    return OK;
}
