import {BreakerdError} from './errors.js';
import type {StatusCode} from './errors.js';
import {now as monotonic} from './time.js';
import type {
  AcquireAnswer, AcquireRequest, BreakerName, BreakerTransport, DaemonStats, ReportAnswer,
  ReportRequest,
} from './transport.js';

const PING_INTERVAL = 100;

/** CANCELLED too: the client cancels no rpc of a caller, so it was a daemon that shuts down. */
const SAYS_AWAY: ReadonlySet<StatusCode> =
    new Set<StatusCode>(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED']);

/**
 * The daemon as a service sees it: a deadline on each rpc, and whether the daemon is there at all.
 *
 * It is away from the moment that an rpc finds it unreachable or slower than the deadline. From
 * then on no caller waits for it. Passing calls start pings, one at a time, and the first that is
 * answered in time brings the daemon back.
 *
 * Rpcs reject with BreakerdError: UNAVAILABLE, and no other, says that the daemon is away.
 */
export class Daemon {
  private away = false;
  private pinging = false;
  private nextPingAt = 0;
  private closed = false;

  constructor(
    private readonly transport: BreakerTransport,
    private readonly rpcTimeout: number,
  ) {}

  acquire(request: AcquireRequest): Promise<AcquireAnswer> {
    return this.call(() => this.transport.acquire(request, this.rpcTimeout));
  }

  report(request: ReportRequest): Promise<ReportAnswer> {
    return this.call(() => this.transport.report(request, this.rpcTimeout));
  }

  getStats(name: BreakerName): Promise<DaemonStats> {
    return this.call(() => this.transport.getStats(name, this.rpcTimeout));
  }

  /** Starts a ping if the daemon is away and it is time for one. */
  isAway(): boolean {
    if (this.closed || !this.away) return this.closed;
    const now = monotonic();
    if (!this.pinging && now >= this.nextPingAt) {
      this.nextPingAt = now + PING_INTERVAL;
      void this.ping(this.rpcTimeout);
    }
    return true;
  }

  /** Whether the daemon answers within `timeout` milliseconds. Never rejects. */
  async ping(timeout: number): Promise<boolean> {
    if (this.closed) return false;
    this.pinging = true;
    try {
      await this.transport.ping(timeout);
      this.away = false;
    } catch (error) {
      this.away = saysAway(error);
    }
    this.pinging = false;
    return !this.away;
  }

  close(): void {
    this.closed = true;
    this.transport.close();
  }

  private async call<T>(rpc: () => Promise<T>): Promise<T> {
    if (this.isAway()) throw new BreakerdError('UNAVAILABLE', 'breakerd is unavailable');
    try {
      return await rpc();
    } catch (error) {
      if (!saysAway(error)) throw error;
      this.away = true;
      const {message} = error as Error;
      throw new BreakerdError('UNAVAILABLE', `breakerd is unavailable: ${message}`);
    }
  }
}

function saysAway(error: unknown): boolean {
  return error instanceof BreakerdError && SAYS_AWAY.has(error.code);
}
