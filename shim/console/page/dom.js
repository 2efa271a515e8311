// @ts-check
/** The few things that this page does to the document. Text is only ever set as text, never as markup. */

/** @type {WeakMap<Element, string>} */
const shown = new WeakMap();

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Makes an element.
 * @param {string} tag
 * @param {Record<string, any>} attributes `on...` are listeners; null and false leave an attribute out
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/** Sets a text, if it is another one. @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Renders data into an element, if they are others than before; the focus stays where it was.
 * @template T
 * @param {Element} element
 * @param {T} data
 * @param {(data: T) => (Node | string)[]} render
 */
export function put(element, data, render) {
  const key = JSON.stringify(data) ?? "";
  if (shown.get(element) === key) return;
  shown.set(element, key);
  const focused = document.activeElement;
  const name = focused && element.contains(focused) ? focused.getAttribute("data-key") : null;
  element.replaceChildren(...render(data));
  if (name) /** @type {HTMLElement | null} */ (element.querySelector(`[data-key="${CSS.escape(name)}"]`))?.focus();
}

/** @param {string} text why there is nothing @returns {HTMLElement[]} */
export function empty(text) {
  return [h("p", { class: "empty" }, text)];
}

/** A sentence in which `what can be typed` stands between backticks. @param {string} text @returns {(Node | string)[]} */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

/** A point in time. @param {string} text @param {number} at seconds since the epoch */
export function time(text, at) {
  return h("time", { datetime: new Date(at * 1000).toISOString() }, text);
}

/**
 * A table; numbers stand right.
 * @param {string} caption what it holds, for those who do not see it
 * @param {string[]} heads
 * @param {(Node | string)[][]} rows
 * @param {{numbers?: number[]}} [options] columns that hold numbers
 */
export function table(caption, heads, rows, { numbers = [] } = {}) {
  const kind = (/** @type {number} */ column) => (numbers.includes(column) ? "number" : null);
  const body = rows.map((row) => h("tr", {}, ...row.map((cell, column) => h("td", { class: kind(column) }, cell))));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head, column) => h("th", { scope: "col", class: kind(column) }, head)))),
      h("tbody", {}, ...body),
    ),
  );
}
