import type {Ledger} from './ledger.js';
import type {Outcome, OutcomeRun} from './transport.js';

/** Runs of one breaker that may wait to be sent. */
const MAX_RUNS = 256;

type Run = {-readonly [Field in keyof OutcomeRun]: OutcomeRun[Field]};

/**
 * The outcomes of one breaker that wait to be sent, in the order in which they happened.
 *
 * Past MAX_RUNS, and past the ledger's bound in all breakers together, outcomes join runs of their
 * kind out of order, and those that find none are dropped and counted.
 */
export class OutcomeRuns {
  private runs: Run[] = [];  // oldest first

  constructor(
    private readonly service: string,
    private readonly operation: string,
    private readonly ledger: Ledger,
  ) {}

  /** Adds `count` equal outcomes; the slow ones are taken to have come last. */
  append(
      generation: number, outcome: Outcome, count: number, slowCount: number, error: string): void {
    const join = (run: Run): boolean => {
      if (run.generation !== generation || run.outcome !== outcome) return false;
      run.count += count;
      run.slowCount += slowCount;
      return true;
    };
    const last = this.runs[this.runs.length - 1];
    if (last !== undefined && last.error === error && join(last)) return;
    if (this.runs.length < MAX_RUNS && this.ledger.hasRoom()) {
      const {service, operation} = this;
      this.runs.push({service, operation, generation, outcome, count, slowCount, error});
      this.ledger.runsAdded(1);
      return;
    }
    for (let i = this.runs.length; i-- > 0;) {
      if (join(this.runs[i]!)) return;
    }
    this.ledger.dropped += count;
  }

  /** Moves up to `most` runs, oldest first, to the end of `runs`; says whether any are left. */
  take(most: number, runs: OutcomeRun[]): boolean {
    const taken = this.runs.splice(0, most);
    runs.push(...taken);
    this.ledger.runsLeft(taken.length);
    return this.runs.length > 0;
  }
}
