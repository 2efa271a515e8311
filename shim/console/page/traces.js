// @ts-check
/** Recent traces, and one of them as a waterfall with the shadow that is linked to it. */

import { get } from "./api.js";
import { draw } from "./charts.js";
import { byId, empty, h, put, table, time } from "./dom.js";
import { clock, counted, seconds } from "./format.js";

/** @param {any} state */
export function renderTraces(state) {
  if (!state.traces) return;
  put(byId("traces"), state.traces, (rows) => (rows.length ? [list(rows)] : empty(
    "No trace is known. A process records a few of its calls a second, from its first call on.",
  )));
}

/** @param {any[]} rows */
function list(rows) {
  return table("Traces, newest first", ["open", "began", "took", "answered by", "outcome", "shadow"], rows.map((row) => [
    h("button", { class: "row", type: "button", "data-key": `trace-${row.trace}`, onclick: () => show(row.trace) }, `Show ${row.trace.slice(0, 8)}`),
    time(clock(row.at), row.at),
    seconds(row.seconds),
    row.side ?? "",
    h("span", { class: row.failed ? "bad" : "good" }, row.failed ? "failed" : "ok"),
    row.shadow ? "compared" : "",
  ]));
}

/** @param {string} trace */
async function show(trace) {
  const figure = byId("chart-trace");
  const place = byId("trace");
  try {
    const found = await get(`/api/traces/${trace}`);
    figure.hidden = found.spans.length === 0;
    if (!figure.hidden) waterfall(figure, found);
    put(place, found, () => inFull(found));
  } catch (error) {
    figure.hidden = true;
    put(place, String(error), (text) => empty(text));
  }
  place.focus();
  figure.scrollIntoView({ block: "nearest" });
}

/** @param {any[]} spans @returns {{span: any, depth: number}[]} parents before their children */
function nested(spans) {
  const known = new Set(spans.map((span) => span.span));
  const below = (/** @type {string | null} */ parent, /** @type {number} */ depth) =>
    spans
      .filter((span) => (parent === null ? span.parent === null || !known.has(span.parent) : span.parent === parent))
      .flatMap((/** @type {any} */ span) => [{ span, depth }, ...below(span.span, depth + 1)]);
  return /** @type {any} */ (below(null, 0));
}

/** @param {HTMLElement} figure @param {any} found */
function waterfall(figure, found) {
  const first = (/** @type {any[]} */ spans) => Math.min(...spans.map((span) => span.began));
  const begins = { primary: first(found.spans), shadow: found.shadows.length ? first(found.shadows) : 0 };
  const sinceStart = (/** @type {any} */ row) => row.span.began - begins[/** @type {"primary"} */ (row.kind)];
  const rows = [
    ...nested(found.spans).map((row) => ({ ...row, kind: "primary" })),
    ...nested(found.shadows).map((row) => ({ ...row, kind: "shadow" })),
  ];
  const label = (/** @type {any} */ row) => `${"\u2003".repeat(row.depth)}${row.span.name}`;
  const bars = (/** @type {string} */ kind, /** @type {string} */ name, /** @type {any} */ marker) => {
    const own = rows.flatMap((row, index) => (row.kind === kind ? [{ ...row, index }] : []));
    return {
      type: "bar", orientation: "h", name, marker,
      y: own.map((row) => row.index), base: own.map((row) => sinceStart(row) * 1000), x: own.map((row) => row.span.seconds * 1000),
      text: own.map((row) => `${seconds(row.span.seconds)}${row.span.failed ? ", failed" : ""}`), textposition: "outside", cliponaxis: false,
      hovertext: own.map((row) => row.span.name), hoverinfo: "text",
    };
  };
  const shadows = found.shadows.length;
  draw(figure, {
    title: `Trace ${found.trace}`,
    unit: `milliseconds since it began at ${clock(begins.primary)}${shadows ? `; the shadow, a trace of its own that is linked to this one, began ${seconds(begins.shadow - begins.primary)} later and is drawn from its own beginning` : ""}`,
    summary: `${counted(found.spans.length, "span")}${shadows ? ` and ${shadows} of the shadow that is linked to it` : ", and no shadow"}.`,
    traces: [
      bars("primary", "the caller's run", { color: "candidate" }),
      ...(shadows ? [bars("shadow", "the shadow, linked to it", { color: "legacy", pattern: { shape: "/" } })] : []),
    ],
    layout: {
      barmode: "overlay", hovermode: "closest", xaxis: { ticksuffix: " ms", rangemode: "tozero" },
      yaxis: { autorange: "reversed", tickmode: "array", tickvals: rows.map((_, index) => index), ticktext: rows.map(label), rangemode: "normal" },
    },
    tall: true,
    heads: ["span", "of", "began, since that began, after", "took"],
    rows: () => rows.map((row) => [row.span.name, row.kind === "shadow" ? "the shadow" : "the caller's run", seconds(sinceStart(row)), seconds(row.span.seconds)]),
  });
}

/** @param {any} found @returns {HTMLElement[]} */
function inFull(found) {
  const spans = [...nested(found.spans), ...nested(found.shadows)];
  const shadow = found.shadows[0];
  return [
    h("h3", {}, "Its spans"),
    h("p", { class: "hint" }, shadow
      ? `The shadow ${shadow.trace} is linked to the caller's trace ${found.trace}.`
      : "No shadow is linked to it: the call was not compared, or its shadow has not run yet."),
    table("Spans", ["span", "trace", "attributes"], spans.map(({ span }) => [
      span.name, h("code", {}, span.trace.slice(0, 8)),
      h("code", {}, Object.entries(span.attributes).map(([name, value]) => `${name}=${value}`).join(" ")),
    ])),
  ];
}
