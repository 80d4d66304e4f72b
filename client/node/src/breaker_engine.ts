import type {EffectivePolicy} from './policy.js';
import {openTime, rampFraction, shortRetryAfter} from './recovery.js';
import {SlidingWindow} from './sliding_window.js';
import type {CircuitState, DaemonStats, Outcome, Override, Transition} from './transport.js';
import {shouldTrip} from './trip_rule.js';

/** Permits that may be out at once; past it they have no id, and calls count all the same. */
const MAX_PERMITS = 1024;
const FORCED_OPEN_RETRY_AFTER = 1000;

/** "forced open by ops: maintenance" */
export function inWords({mode, actor, reason}: Override): string {
  return `forced ${mode === 'FORCED_OPEN' ? 'open' : 'closed'}` +
      (actor === '' ? '' : ` by ${actor}`) + (reason === '' ? '' : `: ${reason}`);
}

export interface EngineSurroundings {
  /** Milliseconds that never go back, from any start. */
  readonly clock: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Called after each change of state, or act of an operator. */
  readonly onTransition: (transition: Transition) => void;
}

export interface Decision {
  readonly allowed: boolean;
  readonly state: CircuitState;
  readonly generation: number;
  readonly permitId: number;
  readonly probe: boolean;
  readonly shadow: boolean;
  readonly retryAfter: number;
}

export interface CallReport {
  readonly workerId: string;
  /** 0 = a call made without asking. */
  readonly permitId: number;
  readonly outcome: Outcome;
  readonly duration: number;
}

interface Permit {
  readonly grantedAt: number;
  readonly generation: number;
  readonly probe: boolean;
  readonly workerId: string;
}

/**
 * One breaker by the daemon's rules, in this process: it stands in for the daemon's while the
 * daemon is away, and is what MemoryBreakerTransport is made of. It does nothing by itself: time
 * passes for it when it is called.
 */
export class BreakerEngine {
  state: CircuitState = 'CLOSED';
  generation = 1;
  override: Override | null = null;

  private overrideEndsAt = Infinity;
  private window: SlidingWindow;
  private consecutiveFailures = 0;
  private lastCallAt = -Infinity;
  private lastFailureTime: Date | null = null;
  private lastSuccessTime: Date | null = null;
  // When each worker last had a failed, and a slow call.
  private readonly failing = new Map<string, number>();
  private readonly slow = new Map<string, number>();

  private openedAt = 0;
  private nextAttemptAt = Infinity;
  private failedRecoveries = 0;
  private jitterDraw = 0;
  private probeSuccesses = 0;
  private rampStartedAt: number | null = null;

  private readonly permits = new Map<number, Permit>();  // oldest first
  private lastPermitId: number;

  /** `start` HALF_OPEN: an OPEN time is just over. */
  constructor(
    readonly service: string,
    readonly operation: string,
    private policyInEffect: EffectivePolicy,
    private readonly around: EngineSurroundings,
    start: 'CLOSED' | 'HALF_OPEN' = 'CLOSED',
  ) {
    this.window = new SlidingWindow(policyInEffect.monitoringWindow);
    this.lastPermitId = Math.floor(around.random() * 2 ** 40);
    this.state = start;
  }

  get policy(): EffectivePolicy {
    return this.policyInEffect;
  }

  acquire(workerId: string): Decision {
    const now = this.advance();
    if (this.state === 'CLOSED') {
      const admitted = this.rampFraction(now);
      if (admitted < 1 && this.around.random() >= admitted) {
        return this.refuse(shortRetryAfter(this.policy.recoveryRamp));
      }
      return this.grant(workerId, false, now);
    }
    if (this.state === 'HALF_OPEN' && this.probesOut() < this.policy.halfOpenMaxProbes) {
      return this.grant(workerId, true, now);
    }
    return this.refuse(this.retryAfter());
  }

  /** Whether it was counted; else it came too late, or its permit is not known: nothing changed. */
  report(report: CallReport): boolean {
    const now = this.advance();
    let late = this.state !== 'CLOSED';
    if (report.permitId !== 0) {
      const permit = this.permits.get(report.permitId);
      if (permit === undefined) return false;
      this.permits.delete(report.permitId);
      late = permit.generation !== this.generation;
    }
    if (late) return false;
    if (report.outcome === 'IGNORED') return true;
    const slow = report.duration > this.policy.expectedResponseTime;
    this.count(report.workerId, report.outcome, slow, now);
    return true;
  }

  /** One of a run of calls that were admitted under `generation`; 0 = not known. */
  reportFromRun(workerId: string, generation: number, outcome: Outcome, slow: boolean): boolean {
    const now = this.advance();
    const late = generation !== 0 && generation !== this.generation;
    if (this.state !== 'CLOSED' || late) return false;
    if (outcome !== 'IGNORED') this.count(workerId, outcome, slow, now);
    return true;
  }

  /** Gives the probes back that `workerId` holds, as if IGNORED. */
  giveBackProbes(workerId: string): void {
    for (const [id, permit] of this.permits) {
      if (permit.probe && permit.workerId === workerId) this.permits.delete(id);
    }
  }

  /** How long until it is worth asking, while not CLOSED. */
  retryAfter(): number {
    if (this.state === 'HALF_OPEN') return shortRetryAfter(this.policy.recoveryTimeout);
    const end = this.override !== null ? this.overrideEndsAt : this.nextAttemptAt;
    return end === Infinity ? FORCED_OPEN_RETRY_AFTER : Math.max(0, end - this.around.clock());
  }

  rampFraction(now = this.around.clock()): number {
    return this.rampStartedAt === null ? 1 : rampFraction(this.policy, now - this.rampStartedAt);
  }

  stats(): DaemonStats {
    const now = this.advance();
    const {successes, failures} = this.window.counts;
    const open = this.state === 'OPEN' && this.nextAttemptAt !== Infinity;
    return {
      service: this.service,
      operation: this.operation,
      state: this.state,
      generation: this.generation,
      failureCount: failures,
      successCount: successes,
      totalRequests: failures + successes,
      failureRate: failures === 0 ? 0 : failures / (failures + successes),
      lastFailureTime: this.lastFailureTime,
      lastSuccessTime: this.lastSuccessTime,
      nextAttemptTime: open ? new Date(Date.now() + this.nextAttemptAt - now) : null,
    };
  }

  /** Moves what the clock moves; says what time it is. */
  advance(): number {
    const now = this.around.clock();
    for (const [id, permit] of this.permits) {
      if (now - permit.grantedAt < this.policy.permitTimeout) break;
      this.permits.delete(id);
    }
    if (this.override !== null && now >= this.overrideEndsAt) this.clearOverride();
    if (this.state === 'OPEN' && now >= this.nextAttemptAt) {
      this.transitionTo('HALF_OPEN', 'RECOVERY_TIMEOUT_ELAPSED',
          `${Math.round(this.nextAttemptAt - this.openedAt)}ms of OPEN are over`);
    }
    if (this.rampStartedAt !== null && now - this.rampStartedAt >= this.policy.recoveryRamp) {
      this.rampStartedAt = null;
      this.failedRecoveries = 0;
    }
    this.window.advance(now);
    if (now - this.lastCallAt >= this.policy.monitoringWindow) this.consecutiveFailures = 0;
    return now;
  }

  // -------------------------------------------------------------------------------------------
  // Operators

  /** Is applied at once; another monitoringWindow starts an empty window. */
  setPolicy(policy: EffectivePolicy): void {
    this.advance();
    const old = this.policyInEffect;
    this.policyInEffect = policy;
    if (policy.monitoringWindow !== old.monitoringWindow) {
      this.window = new SlidingWindow(policy.monitoringWindow);
    }
    if (this.state === 'OPEN' && this.override === null) this.setNextAttempt();
  }

  setOverride(override: Override): void {
    this.override = override;
    this.overrideEndsAt = override.expiresAt === null ?
      Infinity :
      this.around.clock() + override.expiresAt.getTime() - Date.now();
    const reason = inWords(override);
    if (override.mode !== 'FORCED_OPEN') return this.close('OVERRIDE_SET', reason);
    this.clearCounts();
    this.failedRecoveries = 0;
    this.transitionTo('OPEN', 'OVERRIDE_SET', reason);
  }

  clearOverride(): void {
    if (this.override === null) return;
    this.override = null;
    this.close('OVERRIDE_CLEARED', 'no longer forced');
  }

  reset(): void {
    if (this.override?.mode === 'FORCED_OPEN') return this.setOverride(this.override);
    this.close('RESET', 'reset by an operator');
  }

  // -------------------------------------------------------------------------------------------

  private grant(workerId: string, probe: boolean, now: number): Decision {
    let permitId = 0;
    if (probe || this.permits.size < MAX_PERMITS) {
      permitId = ++this.lastPermitId;
      this.permits.set(permitId, {grantedAt: now, generation: this.generation, probe, workerId});
    }
    const {state, generation} = this;
    return {allowed: true, state, generation, permitId, probe, shadow: false, retryAfter: 0};
  }

  private refuse(retryAfter: number): Decision {
    const {state, generation} = this;
    // A policy on trial refuses nothing; an operator's order is not a policy.
    const shadow = this.policy.shadow && this.override === null;
    return {
      allowed: shadow, state, generation, permitId: 0, probe: false, shadow,
      retryAfter: shadow ? 0 : retryAfter,
    };
  }

  private probesOut(): number {
    let probes = 0;
    for (const {probe, generation} of this.permits.values()) {
      if (probe && generation === this.generation) ++probes;
    }
    return probes;
  }

  private count(workerId: string, outcome: Outcome, slow: boolean, now: number): void {
    const failed = outcome === 'FAILURE' || (slow && this.policy.slowCallsAreFailures);
    this.window.record(now, failed ? 0 : 1, failed ? 1 : 0, slow ? 1 : 0);
    this.lastCallAt = now;
    if (slow) this.slow.set(workerId, now);
    if (failed) {
      this.failing.set(workerId, now);
      ++this.consecutiveFailures;
      this.lastFailureTime = new Date();
    } else {
      this.consecutiveFailures = 0;
      this.lastSuccessTime = new Date();
    }
    if (this.state === 'HALF_OPEN') {
      this.concludeProbe(workerId, failed);
    } else if (this.override === null) {
      this.tripIfDue(now);
    }
  }

  private tripIfDue(now: number): void {
    const ramping = this.rampStartedAt !== null;
    const trip = shouldTrip({
      window: this.window.counts,
      consecutiveFailures: this.consecutiveFailures,
      failingWorkers: this.workersIn(this.failing, now),
      slowWorkers: this.workersIn(this.slow, now),
      minimumWaived: ramping,
    }, this.policy);
    if (trip !== null) this.open(trip.cause, trip.reason, ramping ? this.failedRecoveries + 1 : 0);
  }

  private workersIn(seen: Map<string, number>, now: number): number {
    for (const [worker, at] of seen) {
      if (now - at >= this.policy.monitoringWindow) seen.delete(worker);
    }
    return seen.size;
  }

  private concludeProbe(workerId: string, failed: boolean): void {
    if (failed) {
      return this.open('PROBE_FAILED', `a probe by worker "${workerId}" failed`,
          this.failedRecoveries + 1);
    }
    if (++this.probeSuccesses < this.policy.halfOpenSuccessThreshold) return;
    const probes = this.probeSuccesses;
    this.close('PROBE_SUCCEEDED', `${probes} probe${probes === 1 ? '' : 's'} succeeded`);
  }

  private open(cause: string, reason: string, failedRecoveries: number): void {
    this.failedRecoveries = failedRecoveries;
    this.openedAt = this.around.clock();
    this.jitterDraw = 2 * this.around.random() - 1;
    this.setNextAttempt();
    this.transitionTo('OPEN', cause, reason);
  }

  private setNextAttempt(): void {
    this.nextAttemptAt =
        this.openedAt + openTime(this.policy, this.failedRecoveries, this.jitterDraw);
  }

  private close(cause: string, reason: string): void {
    this.clearCounts();
    const ramps = cause === 'PROBE_SUCCEEDED' && this.policy.recoveryRamp > 0;
    if (!ramps) this.failedRecoveries = 0;
    const startsAt = ramps ? this.around.clock() : null;
    this.transitionTo('CLOSED', cause, reason, startsAt);
  }

  private clearCounts(): void {
    this.window = new SlidingWindow(this.policy.monitoringWindow);
    this.failing.clear();
    this.slow.clear();
    this.consecutiveFailures = 0;
  }

  private transitionTo(
      to: CircuitState, cause: string, reason: string, rampStartedAt: number | null = null): void {
    const from = this.state;
    this.state = to;
    this.rampStartedAt = rampStartedAt;
    this.probeSuccesses = 0;
    if (to !== 'OPEN' || this.override !== null) this.nextAttemptAt = Infinity;
    ++this.generation;
    this.around.onTransition(
        {from, to, time: new Date(), cause, reason, generation: this.generation});
  }
}
