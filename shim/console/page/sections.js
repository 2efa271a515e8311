// @ts-check
/** Views that the application adds: tables of values, each written as its column says. */

import { byId, empty, h, put, table, time } from "./dom.js";
import { bytes, clock, count, seconds } from "./format.js";

/** @type {Record<string, (value: any) => Node | string>} */
const KINDS = {
  text: (value) => String(value),
  code: (value) => h("code", {}, String(value)),
  warning: (value) => h("span", { class: "warn" }, String(value)),
  count, bytes, seconds,
  time: (value) => time(clock(value), value),
};
const NUMBERS = ["count", "bytes", "seconds"];

/** @param {string} name */
const viewOf = (name) => name.toLowerCase();

/** Makes the views and their links; true if there were others before. @param {any} state @returns {boolean} */
export function addSections(state) {
  const links = byId("section-links");
  const before = links.textContent;
  put(links, state.sections.map((/** @type {any} */ each) => each.name), (names) =>
    names.map((/** @type {string} */ name) => h("a", { href: `#/${viewOf(name)}` }, name)),
  );
  if (links.textContent === before) return false;
  byId("sections").replaceChildren(...state.sections.map((/** @type {any} */ { name, title }) => {
    const view = viewOf(name);
    return h(
      "section", { id: `view-${view}`, "data-view": view, "aria-labelledby": `${view}-title` },
      h("h2", { id: `${view}-title` }, title), h("div", { id: `section-${view}` }),
    );
  }));
  return true;
}

/** @param {string} view */
export function isSection(view) {
  return view !== "" && document.getElementById(`section-${view}`) !== null;
}

/** @param {any} state @param {string} view */
export function renderSection(state, view) {
  const section = state.sections.find((/** @type {any} */ each) => viewOf(each.name) === view);
  put(byId(`section-${view}`), section.content, (content) => (content ? inFull(content) : empty("It cannot be read; the reason stands above.")));
}

/** @param {any} content @returns {HTMLElement[]} */
function inFull({ tables, notices, hints }) {
  return [
    ...notices.map((/** @type {string} */ each) => h("p", { class: "warn" }, each)),
    ...tables.flatMap((/** @type {any} */ each) => [h("h3", {}, each.title), ...(each.rows.length ? [filled(each)] : empty(each.empty))]),
    ...hints.map((/** @type {string} */ each) => h("p", { class: "hint" }, each)),
  ];
}

/** @param {any} each */
function filled({ title, columns, rows }) {
  const kinds = columns.map((/** @type {[string, string]} */ [, kind]) => kind);
  return table(
    title,
    columns.map((/** @type {[string, string]} */ [head]) => head),
    rows.map((/** @type {any[]} */ row) => row.map((value, column) => (value === null ? "" : KINDS[kinds[column]](value)))),
    { numbers: kinds.flatMap((/** @type {string} */ kind, /** @type {number} */ column) => (NUMBERS.includes(kind) ? [column] : [])) },
  );
}
