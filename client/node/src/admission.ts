import type {Answer, BroughtPolicy} from './answer.js';
import type {Cache} from './cache.js';
import type {Cell} from './cell.js';
import type {Daemon} from './daemon.js';
import {BreakerdError} from './errors.js';
import type {Settings} from './options.js';
import {now as monotonic} from './time.js';
import type {CircuitState, Outcome} from './transport.js';

/** When a daemon that is away is asked again, at the earliest, in milliseconds. */
const AWAY_RETRY_AFTER = 100;

/**
 * The answer to a call that wants to be made. `grantor`: to whom the outcome goes; null = to no
 * one.
 */
export interface Permit {
  readonly service: string;
  readonly operation: string;
  readonly cell: Cell | undefined;
  readonly allowed: boolean;
  readonly grantor: 'daemon' | 'cell' | 'local' | null;
  /** permit_id if the daemon's or local, generation if from a cell. */
  readonly ticket: bigint | number;
  // When refused.
  readonly state: CircuitState;
  readonly retryAfter: number;
  readonly reason: string;
}

/** Decides which calls are made: by what a cell knows, by the daemon, or without it. */
export class Admission {
  constructor(
    private readonly settings: Settings,
    private readonly daemon: Daemon,
    private readonly cache: Cache,
  ) {}

  /** Rejects with BreakerdError INVALID_ARGUMENT alone. */
  admit(
      service: string, operation: string, cell: Cell | undefined,
      brought: BroughtPolicy): Permit | Promise<Permit> {
    if (cell === undefined) return this.ask(service, operation, cell, brought);
    const answer = cell.decide(monotonic(), brought);
    switch (answer.kind) {
      case 'ask':
        if (this.daemon.isAway() || cell.isDenied(monotonic())) {
          return this.withoutDaemon(service, operation, cell, brought);
        }
        return this.ask(service, operation, cell, brought);
      case 'ask-alone':
        return this.ask(service, operation, cell, brought).finally(() => cell.endAsking());
      default:
        return permitOf(answer, cell, 'cell', cell.why);
    }
  }

  /**
   * Tells the outcome to whom it concerns. One that the daemon has to be told at once takes as long
   * as that takes, at most the rpc timeout, and is lost if it fails: the daemon then abandons the
   * permit.
   */
  conclude(permit: Permit, outcome: Outcome, duration: number, error: string):
      Promise<void> | undefined {
    const {cell, ticket} = permit;
    switch (permit.grantor) {
      case 'cell':
        cell!.record(ticket as number, outcome, error, duration);
        return undefined;
      case 'local':
        cell!.recordLocally(ticket as number, outcome, duration);
        return undefined;
      case 'daemon':
        return this.report(permit, outcome, duration, error);
      case null:
        return undefined;
    }
  }

  private async report(
      permit: Permit, outcome: Outcome, duration: number, error: string): Promise<void> {
    const {service, operation, cell} = permit;
    const {workerId} = this.settings;
    try {
      const answer = await this.daemon.report({
        service, operation, workerId, permitId: permit.ticket as bigint, outcome, duration, error,
      });
      cell?.reported(outcome, duration);
      cell?.hear(answer.state, answer.generation);
    } catch {
      // Lost.
    }
  }

  private async ask(
      service: string, operation: string, known: Cell | undefined,
      brought: BroughtPolicy): Promise<Permit> {
    let answer;
    try {
      answer = await this.daemon.acquire(
          {service, operation, workerId: this.settings.workerId, policy: brought.policy});
    } catch (error) {
      if (error instanceof BreakerdError && error.code === 'INVALID_ARGUMENT') throw error;
      const code = error instanceof BreakerdError ? error.code : 'UNKNOWN';
      if (code === 'PERMISSION_DENIED') {
        const cell = known ?? this.cache.cells.findOrCreate(service, operation);
        cell?.denied(monotonic(), (error as Error).message);
        return this.withoutDaemon(service, operation, cell, brought);
      }
      const refusal = code === 'UNAUTHENTICATED' ? undefined : known?.refuseUnanswered(monotonic());
      if (refusal) return permitOf(refusal, known!, 'cell', known!.why);
      return this.withoutDaemon(service, operation, known, brought);
    }
    const cell = known ?? this.cache.cells.findOrCreate(service, operation);
    if (cell !== undefined) {
      cell.learn(answer, monotonic(), brought);
      this.cache.follow(cell);
    }
    const {allowed, state, retryAfter} = answer;
    return {
      service, operation, cell, allowed, state, retryAfter,
      grantor: allowed && !answer.shadow ? 'daemon' : null,
      ticket: answer.permitId,
      reason: cell?.why ?? '',
    };
  }

  private withoutDaemon(
      service: string, operation: string, known: Cell | undefined, brought: BroughtPolicy): Permit {
    const choice = this.settings.onDaemonUnavailable;
    const cell = choice === 'local' ?
      known ?? this.cache.cells.findOrCreate(service, operation) :
      known;
    if (choice === 'local' && cell !== undefined) {
      const answer = cell.decideLocally(monotonic(), brought.policy);
      return permitOf(answer, cell, 'local', cell.why);
    }
    const allowed = choice !== 'deny';
    return {
      service, operation, cell, allowed,
      grantor: null,
      ticket: 0,
      state: allowed ? 'CLOSED' : 'OPEN',
      retryAfter: AWAY_RETRY_AFTER,
      reason: known?.whyDenied ?? this.daemon.whyAway,
    };
  }
}

function permitOf(answer: Answer, cell: Cell, grantor: 'cell' | 'local', reason: string): Permit {
  const {service, operation} = cell;
  if (answer.kind === 'allowed') {
    return {
      service, operation, cell, reason,
      allowed: true,
      grantor: answer.shadow ? null : grantor,
      ticket: answer.ticket,
      state: 'CLOSED',
      retryAfter: 0,
    };
  }
  const {state, retryAfter} = answer as Extract<Answer, {kind: 'refused'}>;
  return {
    service, operation, cell, state, retryAfter, reason, allowed: false, grantor: null, ticket: 0,
  };
}
