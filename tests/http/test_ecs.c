/* SPDX-License-Identifier: Apache-2.0 */
/* The answer's shape is that of the example in the ECS developer guide ("Task metadata endpoint
 * version 4, example task response"). */
#include "node/http/ecs.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NETWORK(mode, ips)                                                                         \
    "{\"Name\":\"a\",\"Networks\":[{\"NetworkMode\":\"" mode "\",\"IPv4Addresses\":[" ips          \
    "],\"AttachmentIndex\":0,\"MACAddress\":\"0e:9e:32:c7:48:85\"}]}"

static const struct {
    struct sv json;
    const char *ip, *zone;
} goods[] = {
    {SV_INIT(
         "{\"Cluster\":\"default\",\"TaskARN\":\"arn:aws:ecs:us-west-2:111122223333:task/default/"
         "158d1c8083dd49d6b527399fd6414f5c\",\"Family\":\"curltest\",\"Revision\":\"26\","
         "\"DesiredStatus\":\"RUNNING\",\"KnownStatus\":\"RUNNING\",\"AvailabilityZone\":"
         "\"us-west-2d\",\"Containers\":[" NETWORK("awsvpc", "\"10.0.2.106\"") "," NETWORK(
             "awsvpc", "\"10.0.2.106\"") "],\"LaunchType\":\"EC2\"}"),
     "10.0.2.106", "us-west-2d"},
    {SV_INIT("{}"), "", ""},
    {SV_INIT("{\"Containers\":[" NETWORK("bridge", "\"172.17.0.2\"") "]}"), "", ""},
    {SV_INIT("{\"Containers\":[" NETWORK("awsvpc", "") "," NETWORK(
         "awsvpc", "\"10.0.0.2\",\"10.0.0.3\"") "]}"),
     "10.0.0.2", ""},
    {SV_INIT("{\"AvailabilityZone\":\"eu-central-1a\",\"Containers\":7}"), "", "eu-central-1a"},
};

static const struct {
    struct sv json;
    const char *says;
} bads[] = {
    {SV_INIT(""), "no JSON object: "},
    {SV_INIT("{\"a\":"), "no JSON object: "},
    {SV_INIT("[]"), "no JSON object"},
    {SV_INIT("{\"Containers\":[" NETWORK("awsvpc", "\"10.0.0\"") "]}"),
     "IPv4Addresses has \"10.0.0\""},
    {SV_INIT("{\"Containers\":[" NETWORK("awsvpc", "\"fd00:0000:0000:1111::1\"") "]}"), "too long"},
    {SV_INIT("{\"AvailabilityZone\":\"a123456789012345678901234567890123456789012345678901234567890"
             "1234\"}"),
     "too long"},
};

Test(ecs, what_a_task_is_told) {
    for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
        struct ecs_task task;
        struct err err = {0};
        cr_assert_eq(ecs_task_parse(goods[i].json, &task, &err), OK, "%zu: %s", i, err.msg);
        cr_expect_str_eq(task.ip, goods[i].ip, "%zu", i);
        cr_expect_str_eq(task.zone, goods[i].zone, "%zu", i);
    }
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        struct ecs_task task = {.ip = "x"};
        struct err err = {0};
        cr_expect_eq(ecs_task_parse(bads[i].json, &task, &err), ERR_PARSE, "%zu", i);
        cr_expect_not_null(strstr(err.msg, bads[i].says), "%zu: %s", i, err.msg);
        cr_expect_str_eq(task.ip, "x", "untouched on failure");
    }
}
