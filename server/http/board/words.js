/** @fileoverview How numbers, times and names are put into words. Nothing here touches the page. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const NUMBER = new Intl.NumberFormat('en');
const UNITS = {ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY};

const STATE_WORDS = {CLOSED: 'CLOSED', OPEN: 'OPEN', HALF_OPEN: 'HALF-OPEN'};

/** @return {string} A breaker's state as people write it. */
export function stateWord(state) {
  return STATE_WORDS[state] ?? state;
}

/** @return {string} 'CONSECUTIVE_FAILURES' as 'consecutive failures'. */
export function plain(word) {
  return word.toLowerCase().replaceAll('_', ' ');
}

/** @return {string} A key that no other breaker has; names may hold any printable character. */
export function keyOf({service, operation}) {
  return `${service}\n${operation}`;
}

/** @return {string} */
export function nameOf({service, operation}) {
  return `${service}/${operation}`;
}

/** @return {string} 12345 as '12,345'. */
export function count(number) {
  return NUMBER.format(number);
}

/** @return {string} '1 worker', '2 workers'. */
export function several(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** @return {string} 0.4166 as '42%'; what is not quite 0 or 100 is never shown as if it were. */
export function percent(fraction) {
  if (fraction > 0 && fraction < 0.01) return '<1%';
  if (fraction < 1 && fraction > 0.99) return '99%';
  return `${Math.round(fraction * 100)}%`;
}

/** @return {string} Whole seconds in the two largest units: '29s', '4m 10s', '2h 5m', '3d 4h'. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / SECOND));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
  return `${Math.floor(minutes / (24 * 60))}d ${Math.floor(minutes / 60) % 24}h`;
}

/** @return {string} What is left, rounded up: '1s' is the last second. */
export function countdown(milliseconds) {
  return duration(milliseconds + SECOND - 1);
}

/** @return {string} */
export function ago(time, now) {
  const passed = now - time;
  return passed < SECOND ? 'just now' : `${duration(passed)} ago`;
}

/** @return {string} The local time of day, with the date where it is not today's. */
export function clock(time, now) {
  const date = new Date(time);
  const time24 = date.toLocaleTimeString('en-GB');
  if (date.toDateString() === new Date(now).toDateString()) return time24;
  return `${date.toLocaleDateString('en-GB', {day: 'numeric', month: 'short'})} ${time24}`;
}

/**
 * @param {string} text '90s', '10m', '1h30m'; the units are those of breakerctl.
 * @return {?number} Milliseconds; null if that is no duration.
 */
export function parseDuration(text) {
  const compact = text.replaceAll(' ', '');
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(compact)) return null;
  let sum = 0;
  for (const [, number, unit] of compact.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    sum += Number(number) * UNITS[unit];
  }
  return sum;
}
