// @ts-check
/** Live updates: server-sent events, read with `fetch` because `EventSource` cannot send a token. */

import { Refused, ask, read } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
const UNAUTHORIZED = 401;

/**
 * Follows the state until `stop` is called; connects again when the connection is lost.
 * @param {string} path
 * @param {(state: any) => void} take is given each state
 * @param {(problem: string | null, needsToken?: boolean) => void} tell is told what is wrong, and null when nothing is
 * @returns {() => void} stop
 */
export function follow(path, take, tell) {
  const stopped = new AbortController();
  const run = async () => {
    let pause = FIRST_PAUSE;
    while (!stopped.signal.aborted) {
      try {
        await readAll(path, stopped.signal, (state) => {
          pause = FIRST_PAUSE;
          tell(null);
          take(state);
        });
        tell("The connection has ended; trying again");
      } catch (error) {
        if (stopped.signal.aborted) return;
        tell(`Not live: ${error instanceof Error ? error.message : error}; trying again`, error instanceof Refused && error.status === UNAUTHORIZED);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(LONGEST_PAUSE, pause * 2);
    }
  };
  run();
  return () => stopped.abort();
}

/** @param {string} path @param {AbortSignal} signal @param {(state: any) => void} take */
async function readAll(path, signal, take) {
  const response = await ask(path, { signal });
  if (!response.ok || !response.body) return read(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop() ?? "";
    const last = events.pop(); // a page that was busy shows the newest only
    if (last) take(JSON.parse(last.slice(last.indexOf("data: ") + "data: ".length)));
  }
}
