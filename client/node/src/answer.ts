import type {Policy} from './policy.js';
import type {CircuitState} from './transport.js';

/** What a call brings: its own options, and what they make of the service's policy. */
export interface BroughtPolicy {
  readonly options: Policy;
  /** Null = none. */
  readonly policy: Policy | null;
}

/** The call may be made. */
interface Allowed {
  readonly kind: 'allowed';
  /** What to record with: the generation, or the local breaker's permit. */
  readonly ticket: number;
  readonly shadow: boolean;
}

/** What a cell says to a call that wants to be made. */
export type Answer =
  | {readonly kind: 'ask'}  // the daemon decides
  | {readonly kind: 'ask-alone'}  // and others are refused until endAsking
  | Allowed
  | {readonly kind: 'refused', readonly state: CircuitState, readonly retryAfter: number};
