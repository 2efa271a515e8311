// @ts-check
/** The page: which view, which migration, how far back; and what is rendered when a state arrives. */

import { setToken, takeToken } from "./api.js";
import { recolor } from "./charts.js";
import { renderComparisons } from "./comparisons.js";
import { renderDecisions } from "./decisions.js";
import { byId, h, put, say } from "./dom.js";
import { renderEvidence } from "./evidence.js";
import { clock } from "./format.js";
import { renderOverview } from "./overview.js";
import { setUpRollBack } from "./rollback.js";
import { addSections, isSection, renderSection } from "./sections.js";
import { renderStatus } from "./status.js";
import { follow } from "./stream.js";
import { renderTraces } from "./traces.js";

/** @type {Record<string, (state: any) => void>} */
const VIEWS = {
  overview: renderOverview,
  evidence: renderEvidence,
  comparisons: renderComparisons,
  decisions: renderDecisions,
  traces: renderTraces,
};

/** @type {any} */
let state = null;
let updates = 0;
let stop = () => {};

const migration = /** @type {HTMLSelectElement} */ (byId("migration"));
const lookedBack = /** @type {HTMLSelectElement} */ (byId("window"));

function view() {
  const name = location.hash.replace(/^#\//, "");
  return name in VIEWS || isSection(name) ? name : "overview";
}

function showView() {
  for (const section of document.querySelectorAll("[data-view]")) {
    /** @type {HTMLElement} */ (section).hidden = section.getAttribute("data-view") !== view();
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${view()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  render();
}

function render() {
  if (!state) return;
  if (addSections(state)) showView();
  else renderState();
}

function renderState() {
  put(migration, state.migrations, (names) => names.map((/** @type {string} */ name) => h("option", { value: name }, name)));
  if (migration.value !== state.migration) migration.value = state.migration;
  const trouble = byId("trouble");
  trouble.hidden = state.problems.length === 0;
  say(trouble, state.problems.join("; "));
  renderStatus(state);
  if (view() in VIEWS) VIEWS[view()](state);
  else renderSection(state, view());
  updates += 1;
  document.body.dataset.updates = String(updates);
}

/** @param {string | null} problem @param {boolean} [needsToken] */
function tell(problem, needsToken = false) {
  say(byId("connection"), problem ?? "");
  const live = byId("live");
  say(live, problem === null ? "live" : "not live, these figures are old");
  live.className = problem === null ? "good" : "bad";
  byId("token-form").hidden = !needsToken;
  document.body.dataset.live = String(problem === null);
}

function setUpToken() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (byId("token"));
    setToken(field.value);
    field.value = "";
    subscribe();
  });
}

function subscribe() {
  stop();
  const query = new URLSearchParams({ window: lookedBack.value });
  if (migration.value) query.set("migration", migration.value);
  stop = follow(`/api/events?${query}`, (arrived) => {
    state = arrived;
    say(byId("live-at"), clock(state.at));
    render();
  }, tell);
}

function start() {
  takeToken();
  window.addEventListener("hashchange", () => {
    takeToken();
    showView();
  });
  migration.addEventListener("change", subscribe);
  lookedBack.addEventListener("change", subscribe);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  setUpRollBack(() => migration.value);
  setUpToken();
  showView();
  subscribe();
}

start();
