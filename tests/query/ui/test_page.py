#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The query page of a real cairn in a real browser: typing, Enter, tables, graphs, errors, suggestions, addresses, history,
accessible names, contrast, narrow screens. CAIRN_SCREENSHOTS=DIR keeps pictures."""
import json, math, os, re, shutil, sys, time, urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "peers"))
from harness import Cairn, check, check_eq, main, say  # noqa: E402

from browser import CTRL, SHIFT, Browser  # noqa: E402

PICTURES = os.environ.get("CAIRN_SCREENSHOTS")
STEP_S, POINTS = 15, 40
EVIL = '<img src=x onerror="document.title=1">\n"quoted"'
ROWS = "document.querySelectorAll('#table tbody tr').length"
SUMMARY = "document.querySelector('#summary').innerText"


def picture(b, name):
    if PICTURES:
        Path(PICTURES).mkdir(exist_ok=True)
        b.screenshot(Path(PICTURES) / f"{name}.png")


def fill(node, now):
    """ui_wave: three sines, of which one has a gap of ten points; ui_lone: one point; ui_odd: NaN, infinities and two numbers;
    ui_many: 10,000 series. All but ui_many end at now."""
    at = [(now - (POINTS - 1 - i) * STEP_S) * 1000 for i in range(POINTS)]
    wave = [[(t, math.sin(i / 6 + k) + k) for i, t in enumerate(at) if k != 1 or not 15 <= i < 25] for k in range(3)]
    odd = [math.nan, 1, math.inf, -math.inf, 2] + [math.nan] * (POINTS - 5)
    series = [({"__name__": "ui_wave", "k": str(k)}, wave[k]) for k in range(3)]
    series += [({"__name__": "ui_lone"}, [(at[20], 7.5)]), ({"__name__": "ui_odd"}, list(zip(at, odd))),
               ({"__name__": "ui_text", "path": EVIL}, [(at[-1], 42)])]
    a = node.write(series)
    check_eq(a.code, 204, str(a))
    a = node.write([({"__name__": "ui_many", "instance": f"host-{i:05}.example.org:9100", "job": "many"},
                     [(at[-2], i), (at[-1], i)]) for i in range(10000)])
    check_eq(a.code, 204, str(a))


def set_query(b, text):
    b.eval("(() => { const q = document.querySelector('#query'); q.focus(); q.select(); })()")
    b.press("Escape")
    b.type(text)
    check_eq(b.eval("document.querySelector('#query').value"), text, "typed text")


def ask(b, text, until):
    """Types the expression, presses Enter, waits."""
    set_query(b, text)
    b.press("Enter")
    return b.wait(until)


def typing_and_tables(b, url):
    b.open(url + "/")
    check_eq(b.eval("document.activeElement.id"), "query", "focus on arrival")
    ask(b, "count(ui_wave) + 39", ROWS + " === 1")
    check_eq(b.eval("document.querySelector('#table tbody').innerText").split(), ["{}", "42"], "the one row")
    ask(b, "ui_wave", ROWS + " === 3")
    rows = b.eval("[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].innerText)")
    check_eq(sorted(rows), [f'ui_wave{{k="{k}"}}' for k in range(3)], "names")
    ask(b, "ui_text", ROWS + " === 1 && document.querySelector('#table tbody').innerText.includes('onerror')")
    check_eq(b.eval("document.querySelector('#table td').textContent"), f"ui_text{{path={json.dumps(EVIL)}}}", "label text")
    check_eq(b.eval("document.querySelectorAll('img').length"), 0, "elements made of label text")
    ask(b, 'vector(NaN)', "document.querySelector('#table tbody').innerText.includes('NaN')")
    ask(b, '"a string"', "document.querySelector('#table tbody').innerText.includes('a string')")
    cells = "[...document.querySelectorAll('#table td + td')].map(d => d.innerText.split('@').length - 1)"
    ask(b, "ui_wave[20m]", f"{cells}.sort().join() === '{POINTS - 10},{POINTS},{POINTS}'")
    ask(b, "ui_none", SUMMARY + ".startsWith('Empty result')")
    check_eq(b.eval("document.querySelector('#tablebox').hidden"), True, "no table for an empty result")
    set_query(b, "ui_lone")
    b.press("Enter", SHIFT)
    b.type("offset 1m")
    check_eq(b.eval("document.querySelector('#query').value"), "ui_lone\noffset 1m", "Shift+Enter starts a line")


def errors(b):
    ask(b, "sum(ui_wave) by", "!document.querySelector('#error').hidden")
    text = b.eval("document.querySelector('#error').innerText")
    check("parse error" in text and text.startswith("bad_data") and text.rstrip().endswith("^"), "error text:", text)
    check_eq(b.eval("document.querySelector('#query').ariaInvalid"), "true", "the box is marked")
    check_eq(b.eval("document.querySelector('#tablebox').hidden && document.querySelector('#graph').hidden"), True, "no result")
    picture(b, "error")
    ask(b, "ui_wave", ROWS + " === 3 && document.querySelector('#error').hidden")
    check_eq(b.eval("document.querySelector('#query').ariaInvalid"), None, "the mark is gone")


def suggestions(b):
    box = "document.querySelector('#query').value"
    options = "[...document.querySelectorAll('#choices:not([hidden]) li')].map(e => e.firstChild.textContent)"
    set_query(b, "sum(rate(ui_wa")
    b.wait(options + ".includes('ui_wave')")
    b.press("ArrowDown")
    check(b.eval("document.getElementById(document.querySelector('#query').getAttribute('aria-activedescendant')).ariaSelected"),
          "the chosen suggestion is told")
    b.press("Enter")
    check_eq(b.eval(box), "sum(rate(ui_wave", "Enter takes the suggestion")
    b.type("{")
    b.wait(options + ".join() === 'k'")
    b.press("Tab")
    b.type('="')
    b.wait(options + ".join() === '0,1,2'")
    picture(b, "suggestions")
    b.press("ArrowUp")
    b.press("Tab")
    check_eq(b.eval(box), 'sum(rate(ui_wave{k="2"', "label and value")
    b.type("}[1m])) by (k")
    b.press("Escape")
    check_eq(b.eval(options + ".length"), 0, "Escape closes the list")
    set_query(b, "histogram_quan")
    b.wait(options + ".includes('histogram_quantile')")
    b.press("Tab")
    check_eq(b.eval(box), "histogram_quantile(", "a function")
    set_query(b, "ui_wav")
    b.wait(options + ".length > 0")
    b.press("Enter")  # nothing chosen: runs what stands there
    b.wait(SUMMARY + ".startsWith('Empty result')")
    check_eq(b.eval(options + ".length"), 0, "running closes the list")


def graphs(b, url, now):
    start_of = "[...document.querySelectorAll('#svg path.%s')].map(p => (p.getAttribute('d').match(/M/g) || []).length)"
    form = {"kind": "range", "range": "10m", "end": now, "step": STEP_S}

    def draw(query):
        b.open(url + "/?" + urllib.parse.urlencode({"q": query, **form}))
        b.wait(SUMMARY + ".includes('series')")

    # last_over_time(...[14s]) sees each sample at its own step only, so that gaps stay gaps
    draw("last_over_time(ui_wave[14s])")
    check_eq(b.eval("document.querySelectorAll('#legend li').length"), 3, "legend")
    check_eq(b.eval(start_of % "line"), [1, 2, 1], "pieces of the lines: the second has a gap")
    check_eq(b.eval(start_of % "dots"), [0], "no dots but the empty mark of the cursor")
    picture(b, "graph")
    b.eval("document.querySelector('#svg').focus()")
    b.press("ArrowLeft")
    b.press("ArrowLeft")
    readout = b.eval("document.querySelector('#readout').innerText")
    want = math.sin((POINTS - 2) / 6)
    check(re.search(rf"{re.escape(repr(want)[:12])}\d*\s+ui_wave\{{k=\"0\"\}}", readout), "value by key:", readout, "want", want)
    x, y, width = b.eval("(() => { const r = document.querySelector('#svg').getBoundingClientRect(); return [r.x, r.y, r.width]; })()")
    b.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + width - 14, y=y + 10)  # top right: the end of the highest line
    readout = b.eval("document.querySelector('#readout').innerText")
    want = math.sin((POINTS - 1) / 6 + 2) + 2
    check(re.search(rf"{re.escape(repr(want)[:12])}\d*\s+ui_wave\{{k=\"2\"\}}", readout), "value by mouse:", readout, "want", want)
    b.click("#legend li:nth-child(2) button")
    check_eq(b.eval(start_of % "line"), [2], "the pressed series alone")
    draw("last_over_time(ui_lone[14s])")
    check_eq(b.eval("document.querySelectorAll('#svg path.line').length"), 0, "no line of one point")
    check_eq(b.eval(start_of % "dots"), [1, 0], "one dot")
    picture(b, "one-point")
    draw("last_over_time(ui_odd[14s])")
    check_eq(b.eval(start_of % "dots"), [2, 0], "the two finite values, apart")
    draw("ui_odd * NaN")
    check(b.eval(SUMMARY + ".includes('no finite value')"), "NaN only:", b.eval(SUMMARY))
    draw("ui_none")
    check(b.eval(SUMMARY + ".startsWith('Empty result')"), "empty graph:", b.eval(SUMMARY))
    check_eq(b.eval("document.querySelector('#graph').hidden"), True, "no axes for an empty result")


def ten_thousand(b, url, now):
    """The longest time in which the tab could not run a timer; a tenth of a second is what one notices, one is a freeze."""
    watch = """window.longest = 0; window.last = performance.now();
        setInterval(() => { const t = performance.now(); longest = Math.max(longest, t - last); last = t; }, 5)"""
    b.open(url + "/")
    b.eval(watch)
    ask(b, "ui_many", SUMMARY + ".startsWith('10000 series')")
    longest = b.eval("new Promise(d => setTimeout(() => d(longest), 100))")
    check_eq(b.eval(ROWS), 500, "rows made at once")
    b.click("#more")
    check_eq(b.eval(ROWS), 1000, "rows after one more")
    b.eval("document.querySelector('#end').value = new Date(%d).toISOString().slice(0, 19)" % (now * 1000))
    b.click("input[value=range]")
    b.wait(SUMMARY + ".startsWith('Only the first 200 series') && !document.querySelector('#notes').hidden", 30)
    check("limit" in b.eval("document.querySelector('#notes').innerText"), "the cut is told")
    check_eq(b.eval("document.querySelectorAll('#legend li').length"), 200, "lines")
    picture(b, "many")
    longest = max(longest, b.eval("new Promise(d => setTimeout(() => d(longest), 100))"))
    say(f"10,000 series: the tab was busy for at most {longest:.0f} ms")
    check(longest < 1000, "the tab froze for", longest, "ms")


def addresses(b, url, now):
    b.open(url + "/")
    ask(b, "ui_wave", ROWS + " === 3")
    check("?q=ui_wave&kind=instant" in b.eval("location.href"), b.eval("location.href"))
    ask(b, "ui_text", ROWS + " === 1")
    b.click("input[value=range]")
    b.wait("location.search.includes('kind=range') && !document.querySelector('#graph').hidden")
    shared = b.eval("location.href")
    b.eval("history.back()")
    b.wait("document.querySelector('input[value=instant]').checked && " + ROWS + " === 1")
    check_eq(b.eval("document.querySelector('#query').value"), "ui_text", "back to the table")
    b.eval("history.back()")
    b.wait("document.querySelector('#query').value === 'ui_wave' && " + ROWS + " === 3")
    b.open(shared)
    b.wait("document.querySelector('#query').value === 'ui_text' && document.querySelectorAll('#legend li').length === 1")
    check_eq(b.eval("document.title"), "ui_text - Cairn", "title")
    b.open(f"{url}/graph?g0.expr=ui_wave&g0.tab=0&g0.range_input=10m")  # what an alert's generatorURL looks like
    b.wait("document.querySelector('#query').value === 'ui_wave' && document.querySelectorAll('#legend li').length === 3")


CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return ['h1', '#keys', '#summary', 'nav a', '#error', 'label'].map(s => { const ink = light(getComputedStyle(document.querySelector(s)).color);
    return [s, (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05)]; }); })()"""


def node_gone(b, node):
    b.open(f"http://127.0.0.1:{node.port}/")
    node.stop()
    ask(b, "ui_wave", "document.querySelector('#error').innerText.startsWith('The node does not answer')")


def looks(b, url, now):
    b.open(f"{url}/?q=ui_wave&kind=range&range=10m&end={now}")
    b.wait("document.querySelectorAll('#legend li').length === 3")
    controls = {"button", "textbox", "radio", "combobox", "Date", "image", "link", "DateTime", "InputTime"}
    nodes = b.call("Accessibility.getFullAXTree")["nodes"]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes
             if not n["ignored"] and n["role"]["value"] in controls]
    check(all(name.strip() for _, name in named), "controls without a name:", named)
    check({("textbox", "PromQL expression"), ("button", "Run"), ("radio", "Table"), ("radio", "Graph")} <= set(named), named)
    papers = []
    for scheme in ("light", "dark"):
        b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        papers.append(b.eval("getComputedStyle(document.body).backgroundColor"))
        for what, ratio in b.eval(CONTRAST):
            check(ratio >= 4.5, f"{scheme}: contrast of {what} is {ratio:.2f}; WCAG AA wants 4.5")
        picture(b, scheme)
    check(papers[0] != papers[1], "light and dark look the same:", papers)
    b.call("Emulation.setDeviceMetricsOverride", width=320, height=700, deviceScaleFactor=1, mobile=True)
    for query, kind in (("ui_wave", "range"), ("ui_many", "instant"), ("ui_text", "instant")):
        b.open(f"{url}/?q={query}&kind={kind}&range=10m&end={now}")
        b.wait(SUMMARY + ".includes('series')")
        check(b.eval("document.documentElement.scrollWidth") <= 320, query, "is wider than a screen of 320 pixels")
        picture(b, f"narrow-{query}")


def test(folder):
    program = shutil.which("chromium")
    if not program:
        print("skipped: chromium is not installed")
        sys.exit(77)
    node = Cairn(folder / "node", scrapes_itself=True).start()
    now = int(time.time()) // STEP_S * STEP_S
    fill(node, now)
    say("cairn is ready")
    b = Browser(program)
    try:
        url = f"http://127.0.0.1:{node.port}"
        for part, args in ((typing_and_tables, (url,)), (errors, ()), (suggestions, ()), (graphs, (url, now)),
                           (ten_thousand, (url, now)), (addresses, (url, now)), (looks, (url, now)), (node_gone, (node,))):
            part(b, *args)
            say(part.__name__)
        outside = [r["request"]["url"] for r in b.seen("Network.requestWillBeSent")
                   if not r["request"]["url"].startswith((url + "/", "data:", "about:"))]
        check_eq(outside, [], "requests to other places")
        check_eq([e["exceptionDetails"] for e in b.seen("Runtime.exceptionThrown")], [], "uncaught errors")
        told = [e["entry"]["text"] for e in b.seen("Log.entryAdded") if e["entry"]["source"] != "network"]
        check_eq(told, [], "what the browser complains about")
    except BaseException:
        picture(b, "failed")
        raise
    finally:
        b.close()


if __name__ == "__main__":
    main(test)
