import {BreakerEngine} from './breaker_engine.js';
import {BreakerdError} from './errors.js';
import {publicStats} from './local_stats.js';
import type {CircuitBreakerStats} from './local_stats.js';
import {checkNames} from './names.js';
import {BUILT_IN_POLICY, withDefaults} from './policy.js';
import type {Policy} from './policy.js';
import {now as monotonic} from './time.js';
import type {
  AcquireAnswer, AcquireRequest, BreakerName, BreakerTransport, CircuitUpdate, DaemonStats,
  Override, ReportAnswer, ReportBatchAnswer, ReportBatchRequest, ReportRequest, Subscription,
  Transition, WatchCall, WatchListener,
} from './transport.js';

const HEARTBEAT_INTERVAL = 1000;

/** One Watch stream. */
interface Watcher {
  readonly workerId: string;
  readonly listener: WatchListener;
  readonly subscribed: Set<BreakerEngine>;
}

export interface MemoryBreakerTransportOptions {
  /** Uniform in [0, 1): decides whom a recovery ramp lets through, and the jitter. */
  random?: (() => number) | undefined;
}

/**
 * A daemon within the process, for tests that need none: services that are given the same one share
 * their circuits. It goes by the daemon's rules; operators' policies and storage are left out.
 *
 * A service on it is in remote mode unless told otherwise: each outcome counts before `execute` is
 * done, and no timer runs. Time passes as it does; `advance` makes it pass at once.
 */
export class MemoryBreakerTransport implements BreakerTransport {
  readonly preferredMode = 'remote';

  private readonly breakers = new Map<string, Map<string, BreakerEngine>>();
  private readonly watchers = new Set<Watcher>();
  private readonly lastSequences = new Map<bigint, number>();
  private readonly random: () => number;
  private skipped = 0;  // by advance, in milliseconds
  private available = true;
  private heartbeatTimer: NodeJS.Timeout | null = null;
  private deadlineTimer: NodeJS.Timeout | null = null;

  constructor(options: MemoryBreakerTransportOptions = {}) {
    this.random = options.random ?? Math.random;
  }

  // -------------------------------------------------------------------------------------------
  // For tests

  /** Makes `milliseconds` pass at once for all breakers. */
  advance(milliseconds: number): void {
    this.skipped += milliseconds;
    for (const breaker of this.all()) breaker.advance();
  }

  /** Null for a breaker that no one has called. */
  stats(service: string, operation: string): CircuitBreakerStats | null {
    const breaker = this.breakers.get(service)?.get(operation);
    return breaker === undefined ? null : publicStats(breaker.stats());
  }

  /** As an operator does. */
  forceOpen(service: string, operation: string, reason = 'a test'): void {
    this.override(service, operation, {mode: 'FORCED_OPEN', reason, actor: '', expiresAt: null});
  }

  forceClosed(service: string, operation: string, reason = 'a test'): void {
    this.override(service, operation, {mode: 'FORCED_CLOSED', reason, actor: '', expiresAt: null});
  }

  clearOverride(service: string, operation: string): void {
    this.breaker(service, operation).clearOverride();
  }

  /** Starts the breaker anew, CLOSED. */
  reset(service: string, operation: string): void {
    this.breaker(service, operation).reset();
  }

  /** Whether the daemon answers. While it does not, each rpc is UNAVAILABLE and no stream is up. */
  setAvailable(available: boolean): void {
    this.available = available;
    if (available) return;
    for (const watcher of this.watchers) this.end(watcher, 'UNAVAILABLE');
  }

  // -------------------------------------------------------------------------------------------
  // BreakerTransport

  async acquire(request: AcquireRequest): Promise<AcquireAnswer> {
    this.checkAvailable();
    const breaker = this.breaker(request.service, request.operation, request.policy);
    const decision = breaker.acquire(request.workerId);
    return {...decision, permitId: BigInt(decision.permitId)};
  }

  async report(request: ReportRequest): Promise<ReportAnswer> {
    this.checkAvailable();
    const {workerId, outcome, duration} = request;
    const breaker = this.breaker(request.service, request.operation);
    breaker.report({workerId, permitId: Number(request.permitId), outcome, duration});
    return {state: breaker.state, generation: breaker.generation};
  }

  async reportBatch(request: ReportBatchRequest): Promise<ReportBatchAnswer> {
    this.checkAvailable();
    const {workerId, sessionId, sequence, previousSequence, outcomes} = request;
    const last = this.lastSequences.get(sessionId) ?? 0;
    if (previousSequence > last) {
      throw new BreakerdError('ABORTED', `batch ${previousSequence} is missing`);
    }
    if (sequence <= last) {
      return {counted: 0, stale: 0, duplicate: true, storedSequence: sequence, denied: 0};
    }
    this.lastSequences.set(sessionId, sequence);
    let counted = 0;
    let stale = 0;
    for (const run of outcomes) {
      const breaker = this.breaker(run.service, run.operation);
      for (let i = 0; i < run.count; ++i) {
        const slow = i >= run.count - run.slowCount;
        if (breaker.reportFromRun(workerId, run.generation, run.outcome, slow)) ++counted;
        else ++stale;
      }
    }
    return {counted, stale, duplicate: false, storedSequence: sequence, denied: 0};
  }

  async getStats({service, operation}: BreakerName): Promise<DaemonStats> {
    this.checkAvailable();
    const breaker = this.breakers.get(service)?.get(operation);
    if (breaker !== undefined) return breaker.stats();
    throw new BreakerdError('NOT_FOUND', `there is no breaker ${service}/${operation}`);
  }

  async ping(): Promise<void> {
    this.checkAvailable();
  }

  watch(workerId: string, listener: WatchListener): WatchCall {
    const watcher: Watcher = {workerId, listener, subscribed: new Set()};
    this.watchers.add(watcher);
    if (!this.available) queueMicrotask(() => this.end(watcher, 'UNAVAILABLE'));
    this.heartbeatTimer ??= setInterval(() => this.beat(), HEARTBEAT_INTERVAL).unref();
    return {
      subscribe: (subscriptions) => queueMicrotask(() => this.subscribe(watcher, subscriptions)),
      cancel: () => queueMicrotask(() => this.end(watcher, 'CANCELLED')),
    };
  }

  /** Of one service; the others go on. */
  close(): void {}

  // -------------------------------------------------------------------------------------------

  private checkAvailable(): void {
    if (!this.available) throw new BreakerdError('UNAVAILABLE', 'the transport was told to be so');
  }

  private * all(): Iterable<BreakerEngine> {
    for (const operations of this.breakers.values()) yield* operations.values();
  }

  /** Creates it if there is none; `policy` is applied if there is one. */
  private breaker(service: string, operation: string, policy: Policy | null = null): BreakerEngine {
    let operations = this.breakers.get(service);
    let breaker = operations?.get(operation);
    const effective = policy === null ? null : withDefaults(policy, BUILT_IN_POLICY);
    if (breaker !== undefined) {
      if (effective !== null) breaker.setPolicy(effective);
      return breaker;
    }
    checkNames(service, operation);
    if (operations === undefined) this.breakers.set(service, operations = new Map());
    const created = breaker = new BreakerEngine(service, operation, effective ?? BUILT_IN_POLICY, {
      clock: () => monotonic() + this.skipped,
      random: this.random,
      onTransition: (transition) => this.push(created, transition),
    });
    operations.set(operation, breaker);
    return breaker;
  }

  private override(service: string, operation: string, override: Override): void {
    this.breaker(service, operation).setOverride(override);
  }

  private subscribe(watcher: Watcher, subscriptions: readonly Subscription[]): void {
    if (!this.watchers.has(watcher)) return;
    const updates = subscriptions.map(({service, operation, policy}) => {
      const breaker = this.breaker(service, operation, policy);
      watcher.subscribed.add(breaker);
      return updateOf(breaker, null);
    });
    watcher.listener.onMessage({updates, heartbeatInterval: HEARTBEAT_INTERVAL});
  }

  private push(breaker: BreakerEngine, transition: Transition): void {
    if (this.watchers.size === 0) return;
    // As on a wire: after the call that has caused it.
    const update = updateOf(breaker, transition);
    queueMicrotask(() => {
      for (const {subscribed, listener} of this.watchers) {
        if (!subscribed.has(breaker)) continue;
        listener.onMessage({updates: [update], heartbeatInterval: HEARTBEAT_INTERVAL});
      }
    });
    if (transition.to === 'OPEN') this.wakeInTime();
  }

  /** An OPEN circuit becomes HALF_OPEN without any traffic, as long as someone watches. */
  private wakeInTime(): void {
    if (this.deadlineTimer !== null) clearTimeout(this.deadlineTimer);
    this.deadlineTimer = null;
    let next = Infinity;
    for (const breaker of this.all()) {
      if (breaker.state === 'OPEN') next = Math.min(next, breaker.retryAfter());
    }
    if (next === Infinity) return;
    this.deadlineTimer = setTimeout(() => {
      if (this.watchers.size === 0) return;
      for (const breaker of this.all()) breaker.advance();
      this.wakeInTime();
    }, Math.ceil(next)).unref();
  }

  private beat(): void {
    for (const {listener} of this.watchers) {
      listener.onMessage({updates: [], heartbeatInterval: HEARTBEAT_INTERVAL});
    }
  }

  private end(watcher: Watcher, code: 'CANCELLED' | 'UNAVAILABLE'): void {
    if (!this.watchers.delete(watcher)) return;
    const {workerId} = watcher;
    if (![...this.watchers].some((other) => other.workerId === workerId)) {
      for (const breaker of this.all()) breaker.giveBackProbes(workerId);
    }
    if (this.watchers.size === 0 && this.heartbeatTimer !== null) {
      clearInterval(this.heartbeatTimer);
      this.heartbeatTimer = null;
    }
    watcher.listener.onEnd(new BreakerdError(code, 'the stream has ended'));
  }
}

function updateOf(breaker: BreakerEngine, transition: Transition | null): CircuitUpdate {
  const {service, operation, state, generation, override, policy} = breaker;
  return {
    service, operation, state, generation, override, policy, transition,
    retryAfter: state === 'CLOSED' ? 0 : breaker.retryAfter(),
    rampFraction: breaker.rampFraction(),
    removed: false,
  };
}
