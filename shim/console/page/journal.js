// @ts-check
/** Uploads that the journal knows to be unfinished. */

import { byId, empty, h, put, table, time } from "./dom.js";
import { bytes, clock, count, counted } from "./format.js";

/** @param {any} state */
export function renderJournal(state) {
  put(byId("journal"), state.journal, (journal) => {
    if (!journal) return empty("None: this machine has no journal.");
    const { standing, entries, left_out: leftOut } = journal;
    const figures = [
      ["kept in", standing.backend],
      ["under way", count(standing.under_way)],
      ["left by a process that died", count(standing.left)],
      ["ended without a known outcome", count(standing.unknown)],
      ["went on without the journal", standing.unjournaled ? `${counted(standing.unjournaled, "upload")}, the last at ${clock(standing.last_unjournaled_at)}` : "none"],
    ];
    return [
      ...(standing.notice ? [h("p", { class: "warn" }, standing.notice)] : []),
      table("The journal in figures", ["uploads", "value"], figures),
      ...(entries.length ? [list(entries)] : empty("None: every upload that was begun has ended with a known outcome.")),
      ...(leftOut ? [h("p", { class: "hint" }, `${counted(leftOut, "more entry", "more entries")} are left out.`)] : []),
    ];
  });
}

/** @param {any[]} entries */
function list(entries) {
  return table("Unfinished uploads, oldest first", ["began", "state", "provider", "side", "size", "last change", "upload", "error"], entries.map((entry) => [
    time(clock(entry.began_at), entry.began_at),
    h("span", { class: "warn" }, entry.state),
    entry.provider,
    entry.side,
    bytes(entry.bytes),
    time(clock(entry.updated_at), entry.updated_at),
    h("code", {}, entry.upload_id),
    entry.error ?? "",
  ]));
}
