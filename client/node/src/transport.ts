/**
 * What a client needs of a daemon: the rpcs of breaker.v1.CircuitBreaker in terms of JavaScript.
 * Times are in milliseconds, generations are whole numbers.
 */

import type {BreakerdError} from './errors.js';
import type {EffectivePolicy, Policy} from './policy.js';

export type CircuitState = 'CLOSED' | 'OPEN' | 'HALF_OPEN';

/** IGNORED gives the permit back and counts nothing. */
export type Outcome = 'SUCCESS' | 'FAILURE' | 'IGNORED';

export interface BreakerName {
  readonly service: string;
  readonly operation: string;
}

export interface AcquireRequest extends BreakerName {
  readonly workerId: string;
  /** Null = brings none. */
  readonly policy: Policy | null;
}

export interface AcquireAnswer {
  readonly allowed: boolean;
  /** 0 = there is none to give back. */
  readonly permitId: bigint;
  readonly state: CircuitState;
  readonly probe: boolean;
  readonly retryAfter: number;
  readonly generation: number;
  readonly shadow: boolean;
}

export interface ReportRequest extends BreakerName {
  readonly workerId: string;
  readonly permitId: bigint;
  readonly outcome: Outcome;
  readonly duration: number;
  readonly error: string;
}

export interface ReportAnswer {
  readonly state: CircuitState;
  /** 0 for a breaker that does not exist. */
  readonly generation: number;
}

/** `count` equal outcomes in a row, of calls that were admitted under `generation`. */
export interface OutcomeRun extends BreakerName {
  readonly generation: number;
  readonly outcome: Outcome;
  readonly count: number;
  readonly slowCount: number;
  readonly error: string;
}

export interface ReportBatchRequest {
  readonly workerId: string;
  readonly sessionId: bigint;
  readonly sequence: number;
  /** Of the kept batch before this one, which the daemon must have had; 0 = none. */
  readonly previousSequence: number;
  readonly outcomes: readonly OutcomeRun[];
}

export interface ReportBatchAnswer {
  readonly counted: number;
  readonly stale: number;
  readonly duplicate: boolean;
  /** Batches up to this number need not be kept any more. */
  readonly storedSequence: number;
  /** Outcomes that were left out, as this worker has no permission to send them. */
  readonly denied: number;
}

/** One breaker at one instant, counts being those of its window. */
export interface DaemonStats extends BreakerName {
  readonly state: CircuitState;
  readonly generation: number;
  readonly failureCount: number;
  readonly successCount: number;
  readonly totalRequests: number;
  readonly failureRate: number;
  readonly lastFailureTime: Date | null;
  readonly lastSuccessTime: Date | null;
  /** Set only while OPEN, and not while forced open. */
  readonly nextAttemptTime: Date | null;
}

export interface Override {
  readonly mode: 'FORCED_OPEN' | 'FORCED_CLOSED';
  readonly reason: string;
  readonly actor: string;
  /** Null = never. */
  readonly expiresAt: Date | null;
}

export interface Transition {
  readonly from: CircuitState;
  readonly to: CircuitState;
  readonly time: Date;
  /** By the contract's name, such as 'CONSECUTIVE_FAILURES'. */
  readonly cause: string;
  /** One English sentence with the numbers that decided it. */
  readonly reason: string;
  readonly generation: number;
}

export interface Subscription extends BreakerName {
  readonly policy: Policy | null;
}

export interface CircuitUpdate extends BreakerName {
  readonly state: CircuitState;
  readonly generation: number;
  readonly retryAfter: number;
  readonly override: Override | null;
  readonly policy: EffectivePolicy;
  /** Null in the first update of a subscription. */
  readonly transition: Transition | null;
  readonly rampFraction: number;
  readonly removed: boolean;
}

export interface WatchMessage {
  readonly updates: readonly CircuitUpdate[];
  /** The longest that the stream is silent; 0 = not said. */
  readonly heartbeatInterval: number;
}

export interface WatchListener {
  onMessage(message: WatchMessage): void;
  /** It is over, or never began. Called once, and nothing after it. */
  onEnd(error: BreakerdError): void;
}

export interface WatchCall {
  subscribe(subscriptions: readonly Subscription[]): void;
  cancel(): void;
}

/**
 * The way to a daemon. Promises are rejected with BreakerdError alone, DEADLINE_EXCEEDED when
 * `timeout` milliseconds have passed; no method throws. Nothing but a pending promise keeps the
 * process alive.
 */
export interface BreakerTransport {
  /** The mode of a service that names none. */
  readonly preferredMode: 'cached' | 'remote';
  acquire(request: AcquireRequest, timeout: number): Promise<AcquireAnswer>;
  report(request: ReportRequest, timeout: number): Promise<ReportAnswer>;
  reportBatch(request: ReportBatchRequest, timeout: number): Promise<ReportBatchAnswer>;
  /** NOT_FOUND for a breaker that does not exist. */
  getStats(name: BreakerName, timeout: number): Promise<DaemonStats>;
  /** Is answered, or not. */
  ping(timeout: number): Promise<void>;
  watch(workerId: string, listener: WatchListener): WatchCall;
  /** Ends all that is under way. */
  close(): void;
}
