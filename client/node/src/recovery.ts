/** How a circuit comes back. */

import type {EffectivePolicy} from './policy.js';

const RAMP_START = 0.1;

/**
 * How many milliseconds a circuit stays OPEN after `failedRecoveries` in a row. `jitterDraw` is
 * uniform in [-1, 1], drawn once when the circuit opens.
 */
export function openTime(
    policy: EffectivePolicy, failedRecoveries: number, jitterDraw: number): number {
  const cap = Math.max(policy.recoveryTimeout, policy.maxRecoveryTimeout);
  const growth = policy.recoveryBackoffMultiplier ** failedRecoveries;
  return Math.min(policy.recoveryTimeout * growth, cap) * (1 + policy.recoveryJitter * jitterDraw);
}

/**
 * The share of calls admitted `elapsed` milliseconds after a recovery: from 0.1 to 1, linearly over
 * recoveryRamp; 1 when that is over or off.
 */
export function rampFraction(policy: EffectivePolicy, elapsed: number): number {
  if (elapsed >= policy.recoveryRamp) return 1;
  return RAMP_START + (1 - RAMP_START) * Math.max(0, elapsed / policy.recoveryRamp);
}

/** The other way about: for how long a ramp has run that admits `fraction` of the calls. */
export function rampElapsed(policy: EffectivePolicy, fraction: number): number {
  return policy.recoveryRamp * ((fraction - RAMP_START) / (1 - RAMP_START));
}

/**
 * What a caller is told to wait where no deadline says it: all probes are out, or the ramp has left
 * it behind. A hundredth of the time that such a phase takes, within reason.
 */
export function shortRetryAfter(phase: number): number {
  return Math.min(1000, Math.max(10, phase / 100));
}
