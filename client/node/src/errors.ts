/** The errors of this package, and the labels of other ones. */

import type {CircuitState} from './transport.js';

const MAX_LABEL_BYTES = 64;

/** gRPC's names, such as 'UNAVAILABLE'. */
export type StatusCode = 'CANCELLED' | 'UNKNOWN' | 'INVALID_ARGUMENT' | 'DEADLINE_EXCEEDED' |
    'NOT_FOUND' | 'ALREADY_EXISTS' | 'PERMISSION_DENIED' | 'RESOURCE_EXHAUSTED' |
    'FAILED_PRECONDITION' | 'ABORTED' | 'OUT_OF_RANGE' | 'UNIMPLEMENTED' | 'INTERNAL' |
    'UNAVAILABLE' | 'DATA_LOSS' | 'UNAUTHENTICATED';

/**
 * The circuit refused the call: it was not made. `execute` rejects with it, or hands it to the
 * fallback.
 */
export class CircuitOpenError extends Error {
  override readonly name = 'CircuitOpenError';

  constructor(
    readonly service: string,
    readonly operation: string,
    /** OPEN, HALF_OPEN while others probe, or CLOSED where a recovery ramp leaves a call out. */
    readonly state: CircuitState,
    /** After how many milliseconds it is worth asking again. */
    readonly retryAfter: number,
    /** One English sentence: why it is so, as far as this worker knows. */
    readonly reason: string,
  ) {
    super(`${service}/${operation} is ${state}, retry in ${inWords(retryAfter)}: ${reason}`);
  }
}

/** The call took longer than `timeout` milliseconds. It counts as a failure. */
export class CallTimeoutError extends Error {
  override readonly name = 'CallTimeoutError';

  constructor(readonly timeout: number) {
    super(`The call took longer than ${timeout} ms`);
  }
}

/**
 * The daemon, or the client in its stead, has an objection: a policy or name that is not valid
 * (INVALID_ARGUMENT), or statistics that cannot be had (UNAVAILABLE and others).
 */
export class BreakerdError extends Error {
  override readonly name = 'BreakerdError';

  constructor(readonly code: StatusCode, message: string) {
    super(message);
  }
}

/** For options, names and policies: `message` begins with the field and says what is allowed. */
export function invalid(message: string): BreakerdError {
  return new BreakerdError('INVALID_ARGUMENT', message);
}

/** For people: whole seconds, or milliseconds below one; rounded up. */
function inWords(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.ceil(milliseconds)}ms`;
  return `${Math.ceil(milliseconds / 1000)}s`;
}

/** What to call a failure by in the daemon's records: at most 64 bytes of ASCII. */
export function labelOf(error: unknown): string {
  let label: string;
  if (error instanceof Error) {
    // ECONNREFUSED says more than Error does.
    const code: unknown = (error as {code?: unknown}).code;
    label = error.name === 'Error' && typeof code === 'string' ? code : String(error.name);
  } else {
    label = error === null ? 'null' : typeof error;
  }
  return label.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_LABEL_BYTES);
}
