/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/cloudmap.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;

static void begin(void) {
    arena_init(&arena, 1 << 20);
}
static void end(void) {
    arena_fini(&arena);
}
TestSuite(cloudmap, .init = begin, .fini = end);

/* The text on the heap, of its length, so that the address sanitizer sees a read behind it. */
static enum status get(int code, struct sv text, struct cloudmap_instances *out, struct err *err) {
    char *copy = malloc(text.len == 0 ? 1 : text.len);
    cr_assert_not_null(copy);
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    enum status status = cloudmap_answer_get(code, sv_make(copy, text.len), 9095, &arena, out, err);
    free(copy);
    return status;
}

Test(cloudmap, the_question) {
    struct buf b = {0};
    cloudmap_request_put(SV("prod.local/cairn"), &b);
    json_error_t e;
    json_t *got = json_loadb(b.ptr, b.len, 0, &e);
    cr_assert_not_null(got, "%s", e.text);
    /* botocore's model: NamespaceName, ServiceName, MaxResults 1..1000, HealthStatus */
    json_t *want = json_pack("{s:s, s:s, s:i, s:s}", "NamespaceName", "prod.local", "ServiceName",
                             "cairn", "MaxResults", 1000, "HealthStatus", "ALL");
    cr_expect(json_equal(got, want));
    json_decref(got);
    json_decref(want);
    buf_fini(&b);
}

#define INSTANCES(text) SV_INIT("{\"Instances\":[" text "]}")
#define WITH(text) "{\"Attributes\":{" text "}}"

static const struct {
    struct sv body;
    const char *addrs; /* joined by a space */
    size_t unusable;
} goods[] = {
    {INSTANCES(""), "", 0},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1\"")), "10.0.0.1:9095", 0},
    /* what ECS registers */
    {SV_INIT("{\"Instances\":[{\"InstanceId\":\"0a1b\",\"NamespaceName\":\"prod.local\","
             "\"ServiceName\":\"cairn\",\"HealthStatus\":\"UNHEALTHY\",\"Attributes\":{"
             "\"AVAILABILITY_ZONE\":\"eu-central-1a\",\"AWS_INIT_HEALTH_STATUS\":\"UNHEALTHY\","
             "\"AWS_INSTANCE_IPV4\":\"10.0.0.1\",\"AWS_INSTANCE_PORT\":\"9999\",\"REGION\":"
             "\"eu-central-1\"}}],\"InstancesRevision\":4}"),
     "10.0.0.1:9999", 0},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV6\":\"fd00::2\"")), "[fd00::2]:9095", 0},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV6\":\"FD00:0:0::0002\"")), "[fd00::2]:9095", 0},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV6\":\"fd00::2\",\"AWS_INSTANCE_IPV4\":\"10.0.0.1\"")),
     "10.0.0.1:9095", 0},
    {INSTANCES(WITH("\"AWS_INSTANCE_CNAME\":\"a.example\"") "," WITH("") "," WITH(
         "\"AWS_INSTANCE_IPV4\":\"10.0.0.2\"")),
     "10.0.0.2:9095", 2},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.2\"") "," WITH(
         "\"AWS_INSTANCE_IPV4\":\"10.0.0.1\"") "," WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.2\"")),
     "10.0.0.2:9095 10.0.0.1:9095 10.0.0.2:9095", 0},
};

Test(cloudmap, instances) {
    for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
        struct cloudmap_instances got = {0};
        struct err err = {0};
        cr_assert_eq(get(200, goods[i].body, &got, &err), OK, "%zu: %s", i, err.msg);
        struct buf text = {0};
        for (size_t k = 0; k < got.count; k++)
            buf_printf(&text, "%s%.*s", k == 0 ? "" : " ", SV_ARG(got.addrs[k]));
        cr_expect(sv_eq(buf_sv(&text), sv_from(goods[i].addrs)), "%zu: %.*s", i,
                  SV_ARG(buf_sv(&text)));
        cr_expect_eq(got.unusable, goods[i].unusable, "%zu", i);
        buf_fini(&text);
    }
}

static const struct {
    struct sv body;
    const char *says;
} bads[] = {
    {SV_INIT(""), "the answer is empty"},
    {SV_INIT("<html>"), "the answer is no JSON: line 1: "},
    {SV_INIT("{\"Instances\":[]} x"), "the answer is no JSON: line 1: "},
    {SV_INIT("{\"Instances\":[],\"Instances\":[]}"), "the answer is no JSON: line 1: "},
    {SV_INIT("[]"), "no list of Instances"},
    {SV_INIT("{}"), "no list of Instances"},
    {SV_INIT("{\"Instances\":{}}"), "no list of Instances"},
    {INSTANCES("1"), "Instances[0].Attributes is no object"},
    {INSTANCES(WITH("") ",{}"), "Instances[1].Attributes is no object"},
    {INSTANCES("{\"Attributes\":[]}"), "Instances[0].Attributes is no object"},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":1")), "AWS_INSTANCE_IPV4 is no string"},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0\"")), "AWS_INSTANCE_IPV4 is \"10.0.0\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"fd00::1\"")), "AWS_INSTANCE_IPV4 is \"fd00::1\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1 \"")), "AWS_INSTANCE_IPV4 is \"10.0.0.1 \""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV6\":\"10.0.0.1\"")), "AWS_INSTANCE_IPV6 is \"10.0.0.1\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1\",\"AWS_INSTANCE_PORT\":\"0\"")),
     "AWS_INSTANCE_PORT is \"0\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1\",\"AWS_INSTANCE_PORT\":\"65536\"")),
     "AWS_INSTANCE_PORT is \"65536\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1\",\"AWS_INSTANCE_PORT\":\"1x\"")),
     "AWS_INSTANCE_PORT is \"1x\""},
    {INSTANCES(WITH("\"AWS_INSTANCE_IPV4\":\"10.0.0.1\",\"AWS_INSTANCE_PORT\":9095")),
     "AWS_INSTANCE_PORT is no string"},
};

Test(cloudmap, what_is_no_answer_and_where) {
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        struct cloudmap_instances got = {.count = 77};
        struct err err = {0};
        cr_expect_eq(get(200, bads[i].body, &got, &err), ERR_PARSE, "%zu", i);
        cr_expect_not_null(strstr(err.msg, bads[i].says), "%zu: %s", i, err.msg);
        cr_expect_eq(got.count, 77, "%zu: untouched on failure", i);
    }
}

static const struct {
    int code;
    struct sv body;
    const char *says;
} errors[] = {
    {400, SV_INIT("{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}"),
     "Cloud Map answered 400: ThrottlingException: Rate exceeded"},
    {400,
     SV_INIT("{\"__type\":\"com.amazonaws.servicediscovery#NamespaceNotFound\",\"Message\":\"a\"}"),
     "Cloud Map answered 400: NamespaceNotFound: a"},
    {400, SV_INIT("{\"__type\":\"ServiceNotFound\"}"), "Cloud Map answered 400: ServiceNotFound"},
    {503, SV_INIT(""), "Cloud Map answered 503: \"\""},
    {502, SV_INIT("<b>\nBad\xff</b>"), "Cloud Map answered 502: \"<b>?Bad?</b>\""},
    {301, SV_INIT("{\"Instances\":[]}"), "Cloud Map answered 301: \"{\"Instances\":[]}\""},
};

Test(cloudmap, what_the_service_says) {
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        struct cloudmap_instances got;
        struct err err = {0};
        cr_expect_eq(get(errors[i].code, errors[i].body, &got, &err), ERR_UNAVAILABLE, "%zu", i);
        cr_expect_str_eq(err.msg, errors[i].says, "%zu", i);
    }
}

Test(cloudmap, limits) {
    struct buf b = {0};
    for (unsigned count = CLOUDMAP_INSTANCES_MAX; count <= CLOUDMAP_INSTANCES_MAX + 1; count++) {
        buf_clear(&b);
        buf_put_sv(&b, SV("{\"Instances\":["));
        for (unsigned i = 0; i < count; i++)
            buf_printf(&b, "%s{\"Attributes\":{\"AWS_INSTANCE_IPV4\":\"10.0.%u.%u\"}}",
                       i == 0 ? "" : ",", i / 256, i % 256);
        buf_put_sv(&b, SV("]}"));
        struct cloudmap_instances got;
        struct err err;
        enum status status = get(200, buf_sv(&b), &got, &err);
        cr_expect_eq(status, count == CLOUDMAP_INSTANCES_MAX ? OK : ERR_LIMIT);
        if (status == OK) cr_expect(sv_eq(got.addrs[999], SV("10.0.3.231:9095")));
    }
    buf_fini(&b);
}
