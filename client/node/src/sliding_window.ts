/** Outcomes of calls; a slow call is a success or a failure as well. */
export interface CallCounts {
  successes: number;
  failures: number;
  slow: number;
}

const BUCKETS = 20;

/**
 * Counts calls over a sliding window of time: a ring of equal buckets that the clock moves on. A
 * call is counted for at least the window's length minus one bucket and for at most its length.
 */
export class SlidingWindow {
  /** What the window holds as of the last advance. */
  readonly counts: CallCounts = {successes: 0, failures: 0, slow: 0};

  private readonly width: number;
  private readonly ring: CallCounts[] = [];
  private newest = 0;  // the number of the newest bucket
  private startedAt: number | null = null;  // when that began; null before the first call

  /** `length` in milliseconds. */
  constructor(readonly length: number) {
    this.width = length / BUCKETS;
  }

  /** Forgets the calls that have left the window at `now`. */
  advance(now: number): void {
    if (this.startedAt === null || now - this.startedAt < this.width) return;
    const steps = Math.floor((now - this.startedAt) / this.width);
    for (let i = 1; i <= Math.min(steps, BUCKETS); ++i) {
      const oldest = this.ring[(this.newest + i) % BUCKETS];
      if (oldest === undefined) continue;
      this.counts.successes -= oldest.successes;
      this.counts.failures -= oldest.failures;
      this.counts.slow -= oldest.slow;
      oldest.successes = oldest.failures = oldest.slow = 0;
    }
    this.newest += steps;
    this.startedAt += steps * this.width;
  }

  /** Adds calls that ended at `now`. */
  record(now: number, successes: number, failures: number, slow: number): void {
    this.startedAt ??= now;
    this.advance(now);
    const bucket = this.ring[this.newest % BUCKETS] ??= {successes: 0, failures: 0, slow: 0};
    for (const counts of [bucket, this.counts]) {
      counts.successes += successes;
      counts.failures += failures;
      counts.slow += slow;
    }
  }
}
