/**
 * @file Tells the operator of circuits: each change with its reason; that calls are refused, once
 * for each change; and how many they were, when the circuit has closed again.
 */

import {CircuitOpenError, type CircuitBreakerService} from 'breakerd-client';

import type {Log} from './log.js';

export class CircuitLog {
  /** Refused calls since the circuit was last closed, by the breaker's name. */
  private readonly refusedCalls = new Map<string, number>();
  /** The circuits whose refusals were told of since their last change. */
  private readonly told = new Set<string>();

  constructor(breakers: CircuitBreakerService, private readonly log: Log) {
    breakers.on('stateChange', ({service, operation, from, to, reason, local}) => {
      const name = `${service}/${operation}`;
      this.told.delete(name);
      const level = to === 'OPEN' ? 'warn' : 'info';
      log[level]('circuit_changed', {
        circuit: name, from, to, reason,
        decided_by: local ? 'worker' : 'breakerd',  // The worker, while the daemon is away.
      });
      if (to !== 'CLOSED') return;
      const refused = this.refusedCalls.get(name);
      this.refusedCalls.delete(name);
      if (refused !== undefined) log.info('circuit_recovered', {circuit: name, refused});
    });
  }

  /** To be called with what a fallback is given. */
  refused(reason: unknown): void {
    if (!(reason instanceof CircuitOpenError)) return;
    const {service, operation, state, retryAfter} = reason;
    const name = `${service}/${operation}`;
    this.refusedCalls.set(name, (this.refusedCalls.get(name) ?? 0) + 1);
    if (this.told.has(name)) return;
    this.told.add(name);
    this.log.warn('refusing_calls', {circuit: name, state, retry_after_ms: Math.ceil(retryAfter)});
  }
}
