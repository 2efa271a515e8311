// @ts-check
/** The evidence of the guard as a curve with its thresholds. */

import { draw } from "./charts.js";
import { byId, put, table } from "./dom.js";
import { clock, counted, local, toOne } from "./format.js";
import { nothing } from "./overview.js";

const SIGNALS = {
  error: "it fails more often than legacy",
  mismatch: "its results differ from those of legacy",
  latency: "it is slower than legacy",
  timeout: "it runs into timeouts more often",
  stranger: "it fails in ways that legacy never does",
};

/** @param {any} state */
export function renderEvidence(state) {
  if (!state.guard) return;
  const { evidence } = state.guard;
  drawEvidence(byId("chart-evidence"), evidence, "Evidence that the candidate is worse, since it was last resumed");
  const rows = Object.entries(evidence.by_signal).map(([signal, value]) => [
    signal, SIGNALS[/** @type {keyof SIGNALS} */ (signal)] ?? "", toOne(/** @type {number} */ (value)),
  ]);
  put(byId("signals"), rows, () => [table("Evidence of each signal alone", ["signal", "what it would mean", "evidence alone"], rows, { numbers: [2] })]);
}

/**
 * @param {HTMLElement} figure
 * @param {{points: [number, number][], freeze_at: number, rollback_at: number}} evidence
 * @param {string} title
 */
export function drawEvidence(figure, evidence, title) {
  const { points } = evidence;
  const last = points[points.length - 1];
  draw(figure, {
    title,
    unit: "to 1, on a logarithmic scale, after each bad call; local time",
    summary: last
      ? `After ${counted(points.length, "point")} the evidence stands at ${toOne(last[1])}; at ${evidence.freeze_at} promotion stops, at ${evidence.rollback_at} legacy serves again.`
      : "No call has gone badly, so there is no evidence.",
    traces: [{
      type: "scatter", mode: "lines+markers", name: "evidence", x: points.map(([at]) => local(at)),
      y: points.map(([, value]) => Math.max(value, 1e-3)), line: { color: "bad", shape: "hv" }, marker: { color: "bad", size: 5 },
    }],
    lines: [
      { y: evidence.freeze_at, label: `promotion stops at ${evidence.freeze_at}`, color: "warn" },
      { y: evidence.rollback_at, label: `rolled back at ${evidence.rollback_at}`, color: "bad" },
    ],
    layout: {
      yaxis: { type: "log", dtick: 1, range: range(points), rangemode: "normal" }, showlegend: false,
      xaxis: points.length ? { type: "date" } : { visible: false },
      ...(points.length ? {} : { annotations: nothing("no call has gone badly: there is no evidence") }),
    },
    tall: true,
    heads: ["after the bad call at", "evidence"],
    rows: () => points.map(([at, value]) => [clock(at), toOne(value)]),
  });
}

/** Exponents of ten that hold the curve and both thresholds. @param {[number, number][]} points */
function range(points) {
  const logs = points.map(([, value]) => Math.log10(Math.max(value, 1e-3)));
  return [Math.min(-0.3, ...logs) - 0.1, Math.max(2.3, ...logs) + 0.2];
}
