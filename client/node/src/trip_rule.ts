/** When a closed circuit opens. */

import type {EffectivePolicy} from './policy.js';
import type {CallCounts} from './sliding_window.js';

export interface TripEvidence {
  readonly window: CallCounts;
  readonly consecutiveFailures: number;
  /** Distinct workers in the window that had a failed, and a slow call. */
  readonly failingWorkers: number;
  readonly slowWorkers: number;
  /** While a recovery ramps up. */
  readonly minimumWaived: boolean;
}

export interface Trip {
  readonly cause: string;
  readonly reason: string;
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;
const percent = (share: number) => `${Number((share * 100).toPrecision(4))}%`;

/** Null = it stays closed. Of several rules that hold, the first is the cause. */
export function shouldTrip(evidence: TripEvidence, policy: EffectivePolicy): Trip | null {
  const {window, failingWorkers, slowWorkers} = evidence;
  const calls = window.successes + window.failures;
  if (calls === 0) return null;
  if (calls < policy.minimumRequestCount && !evidence.minimumWaived) return null;
  const seconds = `${policy.monitoringWindow / 1000}s`;
  const minimum = evidence.minimumWaived ?
    'minimum waived while recovery ramps up' :
    `minimum ${policy.minimumRequestCount}`;

  if (failingWorkers >= policy.minimumFailingWorkers) {
    const context = `in ${seconds} (${minimum}), ${plural(failingWorkers, 'worker')} failing`;
    const windowed = policy.failureCounting === 'WINDOWED';
    const failures = windowed ? window.failures : evidence.consecutiveFailures;
    if (policy.failureThreshold > 0 && failures >= policy.failureThreshold) {
      return {
        cause: windowed ? 'FAILURES_IN_WINDOW' : 'CONSECUTIVE_FAILURES',
        reason: `${plural(failures, windowed ? 'failure' : 'consecutive failure')} (threshold ` +
            `${policy.failureThreshold}) with ${plural(calls, 'call')} ${context}`,
      };
    }
    if (reaches(window.failures / calls, policy.failureRateThreshold)) {
      return {
        cause: 'FAILURE_RATE',
        reason: `${window.failures} of ${plural(calls, 'call')} failed (threshold ` +
            `${percent(policy.failureRateThreshold)}) ${context}`,
      };
    }
  }
  if (slowWorkers >= policy.minimumFailingWorkers &&
      reaches(window.slow / calls, policy.slowCallRateThreshold)) {
    return {
      cause: 'SLOW_CALL_RATE',
      reason: `${window.slow} of ${plural(calls, 'call')} took longer than ` +
          `${policy.expectedResponseTime}ms (threshold ${percent(policy.slowCallRateThreshold)}) ` +
          `in ${seconds} (${minimum}), ${plural(slowWorkers, 'worker')} slow`,
    };
  }
  return null;
}

/** A threshold of 0 switches its rule off. */
function reaches(share: number, threshold: number): boolean {
  return threshold > 0 && share >= threshold;
}
