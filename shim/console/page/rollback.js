// @ts-check
/** The one button: asks for confirmation, rolls back, and says what came of it. */

import { post, setToken, token } from "./api.js";
import { byId, say } from "./dom.js";

/** @param {() => string} chosen gives the chosen migration */
export function setUpRollBack(chosen) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  const reason = /** @type {HTMLInputElement} */ (byId("confirm-reason"));
  const secret = /** @type {HTMLInputElement} */ (byId("confirm-token"));
  const yes = /** @type {HTMLButtonElement} */ (byId("confirm-yes"));
  const result = byId("confirm-result");
  let migration = "";

  byId("roll-back").addEventListener("click", () => {
    migration = chosen();
    say(byId("confirm-title"), `Roll back ${migration}?`);
    say(
      byId("confirm-text"),
      "Legacy serves every call on this machine within a second, and the flag is turned off for all others. " +
        "`shim resume` lets it go on.",
    );
    say(result, "");
    yes.hidden = false;
    yes.disabled = false;
    byId("token-label").hidden = token() !== null;
    dialog.showModal();
    reason.focus();
  });
  byId("confirm-no").addEventListener("click", () => dialog.close());
  byId("confirm-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (secret.value) setToken(secret.value);
    secret.value = "";
    yes.disabled = true;
    say(result, "Rolling back ...");
    result.className = "";
    try {
      const done = await post("/api/rollback", { migration, because: reason.value });
      result.className = "good";
      say(result, done.new ? `${done.sentence} Legacy serves on this machine; the flag is being turned off.` : `It had been rolled back before (decision ${done.id}).`);
      yes.hidden = true;
      reason.value = "";
    } catch (error) {
      result.className = "bad";
      say(result, `It was not rolled back: ${error instanceof Error ? error.message : error}`);
      byId("token-label").hidden = false;
      yes.disabled = false;
    }
  });
}
