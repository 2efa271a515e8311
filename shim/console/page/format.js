// @ts-check
/** Numbers and times as people read them, each with its unit. */

const NONE = "–";

/** @param {number | null | undefined} value seconds */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  return value < 1 ? `${rounded(value * 1000)} ms` : `${rounded(value)} s`;
}

/** Three figures of it. @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(3));
}

/** @param {number | null | undefined} value bytes */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = value;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** @param {number | null | undefined} value a share, 0 to 1 */
export function share(value) {
  return value === null || value === undefined ? NONE : percent(value * 100);
}

/** @param {number} value percent */
export function percent(value) {
  return `${Number(value.toFixed(2))} %`;
}

/** @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? NONE : value.toLocaleString("en");
}

/** @param {number} value evidence, to one */
export function toOne(value) {
  return `${value >= 100 ? Math.round(value).toLocaleString("en") : rounded(value)} to 1`;
}

/** @param {number} value @param {string} one @param {string} [many] */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** The reader's own date and time. @param {number | null | undefined} at seconds since the epoch */
export function clock(at) {
  return at === null || at === undefined ? NONE : local(at).slice(0, 19).replace("T", " ");
}

/** The reader's own time, of what happened within a day. @param {number | null | undefined} at seconds since the epoch */
export function hour(at) {
  return clock(at).slice(-8);
}

/** As `clock`, with milliseconds and in the form that charts take. @param {number} at seconds since the epoch */
export function local(at) {
  const moment = new Date(at * 1000);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 23);
}
