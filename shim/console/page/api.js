// @ts-check
/** Talks to the console's server. The token comes with the address (`#token=...`) and stays in this tab. */

const KEEP = "console-token";

/** Takes the token out of the address, so that it is neither copied nor kept with it. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  setToken(given);
  history.replaceState(null, "", `${location.pathname}#/overview`);
}

/** @returns {string | null} */
export function token() {
  return sessionStorage.getItem(KEEP);
}

/** @param {string} value */
export function setToken(value) {
  sessionStorage.setItem(KEEP, value);
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
export function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const held = token();
  if (held) headers.set("Authorization", `Bearer ${held}`);
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
}

/** @param {string} path @returns {Promise<any>} the document, or an error that says why there is none */
export async function get(path) {
  return read(await ask(path));
}

/** @param {string} path @param {object} document @returns {Promise<any>} */
export async function post(path, document) {
  const headers = { "Content-Type": "application/json" };
  return read(await ask(path, { method: "POST", headers, body: JSON.stringify(document) }));
}

/** The server has refused; `status` is what it answered. */
export class Refused extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @param {Response} response */
export async function read(response) {
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(document.error ?? `the server answered ${response.status}`, response.status);
  return document;
}
