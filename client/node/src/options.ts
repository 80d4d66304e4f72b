import type {ChannelCredentials, ChannelOptions} from '@grpc/grpc-js';
import {hostname} from 'node:os';

import {checkWorkerId} from './names.js';
import {policyIn} from './policy.js';
import type {Policy} from './policy.js';
import type {TlsOptions} from './tls_credentials.js';
import type {BreakerName, BreakerTransport} from './transport.js';

/**
 * Where calls are decided.
 *
 * 'cached': by what the daemon's stream has said last, for as long as it is heard from: it is not
 * believed after three heartbeats (3 s by default) of silence. CLOSED allows and records here, OPEN
 * and HALF_OPEN refuse here until it is worth asking, and then the daemon decides who probes. The
 * first call on each breaker asks, and so does one that brings another policy than the last.
 * Outcomes are sent within about a millisecond when one of them is a failure, else every 100 ms or
 * 4096 calls, and by close(). Each counts once, even if the daemon is killed meanwhile.
 *
 * 'remote': each call asks the daemon, and each outcome is told it at once: two round trips a call.
 * For processes that make few calls, and for exact counts.
 */
export type Mode = 'cached' | 'remote';

/**
 * What becomes of a call when the daemon cannot be asked. 'local': a breaker of this process's own
 * decides, under the policy that was in effect. It begins as the daemon's was known last, and what
 * it has seen is forgotten when the daemon is back.
 */
export type OnDaemonUnavailable = 'allow' | 'deny' | 'local';

/**
 * Whether an error says that the dependency fails. If not, it is the caller's own mistake: the
 * outcome counts as nothing.
 */
export type IsFailure = (error: unknown, breaker: BreakerName) => boolean;

export interface CircuitBreakerServiceOptions {
  /** The daemon's address, as gRPC has it. Default '127.0.0.1:50051'. */
  target?: string | undefined;
  /**
   * The same for all calls of one worker; quorum counts distinct ones. At most 128 bytes.
   * Default '<hostname>:<pid>'.
   */
  workerId?: string | undefined;
  /** Default 'cached'; with a MemoryBreakerTransport 'remote'. */
  mode?: Mode | undefined;
  /** Default 'local'. */
  onDaemonUnavailable?: OnDaemonUnavailable | undefined;
  /** The longest that one question or report may hold up a call, in milliseconds. Default 50. */
  rpcTimeout?: number | undefined;
  /** What the options of calls leave out. */
  policy?: Policy | undefined;
  /** Default: every error is a failure. */
  isFailure?: IsFailure | undefined;
  /** Run fallbacks after a failure too, and not only on a refusal. Default false. */
  fallbackOnFailure?: boolean | undefined;
  /** Of each call, in milliseconds. Default: none. */
  timeout?: number | undefined;
  /**
   * Breakers that this service knows at once; calls of further ones are as in 'remote', and allowed
   * where 'local' would decide. Default 16 384.
   */
  maxCachedBreakers?: number | undefined;
  /** Default: plain text. */
  tls?: TlsOptions | undefined;
  /**
   * Says who this worker is, to a daemon that wants to know: 1 to 4096 characters of ASCII without
   * spaces. As a function (asked once) it is not seen where options are printed.
   */
  token?: string | (() => string) | undefined;
  /** A file that holds the token; read again when it changes, within a second. */
  tokenFile?: string | undefined;
  /** Send the token without TLS too, for all to read. Default false: that is an error. */
  tokenOverPlaintext?: boolean | undefined;
  /** Of grpc-js, instead of `tls`. What they send with calls is sent besides the token. */
  credentials?: ChannelCredentials | undefined;
  /** Of grpc-js. */
  channelOptions?: ChannelOptions | undefined;
  /** Another way to a daemon than gRPC to `target`. The service closes it. */
  transport?: BreakerTransport | undefined;
}

/** A policy, and what one call does otherwise than its service. Times are in milliseconds. */
export interface ExecuteOptions extends Policy {
  /** Gives the call up: `execute` rejects with its reason, and the outcome counts as nothing. */
  signal?: AbortSignal | undefined;
  /** The call is given up after this, which is a failure (CallTimeoutError). */
  timeout?: number | undefined;
  isFailure?: IsFailure | undefined;
  fallbackOnFailure?: boolean | undefined;
}

/**
 * Answers for a call that was refused (its argument is a CircuitOpenError), or with
 * fallbackOnFailure for one that failed. The argument's type is the fallback's own to choose, as in
 * a catch clause.
 */
export type Fallback<T> = (reason: any) => T | PromiseLike<T>;

/** What a service goes by. */
export interface Settings {
  readonly workerId: string;
  readonly mode: Mode;
  readonly onDaemonUnavailable: OnDaemonUnavailable;
  readonly rpcTimeout: number;
  readonly policy: Policy | null;
  readonly isFailure: IsFailure;
  readonly fallbackOnFailure: boolean;
  readonly timeout: number | undefined;
  readonly maxCachedBreakers: number;
}

export const DEFAULT_TARGET = '127.0.0.1:50051';

export function settingsOf(options: CircuitBreakerServiceOptions, preferred: Mode): Settings {
  const workerId = options.workerId || `${hostname()}:${process.pid}`;
  checkWorkerId(workerId);
  return {
    workerId,
    mode: options.mode ?? preferred,
    onDaemonUnavailable: options.onDaemonUnavailable ?? 'local',
    rpcTimeout: options.rpcTimeout ?? 50,
    policy: options.policy === undefined ? null : policyIn(options.policy),
    isFailure: options.isFailure ?? (() => true),
    fallbackOnFailure: options.fallbackOnFailure ?? false,
    timeout: options.timeout,
    maxCachedBreakers: options.maxCachedBreakers ?? 16_384,
  };
}
