/** @fileoverview The Node client against the real daemon. */

import assert from 'node:assert/strict';
import {afterEach, beforeEach, test} from 'node:test';

import {CircuitBreakerService} from 'breakerd-client';

import {DaemonProcess} from '../support/daemon_process.mjs';
import {eventually} from '../support/eventually.mjs';
import {fail, outcomeOf, succeed} from '../support/fixture.mjs';

/** Opens after three failures, for longer than a test takes. */
const POLICY = {failureThreshold: 3, recoveryTimeout: 600_000, minimumRequestCount: 3};

let daemon;
let services;
const unhandled = [];
process.on('unhandledRejection', (error) => unhandled.push(error));

beforeEach(async () => {
  services = [];
  unhandled.length = 0;
  daemon = await DaemonProcess.start();
});
afterEach(async () => {
  await Promise.all(services.map((service) => service.close()));
  await daemon.stop();
  assert.deepEqual(unhandled, []);
});

function service(workerId, {policy = {}, ...options} = {}) {
  const made = new CircuitBreakerService({
    target: daemon.target, workerId, rpcTimeout: 2000, policy: {...POLICY, ...policy}, ...options,
  });
  services.push(made);
  return made;
}
const call = (of, fn = succeed) => outcomeOf(of.execute('db', 'query', fn));
const isRefused = async (of) => (await call(of)).error?.name === 'CircuitOpenError';
/** From then on calls need no rpc. Leaves no outcome behind. */
const follow = (of) => eventually(async () => {
  await outcomeOf(of.execute('db', 'query', fail, null, {isFailure: () => false}));
  return of.cache.cells.find('db', 'query')?.open;
});
/** The daemon's record, over a connection that no test disturbs. */
async function record() {
  return JSON.parse(await daemon.ctl('stats', 'db/query', '--json'));
}
const successes = async () => Number((await record()).lifetime?.successes ?? 0);
const failures = async () => Number((await record()).lifetime?.failures ?? 0);

for (const mode of ['cached', 'remote']) {
  test(`failures of one worker refuse all workers, ${mode}`, async () => {
    const [first, second] = [service('w1', {mode}), service('w2', {mode})];
    if (mode === 'cached') await Promise.all([follow(first), follow(second)]);
    for (let i = 0; i < 3; ++i) await call(first, fail);
    await eventually(() => isRefused(second));
    await eventually(() => isRefused(first));
    const stats = await first.fetchCircuitBreakerStats('db', 'query');
    assert.equal(stats.state, 'OPEN');
    assert.equal(stats.failureCount, 3);
    assert.ok(stats.nextAttemptTime > new Date());
    assert.ok(stats.lastFailureTime <= new Date());
    assert.equal(second.getCircuitBreakerStats('db', 'query').state, 'OPEN');
    const {error} = await call(second);
    assert.ok(error.retryAfter > 500_000);
    if (mode === 'cached') assert.match(error.reason, /^3 consecutive failures \(threshold 3\)/);
  });

  test(`one probe closes the circuit for all, ${mode}`, async () => {
    const policy = {recoveryTimeout: 300};
    const [first, second] = [service('w1', {mode, policy}), service('w2', {mode, policy})];
    if (mode === 'cached') await Promise.all([follow(first), follow(second)]);
    for (let i = 0; i < 3; ++i) await call(first, fail);
    if (mode === 'cached') {
      await eventually(() => second.getCircuitBreakerStats('db', 'query').state !== 'CLOSED');
      await eventually(() => first.getCircuitBreakerStats('db', 'query').state !== 'CLOSED');
    }
    let end = null;
    let probe;
    await eventually(async () => {
      probe = second.execute('db', 'query', () => new Promise((resolve) => {
        end = resolve;
      }));
      probe.catch(() => {});
      return Promise.race([outcomeOf(probe), eventually(() => end)])
          .then((result) => typeof result === 'function');
    });
    for (let i = 0; i < 20; ++i) assert.ok(await isRefused(first));
    end('up');
    assert.equal(await probe, 'up');
    await eventually(async () => !await isRefused(first));
    await eventually(async () => !await isRefused(second));
  });
}

test('two services share a circuit, and hear of it within a moment', async () => {
  const [first, second] = [service('w1'), service('w2')];
  await Promise.all([follow(first), follow(second)]);
  const heard = new Promise((resolve) => second.once('stateChange', resolve));
  for (let i = 0; i < 3; ++i) await call(first, fail);
  const start = performance.now();
  const change = await heard;
  assert.equal(change.to, 'OPEN');
  assert.equal(change.cause, 'CONSECUTIVE_FAILURES');
  assert.match(change.reason, /3 consecutive failures/);
  assert.ok(performance.now() - start < 5000);  // A few milliseconds on a machine at rest.
});

test('all outcomes count once', async () => {
  const s = service('w1');
  await follow(s);
  const calls = [];
  for (let i = 0; i < 20_000; ++i) calls.push(s.execute('db', 'query', succeed));
  await Promise.all(calls);
  await s.close();
  assert.equal(await successes(), 20_000);
});

test('each outcome counts exactly once though the daemon is killed, and killed again', async () => {
  const s = service('w1', {policy: {failureThreshold: 0}});
  await follow(s);
  let [succeeded, failed] = [0, 0];
  const cell = s.cache.cells.find('db', 'query');
  const callFor = async (milliseconds) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      // What is decided without the daemon is not its to count.
      if (cell.open && performance.now() + 100 < s.cache.surroundings.trustedUntil) {
        if (succeeded % 50 === 49) {
          await call(s, fail);
          ++failed;
        }
        assert.equal((await call(s)).value, 'done');
        ++succeeded;
      }
      await new Promise(setImmediate);
    }
  };
  for (let i = 0; i < 3; ++i) {
    await callFor(300);
    await daemon.kill();
    await callFor(50);  // The cache is still believed.
    await daemon.restart();
    await callFor(300);
  }
  assert.ok(succeeded > 100);
  await s.close();
  assert.equal(await successes(), succeeded);
  assert.equal(await failures(), failed);
  assert.equal(s.cacheStats().droppedOutcomes, 0);
});

test('circuit that was open is open after kill -9, and calls go on meanwhile', async () => {
  const s = service('w1');
  await follow(s);
  for (let i = 0; i < 3; ++i) await call(s, fail);
  await eventually(() => isRefused(s));
  await daemon.kill();
  assert.ok(await isRefused(s));
  assert.ok('value' in await outcomeOf(s.execute('db', 'another', succeed)));
  await daemon.restart();
  await eventually(async () => {
    await outcomeOf(s.execute('db', 'another', succeed));
    return s.cache.cells.find('db', 'another').open;
  });
  assert.ok(await isRefused(s));
});

test('breaker of the process\'s own stands in for a daemon that hangs', async () => {
  const s = service('w1', {rpcTimeout: 200});
  await follow(s);
  daemon.pause();
  await eventually(async () => {
    await call(s);
    return s.cache.cells.find('db', 'query').open === false;
  });
  const start = performance.now();
  for (let i = 0; i < 100; ++i) assert.equal((await call(s)).value, 'done');
  assert.ok(performance.now() - start < 2000);
  for (let i = 0; i < 3; ++i) await call(s, fail);
  assert.ok(await isRefused(s));
  daemon.resume();
  await eventually(async () => !await isRefused(s) && s.cache.cells.find('db', 'query').open);
  await s.fetchCircuitBreakerStats('db', 'query');
  assert.equal(await failures(), 0, 'what was counted meanwhile is forgotten');
});

test('stream is not taken for silent because this process was busy', async () => {
  const s = service('w1');
  await follow(s);
  const {stream} = s.cache;
  const end = performance.now() + 3500;  // three heartbeats and a half
  while (performance.now() < end);
  await eventually(() => s.cache.surroundings.trustedUntil > performance.now() + 1500);
  assert.equal(s.cache.stream, stream);
});

test('daemon is not taken for away because this process was busy', async () => {
  const s = service('w1', {rpcTimeout: 200, mode: 'remote'});
  assert.ok(await s.ready());
  await call(s);
  const running = call(s);
  await new Promise(setImmediate);  // The question is on its way.
  const end = performance.now() + 400;
  while (performance.now() < end);
  assert.equal((await running).value, 'done');
  assert.ok(!s.daemon.isAway());
  await eventually(async () => Number((await record()).lifetime.successes) >= 2);
});

test('absent daemon costs nothing, and is found when it comes', async () => {
  await daemon.kill();
  const s = service('w1', {rpcTimeout: 50});
  const start = performance.now();
  for (let i = 0; i < 200; ++i) assert.equal((await call(s)).value, 'done');
  assert.ok(performance.now() - start < 2000);
  await daemon.restart();
  await follow(s);
});

test('operators\' policy and override reach the calls', async () => {
  const s = service('w1');
  await follow(s);
  await daemon.ctl('open', 'db/query', '--reason', 'maintenance', '--actor', 'ops');
  const error = await eventually(async () => (await call(s)).error);
  assert.match(error.reason, /forced open by ops.*maintenance/);
  await daemon.ctl('auto', 'db/query');
  await eventually(async () => !await isRefused(s));
});

test('policy that the daemon rejects is named', async () => {
  const s = service('w1');
  const {error} = await outcomeOf(
      s.execute('db', 'query', succeed, null, {recoveryTimeout: 400 * 24 * 3600 * 1000}));
  assert.equal(error.code, 'INVALID_ARGUMENT');
});

test('statistics of no breaker are null', async () => {
  const s = service('w1');
  assert.equal(await s.ready(), true);
  assert.equal(await s.fetchCircuitBreakerStats('no', 'breaker'), null);
});

test('slow calls are slow at the daemon', async () => {
  const s = service('w1', {policy: {expectedResponseTime: 5}});
  await follow(s);
  const end = performance.now() + 20;
  await call(s, () => eventually(() => performance.now() > end));
  await s.fetchCircuitBreakerStats('db', 'query');
  assert.equal(Number((await record()).slow_count), 1);
});
