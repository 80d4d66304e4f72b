/** Between the contract's messages and this package's terms. */

import {
  CircuitState as ProtoState, Outcome as ProtoOutcome, Override_Mode, Policy_FailureCounting,
  Transition_Cause,
} from './generated/breaker/v1/breaker.js';
import type {
  CircuitStats as ProtoStats, CircuitUpdate as ProtoUpdate, Override as ProtoOverride,
  Policy as ProtoPolicy, Transition as ProtoTransition,
} from './generated/breaker/v1/breaker.js';
import type {Duration} from './generated/google/protobuf/duration.js';
import {BUILT_IN_POLICY, withDefaults} from './policy.js';
import type {EffectivePolicy, Policy} from './policy.js';
import type {
  CircuitState, CircuitUpdate, DaemonStats, Outcome, Override, Transition,
} from './transport.js';

const NANOS_PER_MS = 1_000_000;

export function toDuration(milliseconds: number): Duration {
  const seconds = Math.floor(milliseconds / 1000);
  const nanos = Math.round((milliseconds - seconds * 1000) * NANOS_PER_MS);
  // Rounding may have made a whole second of it.
  return nanos < 1e9 ? {seconds: BigInt(seconds), nanos} : {seconds: BigInt(seconds + 1), nanos: 0};
}

/** In milliseconds; 0 if unset. */
export function fromDuration(duration: Duration | undefined): number {
  if (duration === undefined) return 0;
  return Number(duration.seconds) * 1000 + duration.nanos / NANOS_PER_MS;
}

const durationOrUnset = (milliseconds: number | undefined) =>
  milliseconds === undefined ? undefined : toDuration(milliseconds);
const millisecondsOrUnset = (duration: Duration | undefined) =>
  duration === undefined ? undefined : fromDuration(duration);

export function toProtoPolicy(policy: Policy): ProtoPolicy {
  return {
    failureThreshold: policy.failureThreshold,
    recoveryTimeout: durationOrUnset(policy.recoveryTimeout),
    expectedResponseTime: durationOrUnset(policy.expectedResponseTime),
    monitoringWindow: durationOrUnset(policy.monitoringWindow),
    minimumRequestCount: policy.minimumRequestCount,
    failureCounting: policy.failureCounting && Policy_FailureCounting[policy.failureCounting],
    failureRateThreshold: policy.failureRateThreshold,
    slowCallRateThreshold: policy.slowCallRateThreshold,
    slowCallsAreFailures: policy.slowCallsAreFailures,
    halfOpenMaxProbes: policy.halfOpenMaxProbes,
    halfOpenSuccessThreshold: policy.halfOpenSuccessThreshold,
    permitTimeout: durationOrUnset(policy.permitTimeout),
    recoveryBackoffMultiplier: policy.recoveryBackoffMultiplier,
    maxRecoveryTimeout: durationOrUnset(policy.maxRecoveryTimeout),
    recoveryJitter: policy.recoveryJitter,
    minimumFailingWorkers: policy.minimumFailingWorkers,
    recoveryRamp: durationOrUnset(policy.recoveryRamp),
    shadow: policy.shadow,
  };
}

/** What is unset takes the built-in default. */
export function fromProtoPolicy(policy: ProtoPolicy | undefined): EffectivePolicy {
  if (policy === undefined) return BUILT_IN_POLICY;
  const windowed = policy.failureCounting === Policy_FailureCounting.WINDOWED;
  return withDefaults<EffectivePolicy>({
    failureThreshold: policy.failureThreshold,
    recoveryTimeout: millisecondsOrUnset(policy.recoveryTimeout),
    expectedResponseTime: millisecondsOrUnset(policy.expectedResponseTime),
    monitoringWindow: millisecondsOrUnset(policy.monitoringWindow),
    minimumRequestCount: policy.minimumRequestCount,
    failureCounting: windowed ? 'WINDOWED' : 'CONSECUTIVE',
    failureRateThreshold: policy.failureRateThreshold,
    slowCallRateThreshold: policy.slowCallRateThreshold,
    slowCallsAreFailures: policy.slowCallsAreFailures,
    halfOpenMaxProbes: policy.halfOpenMaxProbes,
    halfOpenSuccessThreshold: policy.halfOpenSuccessThreshold,
    permitTimeout: millisecondsOrUnset(policy.permitTimeout),
    recoveryBackoffMultiplier: policy.recoveryBackoffMultiplier,
    maxRecoveryTimeout: millisecondsOrUnset(policy.maxRecoveryTimeout),
    recoveryJitter: policy.recoveryJitter,
    minimumFailingWorkers: policy.minimumFailingWorkers,
    recoveryRamp: millisecondsOrUnset(policy.recoveryRamp),
    shadow: policy.shadow,
  }, BUILT_IN_POLICY);
}

export const toProtoOutcome = (outcome: Outcome): ProtoOutcome => ProtoOutcome[outcome];

/** What a newer daemon may say beside these is taken as CLOSED: in doubt the call is made. */
export function fromProtoState(state: ProtoState): CircuitState {
  if (state === ProtoState.OPEN) return 'OPEN';
  return state === ProtoState.HALF_OPEN ? 'HALF_OPEN' : 'CLOSED';
}

function fromProtoOverride(override: ProtoOverride | undefined): Override | null {
  if (override === undefined) return null;
  return {
    mode: override.mode === Override_Mode.FORCED_OPEN ? 'FORCED_OPEN' : 'FORCED_CLOSED',
    reason: override.reason,
    actor: override.actor,
    expiresAt: override.expiresAt ?? null,
  };
}

function fromProtoTransition(transition: ProtoTransition | undefined): Transition | null {
  if (transition === undefined) return null;
  return {
    from: fromProtoState(transition.from),
    to: fromProtoState(transition.to),
    time: transition.time ?? new Date(0),
    cause: Transition_Cause[transition.cause] ?? String(transition.cause),
    reason: transition.reason,
    generation: Number(transition.generation),
  };
}

export function fromProtoUpdate(update: ProtoUpdate): CircuitUpdate {
  return {
    service: update.service,
    operation: update.operation,
    state: fromProtoState(update.state),
    generation: Number(update.generation),
    retryAfter: fromDuration(update.retryAfter),
    override: fromProtoOverride(update.override),
    policy: fromProtoPolicy(update.policy),
    transition: fromProtoTransition(update.transition),
    rampFraction: update.rampFraction,
    removed: update.removed,
  };
}

export function fromProtoStats(stats: ProtoStats): DaemonStats {
  return {
    service: stats.service,
    operation: stats.operation,
    state: fromProtoState(stats.state),
    generation: Number(stats.generation),
    failureCount: Number(stats.failureCount),
    successCount: Number(stats.successCount),
    totalRequests: Number(stats.totalRequests),
    failureRate: stats.failureRate,
    lastFailureTime: stats.lastFailureTime ?? null,
    lastSuccessTime: stats.lastSuccessTime ?? null,
    nextAttemptTime: stats.nextAttemptTime ?? null,
  };
}
