// @ts-check
/** Verdicts, comparisons, and one of them field by field. */

import { get } from "./api.js";
import { draw } from "./charts.js";
import { byId, empty, h, prose, put, table, time } from "./dom.js";
import { clock, count, seconds } from "./format.js";
import { nothing, SIDES } from "./overview.js";

const BAD = ["different", "candidate_error", "legacy_error"];
const NOT_COMPARED = ["dropped", "stale_input"];
const FIELDS = 3;

/** @param {any} state */
export function renderComparisons(state) {
  if (!state.comparisons) return;
  const { verdicts, rows } = state.comparisons;
  const names = Object.keys(verdicts);
  const color = (/** @type {string} */ name) => (BAD.includes(name) ? "bad" : NOT_COMPARED.includes(name) ? "quiet" : "good");
  draw(byId("chart-verdicts"), {
    title: "Verdicts",
    unit: "comparisons that the ledger holds",
    summary: names.map((name) => `${name}: ${count(verdicts[name])}`).join("; ") || "No comparison is recorded.",
    traces: names.map((name) => ({
      type: "bar", orientation: "h", name, x: [verdicts[name]], y: ["verdicts"], marker: { color: color(name), line: { width: 1, color: "ground" } },
      text: [`${name} ${count(verdicts[name])}`], textposition: "inside", insidetextanchor: "middle", hoverinfo: "name+x",
      textfont: { color: "ground" },
    })),
    layout: {
      barmode: "stack", showlegend: false, hovermode: "closest", yaxis: { visible: false }, xaxis: { tickformat: "d", rangemode: "tozero", visible: names.length > 0 },
      annotations: names.length ? [] : nothing("no comparison is recorded"),
    },
    heads: ["verdict", "comparisons"],
    rows: () => names.map((name) => [name, count(verdicts[name])]),
  });
  put(byId("comparisons"), [state.migration, rows], () => (rows.length ? [list(rows)] : [h("p", { class: "empty" }, ...prose(
    `No comparison is recorded; \`shim flags set ${state.migration}.shadow 20\` compares a fifth of the calls.`,
  ))]));
}

/** @param {any[]} rows */
function list(rows) {
  return table("Comparisons, newest first", ["open", "when", "verdict", "function", "what differs"], rows.map((row) => [
    h("button", { class: "row", type: "button", "data-key": `comparison-${row.id}`, onclick: () => show(row.id) }, `Show ${row.id}`),
    time(clock(row.at), row.at),
    h("span", { class: mood(row.verdict) }, row.verdict),
    row.function,
    row.fields.length ? `${row.fields.slice(0, FIELDS).join(", ")}${row.fields.length > FIELDS ? ` and ${row.fields.length - FIELDS} more` : ""}` : row.detail,
  ]));
}

/** @param {string} verdict */
function mood(verdict) {
  return BAD.includes(verdict) ? "bad" : NOT_COMPARED.includes(verdict) ? "warn" : "good";
}

/** @param {number} id */
async function show(id) {
  const place = byId("comparison");
  try {
    const found = await get(`/api/comparisons/${id}`);
    put(place, found, () => inFull(found));
  } catch (error) {
    put(place, String(error), (text) => empty(text));
  }
  place.focus();
  place.scrollIntoView({ block: "nearest" });
}

/** @param {any} found @returns {HTMLElement[]} */
function inFull(found) {
  const other = found.primary_side === "legacy" ? "candidate" : "legacy";
  const facts = [
    ["when", clock(found.at)],
    ["function", found.function],
    ["call", Object.entries(found.attributes).map(([name, value]) => `${name} = ${value}`).join(", ")],
    ["answered by", `${SIDES[/** @type {"legacy"} */ (found.primary_side)]} in ${seconds(found.primary_seconds)}`],
    [`then by ${found.mode}`, `${SIDES[/** @type {"legacy"} */ (other)]} in ${seconds(found.shadow_seconds)}`],
    ["not compared", found.masked.join(", ") || "nothing"],
    ["flag version", found.flag_version ?? "unknown"],
    ["traces", [found.primary_trace, found.shadow_trace].filter(Boolean).map((trace) => trace.split("-")[1]).join(" and ") || "none"],
    ["detail", found.detail],
  ].filter(([, value]) => value);
  return [
    h("h3", {}, `Comparison ${found.id}: `, h("span", { class: mood(found.verdict) }, found.verdict)),
    table("Facts of the comparison", ["fact", "value"], facts),
    found.differences.length
      ? table("Fields that differ", ["field", "legacy", "candidate", "known as noise"], found.differences.map((/** @type {any} */ each) => [
        h("code", {}, each.field), h("code", {}, each.legacy), h("code", {}, each.candidate), found.noisy.includes(each.field) ? "noise" : "",
      ]))
      : h("p", { class: "empty" }, "No field differs."),
  ];
}
