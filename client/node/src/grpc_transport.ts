import {Metadata, status as grpcStatus} from '@grpc/grpc-js';
import type {
  ChannelOptions, ClientDuplexStream, ClientUnaryCall, ServiceError,
} from '@grpc/grpc-js';

import {channelCredentialsOf} from './channel_credentials.js';
import type {SecurityOptions} from './channel_credentials.js';
import {
  fromDuration, fromProtoState, fromProtoStats, fromProtoUpdate, toDuration, toProtoOutcome,
  toProtoPolicy,
} from './convert.js';
import {BreakerdError} from './errors.js';
import type {StatusCode} from './errors.js';
import {CircuitBreakerClient} from './generated/breaker/v1/breaker.js';
import type {WatchRequest, WatchResponse} from './generated/breaker/v1/breaker.js';
import type {
  AcquireAnswer, AcquireRequest, BreakerName, BreakerTransport, DaemonStats, ReportAnswer,
  ReportBatchAnswer, ReportBatchRequest, ReportRequest, WatchCall, WatchListener,
} from './transport.js';

export interface GrpcTransportOptions extends SecurityOptions {
  /** As gRPC has it: 'host:port', 'dns:///name:port', 'unix:/path'. */
  readonly target: string;
  /** Of grpc-js, over this package's own. */
  readonly channelOptions?: ChannelOptions | undefined;
}

const CHANNEL_OPTIONS: ChannelOptions = {
  // A connection of our own, which lives and dies with this client.
  'grpc.use_local_subchannel_pool': 1,
  // A daemon that comes back is found within a second.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // A peer whose host vanished without a word.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 5000,
  // The daemon is a neighbour, not a site on the web.
  'grpc.enable_http_proxy': 0,
  // What is worth sending again is known here.
  'grpc.enable_retries': 0,
};

/** For so long after its deadline a call is open for its answer, in milliseconds. */
const LATE_ANSWERS = 1000;

type Unary<Request, Response> = (
  request: Request, metadata: Metadata, options: {deadline: number},
  callback: (error: ServiceError | null, response: Response) => void) => ClientUnaryCall;

/** A daemon over gRPC, on one channel. */
export class GrpcTransport implements BreakerTransport {
  readonly preferredMode = 'cached';
  private readonly client: CircuitBreakerClient;

  /** Throws BreakerdError INVALID_ARGUMENT if the options are not valid. */
  constructor(options: GrpcTransportOptions) {
    const {target, channelOptions} = options;
    this.client = new CircuitBreakerClient(target, channelCredentialsOf(options, target),
        {...CHANNEL_OPTIONS, ...channelOptions});
    // Connect now rather than within the first call's deadline.
    this.client.getChannel().getConnectivityState(true);
  }

  async acquire(request: AcquireRequest, timeout: number): Promise<AcquireAnswer> {
    const {service, operation, workerId, policy} = request;
    const response = await this.unary(this.client.acquire, {
      service, operation, workerId, policy: policy === null ? undefined : toProtoPolicy(policy),
    }, timeout, (late) => {
      // No one will use this permit. Were it a probe, all others would have to wait for its end.
      if (!late.allowed || late.permitId === 0n) return;
      const {permitId} = late;
      const unused = {...request, permitId, outcome: 'IGNORED', duration: 0, error: ''} as const;
      this.report(unused, timeout).catch(() => {});
    });
    const {allowed, permitId, probe, shadow} = response;
    return {
      allowed, permitId, probe, shadow,
      state: fromProtoState(response.state),
      retryAfter: fromDuration(response.retryAfter),
      generation: Number(response.generation),
    };
  }

  async report(request: ReportRequest, timeout: number): Promise<ReportAnswer> {
    const response = await this.unary(this.client.report, {
      ...request,
      outcome: toProtoOutcome(request.outcome),
      duration: toDuration(request.duration),
    }, timeout);
    return {state: fromProtoState(response.state), generation: Number(response.generation)};
  }

  async reportBatch(request: ReportBatchRequest, timeout: number): Promise<ReportBatchAnswer> {
    const response = await this.unary(this.client.reportBatch, {
      workerId: request.workerId,
      sessionId: request.sessionId,
      sequence: BigInt(request.sequence),
      previousSequence: BigInt(request.previousSequence),
      outcomes: request.outcomes.map((run) => ({
        ...run,
        generation: BigInt(run.generation),
        outcome: toProtoOutcome(run.outcome),
      })),
    }, timeout);
    return {
      counted: Number(response.counted),
      stale: Number(response.stale),
      duplicate: response.duplicate,
      storedSequence: Number(response.storedSequence),
      denied: Number(response.denied),
    };
  }

  async getStats(name: BreakerName, timeout: number): Promise<DaemonStats> {
    const {service, operation} = name;
    return fromProtoStats(await this.unary(this.client.getStats, {service, operation}, timeout));
  }

  async ping(timeout: number): Promise<void> {
    await this.unary(
        this.client.listStats, {service: '', states: [], pageSize: 1, pageToken: ''}, timeout);
  }

  watch(workerId: string, listener: WatchListener): WatchCall {
    const call: ClientDuplexStream<WatchRequest, WatchResponse> = this.client.watch();
    let ended = false;
    const end = (code: number, message: string) => {
      if (ended) return;
      ended = true;
      listener.onEnd(new BreakerdError(codeName(code), message));
    };
    call.on('data', (message: WatchResponse) => {
      listener.onMessage({
        updates: message.updates.map(fromProtoUpdate),
        heartbeatInterval: fromDuration(message.heartbeatInterval),
      });
    });
    call.on('error', (error: ServiceError) => end(error.code, error.details));
    call.on('status', ({code, details}) => end(code, details));
    return {
      subscribe: (subscriptions) => {
        if (ended) return;
        call.write({
          workerId,
          all: false,
          subscribe: subscriptions.map(({service, operation, policy}) => (
            {service, operation, policy: policy === null ? undefined : toProtoPolicy(policy)})),
        });
      },
      cancel: () => call.cancel(),
    };
  }

  close(): void {
    this.client.close();
  }

  /** `onLate` is called with an answer that comes when the promise is rejected already. */
  private unary<Request, Response>(
      rpc: Unary<Request, Response>, request: Request, timeout: number,
      onLate: (response: Response) => void = () => {}): Promise<Response> {
    return new Promise((resolve, reject) => {
      let late = false;
      // Where this process has been too busy to read, an answer that came meanwhile is read first:
      // so this is not left to the deadline of gRPC, which does not look.
      const timer = setTimeout(() => setImmediate(() => {
        late = true;
        reject(new BreakerdError('DEADLINE_EXCEEDED', `no answer within ${timeout} ms`));
      }), timeout);
      const deadline = Date.now() + timeout + LATE_ANSWERS;
      try {
        rpc.call(this.client, request, new Metadata(), {deadline}, (error, response) => {
          clearTimeout(timer);
          if (error !== null) reject(new BreakerdError(codeName(error.code), error.details));
          else if (late) onLate(response);
          else resolve(response);
        });
      } catch (error) {
        // A channel that is closed says so at once.
        clearTimeout(timer);
        reject(new BreakerdError('UNAVAILABLE', (error as Error).message));
      }
    });
  }
}

function codeName(code: number): StatusCode {
  return (grpcStatus[code] ?? 'UNKNOWN') as StatusCode;
}
