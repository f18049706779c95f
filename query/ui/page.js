// SPDX-License-Identifier: Apache-2.0
"use strict";
const $ = id => document.getElementById(id);
const SERIES_MAX = 10000, ROWS_STEP = 500, LINES_MAX = 200, POINTS_WANTED = 250, CHOICES_MAX = 50;
const UNITS = { ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };
const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

function seconds(text) {
  if (/^[0-9]*\.?[0-9]+$/.test(text.trim())) return Number(text);
  let sum = 0, rest = text.trim();
  while (rest) {
    const m = /^([0-9]+)(ms|[smhdwy])/.exec(rest);
    if (!m) return NaN;
    sum += Number(m[1]) * UNITS[m[2]];
    rest = rest.slice(m[0].length);
  }
  return sum || NaN;
}

function element(tag, properties, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

function show(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text;
}

const kindNow = () => document.querySelector("input[name=kind]:checked").value;
const plural = n => n + " series";

// -- the node's HTTP API

async function api(path, params, signal) {
  let answer, body;
  try {
    answer = await fetch("api/v1/" + path, { method: "POST", body: new URLSearchParams(params), signal });
    body = await answer.text();
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Error("The node does not answer: " + e.message);
  }
  try { body = JSON.parse(body); } catch (e) { throw new Error("HTTP " + answer.status + ": " + body.slice(0, 500)); }
  if (body.status !== "success") throw new Error(body.errorType + ": " + body.error);
  return body;
}

const lists = new Map(); // address of a list of suggestions -> promise of it, asked again after a minute

function list(address, pick) {
  const old = lists.get(address);
  if (old && performance.now() - old.asked < 60000) return old.items;
  const items = fetch("api/v1/" + address).then(a => a.json()).then(b => pick(b.data))
    .catch(() => { lists.delete(address); return []; }); // without suggestions the box is a plain one
  lists.set(address, { items, asked: performance.now() });
  return items;
}

// -- text of series and values

function seriesName(metric) {
  const name = metric.__name__ || "", plain = PLAIN_NAME.test(name);
  const labels = Object.entries(metric).filter(([k]) => k !== "__name__")
    .map(([k, v]) => (PLAIN_NAME.test(k) ? k : JSON.stringify(k)) + "=" + JSON.stringify(v));
  if (name && !plain) labels.unshift(JSON.stringify(name));
  return (plain ? name : "") + (labels.length || !plain ? "{" + labels.join(", ") + "}" : "");
}

function histogramText(h) {
  const edges = ["(]", "[)", "()", "[]"];
  return "count " + h.count + ", sum " + h.sum + (h.buckets || [])
    .map(([rule, low, high, n]) => "\n" + edges[rule][0] + low + ", " + high + edges[rule][1] + " " + n).join("");
}

const timeText = t => new Date(t * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });

function valueText(s) {
  if (s.value) return s.value[1];
  if (s.histogram) return histogramText(s.histogram[1]);
  return (s.values || []).map(([t, v]) => v + " @" + t)
    .concat((s.histograms || []).map(([t, h]) => histogramText(h) + " @" + t)).join("\n");
}

// -- table: rows are made as they are wanted, so that thousands of series do not stop the tab

let rowsLeft = []; // series of the result, or one {single: type, value}

function addRows() {
  $("table").tBodies[0].append(...rowsLeft.splice(0, ROWS_STEP).map(s => element("tr", {},
    element("td", { textContent: s.single || seriesName(s.metric) }), element("td", { textContent: valueText(s) }))));
  $("more").hidden = rowsLeft.length === 0;
  $("more").textContent = "Show more rows (" + rowsLeft.length + " left)";
}

function drawTable(data) {
  const single = data.resultType === "scalar" || data.resultType === "string";
  rowsLeft = single ? [{ single: data.resultType, value: data.result }] : data.result;
  const count = rowsLeft.length;
  $("table").tBodies[0].replaceChildren();
  addRows();
  $("tablebox").hidden = count === 0;
  return single ? "1 value" : count === 0 ? "Empty result: no series matches" : plural(count);
}

// -- graph

let graph = null; // what is drawn: {lines: [{name, points: [[t, v]], path...}], start, end, step}

function svgNode(tag, attributes, text) {
  const n = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) n.setAttribute(k, v);
  if (text !== undefined) n.textContent = text;
  return n;
}

const color = i => "hsl(" + Math.round(210 + i * 137.5) % 360 + " 65% var(--lightness))";

function numberText(v) {
  const a = Math.abs(v);
  return a !== 0 && (a < 1e-3 || a >= 1e6) ? String(Number(v.toPrecision(6))).replace(/^(-?\d+)$/, m =>
    Number(m).toExponential().replace("e+", "e")) : String(Number(v.toPrecision(6)));
}

function niceTicks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(n => n * power >= raw * 0.999), ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high && ticks.length < 50; i++) ticks.push(i * step);
  return ticks;
}

function timeTicks(start, end, count) {
  const steps = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = steps.find(s => (end - start) / s <= count) || 31536000 * Math.ceil((end - start) / count / 31536000);
  const zone = new Date(start * 1000).getTimezoneOffset() * 60, ticks = [];
  const form = step >= 86400 ? { month: "short", day: "numeric" }
    : { hour: "2-digit", minute: "2-digit", ...(step < 60 && { second: "2-digit" }),
      ...(end - start > 86400 && { month: "short", day: "numeric" }) };
  for (let t = Math.ceil((start - zone) / step) * step + zone; t <= end; t += step)
    ticks.push([t, new Date(t * 1000).toLocaleString([], { ...form, hour12: false })]);
  return ticks;
}

function linePaths(points, X, Y, step) { // a gap or a value that is no finite number ends a line; a lone point is a dot
  let line = "", dots = "", run = [];
  const flush = () => {
    if (run.length === 1) dots += "M" + run[0] + "h.01";
    else if (run.length) line += "M" + run.join("L");
    run = [];
  };
  let last = -Infinity;
  for (const [t, v] of points) {
    if (!Number.isFinite(v) || t - last > step * 1.5) flush();
    if (Number.isFinite(v)) { run.push(X(t).toFixed(1) + " " + Y(v).toFixed(1)); last = t; }
  }
  flush();
  return [line, dots];
}

function bounds(lines) {
  let low = Infinity, high = -Infinity;
  for (const l of lines) for (const [, v] of l.points) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return [0, 1];
  const pad = (high - low) / 20 || Math.abs(low) / 2 || 1;
  return [low >= 0 && low < pad ? 0 : low - pad, high + pad];
}

function paintGraph() {
  if (!graph || $("graph").hidden) return;
  const svg = $("svg"), width = svg.clientWidth || 800, height = svg.clientHeight || 380;
  const alone = graph.lines.filter(l => l.alone), lines = alone.length ? alone : graph.lines;
  const [low, high] = bounds(lines), ticks = niceTicks(low, high, height / 50);
  const L = 14 + 7 * Math.max(1, ...ticks.map(v => numberText(v).length)), R = width - 12, T = 8, B = height - 24;
  const span = graph.end - graph.start;
  graph.X = t => span > 0 ? L + (R - L) * (t - graph.start) / span : (L + R) / 2;
  graph.Y = v => B - (B - T) * ((v - low) / (high - low));
  graph.timeAt = x => span > 0 ? graph.start + (x - L) / (R - L) * span : graph.start;
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  const parts = [];
  for (const v of ticks) parts.push(svgNode("line", { class: "grid", x1: L, x2: R, y1: graph.Y(v), y2: graph.Y(v) }),
    svgNode("text", { x: L - 6, y: graph.Y(v) + 4, "text-anchor": "end" }, numberText(v)));
  for (const [t, text] of timeTicks(graph.start, graph.end, span > 86400 ? (R - L) / 110 : (R - L) / 70)) {
    const anchor = graph.X(t) > R - 30 ? "end" : graph.X(t) < L + 20 ? "start" : "middle";
    parts.push(svgNode("line", { class: "grid", x1: graph.X(t), x2: graph.X(t), y1: T, y2: B }),
      svgNode("text", { x: graph.X(t), y: B + 17, "text-anchor": anchor }, text));
  }
  for (const l of lines) {
    const [line, dots] = linePaths(l.points, graph.X, graph.Y, graph.step);
    l.drawn = [["line", line], ["dots", dots]].filter(p => p[1]).map(p => svgNode("path", { class: p[0], d: p[1] }));
    for (const p of l.drawn) p.style.stroke = l.color;
    parts.push(...l.drawn);
  }
  graph.cursor = svgNode("path", { class: "cursor", d: "" });
  graph.mark = svgNode("path", { class: "dots", d: "" });
  svg.replaceChildren(...parts, graph.cursor, graph.mark);
  graph.shown = lines;
}

function pointNear(line, t) { // the point whose time is next to t, if it is within a step
  let low = 0, high = line.points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line.points[middle][0] < t - graph.step / 2) low = middle + 1; else high = middle;
  }
  const p = line.points[low];
  return p && Math.abs(p[0] - t) <= graph.step * 0.51 ? p : null;
}

function pointAt(line, point) {
  graph.at = { line, t: point[0] };
  const x = graph.X(point[0]), finite = Number.isFinite(point[1]);
  graph.cursor.setAttribute("d", "M" + x + " 8V" + ($("svg").clientHeight - 24));
  graph.mark.setAttribute("d", finite ? "M" + x + " " + graph.Y(point[1]) + "h.01" : "");
  graph.mark.style.stroke = line.color;
  graph.mark.style.strokeWidth = 9;
  $("readout").textContent = timeText(point[0]) + "   " + point[2] + "   " + line.name;
}

function pointAtPixel(x, y) {
  const t = graph.timeAt(x);
  let best = null, distance = Infinity;
  for (const line of graph.shown) {
    const p = pointNear(line, t), d = p ? (Number.isFinite(p[1]) ? Math.abs(graph.Y(p[1]) - y) : 1e6) : Infinity;
    if (d < distance) { distance = d; best = [line, p]; }
  }
  if (best) pointAt(...best);
}

function pointByKey(key) {
  const lines = graph.shown.filter(l => l.points.length);
  if (!lines.length) return;
  let { line, t } = graph.at || {}, at = lines.indexOf(line);
  if (at < 0) { pointAt(lines[0], lines[0].points[lines[0].points.length - 1]); return; }
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const i = line.points.findIndex(p => p[0] === t) + (key === "ArrowLeft" ? -1 : 1);
    if (line.points[i]) pointAt(line, line.points[i]);
    return;
  }
  for (let n = 1; n < lines.length; n++) {
    const other = lines[(at + (key === "ArrowUp" ? lines.length - n : n)) % lines.length], p = pointNear(other, t);
    if (p) { pointAt(other, p); return; }
  }
}

function drawLegend() {
  $("legend").replaceChildren(...graph.lines.map(l => {
    const mark = element("i", {}), button = element("button", { type: "button" }, mark, l.name);
    mark.style.background = l.color;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      l.alone = !l.alone;
      button.setAttribute("aria-pressed", String(l.alone));
      graph.at = null;
      paintGraph();
    });
    const fade = on => { for (const o of graph.shown) for (const p of o.drawn) p.classList.toggle("faint", on && o !== l); };
    button.addEventListener("pointerenter", () => fade(graph.shown.includes(l)));
    button.addEventListener("pointerleave", () => fade(false));
    return element("li", {}, button);
  }));
}

function drawGraph(result, start, end, step) {
  const lines = result.slice(0, LINES_MAX).map((s, i) => ({ name: seriesName(s.metric), color: color(i), drawn: [], alone: false,
    points: (s.values || []).map(([t, v]) => [t, Number(v.replace("Inf", "Infinity")), v]) }));
  graph = { lines, start, end, step, at: null, shown: [] };
  $("graph").hidden = lines.length === 0;
  $("readout").textContent = "Point at the graph, or focus it and press an arrow key, to read values.";
  drawLegend();
  paintGraph();
  const histograms = result.filter(s => s.histograms).length;
  return (lines.length === 0 ? "Empty result: no series matches" : plural(result.length)) +
    (histograms ? ", " + histograms + " of them native histograms (draw histogram_quantile or histogram_avg of them)" : "") +
    (lines.length && !lines.some(l => l.points.some(p => Number.isFinite(p[1]))) && !histograms ? ", no finite value" : "");
}

// -- running a query

let running = null;

function localInput(t) { // unix seconds -> what an input of type datetime-local takes, in this browser's zone
  const d = new Date(t * 1000);
  return new Date(d.getTime() - d.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function clearResult() {
  $("graph").hidden = $("tablebox").hidden = true;
  $("summary").textContent = "";
}

function fail(query, message) {
  const place = /(?:^|\s)(\d+):(\d+): parse error/.exec(message), lines = query.split("\n");
  if (place && lines[place[1] - 1] !== undefined) // a mark below the place; the column counts from 1
    message += "\n\n" + lines[place[1] - 1] + "\n" + " ".repeat(Math.max(0, place[2] - 1)) + "^";
  clearResult();
  $("query").setAttribute("aria-invalid", "true");
  show("error", message);
}

async function run(remember) {
  if (running) running.abort();
  const mine = running = new AbortController();
  closeChoices();
  show("error", "");
  show("notes", "");
  $("query").removeAttribute("aria-invalid");
  const query = $("query").value.trim(), kind = kindNow();
  const atEnd = $("end").value ? new Date($("end").value).getTime() / 1000 : null, end = atEnd ?? Date.now() / 1000;
  const range = seconds($("range").value), step = $("step").value ? seconds($("step").value)
    : range > POINTS_WANTED ? Math.floor(range / POINTS_WANTED) : range / POINTS_WANTED;
  const address = query === "" ? location.pathname : "?" + new URLSearchParams({ q: query, kind,
    ...(kind === "range" && { range: $("range").value }), ...(atEnd !== null && { end: atEnd }),
    ...(kind === "range" && $("step").value && { step: $("step").value }) });
  if (remember && address !== (location.search || location.pathname)) history.pushState(null, "", address);
  document.title = query ? query.replace(/\s+/g, " ").slice(0, 80) + " - Cairn" : "Cairn";
  if (!query) { clearResult(); return; }
  const began = performance.now(); // the last result stays until the next is there, dimmed when that takes long
  const late = setTimeout(() => { $("summary").textContent = "Running …"; $("result").ariaBusy = "true"; }, 150);
  try {
    if (kind === "range" && !(range > 0 && step > 0)) throw new Error("Range and step are durations such as 30s, 15m, 1h30m.");
    const body = kind === "instant" ? await api("query", { query, time: end.toFixed(3), limit: SERIES_MAX }, mine.signal)
      : await api("query_range", { query, start: (end - range).toFixed(3), end: end.toFixed(3), step, limit: LINES_MAX }, mine.signal);
    clearTimeout(late);
    clearResult();
    const took = Math.round(performance.now() - began);
    const said = kind === "instant" ? drawTable(body.data) : drawGraph(body.data.result, end - range, end, step);
    const cut = (body.warnings || []).some(w => w.includes("truncated due to limit"));
    $("summary").textContent = (cut ? "Only the first " : "") + said + ", " + took + " ms";
    show("notes", [...(body.warnings || []), ...(body.infos || [])].join("\n"));
  } catch (e) {
    if (e.name !== "AbortError") fail(query, e.message);
  } finally {
    clearTimeout(late);
    if (mine === running) $("result").ariaBusy = "false";
  }
}

// Addresses of Prometheus' own page (g0.expr=...) work too: alerts and dashboards link to it.
function restore() {
  const saved = new URLSearchParams(location.search), either = (own, theirs) => saved.get(own) || saved.get("g0." + theirs) || "";
  const end = either("end", "end_input"), tab = saved.get("g0.tab");
  const endSeconds = /^-?[0-9.]+$/.test(end) ? Number(end) : Date.parse(end.replace(" ", "T") + "Z") / 1000;
  $("query").value = either("q", "expr");
  $("range").value = either("range", "range_input") || "1h";
  $("step").value = either("step", "step_input");
  $("end").value = Math.abs(endSeconds) < 1e11 ? localInput(endSeconds) : "";
  const kind = saved.get("kind") === "range" || tab === "0" || tab === "graph" ? "range" : "instant";
  document.querySelector("input[value=" + kind + "]").checked = true;
  $("form").className = kind;
  run(false);
}

// -- suggestions: metrics and functions, in braces and groupings labels, in quotes their values

let choices = [], chosen = -1, asked = 0;

function context(text) { // what the cursor at the end of text stands in
  let quote = "", quoteAt = 0, brace = -1;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) { if (c === "\\" && quote !== "`") i++; else if (c === quote) quote = ""; continue; }
    if (c === "#") { const next = text.indexOf("\n", i); if (next < 0) return null; i = next; }
    else if (c === '"' || c === "'" || c === "`") { quote = c; quoteAt = i; }
    else if (c === "{") brace = i;
    else if (c === "}") brace = -1;
  }
  const metric = brace >= 0 && (/([a-zA-Z_:][\w:]*)\s*$/.exec(text.slice(0, brace)) || [])[1];
  const matching = metric ? "&match[]=" + encodeURIComponent(metric) : "";
  if (quote) {
    const label = brace >= 0 && /([a-zA-Z_]\w*)\s*(?:!=|=~|!~|=)\s*$/.exec(text.slice(0, quoteAt));
    return label && { kind: "value", start: quoteAt + 1, word: text.slice(quoteAt + 1), quote,
      address: "label/" + label[1] + "/values?limit=1000" + matching };
  }
  const word = (/[a-zA-Z_:][\w:.]*$/.exec(text) || [""])[0], start = text.length - word.length, before = text.slice(0, start);
  const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*$/.test(before);
  if (brace >= 0 && !/[{,]\s*$/.test(before)) return null;
  if (brace >= 0 || grouping) return { kind: "label", start, word, address: "labels?limit=1000" + matching };
  return /[\w\]]$/.test(before) ? null : { kind: "name", start, word };
}

async function candidates(at) {
  if (at.kind !== "name") return (await list(at.address, data => data)).filter(s => s !== "__name__").map(s => [s, at.kind]);
  const [names, functions] = await Promise.all([list("label/__name__/values?limit=50000", data => data),
    list("features", data => Object.keys(data.promql_functions))]);
  return names.map(s => [s, "metric"]).concat(functions.map(s => [s, "function"]));
}

function closeChoices() {
  asked++;
  choices = [];
  chosen = -1;
  $("choices").hidden = true;
  $("query").removeAttribute("aria-activedescendant");
}

async function suggest(forced) {
  const box = $("query"), at = box.selectionStart === box.selectionEnd && context(box.value.slice(0, box.selectionStart));
  if (!at || (!forced && at.kind === "name" && at.word.length < 2)) { closeChoices(); return; }
  const mine = ++asked, all = await candidates(at), word = at.word.toLowerCase();
  if (mine !== asked) return;
  const found = all.map(([s, kind]) => [s.toLowerCase().indexOf(word), s, kind]).filter(c => c[0] >= 0)
    .sort((a, b) => (a[0] > 0) - (b[0] > 0) || (a[1] < b[1] ? -1 : a[1] > b[1])).slice(0, CHOICES_MAX);
  if (found.length === 0 || (found.length === 1 && found[0][1] === at.word)) { closeChoices(); return; }
  choices = found.map(([, text, kind]) => ({ text, kind, at }));
  $("choices").replaceChildren(...choices.map((c, i) => {
    const li = element("li", { id: "choice" + i }, c.text, element("small", { textContent: c.kind }));
    li.setAttribute("role", "option");
    li.addEventListener("pointerdown", e => { e.preventDefault(); take(c); });
    return li;
  }));
  $("choices").hidden = false;
  choose(-1);
}

function choose(i) {
  chosen = i;
  [...$("choices").children].forEach((li, n) => li.setAttribute("aria-selected", String(n === i)));
  if (i < 0) { $("query").removeAttribute("aria-activedescendant"); return; }
  $("query").setAttribute("aria-activedescendant", "choice" + i);
  $("choices").children[i].scrollIntoView({ block: "nearest" });
}

function take({ text, kind, at }) {
  const box = $("query"), end = box.selectionEnd, next = box.value[end];
  if (kind === "function" && next !== "(") text += "(";
  if (kind === "value") text = (at.quote === "`" ? text : JSON.stringify(text).slice(1, -1).replaceAll("'", "\\'")
    .replaceAll(at.quote === "'" ? '\\"' : "\\'", at.quote === "'" ? '"' : "'")) + (next === at.quote ? "" : at.quote);
  else if (kind !== "function" && !PLAIN_NAME.test(text)) text = kind === "label" ? JSON.stringify(text) : "{" + JSON.stringify(text) + "}";
  box.setRangeText(text, at.start, end, "end");
  closeChoices();
  box.focus();
}

function onQueryKey(e) {
  const open = choices.length > 0;
  if (e.isComposing) return;
  if (e.key === "Enter" && !e.shiftKey) {
    e.preventDefault();
    if (open && chosen >= 0 && !e.ctrlKey && !e.metaKey) take(choices[chosen]); else run(true);
  } else if (e.key === " " && e.ctrlKey) { e.preventDefault(); suggest(true); }
  else if (!open) return;
  else if (e.key === "Tab" && !e.shiftKey) { e.preventDefault(); take(choices[Math.max(0, chosen)]); }
  else if (e.key === "Escape") { e.preventDefault(); closeChoices(); }
  else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
    e.preventDefault();
    choose(e.key === "ArrowDown" ? (chosen + 1) % choices.length : (chosen < 1 ? choices.length : chosen) - 1);
  } else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(e.key)) closeChoices();
}

$("form").addEventListener("submit", e => { e.preventDefault(); run(true); });
$("query").addEventListener("keydown", onQueryKey);
$("query").addEventListener("input", () => suggest(false));
$("query").addEventListener("blur", closeChoices);
$("more").addEventListener("click", addRows);
for (const radio of document.querySelectorAll("input[name=kind]"))
  radio.addEventListener("change", () => { $("form").className = kindNow(); if ($("query").value.trim()) run(true); });
$("svg").addEventListener("pointermove", e => {
  const box = $("svg").getBoundingClientRect();
  $("readout").setAttribute("aria-live", "off");
  pointAtPixel(e.clientX - box.left, e.clientY - box.top);
});
$("svg").addEventListener("keydown", e => {
  if (!e.key.startsWith("Arrow") || e.ctrlKey || e.altKey || e.metaKey) return;
  e.preventDefault();
  $("readout").setAttribute("aria-live", "polite");
  pointByKey(e.key);
});
new ResizeObserver(paintGraph).observe($("svg"));
window.addEventListener("popstate", restore);
restore();
