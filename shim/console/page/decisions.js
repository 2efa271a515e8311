// @ts-check
/** The decision log in sentences, and one decision with its evidence. */

import { get } from "./api.js";
import { byId, empty, h, put, table, time } from "./dom.js";
import { drawEvidence } from "./evidence.js";
import { clock, count, seconds } from "./format.js";
import { SIDES } from "./overview.js";

/** Seconds within which a flag that was changed was so by the decision itself. */
const AT_ONCE = 0.05;

/** @param {any} state */
export function renderDecisions(state) {
  if (!state.decisions) return;
  put(byId("decisions"), state.decisions, (rows) =>
    rows.length ? [h("ol", { class: "log" }, ...rows.map(row))] : empty("Nothing has been decided: no rollout was promoted, frozen or rolled back, and no flag was changed here."),
  );
}

/** @param {any} decision */
function row(decision) {
  return h(
    "li",
    {},
    time(clock(decision.at), decision.at),
    " ",
    h("strong", { class: mood(decision.action) }, decision.action),
    h("span", { class: "by" }, ` by ${decision.by}`),
    h("div", {}, decision.sentence),
    h("div", { class: decision.problem ? "warn" : "by" }, flag(decision)),
    h("button", { class: "row", type: "button", "data-key": `decision-${decision.id}`, onclick: () => show(decision.id) }, `Explain ${decision.id}`),
  );
}

/** @param {string} action */
function mood(action) {
  return { rollback: "bad", off: "bad", freeze: "warn", promote: "good", complete: "good" }[action] ?? null;
}

/** @param {any} decision */
function flag(decision) {
  const later = decision.carried_out_at === null ? null : decision.carried_out_at - decision.at;
  if (later !== null) return later < AT_ONCE ? "The flag was changed." : `The flag was changed ${seconds(later)} later.`;
  if (decision.problem) return `The flag is not changed: ${decision.problem}`;
  return decision.action === "rollback" ? "The flag is being turned off." : "The flag was left alone.";
}

/** @param {number} id */
async function show(id) {
  const place = byId("decision");
  const figure = byId("chart-decision");
  try {
    const found = await get(`/api/decisions/${id}`);
    put(place, found, () => inFull(found));
    figure.hidden = found.evidence.points.length === 0;
    if (!figure.hidden) drawEvidence(figure, found.evidence, `Evidence behind decision ${id}`);
  } catch (error) {
    figure.hidden = true;
    put(place, String(error), (text) => empty(text));
  }
  place.focus();
  place.scrollIntoView({ block: "nearest" });
}

/** @param {any} found @returns {HTMLElement[]} */
function inFull(found) {
  const numbers = Object.entries(found.numbers).map(([name, value]) => [name, typeof value === "number" ? Number(value.toPrecision(4)).toLocaleString("en") : String(value)]);
  const calls = [...found.calls].reverse().map((call) => [
    clock(call.at), SIDES[/** @type {"legacy"} */ (call.side)], call.kind ?? call.signals.join(", "), seconds(call.seconds), h("code", {}, call.trace?.split("-")[1] ?? "none"),
  ]);
  return [
    h("h3", {}, `Decision ${found.id}`),
    h("p", {}, found.sentence),
    numbers.length ? table("Figures behind it", ["figure", "value"], numbers, { numbers: [1] }) : h("p", { class: "empty" }, "It rests on no figures."),
    ...(calls.length ? [h("h4", {}, `The latest ${count(calls.length)} bad calls behind it`), table("Bad calls behind it", ["when", "side", "what was wrong", "took", "trace"], calls)] : []),
  ];
}
