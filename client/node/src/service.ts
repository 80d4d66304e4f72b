import {EventEmitter} from 'node:events';

import {Admission} from './admission.js';
import type {Permit} from './admission.js';
import type {BroughtPolicy} from './answer.js';
import {runBounded} from './bounded_call.js';
import type {GuardedFunction} from './bounded_call.js';
import {Cache} from './cache.js';
import type {Cell} from './cell.js';
import {Daemon} from './daemon.js';
import {BreakerdError, CallTimeoutError, CircuitOpenError, labelOf} from './errors.js';
import {GrpcTransport} from './grpc_transport.js';
import {publicStats} from './local_stats.js';
import type {CircuitBreakerStats} from './local_stats.js';
import {checkNames} from './names.js';
import {DEFAULT_TARGET, settingsOf} from './options.js';
import type {
  CircuitBreakerServiceOptions, ExecuteOptions, Fallback, Settings,
} from './options.js';
import {NO_POLICY, checkPolicy, policyIn, samePolicy, withDefaults} from './policy.js';
import type {StateChange} from './state_change.js';
import {now} from './time.js';
import type {Outcome} from './transport.js';

/** The daemon's counts are asked for again when those at hand are older, in milliseconds. */
const STATS_MAX_AGE = 1000;

const NO_OPTIONS: ExecuteOptions = NO_POLICY;

/** How the cache of a service is doing. */
export interface CacheStats {
  /** Known at once. */
  readonly breakers: number;
  /**
   * Outcomes that the daemon will never hear of, because it rejected them, did not permit them, or
   * was away while too many of too many kinds were waiting.
   */
  readonly droppedOutcomes: number;
}

export interface CircuitBreakerServiceEvents {
  stateChange: [change: StateChange];
}

export declare interface CircuitBreakerService {
  on<E extends keyof CircuitBreakerServiceEvents>(
      event: E, listener: (...args: CircuitBreakerServiceEvents[E]) => void): this;
  once<E extends keyof CircuitBreakerServiceEvents>(
      event: E, listener: (...args: CircuitBreakerServiceEvents[E]) => void): this;
  off<E extends keyof CircuitBreakerServiceEvents>(
      event: E, listener: (...args: CircuitBreakerServiceEvents[E]) => void): this;
}

/**
 * Circuit breakers that this process shares with all others that use the same daemon. One for the
 * process is enough: it has one connection. It does not keep the process alive.
 */
export class CircuitBreakerService extends EventEmitter {
  private readonly settings: Settings;
  private readonly daemon: Daemon;
  private readonly cache: Cache;
  private readonly admission: Admission;
  /** Each call is bounded by a timeout of the service's. */
  private readonly bounded: boolean;
  /** What a call without a policy brings. */
  private readonly bringsOwn: BroughtPolicy;
  private readonly asked = new Set<Cell>();  // whose counts the daemon is being asked for
  private closing: Promise<void> | null = null;

  /** Throws BreakerdError INVALID_ARGUMENT if an option is not valid, or a file of it. */
  constructor(options: CircuitBreakerServiceOptions = {}) {
    super();
    this.settings = settingsOf(options, options.transport?.preferredMode ?? 'cached');
    if (this.settings.policy !== null) checkPolicy(this.settings.policy);
    const transport = options.transport ??
        new GrpcTransport({...options, target: options.target ?? DEFAULT_TARGET});
    this.bringsOwn = {options: NO_POLICY, policy: this.settings.policy};
    this.bounded = this.settings.timeout !== undefined;
    this.daemon = new Daemon(transport, this.settings.rpcTimeout);
    this.cache = new Cache(this.settings, transport, (change) => this.announce(change));
    this.admission = new Admission(this.settings, this.daemon, this.cache);
  }

  /**
   * Runs `fn` if the circuit of (service, operation) lets it, tells how it went, and gives what it
   * gives. When the circuit refuses, `fallback` answers instead; without one the promise is
   * rejected with CircuitOpenError.
   *
   * Also rejects with what `fn` throws or rejects with, CallTimeoutError, the reason of the
   * options' signal, and BreakerdError INVALID_ARGUMENT for a name or policy that is not valid:
   * nothing runs then. Every other error of the daemon is met as if it were away.
   */
  execute<T, F = T>(
      service: string, operation: string, fn: GuardedFunction<T>, fallback?: Fallback<F> | null,
      given?: ExecuteOptions | null): Promise<T | F> {
    const options = given ?? NO_OPTIONS;
    const cell = this.cache.cells.find(service, operation);
    if (cell === undefined || !cell.open || !cell.brings(options) || this.isBounded(options)) {
      return this.executeSlowly(cell, service, operation, fn, fallback, options);
    }
    const start = now();
    if (start >= this.cache.surroundings.trustedUntil) {
      return this.executeSlowly(cell, service, operation, fn, fallback, options);
    }
    const generation = cell.generation;
    const failed = (error: unknown) =>
      this.afterFailure(error, cell, generation, now() - start, fallback, options);
    let running: T | PromiseLike<T>;
    try {
      running = fn();
    } catch (error) {
      return failed(error);
    }
    // A then is less work than an async function that awaits.
    const promise = running instanceof Promise ? running as Promise<T> : Promise.resolve(running);
    return promise.then((value) => {
      const end = now();
      cell.succeeded(generation, end, end - start);
      return value;
    }, failed);
  }

  /**
   * What this worker knows, without asking: the state as the daemon pushed it last; counts as the
   * daemon gave them last, with this worker's own since. Asking also has the counts refreshed in
   * the background if they are older than a second; until the first answer they are this worker's
   * own. Null for a breaker that this service has not called.
   */
  getCircuitBreakerStats(service: string, operation: string): CircuitBreakerStats | null {
    const cell = this.cache.cells.find(service, operation);
    if (cell === undefined) return null;
    if (cell.lacksNews(STATS_MAX_AGE) && !this.asked.has(cell) && !this.daemon.isAway()) {
      this.fetchInto(cell).catch(() => {});  // The next one asks again.
    }
    return cell.stats();
  }

  /**
   * The daemon's own word; what this worker has not told it yet is sent first. Null for a breaker
   * that does not exist: asking never creates one. Rejects with BreakerdError: UNAVAILABLE when the
   * daemon is away, and what else it objects to.
   */
  async fetchCircuitBreakerStats(
      service: string, operation: string): Promise<CircuitBreakerStats | null> {
    const cell = this.cache.cells.find(service, operation);
    try {
      if (cell !== undefined) return await this.fetchInto(cell);
      return publicStats(await this.daemon.getStats({service, operation}));
    } catch (error) {
      if (error instanceof BreakerdError && error.code === 'NOT_FOUND') return null;
      throw error;
    }
  }

  /**
   * Whether the daemon answers within `timeout` milliseconds. For a process that wants to have its
   * connection before it takes work; there is no need to.
   */
  ready(timeout = 5000): Promise<boolean> {
    return this.daemon.ping(timeout);
  }

  cacheStats(): CacheStats {
    return {breakers: this.cache.cells.size, droppedOutcomes: this.cache.droppedOutcomes};
  }

  /**
   * Sends the outcomes that were not sent yet, for at most a second, and ends the connection. Calls
   * that come later are met as if the daemon were away. Never rejects.
   */
  close(): Promise<void> {
    this.closing ??= this.cache.close().then(() => this.daemon.close());
    return this.closing;
  }

  // -------------------------------------------------------------------------------------------

  private async executeSlowly<T, F>(
      cell: Cell | undefined, service: string, operation: string, fn: GuardedFunction<T>,
      fallback: Fallback<F> | null | undefined, options: ExecuteOptions): Promise<T | F> {
    options.signal?.throwIfAborted();
    const brought = this.broughtBy(options, cell);
    if (cell === undefined) checkNames(service, operation);
    const admitted = this.admission.admit(service, operation, cell, brought);
    const permit = admitted instanceof Promise ? await admitted : admitted;
    if (!permit.allowed) {
      const error = new CircuitOpenError(
          service, operation, permit.state, Math.ceil(permit.retryAfter), permit.reason);
      if (!fallback) throw error;
      return fallback(error);
    }
    const start = now();
    let value: T;
    try {
      options.signal?.throwIfAborted();
      const timeout = options.timeout ?? this.settings.timeout;
      value = options.signal === undefined && timeout === undefined ?
        await fn() :
        await runBounded(fn, options.signal, timeout);
    } catch (error) {
      const failed = this.failed(error, permit, options);
      await this.conclude(permit, failed ? 'FAILURE' : 'IGNORED', now() - start,
          failed ? labelOf(error) : '');
      if (failed && this.fallsBackOnFailure(options) && fallback) return fallback(error);
      throw error;
    }
    await this.conclude(permit, 'SUCCESS', now() - start, '');
    return value;
  }

  /** Of a call that a cell allowed. */
  private async afterFailure<F>(
      error: unknown, cell: Cell, generation: number, took: number,
      fallback: Fallback<F> | null | undefined, options: ExecuteOptions): Promise<F> {
    const failed = this.failed(error, cell, options);
    cell.record(
        generation, failed ? 'FAILURE' : 'IGNORED', failed ? labelOf(error) : '', took);
    if (failed && this.fallsBackOnFailure(options) && fallback) return fallback(error);
    throw error;
  }

  private conclude(
      permit: Permit, outcome: Outcome, took: number, label: string): Promise<void> | undefined {
    return this.admission.conclude(permit, outcome, took, label);
  }

  private isBounded(options: ExecuteOptions): boolean {
    return this.bounded || options.timeout !== undefined || options.signal !== undefined;
  }

  /** Whether an error counts as a failure; else as nothing. */
  private failed(
      error: unknown, {service, operation}: {service: string, operation: string},
      options: ExecuteOptions): boolean {
    if (error instanceof CallTimeoutError) return true;
    if (options.signal?.aborted && error === options.signal.reason) return false;
    try {
      return (options.isFailure ?? this.settings.isFailure)(error, {service, operation});
    } catch {
      return true;  // The verdict's own error must not hide the call's.
    }
  }

  private fallsBackOnFailure(options: ExecuteOptions): boolean {
    return options.fallbackOnFailure ?? this.settings.fallbackOnFailure;
  }

  private broughtBy(options: ExecuteOptions, cell: Cell | undefined): BroughtPolicy {
    if (samePolicy(options, NO_POLICY)) return this.bringsOwn;
    if (cell?.brings(options)) return cell.broughtPolicy;
    const own = policyIn(options);
    checkPolicy(own);
    return {options: own, policy: withDefaults(own, this.settings.policy ?? NO_POLICY)};
  }

  private async fetchInto(cell: Cell): Promise<CircuitBreakerStats> {
    this.asked.add(cell);
    try {
      await this.cache.flush(this.settings.rpcTimeout);
      cell.counts.asking();
      const stats = await this.daemon.getStats({service: cell.service, operation: cell.operation});
      cell.counts.answered(stats);
      return publicStats(stats);
    } finally {
      this.asked.delete(cell);
    }
  }

  private announce(change: StateChange): void {
    try {
      this.emit('stateChange', change);
    } catch (error) {
      // A listener's error is the process's to handle, and not the stream's.
      process.nextTick(() => {
        throw error;
      });
    }
  }
}
