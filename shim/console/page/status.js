// @ts-check
/** The tiles on top: the status of the chosen migration. */

import { byId, h, prose, put } from "./dom.js";
import { clock, toOne, percent } from "./format.js";

/** What the stages mean, as `docs/migration-stages.md` has them. */
const STAGES = {
  off: "legacy alone",
  dualwrite: "legacy answers; the candidate also writes, and that is kept",
  shadow: "legacy answers; the candidate is run and compared",
  live: "the candidate answers some or all; legacy is run and compared",
  rampdown: "the candidate answers; legacy also writes, and that is kept",
  complete: "the candidate alone",
};

/** Characters of a note from which on its tile is as wide as two. */
const LONG = 90;

/** What was done to the flags by hand. */
const BY_HAND = ["off", "on", "set", "stage"];

/** @param {any} state */
export function renderStatus(state) {
  const tiles = [stage(state), guard(state), rollout(state), flags(state)].filter((tile) => tile !== null);
  put(byId("status"), tiles, () =>
    tiles.map((tile) =>
      h(
        "dl",
        { class: tile.notes.some((note) => note.length > LONG) ? "tile wide" : "tile" },
        h("dt", {}, tile.title),
        h("dd", { class: tile.mood }, tile.words),
        ...tile.notes.map((note) => h("dd", { class: "small" }, ...prose(note))),
      ),
    ),
  );
}

/** @param {any} state */
function stage(state) {
  const { share, guard } = state;
  if (guard?.tripped) {
    return {
      title: "Stage", words: "rolled back: 0 %", mood: "bad",
      notes: [`legacy serves every call of this machine; the flag says ${percent(share.percent)}`],
    };
  }
  const compared = `${percent(share.shadow_percent)} of the calls are compared (${state.mode})`;
  const why = state.flags.missing ? "legacy serves every call" : share.error ? `legacy serves: ${share.error}` : STAGES[/** @type {keyof STAGES} */ (share.stage)];
  return { title: "Stage", words: `${share.stage}: ${percent(share.percent)} candidate`, mood: share.error && !state.flags.missing ? "warn" : null, notes: [why, compared, ...byHand(state)] };
}

/** The last change of the flags by hand, if it was the last decision. @param {any} state @returns {string[]} */
function byHand(state) {
  const last = state.decisions?.[0];
  return last && BY_HAND.includes(last.action) ? [`${clock(last.at)}: ${last.sentence}`] : [];
}

/** @param {any} state */
function guard(state) {
  const { guard } = state;
  if (!guard) return { title: "Guard", words: "unknown", mood: "warn", notes: [] };
  const evidence = `evidence ${toOne(guard.evidence.total)} after ${guard.evidence.calls} bad calls`;
  if (!guard.tripped && !guard.frozen) return { title: "Guard", words: "watching", mood: "good", notes: [evidence] };
  const { record } = guard;
  const off = guard.carried_out
    ? `the flag was turned off${record?.carried_out_at ? ` at ${clock(record.carried_out_at)}` : ""}`
    : `the flag is still to be turned off${record?.problem ? `: ${record.problem}` : ""}`;
  return {
    title: "Guard", words: guard.tripped ? "rolled back" : "frozen", mood: guard.tripped ? "bad" : "warn",
    notes: [record ? `${clock(record.at)}: ${record.sentence}` : "its record is gone", ...(guard.tripped ? [off] : []), `\`shim resume ${state.migration} --because "..."\` lets it go on`],
  };
}

/** @param {any} state */
function rollout(state) {
  const { rollout } = state;
  if (!rollout) return { title: "Rollout", words: "none", mood: null, notes: [`\`shim rollout ${state.migration}\` begins one`] };
  const words = rollout.phase === "running" ? `stage ${rollout.stage} of ${rollout.stages.length}` : rollout.phase.replace("_", " ");
  return {
    title: "Rollout", words, mood: rollout.paused ? "warn" : null,
    notes: [
      `${rollout.stages.join(" → ")}${rollout.paused ? "; paused" : ""}`,
      `began ${clock(rollout.began)}${rollout.entered ? `, this stage counts since ${clock(rollout.entered)}` : ""}`,
      ...(rollout.because ? [rollout.because] : []),
    ],
  };
}

/** @param {any} state */
function flags(state) {
  const { flags } = state;
  if (flags.missing) return { title: "Flags", words: "none yet", mood: null, notes: [flags.location, "`shim flags create` makes them"] };
  return {
    title: "Flags", words: flags.error ? "out of reach" : flags.healthy ? "up to date" : "stale",
    mood: flags.error || !flags.healthy ? "warn" : "good", notes: [flags.location, ...(flags.error ? [flags.error] : [])],
  };
}
