// @ts-check
/** Charts by plotly.js, each with a caption that names the unit, a text for screen readers, and its table. */

import { h, put, say, table } from "./dom.js";

/** @type {any} */
const Plotly = /** @type {any} */ (globalThis).Plotly;

/**
 * @typedef {object} Chart
 * @property {string} title
 * @property {string} unit what is shown, in which unit
 * @property {string} summary what it says at this moment, for those who do not see it
 * @property {any[]} traces as plotly.js takes them; `color` in a line or marker names a colour of the style sheet
 * @property {any} [layout] what differs from the usual
 * @property {any[]} [lines] thresholds: `{y, label, color}`
 * @property {string[]} heads of the table
 * @property {() => string[][]} rows of the table
 * @property {boolean} [tall]
 */

/** @type {WeakMap<Element, {key: string, chart: Chart}>} */
const drawn = new WeakMap();
/** @type {Set<Element>} */
const figures = new Set();

const THEME = ["--text", "--quiet", "--line", "--ground", "--legacy", "--candidate", "--good", "--warn", "--bad"];
const CONFIG = { displayModeBar: false, responsive: true };

/** Draws a chart, if it is seen and has changed. @param {HTMLElement} figure @param {Chart} chart */
export function draw(figure, chart) {
  if (figure.closest("[hidden]")) return;
  const colors = theme();
  const key = JSON.stringify([chart.traces, chart.layout, chart.lines, colors]);
  const parts = partsOf(figure, chart);
  say(parts.title, chart.title);
  say(parts.unit, chart.unit);
  if (parts.plot.getAttribute("aria-label") !== chart.summary) parts.plot.setAttribute("aria-label", chart.summary);
  const known = drawn.get(figure);
  drawn.set(figure, { key, chart });
  if (known?.key === key) return;
  const traces = JSON.parse(JSON.stringify(chart.traces), (name, value) => (name === "color" ? (colors[value] ?? value) : value));
  Plotly.react(parts.plot, traces, layoutOf(chart, colors), CONFIG);
  if (parts.details.open) fill(figure);
}

/** Draws all charts again, in other colours. */
export function recolor() {
  for (const figure of figures) {
    const known = drawn.get(figure);
    if (known) draw(/** @type {HTMLElement} */ (figure), known.chart);
  }
}

/** @param {HTMLElement} figure @param {Chart} chart */
function partsOf(figure, chart) {
  if (!figures.has(figure)) {
    figures.add(figure);
    const details = h("details", {}, h("summary", {}, "As a table"), h("div", { class: "values" }));
    details.addEventListener("toggle", () => fill(figure));
    figure.replaceChildren(
      h("figcaption", {}, h("span", {}), h("small", {})),
      h("div", { class: chart.tall ? "chart tall" : "chart", role: "img" }),
      details,
    );
  }
  const [caption, plot, details] = figure.children;
  return {
    title: caption.children[0],
    unit: caption.children[1],
    plot,
    details: /** @type {HTMLDetailsElement} */ (details),
  };
}

/** @param {HTMLElement} figure */
function fill(figure) {
  const known = drawn.get(figure);
  const details = /** @type {HTMLDetailsElement} */ (figure.lastElementChild);
  const place = /** @type {Element} */ (details.lastElementChild);
  if (!known || !details.open) {
    put(place, null, () => []);
    return;
  }
  put(place, known.chart.rows(), (rows) => [table(known.chart.title, known.chart.heads, rows)]);
}

/** @returns {Record<string, string>} */
function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(THEME.map((name) => [name.slice(2), style.getPropertyValue(name).trim()]));
}

/** @param {Chart} chart @param {Record<string, string>} colors */
function layoutOf(chart, colors) {
  const axis = { gridcolor: colors.line, linecolor: colors.line, zerolinecolor: colors.line, automargin: true };
  const lines = chart.lines ?? [];
  const { xaxis = {}, yaxis = {}, ...others } = chart.layout ?? {};
  const height = (/** @type {any} */ line) => (yaxis.type === "log" ? Math.log10(line.y) : line.y);
  return {
    paper_bgcolor: colors.ground,
    plot_bgcolor: colors.ground,
    font: { color: colors.text, family: "system-ui, sans-serif", size: 13 },
    margin: { l: 60, r: 20, t: 10, b: 40 },
    showlegend: true,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colors.ground, font: { color: colors.text } },
    uirevision: chart.title,
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...yaxis },
    shapes: lines.map((line) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, y0: line.y, y1: line.y,
      line: { color: colors[line.color], width: 2, dash: "dash" },
    })),
    annotations: lines.map((line) => ({
      xref: "paper", x: 0, xanchor: "left", yanchor: "bottom", y: height(line), text: line.label, showarrow: false,
      font: { color: colors[line.color] },
    })),
    ...others,
  };
}
