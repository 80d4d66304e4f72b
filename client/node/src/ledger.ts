import type {Cell} from './cell.js';

/** Runs of outcomes that may wait in all cells together. */
const MAX_WAITING_RUNS = 4096;

/**
 * By which cells tell what there is to send, and how much memory that may take.
 */
export class Ledger {
  /** Outcomes that were given up. */
  dropped = 0;
  /** Called when a cell is the first to have something to send; and when that cannot wait. */
  onNoted: () => void = () => {};
  onUrgent: () => void = () => {};

  private noted: Cell[] = [];
  private waitingRuns = 0;

  note(cell: Cell): void {
    this.noted.push(cell);
    if (this.noted.length === 1) this.onNoted();
  }

  get isEmpty(): boolean {
    return this.noted.length === 0;
  }

  /** Takes all that were noted. */
  takeNoted(): Cell[] {
    const noted = this.noted;
    this.noted = [];
    return noted;
  }

  hasRoom(): boolean {
    return this.waitingRuns < MAX_WAITING_RUNS;
  }

  runsAdded(count: number): void {
    this.waitingRuns += count;
  }

  runsLeft(count: number): void {
    this.waitingRuns -= count;
  }
}
