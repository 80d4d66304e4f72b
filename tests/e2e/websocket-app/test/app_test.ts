/**
 * @file The application under way: 200 clients chat through four workers that share one daemon,
 * while dependencies and the daemon itself die and come back.
 *
 *   run.sh BREAKERD BREAKERCTL
 */

import assert from 'node:assert/strict';
import {after, before, test, type TestContext} from 'node:test';

import {DYNAMODB, POST_TO_CONNECTION, VERIFY_JWT} from '../app/policies.js';
import type {ChatClient} from './chat_client.js';
import {Fleet, type Dependency} from './fleet.js';
import {Traffic} from './traffic.js';
import {until} from './until.js';

const CLIENTS = 200;
const CHAT_PAUSE_MS = 1500;
const LOGIN_PAUSE_MS = 100;
/** Of every circuit. Longer than it takes to see that an open one keeps all from its dependency. */
const RECOVERY_MS = 4000;
/** How long after a trip the last worker may go on as if nothing had happened. */
const NEWS_TIMEOUT_MS = 1000;
const POLICIES = {
  'cognito/verifyJWT': VERIFY_JWT,
  'apigateway-management/postToConnection': POST_TO_CONNECTION,
  'dynamodb/storeUserMessage': DYNAMODB,
  'dynamodb/storeBotMessage': DYNAMODB,
  'dynamodb/storeConnection': DYNAMODB,
  'dynamodb/removeConnection': DYNAMODB,
};

type Asker = {readonly worker: number};

let fleet: Fleet;
let clients: ChatClient[];
let chat: Traffic<ChatClient>;

/** Connects so many clients to each worker. */
async function connect(perWorker: number, name: string): Promise<ChatClient[]> {
  const numbers = Array.from({length: perWorker * Fleet.WORKERS}, (_, i) => i);
  return Promise.all(
      numbers.map((i) => fleet.connect(i % Fleet.WORKERS, `${name}-${i + 1}`)));
}

const logIn = (client: ChatClient) => client.authenticate(fleet.tokens.issue(client.user));

/** Sends them away; resolves when the application has forgotten them. */
async function leave(visitors: readonly ChatClient[]): Promise<void> {
  const removed = async () => (await fleet.daemon.stats('dynamodb/removeConnection')).successes;
  const goal = await removed() + visitors.length;
  await Promise.all(visitors.map((visitor) => visitor.leave()));
  await until('connections are removed', 10_000, async () => await removed() === goal);
}

before(async () => {
  fleet = await Fleet.start(RECOVERY_MS);
  clients = await connect(CLIENTS / Fleet.WORKERS, 'user');
  const outcomes = await Promise.all(clients.map(logIn));
  assert.deepEqual([...new Set(outcomes)], ['ok']);
  chat = new Traffic(clients, CHAT_PAUSE_MS, (client) => client.chat());
});

after(async () => {
  await chat?.stop();
  await fleet?.stop();
  if (process.env['LOG_FOLDER']) await fleet?.saveLogs(process.env['LOG_FOLDER']);
});

/** From now on nothing but good answers, `count` of them and some from each worker. */
async function servesAll(traffic: Traffic<Asker>, count: number): Promise<void> {
  const start = Date.now();
  const good = () => traffic.summary(start)['ok'] ?? 0;
  await Promise.all([
    traffic.eachWorker('ok', 5, start),
    until(`${count} good answers`, 20_000, () => good() >= count),
  ]);
  assert.deepEqual(Object.keys(traffic.summary(start)), ['ok']);
}

interface Outage {
  readonly dependency: Dependency;
  readonly breaker: string;
  readonly traffic: Traffic<Asker>;
  /** What clients are told while the circuit is open. */
  readonly refusal: string;
}

/** The dependency dies and comes back while clients keep asking for what needs it. */
async function outage(t: TestContext, {dependency, breaker, traffic, refusal}: Outage) {
  const {daemon} = fleet;
  const {gate} = dependency;
  const died = Date.now();
  await dependency.kill();
  const trip = await daemon.transition(breaker, 'OPEN', died);
  await traffic.eachWorker(refusal, 1, trip.time);
  const known = traffic.lastToAnswer(refusal, trip.time);
  assert.ok(known - trip.time < NEWS_TIMEOUT_MS, `${known - trip.time} ms`);
  t.diagnostic(`opened ${trip.time - died} ms after the end of the dependency: ${trip.reason}`);
  t.diagnostic(`all workers answer "${refusal}" ${known - trip.time} ms after that`);

  // Nobody comes to the dependency, but for one probe each time that the recovery time is over.
  const quiet = Date.now();
  await traffic.eachWorker(refusal, 25, quiet);
  const summary = traffic.summary(quiet);
  const attempts = gate.arrivalsSince(quiet);
  const probes = daemon.transitions(quiet).filter(
      (one) => one.breaker === breaker && one.to === 'HALF_OPEN').length;
  t.diagnostic(`${summary[refusal]} calls refused meanwhile, ${attempts} connections, ${probes
  } probes due; connections between trip and news: ${gate.arrivalsSince(trip.time) - attempts}`);
  assert.ok(attempts <= probes, `${attempts} connections, ${probes} probes due`);

  // It is back. One probe across the fleet finds out; while it is out, all others are refused.
  gate.hold();
  let probed;
  let refused;
  try {
    await dependency.restart();
    await until('the probe arrives', 20_000, () => gate.held > 0);
    probed = Date.now();
    await traffic.eachWorker(refusal, 10, probed);
    refused = traffic.summary(probed)[refusal];
    assert.equal(gate.held, 1, 'connections while the probe was out');
  } finally {
    gate.release();
  }
  const recovery = await daemon.transition(breaker, 'CLOSED', probed);
  await traffic.eachWorker('ok', 5, recovery.time);
  const back = traffic.lastToAnswer('ok', recovery.time) - recovery.time;
  t.diagnostic(`1 probe, ${refused} calls refused while it was out; all workers serve again ${
    back} ms after it`);
  assert.ok(back < RECOVERY_MS, `${back} ms: some worker has waited for a recovery of its own`);
  await servesAll(traffic, 200);
}

test('everybody is served, through all six circuits', async () => {
  const visitors = await connect(1, 'visitor');
  assert.deepEqual(await Promise.all(visitors.map(logIn)), ['ok', 'ok', 'ok', 'ok']);
  await Promise.all(visitors.map((visitor) => visitor.leave()));
  await servesAll(chat, 200);
  assert.deepEqual(Object.keys(chat.summary()), ['ok']);
  for (const [breaker, policy] of Object.entries(POLICIES)) {
    await until(`${breaker} has calls`, 5000, async () => {
      const {successes, ...others} = await fleet.daemon.stats(breaker);
      assert.deepEqual(
          others, {state: 'CLOSED', failures: 0, rejected: 0, ignored: 0, timesOpened: 0});
      return successes >= Fleet.WORKERS;
    });
    // The operator's file, but for the time that was changed for the tests, is the application's.
    assert.deepEqual(await fleet.daemon.policy(breaker), {...policy, recoveryTimeout: RECOVERY_MS});
  }
});

test('an invalid token, however often, opens nothing', async (t) => {
  const breaker = 'cognito/verifyJWT';
  const visitors = await connect(2, 'eve');
  let invalid = 0;
  for (const [kind, token] of Object.entries(fleet.tokens.invalid())) {
    for (let round = 0; round < 5; ++round) {
      const outcomes = await Promise.all(visitors.map((visitor) => visitor.authenticate(token)));
      assert.deepEqual([...new Set(outcomes)], ['Invalid token'], kind);
      invalid += outcomes.length;
    }
  }
  await until('the daemon has heard of all', 5000, async () => {
    const {ignored, failures, timesOpened} = await fleet.daemon.stats(breaker);
    assert.deepEqual({failures, timesOpened}, {failures: 0, timesOpened: 0});
    return ignored === invalid;
  });
  t.diagnostic(`${invalid} invalid tokens, counted as nothing`);
  const outcomes = await Promise.all(visitors.map(logIn));
  assert.deepEqual([...new Set(outcomes)], ['ok']);
  await leave(visitors);
});

test('without the database, no worker goes there until one probe finds it back', async (t) => {
  await outage(t, {
    dependency: fleet.database,
    breaker: 'dynamodb/storeUserMessage',
    traffic: chat,
    refusal: 'Database temporarily unavailable',
  });
});

test('without the keys, nobody logs in until one probe finds them back; chats go on', async (t) => {
  const start = Date.now();
  const visitors = await connect(5, 'visitor');
  const logins = new Traffic(visitors, LOGIN_PAUSE_MS, logIn);
  t.after(() => logins.stop());
  await logins.eachWorker('ok', 1, start);
  await fleet.tokens.rotate();  // What workers have cached does not help any more.
  await outage(t, {
    dependency: fleet.keys,
    breaker: 'cognito/verifyJWT',
    traffic: logins,
    refusal: 'Authentication temporarily unavailable',
  });
  await logins.stop();
  await leave(visitors);
  assert.deepEqual(Object.keys(chat.summary(start)), ['ok']);
});

test('without the management API, no worker goes there until a probe finds it back', async (t) => {
  await outage(t, {
    dependency: fleet.management,
    breaker: 'apigateway-management/postToConnection',
    traffic: chat,
    refusal: 'Delivery temporarily unavailable',
  });
});

test('the daemon is killed and comes back: no message fails because of it', async (t) => {
  const known = async () => (await fleet.daemon.stats('dynamodb/storeUserMessage')).successes;
  const start = Date.now();
  await servesAll(chat, 100);
  await fleet.daemon.kill();
  const killed = Date.now();
  await servesAll(chat, 400);
  const restarted = Date.now();
  await fleet.daemon.restart();
  const stored = await known();
  await until('workers report to it again', 20_000, async () => await known() > stored + 50);
  await servesAll(chat, 200);
  const all = chat.summary(start);
  t.diagnostic(`without a daemon for ${restarted - killed} ms; answers in that time: ${
    chat.since(killed).filter((one) => one.time < restarted).length}, in all: ${
    JSON.stringify(all)}`);
  assert.deepEqual(Object.keys(all), ['ok']);
  assert.deepEqual(fleet.daemon.transitions(start), []);
});

test('without the database, nobody joins until one probe finds it back', async (t) => {
  await chat.stop();  // Chatting would have probes of its own.
  const start = Date.now();
  const doors = Array.from({length: 5 * Fleet.WORKERS}, (_, i) => ({worker: i % Fleet.WORKERS}));
  const joins = new Traffic(doors, LOGIN_PAUSE_MS, async ({worker}) => {
    const visitor = await fleet.connect(worker, 'visitor');
    const outcome = await logIn(visitor);
    if (outcome === 'ok') clients.push(visitor);
    else await visitor.leave();
    return outcome;
  });
  t.after(() => joins.stop());
  await joins.eachWorker('ok', 1, start);
  await outage(t, {
    dependency: fleet.database,
    breaker: 'dynamodb/storeConnection',
    traffic: joins,
    refusal: 'Database temporarily unavailable',
  });
});

test('workers end when they are told to, each connection removed and all reported', async () => {
  const breaker = 'dynamodb/removeConnection';
  const before = await fleet.daemon.stats(breaker);
  assert.deepEqual(await fleet.stopWorkers(), [0, 0, 0, 0]);
  const stats = await fleet.daemon.stats(breaker);
  assert.deepEqual(stats, {...before, successes: before.successes + clients.length});
});
