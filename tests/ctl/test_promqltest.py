#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cairnctl test promql: our own files pass however series are split, and wrong expectations are found and named.
test_promqltest.py CAIRNCTL DIRECTORY"""
import subprocess, sys, tempfile
from pathlib import Path

OWN = {"language.test": (49, 3), "engine.test": (59, 0)}  # passed, skipped

LOAD = """load 1m
  m{l="a"} 1 2 3
  m{l="b"} 4 5 6

"""
H = "load 1m\n  h {{schema:0 count:1}}\n  f 1\n\n"
# name, text, passed, failed, skipped, words of the output
CASES = [
    ("all is well", LOAD + 'eval instant at 1m m\n  m{l="a"} 2\n  m{l="b"} 5\n', 1, 0, 0, []),
    ("value", LOAD + 'eval instant at 1m m\n  m{l="a"} 2\n  m{l="b"} 5.1\n', 0, 1, 0,
     [":5: FAIL m\n", "instant at 1m: m", "expected 5.1, got 5", '{__name__="m", l="b"}']),
    ("value within a millionth", LOAD + 'eval instant at 1m m{l="a"}\n  m{l="a"} 2.000001\n', 1, 0, 0, []),
    ("value beyond it", LOAD + 'eval instant at 1m m{l="a"}\n  m{l="a"} 2.00001\n', 0, 1, 0, ["expected 2.00001"]),
    ("NaN is no stale marker", "load 1m\n  n NaN\n\neval instant n\n  n stale\n", 0, 1, 0, ["expected stale, got NaN"]),
    ("0 is not nearly anything", LOAD + "eval instant 1e-9\n  0\n", 0, 1, 0, ["expected 0, got 1e-09"]),
    ("missing series", LOAD + 'eval instant m{l="a"}\n  m{l="a"} 1\n  m{l="c"} 1\n', 0, 1, 0,
     ['missing {__name__="m", l="c"}']),
    ("unexpected series", LOAD + 'eval instant m\n  m{l="a"} 1\n', 0, 1, 0, ['unexpected {__name__="m", l="b"}']),
    ("no series at all", LOAD + "eval instant m\n", 0, 1, 0, ["unexpected"]),
    ("other order", LOAD + 'eval instant sort(m)\n  expect ordered\n  m{l="b"} 4\n  m{l="a"} 1\n', 0, 1, 0,
     ["in another place"]),
    ("scalar for vector", "eval instant 1\n  {} 1\n", 0, 1, 0, ["the result is a scalar"]),
    ("vector for scalar", "eval instant vector(1)\n  1\n", 0, 1, 0, ["the result is a vector"]),
    ("scalar", "eval instant 1\n  2\n", 0, 1, 0, ["expected 2, got 1"]),
    ("string", 'eval instant "a"\n  expect string "b"\n', 0, 1, 0, ["another string", 'string "a"']),
    ("no matrix", LOAD + "eval instant m[1m]\n", 0, 1, 0, ["the result is a matrix"]),
    ("matrix at other times", LOAD + 'eval instant at 1m m{l="a"}[2m]\n  expect range vector from 1m to 2m step 1m\n'
     '  m{l="a"} 1 2\n', 0, 1, 0, ["no point at 60000 ms"]),
    ("range: value", LOAD + 'eval range from 0 to 2m step 1m m{l="a"}\n  m{l="a"} 1 2 4\n', 0, 1, 0,
     ["range from 0s to 2m step 1m", "at 120000 ms:", "expected 4, got 3"]),
    ("range: gap", LOAD + 'eval range from 0 to 2m step 1m m{l="a"}\n  m{l="a"} 1 _ 3\n', 0, 1, 0, ["120000 ms"]),
    ("range: too few values", LOAD + 'eval range from 0 to 2m step 1m m{l="a"}\n  m{l="a"} 1 2\n', 0, 1, 0,
     ["more points than expected"]),
    ("range: too many values", LOAD + 'eval range from 0 to 2m step 1m m{l="a"}\n  m{l="a"} 1 2 3 3\n', 0, 1, 0,
     ["more values than steps"]),
    ("error", LOAD + "eval instant m +\n", 0, 1, 0, ["error: 1:4: parse error: unexpected end of input"]),
    ("no error", LOAD + "eval instant sum(m)\n  expect fail\n", 0, 1, 0, ["expected an error, got:", "{} 5"]),
    ("other error", "eval instant {}\n  expect fail msg: no\n", 0, 1, 0, ["expected the error: no"]),
    ("error, regex", "eval instant {}\n  expect fail regex: ^no\n", 0, 1, 0, ["expected the error: ^no"]),
    ("eval_fail", "eval_fail instant at 0 1\n", 0, 1, 0, ["expected an error"]),
    ("no warning", LOAD + "eval instant sum(m)\n  expect warn\n  {} 5\n", 0, 1, 0, ["warning: expected and missing"]),
    ("eval_warn", LOAD + "eval_warn instant at 0 sum(m)\n  {} 5\n", 0, 1, 0, ["warning: expected and missing"]),
    ("eval_info", LOAD + "eval_info instant at 0 sum(m)\n  {} 5\n", 0, 1, 0, ["info: expected and missing"]),
    ("unwanted warning", LOAD + "eval instant quantile(2,m)\n  expect no_warn\n  {} Inf\n", 0, 1, 0,
     ["warning: unexpected: PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]),
    ("unwanted info", LOAD + 'eval instant at 1m rate(m{l="a"}[2m])\n  expect no_info\n  {l="a"} 0.0125\n', 0, 1, 0,
     ["info: unexpected"]),
    ("one warning more", LOAD + "eval instant quantile(2,m) + quantile(3,m)\n  expect warn regex: got 2\n  {} Inf\n", 0,
     1, 0, ["warning: unexpected: ", "got 3"]),
    ("other warning", LOAD + "eval instant quantile(2,m)\n  expect warn msg: x\n  {} Inf\n", 0, 1, 0,
     ["expected and missing: x"]),
    ("what depends on the time", LOAD + "eval instant at 1m vector(time())\n  {} 60\n", 1, 0, 0, []),
    ("another result as a range query", "load 1m\n  x 1\n  y _ 1\n\neval instant {__name__=~'x|y'} * 1\n  {} 1\n", 0, 1, 0,
     ["range from -1m to 1m step 1m", "error: vector cannot contain metrics with the same labelset"]),
    ("failures are counted and do not end the file", "eval instant 1\n  2\n\neval instant 1\n  1\n\neval instant 1\n  3\n",
     1, 2, 0, [":1: FAIL", ":7: FAIL"]),
    ("histogram selected", H + "eval instant h\n", 0, 0, 1, ["(native histograms 1)"]),
    ("histogram expected", H + "eval instant f\n  f {{count:1}}\n", 0, 0, 1, ["(native histograms 1)"]),
    ("histogram loaded only", H + "eval instant f\n  f 2\n", 0, 1, 0, ["expected 2, got 1"]),
    ("histogram out of range", H + "eval instant at 6m h\n  h 1\n", 0, 1, 0, ["missing"]),
]
# what cannot be read: the text, the line to blame, words of the message
BROKEN = [
    ("evil instant 1", 1, "invalid command"),
    ("load", 1, "invalid step"),
    ("load_with 1m\n  m 1", 1, "invalid load command"),
    ("load 0\n  m 1", 1, "invalid step"),
    ("load 1m\n  m 1\n  m{ 1", 3, "parse error"),
    ("load 1m\n  m 1+1", 2, "expected x"),
    ("load 1m\n  m 1x", 2, "expected a count"),
    ("load 1m\n  m 1 2;", 2, "expected a space"),
    ("load 1m\n  m bad", 2, "bad value"),
    ("load 1m\n  m 1x99999999", 2, "more than"),
    ("load 1m\n  m 1 2\n\nload 1m\n  m 1 3", 5, "duplicate sample for timestamp"),
    ("load 1m\n  m _ 1\n\nload 1m\n  m 3", 5, "out of order sample"),
    ("load 1m\n  m@st 1s\n  n 1", 3, "before their own series"),
    ("load 1m\n  m@st 1s\n  m 1 2", 3, "1 start timestamps for 2 values"),
    ("load 1m\n  m@st 1s", 2, "without a series"),
    ("load 1m\n  m {{schema:9}}", 2, "no schema 9"),
    ("load 1m\n  m {{shape:1}}", 2, 'unknown key "shape"'),
    ("load 1m\n  m {{sum:1 sum:2}}", 2, "sum is given twice"),
    ("load 1m\n  m {{buckets:[1 2", 2, "ends with ]"),
    ("load 1m\n  m {{count:1", 2, "not closed"),
    ("load 1m\n  m {{counter_reset_hint:maybe}}", 2, "bad value"),
    ("load 1m\n  m {{schema:2}}+{{schema:1}}x2", 2, "below the base's"),
    ("eval now 1", 1, "invalid evaluation command"),
    ("eval instant at noon 1", 1, 'bad duration "noon"'),
    ("eval range from 2m to 1m step 1m 1", 1, "is before start"),
    ("eval range from 0 to 1m step 0 1", 1, "greater than 0"),
    ("eval instant m\n  expect luck", 2, "bad expect line"),
    ("eval instant m\n  expect ordered msg:x", 2, "takes no text"),
    ("eval instant m\n  expect warn regex:(", 2, "error parsing regexp"),
    ("eval instant m\n  expect warn\n  expect no_warn", 3, "contradict"),
    ("eval instant m\n  expect string 1", 2, "no string literal"),
    ("eval instant m\n  m 1 2", 2, "several values"),
    ("eval instant m\n  m 1\n  m 2", 3, "expected twice"),
    ("eval instant m\n  m", 2, "without values"),
    ("eval range from 0 to 1m step 1m 1\n  expect ordered", 2, "for instant queries"),
    ("eval instant m\n  1\n  m 1", 3, "invalid command"),
]


def main() -> int:
    ctl, own = sys.argv[1], Path(sys.argv[2])
    problems = []

    def check(good, what, run):
        if not good:
            problems.append(f"{what}: exit code {run.returncode}\n{run.stdout}{run.stderr}")

    def run(*args):
        return subprocess.run([ctl, "test", "promql", *map(str, args)], capture_output=True, text=True)

    for name, (passed, skipped) in OWN.items():
        for sources in (1, 2, 3, 8, 64):
            r = run(f"--split={sources}", f"--seed={sources}", own / name)
            want = f"{name}: {passed} passed, 0 failed, {skipped} skipped"
            check(r.returncode == 0 and want in r.stdout, f"{name} over {sources}", r)
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "case.test"
        for name, text, passed, failed, skipped, words in CASES:
            path.write_text(text)
            r = run(path)
            words = words + [f"{path}: {passed} passed, {failed} failed, {skipped} skipped"]
            good = r.returncode == (1 if failed else 0) and all(w in r.stdout for w in words)
            check(good, f"{name}: wanted {words}", r)
        for text, line, word in BROKEN:
            path.write_text(text)
            r = run(path)
            good = r.returncode == 1 and f"{path}:{line}: error: " in r.stdout and word in r.stdout
            check(good, f"{text!r}: wanted line {line}, {word}", r)
        r = run(path.with_name("none.test"))
        check(r.returncode == 1 and "No such file" in r.stdout, "a file that is not there", r)
    for args in ([], ["--split=0", "x"], ["--split=65", "x"], ["--splat", "x"]):
        r = run(*args)
        check(r.returncode == 1 and r.stderr.startswith("cairnctl: error: "), f"arguments {args}", r)
    print("\n".join(problems))
    print(f"{len(CASES)} cases, {len(BROKEN)} unreadable texts, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
