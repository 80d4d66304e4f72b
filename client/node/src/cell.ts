import type {Answer, BroughtPolicy} from './answer.js';
import {BreakerEngine, inWords} from './breaker_engine.js';
import type {Ledger} from './ledger.js';
import {LocalStats, publicStats} from './local_stats.js';
import type {CircuitBreakerStats} from './local_stats.js';
import {OutcomeRuns} from './outcome_runs.js';
import {BUILT_IN_POLICY, NO_POLICY, samePolicy, withDefaults} from './policy.js';
import type {EffectivePolicy, Policy} from './policy.js';
import {rampElapsed, rampFraction} from './recovery.js';
import type {StateChange} from './state_change.js';
import {now as monotonic} from './time.js';
import type {
  AcquireAnswer, CircuitState, CircuitUpdate, Outcome, OutcomeRun, Override,
} from './transport.js';

/** So many outcomes are not left waiting for the next flush. */
const FLUSH_AT = 4096;
/** How often a daemon that denies this worker the circuit is asked again. */
const DENIED_RETRY_AFTER = 1000;
/** For who is refused because another asks the daemon just now, or by a ramp. */
const SHORT_RETRY_AFTER = 10;

/** What all cells of a service share. */
export interface Surroundings {
  readonly workerId: string;
  readonly ledger: Ledger;
  /** Until when the daemon's last word is taken for its current one. */
  trustedUntil: number;
  readonly onStateChange: (change: StateChange) => void;
}

const ASK: Answer = {kind: 'ask'};
const ASK_ALONE: Answer = {kind: 'ask-alone'};

/**
 * What a worker knows of one breaker, and what it has not told the daemon yet.
 *
 * Most calls see only `open` and the counters: one that the daemon's last word allows, and that
 * went well, allocates nothing here.
 */
export class Cell {
  /** Calls are allowed, under `generation`, for as long as the daemon's word is trusted. */
  open = false;
  generation = 0;  // 0 = unknown
  subscribed = false;
  readonly counts = new LocalStats();

  // Outcomes under `generation` that are in no run yet.
  private quick = 0;
  private slow = 0;
  private ignored = 0;
  private slowAfter = Infinity;
  private slowIsFailure = false;
  private noted = false;  // It is in the ledger.

  private state: CircuitState = 'CLOSED';
  private retryAt = 0;  // unless CLOSED
  private nextAttemptTime: Date | null = null;
  private policy: EffectivePolicy | null = null;  // null = unknown
  private override: Override | null = null;
  private rampStartedAt: number | null = null;
  private reason = '';
  // Whether it was the stream that said so, and has not been doubted since.
  private confirmed = false;
  private stream = 0;
  private asking = false;
  // Why the daemon denies this worker the circuit, and when to ask again; null = it does not.
  private denial: {readonly reason: string, askAt: number} | null = null;
  private announced: CircuitState = 'CLOSED';

  private broughtOptions: Policy = NO_POLICY;
  private bringing: BroughtPolicy = {options: NO_POLICY, policy: null};

  private local: BreakerEngine | null = null;  // null = the daemon decides
  private readonly runs: OutcomeRuns;

  constructor(
    readonly service: string,
    readonly operation: string,
    private readonly around: Surroundings,
  ) {
    this.runs = new OutcomeRuns(service, operation, around.ledger);
  }

  // -------------------------------------------------------------------------------------------
  // Decisions

  /** Whether the daemon has heard of what a call with these options brings. */
  brings(options: Policy): boolean {
    return options === this.broughtOptions || samePolicy(options, this.broughtOptions);
  }

  /** What the worker brought last. */
  get broughtPolicy(): BroughtPolicy {
    return this.bringing;
  }

  decide(now: number, brought: BroughtPolicy): Answer {
    // A local breaker goes on until the daemon has said something.
    if (this.local !== null || !this.confirmed || now >= this.around.trustedUntil) return ASK;
    if (brought.policy !== null && !this.brings(brought.options)) return ASK;
    if (this.state === 'CLOSED') {
      if (this.rampStartedAt !== null) {
        const admitted = rampFraction(this.policy!, now - this.rampStartedAt);
        if (admitted >= 1) {
          this.rampStartedAt = null;
          this.setGate();
        } else if (Math.random() >= admitted) {
          return this.refused(Math.max(SHORT_RETRY_AFTER, this.policy!.recoveryRamp / 100));
        }
      }
      return {kind: 'allowed', ticket: this.generation, shadow: false};
    }
    if (now < this.retryAt) return this.refused(this.retryAt - now);
    if (this.asking) return this.refused(SHORT_RETRY_AFTER);
    this.asking = true;
    return ASK_ALONE;
  }

  /**
   * The answer to a call whose question got none: refused while the daemon is heard from, for then
   * it is slow and not away, and another worker may have the probe. Null where others have to
   * decide.
   */
  refuseUnanswered(now: number): Answer | null {
    const trusted = this.local === null && this.confirmed && now < this.around.trustedUntil;
    return trusted && this.state !== 'CLOSED' ? this.refused(SHORT_RETRY_AFTER) : null;
  }

  endAsking(): void {
    this.asking = false;
  }

  /** The daemon has said that this worker may not use the circuit. */
  denied(now: number, reason: string): void {
    this.denial = {reason, askAt: now + DENIED_RETRY_AFTER};
  }

  /** Whether there is no use in asking the daemon: but for one call a second there is none. */
  isDenied(now: number): boolean {
    if (this.denial === null) return false;
    if (now < this.denial.askAt) return true;
    this.denial.askAt = now + DENIED_RETRY_AFTER;
    return false;
  }

  get whyDenied(): string | undefined {
    return this.denial === null ? undefined : `breakerd denies it: ${this.denial.reason}`;
  }

  /** Takes note of what Acquire answered, and of what went with the question. */
  learn(answer: AcquireAnswer, now: number, brought: BroughtPolicy): void {
    this.endStandIn();
    this.denial = null;
    if (brought.policy !== null) {
      this.broughtOptions = brought.options;
      this.bringing = brought;
    }
    // How a CLOSED circuit ramps is what only the stream says: it follows.
    const news = this.confirmed ?
      answer.generation > this.generation && answer.state !== 'CLOSED' :
      answer.generation !== this.generation;
    if (news) {
      this.switchTo(answer.state, answer.generation);
      this.override = null;
    }
    if (!answer.allowed && answer.state === this.state && answer.generation === this.generation) {
      this.setRetry(now, answer.retryAfter);
    }
    this.setGate();
    this.announce('', false);
  }

  /** What the daemon says after a report. */
  hear(state: CircuitState, generation: number): void {
    if (this.confirmed || this.local !== null || generation <= this.generation) return;
    this.switchTo(state, generation);
    this.override = null;
    this.setGate();
    this.announce('', false);
  }

  /** Why the circuit refuses. */
  get why(): string {
    const state = this.local?.state ?? this.state;
    if (state === 'CLOSED') return 'a share of calls is let through while it recovers';
    if (this.reason !== '') return this.reason;
    return state === 'OPEN' ? 'it is open' : 'others probe whether it has recovered';
  }

  // -------------------------------------------------------------------------------------------
  // Outcomes

  /** Counts a success of a call that was allowed under `generation` and ended at `now`. */
  succeeded(generation: number, now: number, took: number): void {
    if (took <= this.slowAfter && generation === this.generation) {
      this.counts.lastSuccessAt = now;
      if (++this.quick === FLUSH_AT) this.around.ledger.onUrgent();
      if (!this.noted) this.note();
      return;
    }
    this.record(generation, 'SUCCESS', '', took, now);
  }

  /** Counts a call that was allowed under `generation`. */
  record(
      generation: number, outcome: Outcome, label: string, took: number, now = monotonic()): void {
    const slow = outcome !== 'IGNORED' && took > this.slowAfter;
    const failed = outcome === 'FAILURE' || (slow && this.slowIsFailure);
    if (outcome === 'SUCCESS') this.counts.lastSuccessAt = now;
    if (failed) this.counts.lastFailureAt = now;
    if (!failed && generation === this.generation) {
      if (outcome === 'IGNORED') ++this.ignored;
      else if (slow) ++this.slow;
      else ++this.quick;
      if (this.quick + this.slow === FLUSH_AT) this.around.ledger.onUrgent();
      if (!this.noted) this.note();
      return;
    }
    this.drain();  // What was counted before comes before.
    this.runs.append(generation, outcome, 1, slow ? 1 : 0, label);
    if (generation === this.generation) this.counts.count(now, failed ? 0 : 1, failed ? 1 : 0);
    if (!this.noted) this.note();
    if (failed) this.around.ledger.onUrgent();
  }

  /** Moves up to `most` runs, oldest first, to the end of `runs`; says whether any are left. */
  takeRuns(most: number, runs: OutcomeRun[]): boolean {
    this.noted = false;
    this.drain();
    return this.runs.take(most, runs);
  }

  note(): void {
    if (this.noted) return;
    this.noted = true;
    this.around.ledger.note(this);
  }

  /** Takes note of a call whose outcome the daemon has been told by itself. */
  reported(outcome: Outcome, took: number, now = monotonic()): void {
    if (outcome === 'IGNORED') return;
    const failed = outcome === 'FAILURE' || (took > this.slowAfter && this.slowIsFailure);
    if (failed) this.counts.lastFailureAt = now;
    else this.counts.lastSuccessAt = now;
    this.counts.count(now, failed ? 0 : 1, failed ? 1 : 0);
  }

  private drain(): void {
    if (this.ignored > 0) this.runs.append(this.generation, 'IGNORED', this.ignored, 0, '');
    const successes = this.quick + this.slow;
    // The slow ones are taken to have come last.
    if (successes > 0) {
      this.runs.append(this.generation, 'SUCCESS', successes, this.slow, '');
      this.counts.count(this.counts.lastSuccessAt, successes, 0);
    }
    this.ignored = this.quick = this.slow = 0;
  }

  // -------------------------------------------------------------------------------------------
  // Without the daemon

  decideLocally(now: number, policy: Policy | null): Answer {
    if (this.local === null) {
      if (this.state === 'OPEN' && this.override === null && now < this.retryAt) {
        return this.refused(this.retryAt - now);
      }
      const known = this.policy ?? withDefaults(policy ?? NO_POLICY, BUILT_IN_POLICY);
      const closed = this.state === 'CLOSED' || this.override !== null;
      const local = new BreakerEngine(this.service, this.operation, known, {
        clock: monotonic,
        random: Math.random,
        onTransition: ({cause, reason}) => {
          if (this.local !== local) return;
          this.reason = reason;
          this.announce(cause, true);
        },
      }, closed ? 'CLOSED' : 'HALF_OPEN');
      if (this.override !== null) local.setOverride(this.override);
      this.local = local;
      this.setGate();
      this.announce('', true);
    }
    const decision = this.local.acquire(this.around.workerId);
    if (!decision.allowed) {
      return {kind: 'refused', state: decision.state, retryAfter: decision.retryAfter};
    }
    return {kind: 'allowed', ticket: decision.permitId, shadow: decision.shadow};
  }

  recordLocally(permitId: number, outcome: Outcome, duration: number): void {
    const {workerId} = this.around;
    this.local?.report({workerId, permitId, outcome, duration});
  }

  // -------------------------------------------------------------------------------------------
  // What the stream says

  update(update: CircuitUpdate, stream: number, now: number): void {
    if (update.removed) {
      this.switchTo('CLOSED', 0);
      this.override = null;
      this.confirmed = this.subscribed = false;
      this.endStandIn();
      this.setGate();
      this.announce('', false);
      return;
    }
    // The first word of a new stream counts in any case: the daemon may have lost its memory.
    const first = !this.confirmed || this.stream !== stream;
    if (!first && update.generation < this.generation) return;
    this.confirmed = true;
    this.stream = stream;
    this.endStandIn();

    this.policy = update.policy;
    this.slowAfter = update.policy.expectedResponseTime;
    this.slowIsFailure = update.policy.slowCallsAreFailures;
    this.counts.setWindow(update.policy.monitoringWindow);
    this.override = update.override;

    const changed = update.generation !== this.generation;
    this.switchTo(update.state, update.generation);
    if (this.state === 'HALF_OPEN' && changed) {
      this.setRetry(now, 0);  // Probes are to be had.
    } else if (this.state !== 'CLOSED') {
      this.setRetry(now, update.retryAfter);
    }
    this.rampStartedAt = null;
    const ramp = update.rampFraction;
    if (this.state === 'CLOSED' && ramp > 0 && ramp < 1 && update.policy.recoveryRamp > 0) {
      this.rampStartedAt = now - rampElapsed(update.policy, ramp);
    }
    this.reason = update.transition?.reason ?? this.reason;
    if (this.reason === '' && update.override !== null) this.reason = inWords(update.override);
    this.setGate();
    this.announce(update.transition?.cause ?? '', false);
  }

  /** What another stream has said is not taken for current any more. */
  distrustUnlessFrom(stream: number): void {
    if (this.stream === stream) return;
    this.confirmed = false;
    this.setGate();
  }

  /** As far as this worker knows. */
  stats(): CircuitBreakerStats {
    if (this.local !== null) return publicStats(this.local.stats());
    this.drain();
    const open = this.state === 'OPEN' && this.override === null;
    return this.counts.stats(this.state, open ? this.nextAttemptTime : null);
  }

  /** Whether it is worth asking the daemon for its counts. */
  lacksNews(age: number): boolean {
    return this.local === null && this.counts.isStale(this.generation, age);
  }

  // -------------------------------------------------------------------------------------------

  private refused(retryAfter: number): Answer {
    // A policy on trial refuses nothing; an operator's order is not a policy.
    if (this.policy?.shadow === true && this.override === null) {
      return {kind: 'allowed', ticket: 0, shadow: true};
    }
    return {kind: 'refused', state: this.state, retryAfter};
  }

  private setRetry(now: number, retryAfter: number): void {
    this.retryAt = now + retryAfter;
    this.nextAttemptTime = new Date(Date.now() + retryAfter);
  }

  private switchTo(state: CircuitState, generation: number): void {
    this.state = state;
    if (generation === this.generation) return;
    this.drain();
    if (state === 'CLOSED' && this.generation !== 0) this.counts.clear();
    this.generation = generation;
    this.rampStartedAt = null;
    this.reason = '';
    this.nextAttemptTime = null;
  }

  private endStandIn(): void {
    if (this.local === null) return;
    this.local = null;
    this.reason = '';
  }

  private setGate(): void {
    this.open = this.confirmed && this.local === null && this.state === 'CLOSED' &&
        this.rampStartedAt === null;
  }

  private announce(cause: string, local: boolean): void {
    const from = this.announced;
    const to = this.local?.state ?? this.state;
    if (from === to) return;
    this.announced = to;
    const {service, operation, reason} = this;
    const generation = local ? this.local!.generation : this.generation;
    this.around.onStateChange({service, operation, from, to, cause, reason, generation, local});
  }
}
