/** What a worker knows of a breaker's counts, without asking. */

import {SlidingWindow} from './sliding_window.js';
import type {CircuitState, DaemonStats} from './transport.js';
import {BUILT_IN_POLICY} from './policy.js';
import {now as monotonic} from './time.js';

/** One breaker at one instant. */
export interface CircuitBreakerStats {
  state: CircuitState;
  /** In the monitoring window; so are the next two. */
  failureCount: number;
  successCount: number;
  /** Failures + successes. */
  totalRequests: number;
  /** Null if there never was one. */
  lastFailureTime: Date | null;
  lastSuccessTime: Date | null;
  /** When the next probe is allowed. Set only while OPEN, and not while forced open. */
  nextAttemptTime: Date | null;
  /** failureCount / totalRequests, from 0 to 1; 0 when idle. */
  failureRate: number;
}

export function publicStats(stats: DaemonStats): CircuitBreakerStats {
  const {state, failureCount, successCount, totalRequests} = stats;
  const {lastFailureTime, lastSuccessTime, nextAttemptTime, failureRate} = stats;
  return {
    state, failureCount, successCount, totalRequests,
    lastFailureTime, lastSuccessTime, nextAttemptTime, failureRate,
  };
}

const later = (a: Date | null, b: Date | null) => (a === null || (b !== null && b > a) ? b : a);
/** `at` is from the monotonic clock; 0 = never. */
const wallTime = (at: number) => (at === 0 ? null : new Date(performance.timeOrigin + at));

/**
 * The outcomes of this worker's own calls in the window, and what the daemon said last of
 * everyone's: together, everyone's as far as this worker knows.
 */
export class LocalStats {
  /** From the monotonic clock, in milliseconds; 0 = never. */
  lastSuccessAt = 0;
  lastFailureAt = 0;

  private window = new SlidingWindow(BUILT_IN_POLICY.monitoringWindow);
  private fetched: DaemonStats | null = null;
  private fetchedAt = 0;
  // Own outcomes that `fetched`, or the answer to a question that is under way, does not hold.
  private since = {successes: 0, failures: 0};
  private sinceAsked = {successes: 0, failures: 0};

  count(at: number, successes: number, failures: number): void {
    this.window.record(at, successes, failures, 0);
    for (const counts of [this.since, this.sinceAsked]) {
      counts.successes += successes;
      counts.failures += failures;
    }
  }

  /** The circuit has closed, or is another one: its window is empty. */
  clear(): void {
    this.window = new SlidingWindow(this.window.length);
    this.fetched = null;
    this.since = {successes: 0, failures: 0};
  }

  setWindow(length: number): void {
    if (length !== this.window.length) this.window = new SlidingWindow(length);
  }

  /** The daemon is asked now. */
  asking(): void {
    this.sinceAsked = {successes: 0, failures: 0};
  }

  /** It has answered the last question. */
  answered(stats: DaemonStats): void {
    this.fetched = stats;
    this.fetchedAt = monotonic();
    this.since = {...this.sinceAsked};
  }

  /** Whether the daemon's word is of another generation, or older than `age` milliseconds. */
  isStale(generation: number, age: number): boolean {
    return this.fetched === null || this.fetched.generation !== generation ||
        monotonic() - this.fetchedAt > age;
  }

  stats(state: CircuitState, nextAttemptTime: Date | null): CircuitBreakerStats {
    const at = monotonic();
    this.window.advance(at);
    let {successes, failures} = this.window.counts;
    const told = this.fetched;
    if (told !== null && at - this.fetchedAt < this.window.length) {
      successes = told.successCount + this.since.successes;
      failures = told.failureCount + this.since.failures;
    }
    const total = successes + failures;
    return {
      state,
      failureCount: failures,
      successCount: successes,
      totalRequests: total,
      lastFailureTime: later(wallTime(this.lastFailureAt), told?.lastFailureTime ?? null),
      lastSuccessTime: later(wallTime(this.lastSuccessAt), told?.lastSuccessTime ?? null),
      nextAttemptTime: state !== 'OPEN' ? null :
        nextAttemptTime ?? (told?.state === 'OPEN' ? told.nextAttemptTime : null),
      failureRate: total === 0 ? 0 : failures / total,
    };
  }
}
