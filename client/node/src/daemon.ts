import {BreakerdError} from './errors.js';
import type {StatusCode} from './errors.js';
import {now as monotonic} from './time.js';
import type {
  AcquireAnswer, AcquireRequest, BreakerName, BreakerTransport, DaemonStats, ReportAnswer,
  ReportRequest,
} from './transport.js';

const PING_INTERVAL = 100;

/**
 * CANCELLED too: the client cancels no rpc of a caller, so it was a daemon that shuts down. And
 * UNAUTHENTICATED: one that does not know this worker will not answer any rpc of it.
 */
const SAYS_AWAY: ReadonlySet<StatusCode> =
    new Set<StatusCode>(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'UNAUTHENTICATED']);

const UNAVAILABLE = 'breakerd is unavailable';

/**
 * The daemon as a service sees it: a deadline on each rpc, and whether the daemon is there at all.
 *
 * It is away from the moment that an rpc finds it unreachable or slower than the deadline, or that
 * it does not take this worker for one of its own. From then on no caller waits for it. Passing
 * calls start pings, one at a time, and the first that is answered in time brings the daemon back.
 *
 * Rpcs reject with BreakerdError: UNAVAILABLE and UNAUTHENTICATED, and no others, say that the
 * daemon is away.
 */
export class Daemon {
  private away: BreakerdError | null = null;  // null = it is there
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

  /** For whoever is refused a call because of it. */
  get whyAway(): string {
    return this.away?.code === 'UNAUTHENTICATED' ? this.away.message : UNAVAILABLE;
  }

  /** Starts a ping if the daemon is away and it is time for one. */
  isAway(): boolean {
    if (this.closed || this.away === null) return this.closed;
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
      this.away = null;
    } catch (error) {
      this.away = asAway(error);
    }
    this.pinging = false;
    return this.away === null;
  }

  close(): void {
    this.closed = true;
    this.transport.close();
  }

  private async call<T>(rpc: () => Promise<T>): Promise<T> {
    if (this.isAway()) {
      const {code = 'UNAVAILABLE', message = UNAVAILABLE} = this.away ?? {};
      throw new BreakerdError(code, message);
    }
    try {
      return await rpc();
    } catch (error) {
      const away = asAway(error);
      if (away === null) throw error;
      this.away = away;
      throw away;
    }
  }
}

/** What to say while the daemon is away because of it; null if that is not what it says. */
function asAway(error: unknown): BreakerdError | null {
  if (!(error instanceof BreakerdError) || !SAYS_AWAY.has(error.code)) return null;
  return error.code === 'UNAUTHENTICATED' ?
    new BreakerdError('UNAUTHENTICATED', `breakerd does not know this worker: ${error.message}`) :
    new BreakerdError('UNAVAILABLE', `${UNAVAILABLE}: ${error.message}`);
}
