# SPDX-License-Identifier: Apache-2.0
"""PromQL expressions made from a seed, as trees: what Prometheus 2.42 has, all of it, the rarest first. A tree can be printed
in the words of 2.42 or of 3.x, counts what occurs in it, and names its subtrees, so that a failure can be made small."""
import random, re

from promql_data import BY_NAME, FAMILIES, INSTANCES, JOBS, SPAN_MS, START_MS, ZONES

MATH = ("abs acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh sqrt tan tanh").split()
DATES = "day_of_month day_of_week day_of_year days_in_month hour minute month year".split()
OVER_TIME = ("avg_over_time count_over_time last_over_time max_over_time min_over_time present_over_time stddev_over_time "
             "stdvar_over_time sum_over_time").split()
RANGE = "changes delta deriv idelta increase irate rate resets".split()
OTHER = ("absent absent_over_time clamp clamp_max clamp_min histogram_count histogram_fraction histogram_quantile histogram_sum "
         "holt_winters label_join label_replace pi predict_linear quantile_over_time round scalar sort sort_desc time timestamp "
         "vector").split()
FUNCTIONS = MATH + DATES + OVER_TIME + RANGE + OTHER
AGGREGATIONS = "avg bottomk count count_values group max min quantile stddev stdvar sum topk".split()
ARITHMETIC = "+ - * / % ^ atan2".split()
COMPARISONS = "== != > < >= <=".split()
SETS = "and or unless".split()
MATCHINGS = ("default", "on", "on()", "ignoring", "group_left", "group_left(labels)", "group_right", "group_right(labels)",
             "ignoring group_left", "ignoring group_right")
SHAPES = ("vector scalar", "scalar vector", "scalar scalar")
MODIFIERS = ("offset", "negative offset", "@ time", "@ start()", "@ end()")
PLACES = ("instant", "range", "subquery")
OLD, NEW = "2.42", "3.x"  # dialects

FEATURES = ([("function", f) for f in FUNCTIONS] + [("aggregation", a) for a in AGGREGATIONS]
            + [("grouping", g) for g in ("none", "by", "without")] + [("arithmetic", o) for o in ARITHMETIC]
            + [("comparison", o) for o in COMPARISONS] + [("comparison bool", o) for o in COMPARISONS]
            + [("set operator", o) for o in SETS] + [("unary", "-")] + [("matching", m) for m in MATCHINGS]
            + [("operands", s) for s in SHAPES] + [("modifier", f"{p} {m}") for p in PLACES for m in MODIFIERS]
            + [("subquery", s) for s in ("step", "default step", "nested")] + [("matcher", m) for m in ("=", "!=", "=~", "!~")])


UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3600_000}


def duration_ms(text):
    return sum(int(n) * UNITS[u] for n, u in re.findall(r"(\d+)(ms|[smh])", text)) * (-1 if text.startswith("-") else 1)


class Node:
    """op, its parts (nodes) and the text around them: `pieces` alternates with `kids`, so printing is joining."""

    def __init__(self, op, pieces, kids=(), type_="vector", features=(), **info):
        self.op, self.pieces, self.kids, self.type, self.features, self.info = op, pieces, list(kids), type_, list(features), info
        assert len(pieces) == len(self.kids) + 1, (op, pieces)

    def text(self, dialect=OLD):
        """In the words of 2.42 or of 3.x: holt_winters() has another name, and atan2 did not drop that of the metric, which
        label_replace() does here."""
        out = [self.pieces[0]]
        for kid, piece in zip(self.kids, self.pieces[1:]):
            out += [kid.text(dialect), piece]
        text = "".join(out)
        if dialect == NEW and self.info.get("name") == "holt_winters":
            return "double_exponential_smoothing" + text[len("holt_winters"):]
        if dialect == OLD and self.info.get("name") == "atan2" and self.type == "vector":
            return f'label_replace({text}, "__name__", "", "", "")'
        return text

    def walk(self):
        yield self
        for kid in self.kids:
            yield from kid.walk()

    def depth(self):
        return max((k.depth() for k in self.kids), default=-1) + (self.op not in ("matrix", "number", "paren"))


def number(text):
    return Node("number", [text], type_="scalar")


def paren(node):
    return Node("paren", ["(", ")"], [node], node.type) if node.op in ("binary", "unary") else node


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.seen = {f: 0 for f in FEATURES}

    # -- choosing

    def rare(self, kind, among):
        """One of the rarer half mostly, so that all come to their number."""
        if self.rng.random() < 0.3:
            return self.rng.choice(among)
        return min(self.rng.sample(list(among), max(1, len(among) // 2)), key=lambda a: self.seen[(kind, a)])

    def chance(self, p):
        return self.rng.random() < p

    def query(self):
        """A tree of one to four levels around the feature that was seen least."""
        wanted = min(self.rng.sample(FEATURES, 12), key=lambda f: self.seen[f])
        node = self.of_feature(wanted, self.rng.randrange(3))
        while node.depth() < 4 and self.chance(0.45):
            node = self.wrap(node)
        for part in node.walk():
            for f in part.features:
                self.seen[f] += 1
        return node

    def of_feature(self, f, depth):
        kind, name = f
        if kind == "function":
            return self.call(name, depth)
        if kind == "aggregation":
            return self.aggregate(name, depth)
        if kind == "grouping":
            return self.aggregate(self.rare("aggregation", AGGREGATIONS), depth, name)
        if kind == "arithmetic":
            return self.binary(name, None, depth)
        if kind in ("comparison", "comparison bool"):
            return self.binary(name, kind == "comparison bool", depth)
        if kind == "set operator":
            return self.binary(name, None, depth)
        if kind == "unary":
            return self.negated(self.vector(depth))
        if kind == "matching":
            return self.matched(self.any_operator(), None, name, depth)
        if kind == "operands":
            return self.with_scalar(self.rng.choice(ARITHMETIC + COMPARISONS), None, name, depth)
        if kind == "modifier":
            place, modifier = name.split(" ", 1)
            if place == "instant":
                return self.selector(self.family(), modifier=modifier)
            return self.call(self.rng.choice(OVER_TIME + RANGE), 1, modifier=(place, modifier))
        if kind == "subquery":
            return self.call(self.rng.choice(OVER_TIME + RANGE), 2, modifier=("subquery", None), step=name)
        return self.selector(self.family(), matcher=name)

    def wrap(self, node):
        if node.type == "scalar":
            return self.rng.choice((lambda: self.call("vector", 0, given=node),
                                    lambda: self.with_scalar(self.rng.choice(ARITHMETIC), None, "vector scalar", 1, scalar=node)))()
        name = self.rare("function", MATH + ["round", "clamp_min", "clamp_max", "sort", "sort_desc", "label_replace", "timestamp",
                                             "absent", "scalar"])
        return self.rng.choice((
            lambda: self.call(name, 0, given=node), lambda: self.call(name, 0, given=node),
            lambda: self.aggregate(self.rare("aggregation", AGGREGATIONS), 0, given=node),
            lambda: self.with_scalar(self.any_operator(sets=False), None, None, 0, vector=node),
            lambda: self.joined(self.any_operator(), None, "default", node, self.vector(1)),
            lambda: self.call(self.rng.choice(OVER_TIME), 0, subject=node), lambda: self.negated(node)))()

    def any_operator(self, sets=True):
        kinds = [("arithmetic", ARITHMETIC), ("comparison", COMPARISONS)] + ([("set operator", SETS)] if sets else [])
        kind, among = self.rng.choice(kinds)
        return self.rare(kind, among)

    # -- selectors

    def family(self, use=None):
        if use:
            return self.rng.choice([f for f in FAMILIES if f.use == use])
        return self.rng.choice([f for f in FAMILIES if f.use in ("counter", "counter", "gauge", "ratio") or self.chance(0.25)])

    def matchers(self, family, matcher, pinned):
        out = [(k, "=", v) for k, v in pinned.items()]
        if matcher or self.chance(0.3):
            op = matcher or self.rare("matcher", ("=", "!=", "=~", "!~"))
            label = self.rng.choice([k for k in family.labels if k not in pinned] or list(family.labels))
            values = family.labels[label]
            if op in ("=", "!="):
                value = self.rng.choice(list(values) + ([""] if op == "!=" else []))
            else:
                some = self.rng.sample(values, min(2, len(values)))
                value = self.rng.choice((f"{some[0]}|{some[-1]}", f".*{some[0][-1:]}", f"{some[0][:1]}.*", "[a-i].*", ".+"))
                value = value.replace("+Inf", "1").replace("f.*", "1.*")
            out.append((label, op, value))
        return out

    def modifier(self, place, modifier):
        """Offset and @ as text, all at even milliseconds; and what they are."""
        names = []
        if modifier:
            names = [modifier]
        elif self.chance(0.12):
            names = [self.rng.choice(MODIFIERS)]
            if "offset" not in names[0] and self.chance(0.3):
                names.append("offset")
        text, shift = "", {"offset_ms": 0, "at": None}
        for name in names:
            if "offset" in name:
                among = ("1m", "5m", "7m30s", "10m", "20s", "90s500ms") if name == "offset" else ("-1m", "-5m", "-45s", "-10m")
                offset = self.rng.choice(among)
                text += f" offset {offset}"
                shift["offset_ms"] = duration_ms(offset)
            else:
                at = f"{(START_MS + self.rng.randrange(1200_000, SPAN_MS, 2)) / 1000:.3f}" if name == "@ time" else name[2:]
                text += f" @ {at}"
                shift["at"] = at
        return text, [("modifier", f"{place} {n}") for n in names], shift

    def selector(self, family, modifier=None, matcher=None, pinned=None, bare=False):
        matchers = self.matchers(family, matcher, pinned or {})
        inner = ",".join(f'{k}{op}"{v}"' for k, op, v in matchers)
        if self.chance(0.06) and not pinned:
            op = self.rng.choice(("=", "=~"))
            text = "{__name__" + op + f'"{family.name}"' + (f",{inner}" if inner else "") + "}"
            matchers = matchers + [("__name__", op, family.name)]
        else:
            text = family.name + ("{" + inner + "}" if inner else "")
        extra, features, _ = ("", [], None) if bare else self.modifier("instant", modifier)
        return Node("selector", [text + extra], features=features + [("matcher", m[1]) for m in matchers], family=family)

    def matrix(self, family, depth, modifier=None, step=None, subject=None):
        """A range selector, or a subquery over something. Subqueries run at whole seconds, and evaluation times never are, so
        that only ranges inside a subquery could begin on a point; those get odd lengths."""
        place, name = modifier or (None, None)
        sparse = family.name == "sparse"
        if subject is None and place != "subquery" and not (depth > 0 and self.chance(0.2)):
            length = "40m" if sparse else self.rng.choice(("1m", "2m", "5m", "5m", "10m", "15m", "30m", "3m2ms"))
            base = self.selector(family, bare=True)
            extra, features, shift = self.modifier("range", name if place == "range" else None)
            return Node("matrix", [f"{base.pieces[0]}[{length}]{extra}"], type_="matrix", features=base.features + features,
                        family=family, range_ms=duration_ms(length), **shift)
        inner = subject or (self.call(self.rng.choice(OVER_TIME + RANGE), 1, modifier=("subquery", None), step="step")
                            if step == "nested" else self.vector(depth - 1, family))
        nested = [n for n in inner.walk() if n.op == "subquery"]
        default = step == "default step" or (step is None and self.chance(0.3))
        length = self.rng.choice(("5m", "10m", "12m", "20m", "30m"))
        every = "" if default else self.rng.choice(("15s", "30s", "1m", "70s", "2m"))
        for n in nested:
            # Prometheus, also 3.14, forgets @ inside of a subquery in a subquery that happens to start at the same point
            if n.info["at"]:
                n.pieces[-1] = n.pieces[-1].replace(f" @ {n.info['at']}", "")
                n.features = [f for f in n.features if "@" not in f[1]]
                n.info["at"] = None
            if "m2ms:" not in n.pieces[-1]:
                n.pieces[-1] = n.pieces[-1].replace("m:", "m2ms:")
                n.info["range_ms"] += 2
        extra, features, shift = self.modifier("subquery", name if place == "subquery" else None)
        features += [("subquery", "default step" if default else "step")] + ([("subquery", "nested")] if nested else [])
        return Node("subquery", ["", f"[{length}:{every}]{extra}"], [paren(inner)], "matrix", features, family=family,
                    step_ms=duration_ms(every or "1m"), range_ms=duration_ms(length), **shift)

    # -- expressions

    def vector(self, depth, family=None):
        family = family or self.family()
        if depth <= 0 or self.chance(0.15):
            return self.selector(family)
        kind = self.rng.random()
        if kind < 0.45:
            name = self.rare("function", [f for f in FUNCTIONS if f not in ("pi", "time", "scalar", "absent", "absent_over_time")])
            return self.call(name, depth)
        if kind < 0.65:
            return self.aggregate(self.rare("aggregation", AGGREGATIONS), depth)
        if kind < 0.95:
            return self.binary(self.any_operator(), None, depth)
        return self.negated(self.vector(depth - 1))

    def scalar(self, depth=0, among=None):
        if depth > 0 and self.chance(0.25):
            name = self.rng.choice(("scalar", "time", "pi"))
            return self.call(name, depth - 1)
        return number(self.rng.choice(among or ("0", "1", "2", "0.5", "-1.5", "10", "1e3", "0x1F", "+Inf", "-Inf", "NaN", "3.7", "100")))

    def negated(self, node):
        return Node("unary", ["-", ""], [paren(node) if node.op != "selector" else node], node.type, [("unary", "-")])

    def call(self, name, depth, given=None, subject=None, modifier=None, step=None):
        """A call of the function with arguments that suit it."""
        v = lambda use=None: given or (self.selector(self.family(use)) if use else self.vector(depth - 1))
        s = lambda *among: self.scalar(depth, among)
        m = lambda family=None: self.matrix(family or self.family(self.rng.choice(("counter", "gauge", "gauge", None))), depth,
                                            modifier, step, subject)
        if name in ("pi", "time"):
            args = []
        elif name in DATES:
            args = [] if self.chance(0.15) else [v("epoch" if self.chance(0.8) else None)]
        elif name in ("acos", "asin", "atanh"):
            args = [v("ratio" if self.chance(0.7) else None)]
        elif name in MATH or name in ("absent", "sort", "sort_desc", "timestamp", "histogram_count", "histogram_sum"):
            args = [v()]
        elif name == "scalar":
            args = [given or self.rng.choice((lambda: self.aggregate("sum", 1, "none"), lambda: self.vector(depth - 1)))()]
        elif name == "vector":
            args = [given if given and given.type == "scalar" else self.scalar(depth + 1)]
        elif name in ("irate", "rate", "increase", "resets") and self.chance(0.8):
            args = [m(self.family("counter"))]
        elif name in OVER_TIME or name in RANGE or name == "absent_over_time":
            args = [m()]
        elif name == "quantile_over_time":
            args = [s("0", "0.5", "0.9", "0.99", "1", "-1", "1.5"), m()]
        elif name == "predict_linear":
            args = [m(), s("60", "3600", "-600", "0.5")]
        elif name == "holt_winters":
            args = [m(), number(self.rng.choice(("0.1", "0.5", "0.9"))), number(self.rng.choice(("0.1", "0.3", "0.8", "1.5")))]
        elif name == "round":
            args = [v()] + ([s("0.1", "5", "0.25", "-2", "1e-3", "0")] if self.chance(0.6) else [])
        elif name == "clamp":
            args = [v(), s("-5", "0", "0.2"), s("1", "50", "-3", "1e6")]
        elif name in ("clamp_min", "clamp_max"):
            args = [v(), s("0", "2", "-1", "1e4")]
        elif name == "histogram_fraction":
            args = [s("0", "0.1"), s("1", "5"), v()]
        elif name == "histogram_quantile":
            args = [s("0", "0.5", "0.9", "0.99", "1", "0.1", "-0.5", "2"), self.buckets()]
        elif name == "label_join":
            src = self.rng.sample(("job", "instance", "zone", "code", "none"), self.rng.randrange(4))
            args = [v(), *(number(f'"{t}"') for t in [self.rng.choice(("joined", "job", "zone")), self.rng.choice(("-", ",", ""))] + src)]
        else:
            assert name == "label_replace", name
            args = [v(), *(number(f'"{t}"') for t in (
                self.rng.choice(("made", "job", "zone", "__name__")), self.rng.choice(("$1", "x-$1", "${1}y", "fixed", "", "$2")),
                self.rng.choice(("job", "instance", "zone", "code", "none")), self.rng.choice(("(.*)", "(.)(.*)", "i(.*)", "api", "", "(.+)"))))]
        pieces = [name + "("] + [", "] * (len(args) - 1) + [")"] if args else [name + "()"]
        type_ = "scalar" if name in ("pi", "time", "scalar") else "vector"
        return Node("call", pieces, args, type_, [("function", name)], name=name)

    def buckets(self):
        f = BY_NAME[self.rng.choice(("lat_bucket", "lat_bucket", "odd_bucket"))]
        inner = self.rng.choice((lambda: self.selector(f), lambda: Node("call", ["rate(", ")"], [self.matrix(f, 0)], "vector",
                                                                     [("function", "rate")], name="rate")))()
        if self.chance(0.3):
            inner = self.aggregate("sum", 0, "by", given=inner, labels=["le"] + (["job"] if self.chance(0.5) else []))
        return inner

    def aggregate(self, op, depth, grouping=None, given=None, labels=None):
        node = given or self.vector(depth - 1)
        grouping = grouping or self.rare("grouping", ("none", "by", "without"))
        args = [node]
        if op in ("topk", "bottomk"):
            args.insert(0, self.scalar(0, ("1", "2", "3", "5", "100", "0", "2.7", "-1")))
        elif op == "quantile":
            args.insert(0, self.scalar(0, ("0", "0.5", "0.9", "0.25", "1", "-1", "2")))
        elif op == "count_values":
            args.insert(0, number(self.rng.choice(('"v"', '"value"', '"job"'))))
        clause, labels = "", labels or []
        if grouping != "none":
            known = self.labels_of(node) + ["job"]
            labels = labels or self.rng.sample(known, min(len(known), self.rng.randrange(3 if grouping == "by" else 2)))
            clause = f" {grouping} ({', '.join(dict.fromkeys(labels))})"
        after = self.chance(0.2)
        pieces = [op + ("(" if after else clause + " (")] + [", "] * (len(args) - 1) + [")" + (clause if after else "")]
        return Node("aggregate", pieces, args, features=[("aggregation", op), ("grouping", grouping)], name=op, grouping=grouping,
                    labels=labels, clause=clause)

    def labels_of(self, node):
        for part in node.walk():
            if "family" in part.info:
                return list(part.info["family"].labels)
        return []

    # -- binary operators

    def binary(self, op, as_bool, depth):
        if op in SETS:
            return self.matched(op, None, self.rare("matching", ("default", "on", "on()", "ignoring")), depth)
        if self.chance(0.3):
            return self.with_scalar(op, as_bool, None, depth)
        return self.matched(op, as_bool, self.rare("matching", MATCHINGS), depth)

    def operator(self, op, as_bool, clause, features, left, right, type_):
        name = op
        if op in COMPARISONS:
            if as_bool is None:
                as_bool = type_ == "scalar" or self.chance(0.5)
            features = features + [("comparison bool" if as_bool else "comparison", op)]
            op += " bool" if as_bool else ""
        else:
            features = features + [("set operator" if op in SETS else "arithmetic", op)]
        return Node("binary", ["", f" {op}{clause} ", ""], [paren(left), paren(right)], type_, features, name=name,
                    filters=name in COMPARISONS and op == name, clause=clause)

    def with_scalar(self, op, as_bool, shape, depth, scalar=None, vector=None):
        shape = shape or self.rng.choice(("vector scalar", "scalar vector"))
        if shape == "scalar scalar":
            return self.operator(op, True, "", [("operands", shape)], self.scalar(depth + 1), self.scalar(depth + 1), "scalar")
        v, s = vector or self.vector(depth - 1), scalar or self.scalar(depth)
        left, right = (v, s) if shape == "vector scalar" else (s, v)
        return self.operator(op, as_bool, "", [("operands", shape)], left, right, "vector")

    def over(self, labels, depth, family=None):
        """A vector with exactly these labels: an aggregate by them, or a family that has just these."""
        fits = [f for f in FAMILIES if set(labels) <= set(f.labels) and f.use in ("counter", "gauge", "ratio", "info")]
        exact = [f for f in fits if set(f.labels) == set(labels)]
        if exact and self.chance(0.4):
            return self.selector(self.rng.choice(exact))
        inner = self.selector(self.rng.choice(fits)) if self.chance(0.5) or depth <= 0 else self.call(
            self.rare("function", OVER_TIME + RANGE), 0, None)
        op = self.rng.choice(("sum", "avg", "max", "min", "count"))
        return self.aggregate(op, 0, "by", given=inner if depth <= 0 or inner.op == "selector" else self.ranged(self.rng.choice(fits)),
                              labels=list(labels))

    def ranged(self, family):
        name = self.rare("function", OVER_TIME + RANGE)
        return Node("call", [name + "(", ")"], [self.matrix(family, 0)], "vector", [("function", name)], name=name)

    def joined(self, op, as_bool, matching, left, right):
        return self.operator(op, as_bool, "", [("matching", matching)], left, right, "vector")

    def matched(self, op, as_bool, matching, depth):
        """Two vectors and how they are matched, mostly so that they do match."""
        if op in SETS and matching not in ("default", "on", "on()", "ignoring"):
            matching = "default"
        features, d = [("matching", matching)], depth - 1
        if matching == "default" or self.chance(0.05):  # the latter: anything with anything, which mostly is an error
            same = self.rng.choice((("job", "instance"), ("zone", "room"), ("job",), ("job", "instance")))
            clause = "" if matching in ("default", "on()") else {"on": " on (job)", "ignoring": " ignoring (le)"}.get(matching, "")
            features = [("matching", "on" if clause == " on (job)" else "ignoring" if clause else "default")]
            left, right = (self.over(same, d), self.over(same, d)) if self.chance(0.7) else (self.vector(d), self.vector(d))
            return self.operator(op, as_bool, clause, features, left, right, "vector")
        if matching == "on()":
            return self.operator(op, as_bool, " on ()", features, self.over((), d) if op not in SETS else self.vector(d),
                                 self.over((), d), "vector")
        key, more = self.rng.choice(((("job", "instance"), ("code", "dir")), (("zone",), ("room", "country")), (("job",), ("instance",))))
        if matching == "on":
            return self.operator(op, as_bool, f" on ({', '.join(key)})", features, self.over(key, d), self.over(key, d), "vector")
        if matching == "ignoring":
            f = BY_NAME["http_requests_total"]
            left = self.selector(f, pinned={"code": "200", "path": "/"})
            return self.operator(op, as_bool, " ignoring (code, path)", features, left, self.over(("job", "instance"), d), "vector")
        many, one, copied = self.many_and_one(key, more, matching)
        side = "group_left" if "group_left" in matching else "group_right"
        how = f"ignoring ({', '.join(more)})" if matching.startswith("ignoring") else f"on ({', '.join(key)})"
        clause = f" {how} {side}" + (f" ({', '.join(copied)})" if matching.endswith("(labels)") else "")
        left, right = (many, one) if side == "group_left" else (one, many)
        return self.operator(op, as_bool, clause, features, left, right, "vector")

    def many_and_one(self, key, more, matching):
        if key == ("zone",):
            many = self.selector(BY_NAME[self.rng.choice(("temp", "sparse"))])
            one = self.selector(BY_NAME["site_info"]) if not matching.startswith("ignoring") else self.over(("zone",), 0)
            return many, one, ["country"]
        if key == ("job",):
            return self.selector(BY_NAME[self.rng.choice(("queue", "mem", "ratio", "gap"))]), self.over(("job",), 0), ["zone"]
        many = self.aggregate("sum", 0, "by", given=self.selector(BY_NAME["http_requests_total"]), labels=["job", "instance", "code"]) \
            if self.chance(0.5) else self.selector(BY_NAME["bytes_total"])
        one = self.selector(BY_NAME["build_info"]) if not matching.startswith("ignoring") and self.chance(0.6) else self.over(key, 0)
        return many, one, ["version"]
