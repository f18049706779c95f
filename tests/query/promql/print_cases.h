/* SPDX-License-Identifier: Apache-2.0 */
/* tests/query/promql/print_cases.h: what Prometheus prints: line, pretty, JSON. */
#pragma once

struct print_case {
    const char *text, *printed;
};

/* clang-format off */
static const struct print_case print_cases[] = {
    {"1", "1"},
    {"-1", "-1"},
    {"+1", "1"},
    {"--1", "1"},
    {"-(1)", "-(1)"},
    {"1_000", "1000"},
    {"010", "8"},
    {"0x1F", "31"},
    {"1e3", "1000"},
    {"1e-7", "0.0000001"},
    {".5", "0.5"},
    {"Inf", "+Inf"},
    {"-inf", "-Inf"},
    {"NaN", "NaN"},
    {"5m", "5m"},
    {"-5m", "-5m"},
    {"1h30m", "1h30m"},
    {"90m", "1h30m"},
    {"7d", "1w"},
    {"10d", "10d"},
    {"400d", "400d"},
    {"1y", "1y"},
    {"1500ms", "1s500ms"},
    {"0.001", "0.001"},
    {"\"a\\nb\"", "\"a\\nb\""},
    {"'it\\'s'", "\"it's\""},
    {"`raw\\n`", "\"raw\\\\n\""},
    {"\"\\x41\\101\\u00e9\"", "\"AA\303\251\""},
    {"\"\\\"\"", "\"\\\"\""},
    {"foo", "foo"},
    {"foo:bar", "foo:bar"},
    {"sum", "sum"},
    {"offset", "offset"},
    {"by", "by"},
    {"start", "start"},
    {"step", "step"},
    {"fill", "fill"},
    {"anchored", "anchored"},
    {"foo{}", "foo"},
    {"foo{b=\"2\",a=\"1\"}", "foo{a=\"1\",b=\"2\"}"},
    {"foo{a!=\"1\",a=~\"x.*\",a!~\"y\"}", "foo{a!=\"1\",a!~\"y\",a=~\"x.*\"}"},
    {"{a=\"b\"}", "{a=\"b\"}"},
    {"{\"foo\"}", "{__name__=\"foo\"}"},
    {"{\"foo bar\",a=\"b\"}", "{__name__=\"foo bar\",a=\"b\"}"},
    {"{\"a.b\"=\"c\"}", "{\"a.b\"=\"c\"}"},
    {"{\"a\"=\"b\"}", "{a=\"b\"}"},
    {"{__name__=\"foo\"}", "{__name__=\"foo\"}"},
    {"{__name__=~\"a|b\"}", "{__name__=~\"a|b\"}"},
    {"{__name__=\"foo\",__name__=\"bar\"}", "{__name__=\"bar\",__name__=\"foo\"}"},
    {"foo{a=\"\\\"\"}", "foo{a=\"\\\"\"}"},
    {"{\"1a\"=\"x\",\"\303\251\"=\"y\"}", "{\"1a\"=\"x\",\"\303\251\"=\"y\"}"},
    {"foo[5m]", "foo[5m]"},
    {"foo[300]", "foo[5m]"},
    {"foo[0.5]", "foo[500ms]"},
    {"foo[90m]", "foo[1h30m]"},
    {"foo{a=\"b\"}[1h]", "foo{a=\"b\"}[1h]"},
    {"foo offset 5m", "foo offset 5m"},
    {"foo offset -5m", "foo offset -5m"},
    {"foo offset 60", "foo offset 1m"},
    {"foo offset 0", "foo"},
    {"foo @ 5", "foo @ 5.000"},
    {"foo @ -5", "foo @ -5.000"},
    {"foo @ 1.5", "foo @ 1.500"},
    {"foo @ 1h", "foo @ 3600.000"},
    {"foo @ start()", "foo @ start()"},
    {"foo @ END()", "foo @ end()"},
    {"foo offset 5m @ 7", "foo @ 7.000 offset 5m"},
    {"foo @ 7 offset 5m", "foo @ 7.000 offset 5m"},
    {"foo[5m] @ 7 offset 1m", "foo[5m] @ 7.000 offset 1m"},
    {"foo[5m] offset 1m @ end()", "foo[5m] @ end() offset 1m"},
    {"foo[5m:1m]", "foo[5m:1m]"},
    {"foo[5m:]", "foo[5m:]"},
    {"foo[5m:30] offset 1m @ 3", "foo[5m:30s] @ 3.000 offset 1m"},
    {"rate(foo[5m])[1h:5m]", "rate(foo[5m])[1h:5m]"},
    {"(a+b)[5m:]", "(a + b)[5m:]"},
    {"foo smoothed", "foo smoothed"},
    {"foo anchored offset 5m", "foo anchored offset 5m"},
    {"foo[5m] smoothed @ 3", "foo[5m] smoothed @ 3.000"},
    {"foo @ 3 smoothed", "foo @ 3.000 smoothed"},
    {"foo[5m+1m]", "foo[5m + 1m]"},
    {"foo[5m*2:1m/2]", "foo[5m * 2:1m / 2]"},
    {"foo[(5)]", "foo[(5)]"},
    {"foo[(5m+1m)*2]", "foo[(5m + 1m) * 2]"},
    {"foo[-(1m-2m)]", "foo[-(1m - 2m)]"},
    {"foo[step()]", "foo[step()]"},
    {"foo[max_of(1m,step()*4)]", "foo[max_of(1m, step() * 4)]"},
    {"foo[min_of(1,2)^2]", "foo[min_of(1, 2) ^ 2]"},
    {"foo offset (5m)", "foo offset (5m)"},
    {"foo offset -(5m)", "foo offset -(5m)"},
    {"foo offset +(5m)", "foo offset (5m)"},
    {"foo offset (1m+2m)", "foo offset (1m + 2m)"},
    {"foo offset -(1m+2m)", "foo offset -(1m + 2m)"},
    {"foo offset (1m)+2m", "foo offset (1m) + 2m"},
    {"foo offset -step()", "foo offset -step()"},
    {"foo offset +range()", "foo offset range()"},
    {"foo offset --5m", "foo offset 5m"},
    {"foo offset -max_of(1m, 2m)", "foo offset -max_of(1m, 2m)"},
    {"foo offset step() + 1", "foo offset step() + 1"},
    {"foo offset 5m + 1", "foo offset 5m + 1"},
    {"foo offset -2^2", "foo offset -2s ^ 2"},
    {"foo[2^3^2]", "foo[2 ^ 3 ^ 2]"},
    {"foo[-2^2+10]", "foo[-2 ^ 2 + 10]"},
    {"foo[1m %7]", "foo[1m % 7]"},
    {"foo[5m - -1m]", "foo[5m - -1m]"},
    {"foo[5m--1m]", "foo[5m - -1m]"},
    {"1+2", "1 + 2"},
    {"1+2*3", "1 + 2 * 3"},
    {"(1+2)*3", "(1 + 2) * 3"},
    {"1-2-3", "1 - 2 - 3"},
    {"2^3^2", "2 ^ 3 ^ 2"},
    {"-2^2", "-2 ^ 2"},
    {"2^-2", "2 ^ -2"},
    {"-a*b", "-a * b"},
    {"a atan2 b", "a atan2 b"},
    {"a ATAN2 b", "a atan2 b"},
    {"a == bool b", "a == bool b"},
    {"a > bool 1", "a > bool 1"},
    {"1 <= bool 2", "1 <= bool 2"},
    {"a AND b", "a and b"},
    {"a and on(x) b", "a and on (x) b"},
    {"a + on() b", "a + on () b"},
    {"a + ignoring() b", "a + b"},
    {"a + ignoring(x) b", "a + ignoring (x) b"},
    {"a * on(x) group_left b", "a * on (x) group_left () b"},
    {"a * on(x,y) group_right(z) b", "a * on (x, y) group_right (z) b"},
    {"a * ignoring(x) group_left(y,) b", "a * ignoring (x) group_left (y) b"},
    {"a + on(\"a b\") b", "a + on (\"a b\") b"},
    {"a </ 5", "a </ 5"},
    {"a >/ 5", "a >/ 5"},
    {"a + fill(0) b", "a + fill (0) b"},
    {"a + fill(-1) b", "a + fill (-1) b"},
    {"a + fill_left(1) b", "a + fill_left (1) b"},
    {"a + fill_right(5m) b", "a + fill_right (300) b"},
    {"a + fill_left(1) fill_right(2) b", "a + fill_left (1) fill_right (2) b"},
    {"a + fill_right(2) fill_left(1) b", "a + fill_left (1) fill_right (2) b"},
    {"a + fill_left(1) fill_right(1) b", "a + fill (1) b"},
    {"a + fill(NaN) b", "a + fill_left (NaN) fill_right (NaN) b"},
    {"a + fill(1e9) b", "a + fill (1e+09) b"},
    {"a + on(x) group_left() fill(0) b", "a + on (x) group_left () fill (0) b"},
    {"a unless b or c and d", "a unless b or c and d"},
    {"sum(a)", "sum(a)"},
    {"sum by (x) (a)", "sum by (x) (a)"},
    {"sum(a) by (x)", "sum by (x) (a)"},
    {"sum by () (a)", "sum(a)"},
    {"sum without () (a)", "sum without () (a)"},
    {"sum(a) without (x,y,)", "sum without (x, y) (a)"},
    {"SUM BY (x)(a)", "sum by (x) (a)"},
    {"sum by (\"x.y\", z) (a)", "sum by (\"x.y\", z) (a)"},
    {"sum by (by, on, sum) (a)", "sum by (by, on, sum) (a)"},
    {"topk(3, a)", "topk(3, a)"},
    {"topk by (x) (scalar(a), b)", "topk by (x) (scalar(a), b)"},
    {"quantile(0.5, a)", "quantile(0.5, a)"},
    {"count_values(\"v\", a)", "count_values(\"v\", a)"},
    {"limitk(2, a)", "limitk(2, a)"},
    {"limit_ratio(-0.5, a)", "limit_ratio(-0.5, a)"},
    {"abs(a)", "abs(a)"},
    {"time()", "time()"},
    {"pi( )", "pi()"},
    {"label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")",
     "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")"},
    {"round(a)", "round(a)"},
    {"round(a, 5)", "round(a, 5)"},
    {"info(a)", "info(a)"},
    {"info(a, {b=~\".+\"})", "info(a, {b=~\".+\"})"},
    {"histogram_quantiles(a, \"q\", 0.1, 0.9)", "histogram_quantiles(a, \"q\", 0.1, 0.9)"},
    {"start() + end() + step() + range()", "start() + end() + step() + range()"},
    {"max_of(1, min_of(2, 3))", "max_of(1, min_of(2, 3))"},
    {"sum(sum(a))", "sum(sum(a))"},
    {"(a)", "(a)"},
    {"((a))", "((a))"},
    {"-(a)", "-(a)"},
    {"+a", "+a"},
    {"- - a", "--a"},
    {"a # comment", "a"},
    {"  a\n+\n  b", "a + b"},
    {"(a offset 5m)", "(a offset 5m)"},
    {"sum(a offset 5m)", "sum(a offset 5m)"},
    {"rate(a[5m] offset 1w)", "rate(a[5m] offset 1w)"},
    {"rate(foo[5m]) + max_over_time(bar[step():1m])",
     "rate(foo[5m]) + max_over_time(bar[step():1m])"},
};

static const struct print_case pretty_cases[] = {
    {"sum by (job, instance) (rate(http_requests_total{job=\"api-server\",group=\"production\",inst"
     "ance=\"0\"}[5m] offset 1d))",
     "sum by (job, instance) (\n  rate(http_requests_total{group=\"production\",instance=\"0\",job="
     "\"api-server\"}[5m] offset 1d)\n)"},
    {"(foo{aaaaaaaaaaaaaaaaaaaaaaaaaa=\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"} + bar{cccccccccccccccc"
     "cccccccccc=\"ddddddddddd\"})",
     "(\n    foo{aaaaaaaaaaaaaaaaaaaaaaaaaa=\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}\n  +\n    bar{cc"
     "cccccccccccccccccccccccc=\"ddddddddddd\"}\n)"},
    {"topk by (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) (scalar(ccccccccccccccccccccccccccccccccccc), b"
     "bbbbbbbbbbbbbbbbbbbbbbbbbbbbb)",
     "topk by (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) (\n  scalar(ccccccccccccccccccccccccccccccccccc"
     "),\n  bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n)"},
    {"-(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbbbbbbbbbbbbbbbbb)",
     "-(\n    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n  +\n    bbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n)"},
    {"label_replace(rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[5m]), \"destination_label\", \"$1\""
     ", \"source_label\", \"(.*)\")",
     "label_replace(\n  rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[5m]),\n  \"destination_label\","
     "\n  \"$1\",\n  \"source_label\",\n  \"(.*)\"\n)"},
    {"max_over_time(rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaa[5m])[1h:5m] offset 1d)",
     "max_over_time(\n  rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaa[5m])[1h:5m] offset 1d\n)"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa > bool on(x) group_left(y) bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb * c"
     "cccccccccccccccccccccccccccccc",
     "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n> bool on (x) group_left (y)\n  bbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbb * ccccccccccccccccccccccccccccccc"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaa",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaa"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa+bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbb",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbbb"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa+bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbb",
     "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n+\n  bbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbbbbbbbbbb"},
    {"clamp_max(clamp_min(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa / bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbb, 0), scalar(dddddddddddddddddddd))",
     "clamp_max(\n  clamp_min(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa / bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
     "bbbbbbbbbb, 0),\n  scalar(dddddddddddddddddddd)\n)"},
};

static const struct print_case json_cases[] = {
    {"1", "{\"type\":\"numberLiteral\",\"val\":\"1\"}"},
    {"5m", "{\"type\":\"numberLiteral\",\"val\":\"300\"}"},
    {"\"a\"", "{\"type\":\"stringLiteral\",\"val\":\"a\"}"},
    {"-foo",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\""
     ":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"op\":\"-\",\"type\":\"unaryExpr\"}"},
    {"(1)", "{\"expr\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"type\":\"parenExpr\"}"},
    {"foo{a!=\"b\"}",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"a\",\"type\":\"!=\",\"value\":\"b\"},{\"name\":"
     "\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":"
     "null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"}"},
    {"foo[5m] offset 1m",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":60000,\"offsetExpr\":null,\"range\":300000,\"rangeExpr\":null,\"s"
     "moothed\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"matrixSelector\"}"},
    {"foo[step()*2:1m]",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\""
     ":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"offset\":0,\"offsetExpr\":null,\"rang"
     "e\":0,\"rangeExpr\":{\"lhs\":{\"lhs\":null,\"op\":\"step\",\"rhs\":null,\"type\":\"durationEx"
     "pr\",\"wrapped\":false},\"op\":\"*\",\"rhs\":{\"duration\":false,\"type\":\"numberLiteral\","
     "\"val\":\"2\"},\"type\":\"durationExpr\",\"wrapped\":false},\"startOrEnd\":null,\"step\":6000"
     "0,\"stepExpr\":null,\"timestamp\":null,\"type\":\"subquery\"}"},
    {"foo @ start()",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":\"start\""
     ",\"timestamp\":null,\"type\":\"vectorSelector\"}"},
    {"foo[5m] @ 7 anchored",
     "{\"anchored\":true,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],\""
     "name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"range\":300000,\"rangeExpr\":null,\"smoothe"
     "d\":false,\"startOrEnd\":null,\"timestamp\":7000,\"type\":\"matrixSelector\"}"},
    {"sum by (a) (foo)",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\""
     ":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[\"a\"],\"op\":\"sum\",\"p"
     "aram\":null,\"type\":\"aggregation\",\"without\":false}"},
    {"topk without (b) (2, foo)",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\""
     ":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[\"b\"],\"op\":\"topk\",\""
     "param\":{\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":\"aggregation\",\"without\":true"
     "}"},
    {"foo * on(a) group_left(b) fill_left(1) bar",
     "{\"bool\":false,\"lhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"="
     "\",\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"matching\":{\"card\":\""
     "many-to-one\",\"fillValues\":{\"lhs\":1,\"rhs\":null},\"include\":[\"b\"],\"labels\":[\"a\"],"
     "\"on\":true},\"op\":\"*\",\"rhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\""
     "type\":\"=\",\"value\":\"bar\"}],\"name\":\"bar\",\"offset\":0,\"offsetExpr\":null,\"smoothed"
     "\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"type\":\"binar"
     "yExpr\"}"},
    {"1 > bool 2",
     "{\"bool\":true,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"matching\":null,\"op\":\""
     ">\",\"rhs\":{\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":\"binaryExpr\"}"},
    {"round(foo)",
     "{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\""
     ":null,\"timestamp\":null,\"type\":\"vectorSelector\"}],\"func\":{\"argTypes\":[\"vector\",\"s"
     "calar\"],\"name\":\"round\",\"returnType\":\"vector\",\"variadic\":1},\"type\":\"call\"}"},
    {"time()",
     "{\"args\":[],\"func\":{\"argTypes\":[],\"name\":\"time\",\"returnType\":\"scalar\",\"variadic"
     "\":0},\"type\":\"call\"}"},
    {"foo offset -(5m)",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":{\"lhs\":null,\"op\":\"-\",\"rhs\":{\"lhs\":null"
     ",\"op\":\"+\",\"rhs\":{\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"300\"},\"type\""
     ":\"durationExpr\",\"wrapped\":true},\"type\":\"durationExpr\",\"wrapped\":false},\"smoothed\""
     ":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"}"},
    {"a and b",
     "{\"bool\":false,\"lhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"="
     "\",\"value\":\"a\"}],\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"sta"
     "rtOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"matching\":{\"card\":\"many-"
     "to-many\",\"fillValues\":{\"lhs\":null,\"rhs\":null},\"include\":[],\"labels\":[],\"on\":fals"
     "e},\"op\":\"and\",\"rhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":"
     "\"=\",\"value\":\"b\"}],\"name\":\"b\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\""
     "startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"type\":\"binaryExpr\"}"},
    {"label_join(a, \"b\", \"c\")",
     "{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
     "\"a\"}],\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":nul"
     "l,\"timestamp\":null,\"type\":\"vectorSelector\"},{\"type\":\"stringLiteral\",\"val\":\"b\"},"
     "{\"type\":\"stringLiteral\",\"val\":\"c\"}],\"func\":{\"argTypes\":[\"vector\",\"string\",\"s"
     "tring\",\"string\"],\"name\":\"label_join\",\"returnType\":\"vector\",\"variadic\":-1},\"type"
     "\":\"call\"}"},
};
/* clang-format on */
