#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/api/v1/openapi.yaml against the tables of routes and against the server: every route with every method is in the document
and the other way round; no documented one answers 404 or 405, undocumented methods answer 405; references resolve, and each
parameter that a path names is declared. Usage: test_openapi.py CAIRN SOURCE_ROOT."""
import re, sys
from pathlib import Path

from servers import cairn

TABLES = ["query/api/routes.c", "node/daemon/serve.c"]
METHODS = {"READ": {"get", "post"}, "CHANGE": {"post", "put"}, "HTTP_GET": {"get"}, "HTTP_HEAD": {"head"}, "HTTP_POST": {"post"},
           "HTTP_PUT": {"put"}, "HTTP_DELETE": {"delete"}}
bad = 0


def check(right, *what):
    global bad
    if not right:
        bad += 1
        print("WRONG", *what, sep="\n  ")


def routes_of(root: Path) -> dict:
    out = {}
    for name in TABLES:
        text = (root / name).read_text(encoding="utf-8")
        rows = re.findall(r'^ +\{((?:HTTP_\w+|READ|CHANGE)(?: \| HTTP_\w+)*), "(/[^"]*)", \w+', text, re.M)
        check(len(rows) >= 8, name, "the table has another form")
        check(len(rows) == len(re.findall(r'^ +\{.*"/[^"]*", (?:api|on|remote)_\w+', text, re.M)), name, "rows that are not understood")
        for methods, path in rows:
            check(path not in out, path, "twice")
            out[path] = set().union(*(METHODS[m] for m in methods.split(" | ")))
    return out


def paths_of(document: str) -> dict:
    """The document is block style down to the methods: two spaces a path, four a method."""
    out, path = {}, None
    section = document.partition("\npaths:\n")[2].partition("\ncomponents:\n")[0]
    for line in section.split("\n"):
        if m := re.fullmatch(r"  (/\S*):", line):
            path = m.group(1)
            check(path not in out, path, "twice in the document")
            out[path] = {}
        elif m := re.fullmatch(r"    (get|put|post|delete|head|options|patch):", line):
            check(m.group(1) not in out[path], path, "a method twice")
            out[path][m.group(1)] = []
            method = m.group(1)
        elif path is not None and out[path]:
            check(line.startswith("      "), line, "has another form")
            out[path][method].append(line)
    return out


def check_document(document: str, paths: dict):
    components = {}
    group = ""
    for line in document.partition("\ncomponents:\n")[2].split("\n"):
        if m := re.fullmatch(r"  (\w+):", line):
            group = m.group(1)
        elif m := re.match(r"    (\w+):", line):
            components[f"#/components/{group}/{m.group(1)}"] = line
    used = set(re.findall(r"\$ref: '([^']+)'", document))
    check(used == components.keys(), "unresolved", used - components.keys(), "unused", components.keys() - used)
    ids = re.findall(r"operationId: (\w+)", document)
    check(len(ids) == len(set(ids)) == sum(len(m) for m in paths.values()), "operationId: one each, all different")
    for path, methods in paths.items():
        for method, lines in methods.items():
            refs = [components[r] for line in lines for r in re.findall(r"'(#/components/parameters/\w+)'", line)]
            declared = {re.search(r"name: '([^']+)'", r).group(1) for r in refs if "in: path" in r}
            check(declared == set(re.findall(r"\{(\w+)\}", path)), path, method, "parameters of the path")
            check(any(re.match(r" {8}'[23]\d\d':", line) for line in lines), path, method, "has no answer that is a success")


def main() -> int:
    server = cairn(sys.argv[1])
    try:
        routes = routes_of(Path(sys.argv[2]))
        status, body, headers = server.request("GET", "/api/v1/openapi.yaml")
        check(status == 200 and headers["Content-Type"].startswith("application/yaml"), status, headers)
        document = body.decode()
        check(document.startswith("# SPDX") and "\nopenapi: 3.1" in document, document[:200])
        paths = paths_of(document)
        named = {re.sub(r"\{\w+\}", "*", path): set(methods) for path, methods in paths.items()}
        for path in sorted(routes.keys() | named.keys()):
            check(routes.get(path) == named.get(path), path, f"served {routes.get(path)}", f"documented {named.get(path)}")
        check_document(document, paths)
        for path, methods in sorted(named.items()):
            for method in ("get", "head", "put", "post", "delete"):
                if path == "/-/quit":
                    continue
                code = server.request(method.upper(), path.replace("*", "job"))[0]
                if method in methods:
                    check(code not in (404, 405), path, method, code)
                elif not (method == "head" and "get" in methods):
                    check(code == 405, path, method, code)
        try:
            import yaml
            check(yaml.safe_load(document)["paths"].keys() == paths.keys(), "as YAML it says something else")
        except ImportError:
            pass  # one more reader, where there is one
    finally:
        code = server.stop()
    print(f"{len(routes)} routes, {bad} wrong")
    return 1 if bad or code else 0


if __name__ == "__main__":
    sys.exit(main())
