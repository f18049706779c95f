#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that no compiler checks: include arrows, banned calls, sizes, promises of later work, top level."""
import re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A folder may include those of its own rank's set and everything below it. Lowest first.
LAYERS = ["node/base", "node/runtime", "node/template", "node/http", "proto", "ring", "storage", "ingest", "query",
          "alertmgr", "node/daemon", "node/ctl"]
# node/template and node/http stand side by side: neither may see the other; nor may daemon and ctl, ring and http.
FORBIDDEN = {("node/http", "node/template"), ("node/ctl", "node/daemon"), ("ring", "node/http"), ("storage", "node/http")}
# `cairnctl check config` reads a configuration with the code of the daemon.
ALLOWED = {("node/ctl", "node/daemon/config.h")}
TOP_LEVEL = {"meson.build", "meson_options.txt", "dev", "LICENSE", "README.md", "node", "ring", "ingest", "storage", "query",
             "alertmgr", "proto", "deploy", "tests", "bench"}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|gets|sleep|usleep|rand|srand|alloca)\s*\(")
LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK|not implemented|unimplemented|placeholder|for now)\b", re.I)
UV = re.compile(r"\buv_\w+\s*\(|#include <uv\.h>")
LINES_MAX, FUNCTION_MAX, COLUMNS_MAX = 700, 70, 100


def layer_of(path: str):
    best = None
    for name in LAYERS:
        if path.startswith(name + "/") and (best is None or len(name) > len(best)):
            best = name
    return best


def strip_comments_and_strings(text: str) -> str:
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def function_lengths(code: str):
    """(name, first line, lines) of each function: a brace in column 0's definition up to its closing brace."""
    lines = code.split("\n")
    start = None
    for i, line in enumerate(lines):
        if start is None and line and not line[0].isspace() and line.rstrip().endswith("{") and "(" in line + lines[max(0, i - 1)] \
                and not re.match(r"(static const|const|struct \w+ \{|enum|union|typedef|extern)", line) and "=" not in line:
            start = i
        elif start is not None and line.startswith("}"):
            yield lines[start].strip()[:60], start + 1, i - start + 1
            start = None


def check_file(path: Path, problems: list):
    rel = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8", errors="replace")
    code = strip_comments_and_strings(text)
    lines = text.split("\n")
    add = lambda line, what: problems.append(f"{rel}:{line}: {what}")
    if "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
        add(1, "first line is not the SPDX line")
    if len(lines) > LINES_MAX:
        add(1, f"{len(lines)} lines, at most {LINES_MAX}")
    if rel.endswith(".h") and "#pragma once" not in text:
        add(1, "no #pragma once")
    own = layer_of(rel)
    for i, line in enumerate(lines, 1):
        if len(line.expandtabs(4)) > COLUMNS_MAX:
            add(i, f"{len(line)} columns, at most {COLUMNS_MAX}")
        m = re.match(r'#include "([^"]+)"', line)
        if m and own is not None:
            other = layer_of(m.group(1))
            if other is None and not m.group(1).startswith("proto/") and not m.group(1).endswith(".pb-c.h"):
                add(i, f"include of {m.group(1)}, which is in no layer")
            elif other is not None and (LAYERS.index(other) > LAYERS.index(own) or (own, other) in FORBIDDEN) \
                    and (own, m.group(1)) not in ALLOWED:
                add(i, f"{own} includes {other}: arrows point down only")
        if LATER.search(line):
            add(i, "a promise of later work")
    for i, line in enumerate(code.split("\n"), 1):
        m = BANNED.search(line)
        if m:
            add(i, f"banned call {m.group(1)}")
        if own is not None and own not in ("node/runtime", "node/http") and UV.search(line):
            add(i, "only node/runtime and node/http name uv_*")
    if rel.endswith(".c"):
        for name, line, length in function_lengths(code):
            if length > FUNCTION_MAX and not rel.startswith("tests/"):
                add(line, f"function of {length} lines, at most {FUNCTION_MAX}: {name}")


def main() -> int:
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    files = [ROOT / n for n in names.stdout.split("\n") if n] if names.returncode == 0 else [p for p in ROOT.rglob("*")]
    problems = []
    for p in sorted(files):
        rel = p.relative_to(ROOT).as_posix()
        top = rel.split("/")[0]
        if not top.startswith(".") and top not in TOP_LEVEL and not top.startswith("build"):
            problems.append(f"{rel}: not a place of the top level")
        if p.suffix in (".c", ".h", ".cc") and p.is_file():
            check_file(p, problems)
    print("\n".join(problems))
    print(f"tidy: {len(problems)} problems in {len(files)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
