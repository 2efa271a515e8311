// @ts-check
/** The overview: the share over time, both sides next to each other, errors, processes. */

import { draw } from "./charts.js";
import { byId, empty, h, put, table } from "./dom.js";
import { bytes, clock, count, counted, hour, local, percent, seconds, share } from "./format.js";

export const SIDES = { legacy: "Legacy", candidate: "Candidate" };
const NAMES = /** @type {("legacy" | "candidate")[]} */ (Object.keys(SIDES));

/** @param {any} state */
export function renderOverview(state) {
  renderShares(state);
  if (state.sides) {
    renderSides(state);
    renderErrors(state);
    renderTimelines(state);
  }
  if (state.processes) renderProcesses(state);
}

/** In whole steps, so that a chart is drawn again only when there is something new. @param {any} state */
function axis(state) {
  const end = stepEnd(state);
  return { type: "date", range: [local(end - state.window), local(end)] };
}

/** @param {any} state */
function stepEnd(state) {
  return Math.ceil(state.at / state.step) * state.step;
}

/** @param {any} state */
function renderShares(state) {
  const start = stepEnd(state) - state.window;
  const rows = [...(state.shares ?? [])];
  /** @type {Record<string, any[]>} */
  const byInstance = {};
  for (const row of rows) (byInstance[row.instance] ??= []).push({ ...row, at: Math.max(row.at, start) });
  const traces = Object.entries(byInstance).flatMap(([instance, own], index) => {
    const last = own[own.length - 1];
    const points = [...own, { ...last, at: stepEnd(state) }];
    const several = Object.keys(byInstance).length > 1 ? ` (${instance})` : "";
    const line = (/** @type {string} */ field, /** @type {string} */ name, /** @type {object} */ style) => ({
      type: "scatter", mode: "lines", name: name + several, legendgroup: instance,
      x: points.map((point) => local(point.at)), y: points.map((point) => point[field]),
      text: points.map((point) => `stage ${point.stage}, decided by ${point.source}`),
      hovertemplate: "%{y} % (%{text})", line: { shape: "hv", ...style },
    });
    return [
      line("percent", "served by the candidate", { color: "candidate", width: 3, dash: index ? "dot" : "solid" }),
      line("shadow_percent", "compared", { color: "quiet", width: 1.5, dash: "dash" }),
    ];
  });
  const latest = rows[rows.length - 1];
  draw(byId("chart-share"), {
    title: "Share of the calls over time",
    unit: "percent of the calls, as it was decided for them; local time",
    summary: latest
      ? `The share that the candidate serves was ${percent(latest.percent)} in stage ${latest.stage} since ${clock(latest.at)}.`
      : "No call was decided in this time, so no share is known.",
    traces,
    layout: {
      xaxis: axis(state), yaxis: { range: [-2, 104], ticksuffix: " %" },
      annotations: traces.length ? [] : nothing("no call was decided in this time"),
    },
    heads: ["since", "stage", "served by the candidate", "compared", "decided by", "instance"],
    rows: () =>
      rows.map((row) => [
        clock(row.at), row.stage, percent(row.percent), percent(row.shadow_percent), row.source, row.instance,
      ]),
  });
}

/** @param {any} state */
function renderSides(state) {
  const { figures } = state.sides;
  const rows = [
    ["Calls", ...NAMES.map((side) => count(figures[side].calls))],
    ["Success", ...NAMES.map((side) => share(figures[side].success))],
    ["Median duration", ...NAMES.map((side) => seconds(figures[side].median))],
    ["99th percentile of durations", ...NAMES.map((side) => seconds(figures[side].p99))],
    ["Bytes of successful calls", ...NAMES.map((side) => bytes(figures[side].bytes))],
    ["Last call at", ...NAMES.map((side) => hour(figures[side].last_at))],
    ["Calls since the ledger began", ...NAMES.map((side) => count(state.totals?.sides[side].calls))],
  ];
  put(byId("sides"), rows, () => [
    h("caption", { class: "hint" }, "Of the time looked back, unless the row says otherwise; all calls, also failed ones"),
    h("thead", {}, h("tr", {}, h("td", {}), ...NAMES.map((side) => h("th", { scope: "col", class: "number" }, SIDES[side])))),
    h(
      "tbody",
      {},
      ...rows.map(([name, ...values]) =>
        h("tr", {}, h("th", { scope: "row" }, name), ...values.map((value) => h("td", { class: "number" }, value))),
      ),
    ),
  ]);
}

/** @param {any} state */
function renderErrors(state) {
  const { figures } = state.sides;
  const rows = NAMES.flatMap((side) =>
    Object.entries(figures[side].errors).map(([type, number]) => [
      type, SIDES[side], count(/** @type {number} */ (number)), share(/** @type {number} */ (number) / figures[side].calls),
    ]),
  );
  put(byId("errors"), rows, () =>
    rows.length
      ? [table("Types of errors", ["type", "side", "calls", "share of that side's calls"], rows, { numbers: [2, 3] })]
      : empty("No call failed in this time, on either side."),
  );
}

/** @param {any} state */
function renderTimelines(state) {
  const { timeline } = state.sides;
  const x = timeline.at.map((/** @type {number} */ at) => local(at));
  const line = (/** @type {"legacy" | "candidate"} */ side, /** @type {string} */ field, /** @type {string} */ name, dash = "solid", factor = 1) => ({
    type: "scatter", mode: "lines+markers", connectgaps: false, name: `${SIDES[side]} ${name}`.trim(), x,
    y: timeline[side][field].map((/** @type {number | null} */ value) => (value === null ? null : value * factor)),
    marker: { size: 4, color: side }, line: { color: side, dash },
  });
  const figures = state.sides.figures;
  const calls = NAMES.reduce((sum, side) => sum + figures[side].calls, 0);
  const spoken = (/** @type {(side: "legacy" | "candidate") => string} */ words) =>
    calls ? NAMES.map((side) => `${SIDES[side]}: ${words(side)}`).join("; ") : "No call ended in this time.";
  const none = calls ? [] : nothing("no call ended in this time");
  const heads = ["from", "legacy calls", "candidate calls", "legacy success", "candidate success", "legacy median", "candidate median", "legacy p99", "candidate p99"];
  const rows = () =>
    timeline.at
      .map((/** @type {number} */ at, /** @type {number} */ index) => [
        clock(at),
        ...NAMES.map((side) => count(timeline[side].calls[index])),
        ...NAMES.map((side) => share(timeline[side].success[index])),
        ...["median", "p99"].flatMap((field) => NAMES.map((side) => seconds(timeline[side][field][index]))),
      ])
      .filter((/** @type {string[]} */ row) => row[1] !== "0" || row[2] !== "0");
  draw(byId("chart-success"), {
    title: "Success",
    unit: `percent of the calls that ended in each ${seconds(timeline.step)}; local time`,
    summary: spoken((side) => share(figures[side].success)),
    traces: NAMES.map((side) => line(side, "success", "", "solid", 100)),
    layout: { xaxis: axis(state), yaxis: { range: [-2, 104], ticksuffix: " %" }, annotations: none },
    heads, rows,
  });
  draw(byId("chart-duration"), {
    title: "Duration",
    unit: `seconds; median and 99th percentile of the calls that ended in each ${seconds(timeline.step)}; local time`,
    summary: spoken((side) => `median ${seconds(figures[side].median)}, 99th percentile ${seconds(figures[side].p99)}`),
    traces: NAMES.flatMap((side) => [line(side, "median", "median"), line(side, "p99", "99th percentile", "dot")]),
    layout: { xaxis: axis(state), yaxis: { ticksuffix: " s" }, annotations: none },
    heads, rows,
  });
}

/** @param {any} state */
function renderProcesses(state) {
  const { lines, left_out: leftOut, lost } = state.processes;
  const names = Object.keys(lines);
  const rows = names.map((name) => {
    const { last } = lines[name];
    return [
      name, hour(last.at), `${bytes(last.memory)} of ${bytes(last.memory_limit)}`,
      last.pool_limit === null ? "no pool yet" : `${counted(last.pool_used, "connection")} of ${count(last.pool_limit)}`,
      last.loop_delay === null ? "not measured" : seconds(last.loop_delay),
    ];
  });
  const notes = [
    ...(leftOut ? [`${counted(leftOut, "process", "processes")} that were heard of earlier are left out.`] : []),
    ...(lost ? [`${counted(lost, "call or span", "calls and spans")} of this time were too many to be written down, and are in no figure of this page but the totals.`] : []),
  ];
  put(byId("processes"), [rows, notes], () => [
    ...(rows.length
      ? [table("Processes", ["process", "as of", "memory", "pool in use", "loop delay, worst of the last second"], rows)]
      : empty("No process has made a call in this time. A process writes its figures down once a second from its first call on.")),
    ...notes.map((note) => h("p", { class: "hint warn" }, note)),
  ]);
  const line = (/** @type {string} */ field, /** @type {number} */ factor) =>
    names.map((name) => ({
      type: "scatter", mode: "lines", name, x: lines[name].at.map(local),
      y: lines[name][field].map((/** @type {number | null} */ value) => (value === null ? null : value * factor)),
    }));
  const none = names.length ? [] : nothing("no process has written anything down in this time");
  const rowsOf = (/** @type {string} */ field, /** @type {(value: any) => string} */ words) => () =>
    names.flatMap((name) => lines[name].at.map((/** @type {number} */ at, /** @type {number} */ index) => [clock(at), name, words(lines[name][field][index])]));
  draw(byId("chart-memory"), {
    title: "Memory",
    unit: "megabytes resident, the most of each stretch; local time",
    summary: names.map((name) => `${name}: ${bytes(lines[name].last.memory)}`).join("; ") || "No process.",
    traces: line("memory", 1e-6),
    layout: { xaxis: axis(state), yaxis: { ticksuffix: " MB" }, annotations: none },
    heads: ["at", "process", "memory"],
    rows: rowsOf("memory", bytes),
  });
  draw(byId("chart-loop"), {
    title: "Delay of the event loop",
    unit: "milliseconds by which it woke late, the worst of each stretch; local time",
    summary: names.map((name) => `${name}: ${seconds(lines[name].last.loop_delay)}`).join("; ") || "No process.",
    traces: line("loop_delay", 1000),
    layout: { xaxis: axis(state), yaxis: { ticksuffix: " ms" }, annotations: none },
    heads: ["at", "process", "loop delay"],
    rows: rowsOf("loop_delay", seconds),
  });
  draw(byId("chart-pool"), {
    title: "Connection pool",
    unit: "connections in use, the most of each stretch; local time",
    summary: names.map((name) => `${name}: ${count(lines[name].last.pool_used)}`).join("; ") || "No process.",
    traces: line("pool_used", 1),
    layout: { xaxis: axis(state), yaxis: { tickformat: ",d", nticks: 4 }, annotations: none },
    heads: ["at", "process", "connections in use"],
    rows: rowsOf("pool_used", count),
  });
}

/** @param {string} text */
export function nothing(text) {
  return [{ text, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }];
}
