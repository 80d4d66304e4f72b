import {randomBytes} from 'node:crypto';

import type {BreakerdError, StatusCode} from './errors.js';
import type {Ledger} from './ledger.js';
import {now as monotonic} from './time.js';
import type {BreakerTransport, OutcomeRun, ReportBatchAnswer} from './transport.js';

const FLUSH_INTERVAL = 100;
/** Failures that come close together go together. */
const BETWEEN_BATCHES = 1;
const RETRY_AFTER = 100;
const BATCH_TIMEOUT = 1000;
const MAX_RUNS_OF_A_BATCH = 1000;
/** After so long without a denial the next one is news. */
const DENIED_NO_MORE = 60_000;

/** After any other error the same request will not fare better. */
const WORTH_RETRYING: ReadonlySet<StatusCode> = new Set<StatusCode>([
  'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'ABORTED', 'INTERNAL', 'UNKNOWN',
  'UNAUTHENTICATED',
]);

export interface BatchLimits {
  /** Of answered batches that wait to be stored by the daemon. */
  readonly batches: number;
  readonly runs: number;
  readonly age: number;
  /** For how long those are sent again that this worker has no permission to send. */
  readonly denied: number;
}

const LIMITS: BatchLimits = {batches: 4096, runs: 32_768, age: 300_000, denied: 5000};

/** A batch from when it is made until it is forgotten. */
interface Batch {
  readonly sequence: number;
  readonly outcomes: readonly OutcomeRun[];
  answeredAt: number | null;
  unsent: boolean;  // on this connection
}

function randomSession(): bigint {
  return randomBytes(8).readBigUInt64BE() | 1n;  // not 0
}

/**
 * Sends what cells have noted in the ledger to the daemon, each outcome exactly once: in numbered
 * batches, one at a time, each again until it is answered. Answered batches are kept until the
 * daemon has stored them, and sent again in their order after the connection was lost.
 *
 * Past the limits the oldest answered batch is not kept any more. While a batch waits for its
 * answer no other is made: outcomes stay in their cells. Of what this worker has no permission to
 * send the daemon leaves out a part, which counts as dropped; a batch of nothing else is given up
 * after a while, or it would hold up all others.
 *
 * Batches are sent only while the Watch stream is up, which shares the connection: so its end is
 * mostly known before anything goes out on the next one. If it is not, the daemon notices: each
 * batch names the kept one before it, and a daemon that has not had that applies nothing, at which
 * all are sent again. As only what is kept is named, and the oldest names none, no daemon waits for
 * what is gone.
 */
export class ReportBatcher {
  /** Called when the daemon will not hear of what cells say; not with each retry. */
  onDenied: () => void = () => {};

  private readonly sessionId = randomSession();
  private batches: Batch[] = [];  // by number
  private keptRuns = 0;
  private lastSequence = 0;

  private connected = false;
  private flush = false;  // Unsent outcomes are not to wait.
  private underWay = false;
  private lastFailed = false;
  private known = true;  // The daemon knows this worker.
  private deniedSince = -Infinity;
  private deniedLastAt = -Infinity;
  private nextAt = 0;  // Not before this is a batch sent.
  private pumpTimer: NodeJS.Timeout | null = null;
  private flushTimer: NodeJS.Timeout | null = null;
  private pumpSoon = false;
  private waiting: Array<() => void> = [];  // for the end of a batch

  constructor(
    private readonly transport: BreakerTransport,
    private readonly workerId: string,
    private readonly ledger: Ledger,
    private readonly limits: BatchLimits = LIMITS,
  ) {
    ledger.onNoted = () => this.startFlushTimer();
    ledger.onUrgent = () => this.flushSoon();
  }

  /** The stream is up, or down. */
  setConnected(connected: boolean): void {
    if (connected === this.connected) return;
    this.connected = connected;
    if (!connected) return;
    this.sendAllAgain();
    this.nextAt = 0;
    this.flushSoon();
  }

  /**
   * Sends what there is now, until that is done, fails or takes longer than `timeout` milliseconds.
   * `last`: whether or not the stream is up, and what comes meanwhile too. Never rejects. Keeps the
   * process alive meanwhile.
   */
  async drain(timeout: number, last = false): Promise<void> {
    if (last && !this.connected) {
      this.sendAllAgain();
      this.connected = true;
    }
    if (!this.connected) return;
    const enough = this.lastSequence + 1;
    this.lastFailed = false;
    if (last) this.nextAt = 0;
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      this.wake();
    }, timeout);
    for (;;) {
      this.flush = true;
      this.pump();
      if (!this.underWay && this.pumpTimer === null) break;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
      if (late || this.lastFailed || !this.connected) break;
      const sent = !this.underWay && this.firstUnsent() < 0;
      if (!last && this.lastSequence >= enough && sent) break;
    }
    clearTimeout(deadline);
  }

  /** Sends nothing more. */
  end(): void {
    this.connected = false;
    this.ledger.onNoted = this.ledger.onUrgent = () => {};
    for (const timer of [this.pumpTimer, this.flushTimer]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.wake();
  }

  private startFlushTimer(): void {
    this.flushTimer ??= setTimeout(() => {
      this.flushTimer = null;
      this.flush = true;
      this.pump();
    }, FLUSH_INTERVAL).unref();
  }

  /** What happens in the same turn of the event loop goes together. */
  private flushSoon(): void {
    this.flush = true;
    if (this.pumpSoon) return;
    this.pumpSoon = true;
    setImmediate(() => {
      this.pumpSoon = false;
      this.pump();
    }).unref();
  }

  private pump(): void {
    // What ends the wait pumps again.
    if (!this.connected || this.underWay || this.pumpTimer !== null) return;
    const wait = this.nextAt - monotonic();
    if (wait > 0) {
      this.pumpTimer = setTimeout(() => {
        this.pumpTimer = null;
        this.pump();
        this.wake();
      }, Math.ceil(wait)).unref();
      return;
    }
    let index = this.firstUnsent();
    if (index < 0) {
      if (!this.flush) return;
      const outcomes = this.collect();
      if (outcomes.length === 0) return;
      // The daemon may have forgotten the oldest, and would wait for them.
      this.forget(0, monotonic());
      const batch = {sequence: ++this.lastSequence, outcomes, answeredAt: null, unsent: true};
      index = this.batches.push(batch) - 1;
      this.keptRuns += outcomes.length;
    }
    this.nextAt = monotonic() + BETWEEN_BATCHES;
    this.send(index);
  }

  /** -1 = all are sent. */
  private firstUnsent(): number {
    // They are sent in order: behind the first that is not, none is.
    if (this.batches[this.batches.length - 1]?.unsent !== true) return -1;
    return this.batches.findIndex((batch) => batch.unsent);
  }

  /** Takes what cells have. What does not fit leaves `flush` set. */
  private collect(): OutcomeRun[] {
    const outcomes: OutcomeRun[] = [];
    this.flush = false;
    for (const cell of this.ledger.takeNoted()) {
      if (cell.takeRuns(MAX_RUNS_OF_A_BATCH - outcomes.length, outcomes)) {
        cell.note();
        this.flush = true;
      }
    }
    return outcomes;
  }

  private send(index: number): void {
    const batch = this.batches[index]!;
    const previousSequence = this.batches[index - 1]?.sequence ?? 0;
    const {workerId, sessionId} = this;
    const {sequence, outcomes} = batch;
    const request = {workerId, sessionId, sequence, previousSequence, outcomes};
    this.underWay = true;
    batch.unsent = false;
    this.transport.reportBatch(request, BATCH_TIMEOUT).then(
        (answer) => this.onAnswer(batch, answer),
        (error: BreakerdError) => this.onError(batch, error));
  }

  private onAnswer(batch: Batch, {storedSequence, denied}: ReportBatchAnswer): void {
    const now = monotonic();
    if (batch.answeredAt === null) {
      batch.answeredAt = now;
      this.ledger.dropped += denied;
    }
    this.known = true;
    if (denied > 0 && this.noteDenial(now)) this.onDenied();
    this.forget(storedSequence, now);
    this.afterSending(false);
  }

  private onError(batch: Batch, error: BreakerdError): void {
    const now = monotonic();
    const known = this.known;
    this.known = error.code !== 'UNAUTHENTICATED';
    if (known && !this.known) this.onDenied();
    const again = error.code === 'PERMISSION_DENIED' ?
      this.isDeniedForShort(now) :
      WORTH_RETRYING.has(error.code);
    const missing = error.code === 'ABORTED';
    if (again) {
      batch.unsent = true;
      if (missing) this.sendAllAgain();
      this.nextAt = now + RETRY_AFTER;
    } else {
      this.giveUp(batch);
    }
    this.afterSending(!missing);
  }

  /** Whether permission may have been lost by a mistake that is corrected soon. */
  private isDeniedForShort(now: number): boolean {
    const begins = this.noteDenial(now);
    const short = now - this.deniedSince < this.limits.denied;
    if (begins || !short) this.onDenied();
    return short;
  }

  /** Whether it is news. */
  private noteDenial(now: number): boolean {
    const begins = now - this.deniedLastAt >= DENIED_NO_MORE;
    if (begins) this.deniedSince = now;
    this.deniedLastAt = now;
    return begins;
  }

  /** The daemon will never accept it. */
  private giveUp(batch: Batch): void {
    if (batch.answeredAt === null) {
      for (const run of batch.outcomes) this.ledger.dropped += run.count;
    }
    this.keptRuns -= batch.outcomes.length;
    this.batches.splice(this.batches.indexOf(batch), 1);
  }

  private afterSending(failed: boolean): void {
    this.underWay = false;
    this.lastFailed = failed;
    this.pump();
    this.wake();
  }

  private forget(storedSequence: number, now: number): void {
    let count = 0;
    let runs = this.keptRuns;
    for (const {sequence, outcomes, answeredAt, unsent} of this.batches) {
      if (answeredAt === null || unsent) break;
      const keep = sequence > storedSequence && now - answeredAt < this.limits.age &&
          this.batches.length - count <= this.limits.batches && runs <= this.limits.runs;
      if (keep) break;
      runs -= outcomes.length;
      ++count;
    }
    this.keptRuns = runs;
    if (count > 0) this.batches.splice(0, count);
  }

  private sendAllAgain(): void {
    // The daemon may have forgotten the oldest, and would count them twice.
    if (!this.underWay) this.forget(0, monotonic());
    for (const batch of this.batches) batch.unsent = true;
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
