import type {CircuitState} from './transport.js';

/** A change of what this worker takes a circuit's state to be. */
export interface StateChange {
  readonly service: string;
  readonly operation: string;
  readonly from: CircuitState;
  readonly to: CircuitState;
  /** By the contract's name, such as 'CONSECUTIVE_FAILURES'; '' where it is not known. */
  readonly cause: string;
  /** One English sentence with the numbers that decided it; '' where it is not known. */
  readonly reason: string;
  readonly generation: number;
  /** The daemon is away, and the breaker of this worker's own has decided so. */
  readonly local: boolean;
}
