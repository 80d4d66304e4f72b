/** @fileoverview What the page knows of the breakers: the last answer and the news since. */

import {CHART_LENGTH} from './chart.js';
import {keyOf, nameOf} from './words.js';

/** Worst first. */
const RANK = {OPEN: 0, HALF_OPEN: 1, CLOSED: 2};

/** Whether a breaker needs eyes: it refuses calls, or an operator holds it. */
export function inTrouble(row) {
  return row.state !== 'CLOSED' || row.override !== null;
}

/**
 * The server's order, with rate and calls as they were when settle() was called last: rows do not
 * change places with every call that is counted.
 */
function worstFirst(a, b) {
  return RANK[a.state] - RANK[b.state] || (b.override !== null) - (a.override !== null) ||
      b.settledRate - a.settledRate || b.settledCalls - a.settledCalls ||
      (a.name < b.name ? -1 : 1);
}

function settle(row) {
  row.settledRate = row.failure_rate;
  row.settledCalls = row.calls;
}

/** All breakers by key (see keyOf), and what the daemon says of itself. */
export class Fleet {
  constructor() {
    /** @type {!Map<string, !Object>} Rows of the API, with a few fields more. */
    this.rows = new Map();
    this.counts = {CLOSED: 0, OPEN: 0, HALF_OPEN: 0};
    this.total = 0;
    this.matched = 0;
    /** Whether the daemon has more breakers than this page was given. */
    this.partial = false;
    this.admin = false;
    this.storeFailing = false;
    this.version = '';
    this.chartSeconds = 5;
    this.loadedAt = 0;
    this.clockOffset = 0;
  }

  /** @return {number} The daemon's clock, in unix milliseconds. */
  now() {
    return Date.now() + this.clockOffset;
  }

  /** @return {number} */
  get overridden() {
    let sum = 0;
    for (const row of this.rows.values()) sum += row.override !== null ? 1 : 0;
    return sum;
  }

  /** Takes the place of all that was known. */
  load(answer) {
    this.admin = answer.admin;
    this.version = answer.version;
    this.chartSeconds = answer.chart_interval_seconds;
    this.matched = answer.matched;
    this.partial = answer.total > answer.breakers.length;
    this.loadedAt = answer.time;
    this.takeSummary_(answer);
    this.rows.clear();
    for (const row of answer.breakers) this.put(row);
    this.settle();
  }

  /** @return {!Array<string>} Keys of the breakers that changed. */
  applyRows(news) {
    this.takeSummary_(news);
    return news.breakers.filter((row) => this.wanted_(row)).map((row) => this.put(row));
  }

  /** @return {string} The key of the breaker. */
  applyTransition(transition) {
    const before = this.rows.get(keyOf(transition));
    // The whole counts follow within a second; the head of the page shall not lag behind its rows.
    if (before !== undefined && before.state !== transition.row.state) {
      this.counts[before.state]--;
      this.counts[transition.row.state]++;
    }
    return this.put(transition.row);
  }

  /** A new chart interval began. */
  applyInterval({time}) {
    // One that lies before the answer is part of it.
    if (time <= this.loadedAt) return;
    for (const row of this.rows.values()) {
      row.chart.push([0, 0]);
      if (row.chart.length > CHART_LENGTH) row.chart.shift();
    }
  }

  /** @return {string} The key of what was removed. */
  applyRemoved(breaker) {
    const key = keyOf(breaker);
    this.rows.delete(key);
    return key;
  }

  /** Lets the order follow rates and calls as they are now. */
  settle() {
    for (const row of this.rows.values()) settle(row);
  }

  /**
   * @param {string} search
   * @param {string} filter A state, 'FORCED', or '' for all.
   * @return {!Array<!Object>} Rows, worst first.
   */
  ordered(search, filter) {
    const wanted = search.toLowerCase();
    const rows = [];
    for (const row of this.rows.values()) {
      const ofFilter = filter === '' || row.state === filter ||
          (filter === 'FORCED' && row.override !== null);
      if (ofFilter && row.lowerName.includes(wanted)) rows.push(row);
    }
    return rows.sort(worstFirst);
  }

  takeSummary_({time, counts, total, store_failing: storeFailing}) {
    this.clockOffset = time - Date.now();
    this.counts = {...counts};
    this.total = total;
    this.storeFailing = storeFailing;
  }

  /** Of a fleet too large for the page, a healthy breaker that was not in the answer stays out. */
  wanted_(row) {
    return this.rows.has(keyOf(row)) || inTrouble(row) || !this.partial;
  }

  /**
   * @param {!Object} row A row of the API, with or without a chart; it may have a "point" instead.
   * @return {string} The key of the breaker.
   */
  put({point, ...fields}) {
    const key = keyOf(fields);
    let row = this.rows.get(key);
    if (row === undefined) {
      const name = nameOf(fields);
      row = {key, name, lowerName: name.toLowerCase(), chart: []};
      this.rows.set(key, row);
      Object.assign(row, fields);
      settle(row);
    } else {
      Object.assign(row, fields);
    }
    if (point !== undefined) row.chart[Math.max(0, row.chart.length - 1)] = point;
    return key;
  }
}
