/* SPDX-License-Identifier: Apache-2.0 */
/* What credentials services ('c' first) and ECS's task metadata answer: an error that says no
 * secret, or credentials that may stand in a header, or an address. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "node/http/aws_config.h"
#include "node/http/ecs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plain(const struct buf *b) {
    for (size_t i = 0; i < b->len; i++)
        assert(b->ptr[i] > ' ' && b->ptr[i] <= '~');
}

static void fuzz_credentials(struct sv json) {
    struct aws_credentials c = {0};
    struct err err = {0};
    enum status status = aws_credentials_parse(json, &c, &err);
    if (status == OK) {
        assert(c.key_id.len > 0 && c.secret.len > 0);
        check_plain(&c.key_id);
        check_plain(&c.secret);
        check_plain(&c.token);
    } else {
        assert(status == ERR_PARSE || status == ERR_UNAVAILABLE);
        assert(strncmp(err.msg, "AWS credentials: ", 17) == 0 && c.secret.len == 0);
    }
    aws_credentials_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct sv json = sv_make(data + 1, size - 1);
    struct ecs_task task;
    struct err err = {0};
    if (data[0] == 'c') {
        fuzz_credentials(json);
    } else if (ecs_task_parse(json, &task, &err) == OK) {
        struct in_addr ip;
        assert(task.ip[0] == '\0' || inet_pton(AF_INET, task.ip, &ip) == 1);
        assert(memchr(task.zone, '\0', sizeof task.zone) != NULL);
    } else {
        assert(err.code == ERR_PARSE && strncmp(err.msg, "task metadata: ", 15) == 0);
    }
    return 0;
}
