import type {Cell, Surroundings} from './cell.js';
import {CellTable} from './cell_table.js';
import type {BreakerdError, StatusCode} from './errors.js';
import {Ledger} from './ledger.js';
import type {Settings} from './options.js';
import {ReportBatcher} from './report_batcher.js';
import type {StateChange} from './state_change.js';
import {now as monotonic} from './time.js';
import type {BreakerTransport, Subscription, WatchMessage} from './transport.js';
import {WatchStream} from './watch_stream.js';
import type {WatchStreamListener} from './watch_stream.js';

const LONGEST_FAREWELL = 1000;
const ABOUT_A_SUBSCRIPTION: ReadonlySet<StatusCode> =
    new Set<StatusCode>(['INVALID_ARGUMENT', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED']);

/** What a service in cached mode has besides: what keeps cells current and sends their outcomes. */
interface Exchange {
  readonly batcher: ReportBatcher;
  readonly stream: WatchStream;
}

/** What a service keeps between calls. */
export class Cache implements WatchStreamListener {
  readonly cells: CellTable;
  readonly surroundings: Surroundings;

  private readonly ledger = new Ledger();
  private readonly exchange: Exchange | null;  // null = remote mode
  private stream = 0;  // the last one that is up
  // Runs out when cells are to be doubted that the last stream has not confirmed.
  private doubtTimer: NodeJS.Timeout | null = null;

  constructor(
      settings: Settings, transport: BreakerTransport,
      onStateChange: (change: StateChange) => void) {
    const {workerId, maxCachedBreakers} = settings;
    this.surroundings = {workerId, ledger: this.ledger, trustedUntil: -Infinity, onStateChange};
    this.cells = new CellTable(maxCachedBreakers, this.surroundings);
    this.exchange = settings.mode === 'remote' ? null : {
      batcher: new ReportBatcher(transport, workerId, this.ledger),
      stream: new WatchStream(transport, workerId, this),
    };
    if (this.exchange !== null) this.exchange.batcher.onDenied = () => this.askAnew();
  }

  get droppedOutcomes(): number {
    return this.ledger.dropped;
  }

  /**
   * From now on the daemon keeps the cell current, in cached mode. For a breaker and a policy that
   * the daemon has accepted: others would end the stream of all.
   */
  follow(cell: Cell): void {
    if (this.exchange === null || cell.subscribed) return;
    cell.subscribed = true;
    this.exchange.stream.subscribe(subscriptionTo(cell));
  }

  /** Sends what there is, if the daemon is there, for at most `timeout` milliseconds. */
  async flush(timeout: number): Promise<void> {
    await this.exchange?.batcher.drain(timeout);
  }

  /** Sends all outcomes, for at most a second. */
  async close(): Promise<void> {
    if (this.exchange === null) return;
    const {batcher, stream} = this.exchange;
    await batcher.drain(LONGEST_FAREWELL, /*last=*/ true);
    batcher.end();
    stream.end();
    if (this.doubtTimer !== null) clearTimeout(this.doubtTimer);
    this.surroundings.trustedUntil = -Infinity;
  }

  onMessage(message: WatchMessage, stream: number): void {
    const now = monotonic();
    const isNew = stream !== this.stream;
    this.stream = stream;
    if (isNew) this.doubtOthersThan(stream, now);
    for (const update of message.updates) {
      this.cells.find(update.service, update.operation)?.update(update, stream, now);
    }
    this.surroundings.trustedUntil = now + this.exchange!.stream.patience;
    if (isNew) this.exchange!.batcher.setConnected(true);
  }

  onEnd(error: BreakerdError): void {
    this.exchange!.batcher.setConnected(false);
    // One subscription is not to the daemon's liking.
    if (ABOUT_A_SUBSCRIPTION.has(error.code)) this.askAnew();
  }

  subscriptions(): Subscription[] {
    const subscriptions: Subscription[] = [];
    for (const cell of this.cells) {
      if (cell.subscribed) subscriptions.push(subscriptionTo(cell));
    }
    return subscriptions;
  }

  /** Each cell begins anew with its next call: the one in question finds out by its own rpc. */
  private askAnew(): void {
    for (const cell of this.cells) {
      cell.subscribed = false;
      cell.distrustUnlessFrom(0);
    }
  }

  /** What the stream before has said holds for as long as it was to hold. */
  private doubtOthersThan(stream: number, now: number): void {
    const left = this.surroundings.trustedUntil - now;
    if (left <= 0) return this.distrustOthersThan(stream);
    this.doubtTimer ??= setTimeout(() => {
      this.doubtTimer = null;
      this.distrustOthersThan(this.stream);
    }, left).unref();
  }

  private distrustOthersThan(stream: number): void {
    for (const cell of this.cells) cell.distrustUnlessFrom(stream);
  }
}

function subscriptionTo({service, operation, broughtPolicy}: Cell): Subscription {
  return {service, operation, policy: broughtPolicy.policy};
}
