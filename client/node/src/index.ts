/** @packageDocumentation Circuit breakers that a fleet of workers shares, through breakerd. */

export {CircuitBreakerService} from './service.js';
export type {CacheStats, CircuitBreakerServiceEvents} from './service.js';
export type {
  CircuitBreakerServiceOptions, ExecuteOptions, Fallback, IsFailure, Mode, OnDaemonUnavailable,
} from './options.js';
export {optionsFromEnvironment} from './environment.js';
export type {EnvironmentOptions} from './environment.js';
export type {TlsOptions} from './tls_credentials.js';
export type {GuardedFunction} from './bounded_call.js';
export type {StateChange} from './state_change.js';
export type {CircuitBreakerStats} from './local_stats.js';
export type {FailureCounting, Policy} from './policy.js';
export {BreakerdError, CallTimeoutError, CircuitOpenError} from './errors.js';
export type {StatusCode} from './errors.js';
export {MemoryBreakerTransport} from './memory_transport.js';
export type {MemoryBreakerTransportOptions} from './memory_transport.js';
export type * from './transport.js';
