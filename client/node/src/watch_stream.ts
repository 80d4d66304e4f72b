import type {BreakerdError} from './errors.js';
import {now as monotonic} from './time.js';
import type {BreakerTransport, Subscription, WatchCall, WatchMessage} from './transport.js';

const FIRST_BACKOFF = 100;
const LAST_BACKOFF = 1000;
/** A daemon that knows no Watch may be replaced by one that does. */
const UNIMPLEMENTED_BACKOFF = 60_000;
const MISSED_HEARTBEATS = 3;
const MAX_HEARTBEAT = 3_600_000;
/** Keeps a message far below gRPC's bound of 4 MB. */
const MAX_SUBSCRIPTIONS_AT_ONCE = 500;

export interface WatchStreamListener {
  /** Streams are numbered from 1. The first message of one says that it is up. */
  onMessage(message: WatchMessage, stream: number): void;
  /** It is over, or never began. */
  onEnd(error: BreakerdError): void;
  /** All that the next stream is to subscribe to. */
  subscriptions(): Subscription[];
}

/**
 * Keeps one Watch stream to the daemon from the first subscription on: a stream that ends or falls
 * silent is replaced by a new one, with all subscriptions.
 */
export class WatchStream {
  private call: WatchCall | null = null;
  private number = 0;
  private ended = false;
  private backoff = FIRST_BACKOFF;
  private heartbeat = 1000;
  private lastMessageAt = 0;
  private silenceTimer: NodeJS.Timeout | null = null;
  private beginTimer: NodeJS.Timeout | null = null;

  constructor(
    private readonly transport: BreakerTransport,
    private readonly workerId: string,
    private readonly listener: WatchStreamListener,
  ) {}

  /** For how long the daemon may be silent: three heartbeats, as it said last. */
  get patience(): number {
    return MISSED_HEARTBEATS * this.heartbeat;
  }

  /** Adds a subscription, or begins the first stream. The listener remembers it for later ones. */
  subscribe(subscription: Subscription): void {
    if (this.call !== null) this.call.subscribe([subscription]);
    else if (this.beginTimer === null) this.begin();
  }

  /** Ends the stream for good; the listener is not called after that. */
  end(): void {
    this.ended = true;
    this.stopTimers();
    const call = this.call;
    this.call = null;
    call?.cancel();
  }

  private begin(): void {
    if (this.ended || this.call !== null) return;
    const number = ++this.number;
    this.lastMessageAt = monotonic();
    const call = this.transport.watch(this.workerId, {
      onMessage: (message) => {
        if (this.call === call) this.onMessage(message, number);
      },
      onEnd: (error) => {
        if (this.call === call) this.onEnd(error);
      },
    });
    this.call = call;
    const subscriptions = this.listener.subscriptions();
    for (let i = 0; i < subscriptions.length; i += MAX_SUBSCRIPTIONS_AT_ONCE) {
      call.subscribe(subscriptions.slice(i, i + MAX_SUBSCRIPTIONS_AT_ONCE));
    }
    this.watchForSilence();
  }

  private onMessage(message: WatchMessage, number: number): void {
    this.lastMessageAt = monotonic();
    this.backoff = FIRST_BACKOFF;
    const heartbeat = Math.min(message.heartbeatInterval, MAX_HEARTBEAT);
    if (heartbeat > 0 && heartbeat !== this.heartbeat) {
      this.heartbeat = heartbeat;
      this.watchForSilence();
    }
    this.silenceTimer?.refresh();
    this.listener.onMessage(message, number);
  }

  private onEnd(error: BreakerdError): void {
    this.call = null;
    this.stopTimers();
    this.listener.onEnd(error);
    if (this.ended) return;
    const wait = error.code === 'UNIMPLEMENTED' ? UNIMPLEMENTED_BACKOFF : this.backoff;
    this.backoff = Math.min(2 * this.backoff, LAST_BACKOFF);
    this.beginTimer = setTimeout(() => {
      this.beginTimer = null;
      this.begin();
    }, wait).unref();
  }

  private watchForSilence(): void {
    if (this.silenceTimer !== null) clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => {
      // Where this process has been too busy to read, what was said meanwhile is read first.
      setImmediate(() => {
        if (this.call === null) return;
        if (monotonic() - this.lastMessageAt >= this.patience) this.call.cancel();
        else this.silenceTimer?.refresh();
      }).unref();
    }, this.patience).unref();
  }

  private stopTimers(): void {
    for (const timer of [this.silenceTimer, this.beginTimer]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.silenceTimer = this.beginTimer = null;
  }
}
