/* Numbers and times as words. */

const STEPS = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86400, "hour", 3600],
  [Infinity, "day", 86400],
];

/** 12345 -> 12,345 */
export const count = (value) => Math.round(value).toLocaleString("en");

/** 1, "domain" -> 1 domain; 2, "domain" -> 2 domains */
export const some = (value, noun, many = `${noun}s`) => `${count(value)} ${value === 1 ? noun : many}`;

/** 0.123 -> 12 % */
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

/** 0.123 -> +12.3 %, with a minus that is one. */
export const gained = (share) => `${signed(100 * share, 1)} %`;

/** A point in time, as the reader's own clock says it. */
export function moment(text) {
  const when = new Date(text);
  return Number.isNaN(when.getTime()) ? text : when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** Whether only zeros would be written. */
export const isZero = (value, digits = 3) => Number(value.toFixed(digits)) === 0;

/** 0.12345 -> +0.123, with a minus that is one. */
export function signed(value, digits = 3) {
  const size = Math.abs(value).toFixed(digits);
  return isZero(value, digits) ? size : `${value < 0 ? "−" : "+"}${size}`;
}

/** Seconds -> 3 hours */
export function age(seconds) {
  const [, noun, unit] = STEPS.find(([end]) => seconds < end);
  return some(Math.max(Math.floor(seconds / unit), 0), noun);
}

/** Seconds -> 3.2 ms or 1.4 s */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const ms = seconds * 1000;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** ["a", "b", "c"] -> a, b and c */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
