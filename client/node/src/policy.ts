/** When a circuit opens and how it recovers. */

import {BreakerdError} from './errors.js';

/** What failureThreshold counts: failures in a row, or all in the monitoringWindow. */
export type FailureCounting = 'CONSECUTIVE' | 'WINDOWED';

/**
 * All times are in milliseconds. A field that is left out takes the service's, else the default
 * given with it; an explicit 0 switches a rule off where it says so.
 *
 * A closed circuit opens when, after a counted call, the window holds at least minimumRequestCount
 * calls, and one of the three rules (failureThreshold, failureRateThreshold, slowCallRateThreshold)
 * holds, and at least minimumFailingWorkers distinct workers took part in what that rule counts.
 */
export interface Policy {
  /** Failures that open the circuit. 0 = this rule is off. Default 5. */
  failureThreshold?: number | undefined;
  /** How long the circuit stays OPEN before a probe is allowed; at least 1. Default 30 000. */
  recoveryTimeout?: number | undefined;
  /** A call that took longer is slow; more than 0. Default 1000. */
  expectedResponseTime?: number | undefined;
  /** The sliding time window that is counted over; at least 1. Default 60 000. */
  monitoringWindow?: number | undefined;
  /** No rule opens the circuit while the window holds fewer calls. Default 5. */
  minimumRequestCount?: number | undefined;
  /** What failureThreshold counts. Default 'CONSECUTIVE'. */
  failureCounting?: FailureCounting | undefined;
  /** Opens when failures / calls in the window reach this, in (0, 1]. 0 = off, the default. */
  failureRateThreshold?: number | undefined;
  /** Opens when slow calls / calls in the window reach this, in (0, 1]. 0 = off, the default. */
  slowCallRateThreshold?: number | undefined;
  /** Whether a slow success counts as a failure everywhere. Default false. */
  slowCallsAreFailures?: boolean | undefined;
  /** Probes in flight at once across the whole fleet while HALF_OPEN; 1 to 1000. Default 1. */
  halfOpenMaxProbes?: number | undefined;
  /** Probe successes that close the circuit; at least 1. Default 1. */
  halfOpenSuccessThreshold?: number | undefined;
  /** A permit that is not reported by then is abandoned; at least 1. Default 30 000. */
  permitTimeout?: number | undefined;
  /** Each failed recovery multiplies the next OPEN time by this; 1 to 1000. Default 1. */
  recoveryBackoffMultiplier?: number | undefined;
  /** Cap of that growth; never taken as less than recoveryTimeout. Default 300 000. */
  maxRecoveryTimeout?: number | undefined;
  /** The OPEN time is drawn from +- this fraction around its value, in [0, 1). Default 0. */
  recoveryJitter?: number | undefined;
  /** Quorum: distinct workers that must have failed (or been slow) in the window. Default 1. */
  minimumFailingWorkers?: number | undefined;
  /**
   * After a recovery a share of calls that grows from a tenth to all of them is admitted over this
   * time. 0 = off, the default.
   */
  recoveryRamp?: number | undefined;
  /** A policy on trial: decide and record everything, refuse nothing. Default false. */
  shadow?: boolean | undefined;
}

/** A policy with every field filled in. */
export type EffectivePolicy = {[Field in keyof Policy]-?: NonNullable<Policy[Field]>};

export const BUILT_IN_POLICY: Readonly<EffectivePolicy> = Object.freeze({
  failureThreshold: 5,
  recoveryTimeout: 30_000,
  expectedResponseTime: 1000,
  monitoringWindow: 60_000,
  minimumRequestCount: 5,
  failureCounting: 'CONSECUTIVE',
  failureRateThreshold: 0,
  slowCallRateThreshold: 0,
  slowCallsAreFailures: false,
  halfOpenMaxProbes: 1,
  halfOpenSuccessThreshold: 1,
  permitTimeout: 30_000,
  recoveryBackoffMultiplier: 1,
  maxRecoveryTimeout: 300_000,
  recoveryJitter: 0,
  minimumFailingWorkers: 1,
  recoveryRamp: 0,
  shadow: false,
});

const FIELDS = Object.keys(BUILT_IN_POLICY) as Array<keyof Policy>;

/** For a call that brings no policy. */
export const NO_POLICY: Readonly<Policy> = Object.freeze({});

/**
 * Whether both say the same, field by field. Spelled out, because each guarded call comes here: a
 * loop over the names would cost more than all the rest of it.
 */
export function samePolicy(a: Policy, b: Policy): boolean {
  return a.failureThreshold === b.failureThreshold && a.recoveryTimeout === b.recoveryTimeout &&
      a.expectedResponseTime === b.expectedResponseTime &&
      a.monitoringWindow === b.monitoringWindow &&
      a.minimumRequestCount === b.minimumRequestCount && a.failureCounting === b.failureCounting &&
      a.failureRateThreshold === b.failureRateThreshold &&
      a.slowCallRateThreshold === b.slowCallRateThreshold &&
      a.slowCallsAreFailures === b.slowCallsAreFailures &&
      a.halfOpenMaxProbes === b.halfOpenMaxProbes &&
      a.halfOpenSuccessThreshold === b.halfOpenSuccessThreshold &&
      a.permitTimeout === b.permitTimeout &&
      a.recoveryBackoffMultiplier === b.recoveryBackoffMultiplier &&
      a.maxRecoveryTimeout === b.maxRecoveryTimeout && a.recoveryJitter === b.recoveryJitter &&
      a.minimumFailingWorkers === b.minimumFailingWorkers && a.recoveryRamp === b.recoveryRamp &&
      a.shadow === b.shadow;
}

/** A copy of the policy in `options`, without what else they hold. */
export function policyIn(options: Policy): Policy {
  const policy: Record<string, unknown> = {};
  for (const field of FIELDS) policy[field] = options[field];
  return policy as Policy;
}

/** `policy`, with what it leaves out taken from `defaults`. */
export function withDefaults<T extends Policy>(policy: Policy, defaults: T): T {
  const filled: Record<string, unknown> = {};
  for (const field of FIELDS) filled[field] = policy[field] ?? defaults[field];
  return filled as T;
}

// ---------------------------------------------------------------------------------------------
// Bounds, as in the contract

const MAX_DURATION = 365 * 24 * 3600 * 1000;
const MAX_COUNT = 2 ** 32 - 1;

type Check = (value: number) => string | null;  // what is allowed, if the value is not

const within = (least: number, most: number): Check => (value) =>
  value >= least && value <= most ? null : `in [${least}, ${most}]`;
const duration = (least: number) => within(least, MAX_DURATION);
const count = (least: number, most = MAX_COUNT): Check => (value) =>
  Number.isInteger(value) && value >= least && value <= most ?
    null :
    `a whole number in [${least}, ${most}]`;
const rate: Check = (value) => value >= 0 && value <= 1 ? null : 'in (0, 1]';

const CHECKS: {[Field in keyof Policy]: Check} = {
  failureThreshold: count(0),
  recoveryTimeout: duration(1),
  expectedResponseTime: duration(1e-6),
  monitoringWindow: duration(1),
  minimumRequestCount: count(0),
  failureRateThreshold: rate,
  slowCallRateThreshold: rate,
  halfOpenMaxProbes: count(1, 1000),
  halfOpenSuccessThreshold: count(1),
  permitTimeout: duration(1),
  recoveryBackoffMultiplier: within(1, 1000),
  maxRecoveryTimeout: duration(1),
  recoveryJitter: (value) => value >= 0 && value < 1 ? null : 'in [0, 1)',
  minimumFailingWorkers: count(0, 1000),
  recoveryRamp: duration(0),
};

/** Throws BreakerdError INVALID_ARGUMENT that names the field, the value and what is allowed. */
export function checkPolicy(policy: Policy): void {
  for (const field of FIELDS) {
    const value: unknown = policy[field];
    if (value === undefined || value === null) continue;
    let allowed: string | null;
    if (field === 'failureCounting') {
      allowed = value === 'CONSECUTIVE' || value === 'WINDOWED' ? null : 'CONSECUTIVE or WINDOWED';
    } else if (field === 'slowCallsAreFailures' || field === 'shadow') {
      allowed = typeof value === 'boolean' ? null : 'true or false';
    } else {
      allowed = typeof value === 'number' ? CHECKS[field]!(value) : 'a number';
    }
    if (allowed !== null) {
      throw new BreakerdError(
          'INVALID_ARGUMENT', `policy.${field}: ${String(value)} is not ${allowed}`);
    }
  }
}
