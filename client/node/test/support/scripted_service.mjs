/** @fileoverview A breaker.v1.CircuitBreaker that does as it is told, in this process. */

import {Server, ServerCredentials, status} from '@grpc/grpc-js';

import {
  CircuitBreakerService as Definition, CircuitState, Outcome,
} from '../../dist/esm/generated/breaker/v1/breaker.js';
import {toDuration, toProtoPolicy} from '../../dist/esm/convert.js';

export {CircuitState, Outcome, status};

const ALLOWED = {
  allowed: true, permitId: 7n, state: CircuitState.CLOSED, probe: false, generation: 1n,
  shadow: false, retryAfter: undefined,
};

/** A CircuitUpdate of what differs; times in milliseconds. */
function updateOf({service, operation}, {state = 'CLOSED', generation = 1, ...rest}) {
  return {
    service, operation,
    state: CircuitState[state],
    generation: BigInt(generation),
    retryAfter: rest.retryAfter === undefined ? undefined : toDuration(rest.retryAfter),
    override: rest.override,
    policy: toProtoPolicy(rest.policy ?? {}),
    transition: rest.transition,
    rampFraction: rest.rampFraction ?? 1,
    removed: rest.removed ?? false,
  };
}

export class ScriptedService {
  acquires = [];
  reports = [];
  batches = [];
  subscriptions = [];
  pings = 0;
  getStatsCalls = 0;
  /** What came as `authorization` with each rpc; undefined = nothing. */
  authorizations = [];
  /** Common names of the certificates that came with rpcs. */
  peers = [];
  /** Services that no one may use. */
  denied = new Set();
  /** What was not answered because of that, or of the token: rpc and names. */
  denials = [];
  /** Is given each call. */
  onRpc = () => {};
  /** How often Watch was called. */
  watches = 0;
  target = '127.0.0.1:0';

  #credentials = ServerCredentials.createInsecure();
  #server;
  #token = null;  // null = all may come
  #streams = new Set();
  #acquireAnswer = ALLOWED;
  #error = null;
  #batchError = null;
  #streamEnd = null;
  #subscriptionAnswer = {};
  #ignoresSubscriptions = false;
  #heartbeatMs = 1000;
  #heartbeat;
  #silent = false;
  #unsaid = [];  // what a silent stream keeps to itself
  #hanging = null;  // the answers that wait
  #storedUpTo = 0n;
  stats = null;

  static async start() {
    const service = new ScriptedService();
    await service.start();
    return service;
  }

  /** On the same port as before, with what was recorded. */
  async start() {
    const unary = (record, answer) => (call, callback) => {
      this.#recordPeer(call);
      const {request, denied} = this.#leaveOutDenied(call.request);
      const denial = this.#denialOf(call, request.outcomes ?? [request]);
      if (denial === null) record(request);
      const respond = () => {
        const result = denial ?? answer(BigInt(denied));
        if (result.code !== undefined) callback(result);
        else callback(null, result);
      };
      if (this.#hanging !== null) this.#hanging.push(respond);
      else respond();
    };
    this.#server = new Server();
    this.#server.addService(Definition, {
      acquire: unary((request) => this.acquires.push(request),
          () => this.#error ?? this.#acquireAnswer),
      report: unary((request) => this.reports.push(request), () => this.#error ?? {
        state: CircuitState.CLOSED, disposition: 1, generation: 1n,
      }),
      reportBatch: unary((request) => this.batches.push(request), (denied) => this.#batchError ?? {
        counted: 1n, stale: 0n, duplicate: false, storedSequence: this.#storedUpTo, denied,
      }),
      getStats: unary(() => ++this.getStatsCalls, () => this.stats ?? {
        code: status.NOT_FOUND, details: 'there is none',
      }),
      listStats: unary(() => ++this.pings, () => this.#error ?? {stats: [], nextPageToken: ''}),
      watch: (call) => this.#watch(call),
    });
    const port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(this.target, this.#credentials,
          (error, port) => error === null ? resolve(port) : reject(error));
    });
    this.target = `127.0.0.1:${port}`;
    this.#heartbeat = setInterval(() => this.#beatOnce(), this.#heartbeatMs);
  }

  stop() {
    clearInterval(this.#heartbeat);
    this.#server.forceShutdown();
    this.#streams.clear();
  }

  /** Begins anew, on the same port, with such credentials of the server. */
  async secure(credentials) {
    this.stop();
    this.#credentials = credentials;
    await this.start();
  }

  /** Who does not send it is not known; null = all are. Streams that there are go on. */
  requireToken(token) {
    this.#token = token;
  }

  get streams() {
    return this.#streams.size;
  }

  /** All outcomes that were told in batches. */
  get runs() {
    return this.batches.flatMap(({outcomes}) => outcomes);
  }

  told(outcome) {
    return this.runs.filter((run) => run.outcome === Outcome[outcome])
        .reduce((sum, run) => sum + run.count, 0);
  }

  get failures() {
    return this.runs.filter((run) => run.outcome === Outcome.FAILURE).map((run) => run.error);
  }

  answerAcquire({state = 'CLOSED', generation = 1, retryAfter, permitId = 0, ...rest}) {
    this.#acquireAnswer = {
      ...ALLOWED, allowed: false, permitId: BigInt(permitId), state: CircuitState[state],
      generation: BigInt(generation),
      retryAfter: retryAfter === undefined ? undefined : toDuration(retryAfter), ...rest,
    };
  }

  /** With these as they are on any new subscription. */
  answerSubscriptions(update) {
    this.#subscriptionAnswer = update;
  }

  ignoreSubscriptions() {
    this.#ignoresSubscriptions = true;
  }

  push(name, update) {
    for (const call of this.#streams) {
      call.write({
        updates: [updateOf(name, update)], heartbeat: false,
        heartbeatInterval: toDuration(this.#heartbeatMs),
      });
    }
  }

  beat(milliseconds) {
    this.#heartbeatMs = milliseconds;
    this.#silent = false;
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#beatOnce(), milliseconds);
  }

  fallSilent() {
    this.#silent = true;
  }

  speakAgain() {
    this.#silent = false;
    for (const answer of this.#unsaid.splice(0)) answer();
  }

  /** Answers nothing until release. */
  hang() {
    this.#hanging = [];
  }

  release() {
    const waiting = this.#hanging;
    this.#hanging = null;
    for (const respond of waiting) respond();
  }

  /** Acquire, Report and ListStats fail; null = no more. */
  fail(code, details = 'scripted') {
    this.#error = code === null ? null : {code, details};
  }

  failBatches(code, details = 'scripted') {
    this.#batchError = code === null ? null : {code, details};
  }

  /** Ends all streams, and those to come; null = no more. */
  endStreams(code, details = 'scripted') {
    this.#streamEnd = code === null ? null : {code, details};
    if (code === null) return;
    for (const call of this.#streams) call.emit('error', this.#streamEnd);
    this.#streams.clear();
  }

  storeUpTo(sequence) {
    this.#storedUpTo = BigInt(sequence);
  }

  #recordPeer(call) {
    this.onRpc(call);
    this.authorizations.push(call.metadata.get('authorization')[0]);
    const peer = call.getAuthContext().sslPeerCertificate?.subject?.CN;
    if (peer !== undefined) this.peers.push(peer);
  }

  /** The request without outcomes that are denied, if it has others, and how many those are. */
  #leaveOutDenied(request) {
    const outcomes = request.outcomes?.filter(({service}) => !this.denied.has(service)) ?? [];
    if (outcomes.length === 0) return {request, denied: 0};
    const count = (runs) => runs.reduce((sum, run) => sum + run.count, 0);
    return {request: {...request, outcomes}, denied: count(request.outcomes) - count(outcomes)};
  }

  #denialOf(call, names) {
    const denial = this.#unrecordedDenialOf(call, names);
    if (denial !== null) this.denials.push({rpc: call.getPath().split('/').at(-1), names});
    return denial;
  }

  #unrecordedDenialOf(call, names) {
    const authorization = call.metadata.get('authorization')[0];
    if (this.#token !== null && authorization !== `Bearer ${this.#token}`) {
      return {code: status.UNAUTHENTICATED, details: 'no such token'};
    }
    const denied = names.find(({service}) => this.denied.has(service));
    return denied === undefined ? null :
      {code: status.PERMISSION_DENIED, details: `not for ${denied.service}`};
  }

  deniedOf(rpc) {
    return this.denials.filter((denial) => denial.rpc === rpc);
  }

  #watch(call) {
    ++this.watches;
    this.#recordPeer(call);
    const gone = () => this.#streams.delete(call);
    call.on('cancelled', gone);
    call.on('error', gone);
    call.on('end', () => {});
    const end = this.#streamEnd ?? this.#denialOf(call, []);
    if (end !== null) {
      call.emit('error', end);
      return;
    }
    this.#streams.add(call);
    call.on('data', ({subscribe}) => {
      const denial = this.#denialOf(call, subscribe);
      if (denial !== null) {
        call.emit('error', denial);
        return;
      }
      this.subscriptions.push(...subscribe);
      if (this.#ignoresSubscriptions) return;
      const answer = () => call.write({
        updates: subscribe.map((name) => updateOf(name, this.#subscriptionAnswer)),
        heartbeat: false,
        heartbeatInterval: toDuration(this.#heartbeatMs),
      });
      if (this.#silent) this.#unsaid.push(() => this.#streams.has(call) && answer());
      else answer();
    });
  }

  #beatOnce() {
    if (this.#silent) return;
    for (const call of this.#streams) {
      call.write({
        updates: [], heartbeat: true, heartbeatInterval: toDuration(this.#heartbeatMs),
      });
    }
  }
}
